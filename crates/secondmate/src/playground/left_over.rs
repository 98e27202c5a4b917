//! Pods that were not bound, by group, with the reason that their owner can read.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Pods of one group that are pending for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LeftOver {
    /// `Deployment team/web`, or `Pods default/web-*` for pods of one template that nobody owns.
    pub group: String,
    pub pods: u64,
    /// The reason of the `PodScheduled` condition, or of the owner that cannot create the pods.
    pub reason: String,
    /// Its message; if pods have different ones, the most frequent.
    pub message: String,
}

/// Gathers the pods that were not bound.
#[derive(Debug, Default)]
pub(super) struct LeftOvers {
    /// By group and reason.
    groups: BTreeMap<(GroupKey, String), Gathered>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    name: String,
    /// Tells templates apart if the pods have no owner; otherwise zero.
    template: u64,
}

#[derive(Debug, Default)]
struct Gathered {
    pods: u64,
    /// The first pod's name.
    name: String,
    messages: BTreeMap<String, u64>,
}

/// Maximum number of different messages counted per group; any further ones are ignored.
const MESSAGES_MAX: usize = 1000;

impl LeftOvers {
    /// Adds a pod that has no node.
    pub fn add(&mut self, pod: &Value, scheduler_names: &[String]) {
        let (reason, message) = verdict(pod, scheduler_names);
        let gathered = self.groups.entry((group(pod), reason)).or_default();
        gathered.pods += 1;
        if gathered.pods == 1 {
            gathered.name = text(&pod["metadata"]["name"]).to_owned();
        }
        if gathered.messages.len() < MESSAGES_MAX || gathered.messages.contains_key(&message) {
            *gathered.messages.entry(message).or_insert(0) += 1;
        }
    }

