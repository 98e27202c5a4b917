//! `secondmate run` as a process: its errors for bad input, and how it starts, stops and hands over.

mod support;

use anyhow::{Context, Result, bail, ensure};
use secondmate_harness::{Asker, get_unverified};
use secondmate_sandbox::{KubeletOptions, NodeShape, Options, Sandbox};
use serde_json::json;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `secondmate run` to completion.
fn run(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_secondmate"));
    command.arg("run").args(arguments).args(["--listen", "127.0.0.1:0"]);
    command.env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST").env("HOME", "/nonexistent");
    change(&mut command);
    support::output(command).expect("the program starts, and ends")
}

/// The error with which it exits; it must fail.
#[track_caller]
fn error_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let at = text.find("error: ").unwrap_or_else(|| panic!("no error in {text:?}"));
    text[at..].trim_end().to_owned()
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path: PathBuf = folder.join(name);
    std::fs::write(&path, text).expect("a writable folder");
    path.display().to_string()
}

fn nothing(_: &mut Command) {}

#[test]
fn bad_input_is_told_with_the_object_and_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = |name: &str, text: &str| {
        let head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
        file(folder.path(), name, &format!("{head}{text}"))
    };
    let misspelt = config("misspelt.yaml", "profles: []\n");
    let two = config("two.yaml", "profiles: [{schedulerName: a}, {schedulerName: b}]\n");
    let gang = config(
        "gang.yaml",
        "profiles: [{schedulerName: a, plugins: {permit: {enabled: [{name: GangScheduling}]}}}]\n",
    );
    let plugin = config(
        "plugin.yaml",
        "profiles: [{schedulerName: a, plugins: {filter: {enabled: [{name: NodeAfinity}]}}}]\n",
    );
    let garbage = file(folder.path(), "garbage.kubeconfig", "clusters: [\n");
    let table: &[(&[&str], &[&str])] = &[
        (&[], &["error: there is nothing to schedule: give --scheduler-name NAME"]),
        (
            &["--scheduler-name", "default-scheduler"],
            &[
                "\"default-scheduler\" is the name that kube-scheduler serves",
                "--i-replace-the-default-scheduler",
            ],
        ),
        (&["--config", "/nowhere.yaml"], &["error: cannot read the configuration /nowhere.yaml", "--config"]),
        (&["--config", &misspelt], &["misspelt.yaml", "line 3", "unknown field \"profles\"", "profiles"]),
        (&["--config", &two, "--scheduler-name", "c"], &["two.yaml", "has 2 profiles", "remove the option"]),
        (&["--config", &gang], &["plugin GangScheduling", "is not supported yet", "remove it"]),
        (&["--config", &plugin], &["NodeAfinity", "did you mean \"NodeAffinity\""]),
        (&["--scheduler-name", "a"], &["error: no cluster", "give --kubeconfig FILE, set KUBECONFIG"]),
        (
            &["--scheduler-name", "a", "--kubeconfig", "/nowhere"],
            &["error: kubeconfig /nowhere: ", "give another by --kubeconfig"],
        ),
        (
            &["--scheduler-name", "a", "--kubeconfig", &garbage],
            &["garbage.kubeconfig: ", "correct it, or give another by --kubeconfig"],
        ),
        (
            &[
                "--scheduler-name",
                "kube-scheduler",
                "--kubeconfig",
                &kubeconfig(folder.path(), "http://127.0.0.1:1"),
            ],
            &["the Lease \"kube-scheduler\" belongs to kube-scheduler"],
        ),
    ];
    for (arguments, expected) in table {
        let error = error_of(&run(arguments, nothing));
        for part in *expected {
            assert!(error.contains(part), "{arguments:?}: {part:?} is not in {error:?}");
        }
    }
    // The same, through the environment.
    let error = error_of(&run(&["--scheduler-name", "a"], |command| {
        command.env("KUBECONFIG", "/nowhere");
    }));
    assert!(error.starts_with("error: kubeconfig /nowhere: "), "{error}");
}

