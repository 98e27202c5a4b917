//! The simulated shell: it passes inputs to the core and carries out its effects, late and not always.

use super::judge::Pace;
use super::objects::{brief, heard};
use super::*;
use secondmate_core::port::{
    BindOutcome, EvictError, Evicted, NominationPatch, Observation, ScheduledCondition, Verified,
};
use secondmate_model::PodCondition;
use std::collections::BTreeSet;

/// What the core has been told and therefore has to know.
#[derive(Default)]
pub(super) struct Told {
    pub nodes: BTreeSet<Atom>,
    /// Node of each pod that the assigned watch has shown.
    pub assigned: BTreeMap<Uid, Atom>,
    /// Pods that a lookup, or a read of a node, has shown there.
    pub looked_at: BTreeSet<Uid>,
    /// Pods that each of the pod watches has shown.
    pub pods: [BTreeSet<Uid>; PODS],
}

impl Told {
    fn input(&mut self, at: usize, input: &Input) {
        match input {
            Input::Node(node) => {
                self.nodes.insert(node.name.clone());
            }
            Input::NodeGone(name) => {
                self.nodes.remove(name);
            }
            Input::Pod(watch, pod) => {
                self.pods[at].insert(pod.uid.clone());
                if let (PodWatch::Assigned, Some(node)) = (watch, &pod.node_name) {
                    self.assigned.insert(pod.uid.clone(), node.clone());
                }
            }
            Input::PodGone(watch, uid) => {
                self.pods[at].remove(uid);
                if *watch == PodWatch::Assigned {
                    self.assigned.remove(uid);
                }
            }
            Input::Verified(uid, Verified::Found(pod)) if pod.node_name.is_some() => {
                self.looked_at.insert(uid.clone());
            }
            Input::NodeRead { pods, .. } => {
                self.looked_at.extend(pods.iter().flatten().map(|pod| pod.uid.clone()));
            }
            _ => {}
        }
    }
}

impl World {
    pub(super) fn deliver(&mut self) {
        let lags = self.options.lag && !self.calm;
        for at in 0..self.streams.len() {
            if self.silent[at] > self.now {
                continue;
            }
            let most = self.streams[at].0.len();
            let count = if lags { self.random.below(most + 1).min(self.random.below(6)) } else { most };
            for _ in 0..count {
                let len = self.streams[at].0.len();
                // Answers overtake each other; events of a watch do not.
                let next = if lags && at == ANSWERS { self.random.below(len) } else { 0 };
                let Some(input) = self.streams[at].0.remove(next) else { break };
                self.tell(at, input);
            }
        }
        self.check_cache_changes();
    }

    /// The core is told something.
    fn tell(&mut self, at: usize, input: Input) {
        self.counts.add("inputs to the core", 1);
        let is_new = match &input {
            Input::Pod(PodWatch::Assigned, pod) => {
                let seen = self.told.assigned.get(&pod.uid);
                seen != pod.node_name.as_ref() && !self.told.looked_at.contains(&pod.uid)
            }
            _ => false,
        };
        self.judge.input(&input, is_new, self.now);
        self.told.input(at, &input);
        let now = self.now;
        self.log(Log::Story, || format!("{} -> {}", clock(now), heard(&input)));
        match &input {
            Input::Node(node) => {
                self.judged.nodes.insert(node.name.clone());
            }
            Input::NodeGone(name) => {
                self.judged.nodes.insert(name.clone());
            }
            _ => {}
        }
        self.scheduler.apply(input, self.now);
        self.check();
    }

    pub(super) fn answer(&mut self, input: Input) {
        self.streams[ANSWERS].0.push_back(input);
    }

