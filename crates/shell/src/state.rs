//! Writes what the scheduler knows to the log, as kube-scheduler does on SIGUSR2.
//!
//! First the cache is compared with the cluster; then every node is logged with the pods on it, and every waiting pod. The number of nodes
//! or pods per line is bounded, and so is the total number of lines.

use crate::compare::Comparer;
use crate::inbox::Inbox;
use secondmate_core::Scheduler;
use secondmate_core::queue::{Place, QueueSize};
use secondmate_model::{NodeInfo, Pod, Timestamp};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tracing::{error, info, warn};

/// Maximum number of nodes that are logged.
const NODES_MAX: usize = 5_000;
/// Maximum numbers of pods that are logged: per node, and of the queue.
const PODS_OF_NODE_MAX: usize = 256;
const PODS_WAITING_MAX: usize = 10_000;
/// Pods of the queue per line.
const PODS_PER_LINE: usize = 50;
/// Lines at a time, and the pause after them: so the log writer keeps up, and no other lines are dropped.
const LINES_AT_ONCE: usize = 64;
const PAUSE: Duration = Duration::from_millis(5);

/// Compares, and writes everything to the log.
pub(crate) async fn log(inbox: Inbox, comparer: Comparer) {
    match comparer.compare().await {
        Ok(differences) if differences.is_empty() => info!("the cache is the same as the cluster"),
        Ok(differences) => {
            let list: Vec<String> = differences.iter().take(100).map(ToString::to_string).collect();
            error!(count = differences.len(), "the cache differs from the cluster: {}", list.join(", "));
        }
        Err(error) => warn!("the cache was not compared with the cluster: {error}"),
    }
    let Some(state) = inbox.look(State::of).await else {
        return warn!("cache and queue cannot be told: the scheduler has stopped");
    };
    for (number, node) in state.nodes.iter().enumerate() {
        if number % LINES_AT_ONCE == LINES_AT_ONCE - 1 {
            sleep(PAUSE).await;
        }
        info!("dump of cached node: {}", told_node(node));
    }
    info!(
        nodes = state.nodes_count,
        told = state.nodes.len(),
        waiting = state.waiting_count,
        active = state.sizes.active,
        backoff = state.sizes.backoff,
        unschedulable = state.sizes.unschedulable,
        gated = state.sizes.gated,
        in_flight = state.sizes.in_flight,
        "dump of the scheduling queue: {} pods are told below",
        state.waiting.len()
    );
    for pods in state.waiting.chunks(PODS_PER_LINE) {
        let pods: Vec<String> =
            pods.iter().map(|(pod, place)| told(pod, Some(&format!("{place:?}")))).collect();
        info!("dump of the scheduling queue: {}", pods.join("; "));
    }
}

/// The state as copied on the scheduling thread: nothing is formatted there.
struct State {
    nodes: Vec<Arc<NodeInfo>>,
    nodes_count: usize,
    waiting: Vec<(Arc<Pod>, Place)>,
    waiting_count: usize,
    sizes: QueueSize,
}

impl State {
    fn of(scheduler: &Scheduler, _: Timestamp) -> Self {
        let cache = scheduler.cache();
        let names = cache.node_names();
        let nodes = names.iter().take(NODES_MAX).filter_map(|name| cache.node_info(name)).cloned();
        let entries = scheduler.queue().entries_sorted();
        let waiting = entries.iter().take(PODS_WAITING_MAX);
        Self {
            nodes: nodes.collect(),
            nodes_count: names.len(),
            waiting: waiting.map(|entry| (Arc::clone(&entry.queued.pod), entry.place)).collect(),
            waiting_count: entries.len(),
            sizes: scheduler.sizes().queue,
        }
    }
}

fn told_node(info: &NodeInfo) -> String {
    let pods: Vec<String> = info.pods().iter().take(PODS_OF_NODE_MAX).map(|pod| told(pod, None)).collect();
    format!(
        "{}, requested: {:?}, allocatable: {:?}, scheduled pods (number: {}): {}",
        info.name(),
        info.requested(),
        info.node().allocatable,
        info.pods().len(),
        pods.join("; ")
    )
}

fn told(pod: &Pod, place: Option<&str>) -> String {
    let mut text = format!("{} (uid {}", pod.full_name(), pod.uid);
    if let Some(node) = &pod.nominated_node_name {
        write!(text, ", nominated to {node}").expect("writing to a String does not fail");
    }
    if let Some(place) = place {
        write!(text, ", {place}").expect("writing to a String does not fail");
    }
    text.push(')');
    text
}
