//! The books that [`Scheduler::check`] needs to judge decisions, not only states: what was decided, what was requested, and what
//! has yet to be answered. Kept only in tests, not in a running scheduler.

use super::binding::{Awaited, Sent, Stage, WayOut};
use super::{Scheduler, plain_context};
use crate::port::{Effect, Input, PodWatch, Verified};
use crate::queue::Counted;
use crate::touched::Touched;
use secondmate_cycle::evaluation::{FilterRunner, pre_filter};
use secondmate_cycle::{Evaluate, Outcome, Plain, Profile, Question, Random, Rejection, Scope};
use secondmate_framework::{Context, CycleState, Nominations, RunFilters};
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// For one choice out of this many, every node is looked at.
const WHOLE_EVERY: u64 = 16;

#[derive(Default)]
pub(super) struct Audit {
    /// The first decision that broke an invariant, in words.
    broken: Option<String>,
    /// Number of effects already in the books, among those that have not been taken yet.
    entered: usize,
    /// Outstanding answers, by pod.
    outstanding: BTreeMap<(Uid, Awaited), usize>,
    /// Nodes whose pods are being read.
    reads: BTreeSet<Atom>,
    /// Pods for which a binding was sent that is not known to have failed.
    bound: BTreeSet<Uid>,
    /// Pods of ours that the pending watch shows and that have not been seen on a node.
    pending: BTreeSet<Uid>,
    /// Pods that were seen on a node. They are forgotten once no watch shows them any more.
    seen: BTreeSet<Uid>,
    /// Pods that the pending watch shows.
    shown: BTreeSet<Uid>,
    /// Those that it shows again although they seemed to have ended while the answer to their binding is awaited: they are pending
    /// if the answer says that they were not bound.
    found_again: BTreeSet<Uid>,
    /// Pods that the core may no longer need to remember after the current input or step.
    leaving: Vec<Uid>,
    /// Number of nodes chosen so far.
    choices: u64,
    /// The queue's pods as counted by the last check.
    pub counted: Counted,
    /// Pods whose entries in the books have changed.
    pub touched: Touched,
}

impl Audit {
    fn broken(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    fn answered(&mut self, uid: &Uid, awaited: Awaited) {
        let key = (uid.clone(), awaited);
        if let Some(count) = self.outstanding.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.outstanding.remove(&key);
            }
        }
    }

    /// Pods that must be somewhere in the core.
    pub fn pending(&self) -> impl Iterator<Item = &Uid> {
        self.pending.iter()
    }

    fn input<'a>(
        &mut self,
        input: &Input,
        is_ours: impl Fn(&Pod) -> bool,
        stage: impl Fn(&Uid) -> Option<&'a Stage>,
    ) {
        let has_ended = |uid: &Uid| matches!(stage(uid), Some(Stage::Sent(Sent::Ended)));
        match input {
            Input::Pod(_, pod) => self.touched.note(&pod.uid),
            Input::PodGone(_, uid) | Input::Verified(uid, _) => self.touched.note(uid),
            Input::NodeRead { pods, .. } => {
                pods.iter().flatten().for_each(|pod| self.touched.note(&pod.uid));
            }
            _ => {}
        }
        match input {
            Input::Pod(PodWatch::Pending, pod) => {
                let is_new = self.shown.insert(pod.uid.clone());
                if pod.terminal {
                    self.found_again.remove(&pod.uid);
                } else if is_new && has_ended(&pod.uid) {
                    self.found_again.insert(pod.uid.clone());
                }
            }
            Input::PodGone(PodWatch::Pending, uid) => {
                self.shown.remove(uid);
                self.found_again.remove(uid);
            }
            Input::PodGone(PodWatch::Assigned, uid) => {
                self.found_again.remove(uid);
            }
            _ => {}
        }
        match input {
            Input::PodGone(_, uid)
            | Input::BindFinished(uid, _)
            | Input::WriteFinished(uid, _)
            | Input::Verified(uid, _) => self.leaving.push(uid.clone()),
            _ => {}
        }
        match input {
            Input::Pod(PodWatch::Pending | PodWatch::Assigned, pod) if pod.node_name.is_some() => {
                self.pending.remove(&pod.uid);
                self.seen.insert(pod.uid.clone());
            }
            Input::Pod(PodWatch::Pending, pod)
                if is_ours(pod) && !pod.terminal && !self.seen.contains(&pod.uid) =>
            {
                self.pending.insert(pod.uid.clone());
            }
            Input::PodGone(PodWatch::Pending, uid) => {
                self.pending.remove(uid);
            }
            // It may have been bound, although the watch shows only its end, and is not queued again unless the answer says that it
            // was not.
            Input::PodGone(PodWatch::Assigned, uid) if matches!(stage(uid), Some(Stage::Sent(_))) => {
                self.pending.remove(uid);
                self.seen.insert(uid.clone());
            }
            Input::BindFinished(uid, outcome) => {
                self.answered(uid, Awaited::Bind);
                let was_found_again = self.found_again.remove(uid);
                if !outcome.may_be_bound() {
                    self.bound.remove(uid);
                    if was_found_again && has_ended(uid) {
                        self.seen.remove(uid);
                        self.pending.insert(uid.clone());
                    }
                }
            }
            Input::WriteFinished(uid, _) => self.answered(uid, Awaited::Write),
            Input::Verified(uid, verified) => {
                self.answered(uid, Awaited::Look);
                match verified {
                    Verified::Found(pod) if pod.node_name.is_none() => {
                        self.bound.remove(uid);
                    }
                    // The result may no longer matter to any binding: the watches have shown the pod's end, and an old list has
                    // brought it back.
                    Verified::Found(_) if stage(uid).is_some_and(Stage::takes_look) => {
                        self.pending.remove(uid);
                        self.seen.insert(uid.clone());
                    }
                    // A pod that is gone was not bound and never will be, though a stale watch may still show it for some time.
                    Verified::Gone => {
                        self.bound.remove(uid);
                    }
                    Verified::Found(_) | Verified::Failed(_) => {}
                }
            }
            Input::NodeRead { node, pods } => {
                self.reads.remove(node);
                for pod in pods.iter().flatten() {
                    self.pending.remove(&pod.uid);
                    self.seen.insert(pod.uid.clone());
                }
            }
            _ => {}
        }
    }

    fn sent(&mut self, pod: &Pod) {
        *self.outstanding.entry((pod.uid.clone(), Awaited::Bind)).or_default() += 1;
        if !self.bound.insert(pod.uid.clone()) {
            self.broken(format!(
                "invariant 1: a binding of pod {} is sent though an earlier one may have been carried out",
                pod.full_name()
            ));
        }
    }
}

