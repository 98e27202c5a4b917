//! Pods on their way to a node: how far each is.

use super::SchedulerConfig;
use crate::profile::Profile;
use rustc_hash::FxHashMap;
use secondmate_framework::{CycleState, Status};
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How far a binding is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Waits for plugins to let it go on, each with its deadline.
    Permit { plugins: BTreeMap<Atom, Timestamp>, since: Timestamp },
    /// A PreBind plugin's writes are on the way.
    PreBindWriting { plugin: usize },
    /// A PreBind plugin waits for objects to change.
    PreBindWaiting { plugin: usize, deadline: Timestamp },
    /// The binding is on the way.
    Sent,
    /// It is not known whether the binding was carried out: the pod is being looked at, or will be again at that time.
    Unknown { message: String, look_again: Option<Timestamp> },
    /// Bound, and not yet seen on its node.
    Bound { since: Timestamp },
}

/// A pod on its way to a node.
pub(super) struct Binding {
    /// As it was tried.
    pub pod: Arc<Pod>,
    pub node: Atom,
    pub profile: Arc<Profile>,
    pub state: CycleState,
    pub stage: Stage,
    pub popped: Timestamp,
    /// The assigned watch has shown the pod on this node before the answer came.
    pub confirmed: bool,
    /// It was given up while an answer was outstanding: what comes is only taken note of.
    pub abandoned: bool,
}

impl Binding {
    fn deadline(&self, config: &SchedulerConfig) -> Option<Timestamp> {
        match &self.stage {
            Stage::Permit { plugins, .. } => plugins.values().min().copied(),
            Stage::PreBindWaiting { deadline, .. } => Some(*deadline),
            Stage::Unknown { look_again, .. } => *look_again,
            Stage::Bound { since } => Some(*since + config.confirm_within),
            Stage::PreBindWriting { .. } | Stage::Sent => None,
        }
    }

    /// Whether nothing has been sent to the API server that could bind the pod.
    pub fn can_be_taken_back(&self) -> bool {
        matches!(
            self.stage,
            Stage::Permit { .. } | Stage::PreBindWriting { .. } | Stage::PreBindWaiting { .. }
        )
    }
}

/// Bindings by pod.
#[derive(Default)]
pub(super) struct Bindings {
    by_pod: FxHashMap<Uid, Binding>,
    /// Those to which something may happen by time alone or by a change of objects, in order of UID; a binding that was just
    /// sent, as most are, is not among them.
    timed: BTreeSet<Uid>,
    /// Those among `timed` that wait in PreBind.
    pre_binding: usize,
}

impl Bindings {
    pub fn len(&self) -> usize {
        self.by_pod.len()
    }

    pub fn contains(&self, uid: &Uid) -> bool {
        self.by_pod.contains_key(uid)
    }

    pub fn get(&self, uid: &Uid) -> Option<&Binding> {
        self.by_pod.get(uid)
    }

    pub fn get_mut(&mut self, uid: &Uid) -> Option<&mut Binding> {
        self.by_pod.get_mut(uid)
    }

    pub fn insert(&mut self, binding: Binding) {
        self.by_pod.insert(binding.pod.uid.clone(), binding);
    }

    pub fn remove(&mut self, uid: &Uid) -> Option<Binding> {
        self.timed.remove(uid);
        let binding = self.by_pod.remove(uid)?;
        self.pre_binding -= usize::from(matches!(binding.stage, Stage::PreBindWaiting { .. }));
        Some(binding)
    }

    pub fn set_stage(&mut self, uid: &Uid, stage: Stage) {
        let Some(binding) = self.by_pod.get_mut(uid) else { return };
        if matches!(stage, Stage::Sent | Stage::PreBindWriting { .. }) {
            self.timed.remove(uid);
        } else {
            self.timed.insert(uid.clone());
        }
        self.pre_binding += usize::from(matches!(stage, Stage::PreBindWaiting { .. }));
        self.pre_binding -= usize::from(matches!(binding.stage, Stage::PreBindWaiting { .. }));
        binding.stage = stage;
    }

    /// The next time at which something is due.
    pub fn next_deadline(&self, config: &SchedulerConfig) -> Option<Timestamp> {
        self.timed.iter().filter_map(|uid| self.by_pod.get(uid)?.deadline(config)).min()
    }

    /// Those whose deadline has passed.
    pub fn due(&self, config: &SchedulerConfig, now: Timestamp) -> Vec<Uid> {
        let is_due = |uid: &&Uid| {
            self.by_pod.get(*uid).and_then(|b| b.deadline(config)).is_some_and(|deadline| deadline <= now)
        };
        self.timed.iter().filter(is_due).cloned().collect()
    }

    /// Those in which a PreBind plugin waits, with the plugin's place.
    pub fn waiting_in_pre_bind(&self) -> Vec<(Uid, usize)> {
        if self.pre_binding == 0 {
            return Vec::new();
        }
        let plugin = |uid: &Uid| match self.by_pod.get(uid)?.stage {
            Stage::PreBindWaiting { plugin, .. } => Some((uid.clone(), plugin)),
            _ => None,
        };
        self.timed.iter().filter_map(plugin).collect()
    }
}

/// Undoes Reserve, in reverse order.
pub(super) fn unreserve(profile: &Profile, state: &mut CycleState, pod: &Arc<Pod>, node: &Atom) {
    for plugin in profile.reserve.iter().rev() {
        if let Some(point) = plugin.plugin.as_reserve() {
            point.unreserve(state, pod, node);
        }
    }
}

pub(super) fn pre_bind_failure(plugin: &Atom, status: &Status) -> Status {
    if status.is_rejected() {
        return status.clone().by(plugin);
    }
    Status::error(format!("running PreBind plugin {:?}: {}", plugin.as_str(), status.message())).by(plugin)
}

pub(super) fn bind_failure(plugin: &Atom, message: &str) -> Status {
    Status::error(format!("running Bind plugin {:?}: {message}", plugin.as_str())).by(plugin)
}

/// A duration as Go prints it, to the millisecond.
pub(super) fn go_duration(duration: Duration) -> String {
    let (secs, millis) = (duration.as_secs(), duration.subsec_millis());
    if secs == 0 && millis > 0 {
        return format!("{millis}ms");
    }
    let fraction =
        if millis > 0 { format!(".{millis:03}").trim_end_matches('0').to_owned() } else { String::new() };
    let seconds = secs % 60;
    match (secs / 3600, secs / 60 % 60) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, minutes) => format!("{minutes}m{seconds}{fraction}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_prints_them() {
        for (millis, expected) in
            [(0, "0s"), (250, "250ms"), (1500, "1.5s"), (60_000, "1m0s"), (3_723_010, "1h2m3.01s")]
        {
            assert_eq!(go_duration(Duration::from_millis(millis)), expected);
        }
    }
}
