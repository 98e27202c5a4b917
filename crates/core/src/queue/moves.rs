//! What moves a waiting pod: events and the plugins' hints, gates that open, and forced activation.

use super::{Place, Profiles, Queue, QueueContext};
use secondmate_cycle::probe::Point;
use secondmate_cycle::{At, Profile};
use secondmate_framework::{ClusterEvent, Code, EventResource, Hint, ObjectChange, PreEnqueue};
use secondmate_model::{Atom, Pod, Uid};
use std::sync::Arc;

/// The effect of an event on a pod, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strategy {
    Wait,
    AfterBackoff,
    Now,
}

impl Strategy {
    /// The queue that it leads to, as named in the metric.
    fn queue(self) -> &'static str {
        match self {
            Self::Wait => "unschedulable",
            Self::AfterBackoff => "backoff",
            Self::Now => "active",
        }
    }
}

/// A forced move.
const FORCED: Move = Move { event: "ForceActivate", strategy: None, stays: false };

/// Why a pod is moved, for the metrics of incoming pods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    /// Label of the event.
    event: &'static str,
    /// The effect of the event on the pod; `None` if it was not determined.
    strategy: Option<Strategy>,
    /// The pod stays where it is if a plugin holds it back, and then does not count as incoming.
    stays: bool,
}

impl Move {
    /// A move that was not decided by a plugin's hint.
    pub fn plain(event: &'static str) -> Self {
        Self { event, strategy: None, stays: false }
    }

    /// A move caused by an event.
    pub fn by(event: &'static str, strategy: Strategy) -> Self {
        Self { event, strategy: Some(strategy), stays: false }
    }

    fn that_may_stay(self) -> Self {
        Self { stays: true, ..self }
    }
}

/// Which pods an event is evaluated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All waiting pods.
    AllThatWait,
    /// The pod that was updated.
    TheUpdated,
}

impl Queue {
    /// A pod enters a queue. Upstream counts entities separately, and only if the queue differs from the one that the event's
    /// hint leads to (`recordIncomingEntitiesMetrics`): a pod that goes into backoff because a hint said so is not counted as a
    /// new entity there.
    pub(super) fn count_move(&mut self, queue: &'static str, by: Move) {
        *self.incoming.entry((queue, by.event)).or_insert(0) += 1;
        if by.strategy.is_none_or(|strategy| strategy.queue() != queue) {
            *self.incoming_entities.entry((queue, by.event)).or_insert(0) += 1;
        }
    }

    /// Handles a cluster event: moves the pods that it may help, except for `except`.
    pub fn on_event(
        &mut self,
        event: &ClusterEvent,
        change: &ObjectChange,
        except: Option<&Uid>,
        cx: QueueContext<'_>,
    ) {
        let concerns = |pod: &Pod| Some(&pod.uid) != except;
        self.on_event_for(event, change, &concerns, cx);
    }

    /// Handles a cluster event: moves the pods that it concerns and may help.
    pub fn on_event_for(
        &mut self,
        event: &ClusterEvent,
        change: &ObjectChange,
        concerns: &dyn Fn(&Pod) -> bool,
        cx: QueueContext<'_>,
    ) {
        let registered =
            event.resource == EventResource::Wildcard || cx.profiles.values().any(|p| p.registers(event));
        if !registered {
            return;
        }
        let strategy = |pod: &Pod| self.strategy(&pod.uid, pod, event, change, cx.profiles);
        let own = change.pod().and_then(|pod| self.entries.get(&pod.uid)).map(|entry| entry.ticket);
        for (uid, strategy) in self.waiting.helped(event, own, cx.profiles, concerns, strategy) {
            self.move_by(&uid, event, strategy, Asked::AllThatWait, cx);
        }
        self.in_flight.record(*event, change);
    }

