//! Which plugins exist and at which extension points they run.

use crate::object::closest;
use crate::outline::GivenArguments;
use crate::problem::Path;
use secondmate_framework::ExtensionPoint;
use secondmate_framework::ExtensionPoint::{
    Bind, Filter, Permit, PostFilter, PreBind, PreEnqueue, PreFilter, PreScore, QueueSort, Reserve, Score,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The plugins of kube-scheduler 1.37 with the extension points that each implements.
const IN_TREE: [(&str, &[ExtensionPoint]); 24] = [
    ("DefaultBinder", &[Bind]),
    ("DefaultPreemption", &[PreEnqueue, PostFilter]),
    ("DeferredPodScheduling", &[PreFilter, Filter, Permit]),
    ("DynamicResources", &[PreEnqueue, PreFilter, Filter, PostFilter, Score, Reserve, PreBind]),
    ("GangScheduling", &[PreEnqueue, Permit]),
    ("ImageLocality", &[Score]),
    ("InterPodAffinity", &[PreFilter, Filter, PreScore, Score]),
    ("NodeAffinity", &[PreFilter, Filter, PreScore, Score]),
    ("NodeDeclaredFeatures", &[PreFilter, Filter]),
    ("NodeName", &[PreFilter, Filter]),
    ("NodePorts", &[PreFilter, Filter]),
    ("NodeResourcesBalancedAllocation", &[PreScore, Score]),
    ("NodeResourcesFit", &[PreFilter, Filter, PreScore, Score]),
    ("NodeUnschedulable", &[PreFilter, Filter]),
    ("NodeVolumeLimits", &[PreFilter, Filter]),
    // Works at PlacementScore only, which is not one of our points.
    ("PodGroupPodsCount", &[]),
    ("PodTopologySpread", &[PreFilter, Filter, PreScore, Score]),
    ("PrioritySort", &[QueueSort]),
    ("SchedulingGates", &[PreEnqueue]),
    ("TaintToleration", &[PreFilter, Filter, PreScore, Score]),
    // Works at PlacementGenerate only.
    ("TopologyPlacementGenerator", &[]),
    ("VolumeBinding", &[PreFilter, Filter, Reserve, PreBind, PreScore, Score]),
    ("VolumeRestrictions", &[PreFilter, Filter]),
    ("VolumeZone", &[PreFilter, Filter]),
];

/// The plugins that kube-scheduler 1.37 enables at `multiPoint` by default, with their weights (0: not given).
///
/// Source: `getDefaultPlugins` and `applyFeatureGates` in `pkg/scheduler/apis/config/v1/default_plugins.go`, with the default
/// feature gates.
pub(crate) const DEFAULT_MULTI_POINT: [(&str, i32); 20] = [
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeName", 0),
    ("NodeUnschedulable", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DynamicResources", 2),
    ("DefaultPreemption", 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
    ("NodeDeclaredFeatures", 0),
];

/// In-tree plugins of kube-scheduler that belong to feature gates which are off by default in 1.37, and that secondmate
/// does not have.
pub(crate) const GATED: [(&str, &str); 4] = [
    ("DeferredPodScheduling", "InPlacePodVerticalScalingSchedulerPreemption"),
    ("GangScheduling", "GenericWorkload"),
    ("PodGroupPodsCount", "TopologyAwareWorkloadScheduling"),
    ("TopologyPlacementGenerator", "TopologyAwareWorkloadScheduling"),
];

/// In-tree plugins that earlier versions of kube-scheduler had.
pub(crate) const REMOVED: [&str; 4] = ["AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"];

/// Plugins that kube-scheduler once had, each with the one that does its work today.
const SUCCESSORS: [(&str, &str); 12] = [
    ("AzureDiskLimits", "NodeVolumeLimits"),
    ("CinderLimits", "NodeVolumeLimits"),
    ("DefaultPodTopologySpread", "PodTopologySpread"),
    ("EBSLimits", "NodeVolumeLimits"),
    ("GCEPDLimits", "NodeVolumeLimits"),
    ("NodeLabel", "NodeAffinity"),
    ("NodePreferAvoidPods", "TaintToleration"),
    ("NodeResourcesLeastAllocated", "NodeResourcesFit"),
    ("NodeResourcesMostAllocated", "NodeResourcesFit"),
    ("RequestedToCapacityRatio", "NodeResourcesFit"),
    ("SelectorSpread", "PodTopologySpread"),
    ("ServiceAffinity", "InterPodAffinity"),
];

/// The plugins that a configuration may name, with the extension points that each implements.
///
/// `multiPoint` enables a plugin at all of its points, so the lists of a profile cannot be known without this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginCatalogue {
    plugins: BTreeMap<String, Vec<ExtensionPoint>>,
    /// Plugins that are made from their arguments, with the extension points of the result, by the path of the arguments.
    described: BTreeMap<String, (String, Vec<ExtensionPoint>)>,
    /// What is wrong with arguments, by their path.
    refusals: BTreeMap<String, Vec<Refusal>>,
    /// The plugins that have such arguments.
    refused: BTreeSet<String>,
}

/// Why a plugin cannot be made from its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The field that is at fault; `None` if it is not a single one.
    pub field: Option<String>,
    pub reason: String,
}

/// A plugin was registered under a name that is in use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a plugin named {name:?} already exists; give the new plugin another name")]
pub struct PluginNameTaken {
    /// The name.
    pub name: String,
}

impl PluginCatalogue {
    /// The plugins of kube-scheduler 1.37.
    pub fn in_tree() -> Self {
        Self {
            plugins: IN_TREE.iter().map(|(name, points)| ((*name).to_owned(), points.to_vec())).collect(),
            described: BTreeMap::new(),
            refusals: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Adds a user's plugin.
    ///
    /// # Errors
    /// [`PluginNameTaken`] if the name is in use.
    pub fn register(
        &mut self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = ExtensionPoint>,
    ) -> Result<(), PluginNameTaken> {
        let name = name.into();
        if self.plugins.contains_key(&name) {
            return Err(PluginNameTaken { name });
        }
        self.plugins.insert(name, points.into_iter().collect());
        Ok(())
    }

    /// Adds a user's plugin that is made from its arguments, with the extension points of the result. Several profiles may describe the
    /// same plugin, each in its own way.
    pub fn describe(&mut self, given: &GivenArguments, points: impl IntoIterator<Item = ExtensionPoint>) {
        let here: BTreeSet<ExtensionPoint> = points.into_iter().collect();
        let everywhere = self.plugins.entry(given.plugin.clone()).or_default();
        everywhere.extend(&here);
        everywhere.sort_unstable();
        everywhere.dedup();
        self.described.insert(given.path.clone(), (given.plugin.clone(), here.into_iter().collect()));
    }

    /// The plugins as the profile at this path has them: a plugin that it describes acts only at the extension points of this description.
    pub(crate) fn of_profile(&self, profile: &Path) -> Cow<'_, Self> {
        let entries = format!("{}[", profile.child("pluginConfig").as_str());
        let here = self.described.iter().filter(|(args, _)| args.starts_with(&entries));
        let mut catalogue = Cow::Borrowed(self);
        for (_, (name, points)) in here {
            catalogue.to_mut().plugins.insert(name.clone(), points.clone());
        }
        catalogue
    }

    /// Records that a user's plugin cannot be made from its arguments, and which field of them is at fault. It is reported with all other
    /// mistakes in the configuration, unless no profile asks for the plugin.
    pub fn refuse(&mut self, given: &GivenArguments, field: Option<&str>, reason: impl Into<String>) {
        let refusal = Refusal { field: field.map(str::to_owned), reason: reason.into() };
        self.refusals.entry(given.path.clone()).or_default().push(refusal);
        self.refused.insert(given.plugin.clone());
    }

    /// What is wrong with the arguments at this path.
    pub(crate) fn refusals(&self, args: &Path) -> &[Refusal] {
        self.refusals.get(args.as_str()).map_or(&[], Vec::as_slice)
    }

    /// Whether the plugin exists but cannot be made, so that its extension points are unknown.
    pub(crate) fn is_refused(&self, name: &str) -> bool {
        !self.plugins.contains_key(name) && self.refused.contains(name)
    }

    /// The extension points of a plugin; `None` if it does not exist.
    pub fn points(&self, name: &str) -> Option<&[ExtensionPoint]> {
        self.plugins.get(name).map(Vec::as_slice)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.keys().map(String::as_str)
    }

    /// The existing plugin that a name most likely means: the successor of a removed plugin, a name that is spelled almost the same, or one that
    /// contains it.
    pub(crate) fn nearest(&self, name: &str) -> Option<&str> {
        let successor = SUCCESSORS.iter().find(|(removed, _)| *removed == name).map(|(_, now)| *now);
        if let Some(now) = successor.filter(|now| self.plugins.contains_key(*now)) {
            return Some(now);
        }
        let names: Vec<&str> = self.names().collect();
        let given = name.to_lowercase();
        let holds = |known: &&str| {
            let known = known.to_lowercase();
            given.len() >= 4 && known.contains(&given) || given.contains(&known)
        };
        closest(name, &names).or_else(|| names.into_iter().find(holds))
    }

    pub(crate) fn implements(&self, name: &str, point: ExtensionPoint) -> bool {
        self.points(name).is_some_and(|points| points.contains(&point))
    }
}

impl Default for PluginCatalogue {
    fn default() -> Self {
        Self::in_tree()
    }
}
