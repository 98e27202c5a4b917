//! Arguments that consist of a few numbers.

use std::time::Duration;

use serde_json::{Value, json};

use super::resources::{UtilizationShapePoint, read_shape, shape_value, validate_shape};
use crate::object::{Object, to_duration};
use crate::problem::{Path, Problems, quoted};
use secondmate_model::duration;

/// Arguments of `DefaultPreemption`: the number of nodes in a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultPreemptionArgs {
    /// Share of the nodes, in percent. Default 10.
    pub min_candidate_nodes_percentage: i32,
    /// At least this many nodes. Default 100.
    pub min_candidate_nodes_absolute: i32,
}

impl Default for DefaultPreemptionArgs {
    fn default() -> Self {
        Self { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

pub(super) fn read_default_preemption(object: &Object<'_>, problems: &Problems) -> DefaultPreemptionArgs {
    let default = DefaultPreemptionArgs::default();
    let args = DefaultPreemptionArgs {
        min_candidate_nodes_percentage: object
            .int32("minCandidateNodesPercentage")
            .unwrap_or(default.min_candidate_nodes_percentage),
        min_candidate_nodes_absolute: object
            .int32("minCandidateNodesAbsolute")
            .unwrap_or(default.min_candidate_nodes_absolute),
    };
    args.validate(&object.path, problems);
    args
}

impl DefaultPreemptionArgs {
    pub(super) fn to_value(&self) -> Value {
        json!({
            "minCandidateNodesPercentage": self.min_candidate_nodes_percentage,
            "minCandidateNodesAbsolute": self.min_candidate_nodes_absolute,
        })
    }

    fn validate(&self, path: &Path, problems: &Problems) {
        let (percentage, absolute) = (self.min_candidate_nodes_percentage, self.min_candidate_nodes_absolute);
        let percentage_path = path.child("minCandidateNodesPercentage");
        let absolute_path = path.child("minCandidateNodesAbsolute");
        if !(0..=100).contains(&percentage) {
            problems.invalid(&percentage_path, percentage, "not in valid range [0, 100]");
        }
        if absolute < 0 {
            problems.invalid(&absolute_path, absolute, "not in valid range [0, inf)");
        }
        if percentage == 0 && absolute == 0 {
            problems.invalid(
                &percentage_path,
                percentage,
                "cannot be zero at the same time as minCandidateNodesAbsolute",
            );
            problems.invalid(
                &absolute_path,
                absolute,
                "cannot be zero at the same time as minCandidateNodesPercentage",
            );
        }
    }
}

/// Arguments of `InterPodAffinity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterPodAffinityArgs {
    /// Score weight of existing pods' required affinity to the incoming pod. Default 1.
    pub hard_pod_affinity_weight: i32,
    /// Whether existing pods' preferred terms count only if the incoming pod has terms of its own. Default false.
    pub ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodAffinityArgs {
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

pub(super) fn read_inter_pod_affinity(object: &Object<'_>, problems: &Problems) -> InterPodAffinityArgs {
    let args = InterPodAffinityArgs {
        hard_pod_affinity_weight: object.int32("hardPodAffinityWeight").unwrap_or(1),
        ignore_preferred_terms_of_existing_pods: object
            .boolean("ignorePreferredTermsOfExistingPods")
            .unwrap_or(false),
    };
    if !(0..=100).contains(&args.hard_pod_affinity_weight) {
        problems.invalid(
            &object.path.child("hardPodAffinityWeight"),
            args.hard_pod_affinity_weight,
            "not in valid range [0, 100]",
        );
    }
    args
}

impl InterPodAffinityArgs {
    pub(super) fn to_value(&self) -> Value {
        json!({
            "hardPodAffinityWeight": self.hard_pod_affinity_weight,
            "ignorePreferredTermsOfExistingPods": self.ignore_preferred_terms_of_existing_pods,
        })
    }
}

/// Arguments of `VolumeBinding`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeBindingArgs {
    /// Maximum time to wait for volumes to be bound, in seconds; 0: no waiting. Default 600.
    pub bind_timeout_seconds: i64,
    /// Score of a node by the share of its storage capacity that the pod's volumes take. Default: less is better.
    pub shape: Vec<UtilizationShapePoint>,
}

impl Default for VolumeBindingArgs {
    fn default() -> Self {
        let shape = [(0, 10), (100, 0)];
        let shape = shape.map(|(utilization, score)| UtilizationShapePoint { utilization, score });
        Self { bind_timeout_seconds: 600, shape: shape.to_vec() }
    }
}

pub(super) fn read_volume_binding(object: &Object<'_>, problems: &Problems) -> VolumeBindingArgs {
    let bind_timeout_seconds = object.int64("bindTimeoutSeconds").unwrap_or(600);
    if bind_timeout_seconds < 0 {
        problems.invalid(
            &object.path.child("bindTimeoutSeconds"),
            bind_timeout_seconds,
            "invalid BindTimeoutSeconds, should not be a negative value",
        );
    }
    let mut shape = read_shape(object, problems);
    if shape.is_empty() {
        shape = VolumeBindingArgs::default().shape;
    }
    validate_shape(&shape, &object.path.child("shape"), problems);
    VolumeBindingArgs { bind_timeout_seconds, shape }
}

impl VolumeBindingArgs {
    pub(super) fn to_value(&self) -> Value {
        json!({ "bindTimeoutSeconds": self.bind_timeout_seconds, "shape": shape_value(&self.shape) })
    }
}

/// Arguments of `DynamicResources`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicResourcesArgs {
    /// Maximum time for one node in Filter; zero: no limit. Default 10 s.
    pub filter_timeout: Duration,
    /// Maximum time to wait for device binding conditions. Default 10 min.
    pub binding_timeout: Duration,
}

impl Default for DynamicResourcesArgs {
    fn default() -> Self {
        Self { filter_timeout: Duration::from_secs(10), binding_timeout: Duration::from_secs(600) }
    }
}

pub(super) fn read_dynamic_resources(object: &Object<'_>, problems: &Problems) -> DynamicResourcesArgs {
    let mut args = DynamicResourcesArgs::default();
    if let Some(timeout) = object.duration("filterTimeout") {
        if timeout < 0 {
            let path = object.path.child("filterTimeout");
            problems.invalid(&path, quoted(duration::format_signed(timeout)), "must be zero or positive");
        }
        args.filter_timeout = to_duration(timeout);
    }
    if let Some(timeout) = object.duration("bindingTimeout") {
        if timeout < 1_000_000_000 {
            let path = object.path.child("bindingTimeout");
            problems.invalid(&path, quoted(duration::format_signed(timeout)), "must be at least 1 second");
        }
        args.binding_timeout = to_duration(timeout);
    }
    args
}

impl DynamicResourcesArgs {
    pub(super) fn to_value(&self) -> Value {
        json!({
            "filterTimeout": duration::format(self.filter_timeout),
            "bindingTimeout": duration::format(self.binding_timeout),
        })
    }
}
