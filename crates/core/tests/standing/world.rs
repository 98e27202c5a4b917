//! A cluster of nodes that are alike, in which the standing evaluation places one pod after the other, and counts what that costs.

use crate::cluster::profile;
use crate::objects::pod;
use secondmate_core::Nominator;
use secondmate_core::cache::Cache;
use secondmate_cycle::{Evaluate, Outcome, Profile, Question, Random, Scope, Standing, StandingSettings};
use secondmate_framework::Snapshot;
use secondmate_model::{Node, NodeInfo, Pod, Timestamp, wire};
use serde_json::{Value, json};
use std::sync::Arc;

pub const AT_ONCE: StandingSettings =
    StandingSettings { bytes_max: 1 << 30, first_sight: true, columns_from: 9 };

pub struct World {
    pub cache: Cache,
    pub snapshot: Snapshot,
    pub nominator: Nominator,
    pub profile: Profile,
    pub standing: Standing,
    random: Random,
    names: usize,
    /// The complete JSON of each pod.
    pub json: Option<String>,
}

impl World {
    pub fn new(nodes: usize, percentage: u8, settings: StandingSettings) -> Self {
        let mut cache = Cache::new();
        (0..nodes).for_each(|at| {
            cache.set_node(node(at));
        });
        let (profile, standing) = (profile(percentage), Standing::new(settings));
        let (snapshot, nominator) = (Snapshot::default(), Nominator::default());
        Self { cache, snapshot, nominator, profile, standing, random: Random::new(1), names: 0, json: None }
    }

    pub fn place(&mut self, template: &Value) -> Option<Arc<NodeInfo>> {
        match self.try_pod(template) {
            (pod, Outcome::Placed { node, .. }) => {
                let placed: Pod = pod.on_node(node.name());
                self.cache.assume(Arc::new(placed)).expect("a new pod");
                Some(node)
            }
            _ => None,
        }
    }

    /// Why a pod fits nowhere.
    pub fn message(&mut self, template: &Value) -> String {
        match self.try_pod(template) {
            (_, Outcome::Rejected(rejection)) => rejection.message,
            _ => panic!("the pod is not rejected"),
        }
    }

    fn try_pod(&mut self, template: &Value) -> (Arc<Pod>, Outcome) {
        self.names += 1;
        let mut pod = pod(template, &format!("p{}", self.names));
        if let Some(json) = &self.json {
            pod = Arc::new(Pod::clone(&pod).with_json(json));
        }
        self.cache.refresh(&mut self.snapshot);
        let question = Question {
            profile: &self.profile,
            snapshot: &self.snapshot,
            nominations: &self.nominator,
            now: Timestamp::from_secs(1),
            pod: &pod,
            scope: Scope::Sample { start: 0 },
        };
        let outcome = self.standing.evaluate(&question, &mut self.random).outcome;
        (pod, outcome)
    }

    /// Numbers of nodes that plugins are asked about and of groups that are visited, for a pod that fits nowhere.
    pub fn for_rejection(&mut self, template: &Value) -> (u64, u64) {
        let counts = |world: &Self| {
            let counts = world.standing.counts();
            (counts.nodes_evaluated, counts.groups_visited)
        };
        let before = counts(self);
        self.message(template);
        let after = counts(self);
        (after.0 - before.0, after.1 - before.1)
    }

    /// Number of nodes that plugins are asked about for the next pod.
    pub fn nodes_for(&mut self, template: &Value) -> u64 {
        let before = self.standing.counts().nodes_evaluated;
        assert!(self.place(template).is_some(), "the pod fits");
        self.standing.counts().nodes_evaluated - before
    }
}

pub fn node(at: usize) -> Arc<Node> {
    let node = json!({"metadata": {"name": format!("n{at}"), "labels":
            {"topology.kubernetes.io/zone": format!("z{}", at % 3), "kubernetes.io/hostname": format!("n{at}")}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}});
    let wire: wire::Node = serde_json::from_value(node).expect("a node");
    Arc::new(Node::new(&wire).expect("a node that compiles"))
}

pub fn asking(cpu: &str) -> Value {
    json!({"metadata": {"namespace": "ns", "labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "100Mi"}}}]}})
}

/// A pod that must spread over the domains of the label.
pub fn spread(key: &str) -> Value {
    let mut spread = asking("100m");
    spread["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "a"}}}]);
    spread
}

/// A pod of an app that has a term selecting its own kind.
pub fn with_affinity(kind: &str, required: bool, key: &str, app: &str) -> Value {
    let term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}},
        "namespaceSelector": {"matchLabels": {"team": "red"}}});
    let mut pod = asking("100m");
    pod["metadata"]["labels"]["app"] = app.into();
    pod["spec"]["affinity"][kind] = if required {
        json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]})
    } else {
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "podAffinityTerm": term}]})
    };
    pod
}
