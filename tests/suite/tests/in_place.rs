//! secondmate in kube-scheduler's place: under its name, with its user and its rights, for everything that a cluster
//! runs.

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Cluster, Component, Options, Process, SchedulerOptions};
use secondmate_suite::{
    DEADLINE, DEFAULT, SharedStage, Stage, World, claim, events, merge, node, node_of, object,
    over_allocatable, requests,
};
use serde_json::{Value, json};

static STAGE: SharedStage = SharedStage::new();

/// The Lease that kube-scheduler would hold.
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler";

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| {
        Ok(Stage::new(Cluster::start(binaries, Options { scheduler: None, ..Options::default() })?))
    })
}

fn replace(stage: &Stage) -> Result<Process> {
    let kubeconfig = stage.cluster.kubeconfig_for("system:kube-scheduler", &[])?;
    stage.start_secondmate(&kubeconfig, &["--scheduler-name", DEFAULT, "--i-replace-the-default-scheduler"])
}

/// A workload as users write it: no scheduler is named.
fn workload(kind: &str, name: &str, pod: Value, rest: Value) -> Value {
    let restart = if kind == "Job" { "Never" } else { "Always" };
    let mut template = json!({
        "metadata": { "labels": { "app": name } },
        "spec": { "restartPolicy": restart, "containers": [{ "name": "main", "image": "main" }] },
    });
    merge(&mut template, pod);
    let api_version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    let mut object = object(api_version, kind, name, json!({ "spec": { "template": template } }));
    if kind != "Job" {
        object["spec"]["selector"] = json!({ "matchLabels": { "app": name } });
    }
    merge(&mut object["spec"], rest);
    object
}

/// Waits until a number in an object's status has this value.
fn wait_status(world: &World<'_>, collection: &str, name: &str, field: &str, wanted: u64) -> Result<()> {
    world.stage.wait(&format!("{field} of {name} to be {wanted}"), || {
        let object = world.stage.cluster.api().get(&format!("{}/{name}", world.path(collection)))?;
        let found = object["status"][field].as_u64().unwrap_or(0);
        ensure!(found == wanted, "it is {found}");
        Ok(Some(()))
    })
}

