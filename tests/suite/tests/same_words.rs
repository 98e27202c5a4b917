//! The same pod, given to kube-scheduler and to secondmate: the same condition and the same events, text for text, for
//! each plugin; and both are placed when a node that fits joins.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use secondmate_harness::{Cluster, Options};
use secondmate_suite::{
    BOTH, DEFAULT, SharedStage, Stage, Verdict, World, bound_volume, claim, condition, described_events,
    merge, node, object, pod, requests, verdict,
};
use serde_json::{Value, json};

static STAGE: SharedStage = SharedStage::new();

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| {
        let stage = Stage::new(Cluster::start(binaries, Options::default())?);
        let never = json!({ "value": 1000, "preemptionPolicy": "Never" });
        let never = object("scheduling.k8s.io/v1", "PriorityClass", "never", never);
        stage.cluster.api().create("/apis/scheduling.k8s.io/v1/priorityclasses", &never)?;
        stage.with_secondmate()
    })
}

/// A pod that no node of [`crowded`] takes.
struct Case {
    name: &'static str,
    /// What its message must have in it, so that the case is about what it says.
    says: &'static str,
    changes: Value,
    /// Whether the nodes that join take it.
    joins: bool,
}

impl Case {
    fn stays(self) -> Self {
        Self { joins: false, ..self }
    }
}

fn case(name: &'static str, says: &'static str, changes: &[Value]) -> Case {
    let mut merged = json!({});
    for change in changes {
        merge(&mut merged, change.clone());
    }
    Case { name, says, changes: merged, joins: true }
}

/// A pod that goes to the nodes of one role, or to one that joins later.
fn on(role: &str) -> Value {
    let term = json!({ "matchExpressions": [{ "key": "role", "operator": "In", "values": [role, "fit"] }] });
    json!({ "spec": { "affinity": { "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] },
    } } } })
}

fn affinity(kind: &str, app: &str, key: &str) -> Value {
    let term = json!({ "labelSelector": { "matchLabels": { "app": app } }, "topologyKey": key });
    json!({ "spec": { "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": [term] } } } })
}

fn spread(key: &str) -> Value {
    json!({ "spec": { "topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": { "spread": "yes" } },
    }] } })
}

