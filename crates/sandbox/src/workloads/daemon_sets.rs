//! DaemonSets: a pod for each node that fits, tied to it by a required node affinity; the scheduler places it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::revisions::REVISION_HASH;
use super::{BURST, Controller, generated_pod_of, is_over, is_ready, label};
use crate::kubelet::NodeState;
use crate::object::Object;
use crate::resource::{DAEMON_SETS, PODS};

/// The taints that daemons tolerate: key and effect.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

impl Controller {
    pub(super) fn reconcile_daemon_set(&mut self, object: &Object) {
        let set = object.value();
        if self.rests(object, &set) {
            return;
        }
        let hash = self.keep_revision(object, &set);
        let mut spec = set["spec"]["template"]["spec"].clone();
        tolerate(&mut spec);
        let wanted: Vec<Box<str>> = self
            .nodes
            .all(&self.api)
            .iter()
            .filter(|node| {
                let node = node.value();
                NodeState::new(&node).fits_daemon(&spec, &node["spec"]["taints"])
            })
            .map(|node| node.name.clone())
            .collect();
        let mut by_node: BTreeMap<String, Vec<Arc<Object>>> = BTreeMap::new();
        for pod in self.of(PODS).owned_by(&self.api, &object.uid) {
            by_node.entry(target_of(&pod)).or_default().push(pod);
        }
        let mut failure = None;
        let mut created = 0;
        for node in &wanted {
            let pods = by_node.get(&**node).map(Vec::as_slice).unwrap_or_default();
            // A finished one makes room for the next.
            pods.iter().filter(|p| is_over(p) && !p.deleting).for_each(|p| self.delete(PODS, p));
            if !pods.is_empty() || created == BURST || failure.is_some() {
                continue;
            }
            let mut pod = generated_pod_of(&set, &set["spec"]["template"]);
            pod["metadata"]["labels"][REVISION_HASH] = Value::from(hash.as_str());
            pod["spec"] = spec.clone();
            tie_to(&mut pod["spec"], node);
            failure = self.create_pod(object, pod).err();
            created += usize::from(failure.is_none());
        }
        for (node, pods) in &by_node {
            let kept = usize::from(wanted.iter().any(|wanted| **wanted == **node));
            pods.iter().filter(|p| !p.deleting).skip(kept).for_each(|p| self.delete(PODS, p));
        }
        let pods: Vec<&Arc<Object>> = by_node.values().flatten().filter(|p| !p.deleting).collect();
        if set["spec"]["updateStrategy"]["type"] != "OnDelete" {
            self.replace_outdated(&set, &hash, &pods, wanted.len());
        }
        let ready = pods.iter().filter(|p| is_ready(p)).count();
        let mut status = json!({
            "desiredNumberScheduled": wanted.len(), "currentNumberScheduled": pods.len().min(wanted.len()),
            "numberReady": ready, "numberAvailable": ready, "numberMisscheduled": 0,
            "numberUnavailable": wanted.len().saturating_sub(ready),
            "updatedNumberScheduled": pods.iter().filter(|p| label(p, REVISION_HASH) == Some(&hash)).count(),
            "observedGeneration": set["metadata"]["generation"],
        });
        if let Some(error) = failure {
            status["conditions"] = json!([{
                "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": error.message }]);
        }
        self.write_status(DAEMON_SETS, object, &status);
    }

    /// Deletes pods of an earlier template, at most as many at once as may be unavailable.
    fn replace_outdated(&self, set: &Value, hash: &str, pods: &[&Arc<Object>], wanted: usize) {
        let most = &set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"];
        let most = match most.as_str().and_then(|text| text.strip_suffix('%')?.parse::<usize>().ok()) {
            Some(percent) => wanted * percent / 100,
            None => usize::try_from(most.as_u64().unwrap_or(1)).unwrap_or(1),
        };
        let (updated, old): (Vec<&Arc<Object>>, Vec<_>) =
            pods.iter().partition(|pod| label(pod, REVISION_HASH) == Some(hash));
        let (running, idle): (Vec<&Arc<Object>>, Vec<_>) = old.into_iter().partition(|pod| is_ready(pod));
        // Deleting a pod that is not running costs no availability.
        idle.iter().for_each(|pod| self.delete(PODS, pod));
        let missing = wanted.saturating_sub(updated.iter().filter(|p| is_ready(p)).count() + running.len());
        for pod in running.iter().take(most.max(1).saturating_sub(missing)) {
            self.delete(PODS, pod);
        }
    }
}

fn tolerate(spec: &mut Value) {
    let host_network = spec["hostNetwork"] == true;
    if !spec["tolerations"].is_array() {
        spec["tolerations"] = json!([]);
    }
    let Value::Array(tolerations) = &mut spec["tolerations"] else { return };
    let network = [("node.kubernetes.io/network-unavailable", "NoSchedule")];
    for (key, effect) in TOLERATED.into_iter().chain(network.into_iter().filter(|_| host_network)) {
        let toleration = json!({ "key": key, "operator": "Exists", "effect": effect });
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
}

/// Puts the node's name into every required term.
fn tie_to(spec: &mut Value, node: &str) {
    let by_name = json!([{ "key": "metadata.name", "operator": "In", "values": [node] }]);
    let required = &mut spec["affinity"]["nodeAffinity"][REQUIRED];
    match required["nodeSelectorTerms"].as_array_mut() {
        Some(terms) if !terms.is_empty() => {
            for term in terms {
                term["matchFields"] = by_name.clone();
            }
        }
        _ => *required = json!({ "nodeSelectorTerms": [{ "matchFields": by_name }] }),
    }
}

/// The node that a daemon's pod is tied to.
fn target_of(pod: &Object) -> String {
    let pod = pod.value();
    let term = &pod["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"][0];
    term["matchFields"][0]["values"][0].as_str().unwrap_or_default().to_owned()
}
