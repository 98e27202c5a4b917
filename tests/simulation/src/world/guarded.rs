//! The way of a bind through the API server: the bind guard is called, and what it allows is stored, at once or a little later.
//!
//! The guard has its own watches, which lag. From time to time it goes away, and another one takes its place; in between, binds pass
//! unchecked. No kubelet may reject a pod whose bind was approved, unless something could not be known: a bind was allowed without a
//! decision, or the node itself shrank. From then on the node is uncertain until the guard has seen everything.

use super::*;
use secondmate_guard::{Bind, Found, Guard, Settled, Standing, Times, Verdict};
use secondmate_model::Node;
use std::collections::BTreeSet;

/// An API server stores what it admits within milliseconds; a slow one within seconds, and sometimes after somebody looked for it.
const STORED_WITHIN_MS: [usize; 4] = [2_000, 2_000, 2_000, 8_500];
/// Maximum number of pods to look up in a turn.
const LOOKS: usize = 16;
/// Time between two turns if nothing else happens.
const LOOKS_EVERY: Duration = Duration::from_secs(3);

/// A bind between admission and store.
pub(super) struct UnderWay {
    pub pod: Name,
    pub node: Name,
    pub due: Timestamp,
}

enum News {
    Waiting(Arc<Pod>),
    WaitingGone(Uid),
    OnNode(Arc<Pod>),
    OffNode(Uid),
    Node(Arc<Node>),
    NodeGone(Atom),
}

/// The guard, what it has not been told yet, and the nodes about which it cannot be certain.
pub(super) struct Guarded {
    guard: Option<Guard>,
    /// News of pods, and of nodes.
    news: [VecDeque<News>; 2],
    silent_until: Timestamp,
    unsure: BTreeSet<Name>,
}

impl Guarded {
    pub fn new(now: Timestamp) -> Self {
        let mut guard = Guard::new(Times::default());
        guard.listed();
        Self { guard: Some(guard), news: Default::default(), silent_until: now, unsure: BTreeSet::new() }
    }

    pub fn is_quiet(&self, now: Timestamp) -> bool {
        let told = self.news.iter().all(VecDeque::is_empty) || now < self.silent_until;
        told && self.guard.as_ref().is_none_or(|guard| guard.unseen() == 0 || now < self.silent_until)
    }

    pub fn next_wakeup(&self, now: Timestamp) -> Option<Timestamp> {
        let news = self.news.iter().any(|news| !news.is_empty()).then_some(self.silent_until);
        // While its watch is silent, it looks up what it approved, which would otherwise expire, whatever became of it.
        let looks = self.guard.as_ref().is_some_and(|guard| guard.unseen() > 0).then(|| now + LOOKS_EVERY);
        news.into_iter().chain(looks).min()
    }

    pub fn be_silent(&mut self, until: Timestamp) {
        self.silent_until = until;
    }

    /// A pod changed or is gone.
    pub fn tell_pod(&mut self, uid: &Uid, pod: Option<&Arc<Pod>>) {
        let news = &mut self.news[0];
        match pod {
            Some(pod) if pod.node_name.is_none() => news.push_back(News::Waiting(Arc::clone(pod))),
            Some(pod) if !pod.terminal => {
                news.push_back(News::WaitingGone(uid.clone()));
                news.push_back(News::OnNode(Arc::clone(pod)));
            }
            _ => {
                news.push_back(News::WaitingGone(uid.clone()));
                news.push_back(News::OffNode(uid.clone()));
            }
        }
    }

    /// A node changed or is gone. Until the guard knows it, it may approve what does not fit any more.
    pub fn tell_node(&mut self, name: &Name, node: Option<&Arc<Node>>) {
        self.unsure.insert(Arc::clone(name));
        self.news[1].push_back(match node {
            Some(node) => News::Node(Arc::clone(node)),
            None => News::NodeGone(Atom::new(name)),
        });
    }

    fn take(&mut self, at: usize, now: Timestamp) {
        let Some(news) = self.news[at].pop_front() else { return };
        let Some(guard) = &mut self.guard else { return };
        match news {
            News::Waiting(pod) => guard.waiting(pod),
            News::WaitingGone(uid) => guard.waiting_gone(&uid),
            News::OnNode(pod) => drop(guard.on_node(pod, now)),
            News::OffNode(uid) => guard.off_node(&uid),
            News::Node(node) => guard.node(node),
            News::NodeGone(name) => guard.node_gone(&name),
        }
    }
}

impl World {
    /// The guard receives some of its news, releases what has expired, and looks up pods that it approved but does not see.
    pub(super) fn guard_acts(&mut self) {
        let (now, lags) = (self.now, self.options.lag && !self.calm);
        let Some(mut guarded) = self.guarded.take() else { return };
        if self.calm {
            guarded.silent_until = now;
        }
        if guarded.silent_until <= now {
            for at in 0..guarded.news.len() {
                let most = guarded.news[at].len();
                let count = if lags { self.random.below(most + 1).min(self.random.below(8)) } else { most };
                (0..count).for_each(|_| guarded.take(at, now));
            }
        }
        if let Some(guard) = &mut guarded.guard {
            guard.expire(now);
            for look in guard.looks(now, LOOKS) {
                let found = match self.truth.pods.get(&*look.name) {
                    _ if lags && self.random.below(4) == 0 => Found::Unknown,
                    None => Found::Gone,
                    Some(stored) => stored.pod.node_name.clone().map_or(Found::Unbound, Found::On),
                };
                let settled = guard.found(&look, &found, now);
                // Nothing is stored after it has been given up.
                assert!(
                    settled != Some(Settled::NotCarriedOut)
                        || found == Found::Gone
                        || self
                            .under_way
                            .iter()
                            .all(|bind| *bind.pod != *look.name || *bind.node != *look.node.as_str()),
                    "the world stores binds in time"
                );
            }
        }
        let knows_all = guarded.guard.is_some() && guarded.news.iter().all(VecDeque::is_empty);
        if knows_all && self.under_way.is_empty() {
            guarded.unsure.clear();
        }
        self.guarded = Some(guarded);
    }

