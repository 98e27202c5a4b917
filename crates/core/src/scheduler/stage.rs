//! Pods on their way to a node: how far each is.

use super::SchedulerConfig;
use super::running::Running;
use rustc_hash::FxHashMap;
use secondmate_cycle::Profile;
use secondmate_cycle::probe::{Point, call};
use secondmate_framework::{Code, CycleState, Status};
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How far a binding is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Waits for plugins to let it go on, each with its deadline.
    Permit { plugins: BTreeMap<Atom, Timestamp>, since: Timestamp },
    /// PreBind plugins are being asked. No binding rests here.
    PreBinding,
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
    /// PreBind or Bind, while it runs.
    pub running: Option<Running>,
    pub popped: Timestamp,
    /// Attempts so far, this one included.
    pub attempts: u32,
    /// When the pod first became ready to be tried.
    pub first_active: Timestamp,
    /// See [`crate::queue::Entry::flushed`].
    pub flushed: bool,
    /// The assigned watch has shown the pod on this node before the answer came.
    pub confirmed: bool,
    /// The pending watch does not show the pod any more.
    pub left_pending: bool,
    /// It was given up while an answer was outstanding: what comes is only taken note of.
    pub abandoned: bool,
    /// Why it was given up; none where the pod is gone.
    pub verdict: Option<Status>,
}

impl Binding {
    fn deadline(&self, confirm_within: Duration) -> Option<Timestamp> {
        match &self.stage {
            Stage::Permit { plugins, .. } => plugins.values().min().copied(),
            Stage::PreBindWaiting { deadline, .. } => Some(*deadline),
            Stage::Unknown { look_again, .. } => *look_again,
            Stage::Bound { since } => Some(*since + confirm_within),
            Stage::PreBinding | Stage::PreBindWriting { .. } | Stage::Sent => None,
        }
    }

    /// Whether nothing has been sent to the API server that could bind the pod.
    pub fn can_be_taken_back(&self) -> bool {
        let not_sent = matches!(
            self.stage,
            Stage::Permit { .. } | Stage::PreBindWriting { .. } | Stage::PreBindWaiting { .. }
        );
        not_sent && !self.abandoned
    }
}

/// Bindings by pod. The indexes keep the work of a cycle independent of how many there are.
pub(super) struct Bindings {
    by_pod: FxHashMap<Uid, Binding>,
    confirm_within: Duration,
    index: Index,
}

/// Which bindings something may happen to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Index {
    /// When time alone does something next to a binding; most have no such time.
    deadlines: BTreeSet<(Timestamp, Uid)>,
    /// Those in which a PreBind plugin waits.
    pre_bind_waiting: BTreeSet<Uid>,
    /// Those that can be taken back, by node: pods that wait on permit or in PreBind.
    not_sent: BTreeMap<Atom, BTreeSet<Uid>>,
}

impl Index {
    fn insert(&mut self, binding: &Binding, confirm_within: Duration) {
        let uid = &binding.pod.uid;
        if let Some(deadline) = binding.deadline(confirm_within) {
            self.deadlines.insert((deadline, uid.clone()));
        }
        if matches!(binding.stage, Stage::PreBindWaiting { .. }) {
            self.pre_bind_waiting.insert(uid.clone());
        }
        if binding.can_be_taken_back() {
            self.not_sent.entry(binding.node.clone()).or_default().insert(uid.clone());
        }
    }

    fn remove(&mut self, binding: &Binding, confirm_within: Duration) {
        let uid = &binding.pod.uid;
        if let Some(deadline) = binding.deadline(confirm_within) {
            self.deadlines.remove(&(deadline, uid.clone()));
        }
        if matches!(binding.stage, Stage::PreBindWaiting { .. }) {
            self.pre_bind_waiting.remove(uid);
        }
        if binding.can_be_taken_back()
            && let Some(uids) = self.not_sent.get_mut(&binding.node)
        {
            uids.remove(uid);
            if uids.is_empty() {
                self.not_sent.remove(&binding.node);
            }
        }
    }
}