fn kubeconfig(folder: &Path, server: &str) -> String {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{{name: x, context: {{cluster: x, user: x}}}}]\nclusters: [{{name: x, cluster: {{server: \"{server}\"}}}}]\nusers: [{{name: x, user: {{}}}}]\n"
    );
    file(folder, "kubeconfig", &text)
}

/// A scheduler process; killed when the test ends.
struct Scheduler {
    child: Child,
    log: PathBuf,
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Scheduler {
    fn start(folder: &Path, name: &str, sandbox: &Sandbox, arguments: &[&str]) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let stderr = std::fs::File::create(&log)?;
        Self::start_logging_to(folder, log, stderr.into(), sandbox, arguments)
    }

    fn start_logging_to(
        folder: &Path,
        log: PathBuf,
        stderr: Stdio,
        sandbox: &Sandbox,
        arguments: &[&str],
    ) -> Result<Self> {
        Self::of_server(folder, log, stderr, &sandbox.url(), arguments)
    }

    fn of_server(
        folder: &Path,
        log: PathBuf,
        stderr: Stdio,
        server: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let child = Command::new(env!("CARGO_BIN_EXE_secondmate"))
            .args(["run", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(["--lease-duration", "6s", "--renew-deadline", "5s", "--retry-period", "300ms"])
            .args(["--kubeconfig", &kubeconfig(folder, server)])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()?;
        Ok(Self { child, log })
    }

    fn log(&self) -> String {
        let mut text = String::new();
        let read = std::fs::File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        read.map(|_| text).unwrap_or_default()
    }

    async fn until_logged(&mut self, what: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(what) {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} before it said {what:?}:\n{}", self.log());
            }
            ensure!(Instant::now() < end, "it never said {what:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn terminate(&self) -> Result<()> {
        support::terminate(&self.child)
    }

    async fn until_ended(&mut self) -> Result<Option<i32>> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            ensure!(Instant::now() < end, "it never ended:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn sandbox() -> Result<Sandbox> {
    let kubelets = KubeletOptions {
        start_delay: Duration::ZERO,
        stop_delay: Duration::ZERO,
        ..KubeletOptions::default()
    };
    let sandbox = Sandbox::start(Options { kubelets, ..Options::default() }).await?;
    sandbox.add_nodes(0, 5, &NodeShape::default());
    Ok(sandbox)
}

fn create_pods(sandbox: &Sandbox, prefix: &str, count: usize) -> Result<()> {
    for i in 0..count {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("{prefix}-{i}"), "namespace": "default" },
            "spec": { "schedulerName": "mate", "containers": [{ "name": "c", "image": "nginx" }] },
        });
        sandbox.objects().create(pod).context("a valid pod")?;
    }
    Ok(())
}

async fn until_bound(sandbox: &Sandbox, count: usize) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while sandbox.objects().count_where("pods", "spec.nodeName!=")? != count {
        ensure!(Instant::now() < end, "{count} pods were never bound");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ensure!(sandbox.history().bound_twice().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_followed_by_the_standby_and_sigterm_hands_over_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox = sandbox().await?;
    let mut first = Scheduler::start(folder.path(), "first", &sandbox, &["--scheduler-name", "mate"])?;
    first.until_logged("became leader").await?;
    let mut second = Scheduler::start(folder.path(), "second", &sandbox, &["--scheduler-name", "mate"])?;
    second.until_logged("New leader observed").await?;
    create_pods(&sandbox, "p", 200)?;
    // SIGKILL, in the middle of the work.
    first.child.kill()?;
    second.until_logged("became leader").await?;
    until_bound(&sandbox, 200).await?;
    let mut third = Scheduler::start(folder.path(), "third", &sandbox, &["--scheduler-name", "mate"])?;
    third.until_logged("New leader observed").await?;
    create_pods(&sandbox, "q", 100)?;
    second.terminate()?;
    assert_eq!(second.until_ended().await?, Some(0), "{}", second.log());
    assert!(second.log().contains("Released lease"), "{}", second.log());
    third.until_logged("became leader").await?;
    until_bound(&sandbox, 300).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_is_served_where_it_is_asked_for_and_nothing_plainly() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox = sandbox().await?;
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let log = folder.path().join("secure.log");
    let child = Command::new(env!("CARGO_BIN_EXE_secondmate"))
        .args(["run", "--scheduler-name", "mate", "--log-format", "json", "--secure-listen", &address])
        .args(["--secure-always-allow-path", "/livez", "--secure-always-allow-path", "/metrics/*"])
        .args(["--kubeconfig", &kubeconfig(folder.path(), &sandbox.url())])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log)?)
        .spawn()?;
    let mut scheduler = Scheduler { child, log };
    scheduler.until_logged("became leader").await?;
    create_pods(&sandbox, "p", 10)?;
    until_bound(&sandbox, 10).await?;
    let ask = |path: &str| get_unverified(&format!("https://{address}{path}"), Asker::Nobody);
    assert_eq!(ask("/livez")?.status, 200);
    let slis = ask("/metrics/slis")?;
    assert!(slis.status == 200 && slis.body.contains("kubernetes_healthcheck"), "{}", slis.body);
    // The embedded API server does not support reviews, so nobody may read anything that is not always allowed.
    for path in ["/metrics", "/configz", "/debug/cache", "/healthz"] {
        let answer = ask(path)?;
        assert!(matches!(answer.status, 401 | 403 | 500), "{path}: {} {}", answer.status, answer.body);
    }
    let mut plain = std::net::TcpStream::connect(&address)?;
    plain.set_read_timeout(Some(PATIENCE))?;
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    // A closed connection counts as an answer, too.
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "), "{answer:?}");
    scheduler.terminate()?;
    assert_eq!(scheduler.until_ended().await?, Some(0), "{}", scheduler.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_waits_for_the_api_server_it_says_so_and_can_be_stopped() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    let stderr = std::fs::File::create(&log)?.into();
    let nobody = "http://127.0.0.1:1";
    let mut scheduler =
        Scheduler::of_server(folder.path(), log, stderr, nobody, &["--scheduler-name", "mate"])?;
    scheduler.until_logged("cannot reach the API server at http://127.0.0.1:1/").await?;
    assert!(scheduler.log().contains("trying again until it answers"), "{}", scheduler.log());
    scheduler.terminate()?;
    assert_eq!(scheduler.until_ended().await?, Some(0), "{}", scheduler.log());
    Ok(())
}

#[test]
fn there_is_one_way_of_serving() {
    for arguments in [
        &["--scheduler-name", "a", "--secure-listen", "127.0.0.1:0"][..],
        &["--scheduler-name", "a", "--secure-tls-cert-file", "x"],
    ] {
        let output = run(arguments, nothing);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_of_the_name_with_another_configuration_says_so_and_waits() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox = sandbox().await?;
    let mut first = Scheduler::start(folder.path(), "first", &sandbox, &["--scheduler-name", "mate"])?;
    first.until_logged("became leader").await?;
    let config = file(
        folder.path(),
        "config.yaml",
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\npodMaxBackoffSeconds: 33\nprofiles: [{schedulerName: mate}]\n",
    );
    let mut second = Scheduler::start(folder.path(), "second", &sandbox, &["--config", &config])?;
    second.until_logged("scheduler name mate is already served by").await?;
    second.until_logged("caches synced").await?;
    assert!(!second.log().contains("became leader"), "{}", second.log());
    create_pods(&sandbox, "p", 10)?;
    until_bound(&sandbox, 10).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lease_ends_the_process_with_an_error() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox = sandbox().await?;
    let mut scheduler = Scheduler::start(folder.path(), "one", &sandbox, &["--scheduler-name", "mate"])?;
    scheduler.until_logged("became leader").await?;
    sandbox.faults().inject(
        secondmate_sandbox::Target::resource("leases"),
        secondmate_sandbox::Fault::BlackHole,
        secondmate_sandbox::When::Always,
    );
    assert_eq!(scheduler.until_ended().await?, Some(1), "{}", scheduler.log());
    assert!(scheduler.log().contains("leadership was lost ("), "{}", scheduler.log());
    Ok(())
}

/// The reader of the log goes away, and the watches have to restart, which is logged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_takes_any_more_stops_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox = sandbox().await?;
    let (reader, writer) = std::io::pipe()?;
    let arguments = ["--scheduler-name", "mate", "--leader-elect=false"];
    let log = folder.path().join("none.log");
    let mut scheduler = Scheduler::start_logging_to(folder.path(), log, writer.into(), &sandbox, &arguments)?;
    create_pods(&sandbox, "before", 20)?;
    until_bound(&sandbox, 20).await?;
    drop(reader);
    let refused = sandbox.faults().inject(
        secondmate_sandbox::Target::verb(secondmate_sandbox::Verb::Watch),
        secondmate_sandbox::Fault::ServiceUnavailable,
        secondmate_sandbox::When::Next(5),
    );
    sandbox.faults().break_watches();
    create_pods(&sandbox, "after", 100)?;
    until_bound(&sandbox, 120).await?;
    assert!(sandbox.faults().strikes(refused) > 0);
    scheduler.terminate()?;
    assert_eq!(scheduler.until_ended().await?, Some(0));
    Ok(())
}

/// A field of the startup line.
fn told_at_start(log: &str, field: &str) -> Option<String> {
    log.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["message"] == "starting").then(|| line[field].as_str().map(str::to_owned))?
    })
}

