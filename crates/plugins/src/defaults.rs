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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;
    use secondmate_framework::Handle;
    use std::collections::BTreeSet;

    #[test]
    fn every_default_plugin_is_registered_and_needs_no_arguments() {
        let registry = registry().expect("no name twice");
        let names: BTreeSet<&str> = DEFAULT_MULTIPOINT.iter().map(|(name, _)| *name).collect();
        assert_eq!(registry.names().collect::<BTreeSet<_>>(), names);
        for name in names {
            let plugin = registry.make(name, &serde_json::Value::Null, &Handle::default()).expect("made");
            assert_eq!(plugin.name(), name);
        }
    }

    #[test]
    fn only_plugins_that_score_have_a_weight() {
        let registry = registry().expect("no name twice");
        for (name, weight) in DEFAULT_MULTIPOINT {
            let plugin = registry.make(name, &serde_json::Value::Null, &Handle::default()).expect("made");
            // VolumeBinding scores behind a gate that is off, and upstream gives it no weight.
            let scores = plugin.as_score().is_some() && *name != "VolumeBinding";
            assert_eq!(*weight > 0, scores, "{name}");
        }
    }
}
