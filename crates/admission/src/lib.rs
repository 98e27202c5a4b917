//! What an API server adds to objects before it stores them: defaults, and the admission plugins that change what a
//! scheduler sees.
//!
//! Manifests as people write them leave much out (a limit stands for its request, a class for a priority), while schedulers
//! read stored objects, where nothing is left out. These are pure functions over JSON, so that the in-memory API server
//! and everything that evaluates manifests without one fill in the same fields. They read the cluster through
//! [`Cluster`]; [`Gathered`] implements it for a list of objects.
//!
//! Applying a function to a stored object again changes nothing.
//!
//! Left out, since no scheduler reads them: defaults of probes and volumes, service account tokens, image pull secrets.

mod limits;
mod object;
mod pod;
mod priority;
mod quantity;
mod runtime_class;
mod status;
mod template;

pub use object::default_object;
pub use pod::{admit_pod, all_containers, default_tolerations};
pub use quantity::Quantity;
pub use status::first_status;
pub use template::{default_workload, pod_template};

use serde_json::Value;

/// Why an admission plugin rejects an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pods \"{pod}\" is forbidden: {why}")]
pub struct Refusal {
    /// The pod's name, or the prefix from which its name is generated.
    pub pod: String,
    /// The plugin's message.
    pub why: String,
}

/// What admission reads from the cluster.
pub trait Cluster {
    /// The PriorityClass with this name.
    fn priority_class(&self, name: &str) -> Option<Value>;

    /// The PriorityClass of pods that name none.
    fn default_priority_class(&self) -> Option<Value>;

    /// The LimitRanges of a namespace, by name.
    fn limit_ranges(&self, namespace: &str) -> Vec<Value>;

    /// The RuntimeClass with this name.
    fn runtime_class(&self, name: &str) -> Option<Value>;
}

/// The values of the PriorityClasses that every cluster has.
pub const SYSTEM_PRIORITY_CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// A cluster that is a list of objects, as read from a file.
///
/// The PriorityClasses of [`SYSTEM_PRIORITY_CLASSES`] exist whether the file has them or not.
#[derive(Debug, Default)]
pub struct Gathered<'a> {
    priority_classes: Vec<&'a Value>,
    limit_ranges: Vec<&'a Value>,
    runtime_classes: Vec<&'a Value>,
}

impl<'a> Gathered<'a> {
    /// Picks out what admission reads; all other kinds are ignored.
    pub fn of(objects: impl IntoIterator<Item = &'a Value>) -> Gathered<'a> {
        let mut gathered = Gathered::default();
        for object in objects {
            match object["kind"].as_str() {
                Some("PriorityClass") => gathered.priority_classes.push(object),
                Some("LimitRange") => gathered.limit_ranges.push(object),
                Some("RuntimeClass") => gathered.runtime_classes.push(object),
                _ => {}
            }
        }
        gathered.limit_ranges.sort_by_key(|range| range["metadata"]["name"].as_str().unwrap_or_default());
        gathered
    }
}

fn named(objects: &[&Value], name: &str) -> Option<Value> {
    objects.iter().find(|object| object["metadata"]["name"] == name).map(|object| (*object).clone())
}

impl Cluster for Gathered<'_> {
    fn priority_class(&self, name: &str) -> Option<Value> {
        let system = || {
            let (name, value) = SYSTEM_PRIORITY_CLASSES.into_iter().find(|(system, _)| *system == name)?;
            Some(serde_json::json!({ "metadata": { "name": name }, "value": value }))
        };
        named(&self.priority_classes, name).or_else(system)
    }

    fn default_priority_class(&self) -> Option<Value> {
        priority::default_of(self.priority_classes.iter().copied()).cloned()
    }

    fn limit_ranges(&self, namespace: &str) -> Vec<Value> {
        let namespace_of =
            |range: &Value| range["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        self.limit_ranges
            .iter()
            .filter(|range| namespace_of(range) == namespace)
            .map(|range| (*range).clone())
            .collect()
    }

    fn runtime_class(&self, name: &str) -> Option<Value> {
        named(&self.runtime_classes, name)
    }
}

pub use priority::default_of as default_priority_class;
