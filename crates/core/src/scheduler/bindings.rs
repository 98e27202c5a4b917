//! Pods that are being bound.

use super::binding::{Held, Stage};
use super::running::{Measured, Running};
use crate::queue::Profiles;
use crate::touched::Touched;
use rustc_hash::FxHashMap;
use secondmate_cycle::Profile;
use secondmate_cycle::panics::ask_at;
use secondmate_cycle::probe::{Point, call};
use secondmate_framework::{Code, CycleState, EventResource};
use secondmate_model::{Atom, Node, Pod, Timestamp, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A pod that is being bound: everything except its stage.
pub(super) struct Binding {
    /// The pod as of the attempt.
    pub pod: Arc<Pod>,
    pub node: Atom,
    /// The node's object as of the choice.
    pub chosen: Option<Arc<Node>>,
    /// The number of changes of the cache: pods with a greater [arrival](crate::cache::Cache::arrival) have come since the choice.
    pub chosen_at: u64,
    pub profile: Arc<Profile>,
    pub state: CycleState,
    /// PreBind or Bind, while it is running.
    pub running: Option<Running>,
    pub popped: Timestamp,
    /// Attempts so far, including this one.
    pub attempts: u32,
    /// When the pod first became ready to be tried.
    pub first_active: Timestamp,
    /// See [`crate::queue::Entry::flushed`].
    pub flushed: bool,
    /// Looks at the pod that have failed since one has not.
    pub looks_failed: u32,
    /// See [`crate::queue::Entry::yielded`].
    pub yielded: Duration,
    /// See [`crate::queue::Entry::has_written`].
    pub has_written: bool,
}

/// Longest pause between two looks at a pod, unless the first is longer.
const LOOK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);

impl Binding {
    /// A look at the pod failed: how long to wait before the next one, where it is so long after the first failure. The pause doubles, as
    /// in an outage all bindings look, and all looks fail.
    pub fn look_failed(&mut self, first: Duration) -> Duration {
        let pause = first.saturating_mul(2_u32.saturating_pow(self.looks_failed));
        self.looks_failed = self.looks_failed.saturating_add(1);
        pause.min(first.max(LOOK_AGAIN_AFTER_MAX))
    }

    /// An extension point begins.
    pub fn begin_point(&mut self, point: Point, now: Timestamp) {
        self.running = Some(Running::begin(point, now));
    }

    /// A plugin is called.
    pub fn begin_plugin(&mut self, at: usize, now: Timestamp) {
        if let Some(running) = &mut self.running {
            running.begin_plugin(at, now);
        }
    }

    /// The plugin that was called has given its final answer.
    pub fn end_plugin(&mut self, code: Code, now: Timestamp) {
        let measured = Measured { profile: &self.profile, timed: self.state.is_timed() };
        if let Some(running) = &mut self.running {
            running.end_plugin(measured, code, now);
        }
    }

    /// The extension point has ended.
    pub fn end_point(&mut self, code: Code, now: Timestamp) {
        let measured = Measured { profile: &self.profile, timed: self.state.is_timed() };
        if let Some(running) = self.running.take() {
            running.end(measured, code, now);
        }
    }

    /// Undoes Reserve.
    pub fn unreserve(&mut self) {
        unreserve(&self.profile, &mut self.state, &self.pod, &self.node);
    }
}

/// Undoes Reserve, in reverse order.
pub(super) fn unreserve(profile: &Profile, state: &mut CycleState, pod: &Arc<Pod>, node: &Atom) {
    let (probe, timed) = (profile.probe(), state.is_timed());
    let began = probe.now();
    for plugin in profile.reserve.iter().rev() {
        // The probe knows of a panic, and the other plugins still have to revert their own state.
        let ask = || {
            let _ =
                ask_at(profile, plugin, Point::Unreserve, pod, || plugin.point.unreserve(state, pod, node));
        };
        call(probe, timed, plugin, Point::Unreserve, ask, |()| Code::Success);
    }
    probe.point_done(Point::Unreserve, Code::Success, probe.now().since(began));
}

struct Resting {
    binding: Box<Binding>,
    stage: Stage,
}

