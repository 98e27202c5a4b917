//! `pluginConfig`: the arguments of the in-tree plugins, typed, with kube-scheduler's defaults and rules.

mod affinity;
mod resources;
mod simple;
mod spread;

use serde_json::Value;

use crate::document::{Kind, Node};
use crate::object::{Object, wrong_type};
use crate::problem::{Path, ProblemKind, Problems, quoted};

pub use affinity::NodeAffinityArgs;
pub use resources::{
    NodeResourcesBalancedAllocationArgs, NodeResourcesFitArgs, ResourceSpec, ScoringStrategy,
    ScoringStrategyType, UtilizationShapePoint,
};
pub use simple::{DefaultPreemptionArgs, DynamicResourcesArgs, InterPodAffinityArgs, VolumeBindingArgs};
pub use spread::{DefaultingType, PodTopologySpreadArgs};

/// The arguments of one plugin in one profile, with defaults applied.
#[derive(Clone, Debug, PartialEq)]
pub enum PluginArgs {
    /// Of `DefaultPreemption`.
    DefaultPreemption(DefaultPreemptionArgs),
    /// Of `DynamicResources`.
    DynamicResources(DynamicResourcesArgs),
    /// Of `InterPodAffinity`.
    InterPodAffinity(InterPodAffinityArgs),
    /// Of `NodeAffinity`.
    NodeAffinity(NodeAffinityArgs),
    /// Of `NodeResourcesBalancedAllocation`.
    NodeResourcesBalancedAllocation(NodeResourcesBalancedAllocationArgs),
    /// Of `NodeResourcesFit`.
    NodeResourcesFit(NodeResourcesFitArgs),
    /// Of `PodTopologySpread`.
    PodTopologySpread(PodTopologySpreadArgs),
    /// Of `VolumeBinding`.
    VolumeBinding(VolumeBindingArgs),
    /// Of a plugin that is not kube-scheduler's own: as written, to be read by the plugin.
    Raw(Value),
}

/// In-tree plugins without arguments. kube-scheduler ignores arguments written for them; here they are an error.
const WITHOUT_ARGS: [&str; 16] = [
    "DefaultBinder",
    "DeferredPodScheduling",
    "GangScheduling",
    "ImageLocality",
    "NodeDeclaredFeatures",
    "NodeName",
    "NodePorts",
    "NodeUnschedulable",
    "NodeVolumeLimits",
    "PodGroupPodsCount",
    "PrioritySort",
    "SchedulingGates",
    "TaintToleration",
    "TopologyPlacementGenerator",
    "VolumeRestrictions",
    "VolumeZone",
];

impl PluginArgs {
    /// kube-scheduler's default arguments of an in-tree plugin; `None` for plugins without arguments.
    pub fn default_for(name: &str) -> Option<Self> {
        Some(match name {
            "DefaultPreemption" => Self::DefaultPreemption(DefaultPreemptionArgs::default()),
            "DynamicResources" => Self::DynamicResources(DynamicResourcesArgs::default()),
            "InterPodAffinity" => Self::InterPodAffinity(InterPodAffinityArgs::default()),
            "NodeAffinity" => Self::NodeAffinity(NodeAffinityArgs::default()),
            "NodeResourcesBalancedAllocation" => {
                Self::NodeResourcesBalancedAllocation(NodeResourcesBalancedAllocationArgs::default())
            }
            "NodeResourcesFit" => Self::NodeResourcesFit(NodeResourcesFitArgs::default()),
            "PodTopologySpread" => Self::PodTopologySpread(PodTopologySpreadArgs::default()),
            "VolumeBinding" => Self::VolumeBinding(VolumeBindingArgs::default()),
            _ => return None,
        })
    }

    /// The arguments as an object of `kubescheduler.config.k8s.io/v1`, without `apiVersion` and `kind`.
    pub fn to_value(&self) -> Value {
        match self {
            Self::DefaultPreemption(args) => args.to_value(),
            Self::DynamicResources(args) => args.to_value(),
            Self::InterPodAffinity(args) => args.to_value(),
            Self::NodeAffinity(args) => args.to_value(),
            Self::NodeResourcesBalancedAllocation(args) => args.to_value(),
            Self::NodeResourcesFit(args) => args.to_value(),
            Self::PodTopologySpread(args) => args.to_value(),
            Self::VolumeBinding(args) => args.to_value(),
            Self::Raw(value) => value.clone(),
        }
    }
}

/// Reads the arguments of a plugin and checks kube-scheduler's rules for them. `None` if there is nothing to keep.
pub(crate) fn read(name: &str, node: Option<&Node>, path: &Path, problems: &Problems) -> Option<PluginArgs> {
    if WITHOUT_ARGS.contains(&name) {
        if let Some(node) = node {
            refuse_args(name, node, path, problems);
        }
        return None;
    }
    let Some(default) = PluginArgs::default_for(name) else {
        return node.map(|node| PluginArgs::Raw(node.to_json()));
    };
    let Some(node) = node else { return Some(default) };
    let object = Object::open(node, path, problems)?;
    check_type(name, &object, path, problems);
    let args = match name {
        "DefaultPreemption" => {
            PluginArgs::DefaultPreemption(simple::read_default_preemption(&object, problems))
        }
        "DynamicResources" => PluginArgs::DynamicResources(simple::read_dynamic_resources(&object, problems)),
        "InterPodAffinity" => {
            PluginArgs::InterPodAffinity(simple::read_inter_pod_affinity(&object, problems))
        }
        "NodeAffinity" => PluginArgs::NodeAffinity(affinity::read(&object, problems)),
        "NodeResourcesBalancedAllocation" => PluginArgs::NodeResourcesBalancedAllocation(
            resources::read_balanced_allocation(&object, problems),
        ),
        "NodeResourcesFit" => PluginArgs::NodeResourcesFit(resources::read_fit(&object, problems)),
        "PodTopologySpread" => PluginArgs::PodTopologySpread(spread::read(&object, problems)),
        "VolumeBinding" => PluginArgs::VolumeBinding(simple::read_volume_binding(&object, problems)),
        // `default_for` knows the same names.
        _ => default,
    };
    object.close();
    Some(args)
}

fn refuse_args(name: &str, node: &Node, path: &Path, problems: &Problems) {
    match &node.kind {
        Kind::Map(fields) if fields.iter().all(|(key, _)| key == "apiVersion" || key == "kind") => {}
        Kind::Map(_) => {
            problems.report(ProblemKind::Decoding, path, format!("plugin {name} takes no args; remove them"));
        }
        _ => wrong_type(node, path, problems, "an object"),
    }
}

/// `apiVersion` and `kind` are optional, but if given they must be those of the plugin.
fn check_type(name: &str, object: &Object<'_>, path: &Path, problems: &Problems) {
    if let Some(kind) = object.string("kind")
        && kind != format!("{name}Args")
    {
        problems.report(
            ProblemKind::Decoding,
            &path.child("kind"),
            format!(
                "args for plugin {name} were not of type {name}Args.kubescheduler.config.k8s.io, got {kind}; correct or remove the kind"
            ),
        );
    }
    if let Some(version) = object.string("apiVersion")
        && version != crate::API_VERSION
    {
        problems.report(
            ProblemKind::Decoding,
            &path.child("apiVersion"),
            format!(
                "no kind \"{name}Args\" is registered for version {}; use {} or remove the apiVersion",
                quoted(&version),
                crate::API_VERSION
            ),
        );
    }
}
