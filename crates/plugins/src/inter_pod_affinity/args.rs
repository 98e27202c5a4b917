//! Arguments: how terms of existing pods count.

use super::NAME;
use crate::arguments::{parse, refused};
use secondmate_framework::PluginError;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    hard_pod_affinity_weight: Option<i32>,
    ignore_preferred_terms_of_existing_pods: Option<bool>,
}

/// The interpreted arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Args {
    /// The score of an existing pod's required affinity term that matches the incoming pod; 0 turns this off.
    pub(super) hard_pod_affinity_weight: i32,
    /// The preferred terms of existing pods do not score a pod that has no preferred terms of its own.
    pub(super) ignore_preferred_terms_of_existing_pods: bool,
}

impl Args {
    pub(super) fn read(args: &Value) -> Result<Self, PluginError> {
        let written: Written = parse(NAME, args)?;
        let weight = written.hard_pod_affinity_weight.unwrap_or(1);
        if !(0..=100).contains(&weight) {
            return Err(refused(NAME, format!("hardPodAffinityWeight: {weight} is not between 0 and 100")));
        }
        Ok(Self {
            hard_pod_affinity_weight: weight,
            ignore_preferred_terms_of_existing_pods: written
                .ignore_preferred_terms_of_existing_pods
                .unwrap_or(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_are_upstreams() {
        let default = Args { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false };
        assert_eq!(Args::read(&Value::Null), Ok(default));
        let args = json!({"kind": "InterPodAffinityArgs", "hardPodAffinityWeight": 0,
            "ignorePreferredTermsOfExistingPods": true});
        let given = Args { hard_pod_affinity_weight: 0, ignore_preferred_terms_of_existing_pods: true };
        assert_eq!(Args::read(&args), Ok(given));
    }

    #[test]
    fn what_kube_scheduler_refuses_is_refused() {
        for args in
            [json!({"hardPodAffinityWeight": 101}), json!({"hardPodAffinityWeight": -1}), json!({"x": 1})]
        {
            Args::read(&args).expect_err("refused");
        }
    }
}
