//! The example's binary is built and asked: its plugin takes part in the decision, with the arguments of the configuration.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn explain(pod: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_example-node-number"))
        .args(["explain", "-o", "json", "--pod", pod, "--from"])
        .arg(root.join("../pods/cluster.yaml"))
        .arg("--config")
        .arg(root.join("config.yaml"))
        .output()
        .expect("the binary starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn a_plugin_of_ones_own_scores_nodes() {
    // Two nodes are feasible only once the taint of n2 is tolerated, so ask the pod that tolerates it.
    let answer = explain("default/web-1-tolerant-2");
    let raw = |node: &str| answer["nodes"][node]["scores"]["NodeNumber"]["raw"].clone();
    assert_eq!((raw("n1"), raw("n2")), (Value::from(0), Value::from(100)));
    assert_eq!(answer["best"], serde_json::json!(["n2"]));
}
