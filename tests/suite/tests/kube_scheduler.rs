//! Started as kube-scheduler is: by its name, with the command line that kubeadm writes into its static pod, its user and its
//! certificates.

use anyhow::{Context, Result, ensure};
use secondmate_harness::{
    Asker, Cluster, Options, Process, Program, Response, binaries, get_trusting, get_unverified, run,
    secondmate_binary, skip_unless_ci,
};
use secondmate_suite::{
    DEADLINE, DEFAULT, SharedStage, Stage, World, events, labels_by_metric, node, node_of, object, pod,
    queries_side_by_side, repository,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static STAGE: SharedStage = SharedStage::new();

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| {
        Ok(Stage::new(Cluster::start(binaries, Options { scheduler: None, ..Options::default() })?))
    })
}

/// A scheduler that runs in kube-scheduler's place.
struct Started<'a> {
    stage: &'a Stage,
    process: Process,
    url: String,
}

impl<'a> Started<'a> {
    /// Starts it, and waits until it is ready, as a kubelet does.
    fn new(stage: &'a Stage, flags: &[&str]) -> Result<Self> {
        Self::of(secondmate_binary()?, stage, flags)
    }

    /// Of any program.
    fn of(program: &Path, stage: &'a Stage, flags: &[&str]) -> Result<Self> {
        let (process, url) = stage.cluster.start_as_kube_scheduler(program, flags)?;
        let mut started = Self { stage, process, url };
        stage.wait("the scheduler to be ready", || {
            ensure!(started.process.is_running()?, "it ended:\n{}", started.process.tail(20));
            let answer = started.ask("/readyz", Asker::Nobody);
            Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
        })?;
        Ok(started)
    }

    fn ask(&self, path: &str, asker: Asker<'_>) -> Result<Response> {
        get_unverified(&format!("{}{path}", self.url), asker)
    }

    /// Waits for this status: the API server's authorizer learns of a role by a watch, and what was said counts for some seconds.
    fn answers(&self, path: &str, asker: Asker<'_>, status: u16) -> Result<String> {
        self.stage.wait(&format!("{path} to answer {status} to {asker:?}"), || {
            let answer = self.ask(path, asker)?;
            ensure!(answer.status == status, "{}: {}", answer.status, answer.body);
            Ok(Some(answer.body))
        })
    }

    fn end(mut self) -> Result<()> {
        let status = self.process.terminate(DEADLINE)?;
        ensure!(status.code() == Some(0), "{status}:\n{}", self.process.tail(20));
        Ok(())
    }
}

/// An administrator's certificate and its key.
fn administrator(stage: &Stage) -> (PathBuf, PathBuf) {
    let folder = stage.cluster.directory().join("certificates");
    (folder.join("admin.crt"), folder.join("admin.key"))
}

