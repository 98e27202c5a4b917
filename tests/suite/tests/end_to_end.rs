//! The same workloads, given once to kube-scheduler and once to secondmate, on two fresh and equal clusters with the
//! real controllers: the same distribution, conditions, events, nominated nodes and victims.
//!
//! Both schedulers choose at random among equal nodes, so what is compared does not name a node where several are equal:
//! counts are sorted, names of pods end in what their controller chose and are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use anyhow::{Context, Result, anyhow, ensure};
use secondmate_harness::{Cluster, Options};
use secondmate_suite::{
    DEFAULT, OWN, SharedStage, Stage, World, condition, events, merge, node, node_of, object, pod, requests,
};
use serde_json::{Value, json};

static THEIRS: SharedStage = SharedStage::new();
static OURS: SharedStage = SharedStage::new();

const ZONE: &str = "topology.kubernetes.io/zone";
const ZONES: [&str; 3] = ["za", "zb", "zc"];

fn prepared(options: Options, binaries: &secondmate_harness::Binaries) -> Result<Stage> {
    let stage = Stage::new(Cluster::start(binaries, options)?);
    for (name, value) in [("low", 10), ("middle", 50), ("high", 1_000)] {
        let class = object("scheduling.k8s.io/v1", "PriorityClass", name, json!({ "value": value }));
        stage.cluster.api().create("/apis/scheduling.k8s.io/v1/priorityclasses", &class)?;
    }
    Ok(stage)
}

/// Plays the same scene on both clusters and compares what came of it.
fn compare<T: PartialEq + Debug + Send>(
    test: &str,
    namespace: &str,
    scene: impl Fn(&World<'_>, &str) -> Result<T> + Sync,
) -> Result<()> {
    let stages = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| THEIRS.get(test, |binaries| prepared(Options::default(), binaries)));
        let ours = OURS.get(test, |binaries| {
            prepared(Options { scheduler: None, ..Options::default() }, binaries)?.with_secondmate()
        });
        Ok::<_, anyhow::Error>((theirs.join().map_err(|_| anyhow!("starting a cluster panicked"))??, ours?))
    })?;
    let (Some(theirs), Some(ours)) = stages else { return Ok(()) };
    let play = |stage: &Stage, scheduler: &str| {
        let world = World::new(stage, namespace)?;
        scene(&world, scheduler).with_context(|| format!("with {scheduler}"))
    };
    let (expected, found) = std::thread::scope(|scope| {
        let expected = scope.spawn(|| play(theirs, DEFAULT));
        let found = play(ours, OWN);
        (expected.join(), found)
    });
    let expected = expected.map_err(|_| anyhow!("the scene panicked with {DEFAULT}"))??;
    let found = found?;
    ensure!(expected == found, "{namespace} differs:\nkube-scheduler {expected:#?}\nsecondmate {found:#?}");
    Ok(())
}

/// Two nodes in each zone, `za-0` to `zc-1`.
fn zoned_nodes(changes: &Value) -> Vec<Value> {
    let nodes = ZONES.iter().flat_map(|zone| (0..2).map(move |number| (*zone, format!("{zone}-{number}"))));
    nodes
        .map(|(zone, name)| {
            let mut node = node(&name, json!({ "metadata": { "labels": { ZONE: zone } } }));
            merge(&mut node, changes.clone());
            node
        })
        .collect()
}

/// A Deployment whose pods have these fields beside their label `app`.
fn deployment(name: &str, scheduler: &str, replicas: usize, changes: Value) -> Value {
    let mut template = pod("", scheduler, json!({ "metadata": { "labels": { "app": name } } }));
    merge(&mut template, changes);
    let template = json!({ "metadata": { "labels": template["metadata"]["labels"],
        "finalizers": template["metadata"]["finalizers"] }, "spec": template["spec"] });
    object(
        "apps/v1",
        "Deployment",
        name,
        json!({ "spec": {
        "replicas": replicas,
        "selector": { "matchLabels": { "app": name } },
        "template": template,
    } }),
    )
}

