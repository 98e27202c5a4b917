//! `secondmate playground`, started as by its users: the built program, its output and its exit code.

#![allow(clippy::unwrap_used)] // All of this is test code, where a panic is how a failure looks.

mod support;

use secondmate_harness::Lines;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::{Killed, PATIENCE};

fn playground(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_secondmate"));
    // Log settings in the test's environment must not change the output.
    command.arg("playground").args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(arguments: &[&str]) -> Output {
    support::output(playground(arguments)).unwrap()
}

/// The JSON summary of a playground that succeeds.
fn summary(output: &Output) -> Value {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(out.lines().count(), 1, "one line, nothing else: {out}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// The error of a playground that does not start.
fn refusal(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    said.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{said}")).to_owned()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The reasons, without their messages.
fn groups(summary: &Value) -> Vec<String> {
    let row = |left: &Value| {
        format!("{} {} {}", left["pods"], left["group"].as_str().unwrap(), left["reason"].as_str().unwrap())
    };
    summary["reasons"].as_array().unwrap().iter().map(row).collect()
}

fn message<'a>(summary: &'a Value, group: &str) -> &'a str {
    let all = summary["reasons"].as_array().unwrap();
    let left = all.iter().find(|left| left["group"] == group).unwrap_or_else(|| panic!("{summary}"));
    left["message"].as_str().unwrap()
}

#[test]
fn all_pods_are_bound_and_measured() {
    let output = run(&["--nodes", "10", "--pods", "50", "--rate", "1000", "-o", "json"]);
    let summary = summary(&output);
    assert_eq!((&summary["bound"], &summary["pending"]), (&json!(50), &json!(0)));
    assert_eq!((&summary["reasons"], &summary["ended"]), (&json!([]), &json!("settled")));
    assert!(summary["pods_per_s"].as_f64().unwrap() > 0.0, "{summary}");
    let (p50, p99) =
        (summary["latency_ms"]["p50"].as_f64().unwrap(), summary["latency_ms"]["p99"].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99, "{summary}");
    let zones = summary["spread"]["zones"].as_array().unwrap();
    assert_eq!(zones.iter().map(|zone| zone["pods"].as_u64().unwrap()).sum::<u64>(), 50);
    assert_eq!(zones.iter().map(|zone| zone["nodes"].as_u64().unwrap()).collect::<Vec<_>>(), [4, 3, 3]);
    assert_eq!(summary["spread"]["nodes"], 10);
    // Plain lines if standard error is not a terminal, and no log.
    let lines = text(&output.stderr);
    assert!(lines.starts_with("10 nodes, API server at http://127.0.0.1:"), "{lines}");
    assert!(lines.lines().any(|line| line.starts_with("50/50 pods bound")), "{lines}");
    assert!(!lines.contains("WARN") && !lines.contains("ERROR") && !lines.contains('\u{1b}'), "{lines}");
}

#[test]
fn the_text_summary_reads_well() {
    // Long enough for a rate to be meaningful.
    let output = run(&["--nodes", "3", "--pods", "9", "--zones", "1", "--rate", "100"]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{out}");
    for part in ["9 of 9 pods bound on 3 nodes in ", "pods/s", "latency   p50 ", ", p99 ", "per node  min "] {
        assert!(out.contains(part), "{part:?} is missing: {out}");
    }
    assert!(!out.contains("zone") && !out.contains("not bound"), "{out}");
}

#[test]
fn pods_left_over_have_a_reason_by_group() {
    let summary = summary(&run(&["--nodes", "1", "--node-pods", "12", "--pods", "30", "-o", "json"]));
    assert_eq!((&summary["bound"], &summary["pending"]), (&json!(12), &json!(18)));
    let left: u64 =
        summary["reasons"].as_array().unwrap().iter().map(|left| left["pods"].as_u64().unwrap()).sum();
    assert_eq!(left, 18);
    for left in summary["reasons"].as_array().unwrap() {
        assert_eq!(left["reason"], "Unschedulable");
        assert!(
            left["message"].as_str().unwrap().starts_with("0/1 nodes are available: 1 Too many pods."),
            "{left}"
        );
    }
    assert_eq!(summary["spread"]["pods_per_node"], json!({"min": 12, "median": 12, "max": 12}));
}

const MANIFESTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: team}
spec:
  replicas: 5
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      schedulerName: my-scheduler
      containers: [{name: c, image: x, resources: {requests: {cpu: 20}}}]
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: theirs}, spec: {schedulerName: elsewhere, containers: [{name: c, image: x}]}}
- apiVersion: v1
  kind: Pod
  metadata: {name: gated}
  spec: {schedulerName: my-scheduler, schedulingGates: [{name: example.com/wait}], containers: [{name: c, image: x}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: pinned}
  spec: {schedulerName: my-scheduler, nodeSelector: {disk: ssd}, containers: [{name: c, image: x}]}
";

#[test]
fn own_manifests_are_scheduled_instead_of_the_default_pods() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "all.yaml", MANIFESTS);
    let output = run(&["--nodes", "3", "-f", &file, "-o", "json"]);
    let summary = summary(&output);
    assert_eq!((&summary["bound"], &summary["pending"]), (&json!(3), &json!(5)));
    assert_eq!(
        groups(&summary),
        [
            "2 Deployment team/web Unschedulable",
            "1 Pod default/gated SchedulingGated",
            "1 Pod default/pinned Unschedulable",
            "1 Pod default/theirs OtherScheduler",
        ]
    );
    let pinned = message(&summary, "Pod default/pinned");
    assert!(
        pinned.starts_with("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."),
        "{pinned}"
    );
    let theirs = message(&summary, "Pod default/theirs");
    assert!(
        theirs.contains(
            "spec.schedulerName is \"elsewhere\", and the playground serves my-scheduler and default-scheduler: "
        ),
        "{theirs}"
    );
}

