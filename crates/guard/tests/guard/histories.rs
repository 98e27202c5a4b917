//! Random histories: schedulers that bind at random, an API server that carries out binds late or never, watches that lag.
//!
//! The test keeps the truth and, separately, what the guard was shown, and adds up both from the pods' own numbers:
//!
//! * no kubelet ever has to reject a pod whose bind the guard approved, however late it was carried out and seen;
//! * the guard refuses nothing that a kubelet would accept that has exactly the pods that the guard was shown and those it
//!   approved.
//!
//! `SEED=17 cargo test -p secondmate-guard --test guard histories` replays one history, `HISTORIES=1000` runs more.

use crate::fixture::*;
use secondmate_cycle::Random;
use secondmate_guard::{Bind, Found, Guard, Standing, Times, Verdict};
use secondmate_model::{Timestamp, Uid};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const NODES: usize = 3;
const CPU: i64 = 1000;
const PODS: usize = 6;

#[derive(Clone, Debug)]
struct Pod {
    name: String,
    cpu: i64,
    port: Option<i32>,
    node: Option<usize>,
}

impl Pod {
    fn text(&self) -> String {
        let port = self.port.map(|port| format!(" port={port}")).unwrap_or_default();
        let node = self.node.map(|node| format!(" on=n{node}")).unwrap_or_default();
        format!("{} cpu={}m{port}{node}", self.name, self.cpu)
    }
}

/// Whether a kubelet with these pods accepts one more.
fn takes<'a>(on_node: impl Iterator<Item = &'a Pod>, pod: &Pod) -> bool {
    let (mut cpu, mut pods, mut free) = (0, 0, true);
    for other in on_node {
        cpu += other.cpu;
        pods += 1;
        free &= pod.port.is_none() || other.port != pod.port;
    }
    free && pods < PODS && (pod.cpu == 0 || cpu + pod.cpu <= CPU)
}

enum Told {
    Waiting(Pod),
    WaitingGone(String),
    OnNode(Pod),
    OffNode(String),
}

/// A bind in progress at the API server.
struct UnderWay {
    due: Timestamp,
    pod: String,
    node: usize,
    carried_out: bool,
}

struct World {
    dice: Random,
    guard: Guard,
    now: Timestamp,
    /// The truth, by name (which is the UID).
    pods: BTreeMap<String, Pod>,
    /// What the watches have not shown yet: of waiting pods, and of pods on nodes.
    lines: [VecDeque<Told>; 2],
    under_way: Vec<UnderWay>,
    /// What the guard was shown of pods on nodes, and what it approved and has not been shown.
    seen: BTreeMap<String, Pod>,
    approved: BTreeMap<(String, usize), Pod>,
    /// Whether there are binds that bypass the guard.
    past: bool,
    created: usize,
    counts: [usize; 2],
}

impl World {
    fn new(seed: u64, past: bool) -> Self {
        let mut guard = Guard::new(Times::default());
        for number in 0..NODES {
            guard.node(node(&format!("n{number} cpu={CPU}m pods={PODS}")));
        }
        guard.listed();
        Self {
            dice: Random::new(seed),
            guard,
            now: Timestamp::from_secs(1),
            pods: BTreeMap::new(),
            lines: Default::default(),
            under_way: Vec::new(),
            seen: BTreeMap::new(),
            approved: BTreeMap::new(),
            past,
            created: 0,
            counts: [0, 0],
        }
    }

    fn chance(&mut self, of: usize) -> bool {
        self.dice.below(of) == 0
    }

    fn any_name(&mut self, which: impl Fn(&Pod) -> bool) -> Option<String> {
        let names: Vec<&String> = self.pods.values().filter(|pod| which(pod)).map(|pod| &pod.name).collect();
        if names.is_empty() { None } else { Some(names[self.dice.below(names.len())].clone()) }
    }

    fn step(&mut self) {
        match self.dice.below(12) {
            0..=2 => self.create(),
            3..=5 => self.ask(),
            6 => self.delete(),
            7 => self.bind_past_the_guard(),
            8 => self.now = self.now + Duration::from_millis(self.dice.below(400) as u64),
            _ => {
                for _ in 0..self.dice.below(4) {
                    let line = self.dice.below(2);
                    self.tell(line);
                }
            }
        }
        self.pass();
    }

    fn create(&mut self) {
        let name = format!("p{}", self.created);
        self.created += 1;
        let cpu = [0, 100, 250, 600][self.dice.below(4)];
        let port = self.chance(3).then(|| 80 + i32::from(self.chance(2)));
        let pod = Pod { name: name.clone(), cpu, port, node: None };
        self.lines[0].push_back(Told::Waiting(pod.clone()));
        self.pods.insert(name, pod);
    }

    fn delete(&mut self) {
        let Some(name) = self.any_name(|_| true) else { return };
        let pod = self.pods.remove(&name).expect("it is there");
        match pod.node {
            None => self.lines[0].push_back(Told::WaitingGone(name)),
            Some(_) => self.lines[1].push_back(Told::OffNode(name)),
        }
    }