/// A service account that may do what these rules say, and its token.
fn account(world: &World<'_>, name: &str, rules: Value) -> Result<String> {
    world.create("serviceaccounts", &object("v1", "ServiceAccount", name, json!({})))?;
    let (group, version) = ("rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1");
    let role = object(version, "ClusterRole", name, json!({ "rules": rules }));
    world.create_outside("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role)?;
    let binding = json!({
        "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "namespace": world.namespace, "name": name }],
    });
    let binding = object(version, "ClusterRoleBinding", name, binding);
    world.create_outside("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding)?;
    world.stage.cluster.service_account_token(&world.namespace, name)
}

fn deployment(name: &str, replicas: u32) -> Value {
    let template = json!({
        "metadata": { "labels": { "app": name } },
        "spec": { "containers": [{
            "name": "main", "image": "main", "resources": { "requests": { "cpu": "10m" } },
        }] },
    });
    let spec =
        json!({ "replicas": replicas, "selector": { "matchLabels": { "app": name } }, "template": template });
    object("apps/v1", "Deployment", name, json!({ "spec": spec }))
}

fn wait_placed(world: &World<'_>, count: usize) -> Result<()> {
    world.stage.wait(&format!("{count} pods on nodes"), || {
        let placed = world.pods()?.iter().filter(|pod| node_of(pod).is_some()).count();
        ensure!(placed == count, "{placed} are");
        Ok(Some(()))
    })
}

#[test]
fn the_command_line_of_kubeadm_schedules_and_serves_as_kube_scheduler() -> Result<()> {
    let test = "the_command_line_of_kubeadm_schedules_and_serves_as_kube_scheduler";
    let Some(stage) = stage(test)? else { return Ok(()) };
    // It has the turn of this file's cluster.
    let world = World::new(stage, "kubeadm")?;
    let mut scheduler = Started::new(stage, &[])?;
    world.create_nodes(&(0..3).map(|n| node(&format!("n{n}"), json!({}))).collect::<Vec<_>>())?;
    world.create("apps/v1/deployments", &deployment("web", 6))?;
    wait_placed(&world, 6)?;
    let by: Vec<String> = events(&stage.cluster, &world.namespace)?
        .into_iter()
        .filter(|event| event.reason == "Scheduled")
        .map(|event| event.controller)
        .collect();
    ensure!(!by.is_empty() && by.iter().all(|controller| controller == DEFAULT), "{by:?}");
    let lease = stage
        .cluster
        .api()
        .get("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler")?;
    ensure!(lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty()), "{lease}");

    // Who may see what.
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(scheduler.ask(path, Asker::Nobody)?.body, "ok", "{path}");
    }
    let refused = scheduler.answers("/metrics", Asker::Nobody, 403)?;
    assert!(refused.contains("User \\\"system:anonymous\\\" cannot get path \\\"/metrics\\\""), "{refused}");
    scheduler.answers("/metrics", Asker::Token("nonsense"), 401)?;
    // kube-scheduler has these in the same chain.
    scheduler.answers("/metrics/slis", Asker::Nobody, 403)?;
    // Whoever has a token that is wrong is not served as if he had none.
    scheduler.answers("/healthz", Asker::Token("nonsense"), 401)?;
    let scraper = json!([{ "nonResourceURLs": ["/metrics"], "verbs": ["get"] }]);
    let (may, may_not) = (account(&world, "scraper", scraper)?, account(&world, "other", json!([]))?);
    let metrics = scheduler.answers("/metrics", Asker::Token(&may), 200)?;
    assert!(metrics.contains("scheduler_schedule_attempts_total{"), "{metrics}");
    scheduler.answers("/configz", Asker::Token(&may), 403)?;
    let refused = scheduler.answers("/metrics", Asker::Token(&may_not), 403)?;
    assert!(refused.contains("system:serviceaccount:"), "{refused}");
    let (certificate, key) = administrator(stage);
    let administrator = Asker::Certificate(&certificate, &key);
    let configuration = scheduler.answers("/configz", administrator, 200)?;
    assert!(configuration.contains("default-scheduler"), "{configuration}");
    let checks = scheduler.answers("/metrics/slis", administrator, 200)?;
    assert!(checks.contains("kubernetes_healthcheck{"), "{checks}");
    let resources = scheduler.answers("/metrics/resources", administrator, 200)?;
    let of_web = |line: &&str| {
        line.starts_with("kube_pod_resource_request{namespace=\"") && line.contains("resource=\"cpu\"")
    };
    assert_eq!(resources.lines().filter(of_web).count(), 6, "{resources}");
    let flags = scheduler.answers("/flagz", administrator, 200)?;
    assert!(flags.contains("\nbind-address=127.0.0.1\n"), "{flags}");
    let status = scheduler.answers("/statusz", administrator, 200)?;
    assert!(status.contains("Emulation version: 1.") && status.contains("/debug/pprof/"), "{status}");

    // Cache and queue in the log, as by kube-scheduler.
    scheduler.process.signal("USR2")?;
    stage.wait("cache and queue in the log", || {
        let log = scheduler.process.log()?;
        let has = |words: &str| log.lines().any(|line| line.contains(words));
        Ok((has("the cache is the same as the cluster")
            && has("dump of cached node: ")
            && has("dump of the scheduling queue"))
        .then_some(()))
    })?;
    ensure!(scheduler.process.is_running()?, "the signal ended it");
    let log = scheduler.process.log()?;
    let refused: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
    ensure!(refused.is_empty(), "kube-scheduler's rights are not enough: {refused:#?}");
    scheduler.end()
}