/// Maximum number of bindings whose time has come that one step carries on. Each may be sent by that, and the more are sent together,
/// the longer the last one waits for its turn on the basis of what is known now. The others follow with the next steps.
pub(super) const DUE_AT_ONCE: usize = 4;
/// Maximum number of bindings that one step asks whether they still wait for others.
pub(super) const LOOKED_AT_AT_ONCE: usize = 64;
/// Maximum number of bindings waiting in PreBind that are asked at once when an object changes.
pub(super) const ASKED_AT_ONCE: usize = 64;
/// If more are waiting, they are asked later, by this much for each of them: as an answer takes some microseconds, most of the
/// time is left for other things, however many are waiting and however often objects change.
const PAUSE_PER_BINDING: Duration = Duration::from_micros(10);

/// Changed objects that many bindings are waiting for.
#[derive(Debug)]
struct Asks {
    /// When the bindings are asked.
    at: Timestamp,
    /// What changed.
    resources: BTreeSet<EventResource>,
}

/// Bindings by pod, each with its stage. The indexes keep the cost of a cycle independent of the number of bindings.
#[derive(Default)]
pub(super) struct Bindings {
    by_pod: FxHashMap<Uid, Resting>,
    index: Index,
    asks: Option<Asks>,
    pub touched: Touched,
}

/// Which bindings are affected by what.
#[derive(Debug, Default, PartialEq, Eq)]
struct Index {
    /// When time alone next has an effect on a binding; most have no such time.
    deadlines: BTreeSet<(Timestamp, Uid)>,
    /// Bindings in which a PreBind plugin waits, by profile and plugin.
    waiting: BTreeMap<(Atom, usize), BTreeSet<Uid>>,
    /// Bindings that can be taken back, by node: of pods that wait on permit or in PreBind.
    held: BTreeMap<Atom, BTreeSet<Uid>>,
}

impl Index {
    fn insert(&mut self, binding: &Binding, stage: &Stage) {
        let uid = &binding.pod.uid;
        if let Some(deadline) = stage.deadline() {
            self.deadlines.insert((deadline, uid.clone()));
        }
        if let Stage::Held(held) = stage {
            self.held.entry(binding.node.clone()).or_default().insert(uid.clone());
            if let Held::Waiting { plugin, .. } = held {
                let key = (binding.profile.name().clone(), *plugin);
                self.waiting.entry(key).or_default().insert(uid.clone());
            }
        }
    }

    fn remove(&mut self, binding: &Binding, stage: &Stage) {
        let uid = &binding.pod.uid;
        if let Some(deadline) = stage.deadline() {
            self.deadlines.remove(&(deadline, uid.clone()));
        }
        if let Stage::Held(held) = stage {
            if let Some(uids) = self.held.get_mut(&binding.node) {
                uids.remove(uid);
                if uids.is_empty() {
                    self.held.remove(&binding.node);
                }
            }
            if let Held::Waiting { plugin, .. } = held {
                let key = (binding.profile.name().clone(), *plugin);
                if let Some(uids) = self.waiting.get_mut(&key) {
                    uids.remove(uid);
                    if uids.is_empty() {
                        self.waiting.remove(&key);
                    }
                }
            }
        }
    }
}

impl Bindings {
    pub fn len(&self) -> usize {
        self.by_pod.len()
    }

    pub fn contains(&self, uid: &Uid) -> bool {
        self.by_pod.contains_key(uid)
    }

    pub fn get(&self, uid: &Uid) -> Option<&Binding> {
        self.by_pod.get(uid).map(|resting| &*resting.binding)
    }

    pub fn stage(&self, uid: &Uid) -> Option<&Stage> {
        self.by_pod.get(uid).map(|resting| &resting.stage)
    }

    /// All of them, in no particular order: for inspection.
    pub fn iter(&self) -> impl Iterator<Item = (&Binding, &Stage)> {
        self.by_pod.values().map(|resting| (&*resting.binding, &resting.stage))
    }

    /// Takes a binding out, because something happens to it.
    pub fn take(&mut self, uid: &Uid) -> Option<(Box<Binding>, Stage)> {
        let Resting { binding, stage } = self.by_pod.remove(uid)?;
        self.touched.note(uid);
        self.index.remove(&binding, &stage);
        if let Stage::Held(Held::Permit { .. }) = stage {
            binding.profile.handle().waits_no_more(uid);
        }
        Some((binding, stage))
    }