fn of<'a>(pods: &'a [Value], app: &'a str) -> impl Iterator<Item = &'a Value> {
    pods.iter().filter(move |pod| pod["metadata"]["labels"]["app"] == app)
}

/// Waits until `running` pods of an app run and `pending` have been refused a node; returns the app's pods.
fn wait_app(world: &World<'_>, app: &str, running: usize, pending: usize) -> Result<Vec<Value>> {
    world.stage.wait(&format!("{running} pods of {app} to run and {pending} to wait"), || {
        let pods = world.pods()?;
        let leaving = |pod: &&Value| !pod["metadata"]["deletionTimestamp"].is_null();
        ensure!(!of(&pods, app).any(|pod| leaving(&pod)), "some are leaving");
        let runs = of(&pods, app).filter(|pod| pod["status"]["phase"] == "Running").count();
        let waits = of(&pods, app).filter(|pod| condition(pod)[1] == "Unschedulable").count();
        ensure!(runs == running && waits == pending, "{runs} run and {waits} wait");
        Ok(Some(of(&pods, app).cloned().collect()))
    })
}

/// How many of these pods each zone has, smallest first; pods without a node are left out.
fn per_zone(pods: &[Value]) -> Vec<usize> {
    let mut zones: BTreeMap<&str, usize> = ZONES.iter().map(|zone| (*zone, 0)).collect();
    for node in pods.iter().filter_map(node_of) {
        *zones.entry(&node[..2]).or_default() += 1;
    }
    let mut counts: Vec<usize> = zones.into_values().collect();
    counts.sort_unstable();
    counts
}

/// Leaves out of a text what is different by chance: names and UIDs of pods, the scheduler's name.
fn plain(mut text: String, pods: &[Value], scheduler: &str) -> String {
    for pod in pods {
        for (field, shown) in [("name", "POD"), ("uid", "UID")] {
            if let Some(value) = pod["metadata"][field].as_str() {
                text = text.replace(value, shown);
            }
        }
    }
    text.replace(scheduler, "SCHEDULER")
}

/// Different conditions of those pods that wait.
fn waiting(pods: &[Value], scheduler: &str) -> BTreeSet<[String; 3]> {
    let waiting = pods.iter().filter(|pod| node_of(pod).is_none());
    waiting.map(|pod| condition(pod).map(|text| plain(text, pods, scheduler))).collect()
}

/// Different texts of the scheduler's events about these pods: type, reason, action, note.
fn said(world: &World<'_>, pods: &[Value], scheduler: &str) -> Result<BTreeSet<[String; 4]>> {
    let names: BTreeSet<&str> = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
    let events = events(&world.stage.cluster, &world.namespace)?.into_iter();
    let own =
        events.filter(|event| event.controller == scheduler && names.contains(event.regarding.as_str()));
    Ok(own
        .map(|event| {
            [event.kind, event.reason, event.action, event.note].map(|text| plain(text, pods, scheduler))
        })
        .collect())
}

/// What the scheduler's events say about those pods that wait, once it has spoken about each of them.
fn failures(world: &World<'_>, pods: &[Value], scheduler: &str) -> Result<BTreeSet<[String; 4]>> {
    let waiting: Vec<Value> = pods.iter().filter(|pod| node_of(pod).is_none()).cloned().collect();
    // The events are written after the conditions.
    world.stage.wait("an event for each pod that waits", || {
        for pod in &waiting {
            let said = said(world, std::slice::from_ref(pod), scheduler)?;
            ensure!(!said.is_empty(), "none is about {}", pod["metadata"]["name"]);
        }
        Ok(Some(()))
    })?;
    said(world, &waiting, scheduler)
}

