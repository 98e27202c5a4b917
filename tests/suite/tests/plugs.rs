//! What plugs into the scheduler, on the real control plane: guests from Rust and from Go, plugins with schedulers of their own,
//! LoadAware. Each has a Deployment placed as it should be, seen by the pods on their nodes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use secondmate_harness::{
    Cluster, MeasuredScheduler, Options, example_binary, guest_in_go_or_skip, guest_in_rust_or_skip,
    secondmate_binary,
};
use secondmate_suite::{
    SharedStage, Stage, World, condition, deployment, events, node, node_of, object, pod, repository,
};
use serde_json::{Value, json};

static STAGE: SharedStage = SharedStage::new();

/// Outweighs the in-tree plugins together.
const WEIGHT: i64 = 100;

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| {
        Ok(Stage::new(Cluster::start(binaries, Options { scheduler: None, ..Options::default() })?))
    })
}

/// Starts a scheduler with a configuration, for as long as the test lives.
fn start(stage: &Stage, program: &Path, name: &str, configuration: &Path) -> Result<MeasuredScheduler> {
    let configuration = configuration.to_str().context("a path that is text")?;
    let arguments = ["--config", configuration, "--leader-elect=false"];
    stage.cluster.start_measured(program, name, stage.cluster.kubeconfig(), &arguments)
}

/// Writes a configuration with these profiles.
fn configuration(stage: &Stage, name: &str, profiles: &Value) -> Result<PathBuf> {
    let path = stage.cluster.directory().join(format!("{name}.json"));
    let (version, kind) = ("kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration");
    let text = json!({ "apiVersion": version, "kind": kind, "profiles": profiles });
    std::fs::write(&path, text.to_string()).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// A profile with one plugin more than the default one has.
fn profile(scheduler: &str, plugin: &str, args: &Value) -> Value {
    json!({
        "schedulerName": scheduler,
        "plugins": { "multiPoint": { "enabled": [{ "name": plugin, "weight": WEIGHT }] } },
        "pluginConfig": [{ "name": plugin, "args": args }],
    })
}

/// The names of a Deployment's pods and their nodes, once all have one.
fn placed(world: &World<'_>, name: &str, replicas: usize) -> Result<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    world.stage.wait(&format!("{replicas} pods of {name} to have nodes"), || {
        let mut pods = world.pods()?;
        pods.retain(|pod| pod["metadata"]["labels"]["app"] == name);
        let on_nodes: Vec<_> = pods
            .iter()
            .filter_map(|pod| Some((text(&pod["metadata"]["name"]), node_of(pod)?.to_owned())))
            .collect();
        ensure!(on_nodes.len() == replicas, "{} have: {:?}", on_nodes.len(), pods.last().map(condition));
        Ok(Some(on_nodes))
    })
}

/// How many pods each node got.
fn by_node(placed: &[(String, String)]) -> BTreeMap<&str, usize> {
    let mut nodes = BTreeMap::new();
    for (_, node) in placed {
        *nodes.entry(node.as_str()).or_insert(0) += 1;
    }
    nodes
}

/// NodeNumber has each pod whose name ends with a digit on the node whose name does: the random part of a name has these digits.
fn node_number(test: &str, guest: impl FnOnce(&str) -> Result<Option<PathBuf>>, name: &str) -> Result<()> {
    let Some(stage) = stage(test)? else { return Ok(()) };
    let Some(guest) = guest(test)? else { return Ok(()) };
    let world = World::new(stage, name)?;
    let nodes: Vec<Value> = "2456789".chars().map(|n| node(&format!("{name}-{n}"), json!({}))).collect();
    world.create_nodes(&nodes)?;
    let args = json!({ "guestURL": format!("file://{}", guest.display()) });
    let configuration = configuration(stage, name, &json!([profile(name, "NodeNumber", &args)]))?;
    let _scheduler = start(stage, secondmate_binary()?, name, &configuration)?;
    // That none of so many names ends with a digit happens once in three million runs.
    let replicas = 50;
    world.create("apps/v1/deployments", &deployment("web", name, "main", replicas))?;
    let placed = placed(&world, "web", replicas)?;
    let digit = |name: &str| name.chars().last().filter(char::is_ascii_digit);
    let mut with_digit = placed.iter().filter(|(pod, _)| digit(pod).is_some()).peekable();
    ensure!(with_digit.peek().is_some(), "no name ends with a digit: {placed:?}");
    for (pod, node) in with_digit {
        assert_eq!(digit(node), digit(pod), "{pod} is on {node}");
    }
    Ok(())
}

#[test]
fn a_guest_in_rust_places_a_deployment() -> Result<()> {
    node_number("a_guest_in_rust_places_a_deployment", guest_in_rust_or_skip, "guest-in-rust")
}