#[test]
fn manifests_come_from_standard_input_and_bring_their_own_nodes() {
    let node = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
               "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"},
                          "conditions": [{"type": "Ready", "status": "True"}]}})
    };
    let pod = |name: &str, cpu: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"schedulerName": "tenant-a",
               "containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}]}})
    };
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        node("small-1"), node("small-2"), pod("fits", "2"), pod("fits-too", "1500m"), pod("does-not", "2")]});
    let command = playground(&["-f", "-", "--scheduler-name", "tenant-a", "-o", "json"]);
    let output = secondmate_harness::run(command, list.to_string().as_bytes(), PATIENCE).unwrap();
    let summary = summary(&output);
    // Whichever of the three comes last.
    assert_eq!((&summary["bound"], &summary["pending"]), (&json!(2), &json!(1)), "{summary}");
    assert_eq!(summary["spread"]["nodes"], 2);
    assert_eq!(summary["reasons"][0]["reason"], "Unschedulable");
}

#[test]
fn several_names_share_the_default_pods_and_a_file_configures_them() {
    let summary_of_two = summary(&run(&[
        "--nodes",
        "2",
        "--pods",
        "12",
        "--scheduler-name",
        "a",
        "--scheduler-name",
        "b",
        "-o",
        "json",
    ]));
    assert_eq!(summary_of_two["bound"], 12);
    let folder = tempfile::tempdir().unwrap();
    let config = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- schedulerName: packed\n  \
                  pluginConfig:\n  - name: NodeResourcesFit\n    args: {scoringStrategy: {type: MostAllocated}}\n  \
                  plugins: {score: {disabled: [{name: NodeResourcesBalancedAllocation}]}}\n";
    let config = write(folder.path(), "config.yaml", config);
    // Small nodes, so that one more pod makes a difference of whole points.
    let shape = ["--nodes", "3", "--node-cpu", "12", "--node-memory", "16Gi"];
    let arguments = [&shape[..], &["--pods", "20", "--config", &config, "-o", "json"]].concat();
    let packed = summary(&run(&arguments));
    assert_eq!(packed["bound"], 20);
    // They are packed onto one node, unlike with the default profile.
    assert_eq!(packed["spread"]["pods_per_node"], json!({"min": 0, "median": 0, "max": 20}));
}

