//! Configurations: plugins, weights and arguments.

use super::{Generator, HOSTNAME, RACK, ZONE};
use serde_json::{Map, Value, json};

/// Plugins that may be left out without the profile failing to build.
const OPTIONAL: &[&str] = &[
    "NodeUnschedulable",
    "NodeName",
    "TaintToleration",
    "NodeAffinity",
    "NodePorts",
    "NodeResourcesFit",
    "VolumeRestrictions",
    "NodeVolumeLimits",
    "VolumeBinding",
    "VolumeZone",
    "PodTopologySpread",
    "InterPodAffinity",
    "DynamicResources",
    "DefaultPreemption",
    "NodeResourcesBalancedAllocation",
    "ImageLocality",
    "NodeDeclaredFeatures",
    "SchedulingGates",
];
const SCORERS: &[&str] = &[
    "TaintToleration",
    "NodeAffinity",
    "NodeResourcesFit",
    "VolumeBinding",
    "PodTopologySpread",
    "InterPodAffinity",
    "DynamicResources",
    "NodeResourcesBalancedAllocation",
    "ImageLocality",
];

impl Generator {
    pub(super) fn configuration(&mut self) -> Value {
        let mut profiles = vec![self.profile("my-scheduler")];
        if self.chance(15) {
            profiles.push(self.profile("other"));
        }
        json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "percentageOfNodesToScore": 100,
            "profiles": profiles,
        })
    }

    /// One profile with everything as it is by default.
    pub(super) fn plain_configuration(&self) -> Value {
        json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "percentageOfNodesToScore": 100,
            "profiles": [{"schedulerName": "my-scheduler"}],
        })
    }

    fn profile(&mut self, name: &str) -> Value {
        let mut profile = json!({"schedulerName": name});
        let arguments = self.arguments();
        if !arguments.is_empty() {
            profile["pluginConfig"] = arguments.into();
        }
        if self.chance(45) {
            profile["plugins"] = self.plugins();
        }
        profile
    }

    fn plugins(&mut self) -> Value {
        let named =
            |names: Vec<&str>| -> Value { names.into_iter().map(|name| json!({"name": name})).collect() };
        if self.chance(self.mix.volumes / 4) {
            // What stands behind another plugin that looks at the same claims.
            let mut disabled = Vec::new();
            for name in ["VolumeZone", "VolumeRestrictions", "VolumeBinding", "NodeVolumeLimits"] {
                if self.chance(40) {
                    disabled.push(name);
                }
            }
            return json!({"multiPoint": {"disabled": named(disabled)}});
        }
        match self.random.below(9) {
            // Other weights.
            0..=2 => {
                let mut enabled = Vec::new();
                for name in SCORERS {
                    if self.chance(40) {
                        enabled.push(json!({"name": name, "weight": self.random.between(1, 20)}));
                    }
                }
                let point = self.one(&["score", "multiPoint", "multiPoint"]);
                json!({ point: {"enabled": enabled} })
            }
            // Without some plugins.
            3 | 4 => {
                let mut disabled: Vec<&str> = Vec::new();
                for name in OPTIONAL {
                    if self.chance(12) {
                        disabled.push(name);
                    }
                }
                let point =
                    self.one(&["multiPoint", "filter", "preFilter", "score", "preScore", "postFilter"]);
                json!({ point: {"disabled": named(disabled)} })
            }
            // A scorer out of multiPoint and back at score only: it has no PreScore then.
            5 => {
                // What PreScore would refuse, Score meets.
                let name = if self.chance(self.mix.malformed * 4) {
                    "NodeAffinity"
                } else {
                    *self.random.element(SCORERS)
                };
                json!({
                    "multiPoint": {"disabled": [{"name": name}]},
                    "score": {"enabled": [{"name": name, "weight": self.random.between(0, 5)}]},
                })
            }
            6 => json!({"score": {"disabled": [{"name": "*"}]}, "preScore": {"disabled": [{"name": "*"}]}}),
            7 => {
                let first = *self.random.element(OPTIONAL);
                let point = match first {
                    "NodeName" | "NodeUnschedulable" | "TaintToleration" => {
                        self.one(&["filter", "filter", "preFilter"])
                    }
                    "NodeResourcesFit" | "NodePorts" | "NodeAffinity" | "PodTopologySpread"
                    | "InterPodAffinity" => "filter",
                    "ImageLocality" | "NodeResourcesBalancedAllocation" => "score",
                    _ => "multiPoint",
                };
                // Named at the point: it comes first there.
                json!({ point: {"enabled": [{"name": first}]} })
            }
            _ => {
                let mut enabled = vec![json!({"name": "PrioritySort"}), json!({"name": "DefaultBinder"})];
                for name in OPTIONAL {
                    if self.chance(50) {
                        enabled.push(json!({"name": name, "weight": self.random.between(0, 9)}));
                    }
                }
                json!({"multiPoint": {"disabled": [{"name": "*"}], "enabled": enabled}})
            }
        }
    }

    fn arguments(&mut self) -> Vec<Value> {
        let mut list = Vec::new();
        let mut add = |name: &str, args: Value| list.push(json!({"name": name, "args": args}));
        if self.chance(50) {
            add("NodeResourcesFit", self.fit());
        }
        if self.chance(25) {
            let resources = self.weighted_resources(true);
            add("NodeResourcesBalancedAllocation", json!({"resources": resources}));
        }
        if self.chance(30) {
            let mut args = json!({"hardPodAffinityWeight": self.random.between(0, 100)});
            if self.chance(50) {
                args["ignorePreferredTermsOfExistingPods"] = self.chance(60).into();
            }
            add("InterPodAffinity", args);
        }
        if self.chance(25) {
            let mut affinity = self.node_affinity();
            if affinity == json!({}) {
                affinity = json!({"preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 7, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}},
                ]});
            }
            add("NodeAffinity", json!({"addedAffinity": affinity}));
        }
        if self.chance(30) {
            let mut constraints: Vec<Value> = Vec::new();
            for key in [ZONE, RACK, HOSTNAME] {
                if self.chance(50) {
                    let when = self.one(&["ScheduleAnyway", "DoNotSchedule"]);
                    constraints
                        .push(json!({"maxSkew": self.random.between(1, 3), "topologyKey": key, "whenUnsatisfiable": when}));
                }
            }
            add("PodTopologySpread", json!({"defaultingType": "List", "defaultConstraints": constraints}));
        }
        if self.chance(20) {
            let mut args = json!({"shape": self.shape()});
            if self.chance(20) {
                args = json!({"bindTimeoutSeconds": 30});
            }
            add("VolumeBinding", args);
        }
        if self.chance(20) {
            let (percent, absolute) = (self.random.between(0, 100), self.random.between(1, 3));
            add(
                "DefaultPreemption",
                json!({"minCandidateNodesPercentage": percent, "minCandidateNodesAbsolute": absolute}),
            );
        }
        list
    }

    fn weighted_resources(&mut self, all_alike: bool) -> Vec<Value> {
        let mut resources = Vec::new();
        for name in
            ["cpu", "memory", "ephemeral-storage", "example.com/gpu", "example.com/nic", "hugepages-2Mi"]
        {
            if self.chance(40) {
                // 0 becomes 1, and more than 100 is refused.
                let weight = match self.random.below(60) {
                    _ if all_alike => 1,
                    0 => 101,
                    1 => 100,
                    _ => self.random.between(0, 10),
                };
                resources.push(json!({"name": name, "weight": weight}));
            }
        }
        if resources.is_empty() {
            resources.push(json!({"name": "cpu", "weight": 1}));
        }
        resources
    }

    /// Points of a function from utilisation to score.
    fn shape(&mut self) -> Value {
        let mut shape = Vec::new();
        let mut utilization = self.random.between(0, 20);
        while utilization <= 100 {
            shape.push(json!({"utilization": utilization, "score": self.random.between(0, 10)}));
            utilization += self.random.between(1, 60);
        }
        shape.into()
    }

    fn fit(&mut self) -> Value {
        let mut args = Map::new();
        let kind = self.one(&["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"]);
        let mut strategy = json!({"type": kind, "resources": self.weighted_resources(false)});
        if kind == "RequestedToCapacityRatio" {
            strategy["requestedToCapacityRatio"] = json!({"shape": self.shape()});
        }
        if !self.chance(15) {
            args.insert("scoringStrategy".to_owned(), strategy);
        }
        if self.chance(20) {
            args.insert(
                "ignoredResources".to_owned(),
                json!([self.one(&["example.com/gpu", "example.com/absent"])]),
            );
        }
        if self.chance(10) {
            args.insert("ignoredResourceGroups".to_owned(), json!(["example.com"]));
        }
        args.into()
    }
}