/// The status of a GET request.
fn status(address: &str, path: &str) -> Result<String> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debug_endpoints_have_an_address_of_their_own_or_none() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox = sandbox().await?;
    let both = ["--scheduler-name", "mate", "--leader-elect=false", "--debug-listen", "127.0.0.1:0"];
    let mut scheduler = Scheduler::start(folder.path(), "both", &sandbox, &both)?;
    create_pods(&sandbox, "p", 1)?;
    until_bound(&sandbox, 1).await?;
    scheduler.until_logged("starting").await?;
    let log = scheduler.log();
    let probes = told_at_start(&log, "listen").context(log.clone())?;
    let debug = told_at_start(&log, "debug_listen").context(log)?;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!((status(&probes, path)?, status(&debug, path)?), ("200".to_owned(), "404".to_owned()));
    }
    for path in ["/configz", "/debug/queue", "/debug/cache-compare"] {
        assert_eq!((status(&probes, path)?, status(&debug, path)?), ("404".to_owned(), "200".to_owned()));
    }
    assert_eq!(status(&debug, "/debug/cache-compare")?, "429", "it lists the whole cluster");
    let off = ["--scheduler-name", "other", "--leader-elect=false", "--debug-listen", "off"];
    let mut scheduler = Scheduler::start(folder.path(), "off", &sandbox, &off)?;
    scheduler.until_logged("starting").await?;
    assert_eq!(told_at_start(&scheduler.log(), "debug_listen").as_deref(), Some("off"));
    Ok(())
}

