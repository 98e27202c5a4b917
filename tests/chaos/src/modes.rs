//! The scenes of broken answers: which requests are struck, and how.

use std::time::Duration;

use crate::proxy::{BodyFault, EventFault, Fault, Kind, Reply, Rule};

/// A way in which answers are wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// Of the scene.
    pub name: &'static str,
    pub rules: &'static [Rule],
    /// How many pods that are bound may be bound once more, in vain. One whose binding was not answered is looked at before that.
    pub in_vain_max: usize,
}

const HALF: u32 = 50;
const ALWAYS: u32 = 100;

const fn all(fault: Fault) -> Rule {
    Rule { kinds: Kind::ALL, percent: HALF, fault }
}

const fn writes(fault: Fault) -> Rule {
    Rule { kinds: Kind::WRITES, percent: HALF, fault }
}

const fn events(fault: EventFault) -> Rule {
    Rule { kinds: &[Kind::Watch], percent: ALWAYS, fault: Fault::Events(fault) }
}

const AT_ONCE: Duration = Duration::ZERO;
const HELD: Duration = Duration::from_secs(6);
const GONE: Rule =
    Rule { kinds: &[Kind::Watch], percent: HALF, fault: Fault::Refused(Reply::Status(410, false)) };

const fn once(name: &'static str, rules: &'static [Rule]) -> Mode {
    Mode { name, rules, in_vain_max: 0 }
}

/// What is answered says that the binding was not carried out, or nobody can know it yet.
const fn again(name: &'static str, rules: &'static [Rule]) -> Mode {
    Mode { name, rules, in_vain_max: usize::MAX }
}

/// All of them. What the words mean to a user is said in `options.rs`.
pub(crate) const MODES: &[Mode] = &[
    once("answers-500", &[all(Fault::Refused(Reply::Status(500, false)))]),
    again("answers-500-done", &[writes(Fault::Denied(Reply::Status(500, false)))]),
    once("answers-503-later", &[all(Fault::Refused(Reply::Status(503, true)))]),
    once("answers-504-done", &[writes(Fault::Denied(Reply::Status(504, false)))]),
    once("answers-429", &[all(Fault::Refused(Reply::Status(429, true)))]),
    once("answers-409", &[writes(Fault::Refused(Reply::Status(409, false)))]),
    once("answers-409-done", &[writes(Fault::Denied(Reply::Status(409, false)))]),
    once("answers-403", &[writes(Fault::Refused(Reply::Status(403, false)))]),
    once("answers-401", &[all(Fault::Refused(Reply::Status(401, false)))]),
    once("answers-html", &[all(Fault::Refused(Reply::Page))]),
    once("answers-closed", &[all(Fault::Closed(AT_ONCE))]),
    once("answers-lost", &[writes(Fault::Lost(AT_ONCE))]),
    once("answers-truncated", &[all(Fault::Body(BodyFault::Truncated))]),
    once("answers-half", &[all(Fault::Body(BodyFault::Half))]),
    once("answers-garbage", &[all(Fault::Body(BodyFault::Garbage))]),
    once("answers-empty", &[all(Fault::Body(BodyFault::Empty))]),
    once("answers-slow", &[all(Fault::Slow(Duration::from_secs(1), Duration::from_secs(4)))]),
    once("answers-drip", &[all(Fault::Body(BodyFault::Drip))]),
    once("answers-held", &[writes(Fault::Closed(HELD))]),
    once("answers-held-done", &[writes(Fault::Lost(HELD))]),
    again(
        "answers-overtaken",
        &[Rule { kinds: &[Kind::Bind], percent: HALF, fault: Fault::Overtaken(Duration::from_secs(3)) }],
    ),
    once("watch-cut", &[events(EventFault::Cut)]),
    once("watch-half-line", &[events(EventFault::HalfLine)]),
    once("watch-410-start", &[GONE]),
    once("watch-410", &[events(EventFault::Error(410))]),
    once("watch-500", &[events(EventFault::Error(500))]),
    once("watch-twice", &[events(EventFault::Twice)]),
    once("watch-stale", &[events(EventFault::Stale)]),
    once("watch-garbage", &[events(EventFault::Garbage)]),
    once("watch-silent", &[events(EventFault::Silent)]),
    once("watch-late", &[events(EventFault::Late(Duration::from_secs(1)))]),
    once("list-stale", &[GONE, Rule { kinds: &[Kind::List], percent: ALWAYS, fault: Fault::OldList }]),
];
