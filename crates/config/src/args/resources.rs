//! Arguments of the two plugins that score resources.

use serde_json::{Map, Value, json};

use crate::names;
use crate::object::Object;
use crate::problem::{Path, Problems, quoted};

/// A resource and its share in a score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceSpec {
    /// Name of the resource: `cpu`, `memory`, `example.com/gpu`.
    pub name: String,
    /// 1 to 100.
    pub weight: i64,
}

/// A point of the function from utilisation to score, which is linear between points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtilizationShapePoint {
    /// Percent, 0 to 100.
    pub utilization: i32,
    /// 0 to 10.
    pub score: i32,
}

/// How `NodeResourcesFit` scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScoringStrategyType {
    /// Emptier nodes score higher. The default.
    LeastAllocated,
    /// Fuller nodes score higher.
    MostAllocated,
    /// The score is a function of the utilisation.
    RequestedToCapacityRatio {
        /// The function; at least one point, in increasing utilisation.
        shape: Vec<UtilizationShapePoint>,
    },
}

/// What `NodeResourcesFit` scores, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoringStrategy {
    /// The strategy.
    pub strategy: ScoringStrategyType,
    /// The resources. Default: cpu and memory, weight 1 each.
    pub resources: Vec<ResourceSpec>,
}

/// Arguments of `NodeResourcesFit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeResourcesFitArgs {
    /// Extended resources that Filter ignores.
    pub ignored_resources: Vec<String>,
    /// Domains of extended resources that Filter ignores.
    pub ignored_resource_groups: Vec<String>,
    /// How nodes are scored.
    pub scoring_strategy: ScoringStrategy,
}

impl Default for NodeResourcesFitArgs {
    fn default() -> Self {
        Self {
            ignored_resources: Vec::new(),
            ignored_resource_groups: Vec::new(),
            scoring_strategy: ScoringStrategy {
                strategy: ScoringStrategyType::LeastAllocated,
                resources: default_resources(),
            },
        }
    }
}

fn default_resources() -> Vec<ResourceSpec> {
    ["cpu", "memory"].map(|name| ResourceSpec { name: name.to_owned(), weight: 1 }).to_vec()
}

pub(super) fn read_fit(object: &Object<'_>, problems: &Problems) -> NodeResourcesFitArgs {
    let mut args = NodeResourcesFitArgs {
        ignored_resources: object.strings("ignoredResources").unwrap_or_default(),
        ignored_resource_groups: object.strings("ignoredResourceGroups").unwrap_or_default(),
        ..NodeResourcesFitArgs::default()
    };
    args.validate_ignored(&object.path, problems);
    if let Some(strategy) = object.object("scoringStrategy") {
        args.scoring_strategy = read_strategy(&strategy, problems);
        strategy.close();
    }
    args
}

