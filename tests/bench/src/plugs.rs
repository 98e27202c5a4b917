//! What a plugin costs that is not compiled in: the same one, NodeNumber, as a WebAssembly guest and as an HTTP extender, beside none.
//!
//! All pods are pending before the scheduler starts. The time of a call is the scheduler's own word, from its metrics; of guests it times
//! some cycles and in them some nodes.

use crate::options::PlugsOptions;
use crate::watch::PodWatch;
use crate::{DEADLINE, arena, extender};
use anyhow::{Context, Result};
use secondmate_harness::{
    Binaries, Cluster, MeasuredScheduler, NodeShape, Options, binaries, guest_in_go_or_skip,
    guest_in_rust_or_skip, secondmate_binary,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

const SCHEDULER: &str = "bench-scheduler";
const PLUGIN: &str = "NodeNumber";
const NO_PLUGIN: &str = "none";
/// Exports that are the host's own: without them the guest is one as for upstream's host.
const READING: &str = "secondmate_reading";
const ALL_NODES: &str = "secondmate_score_nodes";

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The plugin, as what it is there.
    pub plugin: String,
    /// Number of nodes.
    pub nodes: usize,
    /// Number of pods.
    pub pods: usize,
    /// Between the first pod that was bound and the last.
    pub pods_per_s: f64,
    /// Of the pods a second without the plugin in the same run.
    pub share: f64,
    /// Of the scheduler's process, its start included.
    pub cpu_seconds: f64,
    /// What was called.
    pub calls: Vec<Call>,
}

/// Calls of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Extension point, or verb of an extender.
    pub what: String,
    /// Those that were timed.
    pub timed: f64,
    /// Mean, in microseconds.
    pub mean_us: f64,
}

/// What is plugged in.
enum Plug {
    Nothing,
    Guest(PathBuf),
    Extender,
}

