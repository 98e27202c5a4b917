//! Each fault, seen by a client.

use std::time::Duration;

use secondmate_sandbox::{Fault, Target, Verb, When};
use serde_json::json;

use crate::client::{Client, pod, still, until, with};

#[tokio::test]
async fn refusals_have_their_codes_and_no_effect() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let created = client.create_pod(&pod("a", "1")).await;
    for (fault, code) in [
        (Fault::Conflict, 409),
        (Fault::TooManyRequests { retry_after_s: 7 }, 429),
        (Fault::InternalError, 500),
        (Fault::ServiceUnavailable, 503),
        (Fault::GatewayTimeout, 504),
    ] {
        let rule = sandbox.faults().inject(Target::bind(), fault, When::Next(1));
        let refused = client.bind("a", created.uid(), "n1").await.unwrap();
        assert_eq!((refused.code, &refused.body["kind"]), (code, &json!("Status")));
        if code == 429 {
            assert_eq!(refused.headers["retry-after"], "7");
        }
        assert_eq!(sandbox.faults().strikes(rule), 1);
    }
    assert_eq!(sandbox.history().binds_accepted(), 0);
    assert_eq!(client.bind("a", created.uid(), "n1").await.unwrap().code, 201);
    assert_eq!(sandbox.history().count("create pods/binding"), 6);
    assert_eq!(sandbox.faults().log().len(), 5);
}

#[tokio::test]
async fn a_lost_answer_took_effect_and_a_lost_request_did_not() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let created = client.create_pod(&pod("a", "1")).await;
    sandbox.faults().inject(Target::bind(), Fault::LoseRequest, When::Next(1));
    client.bind("a", created.uid(), "n1").await.unwrap_err();
    assert_eq!(sandbox.history().binds_accepted(), 0);
    sandbox.faults().inject(Target::bind(), Fault::LoseAnswer, When::Next(1));
    client.bind("a", created.uid(), "n1").await.unwrap_err();
    assert_eq!(sandbox.history().binds_accepted(), 1);
    assert_eq!(sandbox.objects().get("pods", "default", "a").unwrap()["spec"]["nodeName"], "n1");
}

#[tokio::test]
async fn slow_answers_and_black_holes_last_until_the_faults_end() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let slow = Fault::Slow { min: Duration::from_secs(3600), max: Duration::from_secs(3600) };
    sandbox.faults().inject(Target::of(Verb::Get, "pods"), slow, When::Always);
    sandbox.faults().inject(Target::of(Verb::List, "pods"), Fault::BlackHole, When::Always);
    let nothing = json!({});
    let slow = client.send("GET", "/api/v1/namespaces/default/pods/a", &nothing);
    let lost = client.send("GET", "/api/v1/pods", &nothing);
    let end = async {
        until("both are struck", || sandbox.faults().strikes_in_all() == 2).await;
        sandbox.faults().quiesce();
    };
    let (slow, lost, ()) = tokio::join!(slow, lost, end);
    assert_eq!(slow.unwrap().code, 404);
    lost.unwrap_err();
    assert_eq!(client.get("/api/v1/pods").await.code, 200);
}

#[tokio::test]
async fn watches_are_closed_broken_or_expired() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let target = || Target::of(Verb::Watch, "pods");
    for (fault, end) in [
        (Fault::CloseWatch { after_events: 1 }, vec!["end"]),
        (Fault::BreakWatch { after_events: 1 }, vec!["broken"]),
        (Fault::ExpireWatch { after_events: 1 }, vec!["ERROR 410", "end"]),
    ] {
        sandbox.faults().inject(target(), fault, When::Next(1));
        let mut watch = client.watch("/api/v1/pods?watch=1").await;
        client.create_pod(&pod("a", "1")).await;
        client.create_pod(&pod("b", "1")).await;
        assert_eq!(watch.brief().await, "ADDED a");
        assert_eq!(watch.briefs(end.len()).await, end);
        for name in ["a", "b"] {
            client.delete(&format!("/api/v1/namespaces/default/pods/{name}"), &json!({})).await;
        }
    }
    let mut watch = client.watch("/api/v1/pods?watch=1").await;
    sandbox.faults().break_watches();
    assert_eq!(watch.brief().await, "broken");
}

