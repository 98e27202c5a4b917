//! Drives bindings: feeds events to the machine of [`binding`](super::binding), answers its questions and performs its actions.

use super::binding::{
    self, Action, Ask, BindCall, Binders, Cause, Event, Held, Next, PreBindAnswer, Sight, Stage, Step, Times,
};
use super::bindings::{Binding, DUE_AT_ONCE, LOOKED_AT_AT_ONCE};
use super::{Scheduler, plain_context};
use crate::port::{Effect, EventType, Observation, Verified};
use secondmate_cycle::panics::ask_at;
use secondmate_cycle::probe::{Point, call};
use secondmate_framework::{BindStep, Code, EventResource, PreBindStep, Status};
use secondmate_model::{Atom, Pod, Timestamp, Uid, duration};
use std::sync::Arc;

impl Scheduler {
    /// Something happened to a binding; does nothing if there is no binding.
    pub(super) fn binding_event(&mut self, uid: &Uid, event: Event, now: Timestamp) {
        let Some((mut binding, stage)) = self.bindings.take(uid) else { return };
        let mut times = self.times(now);
        match &event {
            Event::Looked(Sight::Failed) => {
                times.look_again_after = binding.look_failed(times.look_again_after);
            }
            Event::Looked(_) => binding.looks_failed = 0,
            _ => {}
        }
        let step = binding::step(stage, event, &times);
        self.drive(binding, step, now);
    }

    /// Carries out a step and those that follow from it, until the binding rests or is over.
    pub(super) fn drive(&mut self, mut binding: Box<Binding>, step: Step, now: Timestamp) {
        let (mut next, mut actions) = step;
        loop {
            let mut freed = None;
            for action in actions {
                self.perform(&mut binding, action, &mut freed, now);
            }
            (next, actions) = match next {
                Next::Rest(stage) => return self.bindings.put(binding, stage),
                Next::Over => return self.queue_if_lost(&binding.pod.uid, now),
                Next::Ask(Ask::PreBind(ask)) => {
                    let answer = self.ask_pre_bind(&mut binding, ask.first(), now);
                    ask.answered(answer, now)
                }
                Next::Ask(Ask::Room(ask)) => {
                    let room = self.look_once_more(&binding, now);
                    ask.answered(room, &self.times(now))
                }
                Next::Ask(Ask::Bind(ask)) => {
                    let call = ask_bind(&mut binding, ask.by(), now);
                    ask.answered(call)
                }
            };
        }
    }

    /// A binding is over. If the pod left the queue because it was thought to be bound, but is not, it is queued again.
    fn queue_if_lost(&mut self, uid: &Uid, now: Timestamp) {
        if self.queue.get(uid).is_none()
            && let Some(pod) = self.lingering.take_unseen(uid)
        {
            self.pending(pod, now);
        }
    }

    fn times(&self, now: Timestamp) -> Times {
        Times {
            now,
            confirm_within: self.config.confirm_within,
            look_again_after: self.config.verify_again_after,
            reads: self.config.read_before_bind,
        }
    }

    /// Asks the PreBind plugins, starting with this one.
    fn ask_pre_bind(&self, binding: &mut Binding, first: usize, now: Timestamp) -> PreBindAnswer {
        let profile = Arc::clone(&binding.profile);
        let (pod, node) = (Arc::clone(&binding.pod), binding.node.clone());
        for (at, plugin) in profile.pre_bind.iter().enumerate().skip(first) {
            binding.begin_plugin(at, now);
            let cx = plain_context(&self.snapshot, &self.nominator, now);
            let ask = || plugin.point.pre_bind(&cx, &mut binding.state, &pod, &node);
            let step = ask_at(&profile, plugin, Point::PreBind, &pod, ask)
                .unwrap_or_else(|panic| PreBindStep::Fail(Status::error(panic.what())));
            match step {
                PreBindStep::Done => binding.end_plugin(Code::Success, now),
                PreBindStep::Write(writes) => return PreBindAnswer::Write { plugin: at, writes },
                PreBindStep::Wait { deadline } => return PreBindAnswer::Wait { plugin: at, deadline },
                PreBindStep::Fail(status) => return PreBindAnswer::Fail { plugin: at, status },
            }
        }
        PreBindAnswer::Done
    }