/// All plugs, as often as was asked for.
pub fn run(runtime: &Runtime, options: &PlugsOptions) -> Result<Vec<Row>> {
    secondmate_binary()?;
    let binaries = binaries().context("the real control plane")?;
    let folder = tempfile::tempdir()?;
    let mut plugs = vec![(NO_PLUGIN.to_owned(), Plug::Nothing)];
    for (language, guest) in [
        ("Rust", guest_in_rust_or_skip("the guest in Rust")?),
        ("Go", guest_in_go_or_skip("the guest in Go")?),
    ] {
        for (what, with, without) in [
            ("as for upstream's host", None, &[READING, ALL_NODES][..]),
            ("all nodes at once", Some(ALL_NODES), &[READING]),
            ("declared", Some(READING), &[]),
        ] {
            let Some(guest) = &guest else { continue };
            let name = format!("guest in {language}, {what}");
            if let Some(file) = variant(guest, with, without, &folder.path().join(&name))? {
                plugs.push((name, Plug::Guest(file)));
            }
        }
    }
    plugs.push(("HTTP extender".to_owned(), Plug::Extender));
    let mut rows = Vec::new();
    for _ in 0..options.runs {
        let mut without = f64::NAN;
        for (name, plug) in &plugs {
            if !options.only.is_empty() && !options.only.iter().any(|part| name.contains(part)) {
                continue;
            }
            eprintln!("{name}: {} nodes, {} pods", options.nodes, options.pods);
            let mut row = measure(runtime, binaries, options, name, plug)?;
            if name == NO_PLUGIN {
                without = row.pods_per_s;
            }
            row.share = row.pods_per_s / without;
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The guest, with the exports of the second list under names that nobody asks for; nothing where it has not the first.
fn variant(guest: &Path, with: Option<&str>, without: &[&str], to: &Path) -> Result<Option<PathBuf>> {
    let mut bytes = std::fs::read(guest).with_context(|| guest.display().to_string())?;
    let find = |bytes: &[u8], name: &str| bytes.windows(name.len()).position(|part| part == name.as_bytes());
    if with.is_some_and(|name| find(&bytes, name).is_none()) {
        return Ok(None);
    }
    for name in without {
        if let Some(at) = find(&bytes, name) {
            bytes[at] = b'x';
        }
    }
    std::fs::write(to, bytes).with_context(|| to.display().to_string())?;
    Ok(Some(to.to_owned()))
}

fn configuration(plug: &Plug) -> Result<Value> {
    let mut profile = json!({ "schedulerName": SCHEDULER });
    let mut extenders = json!([]);
    match plug {
        Plug::Nothing => {}
        Plug::Guest(file) => {
            profile["plugins"] = json!({ "multiPoint": { "enabled": [{ "name": PLUGIN, "weight": 1 }] } });
            let args = json!({ "guestURL": format!("file://{}", file.display()) });
            profile["pluginConfig"] = json!([{ "name": PLUGIN, "args": args }]);
        }
        Plug::Extender => {
            extenders = json!([{
                "urlPrefix": extender::serve()?, "prioritizeVerb": "prioritize", "weight": 1,
                "nodeCacheCapable": true,
            }]);
        }
    }
    Ok(json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "profiles": [profile], "extenders": extenders,
    }))
}

fn measure(
    runtime: &Runtime,
    binaries: &Binaries,
    options: &PlugsOptions,
    name: &str,
    plug: &Plug,
) -> Result<Row> {
    // Nothing but the scheduler writes.
    let alone = Options {
        controller_manager: false,
        scheduler: None,
        kwok: false,
        for_load: true,
        ..Options::default()
    };
    let cluster = Cluster::start(binaries, alone)?;
    let shape = NodeShape { cpu: "32".to_owned(), memory: "256Gi".to_owned(), ..NodeShape::default() };
    cluster.create_nodes(options.nodes, &shape)?;
    let pods: Vec<Value> = (0..options.pods).map(pod).collect();
    cluster.api().create_all(&format!("/api/v1/namespaces/{}/pods", arena::NAMESPACE), &pods)?;
    let watch = PodWatch::start(runtime, cluster.kubeconfig(), arena::NAMESPACE)?;
    watch.wait_seen(options.pods, DEADLINE)?;
    let path = cluster.directory().join("plugs.json");
    std::fs::write(&path, configuration(plug)?.to_string())?;
    let path = path.to_str().context("a path that is text")?;
    let arguments = ["--config", path, "--leader-elect=false"];
    let scheduler = cluster.start_measured_secondmate("secondmate", &arguments)?;
    watch.wait_bound(options.pods, DEADLINE).with_context(|| scheduler.process.tail(20))?;
    let bound = watch.bound_times();
    let (first, last) =
        (bound.first().context("no pod was bound")?, bound.last().context("no pod was bound")?);
    Ok(Row {
        plugin: name.to_owned(),
        nodes: options.nodes,
        pods: options.pods,
        pods_per_s: options.pods.saturating_sub(1) as f64 / (*last - *first).as_secs_f64().max(0.001),
        share: f64::NAN,
        cpu_seconds: scheduler.process.usage()?.cpu_seconds,
        calls: calls(&scheduler)?,
    })
}

/// The calls that the scheduler has timed.
fn calls(scheduler: &MeasuredScheduler) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    let points = ["PreFilter", "PreScore", "Score"].map(|point| {
        let series = format!("{{plugin=\"{PLUGIN}\",extension_point=\"{point}\"");
        (point, "scheduler_plugin_execution_duration_seconds", series)
    });
    let extender = ("prioritize", "secondmate_extender_call_duration_seconds", "{".to_owned());
    for (what, metric, labels) in points.into_iter().chain([extender]) {
        let value = |part: &str| scheduler.value(&format!("{metric}_{part}{labels}"));
        let (sum, timed) = (value("sum")?, value("count")?);
        if timed > 0.0 {
            calls.push(Call { what: what.to_owned(), timed, mean_us: sum / timed * 1e6 });
        }
    }
    Ok(calls)
}

fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{}-{number}", arena::POD_PREFIX), "namespace": arena::NAMESPACE,
            "labels": { "app": "bench" },
        },
        "spec": {
            "schedulerName": SCHEDULER, "automountServiceAccountToken": false,
            "containers": [{
                "name": "c", "image": "registry.example/bench:1",
                "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
            }],
        },
    })
}

/// The table.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = "| NodeNumber | nodes | pods | pods/s | of none | CPU s | time per call, µs |\n\
        |---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let calls: Vec<String> =
            row.calls.iter().map(|call| format!("{} {:.1}", call.what, call.mean_us)).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.0} | {:.0} % | {:.1} | {} |",
            row.plugin,
            row.nodes,
            row.pods,
            row.pods_per_s,
            row.share * 100.0,
            row.cpu_seconds,
            calls.join(", ")
        );
    }
    text
}

/// Prints the rows as a table, or as JSON.
#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
pub fn print(rows: &[Row], json: bool) {
    if json {
        rows.iter().filter_map(|row| serde_json::to_string(row).ok()).for_each(|line| println!("{line}"));
    } else {
        print!("{}", markdown(rows));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_taken_away_by_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("guest"), folder.path().join("other"));
        std::fs::write(&from, "..secondmate_reading..").unwrap();
        assert_eq!(variant(&from, None, &[READING, ALL_NODES], &to).unwrap().as_deref(), Some(&*to));
        assert_eq!(std::fs::read(&to).unwrap(), b"..xecondmate_reading..");
        assert!(variant(&from, Some(ALL_NODES), &[READING], &to).unwrap().is_none());
    }
}
