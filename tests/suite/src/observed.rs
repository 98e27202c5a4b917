//! What schedulers said about a pod: its condition, its events, its node.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use secondmate_harness::Cluster;
use serde_json::Value;

/// What a scheduler said of a pod that it did not place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Status, reason and message of the condition `PodScheduled`.
    pub condition: [String; 3],
    /// Type, reason, action and note of its different events by schedulers, oldest first. (How often one is written
    /// depends on how often the pod was tried.)
    pub events: Vec<[String; 4]>,
    /// `status.nominatedNodeName`.
    pub nominated: String,
}

/// An event about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `Normal` or `Warning`.
    pub kind: String,
    /// `Scheduled`, `FailedScheduling`, `Preempted`, …
    pub reason: String,
    /// `Binding`, `Scheduling`, `Preempting`.
    pub action: String,
    /// The text.
    pub note: String,
    /// Who wrote it.
    pub controller: String,
    /// The name of the object it is about.
    pub regarding: String,
    /// When it was first seen.
    pub time: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The events of a namespace about pods, oldest first.
///
/// # Errors
///
/// When the API server does not answer.
pub fn events(cluster: &Cluster, namespace: &str) -> Result<Vec<Event>> {
    let list = cluster.list(&format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"))?;
    let mut events: Vec<Event> = list
        .iter()
        .filter(|event| event["regarding"]["kind"] == "Pod")
        .map(|event| Event {
            kind: text(&event["type"]),
            reason: text(&event["reason"]),
            action: text(&event["action"]),
            note: text(&event["note"]),
            controller: text(&event["reportingController"]),
            regarding: text(&event["regarding"]["name"]),
            time: text(&event["eventTime"]),
        })
        .collect();
    events.sort_by(|a, b| a.time.cmp(&b.time));
    Ok(events)
}

/// Status, reason and message of a pod's condition `PodScheduled`; empty texts where there is none.
#[must_use]
pub fn condition(pod: &Value) -> [String; 3] {
    let conditions = pod["status"]["conditions"].as_array();
    let scheduled = conditions.into_iter().flatten().find(|condition| condition["type"] == "PodScheduled");
    scheduled.map_or_else(Default::default, |condition| {
        ["status", "reason", "message"].map(|field| text(&condition[field]))
    })
}

/// The node of a pod, if it has one.
#[must_use]
pub fn node_of(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str()
}

/// What was said of a pod; `names` are replaced, so that the verdicts on two pods of different names can be compared.
///
/// # Errors
///
/// When the API server does not answer.
pub fn verdict(cluster: &Cluster, namespace: &str, pod: &str, names: &[(&str, &str)]) -> Result<Verdict> {
    let object = cluster.api().get(&format!("/api/v1/namespaces/{namespace}/pods/{pod}"))?;
    let replaced = |text: String| names.iter().fold(text, |text, (from, to)| text.replace(from, to));
    let mut said = Vec::new();
    for event in events(cluster, namespace)? {
        let texts = [event.kind, event.reason, event.action, event.note].map(replaced);
        if event.regarding == pod && event.controller.ends_with("-scheduler") && !said.contains(&texts) {
            said.push(texts);
        }
    }
    Ok(Verdict {
        condition: condition(&object).map(replaced),
        events: said,
        nominated: text(&object["status"]["nominatedNodeName"]),
    })
}

/// The rows of the section `Events:` of `kubectl describe pod`: type, reason, source and message.
///
/// # Errors
///
/// When kubectl fails, or shows no such section.
pub fn described_events(cluster: &Cluster, namespace: &str, pod: &str) -> Result<Vec<[String; 4]>> {
    let shown = cluster.kubectl(&["describe", "pod", pod, "-n", namespace])?;
    let (_, section) = shown.split_once("\nEvents:").context("no events are shown")?;
    // Two lines of heading; columns stand apart by two blanks or more.
    let rows = section.lines().skip(3).filter(|line| !line.trim().is_empty());
    rows.map(|line| {
        let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty());
        let mut next = || columns.next().map(str::to_owned).with_context(|| line.to_owned());
        let (kind, reason, _age, source) = (next()?, next()?, next()?, next()?);
        let message: Vec<&str> = columns.collect();
        Ok([kind, reason, source, message.join("  ")])
    })
    .collect()
}

/// The nodes whose pods ask for more CPU (in thousandths) or more pods than they have, with what is asked.
///
/// # Errors
///
/// When the API server does not answer, or an amount is not of the plain forms that these tests use.
pub fn over_allocatable(cluster: &Cluster) -> Result<BTreeMap<String, (u64, u64)>> {
    let mut asked: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for pod in cluster.list("/api/v1/pods?fieldSelector=status.phase!=Succeeded,status.phase!=Failed")? {
        let Some(node) = node_of(&pod) else { continue };
        let (cpu, pods) = asked.entry(node.to_owned()).or_default();
        *pods += 1;
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            *cpu += milli(&container["resources"]["requests"]["cpu"])?;
        }
    }
    for node in cluster.list("/api/v1/nodes")? {
        let name = node["metadata"]["name"].as_str().context("a name")?;
        let allocatable = &node["status"]["allocatable"];
        let fits = |(cpu, pods): &(u64, u64)| {
            Ok::<_, anyhow::Error>(
                *cpu <= milli(&allocatable["cpu"])? && *pods * 1000 <= milli(&allocatable["pods"])?,
            )
        };
        if asked.get(name).map(fits).transpose()? != Some(false) {
            asked.remove(name);
        }
    }
    Ok(asked)
}

fn milli(quantity: &Value) -> Result<u64> {
    let Some(quantity) = quantity.as_str() else { return Ok(0) };
    match quantity.strip_suffix('m') {
        Some(milli) => milli.parse(),
        None => quantity.parse::<u64>().map(|whole| whole * 1000),
    }
    .with_context(|| quantity.to_owned())
}
