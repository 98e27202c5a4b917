//! The life of a binding as one state machine, from the choice of a node until the pod is seen there or is free again.
//!
//! ```text
//!           Held                                      Sent
//! start ──▶ Permit ──▶ (PreBind) ──▶ (Room) ──▶ (Bind) ──▶ Awaited ──▶ Bound ──▶ seen on its node
//!                       ▲ │           ▲ │                   │    ▲
//!                       │ ▼           │ ▼                   ▼    │
//!              Writing, Waiting  Yielding, Reading          Unknown
//! ```
//!
//! [`step`] takes a stage and an event, and returns the next stage and the actions to perform; it knows no queue, no cache, no
//! plugin and no API. The names in parentheses are questions that the scheduler answers at once: no binding rests there, which
//! the types enforce. A binding that has not been sent ([`Held`]) can be taken back at any time; one that has been sent
//! ([`Sent`]) is settled only by an answer, by a watch, or by a look at the pod. The only way to `Send` is through
//! [`ask::AskBind`], which only [`AskRoom`] hands out. If an ignorable extender was asked to bind the pod and a look shows that
//! it did not, the path to Bind starts again.

mod action;
mod ask;
mod event;
#[cfg(test)]
mod tests;

pub(super) use action::{Action, BindCall, Cause};
pub(super) use ask::{Ask, Before, Binders, Contention, PreBindAnswer, Room, Wait};
pub(super) use event::{Event, Sight};

use crate::port::{BindOutcome, Observation};
use ask::{AskPreBind, AskRoom};
use secondmate_cycle::probe::Point;
use secondmate_framework::{Code, Status};
use secondmate_model::{Atom, Pod, Timestamp};
use smallvec::{SmallVec, smallvec};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A stage in which a binding rests until an event comes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// Nothing that could bind the pod has been sent: it can be taken back.
    Held(Held),
    /// Taken back while a plugin's writes are in progress. The room is free; the pod is retried only after the answer, so that
    /// the answer cannot be mistaken for one to a later attempt. Without a cause, the pod is gone.
    TakenBack(Option<Cause>),
    /// The binding was sent.
    Sent(Sent),
}

/// Stages before the binding is sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Held {
    /// Plugins make the pod wait, each until its deadline.
    Permit { plugins: BTreeMap<Atom, Timestamp>, since: Timestamp },
    /// The writes of a PreBind plugin are in progress.
    Writing { plugin: usize },
    /// A PreBind plugin waits for objects to change.
    Waiting { plugin: usize, deadline: Timestamp },
    /// Others may be about to take the room: waits until that is over, or until the time is up.
    Yielding { by: Binders, wait: Wait, look_at: Timestamp },
    /// The node's pods are being read, since others may have bound some that the watch has not shown yet. A read that was requested
    /// earlier than `since` does not count.
    Reading { by: Binders, since: Timestamp },
}

/// Stages after the binding was sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sent {
    /// The answer is awaited.
    Awaited,
    /// The answer is awaited, but the pod has been deleted: its room has already been freed.
    Deleted,
    /// The answer is awaited, but the assigned watch has shown the pod on its node.
    Seen,
    /// The answer is awaited, but the pod is gone, and only the answer can tell whether it was bound before: its room has already
    /// been freed.
    Ended,
    /// It is not known whether the binding was carried out.
    Unknown { message: String, look: Look, unless_bound: UnlessBound },
    /// Bound, but not yet seen on its node; the pod is looked at if that takes too long.
    Bound { look_at: Timestamp },
}

/// What happens if a look shows that the pod is not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnlessBound {
    /// The Bind plugin failed.
    Fail,
    /// The extender failed.
    FailByExtender,
    /// The extender failed and is ignorable: the Bind plugins are asked.
    AskPlugins,
}

/// A look at a pod, that is, reading it from the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The answer is awaited.
    Asked,
    /// To be requested at that time.
    At(Timestamp),
}

/// How a stage ends if no watch says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WayOut {
    /// At that time at the latest.
    Deadline(Timestamp),
    /// With this answer.
    Answer(Awaited),
}

/// An answer that a stage waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Awaited {
    Write,
    Bind,
    Look,
    Read,
}

pub(super) type Actions = SmallVec<[Action; 5]>;

/// What comes next, and what has to be done first.
pub(super) type Step = (Next, Actions);

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// Nothing, until an event comes.
    Rest(Stage),
    /// A question that must be answered at once.
    Ask(Ask),
    /// Nothing: the binding is over.
    Over,
}

