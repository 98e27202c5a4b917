//! The real kubectl against the sandbox. Skipped, visibly, if the control plane's programs are not available; never in CI.

use std::path::PathBuf;
use std::process::Stdio;

use secondmate_harness::{Program, require_programs_or_skip};
use secondmate_sandbox::Sandbox;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::client::{PATIENCE, add_small_nodes, alive, until};

struct Kubectl {
    program: PathBuf,
    folder: tempfile::TempDir,
}

struct Output {
    ok: bool,
    text: String,
}

impl Kubectl {
    /// `None` if there is no kubectl; the skip of the test has then been reported.
    fn of(sandbox: &Sandbox, test: &str) -> Option<Kubectl> {
        let programs = require_programs_or_skip(test, &[Program::Kubectl])?;
        let program = programs.path(Program::Kubectl).unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), sandbox.kubeconfig()).unwrap();
        Some(Kubectl { program, folder })
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            // Its discovery cache belongs to this sandbox alone.
            .env("HOME", self.folder.path())
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let output = tokio::time::timeout(PATIENCE, self.command(arguments).output())
            .await
            .unwrap_or_else(|_| panic!("kubectl {arguments:?} hangs"))
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Output { ok: output.status.success(), text: text.into_owned() }
    }

    /// Runs a command that must succeed.
    async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.ok, "kubectl {arguments:?}: {}", output.text);
        output.text
    }
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - name: c
    image: IMAGE
    resources: {requests: {cpu: 500m, memory: 1Gi}}
";

/// The columns of a table, separated by single spaces.
fn squeezed(text: &str) -> String {
    text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn kubectl_applies_shows_describes_and_deletes_pods() {
    let sandbox = alive().await;
    add_small_nodes(&sandbox, 2);
    let Some(kubectl) = Kubectl::of(&sandbox, "kubectl_applies_shows_describes_and_deletes_pods") else {
        return;
    };
    let file = kubectl.write("pod.yaml", &POD.replace("IMAGE", "nginx:1"));
    assert!(kubectl.ok(&["apply", "-f", &file]).await.contains("pod/web created"));
    let changed = kubectl.write("pod.yaml", &POD.replace("IMAGE", "nginx:2"));
    assert!(kubectl.ok(&["apply", "-f", &changed]).await.contains("pod/web configured"));
    assert!(kubectl.ok(&["apply", "-f", &changed]).await.contains("pod/web unchanged"));
    assert_eq!(
        sandbox.objects().get("pods", "default", "web").unwrap()["spec"]["containers"][0]["image"],
        "nginx:2"
    );

    sandbox.objects().bind("default", "web", "", "node-00001").unwrap();
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "web.1"},
        "regarding": {"kind": "Pod", "name": "web", "namespace": "default",
                      "uid": sandbox.objects().get("pods", "default", "web").unwrap()["metadata"]["uid"]},
        "reason": "Scheduled", "note": "Successfully assigned default/web to node-00001", "type": "Normal",
        "action": "Binding", "reportingController": "my-scheduler", "reportingInstance": "my-scheduler-x",
        "eventTime": "2026-01-01T00:00:00.000000Z"});
    sandbox.objects().create(event).unwrap();
    until("it runs", || sandbox.objects().count_where("pods", "status.phase=Running").unwrap() == 1).await;

    let wide = squeezed(&kubectl.ok(&["get", "pods", "-o", "wide"]).await);
    assert!(
        wide.starts_with("NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES\n"),
        "{wide}"
    );
    assert!(wide.contains("web 1/1 Running 0 ") && wide.contains(" node-00001 <none> <none>"), "{wide}");
    let described = kubectl.ok(&["describe", "pod", "web"]).await;
    assert!(described.contains("Node:             node-00001/"), "{described}");
    assert!(described.contains("Successfully assigned default/web to node-00001"), "{described}");
    let events = kubectl.ok(&["get", "events"]).await;
    assert!(events.contains("Scheduled") && events.contains("pod/web"), "{events}");
    assert!(kubectl.ok(&["events"]).await.contains("Scheduled"));
    kubectl.ok(&["label", "pod", "web", "tier=front"]).await;
    assert!(kubectl.ok(&["get", "pods", "-l", "tier=front"]).await.contains("web"));
    let json = kubectl.ok(&["get", "pod", "web", "-o", "jsonpath={.spec.nodeName}"]).await;
    assert_eq!(json, "node-00001");

    assert!(kubectl.ok(&["delete", "pod", "web"]).await.contains("\"web\" deleted"));
    assert_eq!(sandbox.objects().count("pods"), 0);
    kubectl.ok(&["create", "-f", &file]).await;
    sandbox.kubelets().pause();
    sandbox.objects().bind("default", "web", "", "node-00001").unwrap();
    kubectl.ok(&["delete", "pod", "web", "--wait=false"]).await;
    let terminating = kubectl.ok(&["get", "pods"]).await;
    assert!(terminating.contains("Terminating"), "{terminating}");
    kubectl.ok(&["delete", "pod", "web", "--grace-period=0", "--force"]).await;
    assert_eq!(sandbox.objects().count("pods"), 0);
}

