//! A cluster in memory: nodes, and answers to what the core asks for.

use anyhow::{Context, Result};
use secondmate_config::{Configuration, make_profiles};
use secondmate_core::port::{BindOutcome, Effect, Input, PodWatch};
use secondmate_core::{EvaluationSettings, Scheduler, SchedulerConfig};
use secondmate_model::objects::ObjectKind;
use secondmate_model::{Node, Pod, Timestamp, wire};
use serde_json::json;
use std::sync::Arc;

/// The scheduler's name.
pub const NAME: &str = "bench";
/// The time stands still.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A scheduler with the default profile that knows so many nodes.
pub fn scheduler(
    nodes: usize,
    percentage: u8,
    evaluation: EvaluationSettings,
    service: bool,
) -> Result<Scheduler> {
    let document = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "percentageOfNodesToScore": percentage,
        "profiles": [{"schedulerName": NAME}],
    });
    let configuration: Configuration = document.to_string().parse().context("the configuration")?;
    let profiles = make_profiles(&configuration, &secondmate_plugins::registry()?)?;
    let config = SchedulerConfig { evaluation, ..SchedulerConfig::default() };
    let mut scheduler = Scheduler::new(config, profiles);
    let namespace = json!({"metadata": {"name": "default", "labels": {"team": "bench"}}});
    let (namespace, _) = ObjectKind::Namespace.compile(&namespace).context("the namespace")?;
    scheduler.apply(Input::Object(namespace), NOW);
    if service {
        let service = json!({"metadata": {"name": "bench", "namespace": "default"}, "spec": {"selector": {"app": "bench"}}});
        let (service, _) = ObjectKind::Service.compile(&service).context("the service")?;
        scheduler.apply(Input::Object(service), NOW);
    }
    for at in 0..nodes {
        scheduler.apply(Input::Node(node(at)?), NOW);
    }
    Ok(scheduler)
}

fn node(at: usize) -> Result<Arc<Node>> {
    let node = json!({
        "metadata": {"name": format!("node-{at}"), "labels": {
            "kubernetes.io/hostname": format!("node-{at}"),
            "topology.kubernetes.io/zone": format!("zone-{}", at % 3),
            "disk": if at.is_multiple_of(2) { "ssd" } else { "hdd" },
        }},
        "status": {"allocatable": {"cpu": "32", "memory": "128Gi", "pods": "110"},
            "images": [{"names": ["app:1"], "sizeBytes": 100 << 20}]},
    });
    let wire: wire::Node = serde_json::from_value(node).context("a node")?;
    Ok(Arc::new(Node::new(&wire)?))
}

/// Answers what the core asks for; says whether the pod was bound.
pub fn answer(scheduler: &mut Scheduler) -> bool {
    let mut bound = false;
    for effect in scheduler.take_effects() {
        if let Effect::Bind { pod, node, .. } = effect {
            bound = true;
            let placed: Arc<Pod> = Arc::new(pod.on_node(&node));
            scheduler.apply(Input::BindFinished(pod.uid.clone(), BindOutcome::Bound), NOW);
            scheduler.apply(Input::Pod(PodWatch::Assigned, placed), NOW);
            scheduler.apply(Input::PodGone(PodWatch::Pending, pod.uid.clone()), NOW);
            // Scheduled events and observations.
            scheduler.take_effects();
        }
    }
    bound
}