/// The current time, and how long a binding waits for various things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub now: Timestamp,
    /// How long a bound pod may remain unseen before it is looked at.
    pub confirm_within: Duration,
    /// How long to wait after a look failed.
    pub look_again_after: Duration,
    /// Whether the pods of a node are read if room is scarce.
    pub reads: bool,
}

/// The node is reserved for the pod; these plugins make it wait.
pub(super) fn start(plugins: BTreeMap<Atom, Timestamp>, now: Timestamp) -> Step {
    if plugins.is_empty() {
        return permitted(Actions::new());
    }
    (Next::Rest(Stage::Held(Held::Permit { plugins, since: now })), Actions::new())
}

/// The effect of an event on a binding.
pub(super) fn step(stage: Stage, event: Event, times: &Times) -> Step {
    match stage {
        Stage::Held(held) => held.step(event, times.now),
        Stage::TakenBack(cause) => match event {
            Event::Written(_) => (Next::Over, smallvec![Action::Unreserve, go_back(cause, false)]),
            Event::Seen { here } => overtaken(None, here),
            _ => rest(Stage::TakenBack(cause)),
        },
        Stage::Sent(sent) => sent.step(event, times),
    }
}

impl Stage {
    /// What ends the stage.
    pub fn way_out(&self) -> WayOut {
        match self {
            Self::Held(Held::Permit { plugins, .. }) => {
                let first = plugins.values().min().copied();
                WayOut::Deadline(first.expect("a pod waits on permit for some plugin"))
            }
            Self::Held(Held::Waiting { deadline, .. }) => WayOut::Deadline(*deadline),
            Self::Held(Held::Yielding { look_at, .. }) => WayOut::Deadline(*look_at),
            Self::Held(Held::Writing { .. }) | Self::TakenBack(_) => WayOut::Answer(Awaited::Write),
            Self::Held(Held::Reading { .. }) => WayOut::Answer(Awaited::Read),
            Self::Sent(Sent::Awaited | Sent::Deleted | Sent::Seen | Sent::Ended) => {
                WayOut::Answer(Awaited::Bind)
            }
            Self::Sent(Sent::Unknown { look: Look::Asked, .. }) => WayOut::Answer(Awaited::Look),
            Self::Sent(Sent::Unknown { look: Look::At(time), .. }) => WayOut::Deadline(*time),
            Self::Sent(Sent::Bound { look_at, .. }) => WayOut::Deadline(*look_at),
        }
    }

    /// When time alone next has an effect, if ever.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.way_out() {
            WayOut::Deadline(time) => Some(time),
            WayOut::Answer(_) => None,
        }
    }

    /// Whether the binding uses the result of a look at the pod, even of one that was requested earlier. In any other stage it is
    /// ignored.
    pub fn takes_look(&self) -> bool {
        matches!(self, Self::Sent(Sent::Unknown { .. } | Sent::Bound { .. }))
    }

    /// Whether the pod is assumed in the cache.
    pub fn holds_room(&self) -> bool {
        match self {
            Self::Held(_) => true,
            Self::TakenBack(_) => false,
            Self::Sent(sent) => !matches!(sent, Sent::Deleted | Sent::Seen | Sent::Ended),
        }
    }
}