/// At the default level: what runs, and each decision once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_what_starts_and_what_is_decided() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox = sandbox().await?;
    let mut scheduler = Scheduler::start(folder.path(), "log", &sandbox, &["--scheduler-name", "mate"])?;
    scheduler.until_logged("became leader").await?;
    scheduler.until_logged("caches synced").await?;
    create_pods(&sandbox, "p", 3)?;
    let mut big = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "big", "namespace": "default" },
        "spec": { "schedulerName": "mate", "containers": [{ "name": "c", "image": "nginx" }] },
    });
    big["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "1000" } });
    sandbox.objects().create(big)?;
    until_bound(&sandbox, 3).await?;
    scheduler.until_logged("pod unschedulable: 0/5 nodes are available: 5 Insufficient cpu.").await?;
    scheduler.terminate()?;
    assert_eq!(scheduler.until_ended().await?, Some(0));
    let log = scheduler.log();
    for (field, expected) in [
        ("version", env!("CARGO_PKG_VERSION")),
        ("kubernetes", secondmate_config::KUBERNETES_VERSION),
        ("profiles", "mate"),
    ] {
        assert_eq!(told_at_start(&log, field).as_deref(), Some(expected), "{log}");
    }
    assert!(told_at_start(&log, "lease").is_some_and(|lease| lease.ends_with("mate")), "{log}");
    let lines: Vec<serde_json::Value> = log.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let of = |message: &str| lines.iter().filter(move |line| line["message"] == message).collect::<Vec<_>>();
    let bound = of("pod bound");
    assert_eq!(bound.len(), 3, "{log}");
    for line in bound {
        assert!(line["pod"].as_str().is_some_and(|pod| pod.starts_with("default/p-")), "{line}");
        assert!(line["node"].is_string() && line["took_ms"].is_number(), "{line}");
        assert_eq!(line["attempts"], 1, "{line}");
    }
    let unschedulable: Vec<_> = lines.iter().filter(|line| line["pod"] == "default/big").collect();
    assert_eq!(unschedulable.len(), 1, "{log}");
    Ok(())
}

