//! Objects that an API server stores, with amounts that no machine has: under `parity: sensible` the numbers of one pod never fail
//! the attempt of another, and nothing is placed where it cannot be.

use secondmate_differential::generate;
use secondmate_differential::ours::Ours;
use secondmate_differential::random::Random;
use serde_json::{Value, json};

const CASES: u64 = 400;
const AMOUNTS: &[(&str, &[&str])] = &[
    ("cpu", &["4611686018427387.904", "4611686018427387904", "8E", "1e18", "9223372036854775807m"]),
    ("memory", &["8E", "9223372036854775807", "4611686018427387904", "7E"]),
    ("ephemeral-storage", &["9223372036854775807", "8E"]),
    ("example.com/gpu", &["4611686018427387904", "9223372036854775807"]),
];
/// What the generator lets the largest nodes offer: room for the pods with these amounts.
const LARGEST: &[&str] = &["9223372036854775807", "9E", "16E"];

fn configuration(parity: &str) -> Value {
    format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\npercentageOfNodesToScore: 100\n\
         profiles:\n- schedulerName: my-scheduler\n---\napiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\n\
         parity: {parity}\n"
    )
    .into()
}

/// Makes some pods ask for amounts beyond all bounds, and some nodes and volumes of such sizes. No node is left that has room for
/// those pods. Returns their names.
fn inflate(objects: &mut [Value], random: &mut Random) -> Vec<String> {
    let mut extreme = Vec::new();
    for object in objects {
        match object["kind"].as_str() {
            Some("Pod") if random.chance(25) => {
                let (resource, amounts) = random.element(AMOUNTS);
                let amount = random.one(amounts);
                // Requests of the pod as a whole would replace those of the container.
                object["spec"].as_object_mut().expect("a pod has a spec").remove("resources");
                object["spec"]["containers"][0]["resources"]["requests"][*resource] = amount.into();
                if *resource == "example.com/gpu" {
                    object["spec"]["containers"][0]["resources"]["limits"][*resource] = amount.into();
                }
                let name = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
                extreme.push(format!("{}/{}", name("namespace"), name("name")));
            }
            Some("Node") => {
                if random.chance(20) {
                    let images = json!([{"names": ["big:1", "huge:1"], "sizeBytes": i64::MAX}]);
                    object["status"]["images"] = images;
                }
                // Some nodes of the generator offer as much as the pods above ask for.
                for (_, amount) in object["status"]["allocatable"].as_object_mut().into_iter().flatten() {
                    if amount.as_str().is_some_and(|amount| LARGEST.contains(&amount)) {
                        *amount = "1".into();
                    }
                }
            }
            Some("PersistentVolumeClaim") if random.chance(20) => {
                object["spec"]["resources"]["requests"]["storage"] = "8E".into();
            }
            Some("PersistentVolume") if random.chance(20) => {
                object["spec"]["capacity"]["storage"] = "9E".into()
            }
            _ => {}
        }
    }
    extreme
}

/// What went wrong with a parity: one line each.
fn faults(parity: &str, seed: u64) -> Vec<String> {
    let config = configuration(parity);
    let mut ours = Ours::default();
    let mut faults = Vec::new();
    for index in 0..CASES {
        let mut case = generate::case(seed, index);
        let mut random = Random::new(seed, index);
        let extreme = inflate(&mut case.objects, &mut random);
        let answers =
            ours.answer(&case.objects, &config, &[], &[]).expect("objects and a configuration that are read");
        for result in answers.explained {
            let pod = result["pod"].as_str().unwrap_or_default();
            let message = result["message"].as_str().unwrap_or_default();
            if message.contains("invalid score") {
                faults.push(format!("case {index}: {pod}: {message}"));
            }
            for (name, node) in result["nodes"].as_object().into_iter().flatten() {
                if node["code"] == "Success" && extreme.iter().any(|other| other == pod) {
                    faults
                        .push(format!("case {index}: {pod} asks for more than there is and fits on {name}"));
                }
                for (plugin, score) in node["scores"].as_object().into_iter().flatten() {
                    if !(0..=100).contains(&score["normalized"].as_i64().unwrap_or(-1)) {
                        faults.push(format!("case {index}: {pod} on {name}: {plugin} {score}"));
                    }
                }
            }
        }
    }
    faults
}

#[test]
fn extreme_amounts_of_one_pod_are_no_other_pods_trouble() {
    let seed = std::process::id().into();
    println!("seed {seed}");
    let faults = faults("sensible", seed);
    assert!(faults.is_empty(), "seed {seed}:\n{}", faults.join("\n"));
}

/// Else the test above could not fail.
#[test]
fn as_upstream_has_it_both_kinds_of_trouble_come_up() {
    let faults = faults("strict", 1);
    for kind in ["invalid score", "fits on"] {
        assert!(faults.iter().any(|fault| fault.contains(kind)), "nothing with {kind:?}");
    }
}
