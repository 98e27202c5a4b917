//! One Event, two API groups.

use serde_json::json;

use crate::client::{Client, still};

#[tokio::test]
async fn an_event_of_the_new_group_is_read_through_the_old_one_and_back() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let old = "/api/v1/namespaces/default/events";
    let mut watch = client.watch("/api/v1/events?watch=1").await;
    let mut new_watch = client.watch("/apis/events.k8s.io/v1/events?watch=1").await;
    let event = json!({
        "metadata": {"name": "a.1", "namespace": "default"},
        "regarding": {"kind": "Pod", "name": "a", "namespace": "default"},
        "reason": "Scheduled", "note": "Successfully assigned default/a to n1", "type": "Normal",
        "action": "Binding", "reportingController": "my-scheduler", "reportingInstance": "my-scheduler-1",
        "eventTime": "2026-01-01T00:00:00.000000Z"});
    let created = client.post(new, &event).await;
    assert_eq!((created.code, &created.body["note"]), (201, &event["note"]), "{}", created.body);
    let selector = "fieldSelector=involvedObject.name%3Da,involvedObject.kind%3DPod,reason%3DScheduled";
    let core = client.get(&format!("{old}?{selector}")).await;
    let found = &core.body["items"][0];
    assert_eq!((&found["message"], &found["apiVersion"]), (&event["note"], &json!("v1")));
    assert_eq!(found["reportingComponent"], "my-scheduler");
    assert_eq!(watch.next().await.unwrap().unwrap()["object"]["involvedObject"]["name"], "a");
    assert_eq!(new_watch.next().await.unwrap().unwrap()["object"]["regarding"]["name"], "a");
    let patch = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}});
    let patched = client.patch("strategic-merge", &format!("{new}/a.1"), &patch).await;
    assert_eq!((patched.code, &patched.body["note"]), (200, &event["note"]));
    assert_eq!(client.get(&format!("{old}/a.1")).await.body["series"]["count"], 2);
    let listed = client.get(&format!("{new}?fieldSelector=regarding.name%3Da")).await;
    assert_eq!(listed.body["items"][0]["apiVersion"], "events.k8s.io/v1");
}

#[tokio::test]
async fn the_source_of_an_event_is_selected_in_the_old_group_by_either_of_its_names() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let event = |name: &str, by: serde_json::Value| {
        let mut event = json!({
            "metadata": {"name": name, "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": "a", "namespace": "default"},
            "reason": "FailedScheduling", "message": "no", "type": "Warning"});
        event.as_object_mut().unwrap().extend(by.as_object().unwrap().clone());
        event
    };
    for (name, by) in [
        ("legacy", json!({"source": {"component": "volcano"}})),
        ("new", json!({"reportingComponent": "volcano"})),
        ("both", json!({"source": {"component": "other"}, "reportingComponent": "volcano"})),
    ] {
        let created = client.post("/api/v1/namespaces/default/events", &event(name, by)).await;
        assert_eq!(created.code, 201, "{}", created.body);
    }
    for (query, expected) in [
        ("/api/v1/events?fieldSelector=source%3Dvolcano", "legacy new"),
        ("/api/v1/events?fieldSelector=source%3Dother", "both"),
        ("/api/v1/events?fieldSelector=reportingComponent%3Dvolcano", "both new"),
        ("/apis/events.k8s.io/v1/events?fieldSelector=reportingController%3Dvolcano", "both new"),
    ] {
        let list = client.get(query).await;
        let mut names: Vec<&str> = list.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["metadata"]["name"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names.join(" "), expected, "{query}");
    }
    for field in ["deprecatedSource.component", "source"] {
        let refused = client.get(&format!("/apis/events.k8s.io/v1/events?fieldSelector={field}%3Da")).await;
        assert_eq!((refused.code, refused.message()), (400, &*format!("field label not supported: {field}")));
    }
}
