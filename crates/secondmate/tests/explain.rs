//! `secondmate explain`, from the command line: questions, answers, and what is rejected.

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
  spec: {schedulerName: my-scheduler, nodeName: n1, priority: -10, containers: [{name: c, resources: {requests: {cpu: 1500m}}}]}
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
    // A program that rejects its options reads nothing.
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
    assert_eq!(
        remarks,
        "not read, as scheduling does not look at them: apps/v1 Deployment (1)\n\
         1 pod waits for other, not explained here: ask with --scheduler-name other\n\
         standard input: no PodDisruptionBudget is there: whom preemption evicts is told as if the cluster had none\n"
    );
}

#[test]
fn the_table_tells_pods_that_are_alike_once() {
    let (text, _) = answer(&["--from", "-"], CLUSTER);
    let expected = "\
default/web-1 (my-scheduler) and 1 pod like it (default/web-2): fits on 1 of 2
  nodes
  goes to n1
  does not fit on
    1 node (TaintToleration): node(s) had untolerated taint(s)
      n2: taint k:NoSchedule is not tolerated

default/big (my-scheduler): fits on none of 2 nodes
  does not fit on
    1 node (NodeResourcesFit): Insufficient cpu
      n1: asks 2 cpu, 500m of 2 free
    1 node (TaintToleration): node(s) had untolerated taint(s)
      n2: taint k:NoSchedule is not tolerated
  preemption: would evict 1 pod from node n1: default/low-1
  event: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated
    taint(s). preemption: found a potential placement for pod on node n1,
    preempting 1 victims

";
    assert_eq!(text, expected);
}

