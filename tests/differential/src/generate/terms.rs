//! Selectors, affinity, spreading and tolerations.

use super::{Generator, HOSTNAME, RACK, REGION, ZONE};
use serde_json::{Value, json};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

impl Generator {
    /// A label selector; now and then none, or one for everything.
    pub(super) fn selector(&mut self) -> Value {
        match self.random.below(20) {
            0 => return Value::Null,
            1 => return json!({}),
            _ => {}
        }
        let mut selector = json!({"matchLabels": self.labels()});
        if self.chance(35) {
            let key = self.one(&["tier", "app", "version"]);
            let expression = match self.random.below(4) {
                0 => json!({"key": key, "operator": "Exists"}),
                1 => json!({"key": key, "operator": "DoesNotExist"}),
                2 => {
                    json!({"key": key, "operator": "In", "values": [self.one(&["a", "web"]), self.one(&["b", "1"])]})
                }
                _ => json!({"key": key, "operator": "NotIn", "values": [self.one(&["a", "web", "1"])]}),
            };
            selector["matchExpressions"] = json!([expression]);
        }
        selector
    }

    pub(super) fn pod_affinity_term(&mut self) -> Value {
        let mut term = json!({"topologyKey": self.topology_key()});
        let selector = self.selector();
        if !selector.is_null() {
            term["labelSelector"] = selector;
        }
        match self.random.below(9) {
            0 => term["namespaces"] = json!(["team"]),
            1 => term["namespaces"] = json!(["default", "other", "nowhere"]),
            2 => term["namespaceSelector"] = json!({"matchLabels": {"env": self.one(&["prod", "test"])}}),
            3 => term["namespaceSelector"] = json!({}),
            // One that no label has to meet.
            4 => {
                let exclusion = self.one(&["NotIn", "DoesNotExist"]);
                let mut expression = json!({"key": "env", "operator": exclusion});
                if exclusion == "NotIn" {
                    expression["values"] = json!(["prod"]);
                }
                term["namespaceSelector"] = json!({"matchExpressions": [expression]});
            }
            _ => {}
        }
        if self.chance(10) && term["namespaces"].is_array() {
            term["namespaceSelector"] = json!({"matchExpressions": [{"key": "owner", "operator": self.one(&["Exists", "DoesNotExist"])}]});
        }
        if term["labelSelector"].is_object() {
            // The label keys must not stand in the selector already.
            let named = term["labelSelector"]["matchExpressions"][0]["key"] == "version";
            if named {
            } else if self.chance(15) {
                term["matchLabelKeys"] = json!(["version"]);
            } else if self.chance(10) {
                term["mismatchLabelKeys"] = json!(["version"]);
            }
        }
        term
    }

    fn pod_terms(&mut self) -> Value {
        let mut terms = json!({});
        if self.chance(50) {
            let count = if self.chance(25) { 2 } else { 1 };
            terms[REQUIRED] = (0..count).map(|_| self.pod_affinity_term()).collect();
        }
        if self.chance(55) {
            let count = 1 + self.random.below(2);
            terms[PREFERRED] = (0..count)
                .map(|_| json!({"weight": self.random.between(1, 100), "podAffinityTerm": self.pod_affinity_term()}))
                .collect();
        }
        terms
    }

    fn node_requirement(&mut self) -> Value {
        let key = self.one(&["disk", RACK, "gen", ZONE, REGION, "absent", HOSTNAME]);
        let value = |g: &mut Self| match key {
            "disk" => g.one(&["ssd", "hdd"]).to_owned(),
            RACK => g.one(&["1", "2", "3"]).to_owned(),
            "gen" => g.one(&["1", "2", "10", "x"]).to_owned(),
            ZONE => g.one(&["z1", "z2", "z3"]).to_owned(),
            REGION => g.one(&["r1", "r2"]).to_owned(),
            HOSTNAME => g.node_name(),
            _ => "v".to_owned(),
        };
        match self.random.below(10) {
            0..=3 => json!({"key": key, "operator": "In", "values": [value(self), value(self)]}),
            4 | 5 => json!({"key": key, "operator": "NotIn", "values": [value(self)]}),
            6 => json!({"key": key, "operator": "Exists"}),
            7 => json!({"key": key, "operator": "DoesNotExist"}),
            _ => {
                let operator = self.one(&["Gt", "Lt"]);
                let bound = if self.chance(self.mix.malformed * 3) {
                    "many"
                } else {
                    self.one(&["0", "1", "2", "5"])
                };
                json!({"key": self.one(&["gen", "gen", RACK]), "operator": operator, "values": [bound]})
            }
        }
    }