#[test]
fn a_guest_in_go_places_a_deployment() -> Result<()> {
    node_number("a_guest_in_go_places_a_deployment", guest_in_go_or_skip, "guest-in-go")
}

/// Guests that break in their filter, each in its way, with what is told of it.
const FAULTY: [(&str, &str, &str); 4] = [
    (
        "loops",
        r#"(func (export "filter") (result i32) (loop $on (br $on)) (i32.const 0))"#,
        "it used more than 1000000 units of fuel in one call",
    ),
    (
        "grows",
        r#"(func (export "filter") (result i32)
            (loop $on (br_if $on (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
            (i32.store (i32.const 16777216) (i32.const 1))
            (i32.const 0))"#,
        "out of bounds memory access",
    ),
    (
        "traps",
        r#"(func (export "filter") (result i32) unreachable)"#,
        "wasm `unreachable` instruction executed",
    ),
    (
        "writes-outside",
        r#"(func (export "filter") (result i32)
            (drop (call $pod (i32.const 65530) (i32.const 32768)))
            (i32.const 0))"#,
        "are outside of the guest's memory",
    ),
];

/// What was said of a pod in events of this reason.
fn told(stage: &Stage, world: &World<'_>, pod: &str, reason: &str) -> Result<Vec<String>> {
    let mut events = events(&stage.cluster, &world.namespace)?;
    events.retain(|event| event.regarding == pod && event.reason == reason);
    Ok(events.into_iter().map(|event| event.note).collect())
}

#[test]
fn guests_that_break_fail_the_pods_of_their_profiles_and_nothing_else() -> Result<()> {
    let test = "guests_that_break_fail_the_pods_of_their_profiles_and_nothing_else";
    let Some(stage) = stage(test)? else { return Ok(()) };
    let world = World::new(stage, "faulty-guests")?;
    world.create_nodes(&["f-0", "f-1", "f-2"].map(|name| node(name, json!({}))))?;
    let mut profiles = vec![json!({ "schedulerName": "fine" })];
    for (name, filter, _) in FAULTY {
        let text = format!(
            r#"(module (import "k8s.io/scheduler" "currentPod" (func $pod (param i32 i32) (result i32)))
                (memory (export "memory") 1) {filter})"#
        );
        let file = stage.cluster.directory().join(format!("{name}.wasm"));
        std::fs::write(&file, wat::parse_str(text)?).with_context(|| file.display().to_string())?;
        let url = format!("file://{}", file.display());
        let args = json!({ "guestURL": url, "fuelPerCall": 1_000_000, "memoryMiB": 2 });
        profiles.push(profile(name, "Faulty", &args));
    }
    let with_guests = configuration(stage, "faulty-guests", &json!(profiles))?;
    let scheduler = start(stage, secondmate_binary()?, "faulty-guests", &with_guests)?;
    for (name, ..) in FAULTY {
        for at in 0..2 {
            world.create("pods", &pod(&format!("{name}-{at}"), name, json!({})))?;
        }
    }
    world.create("apps/v1/deployments", &deployment("web", "fine", "main", 20))?;
    // Whoever has another profile is placed.
    placed(&world, "web", 20)?;
    let prefix = "running \"Faulty\" filter plugin: wasm: filter error: ";
    for (name, _, part) in FAULTY {
        for at in 0..2 {
            let name = format!("{name}-{at}");
            stage.wait(&format!("an event that says why {name} cannot be tried"), || {
                let notes = told(stage, &world, &name, "FailedScheduling")?;
                Ok(notes.iter().any(|note| note.starts_with(prefix) && note.contains(part)).then_some(()))
            })?;
        }
        let series = format!("secondmate_guest_failures_total{{plugin=\"Faulty\",profile=\"{name}\"}}");
        ensure!(scheduler.value(&series)? >= 2.0, "{series}");
    }
    let faulty: Vec<String> =
        FAULTY.iter().flat_map(|(name, ..)| (0..2).map(move |at| format!("{name}-{at}"))).collect();
    let pods = world.pods()?;
    let unbound = pods.iter().filter(|pod| node_of(pod).is_none()).count();
    assert_eq!(
        (pods.len(), unbound),
        (20 + faulty.len(), faulty.len()),
        "nothing is lost, and nothing bound"
    );

    // Without the guests the pods that they failed are placed, each once.
    drop(scheduler);
    let names = FAULTY.iter().map(|(name, ..)| json!({ "schedulerName": name }));
    let without = configuration(stage, "without-guests", &json!(names.collect::<Vec<_>>()))?;
    let _scheduler = start(stage, secondmate_binary()?, "without-guests", &without)?;
    world.wait_bound(&faulty)?;
    for name in &faulty {
        stage.wait(&format!("the event of {name}'s binding"), || {
            Ok((!told(stage, &world, name, "Scheduled")?.is_empty()).then_some(()))
        })?;
        assert_eq!(told(stage, &world, name, "Scheduled")?.len(), 1, "{name}");
    }
    Ok(())
}

