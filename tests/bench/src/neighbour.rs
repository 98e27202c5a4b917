//! Two schedulers on nodes that both share: how many pods are bound where there is no room, with and without the bind guard, and without it
//! with and without what secondmate does beside others: fresh reads of nearly full nodes, and waiting for the last room of a node.
//!
//! Each scheduler has as many of the pods as any other, and they fill the nodes to the given share. All are pending before the schedulers
//! start, or they arrive while these run. No kubelet runs: what one would reject is counted from the API, as the pods of a node beyond its
//! room. The time of a bind is the API server's own.

use crate::audit::Audit;
use crate::options::{Limits, NeighbourOptions};
use crate::watch::PodWatch;
use crate::{DEADLINE, arena};
use anyhow::{Context, Result};
use secondmate_harness::{
    Binaries, Cluster, GuardCertificate, MeasuredScheduler, NodeShape, Options, Process, SchedulerOptions,
    binaries, secondmate_binary, sum,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Pods that a node has room for, by its CPU.
const PODS_A_NODE: usize = 40;
/// Scheduler names of the pods that are not for the first kube-scheduler.
const SECOND: &str = "second-scheduler";
const THIRD: &str = "third-scheduler";
/// Beside one kube-scheduler, where there are three schedulers.
const SECONDMATE_AND_ANOTHER: &str = "secondmate and another kube-scheduler";
/// The default of `yieldLastRoom`, in seconds.
const YIELDS_S: u64 = 30;
/// Arriving pods are made so many times a second.
const BATCHES_A_SECOND: usize = 20;

/// Where pods are made: in [`arena::NAMESPACE`].
const PODS: &str = "/api/v1/namespaces/default/pods";

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Who was beside kube-scheduler.
    pub beside: &'static str,
    /// What limited the load.
    pub limits: String,
    /// How full the pods make the nodes, in percent.
    pub fill_percent: usize,
    /// Pods that arrived in a second; 0: all were there before the schedulers started.
    pub arriving: usize,
    /// Whether the guard was called.
    pub guard: bool,
    /// Whether secondmate read nearly full nodes before it bound pods there.
    pub reads: bool,
    /// How long its pods waited at most for the last room of a node, in seconds.
    pub yields_s: u64,
    /// Number of pods.
    pub pods: usize,
    /// Pods bound beyond the room of their node, per 10,000 pods.
    pub too_many_per_10000: f64,
    /// From the first pod that was bound until 95 in a hundred were.
    pub pods_per_s: f64,
    /// From the first pod that was bound to the last.
    pub seconds: f64,
    /// Time that the API server took for a bind, by its audit log, in milliseconds: mean, median and 99th percentile.
    pub bind_ms: [f64; 3],
    /// Processor time that the API server used meanwhile, in seconds.
    pub api_server_cpu_s: f64,
    /// Processor time that the guard used, in seconds.
    pub guard_cpu_s: f64,
    /// Time that the guard took for an answer, in milliseconds: the mean.
    pub guard_answer_ms: f64,
    /// Connections that the API server opened to the guard.
    pub guard_connections: f64,
    /// What the guard refused; schedulers tried again.
    pub refused: f64,
    /// Binds that passed because the guard did not answer in time.
    pub failed_open: f64,
    /// Reads of nodes' pods.
    pub nodes_read: f64,
    /// Those that failed or took too long.
    pub reads_failed: f64,
    /// Pods that were not bound, since a read showed that they do not fit.
    pub averted: f64,
    /// Pods that waited for the last room of a node.
    pub yielded: f64,
}

/// Who is measured, and how.
#[derive(Clone, Copy, Debug)]
struct Setting {
    beside: &'static str,
    limits: Limits,
    fill_percent: usize,
    arriving: usize,
    guard: bool,
    reads: bool,
    yields_s: u64,
}

impl Setting {
    fn has_secondmate(self) -> bool {
        self.beside != "kube-scheduler"
    }

    /// With the client limits of the setting.
    fn kube_scheduler(self) -> SchedulerOptions {
        if self.limits == Limits::Default {
            SchedulerOptions::default()
        } else {
            SchedulerOptions::unlimited()
        }
    }

    /// The names of all schedulers; pods have them in turn.
    fn names(self) -> &'static [&'static str] {
        const NAMES: [&str; 3] = ["default-scheduler", SECOND, THIRD];
        if self.beside == SECONDMATE_AND_ANOTHER { &NAMES } else { &NAMES[..2] }
    }
}

