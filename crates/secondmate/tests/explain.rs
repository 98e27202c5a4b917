//! `secondmate explain`, from the command line: what is asked, what is answered, and what is refused.

use std::io::Write;
use std::process::{Command, Output, Stdio};

const CLUSTER: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {kubernetes.io/hostname: n1}}
status: {allocatable: {cpu: "2", memory: 4Gi, pods: 110}}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {taints: [{key: k, effect: NoSchedule}]}
status: {allocatable: {cpu: "2", memory: 4Gi, pods: 110}}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: low-1}
  spec: {nodeName: n1, priority: -10, containers: [{name: c, resources: {requests: {cpu: 1500m}}}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: web-1}
  spec: {schedulerName: my-scheduler, containers: [{name: c, resources: {requests: {cpu: 200m}}}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: web-2}
  spec: {schedulerName: my-scheduler, containers: [{name: c, resources: {requests: {cpu: 200m}}}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: big}
  spec: {schedulerName: my-scheduler, containers: [{name: c, resources: {requests: {cpu: 2}}}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: foreign}
  spec: {schedulerName: other, containers: [{name: c}]}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web}
"#;

fn explain(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_secondmate"))
        .arg("explain")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that refuses its options reads nothing.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

fn answer(arguments: &[&str], input: &str) -> (String, String) {
    let output = explain(arguments, input);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let errors = text(output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    (text(output.stdout), errors)
}

fn refusal(arguments: &[&str], input: &str) -> String {
    let output = explain(arguments, input);
    assert_eq!(output.status.code(), Some(1), "{arguments:?} is refused");
    assert!(output.stdout.is_empty(), "a refusal says nothing on standard output");
    String::from_utf8(output.stderr).expect("text").trim_end().to_owned()
}

#[test]
fn json_has_one_line_a_pod_in_the_order_of_the_file() {
    let (lines, remarks) = answer(&["--from", "-", "-o", "json"], CLUSTER);
    let lines: Vec<&str> = lines.lines().collect();
    let rejected = r#""n2":{"code":"UnschedulableAndUnresolvable","plugin":"TaintToleration","reasons":["node(s) had untolerated taint(s)"]}"#;
    let web = |name: &str| {
        format!(
            r#"{{"pod":"default/{name}","profile":"my-scheduler","result":"Schedulable","nodes":{{"n1":{{"code":"Success","total":0}},{rejected}}},"best":["n1"]}}"#
        )
    };
    let big = format!(
        r#"{{"pod":"default/big","profile":"my-scheduler","result":"Unschedulable","nodes":{{"n1":{{"code":"Unschedulable","plugin":"NodeResourcesFit","reasons":["Insufficient cpu"]}},{rejected}}},"best":[],"postFilter":{{"nominatedNode":"n1","victims":["default/low-1"]}},"message":"0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). preemption: found a potential placement for pod on node n1, preempting 1 victims"}}"#
    );
    assert_eq!(lines, [web("web-1"), web("web-2"), big]);
    assert_eq!(remarks, "not read, as scheduling does not look at them: apps/v1 Deployment (1)\n");
}

#[test]
fn the_table_tells_pods_that_are_alike_once() {
    let (text, _) = answer(&["--from", "-"], CLUSTER);
    let expected = "\
default/web-1 (my-scheduler) and 1 pod like it (default/web-2): fits on 1 of 2 nodes
  goes to n1
  does not fit on
    1  TaintToleration: node(s) had untolerated taint(s) (n2)

default/big (my-scheduler): fits on none of 2 nodes
  does not fit on
    1  NodeResourcesFit: Insufficient cpu (n1)
    1  TaintToleration: node(s) had untolerated taint(s) (n2)
  preemption: would evict 1 pod from node n1: default/low-1
  event: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). preemption: found a potential placement for pod on node n1, preempting 1 victims

";
    assert_eq!(text, expected);
}

#[test]
fn one_pod_may_be_asked_about_and_another_profile() {
    let (lines, _) = answer(&["--from", "-", "-o", "json", "--pod", "default/web-2"], CLUSTER);
    assert_eq!(lines.lines().count(), 1);
    assert!(lines.starts_with(r#"{"pod":"default/web-2","#), "{lines}");
    let (lines, _) = answer(&["--from", "-", "-o", "json", "--scheduler-name", "other"], CLUSTER);
    assert!(
        lines.starts_with(r#"{"pod":"default/foreign","profile":"other","result":"Schedulable","#),
        "{lines}"
    );
    let (lines, remarks) = answer(&["--from", "-", "--scheduler-name", "nobody"], CLUSTER);
    assert_eq!(lines, "");
    assert_eq!(
        remarks.lines().nth(1),
        Some("no pod waits for nobody: a pod that does has this spec.schedulerName and no spec.nodeName")
    );
}

#[test]
fn a_configuration_decides() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    let config = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n\
                  - schedulerName: my-scheduler\n  plugins: {multiPoint: {disabled: [{name: TaintToleration}]}}\n";
    std::fs::write(&path, config).expect("written");
    let path = path.to_str().expect("a path");
    let (lines, _) =
        answer(&["--from", "-", "-o", "json", "--config", path, "--pod", "default/web-1"], CLUSTER);
    assert!(lines.contains(r#""n2":{"code":"Success""#), "{lines}");
    std::fs::write(path, config.replace("disabled", "disabledd")).expect("written");
    let message = refusal(&["--from", "-", "--config", path], CLUSTER);
    assert!(message.contains("disabledd") && message.contains("line 5"), "{message}");
}

#[test]
fn what_cannot_be_answered_says_why_and_what_to_do() {
    for (arguments, input, expected) in [
        (
            vec!["--from", "/nowhere.yaml"],
            "",
            "error: cannot read /nowhere.yaml: give a readable file by --from: No such file or directory (os error 2)",
        ),
        (
            vec!["--from", "/"],
            "",
            "error: / is a folder: give a file, or `-` and the objects on standard input",
        ),
        (
            vec!["--from", "-", "--pod", "default/low-1"],
            CLUSTER,
            "error: standard input: pod default/low-1 does not wait for a node: it is on node n1; take spec.nodeName out to ask where it would go",
        ),
        (
            vec!["--from", "-", "--pod", "default/foreign"],
            CLUSTER,
            "error: standard input: pod default/foreign does not wait for a node: its scheduler is other; ask with a configuration that has a profile of this name",
        ),
        (
            vec!["--from", "-", "--pod", "web-1"],
            CLUSTER,
            "error: standard input: pod web-1 is not in the file; name it as NAMESPACE/NAME",
        ),
        (
            vec!["--from", "-"],
            "apiVersion: v1\nkind: Node\nmetadata: {name: n}\nstatus: {allocatable: {cpu: many}}\n",
            "error: standard input: document 1: node n: status.allocatable[\"cpu\"]: \"many\" is no quantity: it is not a number with an optional suffix; write a number with an optional suffix, such as 500m, 2, 1.5, 128Mi or 1G",
        ),
        (
            vec!["--from", "-"],
            "nodes: 3\n",
            "error: standard input: document 1 is no Kubernetes object: kind is missing; begin it with apiVersion and kind",
        ),
    ] {
        assert_eq!(refusal(&arguments, input), expected, "{arguments:?}");
    }
    let message = refusal(&["--from", "-"], "apiVersion: v1\nkind: [\n");
    assert!(message.starts_with("error: standard input: document 1: not valid YAML: "), "{message}");
}
