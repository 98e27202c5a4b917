//! From the choice of a node to the binding being sent: Reserve, Permit, PreBind, Bind.

use super::stage::{Binding, Stage, bind_failure, go_duration, pre_bind_failure, unreserve};
use super::{Scheduler, plain_context};
use crate::port::{Effect, NominationPatch, Observation};
use secondmate_cycle::Profile;
use secondmate_cycle::probe::{Point, call};
use secondmate_framework::{BindStep, Code, CycleState, EventResource, PreBindStep, Status};
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait on permit, whatever the plugin says.
const MAX_PERMIT_WAIT: Duration = Duration::from_secs(15 * 60);

impl Scheduler {
    /// Assumes the pod on the node and runs Reserve and Permit. On a rejection everything is undone.
    pub(super) fn begin_binding(
        &mut self,
        profile: &Arc<Profile>,
        pod: &Arc<Pod>,
        node: &Atom,
        mut state: CycleState,
        now: Timestamp,
    ) -> Result<(), Status> {
        let assumed = Arc::new(pod.on_node(node));
        self.cache.assume(Arc::clone(&assumed)).map_err(|error| Status::error(error.to_string()))?;
        self.nominator.remove(&pod.uid);
        let plugins = match self.reserve_and_permit(profile, pod, node, &mut state, now) {
            Ok(plugins) => plugins,
            Err(status) => {
                unreserve(profile, &mut state, pod, node);
                // Nobody has seen the room taken, so nobody needs to be told that it is free.
                let forgotten = self.cache.forget(&pod.uid);
                debug_assert!(forgotten.is_ok(), "it was assumed a moment ago");
                return Err(status);
            }
        };
        let waits = !plugins.is_empty();
        let pre_binds = |p: &secondmate_cycle::PluginRef| {
            p.plugin.as_pre_bind().is_some_and(|b| b.pre_flight(&state, pod, node))
        };
        let publishes = waits || profile.pre_bind.iter().any(pre_binds);
        if publishes && pod.nominated_node_name.as_ref() != Some(node) {
            self.effects.push(Effect::PatchStatus {
                pod: Arc::clone(pod),
                condition: None,
                nomination: NominationPatch::Set(Some(node.clone())),
            });
        }
        let entry = self.queue.get(&pod.uid);
        self.bindings.insert(Binding {
            pod: Arc::clone(pod),
            node: node.clone(),
            profile: Arc::clone(profile),
            state,
            stage: Stage::Sent,
            running: None,
            popped: now,
            attempts: entry.map_or(1, |e| e.queued.attempts),
            first_active: entry.and_then(|e| e.first_active).unwrap_or(now),
            flushed: entry.is_some_and(|e| e.flushed),
            confirmed: false,
            left_pending: false,
            abandoned: false,
            verdict: None,
        });
        if waits {
            self.bindings.set_stage(&pod.uid, Stage::Permit { plugins, since: now });
        } else {
            self.permitted(&pod.uid, now);
        }
        Ok(())
    }

    /// Plugins that want the pod to wait, with their deadlines.
    fn reserve_and_permit(
        &self,
        profile: &Profile,
        pod: &Arc<Pod>,
        node: &Atom,
        state: &mut CycleState,
        now: Timestamp,
    ) -> Result<BTreeMap<Atom, Timestamp>, Status> {
        let probe = profile.probe();
        let began = probe.now();
        let reserved = self.reserve(profile, pod, node, state, now);
        let code = reserved.as_ref().map_or_else(Status::code, |()| Code::Success);
        let permitting = probe.now();
        probe.point_done(Point::Reserve, code, permitting.since(began));
        reserved?;
        let permitted = self.permit(profile, pod, node, state, now);
        let code = match &permitted {
            Ok(waiting) if waiting.is_empty() => Code::Success,
            Ok(_) => Code::Wait,
            Err(status) => status.code(),
        };
        probe.point_done(Point::Permit, code, probe.now().since(permitting));
        permitted
    }

    fn reserve(
        &self,
        profile: &Profile,
        pod: &Arc<Pod>,
        node: &Atom,
        state: &mut CycleState,
        now: Timestamp,
    ) -> Result<(), Status> {
        let (cx, timed) = (plain_context(&self.snapshot, &self.nominator, now), state.is_timed());
        for plugin in &profile.reserve {
            let point = plugin.plugin.as_reserve().expect("checked when the profile was made");
            let ask = || point.reserve(&cx, state, pod, node);
            let status = call(profile.probe(), timed, plugin, Point::Reserve, ask, Status::code);
            if status.is_rejected() {
                return Err(status.by(&plugin.name));
            }
            if !status.is_success() {
                return Err(point_failure("Reserve", &plugin.name, &status));
            }
        }
        Ok(())
    }

