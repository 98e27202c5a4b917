//! A shadow of the real kube-scheduler: in a quiet cluster every decision is one that we could have made.

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Cluster, Options, SchedulerOptions, secondmate_binary};
use secondmate_suite::{DEADLINE, DEFAULT, SharedStage, Stage, World, merge, node, node_of, pod, requests};
use serde_json::{Map, Value, json};

static STAGE: SharedStage = SharedStage::new();

const NODES: usize = 12;
const PODS: usize = 60;

/// Both look at every node.
fn every_node() -> Map<String, Value> {
    Map::from_iter([("percentageOfNodesToScore".to_owned(), json!(100))])
}

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| {
        let scheduler = SchedulerOptions { configuration: every_node(), ..SchedulerOptions::default() };
        Ok(Stage::new(Cluster::start(
            binaries,
            Options { scheduler: Some(scheduler), ..Options::default() },
        )?))
    })
}

/// Nodes in three zones and of three sizes, one of them tainted.
fn nodes() -> Vec<Value> {
    let of = |number: usize| {
        let mut changes = json!({
            "metadata": { "labels": { "topology.kubernetes.io/zone": format!("zone-{}", number % 3), "disk": if number.is_multiple_of(4) { "ssd" } else { "hdd" } } },
            "status": { "allocatable": { "cpu": format!("{}", 2 + number % 3 * 2), "memory": "16Gi" } },
        });
        if number == 5 {
            merge(
                &mut changes,
                json!({ "spec": { "taints": [{ "key": "slow", "effect": "PreferNoSchedule" }] } }),
            );
        }
        node(&format!("shadowed-{number:02}"), changes)
    };
    (0..NODES).map(of).collect()
}

/// Pods on which different plugins act.
fn shapes(number: usize) -> Value {
    let app = format!("app-{}", number % 5);
    let selector = json!({ "matchLabels": { "app": app } });
    let mut changes = requests(
        json!({ "cpu": format!("{}m", 50 + number % 7 * 30), "memory": format!("{}Mi", 64 + number % 3 * 200) }),
    );
    merge(&mut changes, json!({ "metadata": { "labels": { "app": app } } }));
    let more = match number % 5 {
        0 => json!({}),
        1 => json!({ "spec": { "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector }] } }),
        2 => {
            json!({ "spec": { "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
            { "weight": 30, "preference": { "matchExpressions": [{ "key": "disk", "operator": "In", "values": ["ssd"] }] } }] } } } })
        }
        3 => {
            json!({ "spec": { "affinity": { "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
            { "weight": 50, "podAffinityTerm": { "topologyKey": "kubernetes.io/hostname", "labelSelector": selector } }] } } } })
        }
        _ => json!({ "spec": { "nodeSelector": { "disk": "hdd" } } }),
    };
    merge(&mut changes, more);
    changes
}

#[test]
fn in_a_quiet_cluster_every_decision_of_kube_scheduler_is_as_good_as_ours() -> Result<()> {
    let Some(stage) = stage("in_a_quiet_cluster_every_decision_of_kube_scheduler_is_as_good_as_ours")? else {
        return Ok(());
    };
    let world = World::new(stage, "shadowed")?;
    world.create_nodes(&nodes())?;
    let mut configuration =
        json!({ "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration" });
    merge(&mut configuration, Value::Object(every_node()));
    let path = stage.cluster.directory().join("shadow.yaml");
    std::fs::write(&path, configuration.to_string())?;
    let path = path.to_str().context("a path that is text")?;
    // A user who may read and nothing else, so that nothing could be written.
    let reader = reader(stage)?;
    let arguments = ["--shadow", DEFAULT, "--config", path];
    let mut shadow = stage.cluster.start_measured(secondmate_binary()?, "the-shadow", &reader, &arguments)?;
    stage
        .wait("the shadow's caches", || Ok(shadow.process.log()?.contains("caches synced").then_some(())))?;

    for number in 0..PODS {
        let name = format!("pod-{number:02}");
        world.create("pods", &pod(&name, DEFAULT, shapes(number)))?;
        // Each is bound, and told to run, before the next comes.
        stage.wait(&name, || {
            let pods = world.pods()?;
            let pod = pods.iter().find(|pod| pod["metadata"]["name"] == name.as_str());
            Ok(pod.filter(|pod| node_of(pod).is_some() && pod["status"]["phase"] == "Running").map(|_| ()))
        })?;
    }
    world.create("pods", &pod("too-big", DEFAULT, requests(json!({ "cpu": "100" }))))?;
    stage.wait("the pod that fits nowhere", || {
        let pods = world.pods()?;
        let pod = pods.iter().find(|pod| pod["metadata"]["name"] == "too-big");
        let rejected = |pod: &Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
        Ok(pod.filter(|pod| rejected(pod)).map(|_| ()))
    })?;
    stage.wait("every decision to be compared", || {
        let compared = shadow.value("secondmate_shadow_decisions_total")?;
        Ok((compared >= (PODS + 1) as f64).then_some(()))
    })?;
    let status = shadow.process.terminate(DEADLINE)?;
    let log = shadow.process.log()?;
    ensure!(status.code() == Some(0), "{log}");
    let summary: Vec<&str> = log.lines().skip_while(|line| !line.starts_with("shadow of ")).collect();
    let expected = format!("shadow of {DEFAULT}: {0} decisions compared, {0} agreed (100.0 %)", PODS + 1);
    assert_eq!(summary.first().copied(), Some(&*expected), "{summary:#?}");
    assert!(summary.iter().any(|line| line.ends_with("1  neither finds a node")), "{summary:#?}");
    Ok(())
}

/// The kubeconfig of somebody who may list and watch everything, and nothing else.
fn reader(stage: &Stage) -> Result<std::path::PathBuf> {
    let kubeconfig = stage.cluster.kubeconfig_for("shadow-reader", &[])?;
    let api = stage.cluster.api();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "shadow-reader" },
        "rules": [{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["list", "watch"] }],
    });
    api.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role)?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "shadow-reader" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "shadow-reader" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "shadow-reader" }],
    });
    api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding)?;
    // The API server's authorizer learns of it by a watch.
    stage.wait("the role to count", || {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": { "user": "shadow-reader", "resourceAttributes": { "verb": "watch", "resource": "nodes" } },
        });
        let answer = api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review)?;
        Ok((answer["status"]["allowed"] == true).then_some(()))
    })?;
    Ok(kubeconfig)
}
