//! Questions that the scheduler answers at once, on the way to sending a binding.

use super::{
    Action, Actions, BindCall, Cause, Held, Next, Observation, Sent, Stage, Step, Times, ask_room, give_up,
    pre_bind_failed, rest,
};
use secondmate_cycle::probe::Point;
use secondmate_framework::{ApiWrite, Code, Status};
use secondmate_model::Timestamp;
use smallvec::smallvec;
use std::time::Duration;

/// A question that must be answered at once.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) enum Ask {
    PreBind(AskPreBind),
    Room(AskRoom),
    Bind(AskBind),
}

/// Asks the PreBind plugins, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) struct AskPreBind {
    pub(super) first: usize,
    /// The first one's deadline has passed: it must not wait again.
    pub(super) late: bool,
}

/// Asks whether the node still has room for the pod, since others may have taken it after the node was chosen.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) struct AskRoom {
    pub(super) by: Binders,
    pub(super) before: Before,
}

/// What was done before the question, for the sake of other schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scheduler) enum Before {
    /// Nothing.
    Nothing,
    /// The pod has waited for others.
    Yielded(Wait),
    /// The node's pods have been read, or the read failed.
    Read,
}

/// Whether the node still has room for the pod, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scheduler) enum Room {
    /// It has.
    Enough,
    /// It has, but so little is left that it may have been taken by pods that others have bound and the watch has not shown yet.
    Scarce,
    /// Others may be about to take it: it is to be looked at again at this time, as long as the pod has not waited for longer than
    /// this.
    Contended { why: Contention, look_at: Timestamp, at_most: Duration },
}

/// Why others may be about to take the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scheduler) enum Contention {
    /// They have just bound a pod to this node, and little room is left.
    OnTheNode,
    /// They have yet to bind so many pods that these may take the rest of the node.
    InQueues,
}

impl Contention {
    /// No pod waits for longer than this at a time for the one reason.
    fn at_most(self) -> Duration {
        match self {
            Self::OnTheNode => Duration::from_secs(5),
            Self::InQueues => Duration::MAX,
        }
    }
}

/// A pod that waits for others, or has waited for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scheduler) struct Wait {
    pub since: Timestamp,
    /// Why it has waited last, and since when for this reason.
    pub why: Contention,
    pub why_since: Timestamp,
}

impl Wait {
    pub(super) fn ended(self, now: Timestamp, result: &'static str) -> Action {
        Action::Observe(Observation::Yielded { waited: now.since(self.since), result })
    }
}

/// Asks who binds the pod.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) struct AskBind {
    by: Binders,
}

/// Who may bind the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scheduler) enum Binders {
    /// The extender that binds such pods, if there is one; otherwise the Bind plugins.
    All,
    /// The Bind plugins.
    Plugins,
}

/// The answer of the PreBind plugins.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) enum PreBindAnswer {
    /// All are done.
    Done,
    /// One requests writes.
    Write { plugin: usize, writes: Vec<ApiWrite> },
    /// One waits for objects.
    Wait { plugin: usize, deadline: Timestamp },
    /// One failed.
    Fail { plugin: usize, status: Status },
}

impl AskPreBind {
    /// The plugin to begin with.
    pub fn first(&self) -> usize {
        self.first
    }

    pub fn answered(self, answer: PreBindAnswer, now: Timestamp) -> Step {
        match answer {
            PreBindAnswer::Done => {
                let ask = AskRoom { by: Binders::All, before: Before::Nothing };
                ask_room(ask, smallvec![Action::EndPoint(Code::Success)])
            }
            PreBindAnswer::Write { plugin, writes } => {
                (Next::Rest(Stage::Held(Held::Writing { plugin })), smallvec![Action::Write(writes)])
            }
            PreBindAnswer::Wait { plugin, deadline } if self.late && deadline <= now => {
                pre_bind_failed(plugin, Status::error("timed out"))
            }
            PreBindAnswer::Wait { plugin, deadline } => rest(Stage::Held(Held::Waiting { plugin, deadline })),
            PreBindAnswer::Fail { plugin, status } => pre_bind_failed(plugin, status),
        }
    }
}

impl AskRoom {
    /// The error says why the pod cannot be bound. If room is scarce, the binding is sent only after the others have finished on
    /// the node or the time for that is up, and after its pods have been read; each happens once.
    pub fn answered(self, room: Result<Room, Status>, times: &Times) -> Step {
        let now = times.now;
        if let Ok(Room::Contended { why, look_at, at_most }) = room
            && self.before != Before::Read
        {
            let wait = match self.before {
                Before::Yielded(wait) if wait.why == why => wait,
                Before::Yielded(wait) => Wait { why, why_since: now, ..wait },
                Before::Nothing | Before::Read => Wait { since: now, why, why_since: now },
            };
            let until = (wait.since + at_most).min(wait.why_since + why.at_most().min(at_most));
            if now < until {
                let look_at = look_at.min(until);
                return rest(Stage::Held(Held::Yielding { by: self.by, wait, look_at }));
            }
        }
        let mut actions = Actions::new();
        if let Before::Yielded(wait) = self.before {
            let result = match room {
                Ok(Room::Enough | Room::Scarce) => "quiet",
                Ok(Room::Contended { .. }) => "time_is_up",
                Err(_) => "room_taken",
            };
            actions.push(wait.ended(now, result));
        }
        match room {
            Ok(Room::Scarce | Room::Contended { .. }) if times.reads && self.before != Before::Read => {
                actions.push(Action::ReadNode);
                (Next::Rest(Stage::Held(Held::Reading { by: self.by, since: now })), actions)
            }
            Ok(_) => {
                actions.push(Action::BeginPoint(Point::Bind));
                (Next::Ask(Ask::Bind(AskBind { by: self.by })), actions)
            }
            Err(status) => {
                actions.extend(give_up(None, Some(Cause::Told(status)), false));
                (Next::Over, actions)
            }
        }
    }
}

impl AskBind {
    /// Skips the question about room.
    #[cfg(test)]
    pub fn of(by: Binders) -> Self {
        Self { by }
    }

    /// Who may be asked.
    pub fn by(&self) -> Binders {
        self.by
    }

    /// The error is that of the Bind plugin, or says that there was none.
    pub fn answered(self, call: Result<BindCall, Status>) -> Step {
        match call {
            Ok(call) => (Next::Rest(Stage::Sent(Sent::Awaited)), smallvec![Action::Send(call)]),
            Err(status) => (Next::Over, give_up(Some(status.code()), Some(Cause::Told(status)), false)),
        }
    }
}