fn mounts(claim: &str) -> Value {
    json!({ "spec": { "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }] } })
}

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

/// Six nodes, each with another reason to refuse.
fn crowded(world: &World<'_>) -> Result<()> {
    let zone = |zone: &str| json!({ "metadata": { "labels": { ZONE: zone } } });
    let small =
        json!({ "status": { "allocatable": { "cpu": "2", "memory": "4Gi", "ephemeral-storage": "10Gi" } } });
    let shaped = |name: &str, in_zone: &str, changes: Value| {
        let mut node = node(name, small.clone());
        merge(&mut node, zone(in_zone));
        merge(&mut node, changes);
        node
    };
    let taint = |key: &str, effect: &str| json!({ "spec": { "taints": [{ "key": key, "value": "x", "effect": effect }] } });
    let devices = json!({ "status": { "allocatable": { "example.com/gpu": "1", "hugepages-2Mi": "4Mi" } } });
    world.create_nodes(&[
        shaped("cordoned", "za", json!({ "spec": { "unschedulable": true } })),
        shaped("tainted", "zb", taint("dedicated", "NoSchedule")),
        shaped("evicting", "zb", taint("maintenance", "NoExecute")),
        shaped("full", "za", json!({ "status": { "allocatable": { "pods": "1" } } })),
        shaped("busy", "za", devices),
        shaped("plain", "za", json!({ "metadata": { "labels": { "disk": "ssd", "level": "7" } } })),
    ])?;
    let placed = |name: &str, node: &str, changes: &[Value]| {
        let mut pod = pod(name, DEFAULT, json!({ "spec": { "nodeName": node } }));
        changes.iter().for_each(|change| merge(&mut pod, change.clone()));
        pod
    };
    let spread = json!({ "metadata": { "labels": { "spread": "yes", "app": "blocker" } } });
    let amounts = requests(json!({
        "cpu": "1500m", "memory": "3Gi", "ephemeral-storage": "8Gi", "example.com/gpu": "1", "hugepages-2Mi": "4Mi",
    }));
    let mut busy = placed("busy", "busy", &[amounts, spread.clone()]);
    busy["spec"]["containers"][0]["ports"] = json!([
        { "containerPort": 80, "hostPort": 8080 },
        { "containerPort": 81, "hostPort": 8081, "hostIP": "127.0.0.1" },
    ]);
    let hermit = json!({ "metadata": { "labels": { "app": "hermit" } } });
    let limited = object(
        "storage.k8s.io/v1",
        "CSINode",
        "plain",
        json!({ "spec": { "drivers": [{
        "name": "csi.example.com", "nodeID": "plain", "allocatable": { "count": 2 },
    }] } }),
    );
    world.create_outside("/apis/storage.k8s.io/v1/csinodes", &limited)?;
    bind(world, "first", json!({}))?;
    bind(world, "single", json!({ "spec": { "accessModes": ["ReadWriteOncePod"] } }))?;
    world.place(&[
        placed("full", "full", &[spread]),
        busy,
        placed("hermit", "plain", &[hermit, affinity("podAntiAffinity", "hated", ZONE), mounts("first")]),
        placed("single", "plain", &[mounts("single")]),
    ])
}

/// A claim with its volume, bound.
fn bind(world: &World<'_>, name: &str, changes: Value) -> Result<()> {
    let (volume, claim) = bound_volume(&world.namespace, name, changes);
    world.create_outside("/api/v1/persistentvolumes", &volume)?;
    world.create("persistentvolumeclaims", &claim)?;
    world.stage.wait(&format!("claim {name} to be bound"), || {
        let claim =
            world.stage.cluster.api().get(&format!("{}/{name}", world.path("persistentvolumeclaims")))?;
        Ok((claim["status"]["phase"] == "Bound").then_some(()))
    })
}

/// The verdicts on both pods of a case, when there are two; the names of the pods read alike in them.
fn verdicts(world: &World<'_>, case: &str) -> Result<Option<[Verdict; 2]>> {
    let [theirs, own] = BOTH.map(|scheduler| {
        let short = scheduler.split('-').next().unwrap_or(scheduler);
        let name = World::pod_name(case, scheduler);
        verdict(&world.stage.cluster, &world.namespace, &name, &[(&format!("-{short}"), "-X")])
    });
    let (theirs, own) = (theirs?, own?);
    let said = |verdict: &Verdict| !verdict.condition[0].is_empty() && !verdict.events.is_empty();
    Ok((said(&theirs) && said(&own)).then_some([theirs, own]))
}

/// Gives each case to both schedulers and compares what they say.
fn compare(world: &World<'_>, cases: &[Case]) -> Result<()> {
    world.settle(&BOTH)?;
    for case in cases {
        world.create_pair(case.name, &case.changes)?;
    }
    spoken_alike(world, cases)
}

/// Whether both schedulers say the same about both pods of each case, once they have spoken.
fn spoken_alike(world: &World<'_>, cases: &[Case]) -> Result<()> {
    let mut wrong = Vec::new();
    for case in cases {
        let both = world
            .stage
            .wait(&format!("both schedulers to speak about {}", case.name), || verdicts(world, case.name))?;
        let [theirs, own] = &both;
        if theirs != own {
            wrong.push(format!("{}:\n  kube-scheduler {theirs:#?}\n  secondmate {own:#?}", case.name));
        } else if !theirs.condition[2].contains(case.says) {
            wrong.push(format!("{} is not about {:?}: {}", case.name, case.says, theirs.condition[2]));
        }
    }
    ensure!(wrong.is_empty(), "{} of {} cases differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

/// Two large nodes in a zone of their own that take every case.
fn fitting_nodes() -> Vec<Value> {
    let roomy = |name: &str| {
        let mut node = node(
            name,
            json!({
                "metadata": { "labels": { "role": "fit", "disk": "nvme", "level": "9", "rack": "r1", ZONE: "zc" } },
                "status": { "allocatable": {
                    "cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti",
                    "example.com/gpu": "8", "example.com/fpga": "8", "hugepages-2Mi": "1Gi",
                } },
            }),
        );
        node["metadata"]["labels"][HOST] = json!(name);
        node
    };
    vec![roomy("fit-1"), roomy("fit-2")]
}

/// The pods of all cases that the nodes of [`fitting_nodes`] take.
fn joining(cases: &[Case]) -> Vec<String> {
    let joining = cases.iter().filter(|case| case.joins);
    joining.flat_map(|case| BOTH.map(|scheduler| World::pod_name(case.name, scheduler))).collect()
}

#[test]
fn nodes_labels_taints_ports_and_resources() -> Result<()> {
    let Some(stage) = stage("nodes_labels_taints_ports_and_resources")? else { return Ok(()) };
    let world = World::new(stage, "words")?;
    crowded(&world)?;
    let ask = |resources: Value| requests(resources);
    let expressions = |expressions: Value| {
        json!({ "spec": { "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{ "matchExpressions": expressions }],
        } } } } })
    };
    let ports = |ports: Value| json!({ "spec": { "containers": [{ "name": "main", "image": "main", "ports": ports }] } });
    let named = json!({ "spec": { "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["fit-1"] }] }],
    } } } } });
    let cases = [
        case("cordoned", "1 node(s) were unschedulable", &[on("cordoned")]),
        case("tainted", "untolerated taint(s)", &[on("tainted")]),
        case("evicting", "untolerated taint(s)", &[on("evicting")]),
        case(
            "tolerant",
            "1 node(s) had untolerated taint(s)",
            &[
                ask(json!({ "cpu": "3" })),
                json!({ "spec": { "tolerations": [{ "key": "dedicated", "operator": "Exists" }] } }),
            ],
        ),
        case(
            "selector",
            "didn't match Pod's node affinity/selector",
            &[json!({ "spec": { "nodeSelector": { "disk": "nvme" } } })],
        ),
        case(
            "expressions",
            "didn't match Pod's node affinity/selector",
            &[expressions(json!([
                { "key": "level", "operator": "Gt", "values": ["7"] },
                { "key": "disk", "operator": "NotIn", "values": ["ssd"] },
            ]))],
        ),
        case("named", "0/6 nodes are available", &[named]),
        case(
            "port",
            "didn't have free ports",
            &[on("busy"), ports(json!([{ "containerPort": 80, "hostPort": 8080 }]))],
        ),
        case(
            "port-of-an-address",
            "didn't have free ports",
            &[on("busy"), ports(json!([{ "containerPort": 80, "hostPort": 8081 }]))],
        ),
        case("pods", "1 Too many pods", &[on("full")]),
        case("cpu", "1 Insufficient cpu", &[on("busy"), ask(json!({ "cpu": "1" }))]),
        case(
            "cpu-of-no-node",
            "3 Insufficient cpu",
            &[ask(json!({ "cpu": "10" })), json!({ "spec": { "nodeSelector": { ZONE: "za" } } })],
        )
        .stays(),
        case("memory", "1 Insufficient memory", &[on("busy"), ask(json!({ "memory": "2Gi" }))]),
        case(
            "ephemeral",
            "1 Insufficient ephemeral-storage",
            &[on("busy"), ask(json!({ "ephemeral-storage": "4Gi" }))],
        ),
        case(
            "extended",
            "1 Insufficient example.com/gpu",
            &[on("busy"), ask(json!({ "example.com/gpu": "1" }))],
        ),
        case(
            "extended-of-no-node",
            "Insufficient example.com/fpga",
            &[ask(json!({ "example.com/fpga": "1" }))],
        ),
        case(
            "huge-pages",
            "1 Insufficient hugepages-2Mi",
            &[on("busy"), ask(json!({ "cpu": "1m", "memory": "1Mi", "hugepages-2Mi": "2Mi" }))],
        ),
        case(
            "several",
            "1 Insufficient cpu, 1 Insufficient memory",
            &[on("busy"), ask(json!({ "cpu": "1", "memory": "2Gi" }))],
        ),
        case(
            "init",
            "1 Insufficient cpu",
            &[
                on("busy"),
                json!({ "spec": { "initContainers": [
                    { "name": "i", "image": "i", "resources": { "requests": { "cpu": "900m" } } },
                    { "name": "s", "image": "s", "restartPolicy": "Always", "resources": { "requests": { "cpu": "100m" } } },
                ] } }),
            ],
        ),
        case(
            "pod-level",
            "1 Insufficient memory",
            &[on("busy"), json!({ "spec": { "resources": { "requests": { "memory": "2Gi" } } } })],
        ),
        case(
            "never",
            "preemptionPolicy=Never",
            &[on("busy"), ask(json!({ "cpu": "1" })), json!({ "spec": { "priorityClassName": "never" } })],
        ),
        case(
            "mixed",
            "1 Too many pods, 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s), 3 Insufficient cpu",
            &[ask(json!({ "cpu": "2500m" }))],
        ),
    ];
    compare(&world, &cases)?;

    // What people see: the same rows but for who says it.
    for case in ["mixed", "cordoned"] {
        let [theirs, own] = BOTH.map(|scheduler| -> Result<_> {
            let rows = described_events(&stage.cluster, &world.namespace, &World::pod_name(case, scheduler))?;
            ensure!(!rows.is_empty(), "no events are shown for {case}");
            ensure!(rows.iter().all(|[_, _, source, _]| source == scheduler), "{rows:?}");
            // A pod that was tried twice may have the same row twice.
            Ok(rows
                .into_iter()
                .map(|[kind, reason, _, message]| [kind, reason, message])
                .collect::<BTreeSet<_>>())
        });
        assert_eq!(theirs?, own?, "{case}");
    }

    world.create_nodes(&fitting_nodes())?;
    world.wait_bound(&joining(&cases))?;
    Ok(())
}