impl Scheduler {
    /// Adds the books, so that [`Scheduler::check`] judges decisions as well as states: that a pod is bound at most once and to a
    /// node that passes the filters, that the room was there, and that everything awaited was requested. For tests: it evaluates
    /// each placed pod twice. The profiles must filter by resources and host ports.
    #[must_use]
    pub fn audited(mut self) -> Self {
        let mut audit: Box<Audit> = Box::default();
        audit.touched.keep();
        self.audit = Some(audit);
        self.note_changes();
        self
    }

    pub(super) fn audit_input(&mut self, input: &Input) {
        if let Some(audit) = &mut self.audit {
            let is_ours = |pod: &Pod| self.profiles.contains_key(&pod.scheduler_name);
            audit.input(input, is_ours, |uid| self.bindings.stage(uid));
        }
    }

    /// A node was chosen for a pod in the current snapshot: checks that every filter lets the pod pass there when run again with
    /// nothing remembered. For one choice in [`WHOLE_EVERY`], and if extenders take part, the plain pass over all nodes is run
    /// instead.
    pub(super) fn audit_choice(&mut self, profile: &Profile, pod: &Arc<Pod>, node: &Atom, now: Timestamp) {
        let Some(audit) = &mut self.audit else { return };
        audit.choices += 1;
        let (snapshot, nominations) = (&self.snapshot, &self.nominator);
        let verdict = if audit.choices.is_multiple_of(WHOLE_EVERY) || profile.extenders().choose(pod) {
            let question = Question { profile, snapshot, nominations, now, pod, scope: Scope::Every };
            let details = Plain.evaluate(&question, &mut Random::new(0)).details.unwrap_or_default();
            let passes = details.feasible.iter().any(|feasible| feasible.name() == node);
            if passes { Ok(()) } else { Err(format!("{:?}", details.statuses)) }
        } else {
            verdict_on(profile, &plain_context(snapshot, nominations, now), pod, node)
        };
        if let Err(verdict) = verdict {
            audit.broken(format!(
                "invariant 1: pod {} is to be bound to node {node}, which does not pass the filters: {verdict}",
                pod.full_name()
            ));
        }
    }