    fn permit(
        &self,
        profile: &Profile,
        pod: &Arc<Pod>,
        node: &Atom,
        state: &mut CycleState,
        now: Timestamp,
    ) -> Result<BTreeMap<Atom, Timestamp>, Status> {
        let (cx, timed) = (plain_context(&self.snapshot, &self.nominator, now), state.is_timed());
        let mut waiting = BTreeMap::new();
        for plugin in &profile.permit {
            let point = plugin.plugin.as_permit().expect("checked when the profile was made");
            let ask = || point.permit(&cx, state, pod, node);
            let (status, timeout) =
                call(profile.probe(), timed, plugin, Point::Permit, ask, |(status, _)| status.code());
            match status.code() {
                Code::Success => {}
                Code::Wait => {
                    waiting.insert(plugin.name.clone(), now + timeout.min(MAX_PERMIT_WAIT));
                }
                _ if status.is_rejected() => return Err(status.by(&plugin.name)),
                _ => return Err(point_failure("Permit", &plugin.name, &status)),
            }
        }
        Ok(waiting)
    }

    /// A plugin lets a waiting pod go on.
    pub(super) fn allow(&mut self, uid: &Uid, plugin: &Atom, now: Timestamp) {
        self.bindings.change(uid, |binding| {
            if let Stage::Permit { plugins, .. } = &mut binding.stage {
                plugins.remove(plugin);
            }
        });
        let Some(Stage::Permit { plugins, since }) = self.bindings.get(uid).map(|b| &b.stage) else { return };
        if !plugins.is_empty() {
            return;
        }
        let waited = now.since(*since);
        self.effects.push(Effect::Observed(Observation::PermitWait { waited, result: "allowed" }));
        self.permitted(uid, now);
    }

    /// A pod that waits on permit is rejected.
    pub(super) fn reject_waiting(
        &mut self,
        uid: &Uid,
        status: &Status,
        result: &'static str,
        now: Timestamp,
    ) {
        let Some(Stage::Permit { since, .. }) = self.bindings.get(uid).map(|b| &b.stage) else { return };
        let waited = now.since(*since);
        self.effects.push(Effect::Observed(Observation::PermitWait { waited, result }));
        self.abort(uid, Some(status), now);
    }

    /// Nothing holds the pod back any more: events that happen from now on do not matter for it.
    fn permitted(&mut self, uid: &Uid, now: Timestamp) {
        self.queue.done(uid);
        if let Some(binding) = self.bindings.get_mut(uid) {
            binding.begin_point(Point::PreBind, now);
        }
        self.pre_bind(uid, 0, now);
    }

    /// Drives the PreBind plugins from this one on, then binds.
    pub(super) fn pre_bind(&mut self, uid: &Uid, first: usize, now: Timestamp) {
        let Some(binding) = self.bindings.get(uid) else { return };
        let profile = Arc::clone(&binding.profile);
        self.bindings.set_stage(uid, Stage::PreBinding);
        for (at, plugin) in profile.pre_bind.iter().enumerate().skip(first) {
            let point = plugin.plugin.as_pre_bind().expect("checked when the profile was made");
            let Some(binding) = self.bindings.get_mut(uid) else { return };
            binding.begin_plugin(at, now);
            let (pod, node) = (Arc::clone(&binding.pod), binding.node.clone());
            let cx = plain_context(&self.snapshot, &self.nominator, now);
            match point.pre_bind(&cx, &mut binding.state, &pod, &node) {
                PreBindStep::Done => binding.end_plugin(Code::Success, now),
                PreBindStep::Write(writes) => {
                    self.bindings.set_stage(uid, Stage::PreBindWriting { plugin: at });
                    self.effects.push(Effect::Write { pod: uid.clone(), writes });
                    return;
                }
                PreBindStep::Wait { deadline } => {
                    self.bindings.set_stage(uid, Stage::PreBindWaiting { plugin: at, deadline });
                    return;
                }
                PreBindStep::Fail(status) => {
                    let status = pre_bind_failure(&plugin.name, &status);
                    self.abort(uid, Some(&status), now);
                    return;
                }
            }
        }
        self.end_point(uid, Code::Success, now);
        // Between the choice of the node and now others may have taken the room.
        if self.look_once_more(uid, now) {
            self.bind(uid, now);
        }
    }

