//! What the queues hold: the scheduling queue, the cache, and the bounded queues of the program.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// A part of the scheduling queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// Pods that are ready to be scheduled.
    Active,
    /// Pods that wait for their backoff.
    Backoff,
    /// Pods that failed and wait for an event.
    Unschedulable,
    /// Pods that a PreEnqueue plugin holds back.
    Gated,
}

impl Queue {
    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Backoff => "backoff",
            Self::Unschedulable => "unschedulable",
            Self::Gated => "gated",
        }
    }
}

/// The gauges of `pending_pods` and `queued_entities`, by queue.
#[derive(Clone, Debug)]
pub struct QueuedPods {
    /// In the active queue.
    pub active: Gauge,
    /// In backoff.
    pub backoff: Gauge,
    /// Waiting for an event.
    pub unschedulable: Gauge,
    /// Held back.
    pub gated: Gauge,
}

impl QueuedPods {
    pub(super) fn of(gauge: impl Fn(Queue) -> Gauge) -> Self {
        Self {
            active: gauge(Queue::Active),
            backoff: gauge(Queue::Backoff),
            unschedulable: gauge(Queue::Unschedulable),
            gated: gauge(Queue::Gated),
        }
    }

    /// Sets the numbers.
    pub fn set(&self, active: usize, backoff: usize, unschedulable: usize, gated: usize) {
        let numbers = [
            (&self.active, active),
            (&self.backoff, backoff),
            (&self.unschedulable, unschedulable),
            (&self.gated, gated),
        ];
        for (gauge, number) in numbers {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
}

/// The entity type of pods that do not belong to a pod group.
pub(super) const POD: &str = "pod";

/// The three gauges of `cache_size`.
#[derive(Clone, Debug)]
pub struct CacheSize {
    /// Nodes.
    pub nodes: Gauge,
    /// Pods on nodes, including assumed ones.
    pub pods: Gauge,
    /// Pods that are assumed on a node and not yet confirmed.
    pub assumed_pods: Gauge,
}

impl CacheSize {
    /// Sets the numbers.
    pub fn set(&self, nodes: usize, pods: usize, assumed_pods: usize) {
        let numbers = [(&self.nodes, nodes), (&self.pods, pods), (&self.assumed_pods, assumed_pods)];
        for (gauge, number) in numbers {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
}

/// A bounded queue inside the program.
#[derive(Clone, Debug)]
pub struct BoundedQueue {
    /// The number of items in it.
    pub length: Gauge,
    /// Items turned away because it was full.
    pub full: Counter,
}