#[test]
fn spread_and_affinity_to_pods() -> Result<()> {
    let Some(stage) = stage("spread_and_affinity_to_pods")? else { return Ok(()) };
    let world = World::new(stage, "company")?;
    crowded(&world)?;
    let labelled = |app: &str| json!({ "metadata": { "labels": { "app": app } } });
    let cases = [
        case("spread", "didn't match pod topology spread constraints", &[spread(ZONE)]),
        case("spread-without-label", "(missing required label)", &[spread("rack")]),
        case("friend", "didn't match pod affinity rules", &[affinity("podAffinity", "friend", ZONE)]),
        case(
            "blocked",
            "didn't match pod anti-affinity rules",
            &[affinity("podAntiAffinity", "blocker", ZONE)],
        ),
        case("hated", "didn't satisfy existing pods anti-affinity rules", &[labelled("hated")]),
        case("cut-off", "didn't match pod affinity rules", &[affinity("podAffinity", "blocker", "rack")])
            .stays(),
        case(
            "all-at-once",
            "Insufficient cpu",
            &[
                spread(ZONE),
                affinity("podAntiAffinity", "blocker", ZONE),
                labelled("hated"),
                requests(json!({ "cpu": "1" })),
            ],
        ),
    ];
    compare(&world, &cases)?;
    world.create_nodes(&fitting_nodes())?;
    world.place(&[pod(
        "friend",
        DEFAULT,
        json!({
            "metadata": { "labels": { "app": "friend" } },
            "spec": { "nodeName": "fit-1" },
        }),
    )])?;
    world.wait_bound(&joining(&cases))?;
    Ok(())
}