const BOUND_BY_OTHERS: &str = "a pod of this scheduler was bound by somebody else: ";

/// The holder of a Lease, given as NAMESPACE/NAME.
fn holder_of(sandbox: &Sandbox, lease: &str) -> Option<String> {
    let (namespace, name) = lease.split_once('/')?;
    let lease = sandbox.objects().get("leases", namespace, name)?;
    Some(lease["spec"]["holderIdentity"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_a_name_under_two_leases_say_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox = sandbox().await?;
    let mut first = Scheduler::start(folder.path(), "first", &sandbox, &["--scheduler-name", "mate"])?;
    first.until_logged("became leader").await?;
    let config = file(
        folder.path(),
        "config.yaml",
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nleaderElection: {leaderElect: true, resourceName: mine, resourceNamespace: default}\nprofiles: [{schedulerName: mate}]\n",
    );
    let mut second = Scheduler::start(folder.path(), "second", &sandbox, &["--config", &config])?;
    second.until_logged("make default/mine the Lease of this scheduler; a process of the same name without them takes kube-system/mate").await?;
    second
        .until_logged(
            "holds the Lease kube-system/mate and serves the scheduler name mate too, while this process takes the Lease default/mine: both schedule",
        )
        .await?;
    second.until_logged("became leader").await?;
    // The first one learns of it through a pod that the second one binds first.
    let end = Instant::now() + PATIENCE;
    for round in 0.. {
        create_pods(&sandbox, &format!("p{round}"), 20)?;
        until_bound(&sandbox, 20 * (round + 1)).await?;
        let logs = [(first.log(), "default/mine"), (second.log(), "kube-system/mate")];
        let said = logs
            .iter()
            .find_map(|(log, lease)| Some((log.lines().find(|line| line.contains(BOUND_BY_OTHERS))?, lease)));
        if let Some((line, lease)) = said {
            // The pod, the holder of the other Lease, and the remedy.
            let line: serde_json::Value = serde_json::from_str(line)?;
            assert!(line["pod"].as_str().is_some_and(|pod| pod.starts_with("default/p")), "{line}");
            assert!(line["node"].is_string(), "{line}");
            let holder = holder_of(&sandbox, lease).context("a Lease")?;
            let says = format!(
                "{BOUND_BY_OTHERS}{holder} holds the Lease {lease} and serves the scheduler name mate too; let all processes of the name take one Lease"
            );
            assert!(
                line["message"].as_str().is_some_and(|message| message.starts_with(&says)),
                "{line}\n{says}"
            );
            break;
        }
        ensure!(Instant::now() < end, "nobody noticed:\n{}\n{}", first.log(), second.log());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_once_and_once_again_when_it_is_over() -> Result<()> {
    use secondmate_sandbox::{Fault, Target, Verb, When};
    let folder = tempfile::tempdir()?;
    let sandbox = sandbox().await?;
    let arguments = ["--scheduler-name", "mate", "--leader-elect=false"];
    let mut scheduler = Scheduler::start(folder.path(), "one", &sandbox, &arguments)?;
    scheduler.until_logged("caches synced").await?;
    let rules = [Verb::Watch, Verb::List]
        .map(|verb| sandbox.faults().inject(Target::verb(verb), Fault::ServiceUnavailable, When::Always));
    sandbox.faults().break_watches();
    let end = Instant::now() + PATIENCE;
    // More than two restarts of every watch.
    while sandbox.faults().strikes(rules[0]) < 60 {
        ensure!(Instant::now() < end, "the watches do not try again:\n{}", scheduler.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sandbox.faults().quiesce();
    scheduler.until_logged("the API server answers again, after").await?;
    let log = scheduler.log();
    let lines = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    ensure!(lines("no answer from the API server") == 1, "{log}");
    ensure!(lines("the API server answers again") == 1, "{log}");
    ensure!(lines("trying again") == 1, "{log}");
    Ok(())
}
