//! From the choice of a node to the pod being seen there: Reserve, Permit, PreBind, Bind, confirmation.

use super::stage::{Binding, Stage, bind_failure, go_duration, pre_bind_failure, unreserve};
use super::{Scheduler, plain_context};
use crate::port::{BindOutcome, Effect, EventType, NominationPatch, Observation, Verified};
use crate::profile::Profile;
use secondmate_framework::{BindStep, Code, CycleState, PreBindStep, Status};
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
                if let Ok(Some(gone)) = self.cache.forget(&pod.uid) {
                    self.announce_pod_gone(&gone, Some(&pod.uid), now);
                }
                return Err(status);
            }
        };
        let waits = !plugins.is_empty();
        let pre_binds = |p: &crate::profile::PluginRef| {
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
        self.bindings.insert(Binding {
            pod: Arc::clone(pod),
            node: node.clone(),
            profile: Arc::clone(profile),
            state,
            stage: Stage::Sent,
            popped: now,
            confirmed: false,
            abandoned: false,
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
        let cx = plain_context(&self.snapshot, &self.nominator, now);
        let failure = |point: &str, plugin: &Atom, status: &Status| {
            Status::error(format!("running {point} plugin {:?}: {}", plugin.as_str(), status.message()))
                .by(plugin)
        };
        for plugin in &profile.reserve {
            let point = plugin.plugin.as_reserve().expect("checked when the profile was made");
            let status = point.reserve(&cx, state, pod, node);
            if status.is_rejected() {
                return Err(status.by(&plugin.name));
            }
            if !status.is_success() {
                return Err(failure("Reserve", &plugin.name, &status));
            }
        }
        let mut waiting = BTreeMap::new();
        for plugin in &profile.permit {
            let point = plugin.plugin.as_permit().expect("checked when the profile was made");
            let (status, timeout) = point.permit(&cx, state, pod, node);
            match status.code() {
                Code::Success => {}
                Code::Wait => {
                    waiting.insert(plugin.name.clone(), now + timeout.min(MAX_PERMIT_WAIT));
                }
                _ if status.is_rejected() => return Err(status.by(&plugin.name)),
                _ => return Err(failure("Permit", &plugin.name, &status)),
            }
        }
        Ok(waiting)
    }

    /// A plugin lets a waiting pod go on.
    pub(super) fn allow(&mut self, uid: &Uid, plugin: &Atom, now: Timestamp) {
        let Some(binding) = self.bindings.get_mut(uid) else { return };
        let Stage::Permit { plugins, since } = &mut binding.stage else { return };
        plugins.remove(plugin);
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
        self.pre_bind(uid, 0, now);
    }

    /// Drives the PreBind plugins from this one on, then binds.
    pub(super) fn pre_bind(&mut self, uid: &Uid, first: usize, now: Timestamp) {
        let Some(binding) = self.bindings.get(uid) else { return };
        let profile = Arc::clone(&binding.profile);
        for (at, plugin) in profile.pre_bind.iter().enumerate().skip(first) {
            let point = plugin.plugin.as_pre_bind().expect("checked when the profile was made");
            let Some(binding) = self.bindings.get_mut(uid) else { return };
            let (pod, node) = (Arc::clone(&binding.pod), binding.node.clone());
            let cx = plain_context(&self.snapshot, &self.nominator, now);
            match point.pre_bind(&cx, &mut binding.state, &pod, &node) {
                PreBindStep::Done => {}
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
        // Between the choice of the node and now others may have taken the room.
        if let Err(status) = self.look_once_more(uid) {
            self.abort(uid, Some(&status), now);
            return;
        }
        self.bind(uid, now);
    }

    /// Whether the node is still there and has room for the pod.
    fn look_once_more(&self, uid: &Uid) -> Result<(), Status> {
        let Some(binding) = self.bindings.get(uid) else { return Ok(()) };
        let node = binding.node.as_str();
        let Some(info) = self.cache.node_info(&binding.node) else {
            return Err(Status::error(format!("node {node:?} was deleted before the pod was bound to it")));
        };
        let (room, used) = (&info.node().allocatable, info.requested());
        let wants = &binding.pod.requests.filter;
        let taken = (wants.milli_cpu > 0 && used.milli_cpu > room.resources.milli_cpu)
            || (wants.memory > 0 && used.memory > room.resources.memory)
            || (wants.ephemeral_storage > 0 && used.ephemeral_storage > room.resources.ephemeral_storage)
            || i64::try_from(info.pods().len()).is_ok_and(|pods| pods > room.pods);
        // A profile without NodeResourcesFit does not care.
        let fits = Atom::new("NodeResourcesFit");
        if taken && binding.profile.filter.iter().any(|p| p.name == fits) {
            return Err(Status::error(format!(
                "another scheduler took the room on node {node:?} before the pod was bound to it"
            )));
        }
        Ok(())
    }

    fn bind(&mut self, uid: &Uid, now: Timestamp) {
        let Some(binding) = self.bindings.get(uid) else { return };
        let (profile, pod, node) =
            (Arc::clone(&binding.profile), Arc::clone(&binding.pod), binding.node.clone());
        for plugin in &profile.bind {
            let point = plugin.plugin.as_bind().expect("checked when the profile was made");
            let Some(binding) = self.bindings.get(uid) else { return };
            let effect = match point.bind(&binding.state, &pod, &node) {
                BindStep::Skip => continue,
                BindStep::Binding { annotations } => {
                    Effect::Bind { pod: Arc::clone(&pod), node: node.clone(), annotations }
                }
                BindStep::Write(write) => Effect::BindBy { pod: Arc::clone(&pod), write },
                BindStep::Fail(status) => {
                    let status = bind_failure(&plugin.name, &status.message());
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

    /// Writes that a PreBind plugin wanted are done, or failed.
    pub(super) fn write_finished(&mut self, uid: &Uid, result: Result<(), String>, now: Timestamp) {
        let Some(binding) = self.bindings.get(uid) else { return };
        let Stage::PreBindWriting { plugin } = binding.stage else { return };
        let name = binding.profile.pre_bind[plugin].name.clone();
        match result {
            Ok(()) => self.pre_bind(uid, plugin, now),
            Err(message) => {
                let status = pre_bind_failure(&name, &Status::error(message));
                self.abort(uid, Some(&status), now);
            }
        }
    }

    /// An object changed: PreBind plugins that wait are asked again.
    pub(super) fn ask_waiting(&mut self, now: Timestamp) {
        for (uid, plugin) in self.bindings.waiting_in_pre_bind() {
            self.pre_bind(&uid, plugin, now);
        }
    }

    /// Deadlines that have passed.
    pub(super) fn tick_bindings(&mut self, now: Timestamp) {
        for uid in self.bindings.due(&self.config, now) {
            let Some(binding) = self.bindings.get(&uid) else { continue };
            let pod = Arc::clone(&binding.pod);
            match binding.stage.clone() {
                Stage::Permit { plugins, since } => {
                    let Some((plugin, deadline)) = plugins.iter().find(|(_, d)| **d <= now) else { continue };
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
                Stage::PreBindWriting { .. } | Stage::Sent => {}
            }
        }
    }

    /// The answer to a binding.
    pub(super) fn bind_finished(&mut self, uid: &Uid, outcome: BindOutcome, now: Timestamp) {
        let Some(binding) = self.bindings.get(uid) else { return };
        let pod = Arc::clone(&binding.pod);
        if !matches!(binding.stage, Stage::Sent) {
            return;
        }
        if binding.confirmed {
            // Seen on its node: whatever the answer says, it was bound.
            self.bound(uid, now);
            return;
        }
        if binding.abandoned {
            // Deleted meanwhile, and forgotten. Where it was bound before that, the assigned watch tells.
            self.bindings.remove(uid);
            if self.queue.get(uid).is_some() {
                self.queue.park(uid, now, &self.profiles);
            }
            return;
        }
        match outcome {
            BindOutcome::Bound => self.bound(uid, now),
            BindOutcome::NotSent => {
                let status =
                    Status::error("the binding was not sent: this scheduler is not the leader any more");
                self.abort(uid, Some(&status), now);
            }
            BindOutcome::Refused { code: 409, message } => {
                self.effects.push(Effect::Observed(Observation::BindRefused { code: 409 }));
                // Bound already, maybe by a call of ours whose answer was lost: only the pod itself tells.
                self.bindings.set_stage(uid, Stage::Unknown { message, look_again: None });
                self.effects.push(Effect::Verify { pod });
            }
            BindOutcome::Refused { code, message } => {
                self.effects.push(Effect::Observed(Observation::BindRefused { code }));
                let status = self.refused(uid, &message);
                self.abort(uid, Some(&status), now);
            }
            BindOutcome::Unknown { message } => {
                self.effects.push(Effect::Observed(Observation::BindUnknown));
                self.bindings.set_stage(uid, Stage::Unknown { message, look_again: None });
                self.effects.push(Effect::Verify { pod });
            }
        }
    }

    /// What a look at the pod showed.
    pub(super) fn verified(&mut self, uid: &Uid, verified: Verified, now: Timestamp) {
        let Some(binding) = self.bindings.get(uid) else { return };
        let node = binding.node.clone();
        let (unknown, message) = match &binding.stage {
            Stage::Unknown { message, .. } => (true, message.clone()),
            Stage::Bound { .. } => (false, String::new()),
            _ => return,
        };
        match verified {
            Verified::Failed(_) if unknown => {
                let again = now + self.config.verify_again_after;
                self.bindings.set_stage(uid, Stage::Unknown { message, look_again: Some(again) });
            }
            Verified::Failed(_) => {}
            Verified::Gone => {
                let status = self.refused(uid, "the pod is gone");
                self.abort(uid, Some(&status), now);
            }
            Verified::Found(found) if found.node_name.as_ref() == Some(&node) => {
                if unknown {
                    self.bound(uid, now);
                }
                // As good as a word of the assigned watch, which may have missed the pod altogether.
                self.assigned(Arc::clone(&found), now);
                if found.terminal {
                    self.assigned_gone(uid, now);
                }
            }
            Verified::Found(found) if found.node_name.is_some() => {
                self.assigned(Arc::clone(&found), now);
                if found.terminal {
                    self.assigned_gone(uid, now);
                }
            }
            Verified::Found(_) => {
                let text = if message.is_empty() { "the pod is not bound" } else { &message };
                let status = self.refused(uid, text);
                self.abort(uid, Some(&status), now);
            }
        }
    }

    fn refused(&self, uid: &Uid, message: &str) -> Status {
        let plugin = self.bindings.get(uid).and_then(|b| b.profile.bind.first());
        bind_failure(&plugin.map(|p| p.name.clone()).unwrap_or_default(), message)
    }

    /// The API server has bound the pod.
    fn bound(&mut self, uid: &Uid, now: Timestamp) {
        let Some(binding) = self.bindings.get(uid) else { return };
        let (pod, node, confirmed) = (Arc::clone(&binding.pod), binding.node.clone(), binding.confirmed);
        for plugin in &binding.profile.post_bind {
            if let Some(point) = plugin.plugin.as_post_bind() {
                point.post_bind(&binding.state, &pod, &node);
            }
        }
        let (popped, profile) = (binding.popped, binding.profile.name().clone());
        let entry = self.queue.remove(uid);
        let attempts = entry.as_ref().map_or(1, |e| e.queued.attempts);
        let first = entry.and_then(|e| e.first_active).unwrap_or(popped);
        self.effects.push(Effect::Observed(Observation::Scheduled {
            profile,
            attempts,
            since_first_attempt: now.since(first),
            since_popped: now.since(popped),
        }));
        let note = format!("Successfully assigned {} to {node}", pod.full_name());
        self.event(&pod, EventType::Normal, "Scheduled", "Binding", note);
        if confirmed {
            self.bindings.remove(uid);
        } else {
            self.bindings.set_stage(uid, Stage::Bound { since: now });
        }
    }

    /// Gives a binding up: undoes Reserve, frees the room and, with a status, puts the pod back into the queue.
    pub(super) fn abort(&mut self, uid: &Uid, status: Option<&Status>, now: Timestamp) {
        let Some(mut binding) = self.bindings.remove(uid) else { return };
        unreserve(&binding.profile, &mut binding.state, &binding.pod, &binding.node);
        let gone = self.cache.forget(uid).ok().flatten();
        if let Some(status) = status {
            self.fail_after_choice(&binding.profile, &binding.pod, status, now);
        }
        if let Some(gone) = gone {
            let rejected = status.is_some_and(Status::is_rejected);
            self.announce_pod_gone(&gone, rejected.then_some(uid), now);
        }
    }

    /// A pod on its way was deleted (`deleted`), or left the pending watch, which may also mean that it was bound.
    pub(super) fn binding_pod_gone(&mut self, uid: &Uid, deleted: bool, now: Timestamp) {
        let Some(binding) = self.bindings.get_mut(uid) else { return };
        if binding.can_be_taken_back() {
            self.abort(uid, None, now);
            if deleted {
                self.queue.park(uid, now, &self.profiles);
            }
        } else if deleted && !binding.confirmed && matches!(binding.stage, Stage::Sent) && !binding.abandoned
        {
            // The room is free from now on; the call on the way will be refused.
            binding.abandoned = true;
            let (profile, pod, node) =
                (Arc::clone(&binding.profile), Arc::clone(&binding.pod), binding.node.clone());
            unreserve(&profile, &mut binding.state, &pod, &node);
            if let Ok(Some(gone)) = self.cache.forget(uid) {
                self.announce_pod_gone(&gone, None, now);
            }
        }
    }

    /// The assigned watch (or a look) shows a pod that is on its way.
    pub(super) fn binding_confirmed(&mut self, pod: &Arc<Pod>, now: Timestamp) {
        let Some(binding) = self.bindings.get_mut(&pod.uid) else { return };
        let same_node = pod.node_name.as_ref() == Some(&binding.node);
        match binding.stage {
            Stage::Bound { .. } if same_node => {
                self.bindings.remove(&pod.uid);
            }
            Stage::Sent if same_node => binding.confirmed = true,
            Stage::Unknown { .. } if same_node => {
                binding.confirmed = true;
                self.bound(&pod.uid, now);
            }
            _ => {
                // Somebody else has bound it.
                let Some(mut binding) = self.bindings.remove(&pod.uid) else { return };
                unreserve(&binding.profile, &mut binding.state, &binding.pod, &binding.node);
                if !same_node {
                    self.effects.push(Effect::Observed(Observation::BoundElsewhere));
                }
            }
        }
    }

    /// A victim that is on its way and can be taken back in memory; says whether it was.
    pub(super) fn evict_in_memory(&mut self, uid: &Uid, plugin: &Atom, now: Timestamp) -> bool {
        if !self.bindings.get(uid).is_some_and(Binding::can_be_taken_back) {
            return false;
        }
        self.abort(uid, Some(&Status::unschedulable("preempted").by(plugin)), now);
        true
    }
}
