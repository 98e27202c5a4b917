//! The books: who is where, who was let through, and what became of that.

use crate::room::shortages;
use crate::waiting::Waiting;
use crate::{Bind, CRITICAL_PRIORITY, Decision, First, Pass, Refusal, Shortage, Standing, Verdict};
use rustc_hash::FxHashMap;
use secondmate_core::cache::Cache;
use secondmate_model::{Allocatable, Atom, Node, NodeInfo, Pod, Timestamp, Uid};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Arrivals that are remembered of each node, to say who took the room.
const ARRIVALS_MAX: usize = 8;

/// See [`Times::carried_out_within`].
const PATIENCE: u32 = 3;
/// How long a slow bind is remembered, and at most twice as long.
const SLOW_FOR: Duration = Duration::from_secs(60);

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
    /// So long after a look has shown a bind as carried out the watch lags if it still does not show it: a slow API server may have carried
    /// it out just before the look.
    pub lags_after: Duration,
    /// After this without a sign the room is given back. No request to an API server lasts longer than its 60 s by default.
    pub expire_after: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            look_after: Duration::from_secs(3),
            carried_out_within: Duration::from_secs(9),
            carried_out_at_last: Duration::from_secs(35),
            lags_after: Duration::from_secs(1),
            expire_after: Duration::from_secs(60),
        }
    }
}

/// What was let through and is not seen yet.
#[derive(Clone, Debug)]
struct Approval {
    at: Timestamp,
    /// When it expires; moves when a look shows that the bind was carried out and only the watch lags.
    expires: Timestamp,
    /// When the pod is looked at next.
    look: Timestamp,
    /// When a look first showed the pod on the node.
    carried_out: Option<Timestamp>,
    /// A later one did as well: the watch lags.
    lags: bool,
}

/// A pod to be looked at in the API server, because its approval is unseen for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Namespace.
    pub namespace: Atom,
    /// Name.
    pub name: Box<str>,
    /// UID.
    pub uid: Uid,
    /// Which approval it is about: a later one of the same pod may take its place.
    at: Timestamp,
    /// When it begins. What it finds may be no newer.
    begins: Timestamp,
}

/// What a look at a pod found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is on this node.
    On(Atom),
    /// It is on no node.
    Unbound,
    /// There is no pod of this UID.
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
struct Slowest {
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

    fn seen(&mut self, after: Duration, now: Timestamp) {
        self.turn(now);
        self.now = self.now.max(after);
    }

    fn get(&mut self, now: Timestamp) -> Duration {
        self.turn(now);
        self.now.max(self.before)
    }
}

/// The last to come to a node, oldest first.
type Arrivals = VecDeque<(Uid, Timestamp)>;

/// What is known of nodes and pods, and what was approved. See the crate's documentation.
#[derive(Clone, Debug)]
pub struct Guard {
    times: Times,
    /// What was approved is assumed here.
    cache: Cache,
    waiting: Waiting,
    /// One for each assumed pod of the cache.
    approvals: BTreeMap<Uid, Approval>,
    slowest: Slowest,
    arrivals: FxHashMap<Atom, Arrivals>,
    /// The first lists are in: who comes from now on comes now.
    listed: bool,
}

