//! What passes without a decision, as shown to the API server and in the metrics.

use super::client::{Client, authority};
use super::*;

fn passed(metrics: &Metrics, scheduler: &str, verdict: &str) -> u64 {
    count(
        metrics,
        &format!("secondmate_guard_binds_total{{scheduler=\"{scheduler}\",verdict=\"{verdict}\"}}"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_known_passes_and_is_counted_by_what_it_was() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Fail");
    let metrics = Metrics::new();
    let guard = deciding_guard(&sandbox, &metrics).await;
    create_pods(&sandbox, "p", 2, "100");
    let node = sandbox.objects().list("nodes")[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut client = Client::open(guard.address(), &authority(&sandbox), true).await;
    let mut allowed =
        async |pod: &str, node: &str| client.ask(pod, node).await.body["response"]["allowed"] == true;
    assert!(allowed("nobody", &node).await);
    assert!(allowed("p-0", "nowhere").await);
    assert!(!allowed("p-1", &node).await);
    sandbox.faults().inject(Target::verb(Verb::Watch), Fault::ServiceUnavailable, When::Always);
    sandbox.faults().break_watches();
    until("it ceases to decide", || metrics.guard.deciding.get() == 0).await;
    assert!(allowed("p-1", &node).await);
    for (scheduler, verdict) in
        [("", "unknown-pod"), ("mate", "unknown-node"), ("mate", "refused"), ("mate", "not-in-sync")]
    {
        assert_eq!(passed(&metrics, scheduler, verdict), 1, "{verdict}");
    }
    assert_eq!(count(&metrics, "secondmate_guard_answer_duration_seconds_count"), 4);
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_critical_pod_is_bound_to_a_node_that_is_full() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Fail");
    let metrics = Metrics::new();
    let guard = deciding_guard(&sandbox, &metrics).await;
    create_pods(&sandbox, "p", 2, "3");
    let mut critical = pod("critical", "3");
    critical["spec"]["priority"] = 2_000_000_000.into();
    critical["spec"]["priorityClassName"] = "system-cluster-critical".into();
    sandbox.objects().create(critical).expect("a valid pod");
    let node = sandbox.objects().list("nodes")[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    assert_eq!(bind(&sandbox, "p-0", &node).await.0, 201);
    assert_eq!(bind(&sandbox, "p-1", &node).await.0, 403);
    assert_eq!(bind(&sandbox, "critical", &node).await, (201, String::new()));
    assert_eq!(passed(&metrics, "mate", "critical"), 1);
    guard.stop().await;
}