fn read_strategy(object: &Object<'_>, problems: &Problems) -> ScoringStrategy {
    let path = &object.path;
    let resources = read_resources(object, problems);
    for (index, resource) in resources.iter().enumerate() {
        if !(1..=100).contains(&resource.weight) {
            problems.invalid(
                &path.child("resources").index(index).child("weight"),
                resource.weight,
                format!("resource weight of {} not in valid range (0, 100]", resource.name),
            );
        }
    }
    let ratio_path = path.child("requestedToCapacityRatio");
    let shape = object.object("requestedToCapacityRatio").map(|ratio| {
        let shape = read_shape(&ratio, problems);
        ratio.close();
        shape
    });
    let name = object.text("type");
    let strategy = match (name.as_str(), shape) {
        ("RequestedToCapacityRatio", None) => {
            problems.required(&ratio_path, "must be specified when type is RequestedToCapacityRatio");
            ScoringStrategyType::LeastAllocated
        }
        ("RequestedToCapacityRatio", Some(shape)) => {
            validate_shape(&shape, &ratio_path.child("shape"), problems);
            ScoringStrategyType::RequestedToCapacityRatio { shape }
        }
        (other, shape) => {
            if shape.is_some() {
                problems.forbidden(&ratio_path, "must be nil when type is not RequestedToCapacityRatio");
            }
            match other {
                "LeastAllocated" => ScoringStrategyType::LeastAllocated,
                "MostAllocated" => ScoringStrategyType::MostAllocated,
                // This includes "": if a strategy is given, it must name its type.
                _ => {
                    let supported = ["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];
                    problems.not_supported(&path.child("type"), other, &supported);
                    ScoringStrategyType::LeastAllocated
                }
            }
        }
    };
    ScoringStrategy { strategy, resources }
}

/// The points of the field `shape`.
pub(super) fn read_shape(object: &Object<'_>, problems: &Problems) -> Vec<UtilizationShapePoint> {
    object
        .list("shape", |node, path| {
            let object = Object::open(node, path, problems)?;
            let point = UtilizationShapePoint {
                utilization: object.int32("utilization").unwrap_or(0),
                score: object.int32("score").unwrap_or(0),
            };
            object.close();
            Some(point)
        })
        .unwrap_or_default()
}

/// The resources of an object. A weight of 0 means 1, and no resources means the default ones.
fn read_resources(object: &Object<'_>, problems: &Problems) -> Vec<ResourceSpec> {
    let resources = object
        .list("resources", |node, path| {
            let object = Object::open(node, path, problems)?;
            let weight = object.int64("weight").filter(|weight| *weight != 0).unwrap_or(1);
            let resource = ResourceSpec { name: object.text("name"), weight };
            object.close();
            Some(resource)
        })
        .unwrap_or_default();
    if resources.is_empty() { default_resources() } else { resources }
}

fn resources_value(resources: &[ResourceSpec]) -> Value {
    resources.iter().map(|resource| json!({ "name": resource.name, "weight": resource.weight })).collect()
}

impl NodeResourcesFitArgs {
    pub(super) fn to_value(&self) -> Value {
        let mut value = Map::new();
        if !self.ignored_resources.is_empty() {
            value.insert("ignoredResources".to_owned(), json!(self.ignored_resources));
        }
        if !self.ignored_resource_groups.is_empty() {
            value.insert("ignoredResourceGroups".to_owned(), json!(self.ignored_resource_groups));
        }
        let resources = resources_value(&self.scoring_strategy.resources);
        let strategy = match &self.scoring_strategy.strategy {
            ScoringStrategyType::LeastAllocated => {
                json!({ "type": "LeastAllocated", "resources": resources })
            }
            ScoringStrategyType::MostAllocated => json!({ "type": "MostAllocated", "resources": resources }),
            ScoringStrategyType::RequestedToCapacityRatio { shape } => {
                json!({
                    "type": "RequestedToCapacityRatio",
                    "resources": resources,
                    "requestedToCapacityRatio": { "shape": shape_value(shape) },
                })
            }
        };
        value.insert("scoringStrategy".to_owned(), strategy);
        Value::Object(value)
    }

    fn validate_ignored(&self, path: &Path, problems: &Problems) {
        let label_key = |path: &Path, value: &str| {
            for message in names::is_label_key(value) {
                problems.invalid(path, quoted(value), message);
            }
        };
        for (index, resource) in self.ignored_resources.iter().enumerate() {
            label_key(&path.child("ignoredResources").index(index), resource);
        }
        for (index, group) in self.ignored_resource_groups.iter().enumerate() {
            let path = path.child("ignoredResourceGroups").index(index);
            if group.contains('/') {
                problems.invalid(&path, quoted(group), "resource group name can't contain '/'");
            }
            label_key(&path, group);
        }
    }
}

pub(super) fn shape_value(shape: &[UtilizationShapePoint]) -> Value {
    shape.iter().map(|point| json!({ "utilization": point.utilization, "score": point.score })).collect()
}

pub(super) fn validate_shape(shape: &[UtilizationShapePoint], path: &Path, problems: &Problems) {
    if shape.is_empty() {
        problems.required(path, "at least one point must be specified");
        return;
    }
    let unsorted = shape.windows(2).position(|pair| pair[0].utilization >= pair[1].utilization);
    if let Some(index) = unsorted.map(|index| index + 1) {
        problems.invalid(
            &path.index(index).child("utilization"),
            shape[index].utilization,
            "values must be sorted in increasing order",
        );
    }
    for (index, point) in shape.iter().enumerate() {
        let path = path.index(index);
        if !(0..=100).contains(&point.utilization) {
            problems.invalid(&path.child("utilization"), point.utilization, "not in valid range [0, 100]");
        }
        if !(0..=10).contains(&point.score) {
            problems.invalid(&path.child("score"), point.score, "not in valid range [0, 10]");
        }
    }
}

/// Arguments of `NodeResourcesBalancedAllocation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeResourcesBalancedAllocationArgs {
    /// The resources to balance; every weight is 1. Default: cpu and memory.
    pub resources: Vec<ResourceSpec>,
}

impl Default for NodeResourcesBalancedAllocationArgs {
    fn default() -> Self {
        Self { resources: default_resources() }
    }
}

pub(super) fn read_balanced_allocation(
    object: &Object<'_>,
    problems: &Problems,
) -> NodeResourcesBalancedAllocationArgs {
    let resources = read_resources(object, problems);
    for (index, resource) in resources.iter().enumerate() {
        let path = object.path.child("resources").index(index);
        if resources[..index].iter().any(|earlier| earlier.name == resource.name) {
            problems.duplicate(&path.child("name"), quoted(&resource.name));
        }
        if resource.weight != 1 {
            problems.invalid(&path.child("weight"), resource.weight, "must be 1");
        }
    }
    NodeResourcesBalancedAllocationArgs { resources }
}

impl NodeResourcesBalancedAllocationArgs {
    pub(super) fn to_value(&self) -> Value {
        json!({ "resources": resources_value(&self.resources) })
    }
}
