//! Tenants: who may use each scheduler name, and for what.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use crate::document::Node;
use crate::names;
use crate::object::Object;
use crate::own::{self, Victims};
use crate::problem::{Path, Problems, quoted};
use secondmate_model::{LabelSelector, wire};

/// The maximum weight.
const WEIGHT_MAX: i64 = 1000;

/// The tenant of a scheduler name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// The scheduler name of its pods.
    pub scheduler_name: String,
    /// Namespaces that may use the name; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Namespaces>,
    /// Selector of the nodes that its pods may use, a `metav1.LabelSelector`; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Nodes>,
    /// Whose pods may be evicted for its pods; `None`: as `preemption.victims` says, and if that is not set, only its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evicts: Option<Victims>,
    /// Its share of the scheduling attempts while pods of several tenants are pending, from 1 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// Namespaces by name or by label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespaces {
    /// Their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// A `metav1.LabelSelector` that matches the labels of further namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Value>,
}

/// Nodes by label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Nodes {
    /// A `metav1.LabelSelector`.
    pub selector: Value,
}

pub(crate) fn read(node: &Node, path: &Path, problems: &Problems) -> Option<Tenant> {
    let object = Object::open(node, path, problems)?;
    let scheduler_name = object.text("schedulerName");
    let name_path = path.child("schedulerName");
    if scheduler_name.is_empty() {
        problems.required(&name_path, "the name by which the tenant's pods ask to be scheduled");
    }
    let namespaces = object.object("namespaces").map(|object| namespaces(object, problems));
    let nodes = object.object("nodes").map(|object| {
        let selector = selector(&object, problems);
        if selector.is_none() {
            problems
                .required(&object.path.child("selector"), "leave `nodes` out where all nodes may be used");
        }
        object.close();
        Nodes { selector: selector.unwrap_or_default() }
    });
    let evicts = own::victims(&object, "evicts", problems);
    let weight = object.int64("weight").and_then(|weight| {
        if !(1..=WEIGHT_MAX).contains(&weight) {
            problems.invalid(&path.child("weight"), weight, format!("must be between 1 and {WEIGHT_MAX}"));
        }
        u32::try_from(weight).ok()
    });
    object.close();
    Some(Tenant { scheduler_name, namespaces, nodes, evicts, weight })
}

fn namespaces(object: Object<'_>, problems: &Problems) -> Namespaces {
    let names = object.strings("names").unwrap_or_default();
    for (index, name) in names.iter().enumerate() {
        let wrong = names::is_subdomain(name);
        if !wrong.is_empty() {
            problems.invalid(&object.path.child("names").index(index), quoted(name), wrong.join("; "));
        }
    }
    let selector = selector(&object, problems);
    if names.is_empty() && selector.is_none() {
        let remedy =
            "give `names` or a `selector`, or leave `namespaces` out where all may use the scheduler name";
        problems.required(&object.path, remedy);
    }
    object.close();
    Namespaces { names, selector }
}

/// Checks a label selector.
fn selector(object: &Object<'_>, problems: &Problems) -> Option<Value> {
    let node = object.node("selector")?;
    let path = object.path.child("selector");
    let inner = Object::open(node, &path, problems)?;
    inner.node("matchLabels");
    inner.node("matchExpressions");
    inner.close();
    let value = node.to_json();
    let compiled = serde_json::from_value::<wire::LabelSelector>(value.clone())
        .map_err(|error| error.to_string())
        .and_then(|wire| LabelSelector::new(&wire).map_err(|error| error.to_string()));
    match compiled {
        Ok(selector) if selector.is_everything() => {
            problems.invalid(&path, &value, "it selects everything; leave it out, or give it a requirement");
            None
        }
        Ok(_) => Some(value),
        Err(error) => {
            problems.invalid(&path, &value, error);
            None
        }
    }
}

/// Each scheduler name has one tenant, and if there are any tenants, each name that is served has one: a typo must not open a name to
/// everybody.
pub(crate) fn validate(tenants: &[Tenant], served: &[&str], path: &Path, problems: &Problems) {
    let mut seen = BTreeSet::new();
    for (index, tenant) in tenants.iter().enumerate() {
        if !tenant.scheduler_name.is_empty() && !seen.insert(tenant.scheduler_name.as_str()) {
            problems.duplicate(&path.index(index).child("schedulerName"), quoted(&tenant.scheduler_name));
        }
    }
    for name in served.iter().filter(|name| !tenants.is_empty() && !seen.contains(**name)) {
        let remedy = format!(
            "a tenant for scheduler name {}, which this process serves; one without `namespaces` is open to all",
            quoted(name)
        );
        problems.required(path, &remedy);
    }
}

impl Tenant {
    /// Arguments of the plugin that admits only pods of its namespaces; `None` if it may be used from all.
    pub(crate) fn namespaces_args(&self, all: &[Self]) -> Option<Value> {
        let others = all.iter().filter(|other| other.scheduler_name != self.scheduler_name);
        let others: Vec<Value> = others
            .map(|other| match &other.namespaces {
                Some(allowed) => json!({ "schedulerName": other.scheduler_name, "allowed": allowed }),
                None => json!({ "schedulerName": other.scheduler_name }),
            })
            .collect();
        let allowed = self.namespaces.as_ref()?;
        Some(json!({ "allowed": allowed, "others": others }))
    }

    /// Arguments of the plugin that restricts it to its nodes; `None` if it may use all.
    pub(crate) fn nodes_args(&self) -> Option<Value> {
        self.nodes.as_ref().map(|nodes| json!(nodes))
    }
}
