//! How an attempt ends that placed no pod: the pod goes back into the queue, and an event and a condition say why.

use super::Scheduler;
use crate::port::{Effect, EventType, NominationPatch, Observation, ScheduledCondition};
use crate::queue::AttemptOutcome;
use secondmate_cycle::{Profile, Rejection};
use secondmate_framework::{Code, NodeIndex, NodeStatuses, Nomination, Status, fit_error_message};
use secondmate_model::{Pod, Timestamp};
use std::sync::Arc;

/// How an attempt ended that did not place the pod.
pub(super) struct FailedAttempt {
    /// `Unschedulable` or `SchedulerError`.
    reason: &'static str,
    message: String,
    outcome: AttemptOutcome,
    nomination: Nomination,
}

impl FailedAttempt {
    /// An attempt that failed with an error: no plugin rejected the pod.
    pub fn error(message: String) -> Self {
        let (outcome, nomination) = (AttemptOutcome::default(), Nomination::Clear);
        Self { reason: "SchedulerError", message, outcome, nomination }
    }
}

impl Scheduler {
    /// No node passed the filters.
    pub(super) fn reject(&mut self, profile: &Profile, pod: &Arc<Pod>, rejection: Rejection, now: Timestamp) {
        let (mut post_filter, mut message) = (rejection.post_filter, rejection.message);
        self.put_off(pod, &mut post_filter, &mut message, now);
        if rejection.post_filter_ran && profile.evicts_pods() {
            self.effects.push(Effect::Observed(Observation::Preemption {
                victims: post_filter.victims.len(),
                budget_violations: post_filter.budget_violations,
            }));
        }
        if post_filter.nomination.is_some() && !post_filter.victims.is_empty() {
            for cleared in &post_filter.nominations_to_clear {
                self.clear_nomination(cleared, now);
            }
            if let Some(Nomination::Node(node)) = &post_filter.nomination {
                self.begin_preemption(profile, pod, node, &post_filter, now);
            }
        }
        let nomination = post_filter.nomination.unwrap_or(Nomination::Keep);
        let outcome = AttemptOutcome { rejected_by: rejection.rejected_by, pending_by: rejection.pending_by };
        let failed = FailedAttempt { reason: "Unschedulable", message, outcome, nomination };
        self.fail(profile, pod, failed, now);
    }

    /// The attempt failed between the choice of the node and the binding, or the binding failed.
    pub(super) fn fail_after_choice(
        &mut self,
        profile: &Profile,
        pod: &Arc<Pod>,
        status: &Status,
        now: Timestamp,
    ) {
        if !status.is_rejected() {
            self.fail(profile, pod, FailedAttempt::error(status.message()), now);
            return;
        }
        // The rejection is reported as if the node were the only one.
        let mut statuses = NodeStatuses::new(Status::SUCCESS);
        statuses.set(NodeIndex(0), status.clone());
        let message = fit_error_message(1, None, &statuses, "");
        let mut outcome = AttemptOutcome::default();
        if let Some(plugin) = status.plugin() {
            let pending = status.code() == Code::Pending;
            let set = if pending { &mut outcome.pending_by } else { &mut outcome.rejected_by };
            set.insert(plugin.clone());
        }
        let nomination = Nomination::Clear;
        self.fail(profile, pod, FailedAttempt { reason: "Unschedulable", message, outcome, nomination }, now);
    }

    /// PreBind or Bind failed. Events are no longer kept for the pod at this point, so it is retried after a backoff, regardless
    /// of the status.
    pub(super) fn fail_after_permit(
        &mut self,
        profile: &Profile,
        pod: &Arc<Pod>,
        status: &Status,
        now: Timestamp,
    ) {
        let reason = if status.is_rejected() { "Unschedulable" } else { "SchedulerError" };
        self.fail(profile, pod, FailedAttempt { reason, ..FailedAttempt::error(status.message()) }, now);
    }

    /// The end of every attempt that did not place the pod: requeue, event, condition.
    pub(super) fn fail(&mut self, profile: &Profile, pod: &Arc<Pod>, failed: FailedAttempt, now: Timestamp) {
        let FailedAttempt { reason, message, outcome, nomination } = failed;
        let observed = if reason == "Unschedulable" {
            Observation::Unschedulable { profile: profile.name().clone() }
        } else {
            Observation::Error { profile: profile.name().clone() }
        };
        self.effects.push(Effect::Observed(observed));
        // The current object, not the one that was popped.
        let Some(entry) = self.queue.get(&pod.uid) else { return };
        let pod = Arc::clone(&entry.queued.pod);
        if self.cache.is_added(&pod.uid) || self.lingering.was_seen(&pod.uid) {
            // It was bound meanwhile.
            self.queue.remove(&pod.uid);
            self.preempts_no_more(&pod.uid, now);
            return;
        }
        let nominated = match nomination {
            Nomination::Keep => self.asked.node_of(&pod).cloned(),
            Nomination::Clear => None,
            Nomination::Node(node) => Some(node.clone()),
        };
        // Before it is requeued: a pod that is promised a node has no equivalents in the queue.
        match &nominated {
            Some(node) => self.nominator.set(&pod, node),
            None => {
                self.nominator.remove(&pod.uid);
            }
        }
        let (queue, cx) = self.queue_at(now);
        queue.put_back(&pod.uid, outcome, cx);
        self.event(&pod, EventType::Warning, "FailedScheduling", "Scheduling", message.clone());
        let written = pod.scheduled_condition.as_deref();
        let same =
            written.is_some_and(|c| &*c.status == "False" && &*c.reason == reason && *c.message == message);
        let nomination = if self.asked.is_written(&pod, nominated.as_ref()) {
            NominationPatch::Keep
        } else {
            self.asked.ask(&pod, nominated.clone(), now);
            NominationPatch::Set(nominated)
        };
        if same && nomination == NominationPatch::Keep {
            return;
        }
        let condition =
            (!same).then(|| ScheduledCondition { reason, message, observed_generation: pod.generation });
        self.effects.push(Effect::PatchStatus { pod, condition, nomination });
    }

    /// Clears the nomination of a pod of ours. A nomination by another scheduler is not ours to clear.
    fn clear_nomination(&mut self, pod: &Arc<Pod>, now: Timestamp) {
        if !self.profiles.contains_key(&pod.scheduler_name) {
            return;
        }
        self.nominator.remove(&pod.uid);
        self.asked.ask(pod, None, now);
        self.effects.push(Effect::PatchStatus {
            pod: Arc::clone(pod),
            condition: None,
            nomination: NominationPatch::Set(None),
        });
    }
}
