//! Approvals that have not been seen yet: how long they are held, and how their outcome is determined.

use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::collections::BTreeMap;
use std::time::Duration;

/// See [`Times::carried_out_within`].
const PATIENCE: u32 = 3;
/// How long a slow bind is remembered; at most twice as long.
const SLOW_FOR: Duration = Duration::from_secs(60);
/// After this many requests of which none was carried out, the next one is not expected to be either: see
/// [`Times::in_vain_within`].
const IN_VAIN: u32 = 3;

/// How long an approval may remain unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// After this time the pod itself is looked at, and again at this interval until that settles the matter; but once it was found
    /// on no node, only when that would settle it. An API server carries out a bind within milliseconds, and its watches show it as
    /// fast.
    pub look_after: Duration,
    /// A look that shows the pod on no node, and that began at least this long after the approval, means that the bind will not
    /// be carried out. If binds were slow to be seen recently, three times as long as the slowest of them is required instead.
    pub carried_out_within: Duration,
    /// Upper limit for that: an API server gives up a request after 34 s (`requestTimeoutUpperBound` of its handlers).
    pub carried_out_at_last: Duration,
    /// Like `carried_out_within`, for a pod whose binds fail repeatedly, for example because another webhook denies them: its
    /// scheduler keeps trying, and would hold the room against a pod whose bind is carried out.
    pub in_vain_within: Duration,
    /// If the watch still does not show a bind this long after a look has shown that it was carried out, the watch lags: a slow
    /// API server may have carried it out just before the look.
    pub lags_after: Duration,
    /// Minimum time between two looks at pods that are in the way of others: while everything is refused, nothing else would
    /// reveal that the watch lags.
    pub doubt_every: Duration,
    /// After this time without any sign, the room is released. By default, no request to an API server lasts longer than 60 s.
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

/// The requests for a pod since the first one that is not known to have been carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tries {
    since: Timestamp,
    count: u32,
}

impl Tries {
    /// One more than before, or the first one.
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

/// An approval that has not been seen yet.
#[derive(Clone, Debug)]
pub(crate) struct Approval {
    /// The pod.
    pub pod: Uid,
    pub at: Timestamp,
    pub tries: Tries,
    /// When it expires; extended if a look shows that the bind was carried out and only the watch lags.
    pub expires: Timestamp,
    /// When the pod will next be looked at.
    pub look: Timestamp,
    /// When a look first showed the pod on the node.
    pub carried_out: Option<Timestamp>,
    /// A later look showed it there as well: the watch lags.
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

    /// How long after the approval the bind may still be carried out, given the slowest bind that was seen recently.
    pub fn patience(&self, slowest: Duration, times: &Times) -> Duration {
        let in_vain = self.tries.are_in_vain(self.at, times);
        let at_least = if in_vain { times.in_vain_within } else { times.carried_out_within };
        (slowest * PATIENCE).max(at_least).min(times.carried_out_at_last)
    }
}

/// Pods whose last binds were not carried out, kept for a while.
#[derive(Clone, Debug, Default)]
pub(crate) struct InVain(BTreeMap<Uid, (Tries, Timestamp)>);

impl InVain {
    /// Of two counts for a pod, the higher one is kept: an approval that was set aside is settled later than the one after it.
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

/// A pod to be looked at in the API server, because its approval has been unseen for too long, or because it is in the way of
/// another.
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
    /// When it begins. What it finds may be no newer than this.
    pub(crate) begins: Timestamp,
}

impl Look {
    /// A look at a pod on its node; `uid` is the pod's own, also where it is held under another one.
    pub(crate) fn at(pod: &Pod, uid: Uid, about: About, begins: Timestamp) -> Option<Self> {
        Some(Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid,
            node: pod.node_name.clone()?,
            about,
            begins,
        })
    }
}

/// What a look is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// An approval, by the key under which it is held and the time when it was given: a later one may take its place.
    Approval(Uid, Timestamp),
    /// Whether the pod is on its node at all.
    Doubt,
}

/// A pod that is in the way of another and is looked at once, to find out whether it is still there.
#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    pub pod: Uid,
    pub at: Timestamp,
    /// Whether it is to be looked at.
    pub is_due: bool,
    /// When a look showed that it is gone.
    pub gone: Option<Timestamp>,
}

/// The result of a look at a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is on this node.
    On(Atom),
    /// It is on no node.
    Unbound,
    /// There is no pod with this UID, or it has finished.
    Gone,
    /// Could not be determined.
    Unknown,
}

/// The outcome of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The watch has shown the pod on its node, this long after the approval.
    Seen(Duration),
    /// The pod went to another node.
    Elsewhere,
    /// A look has shown that the bind was not carried out.
    NotCarriedOut,
    /// A look has shown the pod on its node, but the watch has not: it lags. The approval remains.
    WatchLags,
    /// The outcome could not be determined for too long.
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

/// The slowest of the approved binds that were seen recently.
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