#[test]
fn what_is_wrong_with_files_is_said_before_anything_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.yaml");
    let missing = missing.to_str().unwrap();
    assert_eq!(
        refusal(&["-f", missing]),
        format!(
            "error: cannot read manifests from {missing}: No such file or directory (os error 2); give a readable YAML or JSON file by -f"
        )
    );
    let file = write(folder.path(), "bad.yaml", "apiVersion: v1\nkind: Pod\n---\nspec: [\n");
    let said = refusal(&["-f", &file]);
    assert!(said.starts_with(&format!("error: {file}: document 2 is not valid YAML: ")), "{said}");
    assert!(said.ends_with("write Kubernetes objects as `kubectl get -o yaml` or `-o json` does"), "{said}");
    let file = write(folder.path(), "words.yaml", "hello: world\n");
    assert_eq!(
        refusal(&["-f", &file]),
        format!(
            "error: {file}: document 1 is no Kubernetes object: kind is missing; begin it with apiVersion and kind"
        )
    );
}

#[test]
fn all_that_cannot_be_served_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = "
apiVersion: example.com/v1
kind: Rollout
metadata: {name: canary}
spec: {template: {spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: gpu}
";
    let file = write(folder.path(), "mixed.yaml", manifests);
    let output = run(&["-f", &file]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let parts = [
        format!(
            "error: {file}: document 1: Rollout canary: it has a pod template, and no controller of the playground makes pods for kind \
             \"Rollout\" of \"example.com/v1\": "
        ),
        format!(
            "{file}: document 3: ReplicationController old: objects of kind \"ReplicationController\" can be read in the playground \
             but not created"
        ),
        format!(
            "{file}: document 4: ResourceClaimTemplate gpu: the playground's API server does not serve kind \"ResourceClaimTemplate\" of \
             \"resource.k8s.io/v1\", which a scheduler may read"
        ),
    ];
    for part in parts {
        assert!(said.contains(&part), "{part}\n{said}");
    }
    assert!(!said.contains("Ingress"), "{said}");
}

/// The rendered output of a chart: workloads of all kinds, and much that no scheduler reads.
const CHART: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: shop, namespace: shop}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: background}
value: -5
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: cart, namespace: shop}
spec:
  replicas: 3
  serviceName: cart
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec: {schedulerName: my-scheduler, priorityClassName: background, containers: [{name: c, image: i}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: front, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: front}}
  template:
    metadata: {labels: {app: front}}
    spec: {schedulerName: my-scheduler, containers: [{name: c, image: i, resources: {limits: {cpu: 100m}}}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: shop}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {schedulerName: my-scheduler, containers: [{name: c, image: i}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: load, namespace: shop}
spec: {parallelism: 2, completions: 2, template: {spec: {schedulerName: my-scheduler, restartPolicy: Never, containers: [{name: c, image: i}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: yearly, namespace: shop}
spec: {schedule: '@yearly', jobTemplate: {spec: {template: {spec: {schedulerName: my-scheduler, restartPolicy: Never, containers: [{name: c, image: i}]}}}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: front, namespace: shop}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: front}}}
---
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec: {selector: {app: front}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: shop}
stringData: {a: b}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: shop, namespace: shop}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: front, namespace: shop}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: admin, namespace: shop}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: front, namespace: shop}
---
apiVersion: monitoring.example.com/v1
kind: ServiceMonitor
metadata: {name: front, namespace: shop}
spec: {endpoints: [{port: http}]}
";

#[test]
fn what_a_chart_renders_runs_and_what_no_scheduler_reads_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "chart.yaml", CHART);
    let output = run(&["-f", &file, "--nodes", "4", "-o", "json"]);
    let summary = summary(&output);
    assert_eq!(
        (&summary["bound"], &summary["pending"], &summary["missing"]),
        (&json!(3 + 2 + 4 + 2), &json!(0), &json!(0)),
        "{summary}"
    );
    let said = text(&output.stderr);
    let skipped =
        "skipped: 1 HorizontalPodAutoscaler, 2 Ingress, 1 ServiceMonitor (no scheduler reads them)\n";
    assert!(said.contains(skipped), "{said}");
}

