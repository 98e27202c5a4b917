//! Cases with what no API server stores: unknown operators, terms without keys, names of nothing, amounts beyond all bounds.
//!
//! They come about by small changes of stored objects, and are asked without validation: both sides must still agree, and neither
//! may fall over.

use crate::case::Case;
use crate::generate::drop_ambiguous_overhead;
use crate::random::Random;
use serde_json::Value;

/// Fields that are changed, each with what comes in its place.
const CHANGES: &[(&str, &[&str])] = &[
    ("operator", &["Like", "", "In", "Exists", "NotIn", "DoesNotExist", "Gt", "Equal"]),
    ("topologyKey", &["", "kubernetes.io/hostname", "nowhere"]),
    ("key", &["", "rack", "app", "not a key!"]),
    ("effect", &["", "Never", "NoSchedule"]),
    ("whenUnsatisfiable", &["", "Perhaps", "DoNotSchedule"]),
    ("nodeTaintsPolicy", &["", "Maybe", "Honor"]),
    ("claimName", &["", "gone", "claim-0"]),
    ("storageClassName", &["", "gone", "late", "static"]),
    ("volumeName", &["", "gone", "volume-1"]),
    ("nominatedNodeName", &["", "gone", "n0"]),
    ("volumeBindingMode", &["", "Later", "Immediate"]),
    ("provisioner", &["", "kubernetes.io/no-provisioner", "kubernetes.io/aws-ebs"]),
    ("preemptionPolicy", &["", "Never", "Sometimes"]),
    ("restartPolicy", &["", "Always", "Sometimes"]),
    ("protocol", &["", "SCTP", "tcp"]),
    ("hostIP", &["", "::", "10.0.0.1"]),
    ("image", &["", ":", "a/b:c/d"]),
    ("cpu", &["0", "9223372036854775807", "1e18", "-1", "1n", "4611686018427387904"]),
    ("memory", &["0", "16E", "8E", "-5", "1m", "20E", "9223372036854775807"]),
    ("pods", &["-1", "0", "1e9"]),
    ("storage", &["0", "16E", "-1Gi", "1m"]),
    ("example.com/gpu", &["-1", "9223372036854775807", "1500m"]),
    ("type", &["DisruptionTarget", "PodResizePending", ""]),
    ("reason", &["PreemptionByScheduler", "Infeasible", ""]),
    ("uid", &["someone-else", ""]),
    ("apiVersion", &["v1", "apps/v1"]),
];
/// Numbers that are changed.
const NUMBERS: &[(&str, &[i64])] = &[
    ("maxSkew", &[0, -1, i32::MAX as i64]),
    ("minDomains", &[0, -1, 100]),
    ("weight", &[0, -5, 1000, i32::MAX as i64, i32::MIN as i64]),
    ("hostPort", &[0, -1, 70000]),
    ("priority", &[i32::MIN as i64, i32::MAX as i64, -1]),
    ("disruptionsAllowed", &[-1, 0, i32::MAX as i64]),
    ("sizeBytes", &[-1, 0, i64::MAX]),
    ("count", &[-1, 0, i32::MAX as i64]),
];

/// Objects of a case as they were stored, with one to four changes.
#[must_use]
pub fn corrupt(case: &Case, stored: &[Value], random: &mut Random) -> Case {
    let mut objects = stored.to_vec();
    for _ in 0..random.between(1, 4) {
        let mut places = Vec::new();
        for (at, object) in objects.iter().enumerate() {
            // What tells the kind of an object is no field of it.
            for part in [
                "metadata",
                "spec",
                "status",
                "volumeBindingMode",
                "provisioner",
                "allowedTopologies",
                "capacity",
            ] {
                find(&object[part], &mut vec![part.to_owned()], at, &mut places);
            }
        }
        if places.is_empty() {
            break;
        }
        let (at, path) = places.swap_remove(random.below(places.len()));
        change(&mut objects[at], &path, random);
        drop_ambiguous_overhead(&mut objects[at]);
    }
    Case {
        id: format!("{}-corrupt", case.id),
        objects,
        config: case.config.clone(),
        extenders: case.extenders.clone(),
        pods: case.pods.clone(),
        validate: false,
        evaluate: false,
    }
}

fn find(value: &Value, here: &mut Vec<String>, at: usize, places: &mut Vec<(usize, Vec<String>)>) {
    match value {
        Value::Object(fields) => {
            for (key, child) in fields {
                here.push(key.clone());
                find(child, here, at, places);
                here.pop();
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                here.push(index.to_string());
                find(child, here, at, places);
                here.pop();
            }
        }
        Value::String(_) | Value::Number(_) => {
            let name = here.last().map_or("", String::as_str);
            let texts = value.is_string() && CHANGES.iter().any(|(key, _)| *key == name);
            let numbers = value.is_number() && NUMBERS.iter().any(|(key, _)| *key == name);
            // A pod's own UID names it in the caches; a second one like it is no question.
            let identity = here.len() == 2 && here[0] == "metadata";
            if (texts || numbers) && !identity {
                places.push((at, here.clone()));
            }
        }
        _ => {}
    }
}

fn change(object: &mut Value, path: &[String], random: &mut Random) {
    let mut at = object;
    for step in path {
        at = match at {
            Value::Array(items) => &mut items[step.parse::<usize>().expect("an index of this list")],
            other => &mut other[step.as_str()],
        };
    }
    let name = path.last().map_or("", String::as_str);
    if at.is_string() {
        if let Some((_, texts)) = CHANGES.iter().find(|(key, _)| *key == name) {
            *at = random.one(texts).into();
        }
    } else if let Some((_, numbers)) = NUMBERS.iter().find(|(key, _)| *key == name) {
        *at = (*random.element(numbers)).into();
    }
}