#[test]
fn every_kind_of_workload_comes_up() -> Result<()> {
    let Some(stage) = stage("every_kind_of_workload_comes_up")? else { return Ok(()) };
    let mut scheduler = replace(stage)?;
    let world = World::new(stage, "everything")?;
    let api = stage.cluster.api();
    let tainted =
        json!({ "spec": { "taints": [{ "key": "dedicated", "value": "x", "effect": "NoSchedule" }] } });
    let mut nodes: Vec<Value> = (0..4).map(|n| node(&format!("plain-{n}"), json!({}))).collect();
    nodes.push(node("special", tainted));
    world.create_nodes(&nodes)?;
    for (name, value) in [("batch", -10), ("service", 100), ("urgent", 10_000)] {
        let class = object("scheduling.k8s.io/v1", "PriorityClass", name, json!({ "value": value }));
        world.create_outside("/apis/scheduling.k8s.io/v1/priorityclasses", &class)?;
    }
    let late =
        json!({ "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer" });
    let late = object("storage.k8s.io/v1", "StorageClass", "late", late);
    world.create_outside("/apis/storage.k8s.io/v1/storageclasses", &late)?;
    for number in 0..3 {
        let volume = object(
            "v1",
            "PersistentVolume",
            &format!("everything-{number}"),
            json!({ "spec": {
            "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "late",
            "csi": { "driver": "csi.example.com", "volumeHandle": format!("everything-{number}") },
        } }),
        );
        world.create_outside("/api/v1/persistentvolumes", &volume)?;
    }
    let asking = |cpu: &str, class: &str, grace: u64| {
        let mut pod = requests(json!({ "cpu": cpu }));
        let spec = json!({ "priorityClassName": class, "terminationGracePeriodSeconds": grace });
        merge(&mut pod, json!({ "spec": spec }));
        pod
    };

    // Five nodes with a pod each, one of them by toleration.
    let mut agent = asking("100m", "system-node-critical", 30);
    merge(&mut agent, json!({ "spec": { "tolerations": [{ "operator": "Exists" }] } }));
    world.create("apps/v1/daemonsets", &workload("DaemonSet", "agent", agent, json!({})))?;
    wait_status(&world, "apps/v1/daemonsets", "agent", "numberReady", 5)?;

    let claims = claim("data", "late", json!({}));
    let claims = json!([{ "metadata": { "name": "data" }, "spec": claims["spec"] }]);
    let rest = json!({ "replicas": 3, "serviceName": "db", "volumeClaimTemplates": claims });
    world.create(
        "apps/v1/statefulsets",
        &workload("StatefulSet", "db", asking("500m", "service", 120), rest),
    )?;
    wait_status(&world, "apps/v1/statefulsets", "db", "readyReplicas", 3)?;

    // Batch work fills what is left, with long goodbyes and under a budget; then a service needs the room.
    let fill = workload("Deployment", "fill", asking("1", "batch", 3_600), json!({ "replicas": 14 }));
    world.create("apps/v1/deployments", &fill)?;
    let budget =
        json!({ "spec": { "maxUnavailable": "50%", "selector": { "matchLabels": { "app": "fill" } } } });
    world.create(
        "policy/v1/poddisruptionbudgets",
        &object("policy/v1", "PodDisruptionBudget", "fill", budget),
    )?;
    stage.wait("the nodes to be full", || {
        let pods = world.pods()?;
        let fill: Vec<&Value> =
            pods.iter().filter(|pod| pod["metadata"]["labels"]["app"] == "fill").collect();
        let placed = fill.iter().filter(|pod| node_of(pod).is_some()).count();
        let waiting =
            fill.iter().filter(|pod| secondmate_suite::condition(pod)[1] == "Unschedulable").count();
        Ok((placed > 0 && placed + waiting == 14 && waiting > 0).then_some(()))
    })?;
    let web = workload("Deployment", "web", asking("1500m", "service", 30), json!({ "replicas": 4 }));
    world.create("apps/v1/deployments", &web)?;
    wait_status(&world, "apps/v1/deployments", "web", "readyReplicas", 4)?;
    let rest = json!({ "completions": 6, "parallelism": 3 });
    world.create("batch/v1/jobs", &workload("Job", "report", asking("2", "urgent", 30), rest))?;
    wait_status(&world, "batch/v1/jobs", "report", "succeeded", 6)?;
    // The urgent work is done: who was pushed aside comes back as far as there is room.
    wait_status(&world, "apps/v1/deployments", "web", "readyReplicas", 4)?;
    wait_status(&world, "apps/v1/statefulsets", "db", "readyReplicas", 3)?;
    wait_status(&world, "apps/v1/daemonsets", "agent", "numberReady", 5)?;

    ensure!(over_allocatable(&stage.cluster)?.is_empty(), "a node is over its allocatable");
    let events = events(&stage.cluster, &world.namespace)?;
    let by_others: Vec<_> =
        events.iter().filter(|e| e.reason == "Scheduled" && e.controller != DEFAULT).collect();
    ensure!(by_others.is_empty(), "{by_others:?}");
    ensure!(
        events.iter().any(|event| event.reason == "Preempted"),
        "nobody was preempted: the test is too easy"
    );
    let holder = api.get(LEASE)?["spec"]["holderIdentity"].clone();
    ensure!(holder.as_str().is_some_and(|holder| !holder.is_empty()), "nobody holds kube-scheduler's Lease");
    let log = scheduler.log()?;
    let refused: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
    ensure!(refused.is_empty(), "kube-scheduler's rights are not enough: {refused:#?}");

    // kube-scheduler, started beside by mistake, waits for the Lease; and takes over when secondmate goes.
    drop(world);
    stage.cluster.start_scheduler(SchedulerOptions { leader_elect: true, ..SchedulerOptions::default() })?;
    let status = scheduler.terminate(DEADLINE)?;
    ensure!(status.code() == Some(0), "{status}:\n{}", scheduler.tail(20));
    let before = holder.as_str().context("an identity")?;
    stage.wait("kube-scheduler to take its place again", || {
        let holder = api.get(LEASE)?["spec"]["holderIdentity"].clone();
        Ok(holder.as_str().filter(|holder| !holder.is_empty() && *holder != before).map(drop))
    })?;
    stage.cluster.stop_component(Component::KubeScheduler)
}