#[tokio::test]
async fn after_an_expired_watch_the_old_version_is_really_gone() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    sandbox.faults().inject(
        Target::of(Verb::Watch, "pods"),
        Fault::ExpireWatch { after_events: 1 },
        When::Next(1),
    );
    let mut watch = client.watch("/api/v1/pods?watch=1").await;
    let seen = client.create_pod(&pod("a", "1")).await.version().to_owned();
    client.create_pod(&pod("b", "1")).await;
    assert_eq!(watch.briefs(2).await, ["ADDED a", "ERROR 410"]);
    let mut resumed = client.watch(&format!("/api/v1/pods?watch=1&resourceVersion={seen}")).await;
    assert_eq!(resumed.brief().await, "ERROR 410");
}

#[tokio::test]
async fn a_stale_list_shows_an_older_state_to_those_who_allow_it() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    for name in ["a", "b", "c"] {
        client.create_pod(&pod(name, "1")).await;
    }
    sandbox.faults().inject(
        Target::of(Verb::List, "pods"),
        Fault::StaleList { events_back: 2 },
        When::Always,
    );
    let count = |list: &crate::client::Reply| list.body["items"].as_array().unwrap().len();
    let stale = client.get("/api/v1/pods?resourceVersion=0").await;
    assert_eq!(count(&stale), 1);
    let fresh = client.get("/api/v1/pods").await;
    assert_eq!(count(&fresh), 3);
    let bounded = client.get(&format!("/api/v1/pods?resourceVersion={}", fresh.version())).await;
    assert_eq!(count(&bounded), 3);
    // A watch from the stale version catches up on what was missing.
    let mut watch = client.watch(&format!("/api/v1/pods?watch=1&resourceVersion={}", stale.version())).await;
    assert_eq!(watch.briefs(2).await, ["ADDED b", "ADDED c"]);
}

#[tokio::test]
async fn bookmarks_can_be_withheld() {
    let sandbox = with(|options| {
        options.kubelets.enabled = false;
        options.bookmark_interval = Duration::from_millis(5);
    })
    .await;
    let client = Client::of(&sandbox);
    sandbox.faults().inject(Target::of(Verb::Watch, "pods"), Fault::NoBookmarks, When::Next(1));
    let mut without = client.watch("/api/v1/pods?watch=1&allowWatchBookmarks=true").await;
    let mut with = client.watch("/api/v1/pods?watch=1&allowWatchBookmarks=true").await;
    assert_eq!(with.briefs(3).await, ["BOOKMARK", "BOOKMARK", "BOOKMARK"]);
    client.create_pod(&pod("a", "1")).await;
    assert_eq!(without.brief().await, "ADDED a");
}

#[tokio::test]
async fn delayed_watches_keep_their_own_order_but_not_that_of_others() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let hour = Duration::from_secs(3600);
    let rule = sandbox.faults().inject(
        Target::of(Verb::Watch, "pods"),
        Fault::DelayEvents { max: hour },
        When::Next(1),
    );
    let mut late = client.watch("/api/v1/pods?watch=1").await;
    let mut prompt = client.watch("/api/v1/pods?watch=1").await;
    for name in ["a", "b", "c"] {
        client.create_pod(&pod(name, "1")).await;
    }
    assert_eq!(prompt.briefs(3).await, ["ADDED a", "ADDED b", "ADDED c"]);
    assert_eq!(sandbox.faults().strikes(rule), 1);
    sandbox.faults().quiesce();
    assert_eq!(late.briefs(3).await, ["ADDED a", "ADDED b", "ADDED c"]);
}

#[tokio::test]
async fn shutdown_ends_watches_cleanly() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let mut watch = client.watch("/api/v1/pods?watch=1").await;
    sandbox.shutdown().await;
    assert_eq!(watch.brief().await, "end");
}
