//! NodeResourcesFit: nodes must have room for the pod's requests, and are scored by how much is allocated.

mod facts;
mod hint;
mod rows;
mod strategy;
#[cfg(test)]
mod tests;

use crate::allocation::{
    Allocation, ResourceArgs, ScoredRequests, ScoredResource, Taken, requests_of, scored_resources,
};
use crate::arguments;
use crate::device_classes;
use secondmate_framework::{
    ActionType, Code, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter,
    Handle, Hint, NodeParts, Normalization, ObjectChange, Parity, Plugin, PluginError, PodParts, PreFilter,
    PreFilterOutcome, PreScore, Reason, RowFilter, RowScore, Score, Status,
};
use secondmate_model::objects::{ObjectKind, Objects};
use secondmate_model::resources::is_extended_resource_name;
use secondmate_model::{Allocatable, Atom, NodeInfo, Pod, Resources};
use serde::Deserialize;
use serde_json::Value;
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::sync::Arc;
use strategy::Strategy;

/// Name of the plugin.
pub const NAME: &str = "NodeResourcesFit";

const NO_STATE: &str = "error reading \"PreFilterNodeResourcesFit\" from cycleState: not found";

/// The plugin.
#[derive(Clone, Debug)]
pub struct NodeResourcesFit {
    /// Extended resources that the filter ignores.
    ignored: Ignored,
    resources: Box<[ScoredResource]>,
    strategy: Strategy,
    parity: Parity,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Args {
    ignored_resources: Option<BTreeSet<String>>,
    ignored_resource_groups: Option<BTreeSet<String>>,
    scoring_strategy: Option<StrategyArgs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StrategyArgs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    resources: Option<Vec<ResourceArgs>>,
    #[serde(default)]
    requested_to_capacity_ratio: Option<strategy::RatioArgs>,
}

/// Creates the plugin from `NodeResourcesFitArgs`.
///
/// # Errors
/// An unknown strategy, a strategy without the shape that it needs, or a weight out of range.
pub fn new(args: &Value, handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let args: Args = arguments::parse(NAME, args)?;
    let refused = |reason: String| arguments::refused(NAME, reason);
    let ignored = Ignored {
        resources: args.ignored_resources.unwrap_or_default(),
        groups: args.ignored_resource_groups.unwrap_or_default(),
    };
    if let Some(group) = ignored.groups.iter().find(|group| group.contains('/')) {
        return Err(refused(format!(
            "ignoredResourceGroups: {group:?} has a '/': name the part before it only"
        )));
    }
    let (strategy, resources) = match args.scoring_strategy {
        None => (Strategy::LeastAllocated, None),
        Some(given) => {
            let strategy = Strategy::new(&given.kind, given.requested_to_capacity_ratio);
            (strategy.map_err(|reason| refused(format!("scoringStrategy.{reason}")))?, given.resources)
        }
    };
    let resources = scored_resources(resources)
        .map_err(|reason| refused(format!("scoringStrategy.resources: {reason}")))?;
    Ok(Arc::new(NodeResourcesFit { ignored, resources, strategy, parity: handle.parity }))
}

/// Extended resources that the arguments exclude from the filter.
#[derive(Clone, Debug, Default)]
struct Ignored {
    resources: BTreeSet<String>,
    /// The parts of names before the `/`.
    groups: BTreeSet<String>,
}

impl Ignored {
    fn contains(&self, resource: &Atom) -> bool {
        if self.resources.is_empty() && self.groups.is_empty() {
            return false;
        }
        let name = resource.as_str();
        let group = name.split('/').next().unwrap_or(name);
        is_extended_resource_name(name) && (self.resources.contains(name) || self.groups.contains(group))
    }
}

/// What the pod needs room for, prepared for the filter.
#[derive(Clone, Debug)]
struct Needs {
    milli_cpu: i64,
    memory: i64,
    ephemeral_storage: i64,
    /// Scalar resources that the filter checks, sorted by name.
    scalars: SmallVec<[ScalarNeed; 2]>,
}

#[derive(Clone, Debug)]
struct ScalarNeed {
    name: Atom,
    amount: i64,
    /// A DeviceClass provides the resource: if the node itself has none, DynamicResources decides.
    has_device_class: bool,
}

/// Reasons to reject a node.
#[derive(Default)]
struct Shortage {
    reasons: SmallVec<[Reason; 1]>,
    /// The node is too small even when empty.
    unresolvable: bool,
}

impl Shortage {
    fn check(&mut self, need: i64, allocatable: i64, requested: i64, reason: impl FnOnce() -> Reason) {
        if need > 0 && need > allocatable.wrapping_sub(requested) {
            self.reasons.push(reason());
            self.unresolvable |= need > allocatable;
        }
    }
}

impl Needs {
    fn of(requests: &Resources, ignored: &Ignored, objects: Option<&Objects>) -> Self {
        let scalars = requests
            .scalars
            .iter()
            .filter(|(name, amount)| *amount != 0 && !ignored.contains(name))
            .map(|(name, amount)| ScalarNeed {
                name: name.clone(),
                amount: *amount,
                has_device_class: objects
                    .is_some_and(|objects| device_classes::providing(objects, name).is_some()),
            })
            .collect();
        Self {
            milli_cpu: requests.milli_cpu,
            memory: requests.memory,
            ephemeral_storage: requests.ephemeral_storage,
            scalars,
        }
    }

