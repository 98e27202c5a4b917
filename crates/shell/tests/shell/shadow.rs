//! A shadow of a scheduler that this test plays: every kind of agreement and disagreement, and nothing is written.

use crate::fixture::*;
use anyhow::{Context, Result};
use secondmate_core::shadow::{Agreement, Comparison, Tally};
use secondmate_sandbox::{Fault, Sandbox, Target, Verb, When};
use secondmate_shell::{ClusterConfig, ShadowOptions, ShadowService};
use secondmate_telemetry::{Admin, Metrics};
use serde_json::{Value, json};
use std::time::Duration;

const OTHER: &str = "next-door";

async fn shadow(sandbox: &Sandbox) -> Result<(ShadowService, Metrics)> {
    let admin = Admin::new(Metrics::new());
    let options = ShadowOptions {
        cluster: ClusterConfig::new(sandbox.url().parse()?),
        profile: profile(OTHER),
        seed: 7,
        confirm_after: Duration::from_millis(100),
        admin: admin.clone(),
    };
    let shadow = ShadowService::start(options).await?;
    until("every list is in", || admin.health.ready().is_ok()).await;
    Ok((shadow, admin.metrics))
}

/// A pod of the other scheduler, with additions to its spec.
fn create(sandbox: &Sandbox, name: &str, cpu: &str, spec: &Value) -> Result<()> {
    let mut pod = pod(name, cpu);
    pod["spec"]["schedulerName"] = OTHER.into();
    for (field, value) in spec.as_object().context("an object")? {
        pod["spec"][field] = value.clone();
    }
    sandbox.objects().create(pod)?;
    Ok(())
}

fn node(number: usize) -> String {
    format!("node-{number:05}")
}

/// The other scheduler places it on this node.
fn bind(sandbox: &Sandbox, name: &str, at: usize) -> Result<()> {
    Ok(sandbox.objects().bind("default", name, "", &node(at))?)
}

/// The other scheduler finds no node for it.
fn reject(sandbox: &Sandbox, name: &str) -> Result<()> {
    reject_saying(sandbox, name, "0/3 nodes")
}

fn reject_saying(sandbox: &Sandbox, name: &str, message: &str) -> Result<()> {
    let condition =
        json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message });
    let status = json!({ "status": { "conditions": [condition] } });
    sandbox.objects().merge("pods", "default", name, "status", &status)?;
    Ok(())
}

fn affinity(kind: &str, name: &str) -> Value {
    let term = json!({ "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": [name] }] });
    match kind {
        "required" => {
            json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } } })
        }
        _ => {
            json!({ "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 100, "preference": term }] } })
        }
    }
}

async fn until_compared(shadow: &ShadowService, what: &str, agreement: Agreement, count: u64) -> Tally {
    until(what, || shadow.tally().count(agreement) == count).await;
    shadow.tally()
}