    /// Adds the pods that a workload cannot create, or cannot create yet, and returns their number.
    pub fn add_refused(&mut self, workload: &Value) -> u64 {
        let conditions = workload["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let failure = conditions
            .iter()
            .find(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True");
        let in_order =
            workload["kind"] == "StatefulSet" && workload["spec"]["podManagementPolicy"] != "Parallel";
        let (reason, message) = match failure {
            Some(failure) => (text(&failure["reason"]), text(&failure["message"])),
            None if in_order => {
                ("OrderedReady", "a StatefulSet creates a pod when the one before it is Ready")
            }
            None => return 0,
        };
        let pods = missing(workload);
        if pods == 0 {
            return 0;
        }
        let metadata = &workload["metadata"];
        let owner = metadata["ownerReferences"].as_array().and_then(|owners| owners.first());
        let (kind, name) = match owner {
            Some(owner) => (text(&owner["kind"]), text(&owner["name"])),
            None => (text(&workload["kind"]), text(&metadata["name"])),
        };
        let key = GroupKey { name: format!("{kind} {}/{name}", text(&metadata["namespace"])), template: 0 };
        let gathered = self.groups.entry((key, reason.to_owned())).or_default();
        gathered.pods += pods;
        *gathered.messages.entry(message.to_owned()).or_insert(0) += pods;
        pods
    }

    /// The groups, largest first.
    pub fn finish(self) -> Vec<LeftOver> {
        let mut all: Vec<LeftOver> = self
            .groups
            .into_iter()
            .map(|((key, reason), gathered)| {
                let namespace = key.name.strip_prefix("Pods ").and_then(|name| name.split('/').next());
                let group = match namespace {
                    Some(namespace) if gathered.pods == 1 => format!("Pod {namespace}/{}", gathered.name),
                    _ => key.name,
                };
                let most = gathered.messages.into_iter().rev().max_by_key(|(_, pods)| *pods);
                let message = most.map(|(message, _)| message).unwrap_or_default();
                LeftOver { group, pods: gathered.pods, reason, message }
            })
            .collect();
        all.sort_by(|a, b| b.pods.cmp(&a.pods).then_with(|| a.group.cmp(&b.group)));
        all
    }
}

/// Number of pods that a workload wants but does not have.
fn missing(workload: &Value) -> u64 {
    let (spec, status) = (&workload["spec"], &workload["status"]);
    let (wanted, there) = match text(&workload["kind"]) {
        "DaemonSet" => (status["desiredNumberScheduled"].as_u64(), &status["currentNumberScheduled"]),
        "Job" => {
            let parallelism = spec["parallelism"].as_u64().unwrap_or(1);
            let left = spec["completions"]
                .as_u64()
                .map(|all| all.saturating_sub(status["succeeded"].as_u64().unwrap_or(0)));
            (Some(left.map_or(parallelism, |left| left.min(parallelism))), &status["active"])
        }
        _ => (spec["replicas"].as_u64(), &status["replicas"]),
    };
    wanted.unwrap_or(0).saturating_sub(there.as_u64().unwrap_or(0))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Why a pod is not bound: reason and message.
fn verdict(pod: &Value, scheduler_names: &[String]) -> (String, String) {
    let scheduler_name = text(&pod["spec"]["schedulerName"]);
    if !scheduler_names.iter().any(|own| own == scheduler_name) {
        let message = format!(
            "spec.schedulerName is {scheduler_name:?}, and the playground serves {}: set it in the manifest, or give --scheduler-name {scheduler_name}",
            scheduler_names.join(" and ")
        );
        return ("OtherScheduler".to_owned(), message);
    }
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    match conditions.iter().find(|condition| condition["type"] == "PodScheduled") {
        Some(condition) => {
            let message = match (text(&condition["reason"]), text(&condition["message"])) {
                ("SchedulingGated", "") => "the pod has scheduling gates: remove spec.schedulingGates",
                (_, message) => message,
            };
            (text(&condition["reason"]).to_owned(), message.to_owned())
        }
        None => (
            "NoVerdict".to_owned(),
            "the scheduler has not come to a verdict yet: give it more time by --timeout".to_owned(),
        ),
    }
}

/// What a pod belongs to: its owner, or the other pods of its template.
fn group(pod: &Value) -> GroupKey {
    let metadata = &pod["metadata"];
    let namespace = text(&metadata["namespace"]);
    let owners = metadata["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) {
        let (kind, name) = (text(&owner["kind"]), text(&owner["name"]));
        let hash = text(&metadata["labels"]["pod-template-hash"]);
        // A Deployment's ReplicaSet carries its name and the hash of the template.
        let deployment = name.strip_suffix(hash).and_then(|name| name.strip_suffix('-'));
        let name = match deployment {
            Some(deployment) if kind == "ReplicaSet" && !hash.is_empty() => {
                format!("Deployment {namespace}/{deployment}")
            }
            _ => format!("{kind} {namespace}/{name}"),
        };
        return GroupKey { name, template: 0 };
    }
    let stem = match text(&metadata["generateName"]) {
        "" => text(&metadata["name"]).trim_end_matches(|c: char| c.is_ascii_digit()),
        prefix => prefix,
    };
    let mut template = DefaultHasher::new();
    pod["spec"].to_string().hash(&mut template);
    GroupKey { name: format!("Pods {namespace}/{stem}*"), template: template.finish() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, scheduler: &str, cpu: &str, condition: &[&str]) -> Value {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "team"},
            "spec": {"schedulerName": scheduler, "containers": [{"resources": {"requests": {"cpu": cpu}}}]},
        });
        if let [reason, message] = condition {
            pod["status"]["conditions"] =
                json!([{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]);
        }
        pod
    }

    fn left(pods: &[Value]) -> Vec<String> {
        let mut all = LeftOvers::default();
        for pod in pods {
            all.add(pod, &["mine".to_owned()]);
        }
        all.finish()
            .iter()
            .map(|l| format!("{} | {} | {} | {}", l.pods, l.group, l.reason, l.message))
            .collect()
    }

    #[test]
    fn pods_of_one_template_are_one_group() {
        let full = ["Unschedulable", "0/1 nodes: full"];
        let busy = ["Unschedulable", "0/1 nodes: busy"];
        assert_eq!(
            left(&[
                pod("web-1", "mine", "1", &busy),
                pod("web-2", "mine", "1", &full),
                pod("web-3", "mine", "1", &full),
                pod("web-4", "mine", "64", &full),
            ]),
            [
                "3 | Pods team/web-* | Unschedulable | 0/1 nodes: full",
                "1 | Pod team/web-4 | Unschedulable | 0/1 nodes: full"
            ]
        );
    }

    #[test]
    fn owners_name_their_pods() {
        let mut of_deployment = pod("web-5d4f-x7k2p", "mine", "1", &["Unschedulable", "no"]);
        of_deployment["metadata"]["labels"] = json!({"pod-template-hash": "5d4f"});
        of_deployment["metadata"]["ownerReferences"] =
            json!([{"kind": "ReplicaSet", "name": "web-5d4f", "controller": true}]);
        let mut of_set = pod("db-abc", "mine", "1", &["Unschedulable", "no"]);
        of_set["metadata"]["ownerReferences"] =
            json!([{"kind": "ReplicaSet", "name": "db", "controller": true}]);
        assert_eq!(
            left(&[of_deployment, of_set]),
            ["1 | Deployment team/web | Unschedulable | no", "1 | ReplicaSet team/db | Unschedulable | no"]
        );
    }

    #[test]
    fn pods_that_are_never_created_count_where_their_set_says_why() {
        let mut all = LeftOvers::default();
        let mut set = json!({
            "kind": "ReplicaSet",
            "metadata": {"name": "web-5d4f", "namespace": "team", "ownerReferences": [{"kind": "Deployment", "name": "web"}]},
            "spec": {"replicas": 5}, "status": {"replicas": 2},
        });
        assert_eq!(all.add_refused(&set), 0);
        set["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no class"}]);
        assert_eq!(all.add_refused(&set), 3);
        let expected = LeftOver {
            group: "Deployment team/web".to_owned(),
            pods: 3,
            reason: "FailedCreate".to_owned(),
            message: "no class".to_owned(),
        };
        assert_eq!(all.finish(), [expected]);
    }

    #[test]
    fn pods_that_nobody_looked_at_have_a_reason_too() {
        assert_eq!(
            left(&[
                pod("a", "default-scheduler", "1", &[]),
                pod("b", "mine", "1", &[]),
                pod("c", "mine", "1", &["SchedulingGated", ""])
            ]),
            [
                "1 | Pod team/a | OtherScheduler | spec.schedulerName is \"default-scheduler\", and the playground serves mine: set it in the \
                 manifest, or give --scheduler-name default-scheduler",
                "1 | Pod team/b | NoVerdict | the scheduler has not come to a verdict yet: give it more time by --timeout",
                "1 | Pod team/c | SchedulingGated | the pod has scheduling gates: remove spec.schedulingGates",
            ]
        );
    }
}
