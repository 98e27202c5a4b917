//! Settings of the core.

use crate::queue::QueueConfig;
use secondmate_cycle::{Evaluate, Plain, Standing, StandingSettings};
use std::time::Duration;

/// Settings of the core.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerConfig {
    /// Durations of the queue.
    pub queue: QueueConfig,
    /// Seed for the choice among equally good nodes.
    pub seed: u64,
    /// How long a pod may remain unseen after a successful binding before it is looked at.
    pub confirm_within: Duration,
    /// How long to wait before a pod is looked at again, after a look failed. Twice as long after each further one, up to 30 s.
    pub verify_again_after: Duration,
    /// How a node is found for a pod.
    pub evaluation: EvaluationSettings,
    /// Whether a pod may preempt again only after a growing delay, if pods were evicted for it in vain because others took the
    /// room.
    pub break_preemption_loops: bool,
    /// Whether the pods of a nearly full node are read before a pod is bound there while others bind pods too.
    pub read_before_bind: bool,
    /// Maximum time that a pod waits, in all attempts, before it is bound to a node that others may be about to fill. 0 disables
    /// waiting.
    pub yield_last_room: Duration,
}

/// How a node is found for a pod. If every node is looked at, both ways lead to the same decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluationSettings {
    /// One node after the other, from scratch for each pod; as many nodes as the profile specifies.
    Plain,
    /// What was found out for pods of a class is kept for the next one; every node is scored, unless the profile specifies a
    /// share.
    Standing(StandingSettings),
}

impl Default for EvaluationSettings {
    fn default() -> Self {
        Self::Standing(StandingSettings::default())
    }
}

impl EvaluationSettings {
    pub(super) fn make(self) -> Box<dyn Evaluate + Send> {
        match self {
            Self::Plain => Box::new(Plain),
            Self::Standing(settings) => Box::new(Standing::new(settings)),
        }
    }
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            queue: QueueConfig::default(),
            seed: 0,
            confirm_within: Duration::from_secs(30),
            verify_again_after: Duration::from_secs(1),
            evaluation: EvaluationSettings::default(),
            break_preemption_loops: true,
            read_before_bind: true,
            yield_last_room: Duration::from_secs(30),
        }
    }
}
