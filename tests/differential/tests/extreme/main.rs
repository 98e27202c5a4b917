//! Objects that an API server stores, with amounts that no machine has: under `parity: sensible` what is odd about one object never
//! fails the attempt of another pod, and nothing is placed where it cannot be.

mod inflate;

use inflate::inflate;
use secondmate_differential::generate;
use secondmate_differential::ours::Ours;
use secondmate_differential::random::Random;
use serde_json::{Value, json};

const CASES: u64 = 150;

/// The default profile, or one whose plugins weigh as much as they may.
fn configuration(parity: &str, heavy: bool) -> Value {
    let profile = if heavy {
        let heavy = |plugin: &&str| json!({"name": plugin, "weight": i32::MAX});
        let plugins: Vec<Value> = HEAVY.iter().map(heavy).collect();
        json!({
            "schedulerName": "my-scheduler",
            "plugins": {"multiPoint": {"enabled": plugins}},
            "pluginConfig": [{"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 100}}],
        })
    } else {
        json!({"schedulerName": "my-scheduler"})
    };
    let configuration = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "percentageOfNodesToScore": 100,
        "profiles": [profile],
    });
    let own =
        json!({"apiVersion": "secondmate.dev/v1alpha1", "kind": "SecondmateConfiguration", "parity": parity});
    format!("{configuration}\n---\n{own}\n").into()
}

/// Plugins that score.
const HEAVY: &[&str] = &[
    "ImageLocality",
    "InterPodAffinity",
    "NodeAffinity",
    "NodeResourcesBalancedAllocation",
    "NodeResourcesFit",
    "PodTopologySpread",
    "TaintToleration",
];

/// The case without the other pods, and with nodes that have nothing but room, and their labels where `labelled`: what fails here fails
/// because of the pod itself, its volumes, or what it belongs to. (Without its labels a node may be none for the pod, and where fewer than two
/// are left nothing is scored.)
fn alone(objects: &[Value], pod: &str, labelled: bool) -> Vec<Value> {
    let kept = |object: &&Value| object["kind"] != "Pod" || full_name(object) == pod;
    let mut alone: Vec<Value> = objects.iter().filter(kept).cloned().collect();
    for node in alone.iter_mut().filter(|object| object["kind"] == "Node") {
        let name = node["metadata"]["name"].clone();
        let labels = if labelled {
            node["metadata"]["labels"].clone()
        } else {
            json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": "z1", "rack": "1"})
        };
        node["metadata"] = json!({"name": name, "labels": labels});
        node["spec"] = json!({});
        node["status"] = json!({"allocatable": {"cpu": "64", "memory": "256Gi", "pods": "110"}});
    }
    alone
}

fn full_name(pod: &Value) -> String {
    let part = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    format!("{}/{}", part("namespace"), part("name"))
}

/// What is wrong with an answer by itself: one line each.
fn wrong(result: &Value, beyond: &[String]) -> Vec<String> {
    let pod = result["pod"].as_str().unwrap_or_default();
    let message = result["message"].as_str().unwrap_or_default();
    let mut wrong = Vec::new();
    if message.contains("invalid score") || message.contains("panicked") {
        wrong.push(message.to_owned());
    }
    for (name, node) in result["nodes"].as_object().into_iter().flatten() {
        if node["code"] == "Success" && beyond.iter().any(|other| other == pod) {
            wrong.push(format!("asks for more than there is and fits on {name}"));
        }
        for (plugin, score) in node["scores"].as_object().into_iter().flatten() {
            if !(0..=100).contains(&score["normalized"].as_i64().unwrap_or(-1)) {
                wrong.push(format!("on {name}: {plugin} {score}"));
            }
        }
    }
    wrong
}

/// What went wrong with a parity: one line each.
fn faults(parity: &str, seed: u64) -> Vec<String> {
    let mut ours = Ours::default();
    let mut faults = Vec::new();
    for index in 0..CASES {
        let mut case = generate::case(seed, index);
        let mut random = Random::new(seed, index);
        let config = configuration(parity, random.chance(30));
        let beyond = inflate(&mut case.objects, &mut random);
        let mut answer = |objects: &[Value], pods: &[String]| {
            ours.answer(objects, &config, &[], pods).expect("objects and a configuration that are read")
        };
        let answers = answer(&case.objects, &[]);
        for result in &answers.explained {
            let pod = result["pod"].as_str().unwrap_or_default();
            let mut wrong = wrong(result, &beyond);
            if result["result"] == "Error" {
                let mut fails = |labelled| {
                    let own = answer(&alone(&case.objects, pod, labelled), &[pod.to_owned()]).explained;
                    own.iter().any(|result| result["result"] == "Error")
                };
                if !fails(false) && !fails(true) {
                    wrong.push(format!("fails because of other objects: {}", result["message"]));
                }
            }
            faults.extend(wrong.into_iter().map(|wrong| format!("case {index}: {pod}: {wrong}")));
        }
        // The scheduler itself, which keeps sums from pod to pod and asks the standing evaluation.
        let differs = answers.judge_scheduler(&answers.explained).expect("pods of the case");
        faults.extend(differs.map(|difference| format!("case {index}: the scheduler differs: {difference}")));
    }
    faults
}

#[test]
fn extremes_of_one_object_are_no_other_pods_trouble() {
    let given = std::env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"));
    let seed = given.unwrap_or_else(|| std::process::id().into());
    println!("seed {seed}; again with SEED={seed}");
    let faults = faults("sensible", seed);
    assert!(faults.is_empty(), "seed {seed}:\n{}", faults.join("\n"));
}

/// Else the test above could not fail.
#[test]
fn as_upstream_has_it_each_kind_of_trouble_comes_up() {
    let faults = faults("strict", 1);
    for kind in ["invalid score", "fits on", "fails because of other objects"] {
        assert!(faults.iter().any(|fault| fault.contains(kind)), "nothing with {kind:?}");
    }
}