#[test]
fn image_node_keeps_nodes_for_images() -> Result<()> {
    let Some(stage) = stage("image_node_keeps_nodes_for_images")? else { return Ok(()) };
    let world = World::new(stage, "image-node")?;
    let nodes = ["cpu-0", "cpu-1", "gpu-0", "gpu-1"].map(|name| node(name, json!({})));
    world.create_nodes(&nodes)?;
    let rule = json!({ "metadata": { "annotations": {
        "image-node.secondmate.dev/images": "registry.acme.com/renderer/*",
        "image-node.secondmate.dev/nodes": "gpu-*",
    } } });
    stage.cluster.api().patch(&format!("/api/v1/namespaces/{}", world.namespace), &rule)?;
    let configuration = repository().join("examples/image-node/config.yaml");
    let program = example_binary("example-image-node")?;
    let _scheduler = start(stage, &program, "image-node", &configuration)?;
    for (name, image) in [("render", "registry.acme.com/renderer/gpu:1"), ("web", "nginx")] {
        world.create("apps/v1/deployments", &deployment(name, "my-scheduler", image, 8))?;
    }
    let render = placed(&world, "render", 8)?;
    assert_eq!(by_node(&render), BTreeMap::from([("gpu-0", 4), ("gpu-1", 4)]));
    let web = placed(&world, "web", 8)?;
    assert!(web.iter().all(|(_, node)| node.starts_with("cpu-")), "{web:?}");
    Ok(())
}

#[test]
fn a_plugin_reads_a_custom_resource_as_its_own_type() -> Result<()> {
    let Some(stage) = stage("a_plugin_reads_a_custom_resource_as_its_own_type")? else { return Ok(()) };
    let world = World::new(stage, "maintenance")?;
    let example = repository().join("examples/maintenance");
    let definition = std::fs::read_to_string(example.join("crd.yaml"))?;
    stage.cluster.apply(&definition)?;
    stage.wait("the kind to be served", || {
        Ok(stage.cluster.api().serves("example.secondmate.dev/v1", "maintenances")?.then_some(()))
    })?;
    let names = ["m-0", "m-1", "m-2", "m-3"];
    world.create_nodes(&names.map(|name| node(name, json!({}))))?;
    let kind = "/apis/example.secondmate.dev/v1/maintenances";
    let spec = json!({ "spec": { "nodes": ["m-0", "m-1"], "reason": "new power supply" } });
    world.create_outside(kind, &object("example.secondmate.dev/v1", "Maintenance", "rack-7", spec))?;
    let program = example_binary("example-maintenance")?;
    let _scheduler = start(stage, &program, "maintenance", &example.join("config.yaml"))?;
    world.create("apps/v1/deployments", &deployment("web", "my-scheduler", "main", 8))?;
    let web = placed(&world, "web", 8)?;
    assert_eq!(by_node(&web).into_keys().collect::<Vec<_>>(), ["m-2", "m-3"]);

    // All are left out: the next pod waits, and the end of the maintenance wakes it.
    let path = format!("{kind}/rack-7");
    stage.cluster.api().patch(&path, &json!({ "spec": { "nodes": names } }))?;
    stage.wait("a pod to wait for the end of the maintenance", || {
        // A change may be seen after a pod, so it is the first pod that waits which counts.
        let name = format!("late-{}", world.pods()?.len());
        world.create("pods", &pod(&name, "my-scheduler", json!({})))?;
        let late = stage.wait(&format!("a word about {name}"), || {
            let late = stage.cluster.api().get(&format!("{}/{name}", world.path("pods")))?;
            let [_, _, message] = condition(&late);
            Ok((node_of(&late).is_some() || !message.is_empty()).then_some(message))
        })?;
        Ok(late.contains("4 node(s) were under maintenance rack-7 (new power supply)").then_some(()))
    })?;
    stage.cluster.api().delete(&path)?;
    stage.wait("all pods to have nodes", || {
        Ok(world.pods()?.iter().all(|pod| node_of(pod).is_some()).then_some(()))
    })
}

/// What a Prometheus answers to a query, for each node: a test's own, on loopback, until the process ends.
struct Prometheus {
    url: String,
}

impl Prometheus {
    fn serve(answers: BTreeMap<&'static str, BTreeMap<&'static str, f64>>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // Whoever hangs up asks again.
                let _ = answer(connection, &answers);
            }
        });
        Ok(Self { url })
    }
}