impl Held {
    fn step(self, event: Event, now: Timestamp) -> Step {
        match (self, event) {
            (held, Event::Seen { here }) => overtaken(held.running(), here),
            (held @ Self::Yielding { wait, .. }, Event::NoRoom(status)) => {
                let (next, mut actions) = held.take_back(Some(Cause::Told(status)));
                actions.push(wait.ended(now, "room_taken"));
                (next, actions)
            }
            (held, Event::NoRoom(status)) => held.take_back(Some(Cause::Told(status))),
            (held, Event::Deleted | Event::LeftPending) => held.take_back(None),
            (Self::Permit { mut plugins, since }, Event::Allowed(plugin)) => {
                plugins.remove(&plugin);
                if plugins.is_empty() {
                    permitted(smallvec![permit_wait(since, now, "allowed")])
                } else {
                    rest(Stage::Held(Self::Permit { plugins, since }))
                }
            }
            (Self::Permit { since, .. }, Event::Rejected(status)) => {
                on_permit(permit_wait(since, now, "rejected"), Cause::Told(status))
            }
            (Self::Permit { since, .. }, Event::Preempted(by)) => {
                let status = Status::error("waiting on permit for pod: preempted").by(&by);
                on_permit(permit_wait(since, now, "preempted"), Cause::Told(status))
            }
            (Self::Permit { plugins, since }, Event::Due) => {
                let due = plugins.iter().filter(|(_, deadline)| **deadline <= now);
                let Some((plugin, deadline)) = due.min_by_key(|(_, deadline)| **deadline) else {
                    return rest(Stage::Held(Self::Permit { plugins, since }));
                };
                let cause = Cause::TimedOut { plugin: plugin.clone(), waited: deadline.since(since) };
                on_permit(permit_wait(since, now, "timeout"), cause)
            }
            (Self::Writing { plugin }, Event::Written(result)) => match result {
                Ok(()) => ask_pre_bind(plugin, false),
                Err(message) => pre_bind_failed(plugin, Status::error(message)),
            },
            (Self::Waiting { plugin, .. }, Event::ObjectChanged) => ask_pre_bind(plugin, false),
            // Asked one last time: the plugin knows from the clock that it is late, and says why it gives up.
            (Self::Waiting { plugin, deadline }, Event::Due) if deadline <= now => ask_pre_bind(plugin, true),
            (Self::Yielding { by, wait, look_at }, Event::Due) if look_at <= now => {
                ask_room(AskRoom { by, before: Before::Yielded(wait) }, Actions::new())
            }
            (Self::Reading { by, since }, Event::NodeRead { requested }) if since <= requested => {
                ask_room(AskRoom { by, before: Before::Read }, Actions::new())
            }
            (held @ (Self::Yielding { .. } | Self::Reading { .. }), Event::Preempted(by)) => {
                let status = Status::error("waiting for the last room of the node: preempted").by(&by);
                let ended = if let Self::Yielding { wait, .. } = held {
                    Some(wait.ended(now, "preempted"))
                } else {
                    None
                };
                let (next, mut actions) = held.take_back(Some(Cause::Told(status)));
                actions.extend(ended);
                (next, actions)
            }
            (held @ (Self::Writing { plugin } | Self::Waiting { plugin, .. }), Event::Preempted(by)) => {
                let status = Status::error(format!("preempted by {by}"));
                held.take_back(Some(Cause::PreBind { plugin, status }))
            }
            (held, _) => rest(Stage::Held(held)),
        }
    }

    /// The code with which the currently running extension point ends, if one is running and is interrupted.
    fn running(&self) -> Option<Code> {
        matches!(self, Self::Writing { .. } | Self::Waiting { .. }).then_some(Code::Error)
    }

    fn take_back(self, cause: Option<Cause>) -> Step {
        let end = self.running().map(|code| cause.as_ref().map_or(code, Cause::code));
        if matches!(self, Self::Writing { .. }) {
            let mut actions: Actions = end.map(Action::EndPoint).into_iter().collect();
            actions.extend([Action::FreeRoom, announce_room(cause.as_ref())]);
            return (Next::Rest(Stage::TakenBack(cause)), actions);
        }
        let on_permit = matches!(self, Self::Permit { .. });
        (Next::Over, give_up(end, cause, on_permit))
    }
}

