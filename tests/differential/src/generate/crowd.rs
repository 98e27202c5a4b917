//! Equal nodes, full of pods that differ in little: the rules by which preemption chooses among candidates and victims decide,
//! one after the other, and rows of victims are long enough for every branch of the sort.

use super::{Generator, HOSTNAME, ZONE};
use serde_json::json;

/// CPU of a node, in milli-CPUs.
const NODE_CPU: usize = 8_400;

/// How the start times of a node's pods follow each other.
#[derive(Clone, Copy)]
enum Starts {
    Few,
    Ascending,
    NearlyAscending,
    Descending,
    Scattered,
    Same,
    /// The kubelet has not taken them on.
    Never,
}

impl Generator {
    pub(super) fn crowd(&mut self) {
        self.surroundings();
        let (nodes, most) = match self.random.below(20) {
            // Beyond 100 nodes preemption looks at a part of them only.
            0 => (101 + self.random.below(10), 2),
            1..=3 => (1 + self.random.below(2), 120),
            4..=9 => (2 + self.random.below(3), 30),
            _ => (2 + self.random.below(6), 5),
        };
        let same_everywhere = self.chance(50);
        let length = 1 + self.random.below(most);
        let classes = self.random.one::<[&str]>(&[
            &["low"],
            &["low", "zero"],
            &["low", "zero", "mid"],
            &["zero", "mid", "odd"],
        ]);
        let starts = self.starts();
        for node in 0..nodes {
            let name = format!("n{node}");
            let allocatable = json!({"cpu": format!("{NODE_CPU}m"), "memory": "64Gi", "pods": if self.chance(10) { length } else { 200 }});
            let mut labels = json!({HOSTNAME: name, ZONE: self.one(&["z1", "z2", "z3"])});
            if self.chance(4) {
                labels = json!({HOSTNAME: name});
            }
            let status = json!({"allocatable": allocatable, "capacity": allocatable});
            self.nodes.push(name.clone());
            self.add("v1", "Node", "", &name, json!({"status": status}))["metadata"]["labels"] = labels;
            let (length, starts) =
                if same_everywhere { (length, starts) } else { (1 + self.random.below(most), self.starts()) };
            for at in 0..length {
                let second = self.second(starts, at, length);
                let class = self.one(classes);
                let number = node * 1_000 + at;
                self.crowd_pod(&format!("run-{number}"), &name, NODE_CPU / length, class, second);
            }
        }
        for i in 0..1 + self.random.below(3) {
            let share = *self.random.element(&[1, 1, 2, 3, 4, 10, 30]);
            self.crowd_waiting(&format!("wait-{i}"), NODE_CPU / share);
        }
    }

    fn starts(&mut self) -> Starts {
        use Starts as S;
        *self.random.element(&[
            S::Few,
            S::Few,
            S::Scattered,
            S::Ascending,
            S::NearlyAscending,
            S::Descending,
            S::Same,
            S::Never,
        ])
    }

    /// When the pod at a place on its node was started.
    fn second(&mut self, starts: Starts, at: usize, length: usize) -> Option<usize> {
        Some(match starts {
            Starts::Few => self.random.below(4),
            Starts::Ascending => at,
            Starts::NearlyAscending if self.chance(10) => self.random.below(length),
            Starts::NearlyAscending => at,
            Starts::Descending => length - at,
            Starts::Scattered => self.random.below(3_600),
            Starts::Same => 0,
            // One of them is on its way.
            Starts::Never if self.chance(5) => 0,
            Starts::Never => return None,
        })
    }

    fn crowd_pod(&mut self, name: &str, node: &str, cpu: usize, class: &str, second: Option<usize>) {
        let requests = json!({"cpu": format!("{cpu}m")});
        let mut spec = json!({
            "schedulerName": "my-scheduler",
            "nodeName": node,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": requests}}],
        });
        if class == "odd" {
            spec["priority"] = json!(*self.random.element(&[i32::MIN, -1, 5, 10, 11]));
        } else {
            spec["priorityClassName"] = class.into();
        }
        let mut status = json!({"phase": "Running"});
        if let Some(second) = second
            && !self.chance(1)
        {
            let (minute, second) = (second / 60, second % 60);
            status["startTime"] = format!("2026-01-01T00:{minute:02}:{second:02}Z").into();
        }
        let labels = self.labels();
        let mut metadata = json!({"labels": labels});
        if self.chance(self.mix.terminating / 5) {
            self.terminating(&mut metadata);
        }
        self.add_pod("default", name, metadata, json!({"spec": spec, "status": status}));
    }

    fn crowd_waiting(&mut self, name: &str, cpu: usize) {
        let requests = json!({"cpu": format!("{cpu}m")});
        let class = self.one(&["high", "high", "high", "mid", "zero"]);
        let mut spec = json!({
            "schedulerName": "my-scheduler",
            "priorityClassName": class,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": requests}}],
        });
        if self.chance(15) {
            let key = self.one(&[HOSTNAME, ZONE]);
            let selector = json!({"matchLabels": {"app": self.one(&["a", "b"])}});
            let kind = self.one(&["podAntiAffinity", "podAntiAffinity", "podAffinity"]);
            spec["affinity"] = json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key, "labelSelector": selector}]}});
        }
        if self.chance(25) {
            let mut constraint = json!({
                "maxSkew": self.random.between(1, 2),
                "topologyKey": self.one(&[HOSTNAME, ZONE, ZONE]),
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": self.one(&["a", "b"])}},
            });
            if self.chance(40) {
                constraint["minDomains"] = self.random.between(1, 4).into();
            }
            spec["topologySpreadConstraints"] = json!([constraint]);
        }
        let mut status = json!({});
        if self.chance(self.mix.nominated) {
            status["nominatedNodeName"] = self.node_name().into();
        }
        let metadata = json!({"labels": {"app": self.one(&["a", "b"])}});
        self.add_pod("default", name, metadata, json!({"spec": spec, "status": status}));
    }
}