#[test]
fn a_claim_that_waits_for_its_consumer_is_provisioned_and_a_pod_that_names_no_scheduler_is_scheduled() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: db}
spec:
  containers: [{name: c, image: i}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
";
    let file = write(folder.path(), "claim.yaml", manifests);
    let summary = summary(&run(&["-f", &file, "--nodes", "3", "-o", "json"]));
    assert_eq!((&summary["bound"], &summary["ended"]), (&json!(1), &json!("settled")), "{summary}");
}

#[test]
fn pods_that_are_left_are_told_and_an_error_only_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let set = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: big}\nspec:\n  replicas: 3\n  selector: {matchLabels: {app: big}}\n  \
               template:\n    metadata: {labels: {app: big}}\n    spec:\n      schedulerName: my-scheduler\n      \
               containers: [{name: c, image: i, resources: {limits: {cpu: 1000}}}]\n";
    let file = write(folder.path(), "big.yaml", set);
    let output = run(&["-f", &file, "--nodes", "1", "-o", "json"]);
    let found = summary(&output);
    assert_eq!(
        groups(&found),
        ["2 StatefulSet default/big OrderedReady", "1 StatefulSet default/big Unschedulable"]
    );
    let said = text(&output.stderr);
    assert!(said.contains("3 pods not bound: --fail-on-pending makes that an error"), "{said}");
    let output = run(&["-f", &file, "--nodes", "1", "--fail-on-pending"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let output = run(&["--pods", "2", "--nodes", "1", "--fail-on-pending", "-o", "json"]);
    assert_eq!(summary(&output)["bound"], 2);
}

#[test]
fn what_the_api_server_refuses_is_said_with_file_document_object_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let pod = |metadata: &str, container: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{{metadata}}}\nspec: {{schedulerName: my-scheduler, containers: [{{name: c, image: x{container}}}]}}\n"
        )
    };
    let said = |text: &str| {
        let file = write(folder.path(), "f.yaml", text);
        refusal(&["-f", &file, "--nodes", "1"]).replace(&file, "FILE")
    };
    let quantity = said(&format!(
        "# fine\n---\n{}---\n{}",
        pod("name: a", ""),
        pod("name: b", ", resources: {requests: {cpu: lots}}")
    ));
    assert!(
        quantity.starts_with("error: FILE: document 2: Pod b: refused by the API server (400 BadRequest): "),
        "{quantity}"
    );
    assert!(
        quantity.contains("\"lots\"") && quantity.contains("correct the object in the file"),
        "{quantity}"
    );
    let namespace = said(&pod("name: a, namespace: nowhere", ""));
    assert_eq!(
        namespace,
        "error: FILE: document 1: Pod nowhere/a: refused by the API server (404 NotFound): namespaces \"nowhere\" not found; \
         put a Namespace object of this name before it"
    );
    let taken = said("apiVersion: v1\nkind: Node\nmetadata: {name: node-00000}\n");
    assert_eq!(
        taken,
        "error: FILE: document 1: Node node-00000: refused by the API server (409 AlreadyExists): nodes \"node-00000\" already exists; \
         an object of this kind and name is there already: rename or remove it"
    );
    let twice = said(&format!("{}---\n{}", pod("name: a", ""), pod("name: a, namespace: default", "")));
    assert_eq!(
        twice,
        "error: FILE: document 2: Pod default/a: the same object stands in FILE: document 1: rename or remove one"
    );
}

