//! The facts behind the rejections: nodes that are rejected for the same reasons, and what the plugin says about each of them.
//!
//! This module contains no scheduling rules: the verdict is the evaluation's, and a fact comes from the plugin that gave the
//! verdict.

use crate::extenders::AskedExtender;
use secondmate_cycle::evaluation::{facts, nominated_with};
use secondmate_cycle::{Details, Profile};
use secondmate_framework::{Code, Context, EXTENDER_NAME, Fact, NodeIndex, Reason, Status};
use secondmate_model::{Atom, NodeInfo, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Maximum number of nodes per group that the plugin is asked about: bounds the time in a large cluster.
const NODES_ASKED_MAX: usize = 1000;

/// What people are shown about a pod that is held back or rejected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The PreEnqueue plugin that holds the pod back, with its reasons.
    pub held_back_by: Option<Status>,
    /// Facts behind the rejection of the whole pod.
    pub pre_filter: Vec<Fact>,
    /// The nodes that do not fit, by reasons; the largest group first.
    pub groups: Vec<RejectedGroup>,
    /// What extenders were asked, in the order of the calls.
    pub asked: Vec<AskedExtender>,
}

/// Nodes that one plugin rejected for the same reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectedGroup {
    /// Verdict.
    pub code: Code,
    /// The plugin; `None` if PreFilter excluded the nodes.
    pub plugin: Option<Atom>,
    /// Its reasons.
    pub reasons: Vec<Reason>,
    /// The nodes, in the snapshot's order.
    pub nodes: Vec<Atom>,
    /// Facts and the nodes that they apply to, the nearest to fitting first; empty if the plugin gives none.
    pub facts: Vec<(Fact, Vec<Atom>)>,
    /// Pods that count as present on the nodes with facts, because they are nominated to them.
    pub nominated: Vec<Arc<Pod>>,
}

impl Facts {
    /// What the plugins say about the verdicts of an evaluation.
    pub(crate) fn of(
        profile: &Profile,
        cx: &Context<'_>,
        pod: &Arc<Pod>,
        details: &Details,
        asked: Vec<AskedExtender>,
    ) -> Self {
        let mut result = Self { asked, ..Self::default() };
        let Some(state) = &details.state else { return result };
        let behind = |status: &Status, node: Option<&NodeInfo>| -> Vec<Fact> {
            match status.plugin() {
                Some(plugin) => facts(profile, cx, state, pod, plugin, node),
                None => {
                    let of = |plugin| facts(profile, cx, state, pod, plugin, node);
                    details.narrowed_by.iter().flat_map(of).collect()
                }
            }
        };
        if let Some(status) = &details.pre_filter {
            result.pre_filter = behind(status, None);
            return result;
        }
        let passed: BTreeSet<&Atom> = details.feasible.iter().map(|n| n.name()).collect();
        let by_extenders = by_extenders(&result.asked, cx, details);
        type Key<'a> = (i32, Option<&'a str>, &'a [Reason]);
        let mut places: BTreeMap<Key<'_>, usize> = BTreeMap::new();
        for (at, node) in cx.snapshot.nodes().iter().enumerate() {
            if passed.contains(node.name()) {
                continue;
            }
            let status = by_extenders.get(&at).unwrap_or_else(|| details.statuses.get(index(at)));
            let key = (status.code() as i32, status.plugin().map(Atom::as_str), status.reasons());
            let place = *places.entry(key).or_insert_with(|| {
                result.groups.push(RejectedGroup::new(status));
                result.groups.len() - 1
            });
            let group = &mut result.groups[place];
            group.nodes.push(node.name().clone());
            if group.nodes.len() > NODES_ASKED_MAX {
                continue;
            }
            for fact in behind(status, Some(node)) {
                group.add(fact, node.name());
            }
            group.nominated.extend(nominated_with(cx, pod, node.name()).cloned());
        }
        for group in &mut result.groups {
            group.facts.sort_by_key(|(fact, _)| fact.lacks);
        }
        result.groups.sort_by_key(|group| std::cmp::Reverse(group.nodes.len()));
        result
    }

    /// What would help, in display order: at most one suggestion per group of nodes.
    #[must_use]
    pub fn help(&self) -> Vec<&str> {
        let of_pod = self.pre_filter.iter().find_map(|fact| fact.help.as_deref());
        let mut all: Vec<&str> = of_pod.into_iter().collect();
        for help in self.groups.iter().filter_map(RejectedGroup::help) {
            if !all.contains(&help) {
                all.push(help);
            }
        }
        all
    }
}

impl RejectedGroup {
    fn new(status: &Status) -> Self {
        Self {
            code: status.code(),
            plugin: status.plugin().cloned(),
            reasons: status.reasons().to_vec(),
            nodes: Vec::new(),
            facts: Vec::new(),
            nominated: Vec::new(),
        }
    }

    fn add(&mut self, fact: Fact, node: &Atom) {
        match self.facts.iter_mut().find(|(known, _)| known.text == fact.text) {
            Some((_, nodes)) => nodes.push(node.clone()),
            None => self.facts.push((fact, vec![node.clone()])),
        }
    }

    /// What would help on the node that is nearest to fitting.
    fn help(&self) -> Option<&str> {
        self.facts.iter().find_map(|(fact, _)| fact.help.as_deref())
    }
}

/// The verdicts of extenders, which name no plugin and may be missing, by node position.
fn by_extenders(asked: &[AskedExtender], cx: &Context<'_>, details: &Details) -> BTreeMap<usize, Status> {
    let extender = Atom::new(EXTENDER_NAME);
    let dropped: BTreeSet<&Atom> = asked.iter().flat_map(AskedExtender::dropped).collect();
    let nodes = cx.snapshot.nodes().iter().enumerate().filter(|(_, node)| dropped.contains(node.name()));
    let verdict = |(at, _)| {
        let told = details.statuses.explicit(index(at)).cloned();
        let without_reason = || Status::with_reasons(Code::Unschedulable, []);
        (at, told.unwrap_or_else(without_reason).by(&extender))
    };
    nodes.map(verdict).collect()
}

fn index(at: usize) -> NodeIndex {
    NodeIndex(u32::try_from(at).expect("fewer than 2^32 nodes"))
}
