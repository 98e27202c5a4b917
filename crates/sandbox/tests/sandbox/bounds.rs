//! What the sandbox holds does not grow with what has come and gone.

use std::time::Duration;

use secondmate_sandbox::{Held, NodeShape, Sandbox, Window};
use serde_json::json;

use crate::client::{Client, pod, until, with};

const EVENTS_MAX: usize = 1000;
const STORED_EVENTS_MAX: usize = 200;
const BIND_RECORDS_MAX: usize = 100;

/// Each pod is created, bound, started by its kubelet, mentioned in an event, and deleted.
async fn live_and_die(sandbox: &Sandbox, pods: std::ops::Range<usize>) {
    let objects = sandbox.objects();
    for index in pods {
        let name = format!("p{index:06}");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m"}}}]}});
        objects.create(pod).unwrap();
        let node = if index % 10 == 0 { format!("nowhere-{index}") } else { "node-00000".to_owned() };
        objects.bind("default", &name, "", &node).unwrap();
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "reason": "Scheduled",
            "involvedObject": {"kind": "Pod", "name": name}});
        objects.create(event).unwrap();
        if index % 8 == 0 {
            tokio::task::yield_now().await;
        }
        objects.delete("pods", "default", &name, Some(0)).unwrap();
    }
    until("the kubelets forget the pods", || sandbox.held().kubelet_pods == 0).await;
}

#[tokio::test]
async fn ten_thousand_pods_that_came_and_went_leave_what_five_thousand_left() {
    let sandbox = with(|options| {
        options.window =
            Window { events_max: EVENTS_MAX, bytes_max: 8 << 20, age_max: Duration::from_secs(300) };
        options.stored_events_max = STORED_EVENTS_MAX;
        options.bind_records_max = BIND_RECORDS_MAX;
    })
    .await;
    sandbox.add_nodes(0, 1, &NodeShape::default());
    let before = sandbox.held();
    live_and_die(&sandbox, 0..5_000).await;
    let half = sandbox.held();
    live_and_die(&sandbox, 5_000..10_000).await;
    let whole = sandbox.held();
    assert_eq!(sandbox.history().binds_accepted(), 10_000);
    for held in [half, whole] {
        assert_eq!(held.objects, before.objects + STORED_EVENTS_MAX, "{held:?}");
        assert_eq!(held.bind_records, BIND_RECORDS_MAX, "{held:?}");
        assert!(held.log_events <= before.log_events + 2 * EVENTS_MAX, "{held:?}");
        assert!(held.event_writes <= 2 * STORED_EVENTS_MAX + 1024, "{held:?}");
    }
    assert_eq!(half.object_bytes, whole.object_bytes);
    assert!(whole.log_bytes < half.log_bytes + half.log_bytes / 10, "{half:?}, {whole:?}");

    // The Events expire; then so do the log entries about that.
    sandbox.advance(Duration::from_secs(3601));
    assert_eq!(sandbox.held().objects, before.objects);
    sandbox.advance(Duration::from_secs(301));
    let nothing = Held { log_events: 0, log_bytes: 0, bind_records: BIND_RECORDS_MAX, ..before };
    assert_eq!(sandbox.held(), nothing);
}

#[tokio::test]
async fn a_watch_from_before_the_window_is_told_410() {
    let sandbox = with(|options| options.kubelets.enabled = false).await;
    let client = Client::of(&sandbox);
    let version = sandbox.objects().resource_version();
    client.create_pod(&pod("a", "1")).await;
    sandbox.advance(Duration::from_secs(301));
    let answer =
        client.get(&format!("/api/v1/pods?watch=1&resourceVersion={version}&timeoutSeconds=1")).await;
    assert_eq!(answer.body["type"], "ERROR", "{answer:?}");
    assert_eq!(
        (&answer.body["object"]["code"], &answer.body["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
}
