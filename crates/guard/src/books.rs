//! The books: which pods are where, which were let through, and the outcome.

use crate::approvals::{About, Approval, Doubt, Found, InVain, Look, Settled, Slowest, Times, Tries};
use crate::room::shortages;
use crate::waiting::Waiting;
use crate::{Bind, CRITICAL_PRIORITY, Decision, First, Pass, Refusal, Shortage, Standing, Verdict};
use rustc_hash::FxHashMap;
use secondmate_core::cache::Cache;
use secondmate_model::{Allocatable, Atom, Node, NodeInfo, Pod, Timestamp, Uid};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Number of arrivals that are remembered per node, to report who took the room.
const ARRIVALS_MAX: usize = 8;

/// Maximum number of nodes for which earlier binds of a pod may be in progress; beyond that, the oldest is given up.
const EARLIER_MAX: usize = 4;

/// The latest arrivals on a node, oldest first.
type Arrivals = VecDeque<(Uid, Timestamp)>;

/// What is known about nodes and pods, and what was approved. See the crate's documentation.
#[derive(Clone, Debug)]
pub struct Guard {
    times: Times,
    /// Approved pods are assumed here.
    cache: Cache,
    waiting: Waiting,
    /// One for each assumed pod of the cache: the pod itself, or a [`stand_in`].
    approvals: BTreeMap<Uid, Approval>,
    in_vain: InVain,
    doubt: Option<Doubt>,
    /// Number of doubts so far, used to avoid doubting the same pod again and again.
    doubts: usize,
    slowest: Slowest,
    arrivals: FxHashMap<Atom, Arrivals>,
    /// The initial lists are complete: pods that appear from now on have really just arrived.
    listed: bool,
}

/// The UID that holds the room on a node for an earlier bind of a pod that may be in progress, while a later bind is for another
/// node.
fn stand_in(pod: &Uid, node: &str) -> Uid {
    Uid::from(&*format!("{pod}@{node}"))
}

