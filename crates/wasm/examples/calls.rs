//! What a guest costs in process: scheduling pods with a choice of 1,000 nodes each, without a guest and with each of the given ones.
//!
//! `cargo run --release -p secondmate-wasm --example calls -- guest.wasm other.wasm`
//!
//! Guests are named NodeNumber. With `-` in front of it, a guest is called as upstream's host would call it: its use of secondmate's own
//! exports is disabled.

use secondmate_core::cache::Cache;
use secondmate_cycle::{
    Evaluate, Outcome, Profile, ProfileSpec, Question, Random, Scope, Standing, StandingSettings, multi_point,
};
use secondmate_framework::{Parity, Snapshot};
use secondmate_model::{Node, Pod, Timestamp, wire};
use secondmate_wasm::{Guests, default_cache_folder};
use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const NODES: usize = 1000;
const PODS: usize = 4000;
/// Pods before those that are measured.
const WARM_UP: usize = 100;
const PLUGIN: &str = "NodeNumber";
const PLUGINS: [&str; 13] = [
    "PrioritySort",
    "NodeUnschedulable",
    "NodeName",
    "TaintToleration",
    "NodeAffinity",
    "NodePorts",
    "NodeResourcesFit",
    "VolumeRestrictions",
    "NodeVolumeLimits",
    "PodTopologySpread",
    "InterPodAffinity",
    "NodeResourcesBalancedAllocation",
    "DefaultBinder",
];
/// Exports that only this host knows.
const OWN: [&str; 2] = ["secondmate_reading", "secondmate_score_nodes"];

fn profile(guest: Option<&Path>) -> Result<Profile, Box<dyn Error>> {
    let guests = Guests::new(default_cache_folder())?;
    let registry = secondmate_plugins::registry()?;
    let registry = registry.with_others(Arc::new(move |name, args, handle| {
        (name == PLUGIN).then(|| guests.plugin(name, args, handle))
    }));
    let mut args = BTreeMap::new();
    let mut plugins: Vec<(&str, i64)> = PLUGINS.map(|name| (name, 1)).to_vec();
    if let Some(file) = guest {
        args.insert(PLUGIN.to_owned(), json!({"guestURL": format!("file://{}", file.display())}));
        plugins.push((PLUGIN, 1));
    }
    let spec = ProfileSpec {
        scheduler_name: "mate".to_owned(),
        percentage_of_nodes_to_score: 100,
        plugins: multi_point(&plugins, &registry, &args)?,
        args,
        ..ProfileSpec::default()
    };
    Ok(Profile::new(&spec, &registry, Parity::Strict)?)
}

fn pod(at: usize) -> Result<Arc<Pod>, Box<dyn Error>> {
    let name = format!("bench-{at}");
    let text = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "bench"}},
        "spec": {"schedulerName": "mate", "containers": [{
            "name": "c", "image": "registry.example/bench:1",
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        }]},
    })
    .to_string();
    let wire: wire::Pod = serde_json::from_str(&text)?;
    Ok(Arc::new(Pod::new(&wire)?.with_json(&text)))
}

/// CPU time of this thread so far: other load on the machine does not count.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(text.split(' ').next().unwrap_or_default().parse()?))
}

/// The mean time per pod.
fn measure(guest: Option<&Path>) -> Result<Duration, Box<dyn Error>> {
    let profile = profile(guest)?;
    let (mut cache, mut snapshot) = (Cache::new(), Snapshot::default());
    for at in 0..NODES {
        let wire: wire::Node = serde_json::from_value(json!({
            "metadata": {"name": format!("node-{at}")},
            "status": {"allocatable": {"cpu": "32", "memory": "256Gi", "pods": "110"}},
        }))?;
        cache.set_node(Arc::new(Node::new(&wire)?));
    }
    let (mut standing, mut random) = (Standing::new(StandingSettings::default()), Random::new(1));
    let pods = (0..WARM_UP + PODS).map(pod).collect::<Result<Vec<_>, _>>()?;
    let mut began = Duration::ZERO;
    for (at, pod) in pods.iter().enumerate() {
        if at == WARM_UP {
            began = processor_time()?;
        }
        cache.refresh(&mut snapshot);
        let question = Question {
            profile: &profile,
            snapshot: &snapshot,
            nominations: &(),
            now: Timestamp::from_secs(1_000),
            pod,
            scope: Scope::Sample { start: 0 },
        };
        let answer = standing.evaluate(&question, &mut random);
        let Outcome::Placed { node, .. } = &answer.outcome else { return Err("no node for a pod".into()) };
        cache.assume(Arc::new(pod.on_node(node.name())))?;
    }
    Ok((processor_time()? - began) / u32::try_from(PODS)?)
}

/// The guest without the exports that only this host knows.
fn as_for_upstream(file: &Path, to: &Path) -> std::io::Result<()> {
    let mut bytes = std::fs::read(file)?;
    for name in OWN {
        let at = bytes.windows(name.len()).position(|part| part == name.as_bytes());
        at.into_iter().for_each(|at| bytes[at] = b'x');
    }
    std::fs::write(to, bytes)
}

#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
fn main() -> Result<(), Box<dyn Error>> {
    let without = measure(None)?;
    println!("none: {:.1} µs a pod", without.as_secs_f64() * 1e6);
    let folder = tempfile::tempdir()?;
    for guest in std::env::args().skip(1) {
        let took = match guest.strip_prefix('-') {
            None => measure(Some(Path::new(&guest)))?,
            Some(file) => {
                let changed = folder.path().join("guest.wasm");
                as_for_upstream(Path::new(file), &changed)?;
                measure(Some(&changed))?
            }
        };
        let more = took.saturating_sub(without).as_secs_f64();
        println!(
            "{guest}: {:.1} µs a pod, {:.3} µs a node more than none",
            took.as_secs_f64() * 1e6,
            more * 1e6 / NODES as f64
        );
    }
    Ok(())
}
