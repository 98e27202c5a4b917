//! The calls to extenders in a cycle: after the filters, after the scores, and on candidates for preemption.
//!
//! Source of the rules: `findNodesThatPassExtenders` and `prioritizeNodes` in `pkg/scheduler/schedule_one.go`, `callExtenders` in
//! `pkg/scheduler/framework/preemption`.

use super::{Failure, Scored};
use crate::profile::Profile;
use secondmate_framework::{
    Code, Context, EXTENDER_NAME, Extender, ExtenderError, ExtenderVerdict, ExtenderVictims,
    MAX_EXTENDER_PRIORITY, MAX_NODE_SCORE, NodeStatuses, Parity, PassedNodes, PreemptionCandidate, Status,
};
use secondmate_model::{Atom, Node, NodeInfo, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The nodes that pass the extenders, out of those that passed the filters; verdicts on the others are recorded.
///
/// # Errors
/// If an extender that is not ignorable failed.
pub fn filter_by_extenders(
    profile: &Profile,
    cx: &Context<'_>,
    pod: &Arc<Pod>,
    mut nodes: Vec<Arc<NodeInfo>>,
    statuses: &mut NodeStatuses,
) -> Result<Vec<Arc<NodeInfo>>, Failure> {
    for extender in profile.extenders().interested(pod).filter(|extender| extender.verbs.filter) {
        if nodes.is_empty() {
            break;
        }
        let verdict = extender.calls.filter(pod, &nodes).and_then(|verdict| {
            let passed = passed(extender, profile.handle().parity, &nodes, &verdict.passed)?;
            Ok((passed, verdict))
        });
        match verdict {
            Ok((passed, verdict)) => {
                record(cx, &verdict, statuses);
                nodes = passed;
            }
            Err(_) if extender.ignorable => {}
            Err(ExtenderError(message)) => return Err(Failure::new(&Atom::new(EXTENDER_NAME), message)),
        }
    }
    Ok(nodes)
}

/// Records the verdicts on nodes that did not pass. Upstream also counts those on nodes that do not exist.
fn record(cx: &Context<'_>, verdict: &ExtenderVerdict, statuses: &mut NodeStatuses) {
    let failed = verdict.failed.iter().map(|(node, reason)| (node, reason, Code::Unschedulable));
    let unresolvable =
        verdict.unresolvable.iter().map(|(node, reason)| (node, reason, Code::UnschedulableAndUnresolvable));
    for (node, reason, code) in failed.chain(unresolvable) {
        if let Some(position) = cx.snapshot.position(&Atom::new(node)) {
            statuses.set(position, Status::new(code, reason.clone()));
        }
    }
}

/// The nodes that pass an extender, without duplicates. It may only return nodes that it was asked about: upstream accepts a
/// complete node without checking that, and binds the pod to it.
fn passed(
    extender: &Extender,
    parity: Parity,
    asked: &[Arc<NodeInfo>],
    passed: &PassedNodes,
) -> Result<Vec<Arc<NodeInfo>>, ExtenderError> {
    let mut by_name: BTreeMap<&str, &Arc<NodeInfo>> =
        asked.iter().map(|node| (node.name().as_str(), node)).collect();
    let known: std::collections::BTreeSet<&str> = by_name.keys().copied().collect();
    let mut take = |name: &str| match by_name.remove(name) {
        Some(node) => Ok(Some(node)),
        None if known.contains(name) => Ok(None),
        None => Err(ExtenderError(format!(
            "extender {:?} claims a filtered node {name:?} which is not found in the input node list",
            extender.name
        ))),
    };
    let mut nodes = Vec::with_capacity(asked.len());
    match passed {
        PassedNodes::Names(names) => {
            for name in names {
                nodes.extend(take(name)?.cloned());
            }
        }
        PassedNodes::Nodes(returned) => {
            for node in returned {
                nodes.extend(take(node.name.as_str())?.map(|known| returned_node(parity, known, node)));
            }
        }
    }
    Ok(nodes)
}

/// A node that was returned as a complete object. Upstream scores the returned object, which has no pods and no image states.
fn returned_node(parity: Parity, known: &Arc<NodeInfo>, returned: &Arc<Node>) -> Arc<NodeInfo> {
    match parity {
        Parity::Strict => Arc::new(NodeInfo::new(Arc::clone(returned))),
        Parity::Sensible => Arc::clone(known),
    }
}

/// Adds the scores of the extenders. All are called concurrently; an extender that fails contributes no scores.
pub fn prioritize_by_extenders(
    profile: &Profile,
    pod: &Arc<Pod>,
    nodes: &[Arc<NodeInfo>],
    scored: &mut Scored,
) {
    let prioritizers = profile.extenders().interested(pod).filter(|extender| extender.verbs.prioritize);
    let asked: Vec<_> =
        prioritizers.map(|extender| (extender.weight, extender.calls.prioritize(pod, nodes))).collect();
    if asked.is_empty() {
        return;
    }
    let mut by_name: BTreeMap<String, i64> = BTreeMap::new();
    for (weight, answer) in asked {
        let Ok(scores) = answer() else { continue };
        for (node, score) in scores {
            let score = score.wrapping_mul(weight).wrapping_mul(MAX_NODE_SCORE / MAX_EXTENDER_PRIORITY);
            let sum = by_name.entry(node).or_insert(0);
            *sum = sum.wrapping_add(score);
        }
    }
    for (node, total) in nodes.iter().zip(&mut scored.totals) {
        if let Some(score) = by_name.get(node.name().as_str()) {
            *total = total.wrapping_add(*score);
        }
    }
}

/// The candidates for preemption that the extenders keep, with the victims that they name.
///
/// # Errors
/// If an extender that is not ignorable failed, or left a node without victims.
pub fn confirm_preemption(
    profile: &Profile,
    cx: &Context<'_>,
    pod: &Arc<Pod>,
    mut candidates: Vec<PreemptionCandidate>,
) -> Result<Vec<PreemptionCandidate>, Status> {
    if candidates.is_empty() {
        return Ok(candidates);
    }
    for extender in profile.extenders().interested(pod).filter(|extender| extender.verbs.preempt) {
        let answer = extender.calls.preempt(pod, &candidates).and_then(|answer| {
            answer
                .iter()
                .map(|(node, victims)| candidate(profile, extender, cx, node, victims))
                .collect::<Result<Vec<_>, _>>()
        });
        match answer {
            Ok(left) => candidates = with_victims(extender, left)?,
            Err(_) if extender.ignorable => continue,
            Err(error) => return Err(Status::error(error.to_string())),
        }
        if candidates.is_empty() {
            break;
        }
    }
    // If the rules leave a tie, the first node in the snapshot's order is taken.
    candidates.sort_by_key(|candidate| cx.snapshot.position(&candidate.node));
    Ok(candidates)
}

/// A candidate as returned by an extender.
fn candidate(
    profile: &Profile,
    extender: &Extender,
    cx: &Context<'_>,
    node: &str,
    victims: &ExtenderVictims,
) -> Result<PreemptionCandidate, ExtenderError> {
    let name = Atom::new(node);
    let info = cx
        .snapshot
        .node(&name)
        .ok_or_else(|| ExtenderError(format!("nodeinfo not found for node name {node:?}")))?;
    let victim = |uid: &String| {
        let pod = info.pods().iter().find(|pod| pod.uid.as_str() == uid).ok_or_else(|| {
            ExtenderError(format!(
                "extender: {} claims to preempt pod (UID: &{{{uid}}}) on node: {node}, but the pod is not found on that node",
                extender.name
            ))
        })?;
        let spared = |names: &Arc<[Atom]>| !names.contains(&pod.scheduler_name);
        if profile.handle().victims_of.as_ref().is_some_and(spared) {
            return Err(ExtenderError(format!(
                "extender: {} claims to preempt pod {} on node: {node}, but the pod is of scheduler {}, whose pods are not evicted unless preemption.victims in the SecondmateConfiguration says so",
                extender.name,
                pod.full_name(),
                pod.scheduler_name
            )));
        }
        Ok(Arc::clone(pod))
    };
    Ok(PreemptionCandidate {
        victims: victims.uids.iter().map(victim).collect::<Result<_, _>>()?,
        budget_violations: victims.budget_violations,
        node: name,
    })
}

/// Every candidate must have a victim; one without is dropped if the extender is ignorable.
fn with_victims(
    extender: &Extender,
    mut candidates: Vec<PreemptionCandidate>,
) -> Result<Vec<PreemptionCandidate>, Status> {
    if extender.ignorable {
        candidates.retain(|candidate| !candidate.victims.is_empty());
    }
    match candidates.iter().find(|candidate| candidate.victims.is_empty()) {
        Some(empty) => {
            Err(Status::error(format!("expected at least one victim pod on node {:?}", empty.node.as_str())))
        }
        None => Ok(candidates),
    }
}
