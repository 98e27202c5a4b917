//! Random clusters and pods, dense in the things that interact.
//!
//! A case has a theme that makes some features frequent, so that what meets in reality once a year meets in every tenth case:
//! few zones, few label values, nearly full nodes, every topology key missing somewhere. The objects are meant to be accepted by
//! an API server; what it refuses is left out of the case by the oracle, and counted.

mod config;
mod containers;
mod crowd;
mod extenders;
mod nodes;
mod pods;
mod surroundings;
mod terms;
mod volumes;

use crate::case::Case;
use crate::random::Random;
use serde_json::{Map, Value, json};

/// Zone, region and host name as nodes carry them, and two keys of the cluster's own.
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const HOSTNAME: &str = "kubernetes.io/hostname";
const RACK: &str = "rack";

/// What a theme makes frequent, each in percent.
#[derive(Clone, Copy, Debug)]
struct Mix {
    node_affinity: u32,
    pod_affinity: u32,
    spread: u32,
    volumes: u32,
    ports: u32,
    taints: u32,
    nominated: u32,
    terminating: u32,
    priorities: u32,
    budgets: u32,
    requests: u32,
    odd_pods: u32,
    configs: u32,
    malformed: u32,
    workloads: u32,
    /// Nodes with room for everything.
    roomy: u32,
    /// Most assigned pods.
    assigned: usize,
    /// Equal nodes that are full.
    crowded: u32,
}

/// Everything a little.
const MIXED: Mix = Mix {
    node_affinity: 25,
    pod_affinity: 25,
    spread: 25,
    volumes: 15,
    ports: 10,
    taints: 6,
    nominated: 10,
    terminating: 8,
    priorities: 50,
    budgets: 30,
    requests: 70,
    odd_pods: 15,
    configs: 25,
    malformed: 1,
    workloads: 40,
    roomy: 55,
    assigned: 25,
    crowded: 1,
};

/// The themes, each with its share.
const THEMES: &[(usize, Mix)] = &[
    (4, MIXED),
    // Resources and their scores.
    (
        3,
        Mix {
            requests: 95,
            odd_pods: 45,
            roomy: 60,
            taints: 3,
            node_affinity: 5,
            pod_affinity: 3,
            spread: 3,
            volumes: 2,
            configs: 60,
            ..MIXED
        },
    ),
    // Pods that look at pods.
    (
        3,
        Mix {
            pod_affinity: 75,
            roomy: 90,
            taints: 4,
            spread: 15,
            requests: 25,
            volumes: 2,
            configs: 30,
            nominated: 15,
            assigned: 30,
            ..MIXED
        },
    ),
    // Spreading.
    (
        3,
        Mix {
            spread: 80,
            roomy: 90,
            pod_affinity: 10,
            requests: 25,
            volumes: 2,
            configs: 35,
            workloads: 80,
            assigned: 35,
            ..MIXED
        },
    ),
    // Spreading by the defaults, which services and owners select for.
    (
        2,
        Mix {
            spread: 5,
            workloads: 100,
            roomy: 90,
            taints: 2,
            node_affinity: 5,
            pod_affinity: 3,
            requests: 15,
            volumes: 1,
            assigned: 30,
            ..MIXED
        },
    ),
    // Volumes.
    (
        3,
        Mix {
            volumes: 85,
            roomy: 90,
            taints: 3,
            pod_affinity: 5,
            spread: 5,
            requests: 20,
            configs: 25,
            assigned: 12,
            malformed: 2,
            ..MIXED
        },
    ),
    // Preemption.
    (
        4,
        Mix {
            requests: 95,
            roomy: 15,
            taints: 4,
            priorities: 95,
            budgets: 80,
            terminating: 15,
            nominated: 25,
            node_affinity: 8,
            pod_affinity: 12,
            spread: 12,
            volumes: 8,
            ports: 15,
            assigned: 40,
            crowded: 55,
            configs: 15,
            ..MIXED
        },
    ),
    // Nodes: taints, affinity, images.
    (
        2,
        Mix {
            node_affinity: 70,
            roomy: 90,
            taints: 25,
            requests: 20,
            pod_affinity: 3,
            spread: 8,
            volumes: 2,
            configs: 35,
            ..MIXED
        },
    ),
    // What is wrong and still stored.
    (1, Mix { malformed: 12, volumes: 25, configs: 50, roomy: 80, node_affinity: 45, ..MIXED }),
];

/// One case in so many has extenders.
const EXTENDERS_EVERY: usize = 8;

/// Case `index` of a seed.
#[must_use]
pub fn case(seed: u64, index: u64) -> Case {
    let mut random = Random::new(seed, index);
    let shares: usize = THEMES.iter().map(|(share, _)| share).sum();
    let mut pick = random.below(shares);
    let mut mix = MIXED;
    for (share, theme) in THEMES {
        if pick < *share {
            mix = *theme;
            break;
        }
        pick -= share;
    }
    let mut generator = Generator { random, mix, objects: Vec::new(), nodes: Vec::new(), claims: Vec::new() };
    generator.cluster();
    let mut config =
        if generator.random.chance(mix.configs) { generator.configuration() } else { Value::Null };
    let id = format!("{seed}-{index}");
    let mut extenders = Vec::new();
    if generator.random.below(EXTENDERS_EVERY) == 0 {
        if config.is_null() {
            config = generator.plain_configuration();
        }
        (config["extenders"], extenders) = generator.extenders(&id);
        // Of which candidates an extender is asked where not all are looked at, is left to chance.
        let profiles = config["profiles"].as_array_mut().into_iter().flatten();
        for arguments in profiles.filter_map(|profile| profile["pluginConfig"].as_array_mut()) {
            arguments.retain(|plugin| plugin["name"] != "DefaultPreemption");
        }
    }
    Case {
        id,
        objects: generator.objects,
        config,
        extenders,
        pods: Vec::new(),
        validate: true,
        evaluate: true,
    }
}