#[tokio::test]
async fn kubectl_shows_taints_cordons_and_drains_nodes() {
    let sandbox = alive().await;
    add_small_nodes(&sandbox, 2);
    let Some(kubectl) = Kubectl::of(&sandbox, "kubectl_shows_taints_cordons_and_drains_nodes") else {
        return;
    };
    let nodes = squeezed(&kubectl.ok(&["get", "nodes"]).await);
    assert!(nodes.starts_with("NAME STATUS ROLES AGE VERSION\nnode-00000 Ready <none> "), "{nodes}");
    kubectl.ok(&["taint", "nodes", "node-00000", "a=b:NoSchedule"]).await;
    let node = || sandbox.objects().get("nodes", "", "node-00000").unwrap();
    assert_eq!(node()["spec"]["taints"][0]["key"], "a");
    kubectl.ok(&["taint", "nodes", "node-00000", "a-"]).await;
    assert!(node()["spec"]["taints"].is_null());
    kubectl.ok(&["cordon", "node-00000"]).await;
    assert!(kubectl.ok(&["get", "nodes"]).await.contains("Ready,SchedulingDisabled"));
    assert_eq!(node()["spec"]["taints"][0]["key"], "node.kubernetes.io/unschedulable");
    kubectl.ok(&["uncordon", "node-00000"]).await;
    assert!(node()["spec"]["taints"].is_null());
    assert!(kubectl.ok(&["describe", "node", "node-00000"]).await.contains("Allocatable:"));

    let file = kubectl.write("pod.yaml", &POD.replace("IMAGE", "nginx:1"));
    kubectl.ok(&["create", "-f", &file]).await;
    sandbox.objects().bind("default", "web", "", "node-00000").unwrap();
    until("it runs", || sandbox.kubelets().started() == 1).await;
    kubectl.ok(&["drain", "node-00000", "--force"]).await;
    assert_eq!(sandbox.objects().count("pods"), 0);
}