fn answer(
    connection: TcpStream,
    answers: &BTreeMap<&'static str, BTreeMap<&'static str, f64>>,
) -> Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut request = String::new();
    while reader.read_line(&mut request)? > 2 {}
    let query = request.split_once("query=").and_then(|(_, rest)| rest.split_whitespace().next());
    let values = answers.get(query.unwrap_or_default());
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let series: Vec<Value> = values
        .into_iter()
        .flatten()
        .map(|(node, value)| json!({ "metric": { "node": node }, "value": [now, value.to_string()] }))
        .collect();
    let body =
        json!({ "status": "success", "data": { "resultType": "vector", "result": series } }).to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    write!(&connection, "{head}Content-Length: {}\r\n\r\n{body}", body.len())?;
    Ok(())
}

/// The kind NodeMetrics, as a metrics server serves it, here from a definition.
fn node_metrics(world: &World<'_>, created_at: &str, used: &[(&str, &str)]) -> Result<()> {
    let schema = json!({ "openAPIV3Schema": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
    } });
    let mut definition = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "nodes.metrics.k8s.io",
        json!({ "spec": {
            "group": "metrics.k8s.io", "scope": "Cluster", "names": { "kind": "NodeMetrics", "plural": "nodes" },
            "versions": [{ "name": "v1beta1", "served": true, "storage": true, "schema": schema }],
        } }),
    );
    definition["metadata"]["annotations"] = json!({ "api-approved.kubernetes.io": "unapproved, for a test" });
    world.create_outside("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition)?;
    world.stage.wait("the kind to be served", || {
        Ok(world.stage.cluster.api().serves("metrics.k8s.io/v1beta1", "nodes")?.then_some(()))
    })?;
    for (node, cpu) in used {
        let rest = json!({
            "timestamp": created_at, "window": "30s", "usage": { "cpu": cpu, "memory": "1Gi" },
        });
        let metrics = object("metrics.k8s.io/v1beta1", "NodeMetrics", node, rest);
        world.create_outside("/apis/metrics.k8s.io/v1beta1/nodes", &metrics)?;
    }
    Ok(())
}

#[test]
fn load_aware_places_by_real_use() -> Result<()> {
    let Some(stage) = stage("load_aware_places_by_real_use")? else { return Ok(()) };
    let world = World::new(stage, "load-aware")?;
    world.create_nodes(&["idle", "near", "busy"].map(|name| node(name, json!({}))))?;
    // Each has 4 CPUs. The target is 40 %.
    let namespace = stage.cluster.api().get(&format!("/api/v1/namespaces/{}", world.namespace))?;
    let now = namespace["metadata"]["creationTimestamp"].as_str().context("a time")?;
    node_metrics(&world, now, &[("idle", "200m"), ("near", "1400m"), ("busy", "3600m")])?;
    // By mean and deviation in equal parts busy is the best here.
    let prometheus = Prometheus::serve(BTreeMap::from([
        ("load", BTreeMap::from([("idle", 0.3), ("near", 0.9), ("busy", 0.4)])),
        ("deviation", BTreeMap::from([("idle", 0.6), ("near", 0.0), ("busy", 0.0)])),
    ]))?;
    let (packing, balancing) = ("packing", "balancing");
    let stale = 3600;
    let by_metrics = json!({ "pollSeconds": 1, "staleAfterSeconds": stale });
    let by_prometheus = json!({
        "strategy": "LoadVariationRiskBalancing", "pollSeconds": 1, "staleAfterSeconds": stale,
        "prometheus": { "url": prometheus.url, "cpu": "load", "cpuDeviation": "deviation" },
    });
    let profiles =
        json!([profile(packing, "LoadAware", &by_metrics), profile(balancing, "LoadAware", &by_prometheus),]);
    let configuration = configuration(stage, "load-aware", &profiles)?;
    let scheduler = start(stage, secondmate_binary()?, "load-aware", &configuration)?;
    // A pod that comes before the first answer is placed without; the second is asked for when the first was handed on.
    for name in ["metrics.k8s.io", "cpu for balancing", "cpuDeviation for balancing"] {
        stage.wait(&format!("answers to {name}"), || {
            let mut answers = 0.0;
            for kind in ["NodeUse", "PrometheusSamples"] {
                let series =
                    format!("secondmate_polls_total{{kind=\"{kind}\",name=\"{name}\",result=\"ok\"}}");
                answers += scheduler.value(&series)?;
            }
            Ok((answers >= 2.0).then_some(()))
        })?;
    }
    for (scheduler, expected) in [(packing, "near"), (balancing, "busy")] {
        world.create("apps/v1/deployments", &deployment(scheduler, scheduler, "main", 6))?;
        assert_eq!(by_node(&placed(&world, scheduler, 6)?), BTreeMap::from([(expected, 6)]), "{scheduler}");
    }
    Ok(())
}
