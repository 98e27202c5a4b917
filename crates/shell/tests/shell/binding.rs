//! Pods get onto nodes, whatever the API server answers.

use crate::fixture::*;
use anyhow::Result;
use secondmate_sandbox::{Fault, Target, Verb, When};
use secondmate_shell::{ClusterConfig, End, WriteLimit};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_bound_once_and_spread_over_the_nodes() -> Result<()> {
    let sandbox = sandbox(10).await;
    create_pods(&sandbox, "early", 50, "100m");
    let shell = start(&sandbox).await;
    create_pods(&sandbox, "late", 50, "100m");
    // Another scheduler's pod is not ours.
    let mut foreign = pod("foreign", "100m");
    foreign["spec"]["schedulerName"] = "other".into();
    sandbox.objects().create(foreign)?;
    until_bound(&sandbox, 100).await;
    let mut by_node: BTreeMap<String, usize> = BTreeMap::new();
    for bind in sandbox.history().binds() {
        *by_node.entry(bind.node).or_default() += 1;
    }
    assert_eq!(by_node.into_values().collect::<Vec<_>>(), [10; 10]);
    check(&shell).await?;
    until("every pod has its event", || sandbox.objects().count("events") >= 100).await;
    assert_eq!(shell.stop().await, End::Stopped);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_and_every_silence_ends_with_the_pod_bound_once() -> Result<()> {
    let slow = Fault::Slow { min: Duration::ZERO, max: Duration::from_millis(200) };
    for fault in [
        Fault::LoseAnswer,
        Fault::LoseRequest,
        Fault::Conflict,
        Fault::InternalError,
        Fault::ServiceUnavailable,
        Fault::GatewayTimeout,
        Fault::TooManyRequests { retry_after_s: 1 },
        slow,
    ] {
        let sandbox = sandbox(5).await;
        let rule = sandbox.faults().inject(Target::bind(), fault.clone(), When::Next(6));
        let shell = start(&sandbox).await;
        create_pods(&sandbox, "p", 20, "100m");
        until_bound(&sandbox, 20).await;
        assert_eq!(sandbox.faults().strikes(rule), 6, "{fault:?}");
        check(&shell).await.map_err(|error| error.context(format!("{fault:?}")))?;
        shell.stop().await;
        sandbox.shutdown().await;
    }
    Ok(())
}

/// As in kube-scheduler, whose `BindPod` tries four times before the attempt fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_error_costs_a_binding_no_attempt() -> Result<()> {
    for fault in [Fault::InternalError, Fault::ServiceUnavailable] {
        let sandbox = sandbox(1).await;
        let rule = sandbox.faults().inject(Target::bind(), fault.clone(), When::Next(3));
        let looks =
            sandbox.faults().inject(Target::of(Verb::Get, "pods"), Fault::InternalError, When::Always);
        let shell = start(&sandbox).await;
        create_pods(&sandbox, "p", 1, "100m");
        until_bound(&sandbox, 1).await;
        assert_eq!((sandbox.faults().strikes(rule), sandbox.faults().strikes(looks)), (3, 0), "{fault:?}");
        until("the pod has its event", || !events_of(&sandbox, "p-0").is_empty()).await;
        assert_eq!(events_of(&sandbox, "p-0")[0].1, "Scheduled");
        check(&shell).await?;
        shell.stop().await;
        sandbox.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_overtakes_no_change_of_the_pods_status() -> Result<()> {
    let sandbox = sandbox(0).await;
    let status = Target::verb(Verb::Patch).subresource("status");
    let late = Fault::Slow { min: Duration::from_secs(3), max: Duration::from_secs(3) };
    let rule = sandbox.faults().inject(status, late, When::Next(1));
    let shell = start(&sandbox).await;
    create_pods(&sandbox, "p", 1, "100m");
    until("the status is on its way", || sandbox.faults().strikes(rule) == 1).await;
    // The pod takes room long before its status arrives.
    add_nodes(&sandbox, 0, 1);
    until_bound(&sandbox, 1).await;
    until("the status has arrived", || sandbox.history().count("patch pods/status") == 1).await;
    assert_eq!(condition_of(&sandbox, "p-0").map(|c| c["status"].clone()), Some("True".into()));
    check(&shell).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_that_is_never_answered_is_looked_at() -> Result<()> {
    let sandbox = sandbox(2).await;
    let rule = sandbox.faults().inject(Target::bind(), Fault::BlackHole, When::Next(2));
    // At first, reading the pod fails too.
    let look = sandbox.faults().inject(Target::of(Verb::Get, "pods"), Fault::InternalError, When::Next(2));
    let mut options = options(&sandbox);
    options.bind_timeout = Duration::from_millis(300);
    let shell = try_start(options).await?;
    create_pods(&sandbox, "p", 5, "100m");
    until_bound(&sandbox, 5).await;
    assert_eq!((sandbox.faults().strikes(rule), sandbox.faults().strikes(look)), (2, 2));
    check(&shell).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_cluster_is_filled_and_not_over_filled() -> Result<()> {
    let sandbox = sandbox(3).await;
    let shell = start(&sandbox).await;
    // 4 CPUs per node: 8 pods of half a CPU.
    create_pods(&sandbox, "p", 30, "500m");
    until_bound(&sandbox, 24).await;
    until_core(&shell, "six pods wait", |core| core.queue().size().unschedulable == 6).await;
    let over = shell.look(|core, _| core.overcommitted()).await;
    assert_eq!(over, Some(Vec::new()));
    // Room becomes free: a pod ends, and another takes its place.
    sandbox.objects().delete("pods", "default", &running(&sandbox), Some(0))?;
    until("the room is taken", || sandbox.history().binds_accepted() == 25).await;
    // A node joins.
    add_nodes(&sandbox, 3, 1);
    until("the rest has room", || bound(&sandbox) == 29).await;
    check(&shell).await
}

fn running(sandbox: &secondmate_sandbox::Sandbox) -> String {
    let pods = sandbox.objects().list("pods");
    let pod = pods.iter().find(|p| p["spec"]["nodeName"].is_string()).expect("one is bound");
    pod["metadata"]["name"].as_str().expect("a name").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_writes_slows_down_and_loses_nothing() -> Result<()> {
    let sandbox = sandbox(2).await;
    let mut options = options(&sandbox);
    options.write_limit = Some(WriteLimit { per_second: 200.0, burst: 5 });
    let shell = try_start(options).await?;
    create_pods(&sandbox, "p", 40, "10m");
    until_bound(&sandbox, 40).await;
    check(&shell).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_higher_priority_takes_the_room_of_lower_ones() -> Result<()> {
    let sandbox = sandbox(1).await;
    let shell = start(&sandbox).await;
    create_pods(&sandbox, "low", 4, "1");
    until_bound(&sandbox, 4).await;
    let mut high = pod("high", "2");
    high["spec"]["priorityClassName"] = "system-cluster-critical".into();
    sandbox.objects().create(high)?;
    let node_of = |name: &str| {
        let pod = sandbox.objects().get("pods", "default", name)?;
        pod["spec"]["nodeName"].as_str().map(ToOwned::to_owned)
    };
    until("the pod has its room", || node_of("high").is_some()).await;
    let left = || sandbox.objects().count_where("pods", "spec.nodeName!=").unwrap_or(0);
    until("two have gone", || left() == 3).await;
    let preempted = |e: &serde_json::Value| e["reason"] == "Preempted";
    until("both are told why", || {
        sandbox.objects().list("events").iter().filter(|e| preempted(e)).count() == 2
    })
    .await;
    check(&shell).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_ours_that_somebody_else_binds_is_counted_and_our_own_are_not() -> Result<()> {
    let sandbox = sandbox(2).await;
    let options = options(&sandbox);
    let count = options.admin.metrics.pods_bound_by_others.clone();
    let shell = try_start(options).await?;
    create_pods(&sandbox, "ours", 20, "10m");
    until_bound(&sandbox, 20).await;
    // Too big for any node, so it waits with us.
    sandbox.objects().create(pod("big", "100"))?;
    until_core(&shell, "it waits", |core| core.queue().size().unschedulable == 1).await;
    assert_eq!(count.get(), 0);
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "big", "namespace": "default"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node-00000"},
    });
    let request = http::Request::post("/api/v1/namespaces/default/pods/big/binding")
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&binding)?)?;
    let client = kube_client::Client::try_from(ClusterConfig::new(sandbox.url().parse()?))?;
    client.request::<serde_json::Value>(request).await?;
    until("the other's work is counted", || count.get() == 1).await;
    // Seen again, it is not reported again.
    sandbox.objects().merge("pods", "default", "big", "", &json!({"metadata": {"labels": {"a": "b"}}}))?;
    sandbox.objects().create(pod("last", "10m"))?;
    until("the next pod is bound", || bound(&sandbox) == 22).await;
    assert_eq!(count.get(), 1);
    shell.stop().await;
    Ok(())
}