fn spread(app: &str, policies: Value) -> Value {
    let mut constraint = json!({
        "maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": { "app": app } },
    });
    merge(&mut constraint, policies);
    json!({ "spec": { "topologySpreadConstraints": [constraint] } })
}

/// The claims of an app: bound to a volume, in the zone of the pod that mounts it.
fn check_volumes(world: &World<'_>, app: &str, pods: &[Value]) -> Result<()> {
    for pod in of(pods, app).filter(|pod| node_of(pod).is_some()) {
        let name = pod["metadata"]["name"].as_str().context("a name")?;
        let api = world.stage.cluster.api();
        let claim = api.get(&format!("{}/data-{name}", world.path("persistentvolumeclaims")))?;
        let volume =
            claim["spec"]["volumeName"].as_str().with_context(|| format!("{name} has no volume: {claim}"))?;
        let volume = api.get(&format!("/api/v1/persistentvolumes/{volume}"))?;
        let zone = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
        let node = node_of(pod).unwrap_or_default();
        ensure!(zone["values"][0] == node[..2], "{name} is on {node}, its volume in {zone}");
    }
    Ok(())
}

fn stateful_set(name: &str, scheduler: &str, replicas: usize, class: &str) -> Value {
    let mut template = pod("", scheduler, spread(name, json!({})));
    merge(&mut template, json!({ "metadata": { "labels": { "app": name } } }));
    template["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
    object(
        "apps/v1",
        "StatefulSet",
        name,
        json!({ "spec": {
        "replicas": replicas,
        "serviceName": name,
        "selector": { "matchLabels": { "app": name } },
        "template": { "metadata": { "labels": { "app": name } }, "spec": template["spec"] },
        "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class,
            "resources": { "requests": { "storage": "1Gi" } },
        } }],
    } }),
    )
}

fn volume(name: &str, class: &str, zone: &str) -> Value {
    object(
        "v1",
        "PersistentVolume",
        name,
        json!({ "spec": {
        "capacity": { "storage": "1Gi" },
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": class,
        "csi": { "driver": "csi.example.com", "volumeHandle": name },
        "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
            { "key": ZONE, "operator": "In", "values": [zone] },
        ] }] } },
    } }),
    )
}

/// Claims of volumes that exist: each pod goes where one is left, and its claim is bound there.
#[test]
fn a_stateful_set_takes_volumes_of_three_zones() -> Result<()> {
    compare("a_stateful_set_takes_volumes_of_three_zones", "static-volumes", |world, scheduler| {
        world.create_nodes(&zoned_nodes(&json!({})))?;
        let class = json!({ "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer" });
        let class = object("storage.k8s.io/v1", "StorageClass", "local", class);
        world.create_outside("/apis/storage.k8s.io/v1/storageclasses", &class)?;
        for (number, zone) in ZONES.iter().chain(&ZONES).enumerate() {
            world.create_outside(
                "/api/v1/persistentvolumes",
                &volume(&format!("disk-{number}"), "local", zone),
            )?;
        }
        world.settle(&[scheduler])?;
        world.create("apps/v1/statefulsets", &stateful_set("db", scheduler, 7, "local"))?;
        let pods = wait_app(world, "db", 6, 1)?;
        check_volumes(world, "db", &pods)?;
        let refused = failures(world, &pods, scheduler)?;
        let waiting = waiting(&pods, scheduler);
        // A volume more, in a zone of one's choice.
        world.create_outside("/api/v1/persistentvolumes", &volume("disk-6", "local", "zb"))?;
        let full = wait_app(world, "db", 7, 0)?;
        check_volumes(world, "db", &full)?;
        Ok((per_zone(&pods), waiting, refused, per_zone(&full)))
    })
}