#[test]
fn one_pod_may_be_asked_about_and_another_profile() {
    let (lines, _) = answer(&["--from", "-", "-o", "json", "--pod", "default/web-2"], CLUSTER);
    assert_eq!(lines.lines().count(), 1);
    assert!(lines.starts_with(r#"{"pod":"default/web-2","#), "{lines}");
    // Without a namespace it is in `default`, and the scheduler is the pod's own.
    let (lines, _) = answer(&["--from", "-", "-o", "json", "foreign", "--pod", "web-1"], CLUSTER);
    assert!(lines.starts_with(r#"{"pod":"default/web-1","profile":"my-scheduler","#), "{lines}");
    assert!(lines.contains(r#"{"pod":"default/foreign","profile":"other","#), "{lines}");
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

/// The pod fills the only node on which it fits: if it were left there, there would be no room for it.
#[test]
fn a_pod_that_is_on_a_node_is_asked_as_if_it_were_not() {
    let (out, errors) = answer(&["-f", "-", "low-1", "-o", "json"], CLUSTER);
    let explained: serde_json::Value = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!(
        (&explained["pod"], &explained["best"]),
        (&"default/low-1".into(), &serde_json::json!(["n1"])),
        "{out}"
    );
    let said = "pod default/low-1 is on node n1: the answer is where it would go now, had it not been placed";
    assert!(errors.contains(said), "{errors}");
    // Others see it where it is.
    let (out, errors) = answer(&["-f", "-", "big"], CLUSTER);
    assert!(out.contains("Insufficient cpu") && !errors.contains("had it not been placed"), "{out}{errors}");
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
            "error: cannot read /nowhere.yaml: No such file or directory (os error 2); give a readable file by -f",
        ),
        (
            vec!["--from", "/"],
            "",
            "error: / is a folder: give a file, or `-` and the objects on standard input",
        ),
        (
            vec!["--from", "-", "--pod", "default/old"],
            "apiVersion: v1\nkind: Pod\nmetadata: {name: old}\nspec: {nodeName: n1, containers: [{name: c}]}\nstatus: {phase: Succeeded}\n",
            "error: standard input: pod default/old does not wait for a node: it has ended",
        ),
        (
            vec!["--from", "-", "--scheduler-name", "my-scheduler", "--pod", "default/foreign"],
            CLUSTER,
            "error: standard input: pod default/foreign does not wait for a node: its scheduler is other; ask with a configuration that has a profile of this name",
        ),
        (
            vec!["--from", "-", "--pod", "web-9"],
            CLUSTER,
            "error: standard input: pod default/web-9 is not there; name it as NAMESPACE/NAME",
        ),
        (
            vec!["--from", "-"],
            "apiVersion: v1\nkind: Node\nmetadata: {name: n}\nstatus: {allocatable: {cpu: many}}\n",
            "error: standard input: line 1: node n: status.allocatable[\"cpu\"]: \"many\" is no quantity: it is not a number with an optional suffix; write a number with an optional suffix, such as 500m, 2, 1.5, 128Mi or 1G",
        ),
        (
            vec!["--from", "-"],
            "nodes: 3\n",
            "error: standard input: line 1 is no Kubernetes object: kind is missing; begin it with apiVersion and kind",
        ),
    ] {
        assert_eq!(refusal(&arguments, input), expected, "{arguments:?}");
    }
    let message = refusal(&["--from", "-"], "apiVersion: v1\nkind: [\n");
    assert!(message.starts_with("error: standard input: line 2: not valid YAML: "), "{message}");
}

/// The best nodes for each pod, and the pods that preemption would evict, by the pod's name.
fn placed(arguments: &[&str], input: &str) -> (Vec<String>, String) {
    let (lines, remarks) = answer(&[&["--from", "-", "-o", "json"], arguments].concat(), input);
    let told = lines.lines().map(|line| {
        let told: serde_json::Value = serde_json::from_str(line).expect("an answer");
        let victims = match &told["postFilter"]["victims"] {
            serde_json::Value::Null => String::new(),
            victims => format!(" evicts {victims}"),
        };
        format!("{} {}{victims}", told["pod"].as_str().expect("a name"), told["best"])
    });
    (told.collect(), remarks)
}

#[test]
fn nominations_of_other_schedulers_count() {
    let cluster = r#"
{apiVersion: v1, kind: Node, metadata: {name: n}, status: {allocatable: {cpu: "6", pods: 9}}}
---
apiVersion: v1
kind: Pod
metadata: {name: theirs, uid: t}
spec: {schedulerName: other, priority: 5, containers: [{name: c, resources: {requests: {cpu: "4"}}}]}
status: {nominatedNodeName: n}
---
apiVersion: v1
kind: Pod
metadata: {name: beside, uid: a}
spec: {schedulerName: my-scheduler, containers: [{name: c, resources: {requests: {cpu: "2"}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: instead, uid: b}
spec: {schedulerName: my-scheduler, priority: 5, containers: [{name: c, resources: {requests: {cpu: "3"}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: above, uid: c}
spec: {schedulerName: my-scheduler, priority: 6, containers: [{name: c, resources: {requests: {cpu: "3"}}}]}
"#;
    let (told, _) = placed(&[], cluster);
    assert_eq!(told, [r#"default/beside ["n"]"#, "default/instead []", r#"default/above ["n"]"#]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = own_configuration(&folder, "nominationsOfOthers: ignore");
    let (told, _) = placed(&["--config", &path], cluster);
    assert_eq!(told, [r#"default/beside ["n"]"#, r#"default/instead ["n"]"#, r#"default/above ["n"]"#]);
}

/// A configuration whose second document has this line; its path.
fn own_configuration(folder: &tempfile::TempDir, line: &str) -> String {
    let path = folder.path().join("config.yaml");
    let text = format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{{schedulerName: my-scheduler}}]\n\
         ---\napiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\n{line}\n"
    );
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("a path").to_owned()
}

#[test]
fn pods_of_other_schedulers_are_evicted_only_where_run_does_it() {
    let cluster = r#"
{apiVersion: v1, kind: Node, metadata: {name: n}, status: {allocatable: {cpu: "2", pods: 9}}}
---
apiVersion: v1
kind: Pod
metadata: {name: theirs, uid: t}
spec: {schedulerName: other, nodeName: n, containers: [{name: c, resources: {requests: {cpu: "2"}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: ours, uid: o}
spec: {schedulerName: my-scheduler, priority: 9, containers: [{name: c, resources: {requests: {cpu: "1"}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: default, uid: d}
spec: {priority: 9, containers: [{name: c, resources: {requests: {cpu: "1"}}}]}
"#;
    let folder = tempfile::tempdir().expect("a folder");
    let config = |own: &str| own_configuration(&folder, own);
    let spared = "default/ours []";
    let evicted = r#"default/ours [] evicts ["default/theirs"]"#;
    assert_eq!(placed(&[], cluster).0, [spared]);
    for own in
        ["preemption: {victims: own}", "preemption: {victims: tenant}", "preemptOtherSchedulers: false"]
    {
        assert_eq!(placed(&["--config", &config(own)], cluster).0, [spared], "{own}");
    }
    for own in ["preemption: {victims: all}", "preemptOtherSchedulers: true"] {
        assert_eq!(placed(&["--config", &config(own)], cluster).0, [evicted], "{own}");
    }
    assert_eq!(
        placed(&["--scheduler-name", "default-scheduler"], cluster).0,
        [r#"default/default [] evicts ["default/theirs"]"#]
    );
}

#[test]
fn what_a_file_lacks_is_said() {
    let whole = r#"
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {allocatable: {cpu: "2", pods: 9}}}
---
{apiVersion: storage.k8s.io/v1, kind: CSINode, metadata: {name: n1}, spec: {drivers: [{name: disk.example.com, nodeID: n1}]}}
---
{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: disk.example.com}, spec: {storageCapacity: true}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: disk}, provisioner: disk.example.com, volumeBindingMode: WaitForFirstConsumer}
---
{apiVersion: storage.k8s.io/v1, kind: CSIStorageCapacity, metadata: {name: c}, storageClassName: disk, nodeTopology: {}, capacity: 9Gi}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {storageClassName: disk, resources: {requests: {storage: 1Gi}}}}
---
{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-5}, spec: {selector: {matchLabels: {app: web}}}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: web}, spec: {selector: {matchLabels: {app: web}}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: default}}
---
{apiVersion: v1, kind: Pod, metadata: {name: old, uid: o}, spec: {nodeName: n1, containers: [{name: c}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-5-a, uid: w, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5, uid: r, controller: true}]}
spec:
  schedulerName: my-scheduler
  priority: 3
  volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]
  affinity:
    podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: z, namespaceSelector: {matchLabels: {a: b}}}}]}
  containers: [{name: c}]
"#;
    let remarks = |left_out: &str| {
        let kept: Vec<&str> =
            whole.split("---\n").filter(|d| left_out.is_empty() || !d.contains(left_out)).collect();
        answer(&["--from", "-"], &kept.join("---\n")).1
    };
    assert_eq!(remarks(""), "");
    for (left_out, expected) in [
        (
            "kind: CSINode",
            "no CSINode is there for 1 of 1 nodes (n1): how many volumes they take is not known",
        ),
        (
            "kind: CSIDriver",
            "CSIDriver disk.example.com is not there, and provisions StorageClass disk: the room for its volumes is not looked at",
        ),
        (
            "kind: CSIStorageCapacity",
            "no CSIStorageCapacity of StorageClass disk is there, although driver disk.example.com publishes them: no node has room for its volumes",
        ),
        ("kind: StorageClass", "StorageClass disk is not there, and claim default/data asks for it"),
        (
            "kind: ReplicaSet, metadata",
            "ReplicaSet default/web-5 is not there, and owns default/web-5-a: they are not spread as in the cluster",
        ),
        (
            "kind: PodDisruptionBudget",
            "no PodDisruptionBudget is there: whom preemption evicts is told as if the cluster had none",
        ),
        (
            "kind: Namespace",
            "no Namespace is there, and default/web-5-a selects namespaces by label: none is selected",
        ),
    ] {
        assert_eq!(remarks(left_out), format!("standard input: {expected}\n"), "without {left_out}");
    }
}

#[test]
fn manifests_are_evaluated_as_an_api_server_would_store_them() {
    let manifests = r#"
{apiVersion: v1, kind: Node, metadata: {name: plain, labels: {n: plain}}, status: {allocatable: {cpu: "2", memory: 4Gi, pods: 9}}}
---
{apiVersion: v1, kind: Node, metadata: {name: fpga, labels: {n: fpga}}, status: {allocatable: {cpu: "2", memory: 4Gi, pods: 9, example.com/fpga: 1}}}
---
# the class comes after some pods that name it
{apiVersion: v1, kind: Pod, metadata: {name: urgent}, spec: {schedulerName: my-scheduler, priorityClassName: now, nodeSelector: {n: plain}, containers: [{name: c, resources: {limits: {cpu: 1500m}}}]}}
---
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: now}, value: 50}
---
{apiVersion: v1, kind: Pod, metadata: {name: tenant}, spec: {schedulerName: my-scheduler, nodeName: plain, containers: [{name: c, resources: {limits: {cpu: "1"}}}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: fpga}, spec: {schedulerName: my-scheduler, containers: [{name: c, resources: {limits: {example.com/fpga: "1"}}}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: dns}, spec: {nodeName: fpga, hostNetwork: true, containers: [{name: c, ports: [{containerPort: 53, protocol: UDP}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: dns-2}, spec: {schedulerName: my-scheduler, hostNetwork: true, nodeSelector: {n: fpga}, containers: [{name: c, ports: [{containerPort: 53, protocol: UDP}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: blue, labels: {app: a, rev: blue}}, spec: {nodeName: fpga, containers: [{name: c}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: green, labels: {app: a, rev: green}}
spec:
  schedulerName: my-scheduler
  nodeSelector: {n: fpga}
  affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: n, labelSelector: {matchLabels: {app: a}}, matchLabelKeys: [rev]}]}}
  containers: [{name: c}]
---
{apiVersion: v1, kind: Pod, metadata: {name: lost}, spec: {schedulerName: my-scheduler, priorityClassName: nowhere, containers: [{name: c}]}}
"#;
    let (told, remarks) = placed(&[], manifests);
    assert_eq!(
        told,
        [
            r#"default/urgent [] evicts ["default/tenant"]"#,
            r#"default/fpga ["fpga"]"#,
            "default/dns-2 []",
            r#"default/green ["fpga"]"#,
            r#"default/lost ["fpga"]"#,
        ]
    );
    let lines: Vec<&str> = remarks.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "filled in as an API server would (limits stand for requests, classes for priorities), since no UID says that they were in one: 6 pods (default/urgent, default/tenant, default/fpga, …)",
            "an API server would say: pods \"lost\" is forbidden: no PriorityClass with name nowhere was found; evaluated as written",
        ]
    );
}

#[test]
fn all_faults_of_a_file_are_told() {
    let message = refusal(
        &["--from", "-"],
        "apiVersion: v1\nkind: Node\nmetadata: {}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: [a]}\n",
    );
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(
        lines[..2],
        ["error: standard input has 2 faults:", "  - line 1: a Node without metadata.name; give it one"]
    );
    assert!(lines[2].starts_with("  - line 5: Pod p: invalid type: sequence"), "{message}");
    let table = refusal(&["--from", "-"], "NAMESPACE   NAME   READY\ndefault     web    1/1\n");
    assert_eq!(
        table,
        "error: standard input: line 1 looks like a table that `kubectl get` printed; add `-o yaml` to the command"
    );
}

#[test]
fn tenants_are_explained_as_the_scheduler_tells_of_them() {
    let cluster = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: red, labels: {tenant: red}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {tenant: blue}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {pool: red}}, status: {allocatable: {cpu: "1", pods: 9}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2, labels: {pool: blue}}, status: {allocatable: {cpu: "9", pods: 9}}}
---
apiVersion: v1
kind: Pod
metadata: {name: fits, namespace: red, uid: a}
spec: {schedulerName: my-scheduler, containers: [{name: c, resources: {requests: {cpu: "1"}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: large, namespace: red, uid: b}
spec: {schedulerName: my-scheduler, containers: [{name: c, resources: {requests: {cpu: "2"}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: shop, uid: c}
spec: {schedulerName: my-scheduler, containers: [{name: c}]}
"#;
    let folder = tempfile::tempdir().expect("a folder");
    let tenants = "tenants: [{schedulerName: my-scheduler, namespaces: {selector: {matchLabels: {tenant: red}}}, \
                   nodes: {selector: {matchLabels: {pool: red}}}}, {schedulerName: blue-scheduler, namespaces: {names: [shop]}}]";
    let config = own_configuration(&folder, tenants);
    assert_eq!(
        placed(&["--config", &config], cluster).0,
        [r#"red/fits ["n1"]"#, "red/large []", "shop/stranger []"]
    );
    let output = explain(&["--config", &config, "-f", "-"], cluster);
    let text = String::from_utf8(output.stdout).expect("a text");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "1 node (TenantNodes): node(s) didn't match the tenant's node selector n2: does not match pool=red of the tenant's node selector",
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match the tenant's node selector.",
        r#"namespace "shop" may not use scheduler "my-scheduler", which is for those labelled tenant=red; it may use "blue-scheduler""#,
        "namespace shop is not labelled tenant=red",
        "labels on namespace shop that match tenant=red",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}