impl Sent {
    fn step(self, event: Event, times: &Times) -> Step {
        let now = times.now;
        match (self, event) {
            (sent, Event::Seen { here: false }) => overtaken(sent.running(), false),
            (Self::Awaited | Self::Deleted | Self::Seen | Self::Ended, Event::Seen { here: true }) => {
                rest(Stage::Sent(Self::Seen))
            }
            (Self::Unknown { .. }, Event::Seen { here: true }) => (Next::Over, placed()),
            (Self::Bound { .. }, Event::Seen { here: true }) => (Next::Over, Actions::new()),

            (Self::Awaited | Self::Deleted | Self::Ended, Event::Ended) => rest(Stage::Sent(Self::Ended)),
            // Nobody can find out any more.
            (Self::Unknown { .. }, Event::Ended) => (Next::Over, not_placed(None)),
            (Self::Bound { .. }, Event::Ended) => (Next::Over, Actions::new()),

            (Self::Awaited, Event::Deleted) => {
                // The room is free from now on; the call in progress will be refused.
                (Next::Rest(Stage::Sent(Self::Deleted)), smallvec![Action::FreeRoom, announce_room(None)])
            }
            (Self::Awaited, Event::Answered(outcome)) => answered(outcome, times),
            (Self::Deleted, Event::Answered(outcome)) => {
                // If it was bound before it was deleted, the assigned watch will show that.
                let code = if outcome == BindOutcome::Bound { Code::Success } else { Code::Error };
                (Next::Over, smallvec![Action::EndPoint(code), Action::Unreserve, Action::Park])
            }
            // Seen on its node: whatever the answer says, it was bound.
            (Self::Seen, Event::Answered(_)) => (Next::Over, placed()),
            (Self::Ended, Event::Answered(outcome)) => (Next::Over, answered_at_the_end(outcome)),

            (Self::Unknown { message, look: Look::At(time), unless_bound }, Event::Due) if time <= now => {
                let unknown = Self::Unknown { message, look: Look::Asked, unless_bound };
                (Next::Rest(Stage::Sent(unknown)), smallvec![Action::Look])
            }
            (Self::Bound { look_at }, Event::Due) if look_at <= now => {
                let bound = Self::Bound { look_at: now + times.confirm_within };
                (Next::Rest(Stage::Sent(bound)), smallvec![Action::Look])
            }
            (Self::Unknown { message, unless_bound, .. }, Event::Looked(sight)) => match sight {
                Sight::Failed => {
                    let look = Look::At(now + times.look_again_after);
                    rest(Stage::Sent(Self::Unknown { message, look, unless_bound }))
                }
                Sight::Gone => not_bound(BIND_RUNS, GONE),
                Sight::Here(pod) => {
                    let mut actions = placed();
                    actions.push(Action::TakeAsAssigned(pod));
                    (Next::Over, actions)
                }
                Sight::Elsewhere(pod) => found_elsewhere(BIND_RUNS, pod),
                Sight::Unbound => match unless_bound {
                    UnlessBound::Fail => {
                        let message = if message.is_empty() { NOT_BOUND } else { &message };
                        not_bound(BIND_RUNS, message)
                    }
                    UnlessBound::FailByExtender => {
                        let cause = Cause::Told(Status::error(message));
                        (Next::Over, give_up(BIND_RUNS, Some(cause), false))
                    }
                    UnlessBound::AskPlugins => {
                        let ask = AskRoom { by: Binders::Plugins, before: Before::Nothing };
                        ask_room(ask, smallvec![Action::EndPoint(Code::Error)])
                    }
                },
            },
            (Self::Bound { look_at }, Event::Looked(sight)) => match sight {
                Sight::Failed => rest(Stage::Sent(Self::Bound { look_at })),
                Sight::Gone => not_bound(None, GONE),
                Sight::Here(pod) => (Next::Over, smallvec![Action::TakeAsAssigned(pod)]),
                Sight::Elsewhere(pod) => found_elsewhere(None, pod),
                // The answer said it was bound, but it is not.
                Sight::Unbound => not_bound(None, NOT_BOUND),
            },
            (sent, _) => rest(Stage::Sent(sent)),
        }
    }

    /// See [`Held::running`].
    fn running(&self) -> Option<Code> {
        if matches!(self, Self::Bound { .. }) { None } else { BIND_RUNS }
    }
}

/// Bind is running; this is the code with which it ends if it is interrupted.
const BIND_RUNS: Option<Code> = Some(Code::Error);
const GONE: &str = "the pod is gone";
const NOT_BOUND: &str = "the pod is not bound";
const NOT_LEADING: &str = "the binding was not sent: this scheduler is not the leader any more";

fn ask_room(ask: AskRoom, actions: Actions) -> Step {
    (Next::Ask(Ask::Room(ask)), actions)
}

fn rest(stage: Stage) -> Step {
    (Next::Rest(stage), Actions::new())
}

/// Nothing holds the pod back any more: events from now on do not matter for it.
fn permitted(mut actions: Actions) -> Step {
    actions.extend([Action::StopEvents, Action::BeginPoint(Point::PreBind)]);
    (Next::Ask(Ask::PreBind(AskPreBind { first: 0, late: false })), actions)
}

fn ask_pre_bind(first: usize, late: bool) -> Step {
    (Next::Ask(Ask::PreBind(AskPreBind { first, late })), Actions::new())
}

fn pre_bind_failed(plugin: usize, status: Status) -> Step {
    let cause = Cause::PreBind { plugin, status };
    (Next::Over, give_up(Some(cause.code()), Some(cause), false))
}

/// The wait on permit fails.
fn on_permit(observed: Action, cause: Cause) -> Step {
    let mut actions: Actions = smallvec![observed];
    actions.extend(give_up(None, Some(cause), true));
    (Next::Over, actions)
}

