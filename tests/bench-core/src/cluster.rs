//! A cluster in memory: nodes and other objects as documents, and answers to what the core asks for.

use crate::options::Shape;
use crate::shapes::{NAMESPACES, namespace_name};
use anyhow::{Context, Result};
use secondmate_config::{Configuration, make_profiles};
use secondmate_core::port::{BindOutcome, Effect, Evicted, Input, PodWatch};
use secondmate_core::{EvaluationSettings, Scheduler, SchedulerConfig};
use secondmate_model::objects::ObjectKind;
use secondmate_model::{Node, Pod, Timestamp, Uid, wire};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// The scheduler's name.
pub const NAME: &str = "bench";
/// The time stands still.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// When what is there from the start came: nobody has bound pods lately, for whose sake nodes would be read before pods are bound.
const BEFORE: Timestamp = Timestamp::from_secs(1_800_000_000 - 3600);

/// The node label of zones.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// The node label of nodes.
pub const HOST: &str = "kubernetes.io/hostname";
/// Number of zones.
const ZONES: usize = 3;

/// The configuration: the default profile.
pub fn configuration(percentage: u8) -> Value {
    json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "percentageOfNodesToScore": percentage,
        "profiles": [{"schedulerName": NAME}],
    })
}

/// What is there beside pods and nodes.
pub fn objects(shape: Shape) -> Vec<(ObjectKind, Value)> {
    let namespace = |name: &str, labels: Value| {
        let document =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        (ObjectKind::Namespace, document)
    };
    let mut objects = vec![namespace("default", json!({}))];
    objects.extend((0..NAMESPACES).map(|at| namespace(&namespace_name(at), json!({"team": "bench"}))));
    if shape.has_service() {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bench", "namespace": "default"},
            "spec": {"selector": {"app": "bench"}}});
        objects.push((ObjectKind::Service, service));
    }
    objects
}

/// The name of the node with this number.
pub fn node_name(at: usize) -> String {
    format!("node-{at}")
}

/// The node with this number, as a document.
pub fn node(at: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": node_name(at), "labels": {
            HOST: node_name(at),
            ZONE: format!("zone-{}", at % ZONES),
            "disk": if at.is_multiple_of(2) { "ssd" } else { "hdd" },
        }},
        "status": {"allocatable": {"cpu": "32", "memory": "128Gi", "pods": "110"},
            "images": [{"names": ["app:1"], "sizeBytes": 100 << 20}]},
    })
}

/// A pod as the scheduler has it.
pub fn pod(document: Value) -> Arc<Pod> {
    let wire: wire::Pod = serde_json::from_value(document).expect("a well-formed pod");
    Arc::new(Pod::new(&wire).expect("quantities that parse"))
}

/// A scheduler, and the pods on its nodes.
pub struct Cluster {
    /// The core.
    pub scheduler: Scheduler,
    bound: HashSet<Uid>,
}

/// What became of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// It was bound.
    pub bound: bool,
    /// Pods that were evicted for it.
    pub evicted: usize,
}

impl Cluster {
    /// A scheduler with the default profile that knows so many nodes.
    ///
    /// # Errors
    /// None in practice: what is made here is well-formed.
    pub fn new(
        shape: Shape,
        nodes: usize,
        percentage: u8,
        evaluation: EvaluationSettings,
        initial: bool,
    ) -> Result<Self> {
        let configuration: Configuration =
            configuration(percentage).to_string().parse().context("the configuration")?;
        let profiles = make_profiles(&configuration, &secondmate_plugins::registry()?)?;
        let config = SchedulerConfig { evaluation, ..SchedulerConfig::default() };
        let mut scheduler = Scheduler::new(config, profiles);
        for (kind, document) in objects(shape) {
            let (object, _) = kind.compile(&document).context("an object")?;
            scheduler.apply(Input::Object(object), BEFORE);
        }
        for at in 0..nodes {
            let wire: wire::Node = serde_json::from_value(node(at)).context("a node")?;
            scheduler.apply(Input::Node(Arc::new(Node::new(&wire)?)), BEFORE);
        }
        let pods = initial.then(|| shape.initial(nodes)).into_iter().flatten();
        for document in pods {
            scheduler.apply(Input::Pod(PodWatch::Assigned, pod(document)), BEFORE);
        }
        scheduler.take_effects();
        Ok(Self { scheduler, bound: HashSet::new() })
    }

    /// Answers what the core asks for: pods are bound and seen on their nodes, victims go. `remember` is for pods that are deleted
    /// later.
    pub fn answer(&mut self, remember: bool) -> Answered {
        let mut answered = Answered::default();
        for effect in self.scheduler.take_effects() {
            match effect {
                Effect::Bind { pod, node, .. } => {
                    answered.bound = true;
                    let placed: Arc<Pod> = Arc::new(pod.on_node(&node));
                    if remember {
                        self.bound.insert(pod.uid.clone());
                    }
                    self.scheduler.apply(Input::BindFinished(pod.uid.clone(), BindOutcome::Bound), NOW);
                    self.scheduler.apply(Input::Pod(PodWatch::Assigned, placed), NOW);
                    self.scheduler.apply(Input::PodGone(PodWatch::Pending, pod.uid.clone()), NOW);
                    // Scheduled events and observations.
                    self.scheduler.take_effects();
                }
                Effect::Evict { victim, preemptor, .. } => {
                    answered.evicted += 1;
                    let (preemptor, victim) = (preemptor.uid.clone(), victim.uid.clone());
                    let gone = Input::PodGone(PodWatch::Assigned, victim.clone());
                    let result = Ok(Evicted::Deleted);
                    self.scheduler.apply(Input::EvictFinished { preemptor, victim, result }, NOW);
                    self.scheduler.apply(gone, NOW);
                }
                _ => {}
            }
        }
        answered
    }

    /// Deletes a pod that was bound; says whether it was.
    pub fn delete(&mut self, uid: &Uid) -> bool {
        let known = self.bound.remove(uid);
        if known {
            self.scheduler.apply(Input::PodGone(PodWatch::Assigned, uid.clone()), NOW);
        }
        known
    }
}