    /// The pod is rejected without an attempt: checks that the plain pass gives the same result.
    pub(super) fn audit_repeated(
        &mut self,
        profile: &Profile,
        pod: &Arc<Pod>,
        known: &Rejection,
        now: Timestamp,
    ) {
        let Some(audit) = &mut self.audit else { return };
        let (snapshot, nominations, scope) = (&self.snapshot, &self.nominator, Scope::Sample { start: 0 });
        let question = Question { profile, snapshot, nominations, now, pod, scope };
        let is_same = match Plain.evaluate(&question, &mut Random::new(0)).outcome {
            Outcome::Rejected(rejection) => {
                (&rejection.message, &rejection.rejected_by, &rejection.pending_by)
                    == (&known.message, &known.rejected_by, &known.pending_by)
                    && rejection.post_filter.victims.is_empty()
                    && rejection.post_filter.nomination == known.post_filter.nomination
            }
            Outcome::Placed { .. } | Outcome::Failed(_) => false,
        };
        if !is_same {
            audit.broken(format!(
                "pod {} is rejected as another was that is not like it: {}",
                pod.full_name(),
                known.message
            ));
        }
    }

    /// The pod was assumed: checks that there was room for it beside the pods on the node and the nominated pods that count.
    pub(super) fn audit_assumed(&mut self, pod: &Arc<Pod>, node: &Atom) {
        if self.audit.is_none() {
            return;
        }
        let nominated = self.nominator.on_node(node).iter().filter(|n| n.priority >= pod.priority);
        let lacking = self.lacks_room(pod, node, &nominated.collect::<Vec<_>>());
        self.audit_room(pod, node, "assumed on", lacking);
    }

    /// Enters the effects produced since the last call.
    pub(super) fn audit_effects(&mut self) {
        let Some(audit) = &mut self.audit else { return };
        let mut sent = Vec::new();
        for effect in &self.effects[audit.entered..] {
            match effect {
                Effect::Bind { pod, node, .. } | Effect::BindByExtender { pod, node } => {
                    audit.sent(pod);
                    sent.push((Arc::clone(pod), node.clone()));
                }
                Effect::BindBy { pod, .. } => audit.sent(pod),
                Effect::Write { pod, .. } => {
                    *audit.outstanding.entry((pod.clone(), Awaited::Write)).or_default() += 1;
                }
                Effect::Verify { pod } => {
                    *audit.outstanding.entry((pod.uid.clone(), Awaited::Look)).or_default() += 1;
                }
                Effect::ReadNode { node } => {
                    let twice = !audit.reads.insert(node.clone());
                    twice.then(|| audit.broken(format!("the pods of node {node} are read twice at once")));
                }
                _ => {}
            }
        }
        audit.entered = self.effects.len();
        for uid in std::mem::take(&mut audit.leaving) {
            if !(audit.shown.contains(&uid) || self.cache.is_added(&uid) || self.bindings.contains(&uid)) {
                audit.seen.remove(&uid);
                audit.bound.remove(&uid);
            }
        }
        for (pod, node) in sent {
            let lacking = self.lacks_room(&pod, &node, &[]);
            self.audit_room(&pod, &node, "bound to", lacking);
        }
    }

    pub(super) fn audit_effects_taken(&mut self) {
        if let Some(audit) = &mut self.audit {
            audit.entered = 0;
        }
    }

    /// A pod found by a read no longer counts: it may be gone although no input has said so.
    pub(super) fn audit_counts_no_longer(&mut self, uid: &Uid) {
        if let Some(audit) = &mut self.audit {
            audit.leaving.push(uid.clone());
        }
    }

    /// Checks that all deadlines that have passed were handled, after a step that has left none to the next one.
    pub(super) fn audit_deadlines(&mut self, now: Timestamp) {
        let Some(audit) = &mut self.audit else { return };
        if let Some(uid) = self.bindings.due(now).first() {
            let stage = self.bindings.stage(uid);
            audit.broken(format!("invariant 4: the binding of pod {uid} stays {stage:?} past its deadline"));
        }
    }

    fn audit_room(&mut self, pod: &Pod, node: &Atom, what: &str, lacking: Option<String>) {
        if let (Some(audit), Some(lacking)) = (&mut self.audit, lacking) {
            let name = pod.full_name();
            audit.broken(format!("invariant 2: pod {name} is {what} node {node} without enough {lacking}"));
        }
    }

