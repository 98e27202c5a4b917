//! `secondmate playground --keep`: kubectl works with it as with a cluster. Skipped, visibly, if the control
//! plane's programs are not available; never in CI.

#![allow(clippy::unwrap_used)] // All of this is test code, where a panic is how a failure looks.

mod support;

use secondmate_harness::{Lines, Program, require_programs_or_skip};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Killed, PATIENCE, interrupt, until_ended};

const PAUSE: Duration = Duration::from_millis(20);

/// A playground that stays up; killed when the test ends.
struct Playground {
    child: Killed,
    folder: tempfile::TempDir,
}

impl Playground {
    /// Starts it and waits for its instructions. Returns its output up to there.
    fn start(arguments: &[&str]) -> (Self, String) {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_secondmate"))
            .args(["playground", "--keep", "--kubeconfig-out"])
            .arg(folder.path().join("kubeconfig"))
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut this = Self { child: Killed(child), folder };
        let lines = Lines::of(this.child.stderr.take().unwrap());
        let invites = |line: &str| line.starts_with("Pods with `schedulerName: ");
        let said = lines.until(PATIENCE, "that it is up", invites).unwrap();
        (this, said)
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Stops it, and returns its standard output.
    fn interrupt(mut self) -> String {
        interrupt(&self.child).unwrap();
        let code = until_ended(&mut self.child).unwrap();
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(code, Some(0), "{out}");
        out
    }
}

struct Kubectl<'a> {
    program: &'a Path,
    home: &'a Path,
    kubeconfig: PathBuf,
}

impl Kubectl<'_> {
    /// Runs it; returns whether it succeeded, and its output, with columns squeezed to single spaces.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(self.program);
        command
            .args(arguments)
            .current_dir(self.home)
            // Its discovery cache belongs to this playground alone.
            .env("HOME", self.home)
            .env("KUBECONFIG", &self.kubeconfig);
        let output = support::output(command).unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let success = output.status.success();
        // Standard error of a successful command is a warning.
        let said = if success { out } else { err };
        let squeezed = said.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "));
        (success, squeezed.collect::<Vec<_>>().join("\n"))
    }

    /// Runs a command that must succeed.
    fn ok(&self, arguments: &[&str]) -> String {
        let arguments = [arguments, &["--request-timeout=60s"]].concat();
        let (success, said) = self.run(&arguments);
        assert!(success, "kubectl {arguments:?}: {said}");
        said
    }

    /// Repeats a command until this is its output.
    fn until(&self, arguments: &[&str], expected: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ok(arguments);
            if answer == expected {
                return;
            }
            assert!(Instant::now() < deadline, "kubectl {arguments:?}: {answer}, not {expected}");
            std::thread::sleep(PAUSE);
        }
    }
}

#[test]
fn it_stays_up_until_it_is_interrupted() {
    let (playground, said) = Playground::start(&["--nodes", "2", "--pods", "4", "-o", "json"]);
    let kubeconfig = playground.kubeconfig();
    assert!(said.contains(&format!("  export KUBECONFIG={}\n", kubeconfig.display())), "{said}");
    let text = std::fs::read_to_string(&kubeconfig).unwrap();
    assert!(text.contains("server: http://127.0.0.1:"), "{text}");
    let summary: serde_json::Value = serde_json::from_str(&playground.interrupt()).unwrap();
    assert_eq!(summary["bound"], 4);
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: late}
spec:
  replicas: 3
  selector: {matchLabels: {app: late}}
  template:
    metadata: {labels: {app: late}}
    spec:
      schedulerName: my-scheduler
      containers: [{name: c, image: nginx:1, resources: {requests: {cpu: 100m}}}]
";