/// Claims of volumes that are yet to be made: the scheduler says where, by the capacity that the driver tells of, and
/// binds when they are there.
#[test]
fn a_stateful_set_has_volumes_made_where_there_is_capacity() -> Result<()> {
    compare("a_stateful_set_has_volumes_made_where_there_is_capacity", "made-volumes", |world, scheduler| {
        let nodes = zoned_nodes(&json!({}));
        world.create_nodes(&nodes)?;
        let class = json!({ "provisioner": "csi.example.com", "volumeBindingMode": "WaitForFirstConsumer" });
        let class = object("storage.k8s.io/v1", "StorageClass", "made", class);
        world.create_outside("/apis/storage.k8s.io/v1/storageclasses", &class)?;
        let driver = json!({ "spec": { "attachRequired": false, "storageCapacity": true } });
        let driver = object("storage.k8s.io/v1", "CSIDriver", "csi.example.com", driver);
        world.create_outside("/apis/storage.k8s.io/v1/csidrivers", &driver)?;
        for node in &nodes {
            let name = node["metadata"]["name"].as_str().context("a name")?;
            let rest = json!({ "spec": { "drivers": [{
                "name": "csi.example.com", "nodeID": name, "topologyKeys": [ZONE], "allocatable": { "count": 2 },
            }] } });
            let node = object("storage.k8s.io/v1", "CSINode", name, rest);
            world.create_outside("/apis/storage.k8s.io/v1/csinodes", &node)?;
        }
        // Two zones have room, the third less than a claim asks for.
        for (zone, capacity) in ZONES.iter().zip(["10Gi", "10Gi", "100Mi"]) {
            let capacity = object(
                "storage.k8s.io/v1",
                "CSIStorageCapacity",
                zone,
                json!({
                    "storageClassName": "made", "capacity": capacity,
                    "nodeTopology": { "matchLabels": { ZONE: zone } },
                }),
            );
            world.create("storage.k8s.io/v1/csistoragecapacities", &capacity)?;
        }
        world.settle(&[scheduler])?;
        world.create("apps/v1/statefulsets", &stateful_set("db", scheduler, 3, "made"))?;
        // maxSkew 1 with an empty third zone: one pod in each of the two others, and the third waits.
        let mut chosen = BTreeSet::new();
        for number in 0..2 {
            let claim = format!("data-db-{number}");
            let node = world.stage.wait(&format!("the node of {claim}"), || {
                let claims = world.path("persistentvolumeclaims");
                let claim = world.stage.cluster.api().get(&format!("{claims}/{claim}"))?;
                let node = &claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"];
                Ok(node.as_str().map(str::to_owned))
            })?;
            // The driver's part.
            let mut made = volume(&format!("made-{number}"), "made", &node[..2]);
            made["spec"]["claimRef"] = json!({ "namespace": world.namespace, "name": claim });
            world.create_outside("/api/v1/persistentvolumes", &made)?;
            world.wait_bound(&[format!("db-{number}")])?;
            chosen.insert(node[..2].to_owned());
        }
        let pods = wait_app(world, "db", 2, 1)?;
        check_volumes(world, "db", &pods)?;
        Ok((chosen, per_zone(&pods), waiting(&pods, scheduler), failures(world, &pods, scheduler)?))
    })
}

#[test]
fn deployments_stay_spread_when_a_zone_fails() -> Result<()> {
    compare("deployments_stay_spread_when_a_zone_fails", "zones", |world, scheduler| {
        world.create_nodes(&zoned_nodes(&json!({})))?;
        world.settle(&[scheduler])?;
        // Two apps: for one the failed zone goes on to count, for the other it does not.
        let apps = [("strict", "Ignore"), ("adaptive", "Honor")];
        for (app, policy) in apps {
            let spread = spread(app, json!({ "nodeTaintsPolicy": policy }));
            world.create("apps/v1/deployments", &deployment(app, scheduler, 9, spread))?;
        }
        let mut seen = Vec::new();
        for (app, _) in apps {
            seen.push((per_zone(&wait_app(world, app, 9, 0)?), BTreeSet::new()));
        }
        let taint = |taints: Value| -> Result<()> {
            for node in ["zc-0", "zc-1"] {
                let path = format!("/api/v1/nodes/{node}");
                world.stage.cluster.api().patch(&path, &json!({ "spec": { "taints": taints } }))?;
            }
            Ok(())
        };
        taint(json!([{ "key": "zone-failed", "value": "", "effect": "NoExecute" }]))?;
        for (app, left) in [("strict", 6), ("adaptive", 9)] {
            let pods = wait_app(world, app, left, 9 - left)?;
            ensure!(
                !pods.iter().filter_map(node_of).any(|node| node.starts_with("zc")),
                "{app} is in the failed zone"
            );
            seen.push((per_zone(&pods), waiting(&pods, scheduler)));
        }
        taint(json!(null))?;
        for (app, _) in apps {
            seen.push((per_zone(&wait_app(world, app, 9, 0)?), BTreeSet::new()));
        }
        Ok(seen)
    })
}