/// The disagreement about a pod.
fn about<'a>(tally: &'a Tally, pod: &str) -> Result<&'a Comparison> {
    tally.disagreements().find(|one| one.pod == format!("default/{pod}")).with_context(|| pod.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_decision_is_told_apart_and_nothing_is_written() -> Result<()> {
    let sandbox = sandbox(3).await;
    // Decided before the shadow was watching: not compared.
    create(&sandbox, "old", "100m", &json!({}))?;
    bind(&sandbox, "old", 0)?;
    let (shadow, metrics) = shadow(&sandbox).await?;

    create(&sandbox, "only-there", "100m", &json!({ "affinity": affinity("required", &node(1)) }))?;
    bind(&sandbox, "only-there", 1)?;
    until_compared(&shadow, "the only node that fits", Agreement::Same, 1).await;

    // Node 2 is empty, and node 0 is preferred; how much worse it is depends on the plugins.
    create(&sandbox, "worse", "100m", &json!({ "affinity": affinity("preferred", &node(0)) }))?;
    bind(&sandbox, "worse", 2)?;
    let tally = until_compared(&shadow, "a node of lower score", Agreement::Worse, 1).await;
    let worse = about(&tally, "worse")?;
    assert_eq!(
        (worse.theirs.as_ref().map(|n| n.as_str()), worse.ours.as_ref().map(|n| n.as_str())),
        (Some(&*node(2)), Some(&*node(0)))
    );
    assert_eq!(worse.main_plugin().map(|plugin| plugin.as_str()), Some("NodeAffinity"));
    assert_eq!(worse.plugins.iter().map(|plugin| plugin.difference()).sum::<i64>(), worse.difference);
    assert!(worse.difference > 0, "{worse:?}");

    create(&sandbox, "unfit", "100m", &json!({ "affinity": affinity("required", &node(1)) }))?;
    bind(&sandbox, "unfit", 0)?;
    let tally = until_compared(&shadow, "a node that is rejected here", Agreement::Unfit, 1).await;
    assert_eq!(
        about(&tally, "unfit")?.reason,
        "NodeAffinity: node(s) didn't match Pod's node affinity/selector"
    );

    create(&sandbox, "too-big-for-us", "100", &json!({}))?;
    bind(&sandbox, "too-big-for-us", 2)?;
    let tally =
        until_compared(&shadow, "a pod that fits nowhere here", Agreement::UnschedulableHere, 1).await;
    let reason = &about(&tally, "too-big-for-us")?.reason;
    assert!(reason.starts_with("0/3 nodes are available: 3 Insufficient cpu."), "{reason}");

    create(&sandbox, "too-big", "100", &json!({}))?;
    reject(&sandbox, "too-big")?;
    until_compared(&shadow, "neither finds a node", Agreement::BothUnschedulable, 1).await;
    create(&sandbox, "rejected-there", "100m", &json!({}))?;
    reject(&sandbox, "rejected-there")?;
    let tally = until_compared(&shadow, "they find no node", Agreement::UnschedulableThere, 1).await;
    assert_eq!(about(&tally, "rejected-there")?.reason, "0/3 nodes");

    // Preemption made room for it.
    create(&sandbox, "nominated", "100m", &json!({}))?;
    let nomination = json!({ "status": { "nominatedNodeName": node(1) } });
    sandbox.objects().merge("pods", "default", "nominated", "status", &nomination)?;
    bind(&sandbox, "nominated", 1)?;
    until_compared(&shadow, "what preemption did is not compared", Agreement::NotCompared, 1).await;

    // A pod that was created on its node, and another scheduler's pod: both only take room.
    let mut placed = pod("placed", "100m");
    placed["spec"]["nodeName"] = node(1).into();
    placed["spec"]["schedulerName"] = OTHER.into();
    sandbox.objects().create(placed)?;
    sandbox.objects().create(pod("of-another", "100m"))?;
    bind(&sandbox, "of-another", 1)?;
    create(&sandbox, "last", "100m", &json!({ "affinity": affinity("required", &node(1)) }))?;
    bind(&sandbox, "last", 1)?;
    let tally = until_compared(&shadow, "the last", Agreement::Same, 2).await;
    assert_eq!((tally.compared(), tally.agreed()), (7, 3));
    let text = metrics.encode();
    for series in [
        "secondmate_shadow_decisions_total{decision=\"same\"} 2",
        "secondmate_shadow_decisions_total{decision=\"worse\"} 1",
        "secondmate_shadow_score_difference_count 1",
        "secondmate_shadow_worse_nodes_total{plugin=\"NodeAffinity\"} 1",
    ] {
        assert!(text.lines().any(|line| line == series), "{series}\n{text}");
    }

    let reads = [Verb::Get, Verb::List, Verb::Watch];
    let written: Vec<String> = sandbox
        .history()
        .requests()
        .keys()
        .filter(|class| !reads.contains(&class.verb) && class.resource != "selfsubjectaccessreviews")
        .map(ToString::to_string)
        .collect();
    assert_eq!(written, Vec::<String>::new());
    Ok(())
}

/// Two identical nodes: whichever is chosen is as good as ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_the_highest_score_is_no_disagreement() -> Result<()> {
    const PODS: u64 = 12;
    let sandbox = sandbox(2).await;
    let (shadow, _) = shadow(&sandbox).await?;
    for number in 0..PODS {
        let name = format!("p-{number}");
        // Alone on empty nodes each time, so that both nodes are always equally good.
        create(&sandbox, &name, "100m", &json!({ "terminationGracePeriodSeconds": 0 }))?;
        bind(&sandbox, &name, number as usize % 2)?;
        until("it is compared", || shadow.tally().compared() == number + 1).await;
        sandbox.objects().delete("pods", "default", &name, Some(0))?;
        until("it is gone", || sandbox.objects().get("pods", "default", &name).is_none()).await;
    }
    let tally = shadow.tally();
    assert_eq!(
        (tally.compared(), tally.agreed()),
        (PODS, PODS),
        "{:?}",
        tally.disagreements().collect::<Vec<_>>()
    );
    assert!(tally.count(Agreement::EquallyGood) > 0, "the seed chose all twelve as they did");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_rejected_before_is_compared_and_each_other_word_about_it_again() -> Result<()> {
    const PODS: u64 = 50;
    let sandbox = sandbox(1).await;
    for number in 0..PODS {
        create(&sandbox, &format!("p-{number}"), "100", &json!({}))?;
        reject(&sandbox, &format!("p-{number}"))?;
    }
    let (shadow, _) = shadow(&sandbox).await?;
    until_compared(&shadow, "all of them", Agreement::BothUnschedulable, PODS).await;
    // A larger node has joined, and the other scheduler does not see it.
    let mut large = sandbox.objects().get("nodes", "", &node(0)).context("a node")?;
    large["metadata"] = json!({ "name": "large" });
    large["status"]["capacity"]["cpu"] = "200".into();
    large["status"]["allocatable"]["cpu"] = "200".into();
    sandbox.objects().create(large)?;
    reject(&sandbox, "p-1")?;
    // The watch of pods may be quicker than that of nodes, so that the first words are compared without the new node.
    let mut words = 0;
    let tally = loop {
        words += 1;
        reject_saying(&sandbox, "p-0", &format!("0/2 nodes, {words}"))?;
        let compared = || {
            let tally = shadow.tally();
            tally.count(Agreement::BothUnschedulable) + tally.count(Agreement::UnschedulableThere)
        };
        until("it is compared", || compared() == PODS + words).await;
        let tally = shadow.tally();
        if tally.count(Agreement::UnschedulableThere) > 0 {
            break tally;
        }
        assert!(words < 1_000, "the shadow does not see the new node");
    };
    assert_eq!(about(&tally, "p-0")?.reason, format!("0/2 nodes, {words}"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_size_of_the_cache_is_shown() -> Result<()> {
    let sandbox = sandbox(3).await;
    let (_shadow, metrics) = shadow(&sandbox).await?;
    let shown = |nodes: usize, pods: usize| {
        let text = metrics.encode();
        [("nodes", nodes), ("pods", pods), ("assumed_pods", 0)].iter().all(|(kind, number)| {
            let series = format!("scheduler_cache_size{{type=\"{kind}\"}} {number}");
            text.lines().any(|line| line == series)
        })
    };
    // A pod that waits is on no node.
    create(&sandbox, "waits", "100m", &json!({}))?;
    create(&sandbox, "placed", "100m", &json!({}))?;
    bind(&sandbox, "placed", 0)?;
    until("three nodes with a pod", || shown(3, 1)).await;
    sandbox.objects().delete("pods", "default", "placed", Some(0))?;
    until("three nodes without pods", || shown(3, 0)).await;
    Ok(())
}

/// A list has the pods in its own order, and shows what is gone only at its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_bound_while_the_pods_could_not_be_watched_is_not_compared() -> Result<()> {
    const MEANWHILE: u64 = 3;
    let sandbox = sandbox(2).await;
    let (shadow, _) = shadow(&sandbox).await?;
    let watches = Target::of(Verb::Watch, "pods");
    let rule = sandbox.faults().inject(watches, Fault::ServiceUnavailable, When::Always);
    sandbox.faults().break_watches();
    until("the watch of the pods is refused", || sandbox.faults().strikes(rule) > 0).await;
    for number in 0..MEANWHILE {
        let name = format!("p-{number}");
        create(&sandbox, &name, "100m", &json!({}))?;
        bind(&sandbox, &name, number as usize % 2)?;
    }
    // The watch cannot be resumed: the history is gone.
    sandbox.objects().compact("pods");
    sandbox.faults().remove(rule);
    let tally = until_compared(&shadow, "all bound meanwhile", Agreement::NotCompared, MEANWHILE).await;
    assert_eq!(tally.compared(), 0);

    create(&sandbox, "after", "100m", &json!({ "affinity": affinity("required", &node(1)) }))?;
    bind(&sandbox, "after", 1)?;
    until_compared(&shadow, "one that was bound since", Agreement::Same, 1).await;
    Ok(())
}