#[test]
fn kubectl_works_against_it_and_what_it_applies_is_scheduled() {
    let name = "kubectl_works_against_it_and_what_it_applies_is_scheduled";
    let Some(programs) = require_programs_or_skip(name, &[Program::Kubectl]) else { return };
    let (playground, _) = Playground::start(&["--nodes", "3", "--pods", "7"]);
    let kubectl = Kubectl {
        program: programs.path(Program::Kubectl).unwrap(),
        home: playground.folder.path(),
        kubeconfig: playground.kubeconfig(),
    };

    let wide = kubectl.ok(&["get", "pods", "-o", "wide"]);
    assert!(
        wide.starts_with("NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES\n"),
        "{wide}"
    );
    assert_eq!(wide.lines().filter(|line| line.contains(" node-0000")).count(), 7, "{wide}");
    let nodes = kubectl.ok(&["get", "nodes"]);
    assert!(nodes.starts_with("NAME STATUS ROLES AGE VERSION\nnode-00000 Ready "), "{nodes}");

    let name = "web-00000";
    let node = kubectl.ok(&["get", "pod", name, "-o", "jsonpath={.spec.nodeName}"]);
    // The event is written separately from the binding, and bindings go first.
    let note = format!("jsonpath={{.items[?(@.involvedObject.name==\"{name}\")].reason}}");
    kubectl.until(&["get", "events", "-o", &note], "Scheduled");
    let described = kubectl.ok(&["describe", "pod", name]);
    assert!(described.contains(&format!("Successfully assigned default/{name} to {node}")), "{described}");
    assert!(described.contains("my-scheduler"), "{described}");

    let file = playground.folder.path().join("late.yaml");
    std::fs::write(&file, DEPLOYMENT).unwrap();
    assert_eq!(kubectl.ok(&["apply", "-f", file.to_str().unwrap()]), "deployment.apps/late created");
    kubectl.until(
        &["get", "pods", "-l", "app=late", "-o", "jsonpath={.items[*].status.phase}"],
        "Running Running Running",
    );

    // A node that joins later is used by pods that wait for it.
    kubectl.ok(&["scale", "deployment", "late", "--replicas=0"]);
    kubectl.ok(&["cordon", "node-00000", "node-00001", "node-00002"]);
    kubectl.ok(&["scale", "deployment", "late", "--replicas=1"]);
    kubectl.until(
        &[
            "get",
            "pods",
            "-l",
            "app=late",
            "-o",
            "jsonpath={.items[*].status.conditions[?(@.type==\"PodScheduled\")].reason}",
        ],
        "Unschedulable",
    );
    kubectl.ok(&["uncordon", "node-00001"]);
    kubectl
        .until(&["get", "pods", "-l", "app=late", "-o", "jsonpath={.items[*].spec.nodeName}"], "node-00001");
    assert!(playground.interrupt().starts_with("7 of 7 pods bound on 3 nodes"));
}

/// Two controllers whose revisions are separate objects.
const REVISED: &str = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: 'postgres:17', resources: {requests: {cpu: 100m}}}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: agent, image: 'agent:1'}]}
";