impl Bindings {
    pub fn new(config: &SchedulerConfig) -> Self {
        Self { by_pod: FxHashMap::default(), confirm_within: config.confirm_within, index: Index::default() }
    }

    pub fn len(&self) -> usize {
        self.by_pod.len()
    }

    pub fn contains(&self, uid: &Uid) -> bool {
        self.by_pod.contains_key(uid)
    }

    pub fn get(&self, uid: &Uid) -> Option<&Binding> {
        self.by_pod.get(uid)
    }

    /// For changes that do not touch the stage; [`Bindings::change`] is for those that do.
    pub fn get_mut(&mut self, uid: &Uid) -> Option<&mut Binding> {
        self.by_pod.get_mut(uid)
    }

    pub fn insert(&mut self, binding: Binding) {
        self.index.insert(&binding, self.confirm_within);
        self.by_pod.insert(binding.pod.uid.clone(), binding);
    }

    pub fn remove(&mut self, uid: &Uid) -> Option<Binding> {
        let binding = self.by_pod.remove(uid)?;
        self.index.remove(&binding, self.confirm_within);
        Some(binding)
    }

    /// Changes a binding and keeps the indexes right.
    pub fn change(&mut self, uid: &Uid, edit: impl FnOnce(&mut Binding)) {
        let Some(binding) = self.by_pod.get_mut(uid) else { return };
        self.index.remove(binding, self.confirm_within);
        edit(binding);
        self.index.insert(binding, self.confirm_within);
    }

    pub fn set_stage(&mut self, uid: &Uid, stage: Stage) {
        self.change(uid, |binding| binding.stage = stage);
    }

    /// The next time at which something is due.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.index.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Those whose deadline has passed, the earliest first.
    pub fn due(&self, now: Timestamp) -> Vec<Uid> {
        self.index.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, uid)| uid.clone()).collect()
    }

    /// Those in which a PreBind plugin waits, with the plugin's place.
    pub fn waiting_in_pre_bind(&self) -> Vec<(Uid, usize)> {
        let plugin = |uid: &Uid| match self.by_pod.get(uid)?.stage {
            Stage::PreBindWaiting { plugin, .. } => Some((uid.clone(), plugin)),
            _ => None,
        };
        self.index.pre_bind_waiting.iter().filter_map(plugin).collect()
    }

    /// Those for this node that can be taken back: the least important first, of equals the one that came last.
    pub fn not_sent_to(&self, node: &Atom) -> Vec<Uid> {
        let Some(uids) = self.index.not_sent.get(node) else { return Vec::new() };
        let mut bindings: Vec<&Binding> = uids.iter().filter_map(|uid| self.by_pod.get(uid)).collect();
        bindings.sort_by_key(|b| (b.pod.priority, std::cmp::Reverse((b.popped, b.pod.uid.clone()))));
        bindings.iter().map(|b| b.pod.uid.clone()).collect()
    }

    /// Checks that the indexes say what the bindings say.
    pub fn check(&self) -> Result<(), String> {
        let mut fresh = Index::default();
        for binding in self.by_pod.values() {
            if matches!(binding.stage, Stage::PreBinding) {
                return Err(format!("pod {} rests in PreBind", binding.pod.full_name()));
            }
            fresh.insert(binding, self.confirm_within);
        }
        if fresh != self.index {
            return Err(format!("bindings are indexed as {:?}, but are {fresh:?}", self.index));
        }
        Ok(())
    }
}

/// Undoes Reserve, in reverse order.
pub(super) fn unreserve(profile: &Profile, state: &mut CycleState, pod: &Arc<Pod>, node: &Atom) {
    let (probe, timed) = (profile.probe(), state.is_timed());
    let began = probe.now();
    for plugin in profile.reserve.iter().rev() {
        if let Some(point) = plugin.plugin.as_reserve() {
            let ask = || point.unreserve(state, pod, node);
            call(probe, timed, plugin, Point::Unreserve, ask, |()| Code::Success);
        }
    }
    probe.point_done(Point::Unreserve, Code::Success, probe.now().since(began));
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
