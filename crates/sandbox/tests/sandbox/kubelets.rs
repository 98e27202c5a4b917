//! The simulated kubelets.

use std::time::Duration;

use serde_json::json;

use crate::client::{Client, add_small_nodes, alive, pod, still, until, with};

#[tokio::test]
async fn what_only_a_container_could_answer_is_refused_in_words() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    add_small_nodes(&sandbox, 1);
    let log = "/api/v1/namespaces/default/pods/a/log";
    let said = |reply: crate::client::Reply| (reply.code, reply.message().to_owned());
    assert_eq!(said(client.get(log).await), (404, "pods \"a\" not found".to_owned()));
    let created = client.create_pod(&pod("a", "1")).await;
    assert_eq!(said(client.get(log).await), (400, "pod a does not have a host assigned".to_owned()));
    client.bind("a", created.uid(), "node-00000").await.unwrap();
    let (code, message) = said(client.get(log).await);
    assert!(code == 400 && message.contains("no container runs, so it writes no logs"), "{message}");
    let (code, message) =
        said(client.post("/api/v1/namespaces/default/pods/a/exec?command=ls", &json!({})).await);
    assert!(code == 400 && message.contains("no command can be run in it"), "{message}");
}

#[tokio::test]
async fn a_bound_pod_runs_and_a_deleted_one_goes() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    add_small_nodes(&sandbox, 1);
    let created = client.create_pod(&pod("a", "1")).await;
    let mut watch = client.watch("/api/v1/pods?watch=1&fieldSelector=status.phase%3DRunning").await;
    client.bind("a", created.uid(), "node-00000").await.unwrap();
    let running = watch.next().await.unwrap().unwrap()["object"].clone();
    assert!(running["status"]["podIP"].is_string() && running["status"]["startTime"].is_string());
    let ready =
        running["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
    assert_eq!(ready["status"], "True");
    assert_eq!(running["status"]["containerStatuses"][0]["ready"], true);
    let path = "/api/v1/namespaces/default/pods/a";
    let marked = client.delete(path, &json!({})).await;
    assert!(marked.body["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(watch.briefs(2).await, ["MODIFIED a", "DELETED a"]);
    assert_eq!(client.get(path).await.code, 404);
}

#[tokio::test]
async fn the_pod_that_no_longer_fits_fails_with_the_kubelets_reason_and_the_others_run() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    add_small_nodes(&sandbox, 1);
    for (name, cpu) in [("a", "2500m"), ("b", "2")] {
        let created = client.create_pod(&pod(name, cpu)).await;
        client.bind(name, created.uid(), "node-00000").await.unwrap();
    }
    let phase = |name: &str| sandbox.objects().get("pods", "default", name).unwrap()["status"].clone();
    until("b fails", || phase("b")["phase"] == "Failed").await;
    until("a runs", || phase("a")["phase"] == "Running").await;
    assert_eq!(phase("b")["reason"], "OutOfcpu");
    assert_eq!(
        phase("b")["message"],
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 2000, used: 2500, capacity: 4000"
    );
    assert_eq!(sandbox.kubelets().rejected()["OutOfcpu"], 1);
    let events = client.get("/api/v1/events?fieldSelector=reason%3DOutOfcpu").await;
    assert_eq!(events.body["items"][0]["involvedObject"]["name"], "b");
    // Deleted pods free their room.
    client.delete("/api/v1/namespaces/default/pods/a", &json!({"gracePeriodSeconds": 0})).await;
    let created = client.create_pod(&pod("c", "4")).await;
    client.bind("c", created.uid(), "node-00000").await.unwrap();
    until("c runs", || phase("c")["phase"] == "Running").await;
}

#[tokio::test]
async fn ports_and_selectors_are_checked_too() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    add_small_nodes(&sandbox, 1);
    let with_port = |name: &str| {
        let mut object = pod(name, "100m");
        object["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 80}]);
        object
    };
    let mut elsewhere = pod("c", "100m");
    elsewhere["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    for object in [with_port("a"), with_port("b"), elsewhere] {
        let created = client.create_pod(&object).await;
        let name = object["metadata"]["name"].as_str().unwrap();
        client.bind(name, created.uid(), "node-00000").await.unwrap();
    }
    let reason =
        |name: &str| sandbox.objects().get("pods", "default", name).unwrap()["status"]["reason"].clone();
    until("b fails", || reason("b") == "NodePorts").await;
    until("c fails", || reason("c") == "NodeAffinity").await;
}

#[tokio::test]
async fn a_pod_on_a_node_that_is_not_there_waits_for_it() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    let created = client.create_pod(&pod("a", "1")).await;
    assert_eq!(client.bind("a", created.uid(), "node-00000").await.unwrap().code, 201);
    add_small_nodes(&sandbox, 1);
    until("the pod runs", || sandbox.objects().count_where("pods", "status.phase=Running").unwrap() == 1)
        .await;
}