#[test]
fn what_is_switched_off_is_off_and_a_certificate_that_is_replaced_is_shown() -> Result<()> {
    let test = "what_is_switched_off_is_off_and_a_certificate_that_is_replaced_is_shown";
    let Some(stage) = stage(test)? else { return Ok(()) };
    let _turn = World::new(stage, "switched-off")?;
    let folder = stage.cluster.directory().join("certificates");
    let (shown, key) =
        (stage.cluster.directory().join("shown.crt"), stage.cluster.directory().join("shown.key"));
    let show = |name: &str| -> Result<()> {
        std::fs::copy(folder.join(format!("{name}.key")), &key)?;
        std::fs::copy(folder.join(format!("{name}.crt")), &shown)?;
        Ok(())
    };
    // No server's: nobody finds the address in it.
    show("admin")?;
    let scheduler = Started::new(
        stage,
        &[
            "--disabled-metrics=scheduler_pending_pods,scheduler_queue_incoming_pods_total",
            "--profiling=false",
            &format!("--tls-cert-file={}", shown.display()),
            &format!("--tls-private-key-file={}", key.display()),
        ],
    )?;
    let (certificate, of) = administrator(stage);
    let administrator = Asker::Certificate(&certificate, &of);
    let metrics = scheduler.answers("/metrics", administrator, 200)?;
    let is_shown = |name: &str| metrics.contains(&format!("# TYPE {name} "));
    assert_eq!(
        ["scheduler_cache_size", "scheduler_pending_pods", "scheduler_queue_incoming_pods_total"]
            .map(is_shown),
        [true, false, false],
        "{metrics}"
    );
    let off = scheduler.answers("/debug/pprof/", administrator, 404)?;
    assert!(off.contains("--profiling"), "{off}");

    let healthz = format!("{}/healthz", scheduler.url);
    let ask = || get_trusting(&healthz, &folder.join("ca.crt"));
    let refused = ask().err().context("a certificate without the address is trusted")?;
    assert!(format!("{refused:#}").to_lowercase().contains("cert"), "{refused:#}");
    show("server")?;
    stage.wait("the new certificate", || Ok(ask().is_ok_and(|answer| answer.body == "ok").then_some(())))?;
    scheduler.end()
}

#[test]
fn go_tool_pprof_opens_a_live_profile() -> Result<()> {
    let test = "go_tool_pprof_opens_a_live_profile";
    let Some(stage) = stage(test)? else { return Ok(()) };
    if !Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()) {
        skip_unless_ci(test, "there is no Go, whose tool opens profiles");
        return Ok(());
    }
    let world = World::new(stage, "profile")?;
    // The tool shows neither a certificate nor a token of its own, and waits five seconds more than the profile takes unless told
    // otherwise: names are looked up in a large program here.
    let open = "--authorization-always-allow-paths=/healthz,/livez,/readyz,/debug/pprof/*";
    let scheduler = Started::new(stage, &[open])?;
    world.create_nodes(&(0..20).map(|n| node(&format!("p{n}"), json!({}))).collect::<Vec<_>>())?;
    let mut pprof = Command::new("go");
    pprof.args(["tool", "pprof", "-top", "-timeout=120", "-nodecount=500", "-symbolize=none"]);
    let https = scheduler.url.replace("https://", "https+insecure://");
    pprof.arg(format!("{https}/debug/pprof/profile?seconds=5"));
    pprof.env("PPROF_TMPDIR", stage.cluster.directory()).env("GOTOOLCHAIN", "local");
    // Work, for as long as the profile is taken.
    let taken = AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        let work = scope.spawn(|| -> Result<()> {
            let mut number = 0;
            while !taken.load(Ordering::Relaxed) {
                world.create("apps/v1/deployments", &deployment(&format!("w{number}"), 20))?;
                number += 1;
            }
            Ok(())
        });
        let output = run(pprof, b"", DEADLINE + Duration::from_secs(60));
        taken.store(true, Ordering::Relaxed);
        work.join().map_err(|_| anyhow::anyhow!("creating pods panicked"))??;
        output
    })?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "go tool pprof: {errors}\n{text}");
    let named = text.lines().filter(|line| line.contains("secondmate_") || line.contains("tokio::")).count();
    ensure!(named > 10, "there are too few names of functions:\n{text}");
    text.lines().find(|line| line.contains("Total samples")).with_context(|| text.to_string())?;
    scheduler.end()
}

/// Labels that kube-scheduler's metrics have and ours have not: `docs/metrics.md` says why.
const ONLY_UPSTREAM: [(&str, &[&str]); 1] =
    [("kubernetes_build_info", &["build_date", "git_tree_state", "go_version"])];