    fn bind(&mut self, uid: &Uid, now: Timestamp) {
        let Some(binding) = self.bindings.get(uid) else { return };
        let (profile, pod, node) =
            (Arc::clone(&binding.profile), Arc::clone(&binding.pod), binding.node.clone());
        if let Some(binding) = self.bindings.get_mut(uid) {
            binding.begin_point(Point::Bind, now);
        }
        for (at, plugin) in profile.bind.iter().enumerate() {
            let point = plugin.plugin.as_bind().expect("checked when the profile was made");
            let Some(binding) = self.bindings.get_mut(uid) else { return };
            binding.begin_plugin(at, now);
            let effect = match point.bind(&binding.state, &pod, &node) {
                BindStep::Skip => {
                    binding.end_plugin(Code::Skip, now);
                    continue;
                }
                BindStep::Binding { annotations } => {
                    Effect::Bind { pod: Arc::clone(&pod), node: node.clone(), annotations }
                }
                BindStep::Write(write) => Effect::BindBy { pod: Arc::clone(&pod), write },
                BindStep::Fail(status) => {
                    let status = if status.is_rejected() {
                        status.by(&plugin.name)
                    } else {
                        bind_failure(&plugin.name, &status.message())
                    };
                    self.abort(uid, Some(&status), now);
                    return;
                }
            };
            self.bindings.set_stage(uid, Stage::Sent);
            self.effects.push(effect);
            return;
        }
        self.abort(uid, Some(&Status::error("no bind plugin took the pod")), now);
    }

    /// An object changed: PreBind plugins that wait for its kind are asked again.
    pub(super) fn ask_waiting(&mut self, changed: EventResource, now: Timestamp) {
        for (uid, plugin) in self.bindings.waiting_in_pre_bind() {
            let names = |binding: &Binding| {
                binding.profile.names_resource(&binding.profile.pre_bind[plugin].name, changed)
            };
            if self.bindings.get(&uid).is_some_and(names) {
                self.pre_bind(&uid, plugin, now);
            }
        }
    }

    /// Deadlines that have passed.
    pub(super) fn tick_bindings(&mut self, now: Timestamp) {
        for uid in self.bindings.due(now) {
            let Some(binding) = self.bindings.get(&uid) else { continue };
            let pod = Arc::clone(&binding.pod);
            match binding.stage.clone() {
                Stage::Permit { plugins, since } => {
                    let due = plugins.iter().filter(|(_, deadline)| **deadline <= now);
                    let Some((plugin, deadline)) = due.min_by_key(|(_, deadline)| **deadline) else {
                        continue;
                    };
                    let waited = go_duration(deadline.since(since));
                    let reason = format!("rejected due to timeout after waiting {waited} at plugin {plugin}");
                    self.reject_waiting(&uid, &Status::unschedulable(reason).by(plugin), "timeout", now);
                }
                Stage::PreBindWaiting { plugin, .. } => {
                    // Asked a last time: the plugin knows by the clock that it is late, and says why it gives up.
                    let name = binding.profile.pre_bind[plugin].name.clone();
                    self.pre_bind(&uid, plugin, now);
                    let waits_on = self.bindings.get(&uid).is_some_and(
                        |b| matches!(b.stage, Stage::PreBindWaiting { deadline, .. } if deadline <= now),
                    );
                    if waits_on {
                        self.abort(&uid, Some(&pre_bind_failure(&name, &Status::error("timed out"))), now);
                    }
                }
                Stage::Unknown { message, .. } => {
                    self.bindings.set_stage(&uid, Stage::Unknown { message, look_again: None });
                    self.effects.push(Effect::Verify { pod });
                }
                Stage::Bound { .. } => {
                    self.bindings.set_stage(&uid, Stage::Bound { since: now });
                    self.effects.push(Effect::Verify { pod });
                }
                Stage::PreBinding | Stage::PreBindWriting { .. } | Stage::Sent => {}
            }
        }
    }
}

fn point_failure(point: &str, plugin: &Atom, status: &Status) -> Status {
    Status::error(format!("running {point} plugin {:?}: {}", plugin.as_str(), status.message())).by(plugin)
}