    /// Takes the effects that the core requests, and carries out some or all of them.
    pub(super) fn take_effects(&mut self) {
        for effect in self.scheduler.take_effects() {
            let now = self.now;
            self.log(Log::Full, || format!("{} {effect:?}", now.nanos));
            self.log(Log::Brief, || format!("{} {}", now.nanos, brief(&effect)));
            self.log(Log::Story, || format!("{} <- {}", clock(now), brief(&effect)));
            if self.judge.effect(&effect, self.options, self.now) == Pace::TooSoon {
                self.counts.add("evictions repeated too soon", 1);
            }
            match effect {
                Effect::Observed(Observation::PreemptionPutOff { .. }) => {
                    self.counts.add("preemptions put off", 1);
                }
                Effect::Observed(Observation::Yielded { .. }) => {
                    self.counts.add("waits for the last room", 1);
                }
                Effect::Event(_) | Effect::Observed(_) => {}
                // The status writer preserves the order of a pod's changes.
                Effect::PatchStatus { .. } => self.carry_out(effect),
                _ => self.outbox.push_back(effect),
            }
        }
        self.judge.turn_ends();
        let lags = self.options.lag && !self.calm;
        let count = if lags { self.random.below(self.outbox.len() + 1) } else { self.outbox.len() };
        for _ in 0..count {
            let at = if lags { self.random.below(self.outbox.len()) } else { 0 };
            let effect = self.outbox.remove(at).expect("there are so many");
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Bind { pod, node, .. } => {
                let outcome = if self.leading { self.bind_asked(&pod, &node) } else { BindOutcome::NotSent };
                self.answer(Input::BindFinished(pod.uid.clone(), outcome));
            }
            Effect::BindByExtender { pod, node } => {
                let outcome =
                    if self.leading { self.bind_by_extender(&pod, &node) } else { BindOutcome::NotSent };
                self.answer(Input::BindFinished(pod.uid.clone(), outcome));
            }
            Effect::Verify { pod } => self.verify_asked(&pod),
            Effect::ReadNode { node } => self.read_asked(node),
            Effect::PatchStatus { pod, condition, nomination } if self.leading => {
                let name = Name::from(&*pod.name);
                if self.truth.pods.get(&name).is_none_or(|stored| stored.node().is_some()) {
                    return;
                }
                self.write_ours(|world| {
                    world.change(&name, |pod| {
                        if let Some(ScheduledCondition { reason, message, .. }) = condition {
                            let (reason, message) = (reason.into(), message.into());
                            let condition = PodCondition { status: "False".into(), reason, message };
                            pod.scheduled_condition = Some(Box::new(condition));
                        }
                        if let NominationPatch::Set(node) = nomination {
                            pod.nominated_node_name = node;
                        }
                    });
                });
            }
            Effect::Evict { victim, preemptor, .. } => {
                let fails = self.options.bind_faults && !self.calm && self.one_in(5);
                let fault = fails.then(|| self.random.below(3));
                let unknown = |what: &str| Err(EvictError::Unknown(format!("time-out, and it was {what}")));
                let result = match fault {
                    _ if !self.leading => Err(EvictError::NotDone("not leading".to_owned())),
                    Some(0) => Err(EvictError::NotDone("403".to_owned())),
                    Some(1) => unknown("not carried out"),
                    Some(_) => {
                        self.evict(&victim);
                        unknown("carried out")
                    }
                    None => Ok(self.evict(&victim)),
                };
                let (preemptor, victim) = (preemptor.uid.clone(), victim.uid.clone());
                self.answer(Input::EvictFinished { preemptor, victim, result });
            }
            Effect::Write { pod, .. } => {
                let fails = self.options.bind_faults && !self.calm && self.one_in(6);
                let result = if fails || !self.leading { Err("503".to_owned()) } else { Ok(()) };
                self.answer(Input::WriteFinished(pod, result));
            }
            Effect::PatchStatus { .. } | Effect::Event(_) | Effect::Observed(_) => {}
            Effect::BindBy { .. } => panic!("no plugin here asks for {effect:?}"),
        }
    }

    fn evict(&mut self, victim: &Pod) -> Evicted {
        self.counts.add("pods evicted by secondmate", 1);
        let name = Name::from(&*victim.name);
        if self.truth.pods.get(&name).is_none_or(|stored| stored.pod.uid != victim.uid) {
            return Evicted::Gone;
        }
        self.write_ours(|world| world.delete(&name));
        Evicted::Deleted
    }

    /// Every write of ours goes through here.
    fn write_ours<T>(&mut self, write: impl FnOnce(&mut Self) -> T) -> T {
        assert!(self.leading, "invariant 5: a write, and we do not lead");
        write(self)
    }

