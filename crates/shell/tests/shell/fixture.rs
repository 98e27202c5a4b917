//! A sandbox with a scheduler.

use anyhow::{Result, bail};
use secondmate_config::Configuration;
use secondmate_config::make_profiles;
use secondmate_core::queue::QueueConfig;
use secondmate_core::{CacheDifference, SchedulerConfig};
use secondmate_cycle::Profile;
use secondmate_sandbox::{KubeletOptions, NodeShape, Options as SandboxOptions, Sandbox};
use secondmate_shell::{ClusterConfig, CompareError, Options, Shell, StartError};
use secondmate_telemetry::{Admin, Metrics};
use serde_json::{Value, json};
use std::time::Duration;

/// The name that the scheduler under test serves.
pub const NAME: &str = "mate";

/// Nothing in these tests takes longer than this; a longer wait would never end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of `nodes` nodes of 4 CPUs, with quick kubelets.
pub async fn sandbox(nodes: usize) -> Sandbox {
    let kubelets = KubeletOptions {
        start_delay: Duration::ZERO,
        stop_delay: Duration::ZERO,
        ..KubeletOptions::default()
    };
    let sandbox = Sandbox::start(SandboxOptions { kubelets, ..SandboxOptions::default() })
        .await
        .expect("the sandbox starts on a free port");
    add_nodes(&sandbox, 0, nodes);
    sandbox
}

pub fn add_nodes(sandbox: &Sandbox, first: usize, count: usize) {
    let shape = NodeShape { cpu: "4".into(), memory: "8Gi".into(), pods: 110, zones: 3 };
    sandbox.add_nodes(first, count, &shape);
}

/// The default profile, evaluating every node.
pub fn profile(name: &str) -> Profile {
    let registry = secondmate_plugins::registry().expect("in-tree names differ");
    let mut configuration = Configuration::for_scheduler_names(&[name]).expect("a name");
    configuration.profiles[0].percentage_of_nodes_to_score = Some(100);
    make_profiles(&configuration, &registry).expect("the default profile").remove(0)
}

/// Options for a scheduler on the sandbox, without an election, with short backoffs.
pub fn options(sandbox: &Sandbox) -> Options {
    let cluster = ClusterConfig::new(sandbox.url().parse().expect("a URL"));
    let queue = QueueConfig {
        initial_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(1),
        ..QueueConfig::default()
    };
    Options {
        scheduler: SchedulerConfig {
            queue,
            seed: 7,
            verify_again_after: Duration::from_millis(50),
            yield_last_room: Duration::ZERO,
            ..SchedulerConfig::default()
        },
        ..Options::new(cluster, vec![profile(NAME)], Admin::new(Metrics::new()))
    }
}

pub async fn start(sandbox: &Sandbox) -> Shell {
    try_start(options(sandbox)).await.expect("the scheduler starts")
}

pub async fn try_start(options: Options) -> Result<Shell, StartError> {
    Shell::start(options).await
}

/// A pod for the scheduler under test.
pub fn pod(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "schedulerName": NAME,
            "containers": [{ "name": "c", "image": "nginx:1", "resources": { "requests": { "cpu": cpu } } }],
        },
    })
}

pub fn create_pods(sandbox: &Sandbox, prefix: &str, count: usize, cpu: &str) {
    for i in 0..count {
        sandbox.objects().create(pod(&format!("{prefix}-{i}"), cpu)).expect("a valid pod");
    }
}

/// The number of pods on nodes.
pub fn bound(sandbox: &Sandbox) -> usize {
    sandbox.objects().count_where("pods", "spec.nodeName!=").expect("a valid selector")
}

/// Polls until this returns true.
pub async fn until(what: &str, mut yes: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !yes() {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until that many pods are on nodes, and checks that none was bound twice.
pub async fn until_bound(sandbox: &Sandbox, count: usize) {
    until(&format!("{count} pods on nodes"), || bound(sandbox) == count).await;
    assert_eq!(sandbox.history().bound_twice(), Vec::<String>::new());
    assert_eq!(sandbox.history().binds_accepted(), count as u64);
}

/// Waits until this holds for the core.
pub async fn until_core(shell: &Shell, what: &str, yes: fn(&secondmate_core::Scheduler) -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !shell.look(move |core, _| yes(core)).await.expect("the core runs") {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Checks the core's invariants. A core that has ended has none, which is a bad sign.
pub async fn check_core(shell: &Shell) -> Result<()> {
    match shell.look(|core, _| core.check()).await {
        Some(Ok(())) => Ok(()),
        Some(Err(broken)) => bail!("{broken}"),
        None => bail!("the core has ended"),
    }
}

/// Checks the core's invariants, and the cache against the cluster.
pub async fn check(shell: &Shell) -> Result<()> {
    check_core(shell).await?;
    let differences = compare_cache(shell).await?;
    if !differences.is_empty() {
        bail!("{differences:?}");
    }
    Ok(())
}

/// Compares the cache with the cluster, when all watches are up to date.
pub async fn compare_cache(shell: &Shell) -> Result<Vec<CacheDifference>> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match shell.compare_cache().await {
            Err(CompareError::Behind { reason }) => {
                assert!(tokio::time::Instant::now() < deadline, "never up to date: {reason}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            compared => return Ok(compared?),
        }
    }
}

/// Events about a pod, as `(type, reason, note, count)`.
pub fn events_of(sandbox: &Sandbox, pod: &str) -> Vec<(String, String, String, u64)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let about = |event: &&Value| event["regarding"]["name"] == pod || event["involvedObject"]["name"] == pod;
    sandbox
        .objects()
        .list("events")
        .iter()
        .filter(about)
        .map(|e| {
            let note = if e["note"].is_null() { &e["message"] } else { &e["note"] };
            (text(&e["type"]), text(&e["reason"]), text(note), e["series"]["count"].as_u64().unwrap_or(1))
        })
        .collect()
}

/// The condition `PodScheduled` of a pod.
pub fn condition_of(sandbox: &Sandbox, pod: &str) -> Option<Value> {
    let pod = sandbox.objects().get("pods", "default", pod)?;
    pod["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == "PodScheduled").cloned()
}