impl Guard {
    /// Starts without any knowledge.
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self {
            times,
            cache: Cache::new(),
            waiting: Waiting::default(),
            approvals: BTreeMap::new(),
            in_vain: InVain::default(),
            doubt: None,
            doubts: 0,
            slowest: Slowest::default(),
            arrivals: FxHashMap::default(),
            listed: false,
        }
    }

    /// Number of approvals that have not been seen yet.
    #[must_use]
    pub fn unseen(&self) -> usize {
        self.approvals.len()
    }

    /// Number of nodes, of pods on nodes (including approved ones), and of waiting pods.
    #[must_use]
    pub fn sizes(&self) -> [usize; 3] {
        let size = self.cache.size();
        [size.nodes, size.pods, self.waiting.len()]
    }

    /// Whether a pod is counted on a node: seen there, or approved.
    #[must_use]
    pub fn knows(&self, uid: &Uid) -> bool {
        self.cache.pod(uid).is_some() || !self.earlier(uid).is_empty()
    }

    /// The initial lists of all watches are complete.
    pub fn listed(&mut self) {
        self.listed = true;
    }

    /// Whether the initial lists are complete.
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

    /// The watch of waiting pods no longer shows the pod: it was bound or deleted.
    pub fn waiting_gone(&mut self, uid: &Uid) {
        self.waiting.remove(uid);
    }

    /// A pod that has not finished was seen on its node. Returns what that means for its approval, if there was one.
    pub fn on_node(&mut self, pod: Arc<Pod>, now: Timestamp) -> Option<Settled> {
        let (uid, node) = (pod.uid.clone(), pod.node_name.clone()?);
        let known = self.cache.pod(&uid).and_then(|known| known.node_name.clone());
        let earlier = self.approvals.get(&stand_in(&uid, node.as_str())).map(|approval| approval.at);
        self.earlier(&uid).iter().for_each(|earlier| self.take(earlier));
        self.in_vain.remove(&uid);
        self.cache.add(pod);
        self.cache.forget_changes();
        let is_news = known.as_ref() != Some(&node);
        if self.listed && is_news {
            self.arrived(&node, &uid, now);
        }
        let approved = self.approvals.remove(&uid).map(|approval| approval.at);
        let Some(at) = approved.filter(|_| !is_news).or(earlier) else {
            return approved.map(|_| Settled::Elsewhere);
        };
        let after = now.since(at);
        self.slowest.seen(after, now);
        Some(Settled::Seen(after))
    }

    /// A pod on a node has finished or is gone.
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

    /// Removes a pod from its node, whether it was seen there or only approved.
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

    /// The pod that a request is about, if it is known; if not, reading it from the API server may help.
    #[must_use]
    pub fn pod_of(&self, bind: &Bind) -> Option<Arc<Pod>> {
        let pod = self.waiting.find(&bind.namespace, &bind.name)?;
        bind.uid.as_ref().is_none_or(|uid| *uid == pod.uid).then(|| Arc::clone(pod))
    }

    /// Decides about a request for a pod. `pod` is the result of [`Self::pod_of`] or comes from the API server; `None` if neither
    /// knows it.
    ///
    /// Anything that may be carried out is counted from now on, whether it was decided about or only passed. A later request for
    /// the same pod replaces an earlier one for the same node, unless it is refused. An earlier one for another node may still be
    /// carried out: it stays counted until a look says otherwise.
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
        // Its gates are not checked: the last one may have just been removed, and what is known may be older.
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
            self.doubt(&refusal, now);
            return Verdict::Refused(Box::new(refusal));
        }
        // A pod that has finished takes up nothing, wherever it is bound.
        if !bind.dry_run && !pod.terminal {
            self.approve(pod, &bind.node, now);
        }
        pass.map_or(Verdict::Approved, Verdict::Passed)
    }

    /// Whether the node is known and its kubelet has reported what it offers.
    fn offers_anything(&self, node: &Atom) -> bool {
        self.cache.node(node).is_some_and(|node| node.allocatable != Allocatable::default())
    }

    fn approve(&mut self, pod: &Pod, node: &Atom, now: Timestamp) {
        let before = self.approvals.get(&pod.uid).map(|approval| approval.tries);
        let before = before.or_else(|| self.in_vain.remove(&pod.uid));
        self.set_aside(&pod.uid, node);
        self.take(&stand_in(&pod.uid, node.as_str()));
        self.take(&pod.uid);
        self.assume(pod.on_node(node));
        self.arrived(node, &pod.uid, now);
        let tries = Tries::one_more(before, now);
        let approval = Approval::new(pod.uid.clone(), tries, now, &self.times);
        self.approvals.insert(pod.uid.clone(), approval);
    }

    fn assume(&mut self, pod: Pod) {
        self.cache
            .assume(Arc::new(pod))
            .expect("it was taken out before, and pods that were seen are not approved");
        self.cache.forget_changes();
    }

    /// Keeps what a pod holds on another node when it requests this one: its earlier bind may still be carried out.
    fn set_aside(&mut self, uid: &Uid, node: &Atom) {
        let Some(pod) = self.cache.pod(uid) else { return };
        let Some(on) = pod.node_name.clone().filter(|on| on != node) else { return };
        let Some(approval) = self.approvals.get(uid).cloned() else { return };
        let mut pod = (**pod).clone();
        pod.uid = stand_in(uid, on.as_str());
        let key = pod.uid.clone();
        let earlier = self.earlier(uid);
        if let Some(oldest) = earlier.iter().min_by_key(|key| self.approvals[*key].at)
            && earlier.len() >= EARLIER_MAX
        {
            self.take(oldest);
        }
        if let Some((arrived, _)) =
            self.arrivals.get_mut(&on).into_iter().flatten().find(|(arrived, _)| arrived == uid)
        {
            *arrived = key.clone();
        }
        self.take(uid);
        self.assume(pod);
        self.approvals.insert(key, approval);
    }

    /// The keys under which a pod's earlier binds are held.
    fn earlier(&self, uid: &Uid) -> Vec<Uid> {
        let from = self.approvals.range(stand_in(uid, "")..);
        from.take_while(|(_, approval)| approval.pod == *uid).map(|(key, _)| key.clone()).collect()
    }

    fn refusal(&self, pod: &Pod, node: &Atom, now: Timestamp) -> Option<Refusal> {
        if pod.terminal {
            return None;
        }
        let info = self.cache.node_info(node)?;
        let own = [pod.uid.clone(), stand_in(&pod.uid, node.as_str())];
        let own = info.pods().iter().map(|on_node| &on_node.uid).find(|uid| own.contains(uid));
        let info: Cow<'_, NodeInfo> =
            own.map_or(Cow::Borrowed(info), |own| Cow::Owned(info.without_pod(own)));
        let shortages = shortages(pod, &info);
        let first = self.first(shortages.first()?, &info, now);
        Some(Refusal { node: node.clone(), pod: pod.full_name().into(), shortages, first })
    }

    /// Has one of the pods looked at that are said to be in the way.
    fn doubt(&mut self, refusal: &Refusal, now: Timestamp) {
        let rests = |doubt: &Doubt| self.is_off(doubt) || now.since(doubt.at) < self.times.doubt_every;
        if self.doubt.as_ref().is_some_and(rests) {
            return;
        }
        let pods = self.cache.node_info(&refusal.node).map(|info| info.pods()).unwrap_or_default();
        let is_due_to = |pod: &Pod| refusal.shortages.iter().any(|shortage| shortage.is_due_to(pod));
        let seen = |pod: &&Arc<Pod>| is_due_to(pod) && self.cache.is_added(&pod.uid);
        let count = pods.iter().filter(seen).count();
        let Some(pod) = pods.iter().filter(seen).nth(self.doubts % count.max(1)) else { return };
        self.doubt = Some(Doubt { pod: pod.uid.clone(), at: now, is_due: true, gone: None });
        self.doubts = self.doubts.wrapping_add(1);
    }

    /// Whether a look has shown that the pod is not on its node, and the watch has not shown that yet.
    fn is_off(&self, doubt: &Doubt) -> bool {
        doubt.gone.is_some() && self.cache.is_added(&doubt.pod)
    }

    /// Which pod to name for a shortage: the latest arrival among the pods that contribute to it; for a host port, the pod that
    /// has it.
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

    /// The pods to be looked at now, up to this many: one that is in the way of another, and those whose approvals have been
    /// unseen for too long, starting with the one that has been due longest. Each becomes due again after a while. Report the
    /// result with [`Self::found`].
    pub fn looks(&mut self, now: Timestamp, at_most: usize) -> Vec<Look> {
        let mut looks = Vec::new();
        // The doubt goes first: there is only one at a time, and while it waits, nothing shows that everything is refused in vain.
        if let Some(doubt) = self.doubt.as_mut().filter(|doubt| doubt.is_due && at_most > 0) {
            doubt.is_due = false;
            let pod = self.cache.pod(&doubt.pod);
            looks.extend(pod.and_then(|pod| Look::at(pod, pod.uid.clone(), About::Doubt, now)));
        }
        let is_due = |(_, approval): &(&Uid, &Approval)| approval.look <= now;
        let due = self.approvals.iter().filter(is_due);
        let mut due: Vec<(Timestamp, &Uid)> = due.map(|(key, approval)| (approval.look, key)).collect();
        let room = at_most - looks.len();
        if due.len() > room {
            due.select_nth_unstable(room);
            due.truncate(room);
        }
        due.sort_unstable();
        let due: Vec<Uid> = due.into_iter().map(|(_, key)| key.clone()).collect();
        for key in due {
            let Some(approval) = self.approvals.get_mut(&key) else { continue };
            approval.look = now + self.times.look_after;
            let about = About::Approval(key.clone(), approval.at);
            let pod = self.cache.pod(&key);
            looks.extend(pod.and_then(|pod| Look::at(pod, approval.pod.clone(), about, now)));
        }
        looks
    }

    /// The result of a look at a pod. Returns what it means for the approval; `None` if it means nothing (yet).
    pub fn found(&mut self, look: &Look, found: &Found, now: Timestamp) -> Option<Settled> {
        let About::Approval(key, at) = &look.about else {
            let is_there = matches!(found, Found::On(node) if *node == look.node);
            if let Some(doubt) = self.doubt.as_mut().filter(|doubt| doubt.pod == look.uid) {
                doubt.gone = (!is_there && *found != Found::Unknown).then_some(now);
            }
            return None;
        };
        let slowest = self.slowest.get(now);
        let approval = self.approvals.get_mut(key).filter(|approval| approval.at == *at)?;
        match found {
            Found::Unknown => None,
            Found::On(seen_on) if look.node == *seen_on => {
                // The watch will show it, and later its end: it counts as seen only from then on.
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
                self.take(key);
                Some(Settled::Elsewhere)
            }
            Found::Unbound => {
                let patience = approval.patience(slowest, &self.times);
                if look.begins.since(*at) < patience {
                    // Until then, another look could settle nothing that the watch does not show.
                    approval.look = approval.look.max(*at + patience);
                    return None;
                }
                let tries = approval.tries;
                self.in_vain.add(look.uid.clone(), tries, now + self.times.expire_after);
                self.take(key);
                Some(Settled::NotCarriedOut)
            }
            Found::Gone => {
                self.take(key);
                Some(Settled::NotCarriedOut)
            }
        }
    }

    /// Whether the watch of pods on nodes is known to lag: it does not show a bind that was carried out, or shows a pod that is
    /// gone.
    #[must_use]
    pub fn lags(&self, now: Timestamp) -> bool {
        let shows_too_long = |doubt: &Doubt| {
            self.is_off(doubt) && doubt.gone.is_some_and(|gone| now.since(gone) >= self.times.lags_after)
        };
        self.approvals.values().any(|approval| approval.lags)
            || self.doubt.as_ref().is_some_and(shows_too_long)
    }

    /// Releases the room of approvals whose outcome has been unknown for too long; returns how many there were.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        let over = |(_, approval): &(&Uid, &Approval)| approval.expires <= now;
        let expired: Vec<Uid> = self.approvals.iter().filter(over).map(|(uid, _)| uid.clone()).collect();
        for uid in &expired {
            self.take(uid);
        }
        self.in_vain.expire(now);
        expired.len()
    }

    /// Checks that the books are consistent.
    ///
    /// # Errors
    /// What is inconsistent.
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
