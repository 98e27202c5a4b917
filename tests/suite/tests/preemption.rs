//! Evictions beside somebody who brings the victims back.

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Cluster, MeasuredScheduler, Options};
use secondmate_suite::{SharedStage, Stage, World, events, node, object, pod};
use serde_json::{Value, json};

static STAGE: SharedStage = SharedStage::new();

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| Ok(Stage::new(Cluster::start(binaries, Options::default())?)))
}

/// A node that is full with a pod which its controller puts back there as soon as it is evicted, as another scheduler would, and a
/// scheduler whose pod needs the room.
fn looping<'a>(stage: &'a Stage, name: &str, breaks_loops: bool) -> Result<(World<'a>, MeasuredScheduler)> {
    let world = World::new(stage, name)?;
    world.create_nodes(&[node(name, json!({}))])?;
    priority_class(&world, name, 1000)?;
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
    let scheduler = start_preempting(stage, name, breaks_loops)?;
    let changes = json!({ "spec": { "priorityClassName": name, "nodeSelector": { "role": name },
        "containers": [container] } });
    world.create("pods", &pod("preemptor", name, changes))?;
    Ok((world, scheduler))
}

fn priority_class(world: &World<'_>, name: &str, value: i32) -> Result<()> {
    let class = object("scheduling.k8s.io/v1", "PriorityClass", name, json!({ "value": value }));
    world.create_outside("/apis/scheduling.k8s.io/v1/priorityclasses", &class).map(drop)
}

/// A scheduler that serves this name and may evict pods of all.
fn start_preempting(stage: &Stage, name: &str, breaks_loops: bool) -> Result<MeasuredScheduler> {
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
    stage.cluster.start_measured_secondmate(name, &["--config", path, "--leader-elect=false"])
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

/// Pods of a budget are the better victims, as their priority is lower; there are enough others.
#[test]
fn preemptions_at_once_never_overdraw_a_budget() -> Result<()> {
    const EACH: usize = 6;
    const ALLOWED: usize = 2;
    let name = "budget";
    let Some(stage) = stage("preemptions_at_once_never_overdraw_a_budget")? else { return Ok(()) };
    let world = World::new(stage, name)?;
    priority_class(&world, "budget-preemptor", 1000)?;
    priority_class(&world, "budget-dear", 10)?;
    let nodes: Vec<Value> = (0..2 * EACH).map(|n| node(&format!("{name}-{n}"), json!({}))).collect();
    world.create_nodes(&nodes)?;
    // Each fills a node. Nobody brings back those that are evicted, so that what is left tells how many were.
    let container = json!({ "name": "main", "image": "main", "resources": { "requests": { "cpu": "3" } } });
    let victim = |n: usize| {
        let mut changes = json!({ "spec": { "nodeName": format!("{name}-{n}"), "containers": [container] } });
        if n < EACH {
            changes["metadata"] = json!({ "labels": { "app": "protected" } });
        } else {
            changes["spec"]["priorityClassName"] = "budget-dear".into();
        }
        pod(&format!("victim-{n}"), "another", changes)
    };
    world.place(&(0..2 * EACH).map(victim).collect::<Vec<_>>())?;
    let spec =
        json!({ "minAvailable": EACH - ALLOWED, "selector": { "matchLabels": { "app": "protected" } } });
    let budget = object("policy/v1", "PodDisruptionBudget", "protected", json!({ "spec": spec }));
    world.create("policy/v1/poddisruptionbudgets", &budget)?;
    let path = format!("{}/protected", world.path("policy/v1/poddisruptionbudgets"));
    stage.wait("the disruption controller to allow two", || {
        let budget = stage.cluster.api().get(&path)?;
        Ok((budget["status"]["disruptionsAllowed"] == ALLOWED).then_some(()))
    })?;

    // All of them wait when the scheduler starts.
    let changes = json!({ "spec": { "priorityClassName": "budget-preemptor", "containers": [container] } });
    let preemptors: Vec<String> = (0..EACH).map(|n| format!("preemptor-{n}")).collect();
    for preemptor in &preemptors {
        world.create("pods", &pod(preemptor, name, changes.clone()))?;
    }
    let scheduler = start_preempting(stage, name, true)?;
    world.wait_bound(&preemptors)?;
    // The budget was read before each eviction that it allows.
    let reads =
        |result: &str| scheduler.value(&format!("secondmate_budget_reads_total{{result=\"{result}\"}}"));
    ensure!(reads("allowed")? >= ALLOWED as f64 && reads("failed")? == 0.0, "reads of the budget");
    let pods = world.pods()?;
    let left = |protected: bool| {
        let is_left = |pod: &&Value| {
            pod["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("victim-"))
                && pod["metadata"]["deletionTimestamp"].is_null()
                && (pod["metadata"]["labels"]["app"] == "protected") == protected
        };
        pods.iter().filter(is_left).count()
    };
    assert_eq!(
        (left(true), left(false)),
        (EACH - ALLOWED, ALLOWED),
        "evicted: as many as allowed, and others"
    );
    stage.wait("each eviction to be told", || Ok((evictions(stage, &world)? == EACH).then_some(())))
}
