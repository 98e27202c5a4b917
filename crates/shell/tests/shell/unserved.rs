//! Owners of pods whose scheduler name nobody serves are informed, once, and by one process.

use crate::fixture::*;
use anyhow::Result;
use secondmate_sandbox::Sandbox;
use secondmate_shell::lease::{Claim, ElectionConfig, LeaseName};
use secondmate_shell::{LookLimits, Options, Shell, UnservedPace};
use secondmate_telemetry::Metrics;
use serde_json::json;
use std::time::Duration;

const REASON: &str = "SchedulerNameNotServed";

async fn scheduler(sandbox: &Sandbox, name: &str) -> Result<(Shell, Metrics)> {
    limited_scheduler(sandbox, name, LookLimits::default()).await
}

async fn limited_scheduler(sandbox: &Sandbox, name: &str, limits: LookLimits) -> Result<(Shell, Metrics)> {
    let lease = LeaseName { namespace: "kube-system".to_owned(), name: name.to_owned() };
    let election = ElectionConfig {
        lease_duration: Duration::from_secs(3),
        renew_deadline: Duration::from_secs(2),
        retry_period: Duration::from_millis(200),
        ..ElectionConfig::new(lease, format!("host_{name}"), Claim::new(&[name], "same"))
    };
    let often = Duration::from_millis(100);
    let options = Options {
        profiles: vec![profile(name)],
        election: Some(election),
        unserved: UnservedPace {
            first: Duration::from_secs(2),
            every: often,
            pending_for: Duration::ZERO,
            limits,
        },
        ..options(sandbox)
    };
    let metrics = options.admin.metrics.clone();
    Ok((try_start(options).await?, metrics))
}

fn told(sandbox: &Sandbox, pod: &str) -> Vec<(String, String, String, u64)> {
    events_of(sandbox, pod).into_iter().filter(|event| event.1 == REASON).collect()
}

fn create(sandbox: &Sandbox, scheduler: &str, name: &str) {
    let mut pod = pod(name, "100m");
    pod["spec"]["schedulerName"] = scheduler.into();
    sandbox.objects().create(pod).expect("a valid pod");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_of_the_schedulers_tells_the_owners_once() -> Result<()> {
    let sandbox = sandbox(1).await;
    create(&sandbox, "typo", "lost");
    let (a, of_a) = scheduler(&sandbox, "a").await?;
    let (b, of_b) = scheduler(&sandbox, "b").await?;
    until("the other leads too", || sandbox.objects().get("leases", "kube-system", "b").is_some()).await;
    create(&sandbox, "b", "of-the-other");
    until("the owner is told", || !told(&sandbox, "lost").is_empty()).await;
    until("it is counted", || of_a.pods_unserved.get() == 1).await;
    let expected = "nobody serves the scheduler name \"typo\": no live Lease names it, and nobody has written an event in its name; correct spec.schedulerName where the pod is made, or run a scheduler of this name";
    assert_eq!(told(&sandbox, "lost"), [("Warning".to_owned(), REASON.to_owned(), expected.to_owned(), 1)]);
    // Another one is reported by a later look, in which the first pod was included too.
    create(&sandbox, "typo", "lost-too");
    until("its owner is told", || !told(&sandbox, "lost-too").is_empty()).await;
    assert_eq!(told(&sandbox, "lost").len(), 1);
    assert_eq!(of_b.pods_unserved.get(), 0, "that is the first one's work");
    // Its successor knows what has already been reported.
    a.stop().await;
    until("the next one looks", || of_b.pods_unserved.get() == 2).await;
    create(&sandbox, "typo", "lost-later");
    until("and tells", || !told(&sandbox, "lost-later").is_empty()).await;
    assert_eq!([told(&sandbox, "lost")[0].3, told(&sandbox, "lost-too")[0].3], [1, 1]);
    assert_eq!((told(&sandbox, "lost").len(), told(&sandbox, "lost-too").len()), (1, 1));
    assert_eq!(told(&sandbox, "of-the-other"), []);
    b.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_list_events_nobody_is_told_and_all_else_works() -> Result<()> {
    let sandbox = sandbox(1).await;
    sandbox.access().deny("list", "", "events", "");
    create(&sandbox, "typo", "lost");
    let (shell, metrics) = scheduler(&sandbox, "a").await?;
    create(&sandbox, "a", "own");
    until_bound(&sandbox, 1).await;
    let reviews = || sandbox.history().count("create selfsubjectaccessreviews.authorization.k8s.io");
    let at_the_start = reviews();
    until("it asks whether it may", || reviews() >= at_the_start + 2).await;
    assert_eq!((told(&sandbox, "lost"), metrics.pods_unserved.get()), (vec![], 0));
    shell.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_means_something_in_a_selector_is_a_name_like_others() -> Result<()> {
    let sandbox = sandbox(1).await;
    create(&sandbox, r"a,b=c\d", "odd");
    create(&sandbox, "typo", "lost");
    let (shell, metrics) = scheduler(&sandbox, "a").await?;
    for pod in ["odd", "lost"] {
        until("its owner is told", || !told(&sandbox, pod).is_empty()).await;
    }
    assert!(told(&sandbox, "odd")[0].2.starts_with(r#"nobody serves the scheduler name "a,b=c\\d": "#));
    assert_eq!(metrics.pods_unserved.get(), 2);
    shell.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_not_found_among_a_part_of_the_events_are_not_told() -> Result<()> {
    let sandbox = sandbox(1).await;
    for (name, uid) in [("other.1", "x"), ("other.2", "y")] {
        sandbox.objects().create(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": name, "namespace": "default" },
            "source": { "component": "kubelet" }, "reason": "Started", "type": "Normal", "message": "started",
            "involvedObject": { "kind": "Pod", "name": "p", "namespace": "default", "uid": uid },
        }))?;
    }
    create(&sandbox, "typo", "lost");
    create(&sandbox, "tpyo", "lost-too");
    let limits = LookLimits { names: 1, events: 1, ..LookLimits::default() };
    let (shell, metrics) = limited_scheduler(&sandbox, "a", limits).await?;
    let looks = || sandbox.history().count("list events");
    until("it has looked more than once", || looks() > 2).await;
    assert_eq!((told(&sandbox, "lost"), told(&sandbox, "lost-too")), (vec![], vec![]));
    assert_eq!(metrics.pods_unserved.get(), 0);
    // With a single name, its events are listed by name.
    sandbox.objects().delete("pods", "default", "lost-too", None)?;
    until("its owner is told", || !told(&sandbox, "lost").is_empty()).await;
    shell.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_not_list_events_leaves_it_to_the_next_one() -> Result<()> {
    let sandbox = sandbox(1).await;
    sandbox.access().deny("list", "", "events", "");
    let reviews = || sandbox.history().count("create selfsubjectaccessreviews.authorization.k8s.io");
    let (a, of_a) = scheduler(&sandbox, "a").await?;
    let at_the_start = reviews();
    until("it asks whether it may", || reviews() >= at_the_start + 2).await;
    sandbox.access().allow_all();
    create(&sandbox, "typo", "lost");
    let (b, of_b) = scheduler(&sandbox, "b").await?;
    until("the other one tells", || !told(&sandbox, "lost").is_empty()).await;
    until("it is counted", || of_b.pods_unserved.get() == 1).await;
    assert_eq!((told(&sandbox, "lost").len(), of_a.pods_unserved.get()), (1, 0));
    a.stop().await;
    b.stop().await;
    Ok(())
}