    /// A scheduler asks, but not for a pod whose last request has not ended.
    fn ask(&mut self) {
        let Some(name) = self.any_name(|pod| pod.node.is_none()) else { return };
        if self.under_way.iter().any(|other| other.pod == name) {
            return;
        }
        let target = self.dice.below(NODES);
        let bind =
            Bind { uid: Some(uid(&name)), ..Desk::new(&[], &[]).request(&name, &format!("n{target}")) };
        let truth = pod(&self.pods[&name].text());
        let known = self.guard.pod_of(&bind).unwrap_or(truth);
        let decision = self.guard.decide(&bind, Some(&known), Standing::Decides, self.now);
        let wanted = Pod { node: Some(target), ..self.pods[&name].clone() };
        let known = self.seen.values().chain(self.approved.values());
        let on_node = known.filter(|other| other.node == Some(target) && other.name != name);
        let fits = takes(on_node, &wanted);
        match decision.verdict {
            Verdict::Approved => {
                assert!(fits, "{wanted:?} does not fit by what the guard knows");
                self.approved.insert((name.clone(), target), wanted);
                let slowest_ms = if self.chance(4) { 8900 } else { 500 };
                let due = self.now + Duration::from_millis(self.dice.below(slowest_ms) as u64);
                let carried_out = !self.chance(5);
                self.under_way.push(UnderWay { due, pod: name, node: target, carried_out });
                self.counts[0] += 1;
            }
            Verdict::Refused(refusal) => {
                assert!(!fits, "a kubelet would take it: {refusal}");
                self.counts[1] += 1;
            }
            // Only the watch of waiting pods lags.
            Verdict::Passed(pass) => panic!("{pass:?}"),
        }
    }

    fn bind_past_the_guard(&mut self) {
        if !self.past {
            return;
        }
        let Some(name) = self.any_name(|pod| pod.node.is_none()) else { return };
        let target = self.dice.below(NODES);
        self.place(&name, target);
    }

    fn place(&mut self, name: &str, node: usize) {
        let Some(pod) = self.pods.get_mut(name).filter(|pod| pod.node.is_none()) else { return };
        pod.node = Some(node);
        let pod = pod.clone();
        if !self.past {
            let others = self.pods.values().filter(|other| other.node == Some(node) && other.name != name);
            assert!(takes(others, &pod), "the kubelet of n{node} has to reject {pod:?}");
        }
        self.lines[0].push_back(Told::WaitingGone(name.to_owned()));
        self.lines[1].push_back(Told::OnNode(pod));
    }

    /// Time has passed: binds are carried out, and the guard checks on its approvals.
    fn pass(&mut self) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.under_way).into_iter().partition(|bind| bind.due <= now);
        self.under_way = later;
        let due: Vec<UnderWay> = due;
        for bind in due.into_iter().filter(|bind| bind.carried_out) {
            self.place(&bind.pod, bind.node);
        }
        for look in self.guard.looks(now, 3) {
            let found = match self.pods.get(look.uid.as_str()) {
                _ if self.dice.below(3) == 0 => Found::Unknown,
                None => Found::Gone,
                Some(Pod { node: None, .. }) => Found::Unbound,
                Some(Pod { node: Some(node), .. }) => Found::On(atom(&format!("n{node}"))),
            };
            let settled = self.guard.found(&look, &found, now);
            let stands = match &found {
                Found::Unknown => true,
                Found::On(node) => look.node == *node,
                Found::Unbound => settled.is_none(),
                Found::Gone => false,
            };
            if !stands {
                let number = look.node.as_str()[1..].parse().expect("a number");
                self.approved.remove(&(look.uid.as_str().to_owned(), number));
            }
        }
        if self.guard.expire(now) > 0 {
            // Only binds that were never carried out last this long without a sign.
            self.approved
                .retain(|(name, node), _| self.pods.get(name).is_some_and(|pod| pod.node == Some(*node)));
        }
        self.guard.check().expect("the books agree");
        assert_eq!(self.guard.unseen(), self.approved.len());
    }

    fn tell(&mut self, line: usize) {
        let Some(told) = self.lines[line].pop_front() else { return };
        match told {
            Told::Waiting(told) => self.guard.waiting(pod(&told.text())),
            Told::WaitingGone(name) => self.guard.waiting_gone(&uid(&name)),
            Told::OnNode(told) => {
                self.approved.retain(|(name, _), _| *name != told.name);
                self.guard.on_node(pod(&told.text()), self.now);
                self.seen.insert(told.name.clone(), told);
            }
            Told::OffNode(name) => {
                self.guard.off_node(&Uid::from(&*name));
                self.seen.remove(&name);
            }
        }
    }

    /// Everything is shown, and everything unseen is looked at: no room is held needlessly.
    fn end(&mut self) {
        self.under_way.clear();
        for _ in 0..100 {
            for line in [0, 1] {
                while !self.lines[line].is_empty() {
                    self.tell(line);
                }
            }
            self.now = self.now + Duration::from_secs(3);
            self.pass();
        }
        assert_eq!(self.guard.unseen(), 0);
        let on_nodes = self.pods.values().filter(|pod| pod.node.is_some()).count();
        assert_eq!(self.guard.sizes(), [NODES, on_nodes, self.pods.len() - on_nodes]);
    }
}

/// A numeric environment variable. An invalid value is an error, so that nothing is run other than what was asked for.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name}={} is not a number", text.display())))
}

fn histories(past: bool) {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HISTORIES").unwrap_or(15),
    };
    let mut counts = [0, 0];
    for seed in seeds {
        println!("replay it with SEED={seed}");
        let mut world = World::new(seed, past);
        for _ in 0..1500 {
            world.step();
        }
        world.end();
        counts = [counts[0] + world.counts[0], counts[1] + world.counts[1]];
    }
    println!("{} approved, {} refused", counts[0], counts[1]);
    // A single repeated history may have fewer.
    let least = if number("SEED").is_some() { 0 } else { 100 };
    assert!(counts.iter().all(|count| *count > least), "{counts:?}");
}

#[test]
fn no_kubelet_rejects_what_was_approved_and_nothing_is_refused_for_nothing() {
    histories(false);
}

#[test]
fn binds_past_the_guard_make_it_no_stricter_than_a_kubelet() {
    histories(true);
}
