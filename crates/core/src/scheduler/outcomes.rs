//! What comes back from outside about a pod on its way: answers, looks, confirmations, and its end.

use super::Scheduler;
use super::stage::{Stage, bind_failure, pre_bind_failure, unreserve};
use crate::port::{BindOutcome, Effect, EventType, Observation, Verified};
use secondmate_cycle::probe::{Point, call};
use secondmate_framework::{Code, Status};
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::sync::Arc;

impl Scheduler {
    /// Writes that a PreBind plugin wanted are done, or failed.
    pub(super) fn write_finished(&mut self, uid: &Uid, result: Result<(), String>, now: Timestamp) {
        let Some(binding) = self.bindings.get(uid) else { return };
        let Stage::PreBindWriting { plugin } = binding.stage else { return };
        if binding.abandoned {
            self.give_up(uid, now);
            return;
        }
        let name = binding.profile.pre_bind[plugin].name.clone();
        match result {
            Ok(()) => self.pre_bind(uid, plugin, now),
            Err(message) => {
                self.bindings.set_stage(uid, Stage::PreBinding);
                let status = pre_bind_failure(&name, &Status::error(message));
                self.abort(uid, Some(&status), now);
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
            let code = if outcome == BindOutcome::Bound { Code::Success } else { Code::Error };
            self.end_point(uid, code, now);
            self.give_up(uid, now);
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
        let (node, left_pending) = (binding.node.clone(), binding.left_pending);
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
            Verified::Found(found) => {
                let text = if message.is_empty() { "the pod is not bound" } else { &message };
                let status = self.refused(uid, text);
                self.abort(uid, Some(&status), now);
                if !left_pending {
                    // It was taken out of the queue when it was thought to be bound.
                    self.pending(found, now);
                }
            }
        }
    }

    fn refused(&self, uid: &Uid, message: &str) -> Status {
        let plugin = self.bindings.get(uid).and_then(|b| b.profile.bind.first());
        bind_failure(&plugin.map(|p| p.name.clone()).unwrap_or_default(), message)
    }

    /// The API server has bound the pod.
    fn bound(&mut self, uid: &Uid, now: Timestamp) {
        self.end_point(uid, Code::Success, now);
        let Some(binding) = self.bindings.get(uid) else { return };
        let (pod, node, confirmed) = (Arc::clone(&binding.pod), binding.node.clone(), binding.confirmed);
        let (probe, timed) = (binding.profile.probe(), binding.state.is_timed());
        let began = probe.now();
        for plugin in &binding.profile.post_bind {
            if let Some(point) = plugin.plugin.as_post_bind() {
                let ask = || point.post_bind(&binding.state, &pod, &node);
                call(probe, timed, plugin, Point::PostBind, ask, |()| Code::Success);
            }
        }
        probe.point_done(Point::PostBind, Code::Success, probe.now().since(began));
        // From the binding, not from the queue: the pod has left the pending watch, often before the answer came.
        self.effects.push(Effect::Observed(Observation::Scheduled {
            profile: binding.profile.name().clone(),
            attempts: binding.attempts,
            since_first_attempt: now.since(binding.first_active),
            since_popped: now.since(binding.popped),
            after_flush: binding.flushed,
        }));
        self.queue.remove(uid);
        let note = format!("Successfully assigned {} to {node}", pod.full_name());
        self.event(&pod, EventType::Normal, "Scheduled", "Binding", note);
        if confirmed {
            self.bindings.remove(uid);
        } else {
            self.bindings.set_stage(uid, Stage::Bound { since: now });
        }
    }

    /// Gives a binding up: undoes Reserve, frees the room and, with a status, puts the pod back into the queue. While a plugin's
    /// write is on the way only the room is freed; the rest is done when the answer comes, so that no answer is taken for that
    /// of a later attempt.
    pub(super) fn abort(&mut self, uid: &Uid, status: Option<&Status>, now: Timestamp) {
        let Some(binding) = self.bindings.get(uid) else { return };
        let outstanding = matches!(binding.stage, Stage::PreBindWriting { .. }) && !binding.abandoned;
        self.bindings.change(uid, |binding| {
            binding.end_point(status.map_or(Code::Error, Status::code), now);
            binding.abandoned = true;
            binding.verdict = status.cloned();
        });
        let gone = self.cache.forget(uid).ok().flatten();
        if !outstanding {
            self.give_up(uid, now);
        }
        if let Some(gone) = gone {
            let rejected = status.is_some_and(Status::is_rejected);
            self.announce_pod_gone(&gone, rejected.then_some(uid), now);
        }
    }

    /// The end of a binding that was given up.
    fn give_up(&mut self, uid: &Uid, now: Timestamp) {
        let Some(mut binding) = self.bindings.remove(uid) else { return };
        unreserve(&binding.profile, &mut binding.state, &binding.pod, &binding.node);
        match &binding.verdict {
            Some(status) if matches!(binding.stage, Stage::Permit { .. }) => {
                self.fail_after_choice(&binding.profile, &binding.pod, status, now);
            }
            Some(status) => self.fail_after_permit(&binding.profile, &binding.pod, status, now),
            None => self.queue.park(uid, now, &self.profiles),
        }
    }

    /// A pod on its way was deleted (`deleted`), or left the pending watch, which may also mean that it was bound.
    pub(super) fn binding_pod_gone(&mut self, uid: &Uid, deleted: bool, now: Timestamp) {
        let Some(binding) = self.bindings.get_mut(uid) else { return };
        binding.left_pending |= !deleted;
        if binding.can_be_taken_back() {
            self.abort(uid, None, now);
        } else if deleted && !binding.confirmed && matches!(binding.stage, Stage::Sent) && !binding.abandoned
        {
            // The room is free from now on; the call on the way will be refused.
            self.bindings.change(uid, |binding| binding.abandoned = true);
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
                binding.end_point(Code::Error, now);
                unreserve(&binding.profile, &mut binding.state, &binding.pod, &binding.node);
                if !same_node {
                    self.effects.push(Effect::Observed(Observation::BoundElsewhere));
                }
            }
        }
    }

    /// A victim that is on its way and can be taken back in memory; says whether it was. It is tried again as after an error:
    /// no event would tell it that it may.
    pub(super) fn evict_in_memory(&mut self, uid: &Uid, plugin: &Atom, now: Timestamp) -> bool {
        let Some(binding) = self.bindings.get(uid).filter(|b| b.can_be_taken_back()) else { return false };
        let status = match &binding.stage {
            Stage::PreBindWriting { plugin: at } | Stage::PreBindWaiting { plugin: at, .. } => {
                let cause = Status::error(format!("preempted by {plugin}"));
                pre_bind_failure(&binding.profile.pre_bind[*at].name, &cause)
            }
            Stage::Permit { since, .. } => {
                let waited = now.since(*since);
                self.effects.push(Effect::Observed(Observation::PermitWait { waited, result: "preempted" }));
                Status::error("waiting on permit for pod: preempted").by(plugin)
            }
            Stage::PreBinding | Stage::Sent | Stage::Unknown { .. } | Stage::Bound { .. } => return false,
        };
        self.abort(uid, Some(&status), now);
        true
    }
}
