//! What was let through and is not seen yet: for how long it is held, and how it is found out what became of it.

use secondmate_model::{Atom, Timestamp, Uid};
use std::collections::BTreeMap;
use std::time::Duration;

/// See [`Times::carried_out_within`].
const PATIENCE: u32 = 3;
/// How long a slow bind is remembered, and at most twice as long.
const SLOW_FOR: Duration = Duration::from_secs(60);
/// After so many requests of which none was carried out, the next is not expected to be either: see [`Times::in_vain_within`].
const IN_VAIN: u32 = 3;

/// How long what was approved may stay unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// After this the pod itself is looked at, and after this again while that settles nothing. An API server carries a bind out within
    /// milliseconds, and its watches tell as fast.
    pub look_after: Duration,
    /// A look that shows the pod on no node, and that began so long after the approval, says that the bind will not be carried out. Where
    /// binds were slow to be seen lately, it takes three times as long as the slowest of them.
    pub carried_out_within: Duration,
    /// But no longer than this: an API server gives a request up after 34 s (`requestTimeoutUpperBound` of its handlers).
    pub carried_out_at_last: Duration,
    /// The same as `carried_out_within` for a pod whose binds come to nothing, because another webhook denies them, say: its scheduler
    /// tries again and again, and would hold the room against one whose bind is carried out.
    pub in_vain_within: Duration,
    /// So long after a look has shown a bind as carried out the watch lags if it still does not show it: a slow API server may have carried
    /// it out just before the look.
    pub lags_after: Duration,
    /// Between two looks at pods that stand in another's way: while everything is refused, nothing else would show that the watch lags.
    pub doubt_every: Duration,
    /// After this without a sign the room is given back. No request to an API server lasts longer than its 60 s by default.
    pub expire_after: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            look_after: Duration::from_secs(3),
            carried_out_within: Duration::from_secs(9),
            carried_out_at_last: Duration::from_secs(35),
            in_vain_within: Duration::from_secs(1),
            lags_after: Duration::from_secs(1),
            doubt_every: Duration::from_secs(1),
            expire_after: Duration::from_secs(60),
        }
    }
}

/// The requests of a pod since the first that is not known to have been carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tries {
    since: Timestamp,
    count: u32,
}

impl Tries {
    /// One more than before, or the first.
    pub fn one_more(before: Option<Self>, now: Timestamp) -> Self {
        match before {
            Some(Self { since, count }) => Self { since, count: count.saturating_add(1) },
            None => Self { since: now, count: 1 },
        }
    }

    fn are_in_vain(self, at: Timestamp, times: &Times) -> bool {
        self.count > IN_VAIN && at.since(self.since) >= times.carried_out_within
    }
}

/// What was let through and is not seen yet.
#[derive(Clone, Debug)]
pub(crate) struct Approval {
    /// The pod.
    pub pod: Uid,
    pub at: Timestamp,
    pub tries: Tries,
    /// When it expires; moves when a look shows that the bind was carried out and only the watch lags.
    pub expires: Timestamp,
    /// When the pod is looked at next.
    pub look: Timestamp,
    /// When a look first showed the pod on the node.
    pub carried_out: Option<Timestamp>,
    /// A later one did as well: the watch lags.
    pub lags: bool,
}

impl Approval {
    pub fn new(pod: Uid, tries: Tries, now: Timestamp, times: &Times) -> Self {
        let in_vain = tries.are_in_vain(now, times);
        let look_after = if in_vain { times.in_vain_within.min(times.look_after) } else { times.look_after };
        Self {
            pod,
            at: now,
            tries,
            expires: now + times.expire_after,
            look: now + look_after,
            carried_out: None,
            lags: false,
        }
    }

    /// How long after it the bind may still be carried out, where the slowest bind that was seen lately took so long.
    pub fn patience(&self, slowest: Duration, times: &Times) -> Duration {
        let in_vain = self.tries.are_in_vain(self.at, times);
        let at_least = if in_vain { times.in_vain_within } else { times.carried_out_within };
        (slowest * PATIENCE).max(at_least).min(times.carried_out_at_last)
    }
}

/// The pods whose last binds were not carried out, for a while.
#[derive(Clone, Debug, Default)]
pub(crate) struct InVain(BTreeMap<Uid, (Tries, Timestamp)>);

impl InVain {
    /// Of two counts of a pod the higher one is kept: an approval that was set aside is settled later than the one after it.
    pub fn add(&mut self, pod: Uid, tries: Tries, until: Timestamp) {
        let known = self.0.entry(pod).or_insert((tries, until));
        if known.0.count <= tries.count {
            *known = (tries, until);
        }
    }

    pub fn remove(&mut self, pod: &Uid) -> Option<Tries> {
        self.0.remove(pod).map(|(tries, _)| tries)
    }

    pub fn expire(&mut self, now: Timestamp) {
        self.0.retain(|_, (_, until)| *until > now);
    }
}

/// A pod to be looked at in the API server, because its approval is unseen for too long, or because it stands in another's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Namespace.
    pub namespace: Atom,
    /// Name.
    pub name: Box<str>,
    /// UID.
    pub uid: Uid,
    /// The node that it should be on.
    pub node: Atom,
    pub(crate) about: About,
    /// When it begins. What it finds may be no newer.
    pub(crate) begins: Timestamp,
}

/// What a look is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// An approval, by how it is held and when it was given: a later one may take its place.
    Approval(Uid, Timestamp),
    /// Whether the pod is on its node at all.
    Doubt,
}

/// A pod that stands in another's way, and is looked at once: is it there still?
#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    pub pod: Uid,
    pub at: Timestamp,
    /// It is to be looked at.
    pub is_due: bool,
    /// A look has shown that it is not, then.
    pub gone: Option<Timestamp>,
}

/// What a look at a pod found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is on this node.
    On(Atom),
    /// It is on no node.
    Unbound,
    /// There is no pod of this UID, or it has ended.
    Gone,
    /// Nobody could say.
    Unknown,
}

/// What became of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The watch has shown the pod on its node, this long after the approval.
    Seen(Duration),
    /// The pod went to another node.
    Elsewhere,
    /// A look has shown that the bind was not carried out.
    NotCarriedOut,
    /// A look has shown the pod on its node, but the watch has not: it lags. The approval stands.
    WatchLags,
    /// Nobody could say for too long.
    Expired,
}

impl Settled {
    /// One word, for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Seen(_) => "seen",
            Self::Elsewhere => "elsewhere",
            Self::NotCarriedOut => "not-carried-out",
            Self::WatchLags => "watch-lags",
            Self::Expired => "expired",
        }
    }
}

/// The slowest of the approved binds that were seen lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slowest {
    now: Duration,
    before: Duration,
    since: Option<Timestamp>,
}

impl Slowest {
    fn turn(&mut self, now: Timestamp) {
        let since = *self.since.get_or_insert(now);
        if now.since(since) >= SLOW_FOR {
            let before = if now.since(since) < SLOW_FOR * 2 { self.now } else { Duration::ZERO };
            *self = Self { now: Duration::ZERO, before, since: Some(now) };
        }
    }

    pub fn seen(&mut self, after: Duration, now: Timestamp) {
        self.turn(now);
        self.now = self.now.max(after);
    }

    pub fn get(&mut self, now: Timestamp) -> Duration {
        self.turn(now);
        self.now.max(self.before)
    }
}