    /// The core's own gate has opened, and the pod waits for events like any other rejected pod. If `events_are_over`, the events
    /// that it would wait for have already come, so it is retried when its backoff ends.
    pub fn ungate(&mut self, uid: &Uid, events_are_over: bool, cx: QueueContext<'_>) {
        let Some(entry) = self.entries.get_mut(uid).filter(|e| e.place == Place::Gated) else { return };
        if events_are_over {
            self.requeue_after_backoff(uid, Move::plain("PreemptionFinished").that_may_stay(), cx);
            return;
        }
        let timestamp = entry.queued.timestamp;
        if !self.gate(uid, Move::plain("PreemptionFinished").that_may_stay(), cx) {
            self.relocate(uid, Place::Unschedulable, timestamp, cx.profiles, |_| {});
        }
    }

    /// Retries a pod that waits for events when its backoff ends, as if this event had helped it.
    pub fn wake(&mut self, uid: &Uid, event: &'static str, cx: QueueContext<'_>) {
        if self.entries.get(uid).is_some_and(|entry| entry.place == Place::Unschedulable) {
            self.requeue_after_backoff(uid, Move::by(event, Strategy::AfterBackoff), cx);
        }
    }

    /// Moves a waiting pod regardless of the plugins; a pod in flight is retried as soon as it returns.
    pub fn force_activate(&mut self, uid: &Uid, cx: QueueContext<'_>) {
        match self.entries.get(uid).map(|e| e.place) {
            // PreEnqueue plugins let it pass when it went into backoff, and are not asked again.
            Some(Place::Backoff | Place::ErrorBackoff) => self.enter_active(uid, FORCED, cx),
            Some(Place::Unschedulable | Place::Gated) => self.activate(uid, FORCED.that_may_stay(), cx),
            Some(Place::InFlight) => self.in_flight.force(uid),
            Some(Place::Active) | None => {}
        }
    }

    /// The effect of an event on a rejected pod.
    pub(super) fn strategy(
        &self,
        uid: &Uid,
        pod: &Pod,
        event: &ClusterEvent,
        change: &ObjectChange,
        profiles: &Profiles,
    ) -> Strategy {
        let Some(entry) = self.entries.get(uid) else { return Strategy::Wait };
        if event.resource == EventResource::Wildcard {
            return Strategy::AfterBackoff;
        }
        let Some(profile) = profiles.get(&pod.scheduler_name) else { return Strategy::Wait };
        let says_queue = |plugin: &Atom| profile.hint(plugin, event, pod, change) == Hint::Queue;
        if entry.pending_by.iter().any(says_queue) {
            Strategy::Now
        } else if entry.rejected_by.iter().any(says_queue) {
            Strategy::AfterBackoff
        } else {
            Strategy::Wait
        }
    }

    /// The combined effect on a rejected pod of the events since it was popped. Stops as soon as nothing can change the result: a
    /// pod may have waited on permit for a quarter of an hour.
    pub(super) fn strategy_since_pop(&self, uid: &Uid, pod: &Pod, profiles: &Profiles) -> Strategy {
        let may_go_at_once = self.entries.get(uid).is_some_and(|entry| !entry.pending_by.is_empty());
        let most = if may_go_at_once { Strategy::Now } else { Strategy::AfterBackoff };
        let mut strategy =
            if self.in_flight.missed_some(uid) { Strategy::AfterBackoff } else { Strategy::Wait };
        let mut events = self.in_flight.since_pop(uid);
        while strategy < most
            && let Some((event, change)) = events.next()
        {
            strategy = strategy.max(self.strategy(uid, pod, event, change, profiles));
        }
        strategy
    }

    /// Reconsiders a waiting pod that was updated; returns whether it stopped waiting.
    pub(super) fn reconsider(
        &mut self,
        uid: &Uid,
        event: &ClusterEvent,
        change: &ObjectChange,
        cx: QueueContext<'_>,
    ) -> bool {
        let Some(entry) = self.entries.get(uid) else { return false };
        let pod = Arc::clone(&entry.queued.pod);
        let strategy = self.strategy(uid, &pod, event, change, cx.profiles);
        self.move_by(uid, event, strategy, Asked::TheUpdated, cx)
    }