fn permit_wait(since: Timestamp, now: Timestamp, result: &'static str) -> Action {
    Action::Observe(Observation::PermitWait { waited: now.since(since), result })
}

/// The answer to a binding that is still wanted.
fn answered(outcome: BindOutcome, times: &Times) -> Step {
    let unless =
        |unless_bound, message| Stage::Sent(Sent::Unknown { message, look: Look::Asked, unless_bound });
    let unknown = |message| unless(UnlessBound::Fail, message);
    match outcome {
        BindOutcome::Bound => {
            let look_at = times.now + times.confirm_within;
            (Next::Rest(Stage::Sent(Sent::Bound { look_at })), placed())
        }
        BindOutcome::NotSent => {
            let cause = Cause::Told(Status::error(NOT_LEADING));
            (Next::Over, give_up(BIND_RUNS, Some(cause), false))
        }
        // Already bound, maybe by a call of ours whose answer was lost: only the pod itself can tell.
        BindOutcome::Refused { code: 409, message } => {
            let observed = Action::Observe(Observation::BindRefused { code: 409 });
            (Next::Rest(unknown(message)), smallvec![observed, Action::Look])
        }
        BindOutcome::Refused { code, message } => {
            let mut actions: Actions = smallvec![Action::Observe(Observation::BindRefused { code })];
            actions.extend(give_up(BIND_RUNS, Some(Cause::Bind(message)), false));
            (Next::Over, actions)
        }
        BindOutcome::Unknown { message } => {
            let observed = Action::Observe(Observation::BindUnknown);
            (Next::Rest(unknown(message)), smallvec![observed, Action::Look])
        }
        // Nobody knows what an extender did before it failed.
        BindOutcome::ExtenderFailed { message, ignorable } => {
            let then = if ignorable { UnlessBound::AskPlugins } else { UnlessBound::FailByExtender };
            let observed = Action::Observe(Observation::BindUnknown);
            (Next::Rest(unless(then, message)), smallvec![observed, Action::Look])
        }
    }
}

/// The answer to a binding of a pod that is gone: the pod was bound before only if the answer says so.
fn answered_at_the_end(outcome: BindOutcome) -> Actions {
    match outcome {
        BindOutcome::Bound => placed(),
        BindOutcome::NotSent => not_placed(None),
        BindOutcome::Refused { code, .. } => not_placed(Some(Observation::BindRefused { code })),
        BindOutcome::Unknown { .. } | BindOutcome::ExtenderFailed { .. } => {
            not_placed(Some(Observation::BindUnknown))
        }
    }
}

fn placed() -> Actions {
    smallvec![Action::EndPoint(Code::Success), Action::Placed]
}

/// The pod is gone, and it was not bound as far as is known.
fn not_placed(observed: Option<Observation>) -> Actions {
    let mut actions: Actions = observed.map(Action::Observe).into_iter().collect();
    actions.extend([Action::EndPoint(Code::Error), Action::Unreserve]);
    actions
}

/// Another party has bound the pod.
fn overtaken(running: Option<Code>, here: bool) -> Step {
    let mut actions: Actions = running.map(Action::EndPoint).into_iter().collect();
    actions.push(Action::Unreserve);
    if !here {
        actions.push(Action::Observe(Observation::BoundElsewhere));
    }
    (Next::Over, actions)
}

fn found_elsewhere(running: Option<Code>, pod: Arc<Pod>) -> Step {
    let (next, mut actions) = overtaken(running, false);
    actions.push(Action::TakeAsAssigned(pod));
    (next, actions)
}

fn not_bound(running: Option<Code>, message: &str) -> Step {
    (Next::Over, give_up(running, Some(Cause::Bind(message.to_owned())), false))
}

/// Frees the room, undoes Reserve and puts the pod back into the queue.
fn give_up(end: Option<Code>, cause: Option<Cause>, on_permit: bool) -> Actions {
    let mut actions: Actions = end.map(Action::EndPoint).into_iter().collect();
    let announce = announce_room(cause.as_ref());
    actions.extend([Action::FreeRoom, Action::Unreserve, go_back(cause, on_permit), announce]);
    actions
}

fn go_back(cause: Option<Cause>, on_permit: bool) -> Action {
    cause.map_or(Action::Park, |cause| Action::Retry { cause, on_permit })
}

fn announce_room(cause: Option<&Cause>) -> Action {
    Action::AnnounceRoom { but_itself: cause.is_some_and(Cause::is_rejection) }
}