/// The steps of somebody who tries it out, in order: what is typed, and what the output contains. A step that begins
/// with `!` fails. `revised.yaml` is [`REVISED`].
const STEPS: &[(&str, &str)] = &[
    ("version", "Server Version: v1."),
    ("cluster-info", "Kubernetes control plane is running at http://127.0.0.1:"),
    ("auth can-i create deployments", "yes"),
    ("get nodes", "node-00000 Ready"),
    ("create deployment web --image=nginx:1 --replicas=2", "deployment.apps/web created"),
    ("rollout status deployment/web --timeout=60s", "successfully rolled out"),
    ("set image deployment/web nginx=nginx:2", "image updated"),
    ("rollout status deployment/web --timeout=60s", "successfully rolled out"),
    ("rollout history deployment/web", "2 <none>"),
    ("rollout undo deployment/web", "rolled back"),
    ("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}", "nginx:1"),
    (
        "wait --for=jsonpath={.metadata.annotations.deployment\\.kubernetes\\.io/revision}=3 deployment/web",
        "condition met",
    ),
    ("rollout history deployment/web --revision=2", "nginx:2"),
    ("!rollout history deployment/web --revision=9", "unable to find the specified revision"),
    ("!rollout undo deployment/web --to-revision=9", "unable to find specified revision 9 in history"),
    ("rollout undo deployment/web --to-revision=2", "rolled back"),
    ("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}", "nginx:2"),
    ("rollout pause deployment/web", "paused"),
    ("rollout resume deployment/web", "resumed"),
    ("rollout restart deployment/web", "restarted"),
    ("rollout status deployment/web --timeout=60s", "successfully rolled out"),
    ("get replicasets -l app=web", "web-"),
    ("describe deployment web", "NewReplicaSet:"),
    ("set resources deployment web --requests=cpu=250m", "resource requirements updated"),
    ("rollout status deployment/web --timeout=60s", "successfully rolled out"),
    ("expose deployment web --port=80", "service/web exposed"),
    ("get service web", "web ClusterIP"),
    ("scale deployment web --replicas=1", "scaled"),
    ("wait --for=jsonpath={.status.replicas}=1 deployment/web --timeout=60s", "condition met"),
    ("create job once --image=busybox:1 -- true", "job.batch/once created"),
    ("wait --for=condition=complete job/once --timeout=90s", "condition met"),
    ("get jobs", "once Complete 1/1"),
    (
        "create cronjob nightly --image=busybox:1 --schedule=0~3~*~*~* -- true",
        "cronjob.batch/nightly created",
    ),
    ("create job by-hand --from=cronjob/nightly", "job.batch/by-hand created"),
    ("get cronjobs", "nightly 0 3 * * *"),
    (
        "!create cronjob never --image=busybox:1 --schedule=never -- true",
        "spec.schedule: Invalid value: \"never\"",
    ),
    ("apply -f revised.yaml", "statefulset.apps/db created"),
    ("rollout status statefulset/db --timeout=60s", "partitioned roll out complete"),
    ("set image statefulset/db db=postgres:18", "image updated"),
    ("rollout status statefulset/db --timeout=60s", "partitioned roll out complete"),
    ("rollout history statefulset/db", "2 <none>"),
    ("rollout undo statefulset/db", "rolled back"),
    ("get statefulset db -o jsonpath={.spec.template.spec.containers[0].image}", "postgres:17"),
    ("rollout status daemonset/agent --timeout=60s", "successfully rolled out"),
    ("set image daemonset/agent agent=agent:2", "image updated"),
    ("rollout status daemonset/agent --timeout=60s", "successfully rolled out"),
    ("rollout undo daemonset/agent", "rolled back"),
    ("get daemonset agent -o jsonpath={.spec.template.spec.containers[0].image}", "agent:1"),
    ("get daemonset agent", "agent 3 3"),
    ("create secret generic keys --from-literal=a=b", "secret/keys created"),
    ("get secret keys -o jsonpath={.data.a}", "Yg=="),
    ("create configmap settings --from-literal=a=b", "configmap/settings created"),
    ("create priorityclass high --value=1000", "priorityclass.scheduling.k8s.io/high created"),
    ("!logs deployment/web", "is simulated, as its node is: no container runs, so it writes no logs"),
    ("!exec deployment/web -- ls", "no command can be run in it"),
    ("!logs nobody", "pods \"nobody\" not found"),
    ("!attach deployment/web", "nothing can be attached to"),
    ("!port-forward deployment/web 8080:80", "no port of it answers"),
    ("explain pod.spec.schedulerName", "FIELD: schedulerName <string>"),
    ("explain deployment.spec.strategy.rollingUpdate", "maxSurge <IntOrString>"),
    ("top nodes", "node-00000"),
    ("top pods -l app=db --sum", "db-1"),
    ("top pods --containers", "db-0 db"),
    ("describe node node-00000", "Allocated resources:"),
    ("drain node-00000 --ignore-daemonsets --force", "drained"),
    ("uncordon node-00000", "uncordoned"),
    ("!create ingress web --rule=a/b=web:80", "ingresses in networking.k8s.io/v1 are not simulated"),
    ("!create quota some --hard=pods=1", "resourcequotas are not simulated"),
    ("!get ingresses", "the server doesn't have a resource type \"ingresses\""),
    ("get all", "deployment.apps/web"),
    ("delete deployment web", "deleted"),
    ("delete cronjob nightly", "deleted"),
    ("delete job once", "deleted"),
];

#[test]
fn kubectls_steps_do_what_they_do_on_a_cluster() {
    let name = "kubectls_steps_do_what_they_do_on_a_cluster";
    let Some(programs) = require_programs_or_skip(name, &[Program::Kubectl]) else { return };
    let (playground, _) = Playground::start(&["--nodes", "3", "--pods", "1"]);
    let kubectl = Kubectl {
        program: programs.path(Program::Kubectl).unwrap(),
        home: playground.folder.path(),
        kubeconfig: playground.kubeconfig(),
    };
    std::fs::write(playground.folder.path().join("revised.yaml"), REVISED).unwrap();
    for (step, expected) in STEPS {
        let fails = step.starts_with('!');
        // A `~` stands for a space inside an argument.
        let arguments: Vec<String> =
            step.trim_start_matches('!').split(' ').map(|word| word.replace('~', " ")).collect();
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // kubectl's own options come before the command to run in a container.
        let at = arguments.iter().position(|word| *word == "--").unwrap_or(arguments.len());
        arguments.insert(at, "--request-timeout=100s");
        let (mut success, mut said) = kubectl.run(&arguments);
        // Controllers take some time, here as in a cluster.
        let until = Instant::now() + Duration::from_secs(60);
        while step.starts_with("get ") && !said.contains(expected) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(100));
            (success, said) = kubectl.run(&arguments);
        }
        assert!(success != fails && said.contains(expected), "kubectl {step}: {said}");
    }
    playground.interrupt();
}