    pub(super) fn guard_goes(&mut self) {
        let Some(guarded) = &mut self.guarded else { return };
        if guarded.guard.take().is_some() {
            self.counts.add("guard outages", 1);
        }
    }

    /// A new guard has listed everything. Nobody knows what the former one approved that was not stored yet.
    pub(super) fn guard_comes_back(&mut self) {
        let Some(mut guarded) = self.guarded.take() else { return };
        if guarded.guard.is_none() {
            let mut guard = Guard::new(Times::default());
            guarded.news = Default::default();
            guarded.silent_until = self.now;
            self.truth.nodes.values().for_each(|stored| guard.node(Arc::clone(&stored.node)));
            for stored in self.truth.pods.values() {
                let pod = Arc::clone(&stored.pod);
                if stored.is_on_node() {
                    guard.on_node(pod, self.now);
                } else {
                    guard.waiting(pod);
                }
            }
            guard.listed();
            guarded.guard = Some(guard);
            guarded.unsure.extend(self.under_way.iter().map(|bind| bind.node.clone()));
        }
        self.guarded = Some(guarded);
    }

    /// A bind is requested: returns the decision of admission.
    fn admit(&mut self, pod: &Name, node: &str) -> Result<(), (u16, String)> {
        let (now, stored) = (self.now, self.truth.pods.get(pod).map(|stored| Arc::clone(&stored.pod)));
        let Some(guarded) = &mut self.guarded else { return Ok(()) };
        let Some(guard) = &mut guarded.guard else {
            self.counts.add("binds past the guard", 1);
            guarded.unsure.insert(node.into());
            return Ok(());
        };
        let namespace = stored.as_ref().map(|pod| pod.namespace.clone()).unwrap_or_default();
        let bind = Bind {
            namespace,
            name: (&**pod).into(),
            uid: Some(Uid::from(&*format!("uid-{pod}"))),
            node: Atom::new(node),
            dry_run: false,
        };
        let known = guard.pod_of(&bind).or(stored);
        let standing = if guard.lags(now) { Standing::NotInSync } else { Standing::Decides };
        match guard.decide(&bind, known.as_ref(), standing, now).verdict {
            Verdict::Approved => self.counts.add("binds approved by the guard", 1),
            Verdict::Passed(_) => {
                self.counts.add("binds that the guard let pass", 1);
                guarded.unsure.insert(node.into());
            }
            Verdict::Refused(refusal) => {
                self.counts.add("binds refused by the guard", 1);
                return Err((403, refusal.to_string()));
            }
        }
        Ok(())
    }

    /// A bind is requested: admitted, and stored at once.
    pub(super) fn ask_bind(&mut self, pod: &Name, node: &str) -> Result<(), (u16, String)> {
        self.admit(pod, node)?;
        self.bind(pod, node)
    }

    /// A bind is requested: admitted, and stored a little later.
    pub(super) fn ask_bind_slowly(&mut self, pod: &Name, node: &str) -> Result<(), (u16, String)> {
        self.admit(pod, node)?;
        let within = STORED_WITHIN_MS[self.random.below(STORED_WITHIN_MS.len())];
        let due = self.now + Duration::from_millis(self.random.below(within) as u64);
        self.under_way.push(UnderWay { pod: Arc::clone(pod), node: node.into(), due });
        Ok(())
    }

    /// Stores what is due.
    pub(super) fn store_binds(&mut self) {
        let (now, calm) = (self.now, self.calm);
        let (due, rest) =
            std::mem::take(&mut self.under_way).into_iter().partition(|bind| calm || bind.due <= now);
        self.under_way = rest;
        for UnderWay { pod, node, .. } in due {
            if self.bind(&pod, &node).is_err() {
                self.counts.add("binds refused with a conflict", 1);
            }
        }
    }

    /// The kubelet of the node admits the pod that was bound to it, or rejects it.
    pub(super) fn kubelet_admits(&mut self, pod: &Name, node: &str) {
        let (Some(bound), Some(stored)) = (self.truth.pods.get(pod), self.truth.nodes.get(node)) else {
            return;
        };
        let beside = self.truth.needs_on(node).filter(|(other, _)| other != pod);
        if stored.room.takes(&bound.needs, beside.map(|(_, needs)| needs)) {
            return;
        }
        self.counts.add("pods that a kubelet rejected", 1);
        assert!(
            self.guarded.as_ref().is_none_or(|guarded| guarded.unsure.contains(node)),
            "guard: the kubelet of {node} rejects {pod}, though the bind guard knew all and approved every bind"
        );
        let rejected = bound.is_ours().then(|| Input::PodRejected(bound.pod.uid.clone()));
        self.change(pod, |pod| pod.terminal = true);
        // Another watch shows it, and only to the leader.
        if let Some(input) = rejected.filter(|_| self.leading) {
            self.answer(input);
        }
    }
}
