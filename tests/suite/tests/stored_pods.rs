//! What pods ask for, as the real API server stores it: resized in place, with sidecars, with resources of the whole pod, with
//! devices. kube-scheduler has the same pods, and the same is expected of both.

use anyhow::{Context, Result, bail, ensure};
use secondmate_harness::{Cluster, Options};
use secondmate_suite::{
    BOTH, DEFAULT, OWN, SharedStage, Stage, World, condition, events, merge, node, object, pod, requests,
    verdict,
};
use serde_json::{Value, json};

static STAGE: SharedStage = SharedStage::new();

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| Stage::new(Cluster::start(binaries, Options::default())?).with_secondmate())
}

/// Sends a strategic merge patch: lists of containers are merged by name.
fn patch(world: &World<'_>, path: &str, change: &Value) -> Result<Value> {
    let body = change.to_string();
    let api = world.stage.cluster.api();
    let answer = api.call("PATCH", path, "application/strategic-merge-patch+json", body.as_bytes())?;
    if answer.status != 200 {
        bail!("PATCH {path}: {} {}", answer.status, answer.body);
    }
    answer.json()
}

fn pod_path(world: &World<'_>, name: &str) -> String {
    format!("{}/{name}", world.path("pods"))
}

fn cpu(amount: &str) -> Value {
    json!({ "requests": { "cpu": amount } })
}

/// Asks for another amount of CPU, as `kubectl edit --subresource resize` does.
fn resize(world: &World<'_>, name: &str, amount: &str) -> Result<()> {
    let change = json!({ "spec": { "containers": [{ "name": "main", "resources": cpu(amount) }] } });
    patch(world, &format!("{}/resize", pod_path(world, name)), &change).map(drop)
}

/// What the kubelet would report: what it has set aside, what runs, and whether it has given up.
fn report(world: &World<'_>, name: &str, allocated: &str, actual: &str, infeasible: bool) -> Result<()> {
    let pending = json!({ "type": "PodResizePending", "status": "True", "reason": "Infeasible" });
    let done = json!({ "type": "PodResizePending", "status": "False", "reason": "" });
    let status = json!({ "status": {
        "conditions": [if infeasible { pending } else { done }],
        "containerStatuses": [{
            "name": "main", "image": "main", "imageID": "", "ready": true, "restartCount": 0,
            "allocatedResources": { "cpu": allocated }, "resources": cpu(actual),
        }],
    } });
    let stored = world
        .stage
        .cluster
        .api()
        .patch(&format!("{}/status", pod_path(world, name)), &merged(world, name, status)?)?;
    let found = &stored["status"]["containerStatuses"][0];
    ensure!(found["allocatedResources"]["cpu"] == allocated, "not stored: {found}");
    ensure!(found["resources"]["requests"]["cpu"] == actual, "not stored: {found}");
    Ok(())
}

/// A merge patch replaces lists: the other conditions of the pod are put back into it.
fn merged(world: &World<'_>, name: &str, mut status: Value) -> Result<Value> {
    let pod = world.stage.cluster.api().get(&pod_path(world, name))?;
    let others = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let conditions = status["status"]["conditions"].as_array_mut().context("conditions")?;
    conditions.extend(others.into_iter().filter(|condition| condition["type"] != "PodResizePending"));
    Ok(status)
}

/// Waits until both schedulers have refused their pods of a case with this text, and compares all that they said.
fn refused_alike(world: &World<'_>, case: &str, text: &str) -> Result<()> {
    let both = world.stage.wait(&format!("both schedulers to refuse {case}"), || {
        let mut verdicts = Vec::new();
        for scheduler in BOTH {
            let name = World::pod_name(case, scheduler);
            let short = name.trim_start_matches(case).to_owned();
            let said = verdict(&world.stage.cluster, &world.namespace, &name, &[(&short, "-X")])?;
            if said.condition[0].is_empty() || said.events.is_empty() {
                return Ok(None);
            }
            verdicts.push(said);
        }
        Ok(Some(verdicts))
    })?;
    ensure!(both[0] == both[1], "{case}: kube-scheduler {:#?}\nsecondmate {:#?}", both[0], both[1]);
    ensure!(both[0].condition[2].contains(text), "{case} is not about {text:?}: {:?}", both[0].condition);
    Ok(())
}

