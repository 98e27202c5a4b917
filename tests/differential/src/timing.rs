//! What one decision costs on both sides, each with its own scheduler's code and every node looked at.

use crate::case::Case;
use crate::oracle::Oracle;
use crate::ours::Ours;
use anyhow::{Context, Result};
use secondmate_cycle::{Evaluate, Outcome, Plain, Question, Random, Scope};
use secondmate_explain::{Cluster, Keep, read_values};
use secondmate_model::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Instant;

const SIZES: [usize; 3] = [100, 1000, 5000];
const REPEAT: usize = 5;
const PODS_PER_NODE: usize = 4;

/// The pods that are timed; all of them fit, since upstream's measurement leaves PostFilter out.
const PODS: [&str; 5] = ["basic", "node-affinity", "spread", "anti-affinity", "affinity-preferred"];

/// The table of both sides' times.
///
/// # Errors
/// The oracle cannot be started or refuses a case.
pub fn table() -> Result<String> {
    let mut oracle = Oracle::start(&["-bench", "-repeat", "5"])?;
    let mut text = format!(
        "{:>6} nodes, {PODS_PER_NODE} pods on each, every node filtered and scored; median of {REPEAT} in microseconds\n\
         (kube-scheduler: UpdateSnapshot and SchedulePod with 16 workers; secondmate: the plain evaluation on one thread)\n\n\
         {:>6}  {:20}  {:>14}  {:>12}  {:>6}\n",
        "N", "nodes", "pod", "kube-scheduler", "secondmate", "ratio"
    );
    for size in SIZES {
        let objects = cluster(size);
        let case = Case { id: size.to_string(), objects, ..Case::default() };
        let answer = oracle.ask(&case)?;
        anyhow::ensure!(answer.error.is_empty(), "the oracle refuses {size} nodes: {}", answer.error);
        let mine = ours(&case)?;
        for (name, mine) in PODS.iter().zip(mine) {
            let theirs = answer.results.iter().find(|r| r["pod"] == format!("default/{name}"));
            let result = theirs.with_context(|| format!("the oracle leaves pod {name} out"))?;
            anyhow::ensure!(result["result"] == "Schedulable", "pod {name} does not fit on {size} nodes");
            let theirs = result["ns"].as_f64().unwrap_or_default() / 1000.0;
            let _ =
                writeln!(text, "{size:>6}  {name:20}  {theirs:>14.0}  {mine:>12.0}  {:>6.2}", theirs / mine);
        }
    }
    Ok(text)
}

/// Microseconds of each pod's attempt.
fn ours(case: &Case) -> Result<Vec<f64>> {
    let profiles = Ours::default().profiles(&case.config)?;
    let (items, _) = read_values(&case.objects, "timing", Keep::COMPILED)?;
    let cluster = Cluster::load(items, &profiles);
    let mut random = Random::new(1);
    let mut start = 0;
    let mut medians = Vec::new();
    for pod in cluster.pending() {
        let mut times = Vec::new();
        for turn in 0..=REPEAT {
            let question = Question {
                profile: &profiles[0],
                snapshot: cluster.snapshot(),
                nominations: cluster.nominations(),
                now: Timestamp::from_secs(1_800_000_000),
                pod,
                scope: Scope::Sample { start },
            };
            let begun = Instant::now();
            let answer = Plain.evaluate(&question, &mut random);
            let spent = begun.elapsed();
            start = (start + answer.looked_at) % cluster.snapshot().nodes().len();
            anyhow::ensure!(
                matches!(answer.outcome, Outcome::Placed { .. }),
                "pod {} does not fit",
                pod.full_name()
            );
            if turn > 0 {
                times.push(spent);
            }
        }
        times.sort_unstable();
        medians.push(times[times.len() / 2].as_secs_f64() * 1e6);
    }
    Ok(medians)
}

fn cluster(size: usize) -> Vec<Value> {
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"app": "a0"}}}),
    ];
    for n in 0..size {
        let amounts = json!({"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"});
        let mut node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": format!("node-{n}"), "labels": {
                "kubernetes.io/hostname": format!("node-{n}"),
                "topology.kubernetes.io/zone": format!("zone-{}", n % 3),
                "disk": if n % 2 == 0 { "ssd" } else { "hdd" },
            }},
            "status": {
                "allocatable": amounts, "capacity": amounts,
                "images": (0..5).map(|i| json!({"names": [format!("image-{}:1", (n + i) % 20)], "sizeBytes": 100_000_000 * (i + 1)})).collect::<Vec<_>>(),
            },
        });
        if n % 10 == 0 {
            node["spec"] =
                json!({"taints": [{"key": "dedicated", "value": "x", "effect": "PreferNoSchedule"}]});
        }
        objects.push(node);
        for p in 0..PODS_PER_NODE {
            let number = n * PODS_PER_NODE + p;
            let mut pod = pod(&format!("run-{number}"), &format!("a{}", number % 10), json!({}));
            pod["spec"]["nodeName"] = format!("node-{n}").into();
            pod["status"] = json!({"phase": "Running"});
            if number.is_multiple_of(20) {
                pod["spec"]["affinity"] = json!({"podAntiAffinity": preferred("a0")});
            }
            objects.push(pod);
        }
    }
    for name in PODS {
        let spec = match name {
            "node-affinity" => json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "preference": {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["zone-1"]}]}}],
            }}}),
            "spread" => json!({"topologySpreadConstraints": [
                {"maxSkew": size as i64, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "a0"}}},
                {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "a0"}}},
            ]}),
            "anti-affinity" => {
                json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "a0"}}},
                ]}}})
            }
            "affinity-preferred" => json!({"affinity": {"podAffinity": preferred("a1")}}),
            _ => json!({}),
        };
        objects.push(pod(name, "a0", spec));
    }
    objects
}

fn preferred(app: &str) -> Value {
    json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": {
        "topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": {"app": app}},
    }}]})
}

fn pod(name: &str, app: &str, more: Value) -> Value {
    let mut spec = json!({
        "schedulerName": "my-scheduler",
        "containers": [{"name": "c", "image": "image-1:1", "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}}}],
    });
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": spec,
    })
}