    /// What the node lacks for the pod, beside the others on it and these nominated pods. Added up from the pods themselves, not
    /// from the sums that the plugins read; only for what the pod requests.
    fn lacks_room(&self, pod: &Pod, node: &Atom, nominated: &[&Arc<Pod>]) -> Option<String> {
        let Some(info) = self.cache.node_info(node) else { return Some("of a node: it is gone".to_owned()) };
        let mut others: BTreeMap<&Uid, &Pod> = info.pods().iter().map(|p| (&p.uid, &**p)).collect();
        others.extend(nominated.iter().map(|p| (&p.uid, &***p)));
        others.remove(&pod.uid);
        let (room, wants) = (&info.node().allocatable, &pod.requests.filter);
        if i64::try_from(others.len() + 1).is_ok_and(|pods| pods > room.pods) {
            return Some("pods".to_owned());
        }
        let native = [
            (
                "cpu",
                wants.milli_cpu,
                room.resources.milli_cpu,
                others.values().map(|p| p.requests.on_node.milli_cpu).sum(),
            ),
            (
                "memory",
                wants.memory,
                room.resources.memory,
                others.values().map(|p| p.requests.on_node.memory).sum(),
            ),
            (
                "ephemeral-storage",
                wants.ephemeral_storage,
                room.resources.ephemeral_storage,
                others.values().map(|p| p.requests.on_node.ephemeral_storage).sum::<i64>(),
            ),
        ];
        if let Some((name, ..)) =
            native.iter().find(|(_, wants, has, used)| *wants > 0 && used + wants > *has)
        {
            return Some((*name).to_owned());
        }
        for (name, wants) in &wants.scalars {
            let used: i64 = others.values().map(|p| p.requests.on_node.scalar(name).unwrap_or(0)).sum();
            if *wants > 0 && used + wants > room.resources.scalar(name).unwrap_or(0) {
                return Some(name.to_string());
            }
        }
        let clash =
            |port| others.values().flat_map(|p| p.host_ports.iter()).find(|taken| taken.conflicts(port));
        pod.host_ports.iter().find_map(clash).map(|port| format!("host ports ({})", port.port))
    }

    /// Fails if the books show a broken invariant.
    pub(super) fn check_audit(&self) -> Result<(), String> {
        let Some(audit) = &self.audit else { return Ok(()) };
        if let Some(broken) = &audit.broken {
            return Err(broken.clone());
        }
        self.bindings
            .iter()
            .try_for_each(|(binding, stage)| check_way_out(audit, &binding.pod.uid, &binding.node, stage))
    }

    /// Fails if the books show a broken invariant for the pod.
    pub(super) fn check_audit_of(&self, uid: &Uid) -> Result<(), String> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let (pending, on_its_way) = (audit.pending.contains(uid), self.bindings.contains(uid));
        match self.queue.get(uid) {
            None if pending && !on_its_way && !self.cache.is_added(uid) => {
                Err(format!("invariant 3: pod {uid} is pending and nowhere"))
            }
            Some(entry) if !pending && !on_its_way => {
                Err(format!("invariant 3: pod {uid} is {:?} and not pending", entry.place))
            }
            _ => Ok(()),
        }
    }
}

fn check_way_out(audit: &Audit, uid: &Uid, node: &Atom, stage: &Stage) -> Result<(), String> {
    match stage.way_out() {
        WayOut::Answer(Awaited::Read) if audit.reads.contains(node) => Ok(()),
        WayOut::Answer(awaited) if !audit.outstanding.contains_key(&(uid.clone(), awaited)) => Err(format!(
            "invariant 4: the binding of pod {uid} is {stage:?} and no {awaited:?} is on the way"
        )),
        WayOut::Answer(_) | WayOut::Deadline(_) => Ok(()),
    }
}

/// The verdict of PreFilter and Filter on the node.
fn verdict_on(profile: &Profile, cx: &Context<'_>, pod: &Arc<Pod>, node: &Atom) -> Result<(), String> {
    let mut state = CycleState::new();
    let pre_filtered = pre_filter(profile, cx, &mut state, pod).map_err(|failure| failure.to_string())?;
    if !pre_filtered.status.is_success() {
        return Err(pre_filtered.status.message());
    }
    if pre_filtered.nodes.as_ref().is_some_and(|nodes| !nodes.contains(node)) {
        return Err(pre_filtered.excluded().message());
    }
    let node = cx.snapshot.node(node).ok_or("it is not in the snapshot")?;
    let status = FilterRunner::new(profile, &state).run(cx, &state, pod, node);
    if status.is_success() { Ok(()) } else { Err(status.message()) }
}