    /// The process ends and restarts. The effects that it requested may have been sent or not; the answers are lost.
    pub(super) fn crash(&mut self) {
        self.counts.add("crashes", 1);
        for effect in std::mem::take(&mut self.outbox) {
            if self.one_in(2) {
                self.carry_out(effect);
            }
        }
        self.slow = slow::Shared::default();
        self.earlier_hits = self.standing_hits();
        self.scheduler = new_scheduler(self.seed, self.options, &self.slow, &self.probe);
        self.streams = Default::default();
        self.silent = [BEGAN; STREAMS];
        self.told = Told::default();
        self.judge.crashed();
        for input in self.truth.lists() {
            let at = match &input {
                Input::Node(_) => NODES,
                Input::Pod(PodWatch::Pending, _) => 0,
                Input::Pod(PodWatch::Assigned, _) => 1,
                Input::Pod(PodWatch::ForeignNominated, _) => 2,
                Input::Pod(PodWatch::ForeignWaiting, _) => 3,
                _ => OBJECTS,
            };
            // Nothing is scheduled before all caches are synced.
            self.tell(at, input);
        }
    }

    fn bind_asked(&mut self, pod: &Arc<Pod>, node: &Atom) -> BindOutcome {
        // In a living cluster, three of four binds are undisturbed.
        let spared = self.calm || !self.options.bind_faults || (self.options.living && !self.one_in(4));
        let fault = if spared { 12 } else { self.random.below(12) };
        if fault < 6 || fault == 11 {
            self.counts.add("binds that failed or were lost", 1);
        }
        match fault {
            5 => return BindOutcome::NotSent,
            0 => return BindOutcome::Refused { code: 500, message: "internal error".to_owned() },
            1 => return BindOutcome::Unknown { message: "time-out, and it was not carried out".to_owned() },
            2 => {
                let _ = self.bind_ours(pod, node);
                return BindOutcome::Unknown { message: "time-out, and it was carried out".to_owned() };
            }
            // The answer is lost, and something in between resends the call.
            3 => drop(self.bind_ours(pod, node)),
            4 if self.options.foreign && !self.options.living => {
                // Somebody else is faster, with another node.
                let nodes = self.node_names();
                if let Some(other) = self.pick(&nodes) {
                    let _ = self.bind(&Name::from(&*pod.name), &other);
                }
            }
            11 if self.options.living => {
                let _ =
                    self.write_ours(|world| world.ask_bind_slowly(&Name::from(&*pod.name), node.as_str()));
                return BindOutcome::Unknown { message: "time-out, and it is carried out later".to_owned() };
            }
            _ => {}
        }
        match self.bind_ours(pod, node) {
            Ok(()) => BindOutcome::Bound,
            Err((code, message)) => {
                if code == 409 {
                    self.counts.add("binds refused with a conflict", 1);
                }
                BindOutcome::Refused { code, message }
            }
        }
    }

    /// The extender reports a failure, whether or not the pod is bound; sometimes it is ignorable.
    fn bind_by_extender(&mut self, pod: &Arc<Pod>, node: &Atom) -> BindOutcome {
        match self.bind_asked(pod, node) {
            BindOutcome::Refused { message, .. } | BindOutcome::Unknown { message } => {
                BindOutcome::ExtenderFailed { message, ignorable: self.one_in(2) }
            }
            outcome => outcome,
        }
    }

    fn bind_ours(&mut self, pod: &Pod, node: &Atom) -> Result<(), (u16, String)> {
        self.write_ours(|world| world.ask_bind(&Name::from(&*pod.name), node.as_str()))
    }

    fn read_asked(&mut self, node: Atom) {
        let pods = if self.options.bind_faults && !self.calm && self.one_in(4) {
            Err("503".to_owned())
        } else {
            let here = self.truth.needs_on(node.as_str());
            Ok(here.map(|(name, _)| Arc::clone(&self.truth.pods[name].pod)).collect())
        };
        self.answer(Input::NodeRead { node, pods });
    }

    fn verify_asked(&mut self, pod: &Arc<Pod>) {
        let verified = if self.options.bind_faults && !self.calm && self.one_in(4) {
            Verified::Failed("503".to_owned())
        } else {
            match self.truth.pods.get(&*pod.name) {
                Some(stored) => Verified::Found(Arc::clone(&stored.pod)),
                None => Verified::Gone,
            }
        };
        self.answer(Input::Verified(pod.uid.clone(), verified));
    }
}