    /// Performs an action. `freed` holds the pod that was forgotten in the cache, between the two actions that concern it.
    fn perform(
        &mut self,
        binding: &mut Binding,
        action: Action,
        freed: &mut Option<Arc<Pod>>,
        now: Timestamp,
    ) {
        match action {
            Action::BeginPoint(point) => binding.begin_point(point, now),
            Action::EndPoint(code) => binding.end_point(code, now),
            Action::Observe(observation) => {
                if let Observation::Yielded { waited, .. } = observation {
                    binding.yielded += waited;
                    self.queue.remember(&binding.pod.uid, binding.yielded, binding.has_written);
                }
                self.effects.push(Effect::Observed(observation));
            }
            Action::StopEvents => self.queue.done(&binding.pod.uid),
            Action::Write(writes) => {
                binding.has_written = true;
                self.queue.remember(&binding.pod.uid, binding.yielded, true);
                self.effects.push(Effect::Write { pod: binding.pod.uid.clone(), writes });
            }
            Action::Send(call) => {
                let pod = Arc::clone(&binding.pod);
                self.effects.push(match call {
                    BindCall::Binding(annotations) => {
                        Effect::Bind { pod, node: binding.node.clone(), annotations }
                    }
                    BindCall::Write(write) => Effect::BindBy { pod, write },
                    BindCall::Extender => Effect::BindByExtender { pod, node: binding.node.clone() },
                });
            }
            Action::Look => self.effects.push(Effect::Verify { pod: Arc::clone(&binding.pod) }),
            Action::ReadNode => self.read_node(&binding.node, now),
            Action::Placed => self.placed(binding, now),
            Action::FreeRoom => *freed = self.cache.forget(&binding.pod.uid).ok().flatten(),
            Action::AnnounceRoom { but_itself } => {
                if let Some(freed) = freed.take() {
                    self.announce_pod_gone(&freed, but_itself.then_some(&binding.pod.uid), now);
                    self.last_victim_gone(&freed.uid, now);
                }
            }
            Action::Unreserve => binding.unreserve(),
            Action::Retry { cause, on_permit } => {
                let status = status_of(binding, cause);
                if on_permit {
                    self.fail_after_choice(&binding.profile, &binding.pod, &status, now);
                } else {
                    self.fail_after_permit(&binding.profile, &binding.pod, &status, now);
                }
            }
            Action::Park => {
                let (queue, cx) = self.queue_at(now);
                queue.park(&binding.pod.uid, cx);
            }
            Action::TakeAsAssigned(pod) => {
                let ended = pod.terminal;
                self.assigned(pod, now);
                if ended {
                    self.assigned_gone(&binding.pod.uid, now);
                }
            }
        }
    }

    /// The pod is bound.
    fn placed(&mut self, binding: &Binding, now: Timestamp) {
        let (pod, node) = (&binding.pod, &binding.node);
        let (probe, timed) = (binding.profile.probe(), binding.state.is_timed());
        let began = probe.now();
        for plugin in &binding.profile.post_bind {
            // The pod is bound whatever happens here; the probe knows of a panic.
            let ask = || {
                let ask = || plugin.point.post_bind(&binding.state, pod, node);
                let _ = ask_at(&binding.profile, plugin, Point::PostBind, pod, ask);
            };
            call(probe, timed, plugin, Point::PostBind, ask, |()| Code::Success);
        }
        probe.point_done(Point::PostBind, Code::Success, probe.now().since(began));
        // Taken from the binding, not from the queue: the pod has left the pending watch, often before the answer came.
        self.effects.push(Effect::Observed(Observation::Scheduled {
            pod: pod.full_name(),
            node: node.clone(),
            profile: binding.profile.name().clone(),
            attempts: binding.attempts,
            since_first_attempt: now.since(binding.first_active),
            since_popped: now.since(binding.popped),
            after_flush: binding.flushed,
        }));
        self.loops.bound(pod, Some(node), now);
        self.postponed.remove(&pod.uid);
        if let Some(entry) = self.queue.remove(&pod.uid) {
            self.lingering.insert(entry.queued.pod);
        }
        let note = format!("Successfully assigned {} to {node}", pod.full_name());
        self.event(pod, EventType::Normal, "Scheduled", "Binding", note);
    }

    // What happens to bindings.

    /// An object changed: PreBind plugins that wait for its kind are asked again, now or later.
    pub(super) fn ask_waiting(&mut self, changed: EventResource, now: Timestamp) {
        let concerned = self.bindings.object_changed(changed, &self.profiles, now);
        self.objects_changed_for(&concerned, now);
    }

    fn objects_changed_for(&mut self, concerned: &[Uid], now: Timestamp) {
        if concerned.is_empty() {
            return;
        }
        // The plugins look at the cluster as it is now, without a node that is gone.
        self.cache.refresh(&mut self.snapshot);
        for uid in concerned {
            self.binding_event(uid, Event::ObjectChanged, now);
        }
    }