    /// Puts a binding into a stage.
    pub fn put(&mut self, binding: Box<Binding>, stage: Stage) {
        self.touched.note(&binding.pod.uid);
        self.index.insert(&binding, &stage);
        if let Stage::Held(Held::Permit { .. }) = stage {
            binding.profile.handle().waits(&binding.pod);
        }
        self.by_pod.insert(binding.pod.uid.clone(), Resting { binding, stage });
    }

    /// The next time at which something is due.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let deadline = self.index.deadlines.first().map(|(deadline, _)| *deadline);
        deadline.into_iter().chain(self.asks.as_ref().map(|asks| asks.at)).min()
    }

    /// Bindings whose deadline has passed, earliest first: no more than [`LOOKED_AT_AT_ONCE`].
    pub fn due(&self, now: Timestamp) -> Vec<Uid> {
        let due = self.index.deadlines.iter().take_while(|(at, _)| *at <= now);
        due.take(LOOKED_AT_AT_ONCE).map(|(_, uid)| uid.clone()).collect()
    }

    /// Bindings in which a waiting PreBind plugin satisfies `hears`, by profile and plugin.
    fn waiting_for(
        &self,
        profiles: &Profiles,
        hears: impl Fn(&Profile, &Atom) -> bool,
    ) -> impl Iterator<Item = &BTreeSet<Uid>> {
        let waiting = self.index.waiting.iter().filter(move |((profile, plugin), _)| {
            profiles.get(profile).is_some_and(|profile| {
                profile.pre_bind.get(*plugin).is_some_and(|plugin| hears(profile, &plugin.name))
            })
        });
        waiting.map(|(_, uids)| uids)
    }

    /// An object of the resource changed: returns the bindings in which a PreBind plugin waits for such objects, if they are to
    /// be asked now. If there are many, they are asked later, together: see [`Self::take_asks`].
    pub fn object_changed(
        &mut self,
        resource: EventResource,
        profiles: &Profiles,
        now: Timestamp,
    ) -> Vec<Uid> {
        let names = |profile: &Profile, plugin: &Atom| profile.names_resource(plugin, resource);
        let count: usize = self.waiting_for(profiles, names).map(BTreeSet::len).sum();
        if count <= ASKED_AT_ONCE {
            return self.waiting_for(profiles, names).flatten().cloned().collect();
        }
        let pause = PAUSE_PER_BINDING.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let asks = self.asks.get_or_insert_with(|| Asks { at: now + pause, resources: BTreeSet::new() });
        asks.resources.insert(resource);
        Vec::new()
    }

    /// Bindings to be asked now because of objects that changed a while ago.
    pub fn take_asks(&mut self, profiles: &Profiles, now: Timestamp) -> Vec<Uid> {
        let Some(asks) = self.asks.take_if(|asks| asks.at <= now) else { return Vec::new() };
        let names = |profile: &Profile, plugin: &Atom| {
            asks.resources.iter().any(|resource| profile.names_resource(plugin, *resource))
        };
        self.waiting_for(profiles, names).flatten().cloned().collect()
    }

    /// Bindings to this node that can be taken back: the least important first, and among equals the latest.
    pub fn held_for(&self, node: &Atom) -> Vec<Uid> {
        let Some(uids) = self.index.held.get(node) else { return Vec::new() };
        let mut bindings: Vec<&Binding> = uids.iter().filter_map(|uid| self.get(uid)).collect();
        bindings.sort_by_key(|b| (b.pod.priority, std::cmp::Reverse((b.popped, b.pod.uid.clone()))));
        bindings.iter().map(|b| b.pod.uid.clone()).collect()
    }

    /// Checks that the indexes agree with the bindings.
    pub fn check(&self) -> Result<(), String> {
        let mut fresh = Index::default();
        for Resting { binding, stage } in self.by_pod.values() {
            fresh.insert(binding, stage);
        }
        if fresh != self.index {
            return Err(format!("bindings are indexed as {:?}, but are {fresh:?}", self.index));
        }
        Ok(())
    }
}
