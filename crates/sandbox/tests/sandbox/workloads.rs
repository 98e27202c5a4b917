//! ReplicaSets and Deployments.

use serde_json::{Value, json};

use crate::client::{Client, add_small_nodes, alive, until};

const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn spec(replicas: u32, image: &str) -> Value {
    json!({
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": image}]},
        },
    })
}

#[tokio::test]
async fn a_replica_set_keeps_its_number_of_pods() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    let set = json!({"metadata": {"name": "web"}, "spec": spec(3, "nginx:1")});
    assert_eq!(client.post(SETS, &set).await.code, 201);
    until("three pods", || sandbox.objects().count("pods") == 3).await;
    let first = sandbox.objects().list("pods")[0].clone();
    let name = first["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-"), "{name}");
    assert_eq!(first["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
    sandbox.objects().delete("pods", "default", name, None).unwrap();
    let gone = name.to_owned();
    until("a new one for the deleted", || {
        let pods = sandbox.objects().list("pods");
        pods.len() == 3 && pods.iter().all(|p| p["metadata"]["name"] != gone)
    })
    .await;
    let scale = json!({"spec": {"replicas": 1}});
    let scaled = client.patch("merge", &format!("{SETS}/web/scale"), &scale).await;
    assert_eq!((&scaled.body["kind"], &scaled.body["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    until("one pod", || sandbox.objects().count("pods") == 1).await;
    client.delete(&format!("{SETS}/web"), &json!({})).await;
    until("no pod", || sandbox.objects().count("pods") == 0).await;
}

#[tokio::test]
async fn a_deployment_rolls_to_a_new_template_and_reports_its_pods() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    add_small_nodes(&sandbox, 1);
    let deployment = json!({"metadata": {"name": "web"}, "spec": spec(2, "nginx:1")});
    assert_eq!(client.post(DEPLOYMENTS, &deployment).await.code, 201);
    until("two pods", || sandbox.objects().count("pods") == 2).await;
    for pod in sandbox.objects().list("pods") {
        let name = pod["metadata"]["name"].as_str().unwrap();
        sandbox.objects().bind("default", name, "", "node-00000").unwrap();
    }
    let ready =
        || sandbox.objects().get("deployments", "default", "web").unwrap()["status"]["readyReplicas"].clone();
    until("two ready", || ready() == 2).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}});
    assert_eq!(client.patch("strategic-merge", &format!("{DEPLOYMENTS}/web"), &image).await.code, 200);
    until("only new pods", || {
        let pods = sandbox.objects().list("pods");
        pods.len() == 2 && pods.iter().all(|p| p["spec"]["containers"][0]["image"] == "nginx:2")
    })
    .await;
    assert_eq!(sandbox.objects().count("replicasets"), 2);
    client.delete(&format!("{DEPLOYMENTS}/web"), &json!({"propagationPolicy": "Background"})).await;
    until("nothing is left", || {
        sandbox.objects().count("pods") == 0 && sandbox.objects().count("replicasets") == 0
    })
    .await;
}

#[tokio::test]
async fn the_status_of_a_budget_follows_its_pods() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    add_small_nodes(&sandbox, 1);
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {
        "maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    assert_eq!(client.post(budgets, &budget).await.code, 201);
    client.post(SETS, &json!({"metadata": {"name": "web"}, "spec": spec(3, "nginx:1")})).await;
    let status = || sandbox.objects().get("poddisruptionbudgets", "default", "b").unwrap()["status"].clone();
    until("three expected, none healthy", || {
        let status = status();
        status["expectedPods"] == 3 && status["disruptionsAllowed"] == 0
    })
    .await;
    for pod in sandbox.objects().list("pods") {
        let name = pod["metadata"]["name"].as_str().unwrap();
        sandbox.objects().bind("default", name, "", "node-00000").unwrap();
    }
    until("one may go", || {
        let status = status();
        status["currentHealthy"] == 3 && status["desiredHealthy"] == 2 && status["disruptionsAllowed"] == 1
    })
    .await;
}

#[tokio::test]
async fn an_orphaning_delete_leaves_the_pods() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    client.post(SETS, &json!({"metadata": {"name": "web"}, "spec": spec(2, "nginx:1")})).await;
    until("two pods", || sandbox.objects().count("pods") == 2).await;
    client.delete(&format!("{SETS}/web"), &json!({"propagationPolicy": "Orphan"})).await;
    assert!(sandbox.objects().list("pods").iter().all(|p| p["metadata"]["ownerReferences"] == json!([])));
    assert_eq!(sandbox.objects().count("pods"), 2);
}

#[tokio::test]
async fn a_template_that_its_selector_does_not_match_is_invalid() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    let mut spec = spec(1, "nginx:1");
    spec["selector"]["matchLabels"]["app"] = json!("db");
    let refused = client.post(DEPLOYMENTS, &json!({"metadata": {"name": "web"}, "spec": spec})).await;
    assert_eq!(refused.code, 422);
    assert!(
        refused.message().contains("`selector` does not match template `labels`"),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn pods_that_are_refused_are_tried_again_and_the_status_says_why() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    let mut set = json!({"metadata": {"name": "web"}, "spec": spec(2, "nginx:1")});
    set["spec"]["template"]["spec"]["priorityClassName"] = json!("late");
    assert_eq!(client.post(SETS, &set).await.code, 201);
    let failure = || {
        let set = sandbox.objects().get("replicasets", "default", "web").unwrap();
        set["status"]["conditions"][0].clone()
    };
    until("the refusal is told", || failure()["type"] == "ReplicaFailure").await;
    assert_eq!(failure()["reason"], "FailedCreate");
    assert!(failure()["message"].as_str().unwrap().contains("late"), "{}", failure());
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "late"}, "value": 7});
    sandbox.objects().create(class).unwrap();
    until("two pods", || sandbox.objects().count("pods") == 2).await;
    until("no failure any more", || failure().is_null()).await;
}