/// All combinations.
pub fn run(runtime: &Runtime, options: &NeighbourOptions) -> Result<Vec<Row>> {
    secondmate_binary()?;
    let binaries = binaries().context("the real control plane")?;
    let mut rows = Vec::new();
    let mut loads = Vec::new();
    for limits in &options.limits {
        for arriving in &options.arriving {
            loads.extend(options.fill.iter().map(|fill| (*limits, *arriving, *fill)));
        }
    }
    for (limits, arriving, fill_percent) in loads {
        for _ in 0..options.runs {
            for (beside, guard, reads, yields_s) in [
                ("kube-scheduler", false, false, 0),
                ("kube-scheduler", true, false, 0),
                ("secondmate", false, false, 0),
                ("secondmate", false, true, 0),
                ("secondmate", false, false, YIELDS_S),
                ("secondmate", false, true, YIELDS_S),
                ("secondmate", true, false, 0),
                ("secondmate", true, true, YIELDS_S),
                (SECONDMATE_AND_ANOTHER, false, true, YIELDS_S),
                (SECONDMATE_AND_ANOTHER, true, true, YIELDS_S),
            ] {
                let setting = Setting { beside, limits, fill_percent, arriving, guard, reads, yields_s };
                let left_out = (options.without_guard && guard)
                    || (options.without_secondmate && setting.has_secondmate())
                    || (options.defaults_only && setting.has_secondmate() && !(reads && yields_s > 0));
                if left_out {
                    continue;
                }
                eprintln!("kube-scheduler and {beside}: {setting:?}");
                rows.push(measure(runtime, binaries, options, setting)?);
            }
        }
    }
    Ok(rows)
}

fn measure(
    runtime: &Runtime,
    binaries: &Binaries,
    options: &NeighbourOptions,
    setting: Setting,
) -> Result<Row> {
    let audit = Audit::new()?;
    let cluster = Cluster::start(
        binaries,
        Options {
            controller_manager: false,
            scheduler: None,
            kwok: false,
            for_load: setting.limits == Limits::Raised,
            apiserver_flags: audit.flags()?,
            ..Options::default()
        },
    )?;
    cluster.create_nodes(options.nodes, &NodeShape { cpu: "4".to_owned(), ..NodeShape::default() })?;
    let count = options.nodes * PODS_A_NODE * setting.fill_percent / 100;
    let names = setting.names();
    let pods: Vec<Value> = (0..count).map(|number| pod(number, names[number % names.len()])).collect();
    if setting.arriving == 0 {
        cluster.api().create_all(PODS, &pods)?;
    }
    let guard = setting.guard.then(|| cluster.start_guard(GuardCertificate::Own)).transpose()?;
    let before = metrics(&cluster)?;
    let watch = PodWatch::start(runtime, cluster.kubeconfig(), arena::NAMESPACE)?;
    if setting.arriving == 0 {
        watch.wait_seen(count, DEADLINE)?;
    }
    let mut second = Second::start(&cluster, setting)?;
    let another = |name| cluster.start_another_kube_scheduler(name, setting.kube_scheduler());
    let third = (names.len() > 2).then(|| another(THIRD)).transpose()?;
    cluster.start_scheduler(setting.kube_scheduler())?;
    if setting.arriving > 0 {
        let began = Instant::now();
        let batch = (setting.arriving / BATCHES_A_SECOND).max(1);
        for (number, pods) in pods.chunks(batch).enumerate() {
            let due = began + Duration::from_secs_f64((number * batch) as f64 / setting.arriving as f64);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            cluster.api().create_all(PODS, pods)?;
        }
    }
    watch.wait_bound(count, DEADLINE).with_context(|| second.process().tail(20))?;
    let too_many = too_many(&cluster)?;
    let text = metrics(&cluster)?;
    let bound = watch.bound_times();
    let first = *bound.first().context("no pod was bound")?;
    let most = bound.len() * 95 / 100;
    let of_guard = |series: &str| guard.as_ref().map_or(Ok(0.0), |guard| guard.value(series));
    let cpu = |text: &str| sum(text, "process_cpu_seconds_total");
    let [nodes_read, reads_failed, averted, yielded] = [
        "secondmate_node_reads_total",
        "secondmate_node_reads_total{result=\"failed\"",
        "secondmate_binds_averted_total",
        "secondmate_last_room_wait_duration_seconds_count",
    ]
    .map(|series| second.value(series));
    let (nodes_read, reads_failed, averted, yielded) = (nodes_read?, reads_failed?, averted?, yielded?);
    second.process().kill()?;
    if let Some(mut third) = third {
        third.kill()?;
    }
    let answers = "secondmate_guard_answer_duration_seconds";
    let guard_answer_ms =
        1000.0 * of_guard(&format!("{answers}_sum"))? / of_guard(&format!("{answers}_count"))?.max(1.0);
    let (refused, guard_cpu_s, guard_connections) = (
        of_guard("secondmate_guard_refused_total")?,
        of_guard("process_cpu_seconds_total")?,
        of_guard("secondmate_guard_connections_total")?,
    );
    let Setting { beside, limits, fill_percent, arriving, guard, reads, yields_s } = setting;
    Ok(Row {
        beside,
        limits: limits.to_string(),
        fill_percent,
        arriving,
        guard,
        reads,
        yields_s,
        pods: count,
        too_many_per_10000: too_many as f64 * 10_000.0 / count as f64,
        pods_per_s: most as f64 / (bound[most - 1] - first).as_secs_f64().max(0.001),
        seconds: (bound[bound.len() - 1] - first).as_secs_f64(),
        bind_ms: audit.bind_ms()?,
        api_server_cpu_s: cpu(&text)? - cpu(&before)?,
        guard_cpu_s,
        guard_answer_ms,
        guard_connections,
        refused,
        failed_open: sum(&text, "apiserver_admission_webhook_fail_open_count")?,
        nodes_read,
        reads_failed,
        averted,
        yielded,
    })
}