/// The metrics that a scheduler shows after it has bound pods, rejected one and evicted one, once all queries are answered by it.
fn show_everything(world: &World<'_>, scheduler: &Started<'_>) -> Result<String> {
    let (certificate, key) = administrator(world.stage);
    let administrator = Asker::Certificate(&certificate, &key);
    // Early: the API server learns of it by a watch.
    let class = object("scheduling.k8s.io/v1", "PriorityClass", &world.namespace, json!({ "value": 1000 }));
    world.create_outside("/apis/scheduling.k8s.io/v1/priorityclasses", &class)?;
    world.create_nodes(
        &(0..3).map(|n| node(&format!("{}-{n}", world.namespace), json!({}))).collect::<Vec<_>>(),
    )?;
    // Plugins are timed in one cycle of ten.
    world.create("apps/v1/deployments", &deployment("web", 100))?;
    wait_placed(world, 100)?;
    let request =
        |cpu: &str| json!([{ "name": "main", "image": "main", "resources": { "requests": { "cpu": cpu } } }]);
    let large = json!({ "spec": { "containers": request("400") } });
    world.create("pods", &pod("large", DEFAULT, large))?;
    let urgent = json!({ "spec": { "priorityClassName": world.namespace, "containers": request("3900m") } });
    world.create("pods", &pod("urgent", DEFAULT, urgent))?;
    let queries = queries_side_by_side()?;
    world.stage.wait("every query to find its series", || {
        let shown = scheduler.ask("/metrics", administrator)?;
        ensure!(shown.status == 200, "{}: {}", shown.status, shown.body);
        let unanswered: Vec<_> = queries.iter().filter(|query| !query.is_answered_by(&shown.body)).collect();
        ensure!(unanswered.is_empty(), "no series for {unanswered:#?}");
        Ok(Some(shown.body))
    })
}

/// Everything that a real kube-scheduler shows stands in `docs/metrics.md`: as a metric of ours, or as one that is not here, by its name
/// or by how that begins.
fn documented(upstream: &str) -> Result<()> {
    let reference = std::fs::read_to_string(repository().join("docs/metrics.md"))?;
    let rows = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
    let names: Vec<String> = rows
        .flat_map(|(names, _)| names.split('`').map(str::to_owned).collect::<Vec<_>>())
        .filter(|name| name.contains('_'))
        .collect();
    ensure!(names.len() > 100, "{names:?}");
    let is_told = |metric: &&str| {
        names.iter().any(|name| match name.strip_suffix('*') {
            Some(beginning) => metric.starts_with(beginning),
            None => name == metric,
        })
    };
    let all: Vec<&str> = upstream
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ').map(|(name, _)| name))
        .collect();
    ensure!(all.len() > 100, "{all:?}");
    let untold: Vec<&str> = all.into_iter().filter(|metric| !is_told(metric)).collect();
    ensure!(untold.is_empty(), "kube-scheduler shows what docs/metrics.md does not tell of: {untold:?}");
    Ok(())
}

#[test]
fn the_board_shows_kube_scheduler_and_secondmate_side_by_side() -> Result<()> {
    let test = "the_board_shows_kube_scheduler_and_secondmate_side_by_side";
    let Some(stage) = stage(test)? else { return Ok(()) };
    let kube_scheduler = binaries()?.path(Program::KubeScheduler)?;
    let mut shown = Vec::new();
    for (name, program) in [("board-upstream", kube_scheduler), ("board-own", secondmate_binary()?)] {
        let world = World::new(stage, name)?;
        let scheduler = Started::of(program, stage, &[])?;
        shown.push(show_everything(&world, &scheduler).with_context(|| name.to_owned())?);
        scheduler.end()?;
    }
    documented(&shown[0])?;
    let (upstream, ours) = (labels_by_metric(&shown[0]), labels_by_metric(&shown[1]));
    let mut compared = 0;
    for (metric, labels) in &ours {
        let Some(mut expected) = upstream.get(metric).cloned() else { continue };
        for (_, missing) in ONLY_UPSTREAM.iter().filter(|(different, _)| different == metric) {
            expected.retain(|label| !missing.contains(label));
        }
        assert_eq!(*labels, expected, "{metric}");
        compared += 1;
    }
    ensure!(compared > 30, "only {compared} series have a name that kube-scheduler has: {:?}", ours.keys());
    Ok(())
}