fn pair(case: &str) -> [String; 2] {
    BOTH.map(|scheduler| World::pod_name(case, scheduler))
}

/// A node of 4 CPUs for each scheduler. Two that place at the same time do not see each other's pods, and may both take the
/// same room.
fn node_for_each(world: &World<'_>) -> Result<()> {
    let nodes = BOTH.map(|scheduler| node(scheduler, json!({})));
    world.create_nodes(&nodes)
}

/// Gives the pod of each scheduler room on its own node, and waits until both have seen the other's.
fn place_each(world: &World<'_>, case: &str, changes: &Value) -> Result<Vec<Value>> {
    for scheduler in BOTH {
        let mut object = pod(&World::pod_name(case, scheduler), scheduler, changes.clone());
        merge(&mut object, json!({ "spec": { "nodeSelector": { "role": scheduler } } }));
        world.create("pods", &object)?;
    }
    let bound = world.wait_bound(&pair(case))?;
    world.settle(&BOTH)?;
    Ok(bound)
}

fn delete_pair(world: &World<'_>, case: &str) -> Result<()> {
    for name in pair(case) {
        world.stage.cluster.api().delete(&format!("{}?gracePeriodSeconds=0", pod_path(world, &name)))?;
    }
    world.stage.wait("the pods to go", || {
        let pods = world.pods()?;
        Ok(pods
            .iter()
            .all(|pod| !pair(case).iter().any(|name| pod["metadata"]["name"] == **name))
            .then_some(()))
    })
}

#[test]
fn a_pod_that_is_resized_in_place_counts_with_the_most_that_it_may_take() -> Result<()> {
    let Some(stage) = stage("a_pod_that_is_resized_in_place_counts_with_the_most_that_it_may_take")? else {
        return Ok(());
    };
    let world = World::new(stage, "resize")?;
    world.create_nodes(&[node("place", json!({}))])?;
    let spec = json!({ "spec": { "nodeName": "place", "containers": [{
        "name": "main", "image": "main", "resources": cpu("1"),
    }] } });
    world.place(&[pod("elastic", DEFAULT, spec)])?;
    report(&world, "elastic", "1", "1", false)?;
    let ask = requests(json!({ "cpu": "1400m" }));

    // It wants 3 and has 1: with 3 it leaves no room for 1.4.
    resize(&world, "elastic", "3")?;
    world.settle(&BOTH)?;
    world.create_pair("grows", &ask)?;
    refused_alike(&world, "grows", "1 Insufficient cpu")?;

    // The kubelet cannot give that and says so: 1 counts, and there is room for both.
    report(&world, "elastic", "1", "1", true)?;
    world.wait_bound(&pair("grows"))?;
    delete_pair(&world, "grows")?;

    // It has got 3, wants 1 again, and still runs with 3.
    report(&world, "elastic", "3", "3", false)?;
    resize(&world, "elastic", "1")?;
    world.settle(&BOTH)?;
    world.create_pair("shrinks", &ask)?;
    refused_alike(&world, "shrinks", "1 Insufficient cpu")?;
    // The kubelet has taken it back: both wake by that and find room.
    report(&world, "elastic", "1", "1", false)?;
    world.wait_bound(&pair("shrinks"))?;
    Ok(())
}

#[test]
fn sidecars_count_beside_what_starts_after_them() -> Result<()> {
    let Some(stage) = stage("sidecars_count_beside_what_starts_after_them")? else { return Ok(()) };
    let world = World::new(stage, "sidecars")?;
    node_for_each(&world)?;
    let sidecar =
        json!({ "name": "side", "image": "side", "restartPolicy": "Always", "resources": cpu("2") });
    let init = json!({ "name": "init", "image": "init", "resources": cpu("2500m") });
    let containers = json!([{ "name": "main", "image": "main", "resources": cpu("1") }]);
    let with = |init: Value| json!({ "spec": { "initContainers": init, "containers": containers } });
    world.settle(&BOTH)?;
    // The sidecar runs already when the init container does: 4.5.
    world.create_pair("beside", &with(json!([sidecar, init])))?;
    refused_alike(&world, "beside", "2 Insufficient cpu")?;
    // The init container has ended when the sidecar starts: 3.
    place_each(&world, "after", &with(json!([init, sidecar])))?;
    // And 3 is what each counts with: 1 is free on each node.
    world.create_pair("rest", &requests(json!({ "cpu": "1100m" })))?;
    refused_alike(&world, "rest", "2 Insufficient cpu")
}

