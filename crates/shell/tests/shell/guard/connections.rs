//! Connections that an API server keeps to a guard.

use super::client::{Client, authority};
use super::*;

/// Gives the Lease to a candidate, whatever its current holder believes.
fn give_lease_to(sandbox: &Sandbox, identity: &str) {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let spec = json!({ "spec": { "holderIdentity": identity, "acquireTime": now, "renewTime": now, "leaseTransitions": 1 } });
    sandbox.objects().merge("leases", "kube-system", "secondmate-guard", "", &spec).expect("a patch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_lives_on_without_the_lease_sends_everybody_to_the_one_that_decides() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Fail");
    let (first_metrics, second_metrics) = (Metrics::new(), Metrics::new());
    let first = deciding_guard(&sandbox, &first_metrics).await;
    let mut options = guard_options(&sandbox, &second_metrics);
    if let Some(election) = &mut options.election {
        election.identity = "second".to_owned();
    }
    let second = GuardService::start(options).await.expect("the guard starts");
    let authority = authority(&sandbox);
    create_pods(&sandbox, "p", 6, "1");
    let node = sandbox.objects().list("nodes")[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut kept = Vec::new();
    for is_http2 in [false, true] {
        let mut client = Client::open(first.address(), &authority, is_http2).await;
        let answer = client.ask(&format!("p-{}", kept.len()), &node).await;
        assert_eq!((answer.status, &*answer.connection), (200, ""));
        kept.push(client);
    }
    assert!(kept.iter().all(|client| !client.is_closed()), "they are kept while it decides");
    give_lease_to(&sandbox, "second");
    until("the second decides", || second_metrics.guard.deciding.get() == 1).await;
    until("the first has closed what was kept", || kept.iter().all(Client::is_closed)).await;
    // Requests that still reach it pass, and their connections are closed.
    let passed = "secondmate_guard_binds_total{scheduler=\"mate\",verdict=\"not-leading\"}";
    for is_http2 in [false, true] {
        let mut client = Client::open(first.address(), &authority, is_http2).await;
        let answer = client.ask("p-2", &node).await;
        assert_eq!((answer.status, &answer.body["response"]["allowed"]), (200, &json!(true)));
        assert_eq!(answer.connection, if is_http2 { "" } else { "close" });
        until("it is closed", || client.is_closed()).await;
    }
    assert_eq!(count(&first_metrics, passed), 2);
    // Nor does it read pods that it does not know.
    let reads = sandbox.faults().inject(Target::of(Verb::Get, "pods"), Fault::InternalError, When::Always);
    let mut client = Client::open(first.address(), &authority, true).await;
    assert_eq!(client.ask("nobody", &node).await.body["response"]["allowed"], true);
    assert_eq!(sandbox.faults().strikes(reads), 0);
    sandbox.faults().remove(reads);
    let mut client = Client::open(second.address(), &authority, true).await;
    assert_eq!(client.ask("p-3", &node).await.status, 200);
    let approved = "secondmate_guard_binds_total{scheduler=\"mate\",verdict=\"approved\"}";
    assert_eq!((count(&first_metrics, approved), count(&second_metrics, approved)), (2, 1));
    assert!(!client.is_closed());
    assert_eq!(client.post("?").await.status, 400);
    assert_eq!(
        count(&second_metrics, "secondmate_guard_binds_total{scheduler=\"\",verdict=\"malformed\"}"),
        1
    );
    // What the first guard approved cannot now be told apart from what was bound without asking.
    let uid = |pod: &str| {
        let pod = sandbox.objects().get("pods", "default", pod).expect("it is there");
        pod["metadata"]["uid"].as_str().expect("text").to_owned()
    };
    for pod in ["p-0", "p-3"] {
        sandbox.objects().bind("default", pod, &uid(pod), &node).expect("it is not bound");
    }
    let seen = "secondmate_guard_settled_total{outcome=\"seen\"}";
    until("the last is seen", || count(&second_metrics, seen) == 1).await;
    assert_eq!(second_metrics.guard.bound_unasked.get(), 0);
    first.stop().await;
    second.stop().await;
}