    fn node_term(&mut self) -> Value {
        let mut term = json!({});
        if self.chance(4) {
            // A term without requirements matches nothing.
            return term;
        }
        if !self.chance(12) {
            let count = if self.chance(25) { 2 } else { 1 };
            term["matchExpressions"] = (0..count).map(|_| self.node_requirement()).collect();
        }
        if term.get("matchExpressions").is_none() || self.chance(10) {
            let operator = self.one(&["In", "In", "NotIn"]);
            term["matchFields"] =
                json!([{"key": "metadata.name", "operator": operator, "values": [self.node_name()]}]);
            if self.chance(30) {
                let other = json!({"key": "metadata.name", "operator": "In", "values": [self.node_name()]});
                term["matchFields"].as_array_mut().expect("just made").push(other);
            }
        }
        term
    }

    pub(super) fn node_affinity(&mut self) -> Value {
        let mut affinity = json!({});
        if self.chance(55) {
            let count = if self.chance(35) { 2 } else { 1 };
            let terms: Vec<Value> = (0..count).map(|_| self.node_term()).collect();
            affinity[REQUIRED] = json!({"nodeSelectorTerms": terms});
        }
        if self.chance(60) {
            let count = 1 + self.random.below(3);
            affinity[PREFERRED] = (0..count)
                .map(|_| json!({"weight": self.random.between(1, 100), "preference": self.node_term()}))
                .collect();
        }
        affinity
    }

    pub(super) fn affinity(&mut self) -> Option<Value> {
        let mut affinity = json!({});
        if self.chance(self.mix.pod_affinity) {
            affinity["podAffinity"] = self.pod_terms();
        }
        if self.chance(self.mix.pod_affinity) {
            affinity["podAntiAffinity"] = self.pod_terms();
        }
        if self.chance(self.mix.node_affinity) {
            affinity["nodeAffinity"] = self.node_affinity();
        }
        (affinity != json!({})).then_some(affinity)
    }

    pub(super) fn spread_constraints(&mut self) -> Vec<Value> {
        let mut constraints: Vec<Value> = Vec::new();
        if !self.chance(self.mix.spread) {
            return constraints;
        }
        for _ in 0..1 + self.random.below(3) {
            let when = self.one(&["DoNotSchedule", "ScheduleAnyway"]);
            let mut constraint = json!({
                "maxSkew": self.random.between(1, 3), "topologyKey": self.topology_key(), "whenUnsatisfiable": when,
            });
            let selector = self.selector();
            if !selector.is_null() {
                let named = selector["matchExpressions"][0]["key"] == "version";
                constraint["labelSelector"] = selector;
                if !named && self.chance(20) {
                    constraint["matchLabelKeys"] = json!(["version"]);
                }
            }
            if when == "DoNotSchedule" && self.chance(30) {
                constraint["minDomains"] = self.random.between(1, 4).into();
            }
            for field in ["nodeTaintsPolicy", "nodeAffinityPolicy"] {
                if self.chance(30) {
                    constraint[field] = self.one(&["Honor", "Ignore"]).into();
                }
            }
            let same = |other: &Value| {
                ["topologyKey", "whenUnsatisfiable"].iter().all(|field| other[*field] == constraint[*field])
            };
            if !constraints.iter().any(same) {
                constraints.push(constraint);
            }
        }
        constraints
    }

    pub(super) fn tolerations(&mut self) -> Vec<Value> {
        let mut tolerations = Vec::new();
        while tolerations.len() < 3 && self.chance(30) {
            let effect = self.one(&["", "NoSchedule", "PreferNoSchedule", "NoExecute"]);
            let key = self.one(&[
                "dedicated",
                "gpu",
                "node.kubernetes.io/unschedulable",
                "node.kubernetes.io/not-ready",
            ]);
            let mut toleration = match self.random.below(8) {
                0 => json!({"operator": "Exists"}),
                1..=4 => json!({"key": key, "operator": "Exists"}),
                5 => json!({"key": key}),
                _ => json!({"key": key, "operator": "Equal", "value": self.one(&["x", "y", ""])}),
            };
            if !effect.is_empty() {
                toleration["effect"] = effect.into();
            }
            tolerations.push(toleration);
        }
        tolerations
    }
}
