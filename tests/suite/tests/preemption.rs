//! Evictions beside somebody who brings the victims back.

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Cluster, Options, Process};
use secondmate_suite::{SharedStage, Stage, World, events, node, object, pod};
use serde_json::json;

static STAGE: SharedStage = SharedStage::new();

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| Ok(Stage::new(Cluster::start(binaries, Options::default())?)))
}

/// A node that is full with a pod which its controller puts back there as soon as it is evicted, as another scheduler would, and a
/// scheduler whose pod needs the room.
fn looping<'a>(stage: &'a Stage, name: &str, breaks_loops: bool) -> Result<(World<'a>, Process)> {
    let world = World::new(stage, name)?;
    world.create_nodes(&[node(name, json!({}))])?;
    let class = json!({ "value": 1000 });
    let class = object("scheduling.k8s.io/v1", "PriorityClass", name, class);
    world.create_outside("/apis/scheduling.k8s.io/v1/priorityclasses", &class)?;
    let container = json!({ "name": "main", "image": "main", "resources": { "requests": { "cpu": "3" } } });
    let tolerations = json!([{ "operator": "Exists" }]);
    let template = json!({ "metadata": { "labels": { "app": name } },
        "spec": { "schedulerName": "another", "nodeName": name, "containers": [container], "tolerations": tolerations } });
    let spec = json!({ "replicas": 1, "selector": { "matchLabels": { "app": name } }, "template": template });
    world.create(
        "apps/v1/replicasets",
        &object("apps/v1", "ReplicaSet", "victims", json!({ "spec": spec })),
    )?;
    stage.wait("the victim to run", || {
        Ok(world.pods()?.iter().any(|pod| pod["status"]["phase"] == "Running").then_some(()))
    })?;
    let path = stage.cluster.directory().join(format!("{name}.yaml"));
    std::fs::write(
        &path,
        format!(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{{schedulerName: {name}}}]\n\
             ---\napiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\n\
             preemption: {{victims: all, breakLoops: {breaks_loops}}}\n"
        ),
    )?;
    let path = path.to_str().context("a path that is text")?;
    let arguments = ["--config", path, "--leader-elect=false"];
    let scheduler = stage.start_secondmate(stage.cluster.kubeconfig(), &arguments)?;
    let changes = json!({ "spec": { "priorityClassName": name, "nodeSelector": { "role": name },
        "containers": [container] } });
    world.create("pods", &pod("preemptor", name, changes))?;
    Ok((world, scheduler))
}

/// How often a pod was evicted.
fn evictions(stage: &Stage, world: &World<'_>) -> Result<usize> {
    let events = events(&stage.cluster, &world.namespace)?;
    Ok(events.iter().filter(|event| event.reason == "Preempted").count())
}

#[test]
fn evictions_without_end_are_broken_off() -> Result<()> {
    let Some(stage) = stage("evictions_without_end_are_broken_off")? else { return Ok(()) };
    let put_off = |world: &World<'_>| -> Result<Vec<String>> {
        let events = events(&stage.cluster, &world.namespace)?.into_iter();
        Ok(events.filter(|event| event.reason == "PreemptionPutOff").map(|event| event.note).collect())
    };
    {
        let (world, _scheduler) = looping(stage, "loop-goes-on", false)?;
        stage.wait("the same pod to be evicted again and again", || {
            Ok((evictions(stage, &world)? >= 6).then_some(()))
        })?;
        ensure!(put_off(&world)?.is_empty());
    }
    let (world, _scheduler) = looping(stage, "loop-is-broken", true)?;
    // The second eviction comes ten seconds after the first, the third would come twenty after that.
    let notes = stage.wait("the second delay to be told", || {
        let notes = put_off(&world)?;
        Ok((notes.len() >= 2).then_some(notes))
    })?;
    assert_eq!(evictions(stage, &world)?, 2);
    for (note, wait) in notes.iter().zip(["for 10s", "for 20s"]) {
        ensure!(note.contains("came back") && note.contains(wait), "{notes:?}");
    }
    Ok(())
}
