//! Watches.

use std::time::Duration;

use serde_json::json;

use crate::client::{Client, pod, still, with};

#[tokio::test]
async fn a_watch_from_a_version_shows_what_came_after_it_in_order() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    client.create_pod(&pod("old", "1")).await;
    let version = client.get("/api/v1/pods").await.version().to_owned();
    let created = client.create_pod(&pod("a", "1")).await;
    client.bind("a", created.uid(), "n1").await.unwrap();
    let mut watch = client.watch(&format!("/api/v1/pods?watch=1&resourceVersion={version}")).await;
    assert_eq!(watch.briefs(2).await, ["ADDED a", "MODIFIED a"]);
    client.delete("/api/v1/namespaces/default/pods/old", &json!({})).await;
    assert_eq!(watch.brief().await, "DELETED old");
}

#[tokio::test]
async fn a_watch_without_a_version_begins_with_the_state() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    client.create_pod(&pod("b", "1")).await;
    client.create_pod(&pod("a", "1")).await;
    for query in ["watch=true", "watch=true&resourceVersion=0"] {
        let mut watch = client.watch(&format!("/api/v1/pods?{query}")).await;
        assert_eq!(watch.briefs(2).await, ["ADDED a", "ADDED b"]);
    }
}

#[tokio::test]
async fn an_object_that_enters_or_leaves_a_selection_is_added_or_deleted() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let mut pending = client.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3D").await;
    let mut assigned = client.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName!%3D").await;
    let created = client.create_pod(&pod("a", "1")).await;
    assert_eq!(pending.brief().await, "ADDED a");
    client.bind("a", created.uid(), "n1").await.unwrap();
    let left = pending.next().await.unwrap().unwrap();
    let entered = assigned.next().await.unwrap().unwrap();
    assert_eq!((&left["type"], &entered["type"]), (&json!("DELETED"), &json!("ADDED")));
    // The watch that loses it sees it as it last was, with the version of the change.
    assert!(left["object"]["spec"]["nodeName"].is_null());
    assert_eq!(entered["object"]["spec"]["nodeName"], "n1");
    assert_eq!(
        left["object"]["metadata"]["resourceVersion"],
        entered["object"]["metadata"]["resourceVersion"]
    );
    client.delete("/api/v1/namespaces/default/pods/a", &json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(assigned.brief().await, "DELETED a");
}

#[tokio::test]
async fn a_streaming_list_ends_with_its_bookmark() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    client.create_pod(&pod("a", "1")).await;
    let path = "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                &allowWatchBookmarks=true";
    let mut watch = client.watch(path).await;
    assert_eq!(watch.briefs(2).await, ["ADDED a", "BOOKMARK initial"]);
    client.create_pod(&pod("b", "1")).await;
    assert_eq!(watch.brief().await, "ADDED b");
    let refused = client.get("/api/v1/pods?watch=1&sendInitialEvents=true").await;
    assert_eq!(refused.code, 422);
}

#[tokio::test]
async fn bookmarks_carry_the_version_of_what_was_written_elsewhere() {
    let sandbox = with(|options| {
        options.kubelets.enabled = false;
        options.bookmark_interval = Duration::from_millis(20);
    })
    .await;
    let client = Client::of(&sandbox);
    let mut watch = client.watch("/api/v1/nodes?watch=1&allowWatchBookmarks=true").await;
    client.create_pod(&pod("a", "1")).await;
    let version = sandbox.objects().resource_version();
    loop {
        let event = watch.next().await.unwrap().unwrap();
        assert_eq!(event["type"], "BOOKMARK");
        let seen: u64 = event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        if seen >= version {
            break;
        }
    }
}

#[tokio::test]
async fn a_watch_from_before_the_window_is_told_410_in_the_stream() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let version = client.create_pod(&pod("a", "1")).await.version().to_owned();
    client.create_pod(&pod("b", "1")).await;
    sandbox.objects().compact("pods");
    let mut watch = client.watch(&format!("/api/v1/pods?watch=1&resourceVersion={version}")).await;
    let event = watch.next().await.unwrap().unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(watch.brief().await, "end");
}

#[tokio::test]
async fn a_watch_ends_cleanly_after_its_timeout() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let mut watch = client.watch("/api/v1/pods?watch=1&timeoutSeconds=1").await;
    assert_eq!(watch.brief().await, "end");
}

#[tokio::test]
async fn a_watch_of_one_namespace_or_object_sees_only_that() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let mut other = client.watch("/api/v1/namespaces/kube-system/pods?watch=1").await;
    let mut one =
        client.watch("/api/v1/namespaces/default/pods?watch=1&fieldSelector=metadata.name%3Db").await;
    client.create_pod(&pod("a", "1")).await;
    client.create_pod(&pod("b", "1")).await;
    let mut elsewhere = pod("c", "1");
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    client.post("/api/v1/namespaces/kube-system/pods", &elsewhere).await;
    assert_eq!((other.brief().await, one.brief().await), ("ADDED c".to_owned(), "ADDED b".to_owned()));
}

#[tokio::test]
async fn ten_thousand_events_reach_a_watcher_in_order_and_without_gaps() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let mut watch = client.watch("/api/v1/pods?watch=1").await;
    let objects = sandbox.objects();
    let writer = tokio::task::spawn_blocking(move || {
        for i in 0..5_000 {
            objects.create(pod(&format!("p{i:05}"), "1")).unwrap();
            objects.bind("default", &format!("p{i:05}"), "", "n1").unwrap();
        }
    });
    let mut last = 0;
    for i in 0..5_000 {
        for kind in ["ADDED", "MODIFIED"] {
            let event = watch.next().await.unwrap().unwrap();
            assert_eq!(event["type"], kind);
            assert_eq!(event["object"]["metadata"]["name"], format!("p{i:05}"));
            let version: u64 =
                event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
            assert!(version > last);
            last = version;
        }
    }
    writer.await.unwrap();
}
