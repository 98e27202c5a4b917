//! `metrics.k8s.io`: the usage of pods and nodes, for `kubectl top`.
//!
//! No container runs here, so usage is made up: a share of a container's requests that is derived from its name, so that the same
//! pods always use the same. A node uses what its running pods use, and a little for itself.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::kubelet::{Amounts, amounts};
use crate::list::Selection;
use crate::object::Object;
use crate::reply::{self, Reply};
use crate::request::{ApiRequest, Verb};
use crate::resource::{NODES, POD_NODE_NAME, POD_PHASE, PODS};
use crate::store::Store;

/// Minimum and maximum usage of a container, in percent of its requests.
const SHARE_PERCENT: (u64, u64) = (20, 90);
/// Minimum and maximum usage of a container without requests: milli-CPU and bytes.
const UNASKED_CPU_MILLI: (u64, u64) = (1, 10);
const UNASKED_MEMORY_BYTES: (u64, u64) = (8 << 20, 48 << 20);
/// A node's own usage, in percent of its capacity.
const SYSTEM_PERCENT: i64 = 2;
/// The reported measurement window.
const WINDOW: &str = "15s";

/// Milli-CPU and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Use {
    cpu_milli: i64,
    memory_bytes: i64,
}

impl Use {
    fn plus(self, other: Use) -> Use {
        Use {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }

    fn json(self) -> Value {
        json!({ "cpu": format!("{}m", self.cpu_milli), "memory": format!("{}Ki", self.memory_bytes / 1024) })
    }
}

/// Answers a get or list of the group.
pub(crate) fn answer(store: &Store, request: &ApiRequest) -> Result<Reply, ApiError> {
    let resource = request.resource;
    let selection = Selection::parse(request)?;
    let wanted = |object: &Object| {
        selection.matches(object) && (request.verb == Verb::List || *object.name == *request.name)
    };
    let at = store.read(|tx| tx.clock()).now_seconds();
    let items: Vec<Value> = if resource.kind == "PodMetrics" {
        let snapshot = store.read(|tx| tx.snapshot(PODS, selection.namespace(), |o| runs(o) && wanted(o)));
        snapshot.objects.iter().map(|pod| of_pod(pod, &at)).collect()
    } else {
        let (nodes, pods) =
            store.read(|tx| (tx.snapshot(NODES, None, wanted), tx.snapshot(PODS, None, runs)));
        let mut used: HashMap<&str, Use> = HashMap::new();
        for pod in &pods.objects {
            let sum = used.entry(&pod.fields[POD_NODE_NAME]).or_default();
            *sum = containers(pod).into_iter().fold(*sum, |sum, (_, used)| sum.plus(used));
        }
        let used = |node: &Object| used.get(&*node.name).copied().unwrap_or_default();
        nodes.objects.iter().map(|node| of_node(node, used(node), &at)).collect()
    };
    if request.verb == Verb::Get {
        let found = items.into_iter().next();
        let found =
            found.ok_or_else(|| ApiError::not_found(resource.group, resource.plural, &request.name))?;
        return Ok(reply::json(StatusCode::OK, &found));
    }
    let list = json!({
        "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(), "metadata": {}, "items": items,
    });
    Ok(reply::json(StatusCode::OK, &list))
}

fn runs(pod: &Object) -> bool {
    &*pod.fields[POD_PHASE] == "Running"
}

fn of_pod(pod: &Arc<Object>, at: &str) -> Value {
    let containers: Vec<Value> = containers(pod)
        .into_iter()
        .map(|(name, used)| json!({ "name": name, "usage": used.json() }))
        .collect();
    let mut metrics = head("PodMetrics", pod, at);
    metrics["metadata"]["namespace"] = Value::from(&*pod.namespace);
    metrics["containers"] = containers.into();
    metrics
}

fn of_node(node: &Arc<Object>, by_pods: Use, at: &str) -> Value {
    let capacity = amounts(&node.value()["status"]["capacity"]);
    let all = Use {
        cpu_milli: capacity.get("cpu").copied().unwrap_or(0),
        memory_bytes: capacity.get("memory").copied().unwrap_or(0),
    };
    let share = |amount: i64| amount / 100 * SYSTEM_PERCENT;
    let used = by_pods.plus(Use { cpu_milli: share(all.cpu_milli), memory_bytes: share(all.memory_bytes) });
    // A machine cannot use more than it has.
    let used = Use {
        cpu_milli: used.cpu_milli.min(all.cpu_milli),
        memory_bytes: used.memory_bytes.min(all.memory_bytes),
    };
    let mut metrics = head("NodeMetrics", node, at);
    metrics["usage"] = used.json();
    metrics
}

fn head(kind: &str, object: &Object, at: &str) -> Value {
    let labels: Value =
        object.labels.iter().map(|(key, value)| (key.to_string(), Value::from(&**value))).collect();
    json!({
        "kind": kind, "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": { "name": &*object.name, "creationTimestamp": at, "labels": labels },
        "timestamp": at, "window": WINDOW,
    })
}

/// The containers of a pod that run all the time, with their usage.
fn containers(pod: &Object) -> Vec<(String, Use)> {
    let value = pod.value();
    let list = |field: &str| value["spec"][field].as_array().cloned().unwrap_or_default();
    let sidecars = list("initContainers").into_iter().filter(|c| c["restartPolicy"] == "Always");
    list("containers")
        .into_iter()
        .chain(sidecars)
        .map(|container| {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            let asked = amounts(&container["resources"]["requests"]);
            let used = used_by(&format!("{}/{}/{name}", pod.namespace, pod.name), &asked);
            (name, used)
        })
        .collect()
}

fn used_by(name: &str, asked: &Amounts) -> Use {
    let of = |resource: &str, unasked: (u64, u64)| {
        let dice = dice(&format!("{name}/{resource}"));
        let amount = match asked.get(resource).copied().and_then(|amount| u64::try_from(amount).ok()) {
            // In parts per thousand, so that requests can be arbitrarily large.
            Some(amount) if amount > 0 => {
                let permille = between((SHARE_PERCENT.0 * 10, SHARE_PERCENT.1 * 10), dice);
                (u128::from(amount) * u128::from(permille) / 1000) as u64
            }
            _ => between(unasked, dice),
        };
        i64::try_from(amount).unwrap_or(i64::MAX)
    };
    Use { cpu_milli: of("cpu", UNASKED_CPU_MILLI), memory_bytes: of("memory", UNASKED_MEMORY_BYTES) }
}

fn between((least, most): (u64, u64), dice: u64) -> u64 {
    least + dice % (most - least + 1)
}

/// A number derived from a text (FNV-1a, with its upper bits folded in).
fn dice(text: &str) -> u64 {
    let hash = text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(requests: Value) -> Amounts {
        amounts(&requests)
    }

    #[test]
    fn use_is_a_share_of_what_is_asked_and_the_same_each_time() {
        let requests = asked(json!({ "cpu": "2", "memory": "1Gi" }));
        let mut different = std::collections::BTreeSet::new();
        for i in 0..50 {
            let name = format!("default/web-{i}/c");
            let used = used_by(&name, &requests);
            assert_eq!(used, used_by(&name, &requests));
            assert!((400..=1800).contains(&used.cpu_milli), "{used:?}");
            assert!((1 << 30) / 5 <= used.memory_bytes && used.memory_bytes < 1 << 30, "{used:?}");
            different.insert(used.cpu_milli);
        }
        assert!(different.len() > 25, "{different:?}");
    }

    #[test]
    fn a_container_that_asks_for_nothing_uses_little_and_one_that_asks_for_everything_has_an_answer() {
        let used = used_by("a/b/c", &Amounts::new());
        assert!((1..=10).contains(&used.cpu_milli) && used.memory_bytes >= 8 << 20, "{used:?}");
        let used = used_by("a/b/c", &asked(json!({ "cpu": "8E", "memory": "7E" })));
        assert!(used.cpu_milli > 0 && used.memory_bytes > 0, "{used:?}");
    }
}