#[test]
fn pods_that_a_controller_cannot_create_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let text = MANIFESTS.replace("cpu: 20}}}]", "cpu: 20}}}]\n      priorityClassName: nope");
    let file = write(folder.path(), "f.yaml", &text);
    let summary = summary(&run(&["--nodes", "1", "-f", &file, "-o", "json"]));
    let numbers = [&summary["bound"], &summary["pending"], &summary["missing"], &summary["ended"]];
    assert_eq!(numbers, [&json!(0), &json!(3), &json!(5), &json!("settled")], "{summary}");
    assert_eq!(groups(&summary)[0], "5 Deployment team/web FailedCreate");
    let why = message(&summary, "Deployment team/web");
    assert!(why.contains("no PriorityClass with name nope was found"), "{why}");
}

#[test]
fn the_end_of_the_time_is_an_end() {
    let output = run(&["--nodes", "1", "--pods", "100", "--rate", "1", "--timeout", "500ms", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["ended"], "timedOut");
    let count = |field: &str| summary[field].as_u64().unwrap();
    assert_eq!(count("bound") + count("pending") + count("missing"), 100, "{summary}");
    assert!(count("missing") > 0, "{summary}");
}

#[test]
fn an_interrupted_playground_says_how_far_it_came() {
    let child = playground(&["--nodes", "1", "--pods", "1000", "--rate", "1", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let lines = Lines::of(child.stderr.take().unwrap());
    let bound = |line: &str| line.contains("/1000 pods bound") && !line.starts_with("0/");
    lines.until(PATIENCE, "that a pod is bound", bound).unwrap();
    support::interrupt(&child).unwrap();
    assert_eq!(support::until_ended(&mut child).unwrap(), Some(130));
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["ended"], "interrupted");
    assert!(summary["bound"].as_u64().unwrap() >= 1, "{summary}");
}

#[test]
fn options_that_cannot_be_are_refused() {
    let usage = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        text(&output.stderr).lines().next().unwrap().to_owned()
    };
    let cpu = usage(&["--node-cpu", "lots"]);
    assert!(cpu.starts_with("error: invalid value 'lots' for '--node-cpu <QUANTITY>'"), "{cpu}");
    let pods = usage(&["--pods", "many"]);
    assert!(pods.starts_with("error: invalid value 'many' for '--pods <N>'"), "{pods}");
    assert_eq!(
        refusal(&["-f", "-", "-f", "-"]),
        "error: -f - is given 2 times, and standard input can be read once: keep one"
    );
    let loopback = refusal(&["--api-listen", "0.0.0.0:0"]);
    assert!(loopback.contains("0.0.0.0:0 is not a loopback address; use 127.0.0.1:PORT"), "{loopback}");
    let folder = tempfile::tempdir().unwrap();
    let config = write(
        folder.path(),
        "config.yaml",
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofile: []\n",
    );
    let unknown = refusal(&["--config", &config]);
    assert!(unknown.contains(&config), "{unknown}");
}

/// `script` gives it a terminal.
#[test]
fn on_a_terminal_a_bar_is_drawn_unless_a_log_is_asked_for() {
    let on_a_terminal = |options: &str, no_color: &str| {
        let command = format!("{} playground --nodes 1 --pods 1 {options}", env!("CARGO_BIN_EXE_secondmate"));
        Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env_remove("RUST_LOG")
            .env("NO_COLOR", no_color)
            .stdin(Stdio::null())
            .output()
    };
    let quiet = match on_a_terminal("", "") {
        Ok(output) => text(&output.stdout),
        Err(error) => {
            let test = "on_a_terminal_a_bar_is_drawn_unless_a_log_is_asked_for";
            return secondmate_harness::skip(test, &format!("script (util-linux): {error}"));
        }
    };
    let erased = "\u{1b}[2K";
    assert!(quiet.contains(erased) && quiet.contains("1 of 1 pod bound"), "{quiet:?}");
    // Dimmed times; without colours, nothing of the kind.
    for (no_color, expected) in [("", "\u{1b}[2m"), ("1", "")] {
        let logged = text(&on_a_terminal("-v 4", no_color).unwrap().stdout);
        assert!(logged.contains("chose a node") && !logged.contains(erased), "{logged:?}");
        assert!(logged.contains(expected), "{logged:?}");
        assert_eq!(logged.contains('\u{1b}'), no_color.is_empty(), "{logged:?}");
    }
}
