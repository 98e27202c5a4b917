//! Arguments: the constraints for pods that have none of their own.

use super::NAME;
use crate::arguments::{parse, refused};
use secondmate_framework::PluginError;
use secondmate_model::{Labels, SpreadConstraint, wire};
use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
enum DefaultingType {
    #[default]
    System,
    List,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Args {
    default_constraints: Option<Vec<wire::TopologySpreadConstraint>>,
    defaulting_type: Option<DefaultingType>,
}

/// The default constraints, and whether they are the built-in ones.
pub(super) fn defaults(args: &Value) -> Result<(Box<[SpreadConstraint]>, bool), PluginError> {
    let args: Args = parse(NAME, args)?;
    let listed = args.default_constraints.unwrap_or_default();
    let compiled = match args.defaulting_type.unwrap_or_default() {
        DefaultingType::System if listed.is_empty() => return Ok((system().map(compile).into(), true)),
        DefaultingType::System => {
            return Err(refused(NAME, "defaultConstraints are given, so defaultingType must be List"));
        }
        DefaultingType::List => {
            for (index, constraint) in listed.iter().enumerate() {
                check(constraint, &listed[..index])
                    .map_err(|reason| refused(NAME, format!("defaultConstraints[{index}]{reason}")))?;
            }
            listed.into_iter().map(compile).collect()
        }
    };
    Ok((compiled, false))
}

fn compile(constraint: wire::TopologySpreadConstraint) -> SpreadConstraint {
    // The selector, and with it the label keys, is replaced by that of the pod's services and owner.
    SpreadConstraint::new(&constraint, &Labels::default())
}

fn system() -> [wire::TopologySpreadConstraint; 2] {
    [("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5)].map(|(key, max_skew)| {
        wire::TopologySpreadConstraint {
            max_skew,
            topology_key: key.into(),
            when_unsatisfiable: "ScheduleAnyway".into(),
            ..Default::default()
        }
    })
}

fn check(
    constraint: &wire::TopologySpreadConstraint,
    earlier: &[wire::TopologySpreadConstraint],
) -> Result<(), String> {
    if constraint.max_skew <= 0 {
        return Err(format!(".maxSkew: {} is not greater than 0", constraint.max_skew));
    }
    if constraint.topology_key.is_empty() {
        return Err(".topologyKey: name the node label that makes the domains".to_owned());
    }
    if !matches!(&*constraint.when_unsatisfiable, "DoNotSchedule" | "ScheduleAnyway") {
        return Err(format!(
            ".whenUnsatisfiable: {:?} is neither DoNotSchedule nor ScheduleAnyway",
            constraint.when_unsatisfiable
        ));
    }
    if constraint.label_selector.is_some() {
        return Err(".labelSelector: leave it out, it is deduced for each pod".to_owned());
    }
    let repeated = earlier.iter().any(|other| {
        other.topology_key == constraint.topology_key
            && other.when_unsatisfiable == constraint.when_unsatisfiable
    });
    if repeated {
        return Err(format!(
            ": {} with {} is there already",
            constraint.topology_key, constraint.when_unsatisfiable
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summary(args: Value) -> Result<Vec<String>, PluginError> {
        defaults(&args).map(|(constraints, system)| {
            constraints
                .iter()
                .map(|c| format!("{} {} {:?} {system}", c.topology_key, c.max_skew, c.when_unsatisfiable))
                .collect()
        })
    }

    #[test]
    fn without_arguments_the_built_in_constraints_apply() {
        let system = vec![
            "kubernetes.io/hostname 3 ScheduleAnyway true".to_owned(),
            "topology.kubernetes.io/zone 5 ScheduleAnyway true".to_owned(),
        ];
        assert_eq!(summary(Value::Null), Ok(system.clone()));
        assert_eq!(summary(json!({"defaultingType": "System"})), Ok(system));
    }

    #[test]
    fn a_list_takes_their_place_and_may_be_empty() {
        assert_eq!(summary(json!({"defaultingType": "List"})), Ok(vec![]));
        let list = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "PodTopologySpreadArgs",
            "defaultingType": "List",
            "defaultConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        });
        assert_eq!(summary(list), Ok(vec!["zone 1 DoNotSchedule false".to_owned()]));
    }

    #[test]
    fn what_kube_scheduler_refuses_is_refused() {
        let good = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
        let with = |key: &str, value: Value| {
            let mut changed = good.clone();
            changed[key] = value;
            json!({"defaultingType": "List", "defaultConstraints": [changed]})
        };
        for (args, expected) in [
            (json!({"defaultConstraints": [good]}), "defaultingType must be List"),
            (with("maxSkew", json!(0)), "defaultConstraints[0].maxSkew"),
            (with("topologyKey", json!("")), "defaultConstraints[0].topologyKey"),
            (with("whenUnsatisfiable", json!("Never")), "defaultConstraints[0].whenUnsatisfiable"),
            (with("labelSelector", json!({})), "defaultConstraints[0].labelSelector"),
            (json!({"defaultingType": "List", "defaultConstraints": [good, good]}), "defaultConstraints[1]"),
            (json!({"defaultingType": "Some"}), "unknown variant"),
            (json!({"constraints": []}), "unknown field"),
        ] {
            let error = summary(args.clone()).expect_err("refused").to_string();
            assert!(error.contains(expected), "{args}: {error}");
        }
    }
}