impl Guard {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self {
            times,
            cache: Cache::new(),
            waiting: Waiting::default(),
            approvals: BTreeMap::new(),
            slowest: Slowest::default(),
            arrivals: FxHashMap::default(),
            listed: false,
        }
    }

    /// Approvals that are not seen yet.
    #[must_use]
    pub fn unseen(&self) -> usize {
        self.approvals.len()
    }

    /// Nodes, pods on nodes (approved ones included), and pods that wait.
    #[must_use]
    pub fn sizes(&self) -> [usize; 3] {
        let size = self.cache.size();
        [size.nodes, size.pods, self.waiting.len()]
    }

    /// Whether a pod is counted on a node: seen there, or approved.
    #[must_use]
    pub fn knows(&self, uid: &Uid) -> bool {
        self.cache.pod(uid).is_some()
    }

    /// The first lists of all watches are in.
    pub fn listed(&mut self) {
        self.listed = true;
    }

    /// Whether they are.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// A node appeared or changed.
    pub fn node(&mut self, node: Arc<Node>) {
        self.cache.set_node(node);
        self.cache.forget_changes();
    }

    /// A node is gone.
    pub fn node_gone(&mut self, name: &Atom) {
        self.cache.remove_node(name);
        self.cache.forget_changes();
        self.arrivals.remove(name);
    }

    /// A pod that is on no node appeared or changed.
    pub fn waiting(&mut self, pod: Arc<Pod>) {
        if pod.node_name.is_none() {
            self.waiting.set(pod);
        }
    }

    /// The watch of waiting pods does not show the pod any more: it was bound, or deleted.
    pub fn waiting_gone(&mut self, uid: &Uid) {
        self.waiting.remove(uid);
    }

    /// A pod that has not ended was seen on its node. Says what that means for its approval, if there was one.
    pub fn on_node(&mut self, pod: Arc<Pod>, now: Timestamp) -> Option<Settled> {
        let (uid, node) = (pod.uid.clone(), pod.node_name.clone()?);
        let known = self.cache.pod(&uid).and_then(|known| known.node_name.clone());
        self.cache.add(pod);
        self.cache.forget_changes();
        if self.listed && known.as_ref() != Some(&node) {
            self.arrived(&node, &uid, now);
        }
        let approval = self.approvals.remove(&uid)?;
        if known.as_ref() != Some(&node) {
            return Some(Settled::Elsewhere);
        }
        let after = now.since(approval.at);
        self.slowest.seen(after, now);
        Some(Settled::Seen(after))
    }

    /// A pod on a node has ended or is gone.
    pub fn off_node(&mut self, uid: &Uid) {
        if self.cache.is_added(uid) {
            self.take(uid);
        }
    }

    fn arrived(&mut self, node: &Atom, uid: &Uid, now: Timestamp) {
        let arrivals = self.arrivals.entry(node.clone()).or_default();
        if arrivals.len() == ARRIVALS_MAX {
            arrivals.pop_front();
        }
        arrivals.push_back((uid.clone(), now));
    }

    /// Takes a pod off its node, whether it was seen there or only approved.
    fn take(&mut self, uid: &Uid) {
        self.approvals.remove(uid);
        let Ok(pod) = self.cache.remove(uid) else { return };
        self.cache.forget_changes();
        let node = pod.node_name.as_ref().expect("a pod of the cache has a node");
        if let Some(arrivals) = self.arrivals.get_mut(node) {
            arrivals.retain(|(arrived, _)| arrived != uid);
            if arrivals.is_empty() {
                self.arrivals.remove(node);
            }
        }
    }

    /// The pod that a request is about, where it is known: if not, a look at the API server may help.
    #[must_use]
    pub fn pod_of(&self, bind: &Bind) -> Option<Arc<Pod>> {
        let pod = self.waiting.find(&bind.namespace, &bind.name)?;
        bind.uid.as_ref().is_none_or(|uid| *uid == pod.uid).then(|| Arc::clone(pod))
    }

    /// Decides about a request for a pod: what [`Self::pod_of`] gave or what the API server has, `None` where neither knows it.
    ///
    /// What may be carried out is counted from now on, whether it was decided about or only let pass. A later request for the same pod
    /// takes the place of an earlier one, unless it is refused: then the earlier one may still be carried out, and stays counted.
    pub fn decide(
        &mut self,
        bind: &Bind,
        pod: Option<&Arc<Pod>>,
        standing: Standing,
        now: Timestamp,
    ) -> Decision {
        let scheduler = pod.map(|pod| pod.scheduler_name.clone());
        let verdict = match pod {
            Some(pod) => self.judge(bind, pod, standing, now),
            None => Verdict::Passed(match standing {
                Standing::NotLeading => Pass::NotLeading,
                Standing::NotInSync => Pass::NotInSync,
                Standing::Decides => Pass::UnknownPod,
            }),
        };
        Decision { verdict, scheduler }
    }

    fn judge(&mut self, bind: &Bind, pod: &Arc<Pod>, standing: Standing, now: Timestamp) -> Verdict {
        let is_other = bind.uid.as_ref().is_some_and(|uid| *uid != pod.uid);
        let is_bound = pod.node_name.is_some() || self.cache.is_added(&pod.uid);
        // Not its gates: the last one may have been removed just now, and what is known be older.
        if is_other || is_bound || pod.deleting {
            return Verdict::Passed(Pass::Moot);
        }
        let pass = match standing {
            Standing::NotLeading => Some(Pass::NotLeading),
            Standing::NotInSync => Some(Pass::NotInSync),
            Standing::Decides if pod.priority >= CRITICAL_PRIORITY => Some(Pass::Critical),
            Standing::Decides if !self.offers_anything(&bind.node) => Some(Pass::UnknownNode),
            Standing::Decides => None,
        };
        if pass.is_none()
            && let Some(refusal) = self.refusal(pod, &bind.node, now)
        {
            return Verdict::Refused(Box::new(refusal));
        }
        // A pod that has ended takes nothing, wherever it is bound to.
        if !bind.dry_run && !pod.terminal {
            self.approve(pod, &bind.node, now);
        }
        pass.map_or(Verdict::Approved, Verdict::Passed)
    }

    /// Whether the node is known and its kubelet has said what it has to give.
    fn offers_anything(&self, node: &Atom) -> bool {
        self.cache.node(node).is_some_and(|node| node.allocatable != Allocatable::default())
    }

    fn approve(&mut self, pod: &Pod, node: &Atom, now: Timestamp) {
        self.take(&pod.uid);
        let placed = Arc::new(pod.on_node(node));
        self.cache.assume(placed).expect("it was taken out before, and pods that were seen are not approved");
        self.cache.forget_changes();
        self.arrived(node, &pod.uid, now);
        let approval = Approval {
            at: now,
            expires: now + self.times.expire_after,
            look: now + self.times.look_after,
            carried_out: None,
            lags: false,
        };
        self.approvals.insert(pod.uid.clone(), approval);
    }

    fn refusal(&self, pod: &Pod, node: &Atom, now: Timestamp) -> Option<Refusal> {
        if pod.terminal {
            return None;
        }
        let info = self.cache.node_info(node)?;
        let approved_here = info.pods().iter().any(|on_node| on_node.uid == pod.uid);
        let info: Cow<'_, NodeInfo> =
            if approved_here { Cow::Owned(info.without_pod(&pod.uid)) } else { Cow::Borrowed(info) };
        let shortages = shortages(pod, &info);
        let first = self.first(shortages.first()?, &info, now);
        Some(Refusal { node: node.clone(), pod: pod.full_name().into(), shortages, first })
    }

    /// Who is to be named for a shortage: the last to come of those who are part of the reason; of a port whoever has it.
    fn first(&self, shortage: &Shortage, info: &NodeInfo, now: Timestamp) -> Option<First> {
        let named = |pod: &Pod, ago| First {
            pod: pod.full_name().into(),
            scheduler: pod.scheduler_name.clone(),
            ago,
        };
        let arrivals = self.arrivals.get(info.name()).into_iter().flatten().rev();
        let on_node = |uid: &Uid| info.pods().iter().find(|pod| pod.uid == *uid);
        let mut last = arrivals.filter_map(|(uid, at)| Some((on_node(uid)?, *at)));
        if let Some((pod, at)) = last.find(|(pod, _)| shortage.is_due_to(pod)) {
            return Some(named(pod, Some(now.since(at))));
        }
        match shortage {
            Shortage::Port(_) => {
                info.pods().iter().find(|pod| shortage.is_due_to(pod)).map(|pod| named(pod, None))
            }
            Shortage::Pods { .. } | Shortage::Resource { .. } => None,
        }
    }

    /// The pods to be looked at now, because their approvals are unseen for too long, at most so many; each is due again after a
    /// while. Tell what was found by [`Self::found`].
    pub fn looks(&mut self, now: Timestamp, at_most: usize) -> Vec<Look> {
        let again = now + self.times.look_after;
        let due = self.approvals.iter_mut().filter(|(_, approval)| approval.look <= now).take(at_most);
        due.filter_map(|(uid, approval)| {
            approval.look = again;
            let pod = self.cache.pod(uid)?;
            Some(Look {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                uid: uid.clone(),
                at: approval.at,
                begins: now,
            })
        })
        .collect()
    }

    /// What a look at a pod has found. Says what that means for the approval; `None` where it means nothing (yet).
    pub fn found(&mut self, look: &Look, found: &Found, now: Timestamp) -> Option<Settled> {
        let node = self.cache.pod(&look.uid).and_then(|pod| pod.node_name.clone());
        let patience = self.patience(now);
        let approval = self.approvals.get_mut(&look.uid).filter(|approval| approval.at == look.at)?;
        match found {
            Found::Unknown => None,
            Found::On(seen_on) if node.as_ref() == Some(seen_on) => {
                // The watch will show it, and tell its end: only from then on it is counted as seen.
                approval.expires = now + self.times.expire_after;
                let since = *approval.carried_out.get_or_insert(now);
                if now.since(since) < self.times.lags_after {
                    approval.look = now + self.times.lags_after;
                    return None;
                }
                approval.lags = true;
                Some(Settled::WatchLags)
            }
            Found::On(_) => {
                self.take(&look.uid);
                Some(Settled::Elsewhere)
            }
            Found::Unbound if look.begins.since(look.at) < patience => None,
            Found::Unbound | Found::Gone => {
                self.take(&look.uid);
                Some(Settled::NotCarriedOut)
            }
        }
    }

    /// How long after its approval a bind may still be carried out.
    fn patience(&mut self, now: Timestamp) -> Duration {
        let Times { carried_out_within, carried_out_at_last, .. } = self.times;
        (self.slowest.get(now) * PATIENCE).max(carried_out_within).min(carried_out_at_last)
    }

    /// Whether the watch of pods on nodes is known to lag: a bind was carried out that it does not show.
    #[must_use]
    pub fn lags(&self) -> bool {
        self.approvals.values().any(|approval| approval.lags)
    }

    /// Gives back what is unseen for so long that nobody will say any more; returns how many approvals that ended.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        let over = |(_, approval): &(&Uid, &Approval)| approval.expires <= now;
        let expired: Vec<Uid> = self.approvals.iter().filter(over).map(|(uid, _)| uid.clone()).collect();
        for uid in &expired {
            self.take(uid);
        }
        expired.len()
    }

    /// Checks that the books agree with each other.
    ///
    /// # Errors
    /// What does not agree.
    pub fn check(&self) -> Result<(), String> {
        let assumed = self.cache.size().assumed_pods;
        if assumed != self.approvals.len() {
            return Err(format!("{assumed} pods are assumed, and {} approvals stand", self.approvals.len()));
        }
        match self.approvals.keys().find(|uid| !self.cache.is_assumed(uid)) {
            Some(uid) => Err(format!("pod {uid} is approved and not assumed")),
            None => Ok(()),
        }
    }
}