/// Claims are of one pod: each case has one for each scheduler.
#[test]
fn volumes() -> Result<()> {
    let Some(stage) = stage("volumes")? else { return Ok(()) };
    let world = World::new(stage, "volumes")?;
    crowded(&world)?;
    for (class, mode) in [("now", "Immediate"), ("late", "WaitForFirstConsumer")] {
        let rest = json!({ "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": mode });
        let class = object("storage.k8s.io/v1", "StorageClass", class, rest);
        world.create_outside("/apis/storage.k8s.io/v1/storageclasses", &class)?;
    }
    let in_zone = |zone: &str| {
        let term = json!({ "matchExpressions": [{ "key": ZONE, "operator": "In", "values": [zone] }] });
        json!({ "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": [term] } } } })
    };
    for scheduler in BOTH {
        let name = |case: &str| World::pod_name(case, scheduler);
        world.create("persistentvolumeclaims", &claim(&name("immediate"), "now", json!({})))?;
        world.create("persistentvolumeclaims", &claim(&name("late"), "late", json!({})))?;
        bind(&world, &name("elsewhere"), in_zone("zc"))?;
        bind(&world, &name("zone"), json!({ "metadata": { "labels": { ZONE: "zc" } } }))?;
        bind(&world, &name("limit"), json!({}))?;
        bind(&world, &name("without-volume"), json!({}))?;
    }
    let cases = [
        case("absent", "not found", &[]),
        case("immediate", "unbound immediate PersistentVolumeClaims", &[]),
        case("late", "didn't find available persistent volumes to bind", &[]),
        case("elsewhere", "node affinity", &[]),
        case("zone", "no available volume zone", &[]),
        case("limit", "exceed max volume count", &[on("plain")]),
        case("shared", "ReadWriteOncePod", &[mounts("single")]).stays(),
    ];
    world.settle(&BOTH)?;
    for case in &cases {
        for scheduler in BOTH {
            let name = World::pod_name(case.name, scheduler);
            let mut object = pod(&name, scheduler, json!({}));
            merge(&mut object, mounts(&name));
            merge(&mut object, case.changes.clone());
            world.create("pods", &object)?;
        }
    }
    spoken_alike(&world, &cases)?;

    world.create_nodes(&fitting_nodes())?;
    for (number, class) in ["now", "now", "now", "now", "late", "late"].into_iter().enumerate() {
        let mut volume = object(
            "v1",
            "PersistentVolume",
            &format!("volumes-free-{number}"),
            json!({ "spec": {
            "capacity": { "storage": "1Gi" },
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class,
            "csi": { "driver": "csi.example.com", "volumeHandle": format!("free-{number}") },
        } }),
        );
        merge(&mut volume, in_zone("zc"));
        world.create_outside("/api/v1/persistentvolumes", &volume)?;
    }
    for scheduler in BOTH {
        let absent = World::pod_name("absent", scheduler);
        world.create("persistentvolumeclaims", &claim(&absent, "now", json!({})))?;
    }
    world.wait_bound(&joining(&cases))?;
    Ok(())
}