/// The scheduler beside kube-scheduler.
enum Second {
    KubeScheduler(Process),
    Secondmate(MeasuredScheduler),
}

impl Second {
    fn start(cluster: &Cluster, setting: Setting) -> Result<Self> {
        if !setting.has_secondmate() {
            let options = setting.kube_scheduler();
            return cluster.start_another_kube_scheduler(SECOND, options).map(Self::KubeScheduler);
        }
        let path = cluster.directory().join("second.yaml");
        let configuration = format!(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{{schedulerName: {SECOND}}}]\n\
             ---\napiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\n\
             readBeforeBind: {}\nyieldLastRoom: {}s\n",
            setting.reads, setting.yields_s
        );
        std::fs::write(&path, configuration)?;
        let path = path.to_str().context("a path that is text")?;
        let arguments = ["--config", path, "--leader-elect=false"];
        // Not as an administrator, whose requests priority and fairness exempts.
        let kubeconfig = cluster.kubeconfig_of_manifests("base")?;
        cluster
            .start_measured(secondmate_binary()?, "secondmate", &kubeconfig, &arguments)
            .map(Self::Secondmate)
    }

    fn process(&mut self) -> &mut Process {
        match self {
            Self::KubeScheduler(process) => process,
            Self::Secondmate(scheduler) => &mut scheduler.process,
        }
    }

    /// The sum of a metric; 0 of one that the scheduler has not.
    fn value(&self, series: &str) -> Result<f64> {
        match self {
            Self::KubeScheduler(_) => Ok(0.0),
            Self::Secondmate(scheduler) => scheduler.value(series),
        }
    }
}

/// Pods beyond the room of their node: those that a kubelet would reject.
fn too_many(cluster: &Cluster) -> Result<usize> {
    let mut on_node: BTreeMap<String, usize> = BTreeMap::new();
    for pod in cluster.list("/api/v1/pods")? {
        if let Some(node) = pod["spec"]["nodeName"].as_str() {
            *on_node.entry(node.to_owned()).or_default() += 1;
        }
    }
    Ok(on_node.values().map(|count| count.saturating_sub(PODS_A_NODE)).sum())
}

/// The API server's own.
fn metrics(cluster: &Cluster) -> Result<String> {
    Ok(cluster.api().call("GET", "/metrics", "text/plain", b"")?.body)
}

fn pod(number: usize, scheduler: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": format!("{}-{number}", arena::POD_PREFIX), "namespace": arena::NAMESPACE },
        "spec": {
            "schedulerName": scheduler,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "c",
                "image": "registry.example/bench:1",
                "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
            }],
        },
    })
}

/// Prints the rows as a table, or as JSON.
#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
pub fn print(rows: &[Row], json: bool) {
    if json {
        for line in rows.iter().filter_map(|row| serde_json::to_string(row).ok()) {
            println!("{line}");
        }
        return;
    }
    println!(
        "| kube-scheduler and | limits | full | arriving | guard | reads | yields | pods | too many per 10,000 | pods/s | last after s | bind mean ms | bind p50 ms | bind p99 ms | API server CPU s | guard CPU s | guard answers in ms | connections | refused | failed open | nodes read | reads failed | averted | yielded |"
    );
    println!("|{}", "---|".repeat(24));
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    for row in rows {
        println!(
            "| {} | {} | {} % | {} | {} | {} | {} s | {} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
            row.beside,
            row.limits,
            row.fill_percent,
            if row.arriving == 0 { "at once".to_owned() } else { format!("{}/s", row.arriving) },
            yes(row.guard),
            yes(row.reads),
            row.yields_s,
            row.pods,
            row.too_many_per_10000,
            row.pods_per_s,
            row.seconds,
            row.bind_ms[0],
            row.bind_ms[1],
            row.bind_ms[2],
            row.api_server_cpu_s,
            row.guard_cpu_s,
            row.guard_answer_ms,
            row.guard_connections,
            row.refused,
            row.failed_open,
            row.nodes_read,
            row.reads_failed,
            row.averted,
            row.yielded
        );
    }
}
