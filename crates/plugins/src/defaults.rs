//! What runs where no configuration says otherwise.

/// The plugins of the default profile in their order, each with its weight; 0 where none is given, which makes 1 of it for a
/// plugin that scores.
///
/// Source: `getDefaultPlugins` and `applyFeatureGates` in `pkg/scheduler/apis/config/v1/default_plugins.go`, Kubernetes 1.36
/// with its default feature gates.
pub const DEFAULT_MULTIPOINT: &[(&str, i64)] = &[
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
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