#[test]
fn a_gated_pod_waits_without_a_word() -> Result<()> {
    let Some(stage) = stage("a_gated_pod_waits_without_a_word")? else { return Ok(()) };
    let world = World::new(stage, "gates")?;
    world.create_nodes(&[node("open", json!({}))])?;
    world
        .create_pair("gated", &json!({ "spec": { "schedulingGates": [{ "name": "example.com/wait" }] } }))?;
    // What comes later in the watches is placed: both schedulers have passed by the gated pods.
    world.create_pair("free", &json!({}))?;
    world.wait_bound(&BOTH.map(|scheduler| World::pod_name("free", scheduler)))?;
    let gated = BOTH.map(|scheduler| World::pod_name("gated", scheduler));
    for name in &gated {
        let pod = stage.cluster.api().get(&format!("{}/{name}", world.path("pods")))?;
        let [status, reason, message] = condition(&pod);
        assert_eq!((status.as_str(), reason.as_str()), ("False", "SchedulingGated"), "{name}: {message}");
        assert!(message.contains("Scheduling is blocked due to non-empty scheduling gates"), "{message}");
        assert_eq!(verdict(&stage.cluster, &world.namespace, name, &[])?.events, Vec::<[String; 4]>::new());
    }
    for name in &gated {
        let path = format!("{}/{name}", world.path("pods"));
        stage.cluster.api().patch(&path, &json!({ "spec": { "schedulingGates": null } }))?;
    }
    world.wait_bound(&gated)?;
    let placed = stage.wait("the events of both", || verdicts(&world, "gated"))?;
    assert_eq!(placed[0], placed[1]);
    assert_eq!(placed[0].condition, ["True", "", ""]);
    Ok(())
}

#[test]
fn without_nodes() -> Result<()> {
    let Some(stage) = stage("without_nodes")? else { return Ok(()) };
    let world = World::new(stage, "desert")?;
    let cases = [case("lost", "no nodes available to schedule pods", &[])];
    for case in &cases {
        world.create_pair(case.name, &case.changes)?;
    }
    spoken_alike(&world, &cases)?;
    world.create_nodes(&[node("oasis", json!({}))])?;
    world.wait_bound(&joining(&cases))?;
    Ok(())
}
