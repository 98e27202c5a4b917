//! Histories as data: the external events and their times. Everything else follows from these.

use crate::Options;
use secondmate_cycle::Random;
use serde::{Deserialize, Serialize};

/// Something that happens to the cluster or to its schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Only time passes.
    Nothing,
    /// A user creates a pod for one of our schedulers.
    CreatePod,
    /// A user creates a pod for another scheduler.
    CreateForeignPod,
    /// A user deletes a pod.
    DeletePod,
    /// A pod's labels or gates change.
    ChangePod,
    /// A pod on a node finishes.
    FinishPod,
    /// A user creates a workload, whose controller keeps a number of pods alive.
    CreateWorkload,
    /// A workload gets more or fewer pods.
    ScaleWorkload,
    /// A workload is deleted with its pods.
    DeleteWorkload,
    /// The first node is full with a pod of another scheduler, and one of ours with a higher priority wants the room; the controllers of both
    /// replace them.
    CreateRivals,
    /// A node joins.
    AddNode,
    /// A node is cordoned, relabelled, or gets another size.
    ChangeNode,
    /// A node is removed, with everything on it.
    RemoveNode,
    /// Another scheduler binds one of its own pods without checking anything.
    ForeignBind,
    /// Another replica of ours binds a pod while we are not the leader.
    OtherReplicaBinds,
    /// A PodDisruptionBudget is created, deleted or changed.
    ChangeBudget,
    /// A watch breaks and is relisted, which may show an older state.
    Relist,
    /// One of our watches, or of the guard's, shows nothing for up to three minutes.
    SilentWatch,
    /// Our process is killed and restarts.
    Crash,
    /// We lose the Lease, or get it back.
    ChangeLeadership,
    /// We lose the Lease.
    LoseLeadership,
    /// We hold the Lease again.
    Lead,
    /// The bind guard does not answer, so binds pass unchecked.
    GuardGone,
    /// A new bind guard has listed everything and decides.
    GuardBack,
    /// Faults stop for a while, and every pod that fits has to be placed.
    CalmDown,
}

/// An action and its time. Random decisions in it and after it follow from the history's seed and the step's number, so a history with some
/// steps removed is also a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, Action)", into = "(u64, u64, Action)")]
pub struct Step {
    /// Milliseconds since the history began.
    pub at: u64,
    /// The number of the step.
    pub number: u64,
    /// What happens.
    pub action: Action,
}

impl From<(u64, u64, Action)> for Step {
    fn from((at, number, action): (u64, u64, Action)) -> Self {
        Self { at, number, action }
    }
}

impl From<Step> for (u64, u64, Action) {
    fn from(Step { at, number, action }: Step) -> Self {
        (at, number, action)
    }
}

impl Step {
    /// The source of this step's random decisions.
    pub(crate) fn random(&self, seed: u64) -> Random {
        Random::new(seed ^ (self.number + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }
}

/// A history that is kept in a file because it once broke something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// What it broke when it was found.
    pub broke: String,
    /// Its seed.
    pub seed: u64,
    /// The kind of world.
    pub options: Options,
    /// What happened, in order of time.
    pub steps: Vec<Step>,
}

impl History {
    /// Its form as a file: one line per step.
    #[must_use]
    pub fn to_text(&self) -> String {
        let part = |value: &dyn Fn() -> serde_json::Result<String>| value().expect("plain data");
        let steps: Vec<String> =
            self.steps.iter().map(|step| part(&|| serde_json::to_string(step))).collect();
        format!(
            "{{\"broke\": {},\n \"seed\": {},\n \"options\": {},\n \"steps\": [\n  {}\n ]}}\n",
            part(&|| serde_json::to_string(&self.broke)),
            self.seed,
            part(&|| serde_json::to_string(&self.options)),
            steps.join(",\n  ")
        )
    }

    /// Reads the contents of a file.
    ///
    /// # Errors
    /// It is not a history.
    pub fn from_text(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}