#[tokio::test]
async fn a_node_that_comes_again_still_carries_its_pods() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    add_small_nodes(&sandbox, 1);
    let created = client.create_pod(&pod("a", "3")).await;
    client.bind("a", created.uid(), "node-00000").await.unwrap();
    until("a runs", || sandbox.kubelets().started() == 1).await;
    client.delete("/api/v1/nodes/node-00000", &json!({})).await;
    // Bound and deleted while there is no node: it must not be counted later.
    let ghost = client.create_pod(&pod("ghost", "1")).await;
    client.bind("ghost", ghost.uid(), "node-00000").await.unwrap();
    client.delete("/api/v1/namespaces/default/pods/ghost", &json!({"gracePeriodSeconds": 0})).await;
    add_small_nodes(&sandbox, 1);
    let phase =
        |name: &str| sandbox.objects().get("pods", "default", name).unwrap()["status"]["phase"].clone();
    for (name, cpu, expected) in [("b", "2", "Failed"), ("c", "1", "Running")] {
        let created = client.create_pod(&pod(name, cpu)).await;
        client.bind(name, created.uid(), "node-00000").await.unwrap();
        until(&format!("{name} is {expected}"), || phase(name) == expected).await;
    }
}

#[tokio::test]
async fn paused_kubelets_do_nothing_and_catch_up_later() {
    let sandbox = alive().await;
    let client = Client::of(&sandbox);
    add_small_nodes(&sandbox, 1);
    sandbox.kubelets().pause();
    let created = client.create_pod(&pod("a", "1")).await;
    client.bind("a", created.uid(), "node-00000").await.unwrap();
    assert_eq!(sandbox.kubelets().started(), 0);
    sandbox.kubelets().resume();
    until("the pod runs", || sandbox.kubelets().started() == 1).await;
}

#[tokio::test]
async fn heartbeats_renew_the_conditions_of_every_node() {
    let sandbox = with(|options| options.heartbeat = Some(Duration::from_millis(5))).await;
    let client = Client::of(&sandbox);
    add_small_nodes(&sandbox, 2);
    let mut watch = client.watch("/api/v1/nodes?watch=1").await;
    let mut beats = [0, 0];
    while beats.iter().any(|n| *n < 3) {
        match watch.brief().await.as_str() {
            "MODIFIED node-00000" => beats[0] += 1,
            "MODIFIED node-00001" => beats[1] += 1,
            other => assert!(other.starts_with("ADDED "), "{other}"),
        }
    }
}

#[tokio::test]
async fn a_node_that_carries_too_much_is_named() {
    let sandbox = still().await;
    add_small_nodes(&sandbox, 2);
    for (name, cpu, node) in [("a", "3", "node-00000"), ("b", "2", "node-00000"), ("c", "4", "node-00001")] {
        sandbox.objects().create(pod(name, cpu)).unwrap();
        assert_eq!(sandbox.overcommitted_nodes(), []);
        sandbox.objects().bind("default", name, "", node).unwrap();
        if name == "b" {
            assert_eq!(sandbox.overcommitted_nodes(), [("node-00000".to_owned(), "cpu".to_owned())]);
            let failed = json!({"status": {"phase": "Failed"}});
            sandbox.objects().merge("pods", "default", "b", "status", &failed).unwrap();
        }
    }
    assert_eq!(sandbox.overcommitted_nodes(), []);
}

#[tokio::test]
async fn thousands_of_pods_on_hundreds_of_nodes_all_run() {
    let sandbox = alive().await;
    add_small_nodes(&sandbox, 300);
    let objects = sandbox.objects();
    tokio::task::spawn_blocking(move || {
        for i in 0..3_000 {
            let name = format!("p{i:05}");
            objects.create(pod(&name, "100m")).unwrap();
            objects.bind("default", &name, "", &format!("node-{:05}", i % 300)).unwrap();
        }
    })
    .await
    .unwrap();
    until("all run", || sandbox.objects().count_where("pods", "status.phase=Running").unwrap() == 3_000)
        .await;
    assert!(sandbox.kubelets().rejected().is_empty());
}
