//! A guest of `crates/guest` with every trait, for the tests of the host: what it answers shows what it was told.

#![cfg_attr(target_arch = "wasm32", no_std)]

use core::time::Duration;
use secondmate_guest::{
    Bind, Code, Cycle, EventType, Filter, NormalizeScore, Permit, Pod, PostBind, PostFilter, PreBind,
    PreFilter, PreScore, Reserve, Score, Severity, Status, event, image_states, log, node, node_list,
    reject_waiting_pod,
};

extern crate alloc;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Made anew in each cycle.
#[derive(Default)]
struct EveryPoint {
    /// Pods that were added, each with its node.
    added: Vec<(String, String)>,
    feasible: Vec<String>,
    reserved: String,
}

impl PreFilter for EveryPoint {
    /// Nodes of the label `pool` that the pod has.
    fn pre_filter(&mut self, cycle: &Cycle) -> (Option<Vec<String>>, Status) {
        let Some(pool) = cycle.pod().label("pool") else { return (None, Status::success()) };
        let nodes: Vec<String> = node_list()
            .iter()
            .filter(|node| node.label("pool") == Some(pool) && !node.is_unschedulable())
            .map(|node| node.name().to_owned())
            .collect();
        let status = match nodes.is_empty() {
            true => Status::unresolvable(format!("no pool {pool} for {}", cycle.pod().name())),
            false => Status::success(),
        };
        (Some(nodes), status)
    }
}

impl Filter for EveryPoint {
    /// One pod a node, counting those that were added.
    fn filter(&mut self, _cycle: &Cycle, name: &str) -> Status {
        let Some(node) = node(name) else { panic!("node {name} is not in the snapshot") };
        match self.added.iter().find(|(_, on)| on == name) {
            Some((pod, _)) => Status::unschedulable(format!("taken by {pod}")),
            None if node.annotation("broken").is_some() => Status::unresolvable("broken"),
            None => Status::success(),
        }
    }

    fn add_pod(&mut self, _cycle: &Cycle, added: &Pod, node: &str) -> Status {
        self.added.push((added.name().to_owned(), node.to_owned()));
        Status::success()
    }

    fn remove_pod(&mut self, _cycle: &Cycle, removed: &Pod, node: &str) -> Status {
        let before = self.added.len();
        self.added.retain(|(pod, on)| pod != removed.name() || on != node);
        match self.added.len() < before {
            true => Status::success(),
            false => Status::error(format!("{} is not on {node}", removed.name())),
        }
    }
}

impl PostFilter for EveryPoint {
    /// Nominates the last node where preemption helps, and clears the nomination where all are hopeless.
    fn post_filter(&mut self, _cycle: &Cycle, statuses: &[(String, i32)]) -> (Option<String>, Status) {
        if statuses.is_empty() {
            return (None, Status::unschedulable("no node"));
        }
        let helps = statuses.iter().rfind(|(_, code)| *code == Code::Unschedulable as i32);
        match helps {
            Some((node, _)) => (Some(node.clone()), Status::success()),
            None => (Some(String::new()), Status::unschedulable(format!("{statuses:?}"))),
        }
    }
}

impl PreScore for EveryPoint {
    fn pre_score(&mut self, cycle: &Cycle) -> Status {
        self.feasible = cycle.feasible_nodes();
        log(Severity::Warning, &format!("{} may go to {}", cycle.pod().name(), self.feasible.join(" or ")));
        if self.feasible.len() == 1 { Status::skip() } else { Status::success() }
    }
}

impl Score for EveryPoint {
    /// The sizes of the pod's images that the node has, each as often as nodes have it.
    fn score(&mut self, cycle: &Cycle, node: &str) -> Result<i32, Status> {
        if !self.feasible.iter().any(|name| name == node) {
            return Err(Status::error(format!("{node} was not feasible")));
        }
        let states = image_states(node).into_iter();
        let wanted = states.filter(|state| cycle.pod().images().any(|image| image == state.name));
        Ok(wanted.map(|state| i32::try_from(state.size * state.nodes).unwrap_or(i32::MAX)).sum())
    }
}

impl NormalizeScore for EveryPoint {
    /// The best is 100.
    fn normalize(&mut self, _cycle: &Cycle, scores: &mut [(String, i64)]) -> Status {
        let best = scores.iter().map(|(_, score)| *score).max().unwrap_or(0);
        if best == 0 {
            return Status::error("nobody has an image");
        }
        scores.iter_mut().for_each(|(_, score)| *score = *score * 100 / best);
        Status::success()
    }
}

impl Reserve for EveryPoint {
    fn reserve(&mut self, cycle: &Cycle, node: &str) -> Status {
        if cycle.pod().annotation("greedy").is_some() {
            return Status::unschedulable(format!("nothing is left on {node}"));
        }
        self.reserved = node.to_owned();
        event(cycle.pod(), EventType::Normal, "Reserved", "Reserve", &format!("a \"place\" on {node}"));
        Status::success()
    }

    fn unreserve(&mut self, cycle: &Cycle, node: &str) {
        event(
            cycle.pod(),
            EventType::Warning,
            "Unreserved",
            "Unreserve",
            &format!("{node} after {}", self.reserved),
        );
    }
}

impl Permit for EveryPoint {
    /// Waits, unless the pod says in whose place it comes: that one is rejected.
    fn permit(&mut self, cycle: &Cycle, node: &str) -> (Status, Duration) {
        let Some(uid) = cycle.pod().annotation("instead-of") else {
            return (Status::new(Code::Wait, format!("for {node}")), Duration::from_millis(1500));
        };
        match reject_waiting_pod(uid) {
            true => (Status::success(), Duration::ZERO),
            false => (Status::unschedulable(format!("{uid} does not wait")), Duration::ZERO),
        }
    }
}

impl PreBind for EveryPoint {
    fn pre_bind(&mut self, _cycle: &Cycle, node: &str) -> Status {
        match self.reserved == node {
            true => Status::success(),
            false => Status::error(format!("{node} is not {:?}", self.reserved)),
        }
    }
}

impl Bind for EveryPoint {
    fn bind(&mut self, cycle: &Cycle, node: &str) -> Status {
        match cycle.pod().annotation("bind") {
            None => Status::success(),
            Some("skip") => Status::skip(),
            Some(other) => Status::error(format!("{other} on {node}")),
        }
    }
}

impl PostBind for EveryPoint {
    fn post_bind(&mut self, cycle: &Cycle, node: &str) {
        event(cycle.pod(), EventType::Normal, "Done", "PostBind", node);
    }
}

secondmate_guest::guest!(
    EveryPoint: PreFilter, Filter, PostFilter, PreScore, Score, NormalizeScore, Reserve, Permit, PreBind, Bind, PostBind
);