/// Takes away the overhead of a pod that asks for an amount beyond 18 digits: upstream adds the one to the other in the pod itself,
/// so that the sum depends on how often it was asked for, and no answer is the right one.
pub(crate) fn drop_ambiguous_overhead(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let ambiguous = spec.contains_key("overhead")
        && ["containers", "initContainers", "resources"].iter().any(|part| {
            let text = spec.get(*part).map(Value::to_string).unwrap_or_default();
            ["\"4611686018427387904\"", "\"9223372036854775807\"", "\"20E\""]
                .iter()
                .any(|amount| text.contains(amount))
        });
    if ambiguous {
        spec.remove("overhead");
    }
}

/// Makes one case.
struct Generator {
    random: Random,
    mix: Mix,
    objects: Vec<Value>,
    /// Names of the nodes.
    nodes: Vec<String>,
    /// Names of the claims, all in namespace `default`.
    claims: Vec<String>,
}

impl Generator {
    fn cluster(&mut self) {
        if self.chance(self.mix.crowded) {
            return self.crowd();
        }
        self.surroundings();
        let count = match self.random.below(100) {
            0 => 0,
            1..=4 => 1,
            5..=84 => 2 + self.random.below(7),
            // Beyond 100 nodes preemption looks at a part of them only.
            99 if self.mix.budgets > 50 && self.chance(15) => 101 + self.random.below(30),
            _ => 9 + self.random.below(16),
        };
        for i in 0..count {
            self.node(&format!("n{i}"));
        }
        if self.random.chance(self.mix.volumes.max(10)) {
            self.volumes();
        }
        let assigned = self.random.below(self.mix.assigned + 1).min(count * 6);
        for i in 0..assigned {
            self.pod(&format!("run-{i}"), true);
        }
        for i in 0..1 + self.random.below(4) {
            self.pod(&format!("wait-{i}"), false);
        }
        for object in &mut self.objects {
            drop_ambiguous_overhead(object);
        }
        // The order of the file decides the snapshot's: it must not always be the same.
        if self.random.chance(30) {
            let length = self.objects.len();
            for at in (1..length).rev() {
                let other = self.random.below(at + 1);
                self.objects.swap(at, other);
            }
        }
    }

    /// Adds an object and returns it to be filled.
    fn add(&mut self, api_version: &str, kind: &str, namespace: &str, name: &str, rest: Value) -> &mut Value {
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = namespace.into();
        }
        if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest) {
            object.extend(rest);
        }
        self.objects.push(object);
        self.objects.last_mut().expect("just pushed")
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.chance(percent)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        self.random.one(of)
    }

    /// Keeps each pair with the given chance, with one of its values.
    fn some(&mut self, percent: u32, pairs: &[(&str, &[&str])]) -> Map<String, Value> {
        let mut kept = Map::new();
        for (key, values) in pairs {
            if self.chance(percent) {
                kept.insert((*key).to_owned(), self.one(values).into());
            }
        }
        kept
    }

    fn node_name(&mut self) -> String {
        if self.nodes.is_empty() || self.chance(1) {
            return "gone".to_owned();
        }
        self.random.element(&self.nodes).clone()
    }

    fn topology_key(&mut self) -> &'static str {
        self.random.one(&[ZONE, ZONE, HOSTNAME, RACK, REGION, "nowhere"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_case_is_drawn_from_seed_and_number_alone() {
        assert_eq!(case(1, 7), case(1, 7));
        assert_ne!(case(1, 7).objects, case(1, 8).objects);
        assert_ne!(case(1, 7).objects, case(2, 7).objects);
    }

    #[test]
    fn cases_have_every_kind_of_object_that_scheduling_reads() {
        let mut kinds = BTreeSet::new();
        let (mut assigned, mut waiting, mut configured) = (0, 0, 0);
        for index in 0..100 {
            let case = case(3, index);
            configured += usize::from(!case.config.is_null());
            for object in &case.objects {
                kinds.insert(object["kind"].as_str().unwrap_or_default().to_owned());
                if object["kind"] == "Pod" {
                    let count =
                        if object["spec"]["nodeName"].is_null() { &mut waiting } else { &mut assigned };
                    *count += 1;
                }
            }
        }
        let expected = [
            "CSIDriver",
            "CSINode",
            "CSIStorageCapacity",
            "Namespace",
            "Node",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "PodDisruptionBudget",
            "PriorityClass",
            "ReplicaSet",
            "ReplicationController",
            "Service",
            "StatefulSet",
            "StorageClass",
            "VolumeAttachment",
        ];
        assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        assert!(assigned > 500 && waiting > 100 && configured > 20, "{assigned} {waiting} {configured}");
    }
}
