//! Arguments of `PodTopologySpread`: the constraints for pods that have none of their own.

use serde_json::{Value, json};

use crate::names;
use crate::object::Object;
use crate::problem::{Path, Problems, quoted};

/// Where the default constraints come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultingType {
    /// kube-scheduler's own: hostname with maxSkew 3 and zone with maxSkew 5, both ScheduleAnyway.
    #[default]
    System,
    /// Those of the configuration.
    List,
}

/// Arguments of `PodTopologySpread`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodTopologySpreadArgs {
    /// core/v1 `TopologySpreadConstraint`s without label selectors, with their shape checked.
    pub default_constraints: Vec<Value>,
    /// Where the default constraints come from.
    pub defaulting_type: DefaultingType,
}

struct Constraint {
    max_skew: i32,
    topology_key: String,
    when_unsatisfiable: String,
    has_selector: bool,
}

pub(super) fn read(object: &Object<'_>, problems: &Problems) -> PodTopologySpreadArgs {
    let mut default_constraints = Vec::new();
    let constraints = object
        .list("defaultConstraints", |node, path| {
            let object = Object::open(node, path, problems)?;
            let constraint = Constraint {
                max_skew: object.int32("maxSkew").unwrap_or(0),
                topology_key: object.text("topologyKey"),
                when_unsatisfiable: object.text("whenUnsatisfiable"),
                has_selector: object.node("labelSelector").is_some(),
            };
            object.int32("minDomains");
            object.text("nodeAffinityPolicy");
            object.text("nodeTaintsPolicy");
            object.strings("matchLabelKeys");
            object.close();
            default_constraints.push(node.to_json());
            Some(constraint)
        })
        .unwrap_or_default();
    let written_type = object.text("defaultingType");
    validate(&constraints, &written_type, &object.path, problems);
    let defaulting_type = if written_type == "List" { DefaultingType::List } else { DefaultingType::System };
    PodTopologySpreadArgs { default_constraints, defaulting_type }
}

fn validate(constraints: &[Constraint], written_type: &str, path: &Path, problems: &Problems) {
    let type_path = path.child("defaultingType");
    match written_type {
        "" | "System" if !constraints.is_empty() => {
            problems.invalid(
                &type_path,
                quoted("System"),
                "when .defaultConstraints are not empty; set defaultingType: List",
            );
        }
        "" | "System" | "List" => {}
        other => problems.not_supported(&type_path, other, &["System", "List"]),
    }
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.child("defaultConstraints").index(index);
        constraint.validate(&path, problems);
        let repeated = constraints[..index].iter().any(|earlier| {
            earlier.topology_key == constraint.topology_key
                && earlier.when_unsatisfiable == constraint.when_unsatisfiable
        });
        if repeated {
            let pair = format!("{{{}, {}}}", constraint.topology_key, constraint.when_unsatisfiable);
            problems.duplicate(&path, quoted(pair));
        }
    }
}

impl PodTopologySpreadArgs {
    pub(super) fn to_value(&self) -> Value {
        let defaulting_type = match self.defaulting_type {
            DefaultingType::System => "System",
            DefaultingType::List => "List",
        };
        if self.default_constraints.is_empty() {
            json!({ "defaultingType": defaulting_type })
        } else {
            json!({ "defaultConstraints": self.default_constraints, "defaultingType": defaulting_type })
        }
    }
}

impl Constraint {
    fn validate(&self, path: &Path, problems: &Problems) {
        if self.max_skew <= 0 {
            problems.invalid(&path.child("maxSkew"), self.max_skew, "not in valid range (0, inf)");
        }
        let key_path = path.child("topologyKey");
        if self.topology_key.is_empty() {
            problems.required(&key_path, "can not be empty");
        } else {
            for message in names::is_label_key(&self.topology_key) {
                problems.invalid(&key_path, quoted(&self.topology_key), message);
            }
        }
        let when_path = path.child("whenUnsatisfiable");
        match self.when_unsatisfiable.as_str() {
            "" => problems.required(&when_path, "can not be empty"),
            "DoNotSchedule" | "ScheduleAnyway" => {}
            other => problems.not_supported(&when_path, other, &["DoNotSchedule", "ScheduleAnyway"]),
        }
        if self.has_selector {
            problems.forbidden(
                &path.child("labelSelector"),
                "constraint must not define a selector, as they deduced for each pod",
            );
        }
    }
}