#[test]
fn anti_affinity_keeps_a_deployment_to_one_pod_a_host() -> Result<()> {
    compare("anti_affinity_keeps_a_deployment_to_one_pod_a_host", "hosts", |world, scheduler| {
        world.create_nodes(&(0..5).map(|n| node(&format!("host-{n}"), json!({}))).collect::<Vec<_>>())?;
        world.settle(&[scheduler])?;
        let term = json!({ "labelSelector": { "matchLabels": { "app": "quorum" } }, "topologyKey": "kubernetes.io/hostname" });
        let apart = json!({ "spec": { "affinity": { "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [term],
        } } } });
        world.create("apps/v1/deployments", &deployment("quorum", scheduler, 7, apart))?;
        let pods = wait_app(world, "quorum", 5, 2)?;
        let hosts: BTreeSet<String> = pods.iter().filter_map(node_of).map(str::to_owned).collect();
        let (refused, waits) = (failures(world, &pods, scheduler)?, waiting(&pods, scheduler));
        world.create_nodes(&[node("host-5", json!({}))])?;
        let pods = wait_app(world, "quorum", 6, 1)?;
        let more: BTreeSet<String> = pods.iter().filter_map(node_of).map(str::to_owned).collect();
        Ok((hosts, refused, waits, more, waiting(&pods, scheduler)))
    })
}