#[test]
fn resources_of_the_whole_pod_count_instead_of_those_of_its_containers() -> Result<()> {
    let Some(stage) = stage("resources_of_the_whole_pod_count_instead_of_those_of_its_containers")? else {
        return Ok(());
    };
    let world = World::new(stage, "whole")?;
    node_for_each(&world)?;
    let whole = |cpu: &str| {
        json!({ "spec": {
            "resources": { "requests": { "cpu": cpu } },
            "containers": [
                { "name": "main", "image": "main", "resources": { "requests": { "cpu": "500m", "memory": "1Gi" } } },
                { "name": "other", "image": "other" },
            ],
        } })
    };
    world.settle(&BOTH)?;
    world.create_pair("large", &whole("5"))?;
    refused_alike(&world, "large", "2 Insufficient cpu")?;
    for pod in place_each(&world, "fits", &whole("3"))? {
        ensure!(
            pod["spec"]["resources"]["requests"]["cpu"] == "3",
            "not stored: {}",
            pod["spec"]["resources"]
        );
    }
    world.create_pair("rest", &whole("1100m"))?;
    refused_alike(&world, "rest", "2 Insufficient cpu")?;
    // Memory is what the containers ask for: 1Gi is taken on each node, and 15Gi are free.
    world.create_pair("memory", &requests(json!({ "memory": "15500Mi" })))?;
    refused_alike(&world, "memory", "2 Insufficient memory")
}

#[test]
fn devices_are_waited_for_with_a_word() -> Result<()> {
    let Some(stage) = stage("devices_are_waited_for_with_a_word")? else { return Ok(()) };
    let world = World::new(stage, "devices")?;
    world.create_nodes(&[node("plain", json!({}))])?;
    let class = json!({ "spec": { "extendedResourceName": "example.com/card" } });
    let class = object("resource.k8s.io/v1", "DeviceClass", "card", class);
    let class = world.create_outside("/apis/resource.k8s.io/v1/deviceclasses", &class)?;
    world.settle(&[OWN])?;
    world.create("pods", &pod("extended", OWN, requests(json!({ "example.com/card": "1" }))))?;
    let claim = json!({ "spec": { "devices": { "requests": [{ "name": "card", "exactly": { "deviceClassName": "card" } }] } } });
    world.create(
        "resource.k8s.io/v1/resourceclaims",
        &object("resource.k8s.io/v1", "ResourceClaim", "card", claim),
    )?;
    let claiming = json!({ "spec": { "resourceClaims": [{ "name": "card", "resourceClaimName": "card" }] } });
    world.create("pods", &pod("claiming", OWN, claiming))?;

    // An API server that does not know the field of the class leaves an extended resource that no node has.
    let reason = match class["spec"]["extendedResourceName"].is_null() {
        true => "1 Insufficient example.com/card",
        false => "does not allocate devices of DeviceClass card",
    };
    for (name, text) in [("extended", reason), ("claiming", "pod uses resource claims")] {
        stage.wait(&format!("a word about {name}"), || {
            let pod = stage.cluster.api().get(&pod_path(&world, name))?;
            let [status, _, message] = condition(&pod);
            ensure!(status.is_empty() || status == "False", "{name} was placed");
            let events = events(&stage.cluster, &world.namespace)?;
            let told = events.iter().any(|event| {
                event.regarding == name && event.reason == "FailedScheduling" && event.note.contains(text)
            });
            ensure!(told && message.contains(text), "{name}: {message}; {events:?}");
            Ok(Some(()))
        })?;
    }

    // A device plugin offers the resource on a node that joins.
    let offering = json!({ "status": { "allocatable": { "example.com/card": "1" } } });
    world.create_nodes(&[node("offering", offering)])?;
    world.wait_bound(&["extended".to_owned()])?;
    Ok(())
}
