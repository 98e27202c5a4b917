//! kube-scheduler and secondmate at work on the same nodes at the same time.

use std::collections::BTreeMap;

use anyhow::Result;
use secondmate_harness::{Cluster, Options};
use secondmate_suite::{BOTH, SharedStage, Stage, World, events, node, node_of, over_allocatable};
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