    fn has_too_many_pods(&self, allocatable: &Allocatable, pods: usize) -> bool {
        pods as i64 + 1 > allocatable.pods
    }

    /// The scalar resources that are judged here: if a node has none of a resource that a DeviceClass provides, DynamicResources judges it.
    fn scalars_judged<'a>(&'a self, has: &'a Resources) -> impl Iterator<Item = &'a ScalarNeed> {
        let elsewhere = |need: &ScalarNeed| need.has_device_class && has.scalar(&need.name).unwrap_or(0) <= 0;
        self.scalars.iter().filter(move |need| !elsewhere(need))
    }

    /// What is missing on a node with this many pods and these requests.
    fn shortage(&self, allocatable: &Allocatable, requested: &Resources, pods: usize) -> Shortage {
        let mut shortage = Shortage::default();
        if self.has_too_many_pods(allocatable, pods) {
            // Never unresolvable by itself, even if the node takes no pods at all.
            shortage.reasons.push(Reason::Borrowed("Too many pods"));
        }
        let has = &allocatable.resources;
        shortage.check(self.milli_cpu, has.milli_cpu, requested.milli_cpu, || {
            Reason::Borrowed("Insufficient cpu")
        });
        shortage.check(self.memory, has.memory, requested.memory, || Reason::Borrowed("Insufficient memory"));
        shortage.check(self.ephemeral_storage, has.ephemeral_storage, requested.ephemeral_storage, || {
            Reason::Borrowed("Insufficient ephemeral-storage")
        });
        for need in self.scalars_judged(has) {
            let allocatable = has.scalar(&need.name).unwrap_or(0);
            let requested = requested.scalar(&need.name).unwrap_or(0);
            shortage
                .check(need.amount, allocatable, requested, || format!("Insufficient {}", need.name).into());
        }
        shortage
    }
}

/// The pod's requests of the scored resources.
#[derive(Clone)]
struct Scored(ScoredRequests);

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::REQUESTS, NodeParts::ALLOCATABLE | NodeParts::REQUESTED)
            .with_objects(&[ObjectKind::DeviceClass])
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }

    fn as_pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScore>> {
        Some(self)
    }

    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        let freed = ActionType::DELETE | ActionType::UPDATE_POD_SCALE_DOWN;
        vec![
            EventRegistration::new(EventResource::AssignedPod, freed),
            EventRegistration::new(EventResource::TargetPod, ActionType::UPDATE_POD_SCALE_DOWN),
            EventRegistration::new(
                EventResource::Node,
                ActionType::ADD | ActionType::UPDATE_NODE_ALLOCATABLE,
            ),
            EventRegistration::new(EventResource::DeviceClass, ActionType::ADD | ActionType::UPDATE),
        ]
    }

    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        if self.is_worth_another_attempt(pod, change) { Hint::Queue } else { Hint::Skip }
    }

    fn facts(
        &self,
        _cx: &Context<'_>,
        state: &CycleState,
        _pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        match (state.read::<Needs>(), node) {
            (Some(needs), Some(node)) => needs.facts(node),
            _ => Vec::new(),
        }
    }
}

impl PreFilter for NodeResourcesFit {
    fn pre_filter(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        state.write(Needs::of(&pod.requests.filter, &self.ignored, Some(cx.snapshot.objects())));
        Status::SUCCESS.into()
    }
}

impl Filter for NodeResourcesFit {
    fn filter(&self, _cx: &Context<'_>, state: &CycleState, _pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let Some(needs) = state.read::<Needs>() else { return Status::error(NO_STATE) };
        let shortage = needs.shortage(&node.node().allocatable, node.requested(), node.pods().len());
        if shortage.reasons.is_empty() {
            return Status::SUCCESS;
        }
        let code =
            if shortage.unresolvable { Code::UnschedulableAndUnresolvable } else { Code::Unschedulable };
        Status::with_reasons(code, shortage.reasons)
    }

    fn by_row<'a>(&'a self, state: &'a CycleState, _pod: &'a Arc<Pod>) -> Option<Box<dyn RowFilter + 'a>> {
        rows::filter(state.read::<Needs>()?)
    }
}

impl PreScore for NodeResourcesFit {
    fn pre_score(
        &self,
        _cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        _feasible: &[Arc<NodeInfo>],
    ) -> Status {
        state.write(Scored(requests_of(&self.resources, &pod.requests.scoring)));
        Status::SUCCESS
    }
}

impl Score for NodeResourcesFit {
    fn score(
        &self,
        _cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status> {
        let score = |requests: &ScoredRequests| {
            let allocations = self.resources.iter().zip(requests).filter_map(|(resource, request)| {
                let allocation = Allocation::of(&resource.key, *request, node, Taken::NonZeroRequested)?;
                Some((allocation, resource.weight))
            });
            self.strategy.score(allocations)
        };
        Ok(match state.read::<Scored>() {
            Some(Scored(requests)) => score(requests),
            // If PreScore did not run for this plugin.
            None => score(&requests_of(&self.resources, &pod.requests.scoring)),
        })
    }

    fn normalization(&self) -> Normalization {
        Normalization::Identity
    }

    fn by_row<'a>(&'a self, state: &'a CycleState, _pod: &'a Arc<Pod>) -> Option<Box<dyn RowScore + 'a>> {
        rows::score(&self.resources, &self.strategy, &state.read::<Scored>()?.0)
    }
}
