//! kube-scheduler and secondmate at work on the same nodes at the same time.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Cluster, Options};
use secondmate_suite::{
    BOTH, SharedStage, Stage, World, claim, events, merge, node, node_of, object, over_allocatable, pod,
};
use serde_json::{Value, json};

static STAGE: SharedStage = SharedStage::new();

/// Pods of each of the two Deployments.
const REPLICAS: usize = 300;

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| Stage::new(Cluster::start(binaries, Options::default())?).with_secondmate())
}

fn deployment(scheduler: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": scheduler },
        "spec": {
            "replicas": REPLICAS,
            "selector": { "matchLabels": { "app": scheduler } },
            "template": {
                "metadata": { "labels": { "app": scheduler } },
                "spec": { "schedulerName": scheduler, "containers": [{
                    "name": "main", "image": "main",
                    "resources": { "requests": { "cpu": "150m", "memory": "128Mi" } },
                }] },
            },
        },
    })
}

#[test]
fn each_scheduler_places_its_own_deployment_on_the_nodes_that_both_share() -> Result<()> {
    let Some(stage) = stage("each_scheduler_places_its_own_deployment_on_the_nodes_that_both_share")? else {
        return Ok(());
    };
    let world = World::new(stage, "coexistence")?;
    let nodes: Vec<Value> = (0..30).map(|number| node(&format!("shared-{number:02}"), json!({}))).collect();
    world.create_nodes(&nodes)?;
    for scheduler in BOTH {
        let mut deployment = deployment(scheduler);
        if scheduler == secondmate_suite::DEFAULT {
            // As users write it: the API server fills in the default scheduler's name.
            deployment["spec"]["template"]["spec"]["schedulerName"] = Value::Null;
        }
        world.create("apps/v1/deployments", &deployment)?;
    }
    let pods = stage.wait("600 pods to run", || {
        let mut pods = world.pods()?;
        pods.retain(|pod| pod["status"]["phase"] == "Running");
        Ok((pods.len() == 2 * REPLICAS).then_some(pods))
    })?;

    let mut scheduled = BTreeMap::new();
    // The events are written after the bindings.
    let bound_by = stage.wait("the event of each pod", || {
        scheduled.clear();
        let mut bound_by: BTreeMap<String, String> = BTreeMap::new();
        for event in events(&stage.cluster, &world.namespace)? {
            if event.reason == "Scheduled" {
                *scheduled.entry(event.controller.clone()).or_insert(0) += 1;
                bound_by.insert(event.regarding, event.controller);
            }
        }
        Ok((bound_by.len() >= 2 * REPLICAS).then_some(bound_by))
    })?;
    for pod in &pods {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        assert_eq!(pod["spec"]["schedulerName"], bound_by[name], "{name} was bound by another scheduler");
        assert!(node_of(pod).is_some_and(|node| node.starts_with("shared-")), "{name}");
    }
    let once_each: BTreeMap<String, usize> = BOTH.map(|name| (name.to_owned(), REPLICAS)).into();
    assert_eq!(scheduled, once_each, "one event Scheduled for each pod");
    assert_eq!(over_allocatable(&stage.cluster)?, BTreeMap::new(), "nodes over their allocatable");
    Ok(())
}

/// Nobody knows what another has promised: all choose the same volume, the API server takes one answer, and whoever
/// came second chooses again. That is mostly kube-scheduler; so there is a third, a secondmate that writes slowly.
#[test]
fn pods_of_all_schedulers_share_the_volumes_that_there_are() -> Result<()> {
    const CLAIMS: usize = 8;
    let Some(stage) = stage("pods_of_all_schedulers_share_the_volumes_that_there_are")? else {
        return Ok(());
    };
    let world = World::new(stage, "volumes")?;
    let slow = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": { "qps": 5, "burst": 1 },
        "profiles": [{ "schedulerName": "slow-scheduler" }],
    });
    let path = stage.cluster.directory().join("slow.yaml");
    std::fs::write(&path, slow.to_string())?;
    let path = path.to_str().context("a path that is text")?;
    let _slow =
        stage.start_secondmate(stage.cluster.kubeconfig(), &["--config", path, "--leader-elect=false"])?;
    let schedulers = [BOTH[0], BOTH[1], "slow-scheduler"];
    world.create_nodes(&(0..3).map(|n| node(&format!("volumes-{n}"), json!({}))).collect::<Vec<_>>())?;
    let late =
        json!({ "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer" });
    let late = object("storage.k8s.io/v1", "StorageClass", "late", late);
    world.create_outside("/apis/storage.k8s.io/v1/storageclasses", &late)?;
    let mut names = Vec::new();
    for scheduler in schedulers {
        for number in 0..CLAIMS {
            let name = World::pod_name(&format!("reader-{number}"), scheduler);
            world.create("persistentvolumeclaims", &claim(&name, "late", json!({})))?;
            let mut reader = pod(&name, scheduler, json!({}));
            let volumes = json!([{ "name": "data", "persistentVolumeClaim": { "claimName": name } }]);
            merge(&mut reader, json!({ "spec": { "volumes": volumes } }));
            world.create("pods", &reader)?;
            names.push(name);
        }
    }
    // As many volumes as claims, for pods that wait for them.
    for number in 0..schedulers.len() * CLAIMS {
        let volume = object(
            "v1",
            "PersistentVolume",
            &format!("shared-{number:02}"),
            json!({ "spec": {
            "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "late",
            "csi": { "driver": "csi.example.com", "volumeHandle": format!("shared-{number}") },
        } }),
        );
        world.create_outside("/api/v1/persistentvolumes", &volume)?;
    }
    world.wait_bound(&names)?;
    let mut holders: BTreeMap<String, String> = BTreeMap::new();
    for claim in stage.cluster.list(&world.path("persistentvolumeclaims"))? {
        let (name, volume) = (claim["metadata"]["name"].to_string(), claim["spec"]["volumeName"].to_string());
        ensure!(claim["status"]["phase"] == "Bound", "{name}: {}", claim["status"]);
        if let Some(other) = holders.insert(volume.clone(), name.clone()) {
            panic!("{other} and {name} have the same volume {volume}");
        }
    }
    assert_eq!(holders.len(), schedulers.len() * CLAIMS);
    Ok(())
}