#[tokio::test]
async fn kubectl_is_told_what_is_served_and_what_is_not() {
    let sandbox = alive().await;
    let Some(kubectl) = Kubectl::of(&sandbox, "kubectl_is_told_what_is_served_and_what_is_not") else {
        return;
    };
    let resources = kubectl.ok(&["api-resources"]).await;
    assert!(resources.contains("priorityclasses") && !resources.contains("ingresses"), "{resources}");
    for (version, kind) in [
        ("networking.k8s.io/v1", "Ingress"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("v1", "ResourceQuota"),
    ] {
        let file = kubectl
            .write("other.yaml", &format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n"));
        for verb in ["apply", "create"] {
            let refused = kubectl.run(&[verb, "-f", &file]).await;
            let said = refused.text.contains(&format!("no matches for kind \"{kind}\""));
            assert!(!refused.ok && said, "{}", refused.text);
        }
    }
    let file = kubectl.write("pod.yaml", &POD.replace("cpu: 500m", "cpu: lots"));
    let refused = kubectl.run(&["apply", "-f", &file]).await;
    assert!(!refused.ok && refused.text.contains("quantities must match"), "{}", refused.text);
    let file = kubectl.write("pod.yaml", &POD.replace("labels:", "lables:"));
    let refused = kubectl.run(&["apply", "-f", &file]).await;
    assert!(!refused.ok && refused.text.contains("unknown field \"metadata.lables\""), "{}", refused.text);
    let refused = kubectl.run(&["apply", "--server-side", "-f", &file]).await;
    assert!(!refused.ok && refused.text.contains("server-side apply is not served"), "{}", refused.text);
    assert!(kubectl.ok(&["version"]).await.contains("v1.37"));
}

#[tokio::test]
async fn kubectl_explains_every_kind() {
    let sandbox = alive().await;
    let Some(kubectl) = Kubectl::of(&sandbox, "kubectl_explains_every_kind") else { return };
    for (of, said) in [
        ("pods", "KIND: Pod VERSION: v1 DESCRIPTION: Containers that are placed on one node together."),
        ("pod.spec", "containers <[]Container>"),
        (
            "pod.spec.schedulerName",
            "FIELD: schedulerName <string> DESCRIPTION: Which scheduler places the pod;",
        ),
        ("pod.spec.containers.resources.requests", "FIELD: requests <map[string]Quantity>"),
        (
            "pod.spec.affinity",
            "podAntiAffinity <PodAntiAffinity> Another domain than pods that are selected.",
        ),
        ("deploy.spec.template.spec.topologySpreadConstraints.maxSkew", "FIELD: maxSkew <integer>"),
        ("pdb", "GROUP: policy KIND: PodDisruptionBudget VERSION: v1"),
        ("nodes --api-version=metrics.k8s.io/v1beta1", "usage <map[string]Quantity>"),
        ("validatingwebhookconfiguration.webhooks", "failurePolicy <string>"),
        ("job.spec.parallelism", "FIELD: parallelism <integer>"),
        ("events --api-version=events.k8s.io/v1", "regarding <ObjectReference>"),
    ] {
        let explained = kubectl.ok(&[&["explain"], &of.split(' ').collect::<Vec<_>>()[..]].concat()).await;
        let explained = explained.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(explained.contains(said), "kubectl explain {of}: {explained}");
    }
    let recursive = kubectl.ok(&["explain", "pod", "--recursive"]).await;
    assert!(recursive.lines().count() > 500, "{recursive}");
    let unknown = kubectl.run(&["explain", "pod.spec.nodename"]).await;
    assert!(!unknown.ok && unknown.text.contains("field \"nodename\" does not exist"), "{}", unknown.text);
}

#[tokio::test]
async fn kubectl_shows_what_pods_and_nodes_use() {
    let sandbox = alive().await;
    add_small_nodes(&sandbox, 2);
    let Some(kubectl) = Kubectl::of(&sandbox, "kubectl_shows_what_pods_and_nodes_use") else { return };
    let nothing = kubectl.ok(&["top", "pods"]).await;
    assert!(nothing.contains("No resources found in default namespace."), "{nothing}");
    let file = kubectl.write("pod.yaml", &POD.replace("IMAGE", "nginx:1"));
    kubectl.ok(&["create", "-f", &file]).await;
    let unknown = kubectl.run(&["top", "pod", "web"]).await;
    assert!(
        !unknown.ok && unknown.text.contains("pods.metrics.k8s.io \"web\" not found"),
        "{}",
        unknown.text
    );
    sandbox.objects().bind("default", "web", "", "node-00000").unwrap();
    until("it runs", || sandbox.kubelets().started() == 1).await;

    /// CPU and memory in the line that begins like this.
    fn used(table: &str, name: &str) -> (i64, i64) {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{table}"));
        let number = |text: &str| text.trim_matches(char::is_alphabetic).parse::<i64>().unwrap();
        let amounts: Vec<i64> =
            line.split_whitespace().filter(|w| w.ends_with('m') || w.ends_with("Mi")).map(number).collect();
        (amounts[0], amounts[1])
    }
    let pods = kubectl.ok(&["top", "pods", "-l", "app=web", "--containers"]).await;
    assert!(squeezed(&pods).starts_with("POD NAME CPU(cores) MEMORY(bytes)\nweb c "), "{pods}");
    let pod = used(&kubectl.ok(&["top", "pod", "web"]).await, "web");
    // A share of the 500m and 1Gi that it requests.
    assert!((100..=450).contains(&pod.0) && (204..=922).contains(&pod.1), "{pod:?}");
    let nodes = kubectl.ok(&["top", "nodes"]).await;
    assert!(squeezed(&nodes).starts_with("NAME CPU(cores) CPU(%) MEMORY(bytes) MEMORY(%)\n"), "{nodes}");
    let (busy, idle) = (used(&nodes, "node-00000"), used(&nodes, "node-00001"));
    assert_eq!(busy.0 - idle.0, pod.0, "{nodes}");
    // kubectl rounds each number of MiB down.
    assert!((busy.1 - idle.1).abs_diff(pod.1) <= 1, "{nodes}");
    assert_eq!(used(&kubectl.ok(&["top", "node", "node-00000"]).await, "node-00000"), busy);
    let refused = kubectl.run(&["delete", "pods.metrics.k8s.io", "web"]).await;
    assert!(!refused.ok && refused.text.contains("delete is not supported on resources"), "{}", refused.text);
}

#[tokio::test]
async fn kubectl_follows_pods_as_they_change() {
    let sandbox = alive().await;
    add_small_nodes(&sandbox, 1);
    let Some(kubectl) = Kubectl::of(&sandbox, "kubectl_follows_pods_as_they_change") else { return };
    let file = kubectl.write("pod.yaml", &POD.replace("IMAGE", "nginx:1"));
    kubectl.ok(&["create", "-f", &file]).await;
    let mut child =
        kubectl.command(&["get", "pods", "-w", "--no-headers"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("kubectl -w is silent");
        squeezed(&line.unwrap().unwrap())
    };
    assert!(next().await.starts_with("web 0/1 Pending 0"));
    sandbox.objects().bind("default", "web", "", "node-00000").unwrap();
    while !next().await.starts_with("web 1/1 Running 0") {}
    child.kill().await.unwrap();
}

#[tokio::test]
async fn kubectl_creates_and_scales_a_deployment() {
    let sandbox = alive().await;
    let Some(kubectl) = Kubectl::of(&sandbox, "kubectl_creates_and_scales_a_deployment") else { return };
    kubectl.ok(&["create", "namespace", "team"]).await;
    kubectl.ok(&["create", "deployment", "web", "--image=nginx:1", "--replicas=3", "-n", "team"]).await;
    until("three pods", || sandbox.objects().count("pods") == 3).await;
    kubectl.ok(&["scale", "deployment", "web", "--replicas=1", "-n", "team"]).await;
    until("one pod", || sandbox.objects().count("pods") == 1).await;
    let shown = squeezed(&kubectl.ok(&["get", "deployments,replicasets", "-n", "team"]).await);
    assert!(shown.contains("deployment.apps/web 0/1 "), "{shown}");
    kubectl.ok(&["delete", "namespace", "team"]).await;
    assert_eq!(sandbox.objects().count("pods"), 0);
}

/// As a newcomer would try them: on a playground first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifests_of_this_repository_apply() {
    let sandbox = alive().await;
    let Some(kubectl) = Kubectl::of(&sandbox, "the_manifests_of_this_repository_apply") else { return };
    let manifests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
    let applied = kubectl.ok(&["apply", "-k", manifests.to_str().unwrap()]).await;
    for object in [
        "clusterrole.rbac.authorization.k8s.io/secondmate created",
        "rolebinding.rbac.authorization.k8s.io/secondmate-leader-election created",
        "networkpolicy.networking.k8s.io/secondmate created",
        "deployment.apps/secondmate created",
    ] {
        assert!(applied.lines().any(|line| line == object), "{object} is not in:\n{applied}");
    }
    // This is how the docs grant permission to review tokens; kubectl sends it as protobuf.
    let role = "--clusterrole=system:auth-delegator";
    let account = "--serviceaccount=secondmate:secondmate";
    kubectl.ok(&["create", "clusterrolebinding", "secondmate-auth-delegator", role, account]).await;
    let bound = kubectl
        .ok(&[
            "get",
            "clusterrolebinding",
            "secondmate-auth-delegator",
            "-o",
            "jsonpath={.roleRef.name} {.subjects[0].name}",
        ])
        .await;
    assert_eq!(bound, "system:auth-delegator secondmate");
}