    /// Moves a waiting pod according to the effect of an event; returns whether it stopped waiting.
    fn move_by(
        &mut self,
        uid: &Uid,
        event: &ClusterEvent,
        strategy: Strategy,
        asked: Asked,
        cx: QueueContext<'_>,
    ) -> bool {
        let Some(entry) = self.entries.get(uid) else { return false };
        let pod = &entry.queued.pod;
        if let Some(gate) = entry.gated_by.as_ref().filter(|_| asked == Asked::AllThatWait) {
            // A gated pod is reconsidered only if the event may change the gating plugin's mind.
            let concerns =
                cx.profiles.get(&pod.scheduler_name).is_some_and(|p| p.plugin_registers(gate, event));
            if !concerns {
                return false;
            }
        }
        let by = Move { stays: asked == Asked::TheUpdated, ..Move::by(event.label, strategy) };
        match strategy {
            Strategy::Wait => return false,
            Strategy::Now => self.activate(uid, by, cx),
            Strategy::AfterBackoff => self.requeue_after_backoff(uid, by, cx),
        }
        self.entries.get(uid).is_some_and(|e| !matches!(e.place, Place::Unschedulable | Place::Gated))
    }

    pub(super) fn requeue_after_backoff(&mut self, uid: &Uid, by: Move, cx: QueueContext<'_>) {
        let Some(entry) = self.entries.get(uid) else { return };
        if !self.is_backing_off(entry, cx.now) {
            self.activate(uid, by, cx);
            return;
        }
        if self.gate(uid, by, cx) {
            return;
        }
        let errors = self.entries.get(uid).is_some_and(|e| e.rejectors().next().is_none());
        let place = if errors { Place::ErrorBackoff } else { Place::Backoff };
        self.enter_backoff(uid, place, by, cx);
    }

    /// Puts a pod into activeQ unless a PreEnqueue plugin holds it back.
    pub(super) fn activate(&mut self, uid: &Uid, by: Move, cx: QueueContext<'_>) {
        if !self.gate(uid, by, cx) {
            self.enter_active(uid, by, cx);
        }
    }

    /// Asks the PreEnqueue plugins. If one holds the pod back, moves it to the gated pods and returns true.
    fn gate(&mut self, uid: &Uid, by: Move, cx: QueueContext<'_>) -> bool {
        self.touched.note(uid);
        let Some(entry) = self.entries.get_mut(uid) else { return false };
        let Some(plugin) = first_that_holds(&entry.queued.pod, entry.gated_by.as_ref(), cx) else {
            entry.gated_by = None;
            return false;
        };
        let is_new = !entry.rejectors().any(|p| *p == plugin);
        let timestamp = entry.queued.timestamp;
        let profile = entry.queued.pod.scheduler_name.clone();
        self.relocate(uid, Place::Gated, timestamp, cx.profiles, |entry| {
            if is_new {
                entry.rejected_by.insert(plugin.clone());
            }
            entry.gated_by = Some(plugin.clone());
            // It is not retried, so the flush has no effect on it.
            entry.flushed = false;
        });
        if is_new {
            self.count_rejector(&plugin, &profile);
        }
        if !by.stays {
            self.count_move("unschedulable", by);
        }
        true
    }
}

/// The core's own gate or the PreEnqueue plugin that holds the pod back. The plugin that did so before is asked first.
pub(super) fn first_that_holds(pod: &Pod, before: Option<&Atom>, cx: QueueContext<'_>) -> Option<Atom> {
    cx.gates.holds(&pod.uid).or_else(|| {
        let profile = cx.profiles.get(&pod.scheduler_name)?;
        first_plugin_that_holds(profile, pod, before)
    })
}

fn first_plugin_that_holds(profile: &Profile, pod: &Pod, before: Option<&Atom>) -> Option<Atom> {
    let plugins = &profile.pre_enqueue;
    let holds = |plugin: &At<dyn PreEnqueue>| {
        let status = profile.ask_pre_enqueue(plugin, pod);
        (!status.is_success()).then(|| (plugin.name.clone(), status.code()))
    };
    let again = plugins.iter().filter(|p| Some(&p.name) == before);
    let others = plugins.iter().filter(|p| Some(&p.name) != before);
    let probe = profile.probe();
    let began = probe.now();
    let held = again.chain(others).find_map(holds);
    let code = held.as_ref().map_or(Code::Success, |(_, code)| *code);
    probe.point_done(Point::PreEnqueue, code, probe.now().since(began));
    held.map(|(plugin, _)| plugin)
}