/// Three nodes full of victims: unprotected, of a higher priority, and protected by a budget. They are taken in the order
/// of that, each pod is told why, and a nominated node stays promised while its victims leave.
#[test]
fn preemption_takes_the_cheapest_victims_and_minds_budgets() -> Result<()> {
    compare("preemption_takes_the_cheapest_victims_and_minds_budgets", "budget", |world, scheduler| {
        world.create_nodes(&["free", "dear", "guarded"].map(|name| node(name, json!({}))))?;
        world.settle(&[scheduler])?;
        let asking = |cpu: &str, class: &str, role: &str| {
            let mut changes = requests(json!({ "cpu": cpu }));
            merge(
                &mut changes,
                json!({ "spec": { "priorityClassName": class, "terminationGracePeriodSeconds": 600 } }),
            );
            if !role.is_empty() {
                merge(&mut changes, json!({ "spec": { "nodeSelector": { "role": role } } }));
            }
            changes
        };
        // They leave only when the test lets them.
        let held = json!({ "metadata": { "finalizers": ["example.com/hold"] } });
        for (app, class) in [("free", "low"), ("dear", "middle"), ("guarded", "low")] {
            let mut changes = asking("1900m", class, app);
            merge(&mut changes, held.clone());
            world.create("apps/v1/deployments", &deployment(app, scheduler, 2, changes))?;
            wait_app(world, app, 2, 0)?;
        }
        let budget =
            json!({ "spec": { "maxUnavailable": 0, "selector": { "matchLabels": { "app": "guarded" } } } });
        let budget = object("policy/v1", "PodDisruptionBudget", "guarded", budget);
        world.create("policy/v1/poddisruptionbudgets", &budget)?;
        world.stage.wait("the budget to count its pods", || {
            let path = format!("{}/guarded", world.path("policy/v1/poddisruptionbudgets"));
            let budget = world.stage.cluster.api().get(&path)?;
            Ok((budget["status"]["currentHealthy"] == 2).then_some(()))
        })?;
        world.settle(&[scheduler])?;

        let mut seen = Vec::new();
        for (number, expected) in ["free", "dear", "guarded"].into_iter().enumerate() {
            let name = format!("urgent-{number}");
            world.create("pods", &pod(&name, scheduler, asking("3", "high", "")))?;
            let path = format!("{}/{name}", world.path("pods"));
            let urgent = world.stage.wait(&format!("{name} to be nominated"), || {
                let urgent = world.stage.cluster.api().get(&path)?;
                Ok(urgent["status"]["nominatedNodeName"].is_string().then_some(urgent))
            })?;
            ensure!(urgent["status"]["nominatedNodeName"] == expected, "{name}: {}", urgent["status"]);
            // Its victims leave, and those that their controller made anew wait.
            let pods = world.stage.wait("the victims to leave and their successors to wait", || {
                let pods = world.pods()?;
                let leaving =
                    of(&pods, expected).filter(|pod| !pod["metadata"]["deletionTimestamp"].is_null()).count();
                let waits = of(&pods, expected).filter(|pod| condition(pod)[1] == "Unschedulable").count();
                Ok((leaving == 2 && waits == 2).then_some(pods))
            })?;
            let victims: Vec<Value> = of(&pods, expected)
                .filter(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
                .cloned()
                .collect();
            let disrupted: BTreeSet<[String; 3]> = victims
                .iter()
                .map(|pod| {
                    let conditions = pod["status"]["conditions"].as_array();
                    let target = conditions.into_iter().flatten().find(|c| c["type"] == "DisruptionTarget");
                    ["status", "reason", "message"].map(|field| {
                        let text =
                            target.map_or("", |condition| condition[field].as_str().unwrap_or_default());
                        plain(text.to_owned(), &pods, scheduler)
                    })
                })
                .collect();
            let told = world.stage.wait("the victims to be told", || {
                let events = events(&world.stage.cluster, &world.namespace)?;
                let told = victims.iter().all(|victim| {
                    events
                        .iter()
                        .any(|e| e.reason == "Preempted" && victim["metadata"]["name"] == e.regarding)
                });
                told.then(|| said(world, &victims, scheduler)).transpose()
            })?;
            let told: BTreeSet<_> = told
                .into_iter()
                .filter(|[_, reason, ..]| reason == "Preempted")
                .map(|event| event.map(|text| plain(text, &pods, scheduler)))
                .collect();
            let successors: Vec<Value> = of(&pods, expected).cloned().collect();
            let waits = waiting(&successors, scheduler);
            for victim in &victims {
                let path = format!(
                    "{}/{}",
                    world.path("pods"),
                    victim["metadata"]["name"].as_str().unwrap_or_default()
                );
                world.stage.cluster.api().patch(&path, &json!({ "metadata": { "finalizers": null } }))?;
            }
            let bound = world.wait_bound(std::slice::from_ref(&name))?;
            ensure!(node_of(&bound[0]) == Some(expected), "{name} went to {:?}", node_of(&bound[0]));
            let own = world.stage.wait("the events of the pod", || {
                let own = said(world, &bound, scheduler)?;
                Ok(own.iter().any(|[_, reason, ..]| reason == "Scheduled").then_some(own))
            })?;
            // Said or not, by whether something made the scheduler look again before the victims had left.
            let own: BTreeSet<_> = own
                .into_iter()
                .filter(|[.., note]| !note.contains("a terminating pod on the nominated node"))
                .collect();
            seen.push((victims.len(), disrupted, told, waits, own));
        }
        Ok(seen)
    })
}