    /// Handles deadlines that have passed; returns whether these were all, as far as is known.
    pub(super) fn tick_bindings(&mut self, now: Timestamp) -> bool {
        let concerned = self.bindings.take_asks(&self.profiles, now);
        self.objects_changed_for(&concerned, now);
        let due = self.bindings.due(now);
        let mut went_on = 0;
        for uid in &due {
            if went_on == DUE_AT_ONCE {
                return false;
            }
            self.binding_event(uid, Event::Due, now);
            let waits = matches!(self.bindings.stage(uid), Some(Stage::Held(Held::Yielding { .. })));
            went_on += usize::from(!waits);
        }
        due.len() < LOOKED_AT_AT_ONCE
    }

    /// The result of a look at the pod.
    pub(super) fn verified(&mut self, uid: &Uid, verified: Verified, now: Timestamp) {
        let Some(binding) = self.bindings.get(uid) else { return };
        let sight = match verified {
            Verified::Failed(_) => Sight::Failed,
            Verified::Gone => Sight::Gone,
            Verified::Found(pod) => match &pod.node_name {
                Some(node) if *node == binding.node => Sight::Here(pod),
                Some(_) => Sight::Elsewhere(pod),
                None => Sight::Unbound,
            },
        };
        self.binding_event(uid, Event::Looked(sight), now);
    }

    /// The assigned watch shows the pod.
    pub(super) fn binding_seen(&mut self, pod: &Pod, now: Timestamp) {
        let Some(binding) = self.bindings.get(&pod.uid) else { return };
        let here = pod.node_name.as_ref() == Some(&binding.node);
        self.binding_event(&pod.uid, Event::Seen { here }, now);
    }

    /// Takes a victim back in memory, if it is being bound and that is still possible; returns whether it was. The victim is
    /// retried as after an error: no event would tell it when to try again.
    pub(super) fn evict_in_memory(&mut self, uid: &Uid, plugin: &Atom, now: Timestamp) -> bool {
        let held = matches!(self.bindings.stage(uid), Some(Stage::Held(_)));
        if held {
            self.binding_event(uid, Event::Preempted(plugin.clone()), now);
        }
        held
    }
}

/// The extender that binds such pods takes precedence over the Bind plugins, which are asked until one accepts the pod.
fn ask_bind(binding: &mut Binding, by: Binders, now: Timestamp) -> Result<BindCall, Status> {
    let profile = Arc::clone(&binding.profile);
    if by == Binders::All && profile.extenders().binder(&binding.pod).is_some() {
        return Ok(BindCall::Extender);
    }
    for (at, plugin) in profile.bind.iter().enumerate() {
        binding.begin_plugin(at, now);
        let ask = || plugin.point.bind(&binding.state, &binding.pod, &binding.node);
        let step = ask_at(&profile, plugin, Point::Bind, &binding.pod, ask)
            .unwrap_or_else(|panic| BindStep::Fail(Status::error(panic.what())));
        match step {
            BindStep::Skip => binding.end_plugin(Code::Skip, now),
            BindStep::Binding { annotations } => return Ok(BindCall::Binding(annotations)),
            BindStep::Write(write) => return Ok(BindCall::Write(write)),
            BindStep::Fail(status) if status.is_rejected() => return Err(status.by(&plugin.name)),
            BindStep::Fail(status) => return Err(point_failure("Bind", &plugin.name, &status.message())),
        }
    }
    Err(Status::error("no bind plugin took the pod"))
}

/// What the owner is told about a binding that was given up.
fn status_of(binding: &Binding, cause: Cause) -> Status {
    let profile = &binding.profile;
    match cause {
        Cause::Told(status) => status,
        Cause::TimedOut { plugin, waited } => {
            let waited = duration::format(waited);
            let reason = format!("rejected due to timeout after waiting {waited} at plugin {plugin}");
            Status::unschedulable(reason).by(&plugin)
        }
        Cause::PreBind { plugin, status } => {
            let name = &profile.pre_bind[plugin].name;
            if status.is_rejected() {
                status.by(name)
            } else {
                point_failure("PreBind", name, &status.message())
            }
        }
        Cause::Bind(message) => {
            let first = profile.bind.first().map(|plugin| plugin.name.clone()).unwrap_or_default();
            point_failure("Bind", &first, &message)
        }
    }
}

/// A plugin failed at an extension point.
pub(super) fn point_failure(point: &str, plugin: &Atom, message: &str) -> Status {
    Status::error(format!("running {point} plugin {:?}: {message}", plugin.as_str())).by(plugin)
}
