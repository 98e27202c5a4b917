//! What the owner of a pod gets to read.

use crate::fixture::*;
use anyhow::Result;
use secondmate_sandbox::{Fault, Target, Verb, When};
use serde_json::json;

const NO_ROOM: &str = "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_without_room_reads_as_kube_scheduler_would_say_it() -> Result<()> {
    let sandbox = sandbox(2).await;
    let shell = start(&sandbox).await;
    sandbox.objects().create(pod("big", "5"))?;
    until("the condition", || condition_of(&sandbox, "big").is_some()).await;
    let condition = condition_of(&sandbox, "big").unwrap_or_default();
    assert_eq!(
        (&condition["status"], &condition["reason"], &condition["message"]),
        (&json!("False"), &json!("Unschedulable"), &json!(NO_ROOM))
    );
    until("the event", || !events_of(&sandbox, "big").is_empty()).await;
    let expected = ("Warning".to_owned(), "FailedScheduling".to_owned(), NO_ROOM.to_owned(), 1);
    assert_eq!(events_of(&sandbox, "big"), std::slice::from_ref(&expected));
    // A node joins on which it fits.
    let shape = secondmate_sandbox::NodeShape { cpu: "8".into(), ..Default::default() };
    sandbox.add_nodes(7, 1, &shape);
    until_bound(&sandbox, 1).await;
    until("the second event", || events_of(&sandbox, "big").len() == 2).await;
    let scheduled = (
        "Normal".to_owned(),
        "Scheduled".to_owned(),
        "Successfully assigned default/big to node-00007".to_owned(),
        1,
    );
    let mut events = events_of(&sandbox, "big");
    events.sort();
    assert_eq!(events, [scheduled, expected]);
    let event = sandbox.objects().list("events").into_iter().next().unwrap_or_default();
    let controller = event.get("reportingController").or(event.get("reportingComponent"));
    assert_eq!(controller, Some(&json!(NAME)));
    assert_eq!(condition_of(&sandbox, "big").unwrap_or_default()["status"], "True");
    shell.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_fail_do_not_hold_bindings_up() -> Result<()> {
    let sandbox = sandbox(3).await;
    sandbox.faults().inject(Target::of(Verb::Create, "events"), Fault::BlackHole, When::Always);
    let shell = start(&sandbox).await;
    create_pods(&sandbox, "p", 60, "10m");
    until_bound(&sandbox, 60).await;
    check(&shell).await?;
    sandbox.faults().quiesce();
    until("the events come later", || sandbox.objects().count("events") > 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_fails_is_written_again() -> Result<()> {
    let sandbox = sandbox(1).await;
    let target = Target::of(Verb::Patch, "pods").subresource("status");
    let rule = sandbox.faults().inject(target, Fault::InternalError, When::Next(2));
    let _shell = start(&sandbox).await;
    sandbox.objects().create(pod("big", "5"))?;
    until("the condition", || condition_of(&sandbox, "big").is_some()).await;
    assert_eq!(sandbox.faults().strikes(rule), 2);
    Ok(())
}
