//! Discovery, get and list.

use bytes::Bytes;
use serde_json::json;

use crate::client::{Client, pod, still};

#[tokio::test]
async fn discovery_names_what_is_served_and_nothing_else() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let core = client.get("/api/v1").await;
    let names: Vec<&str> =
        core.body["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
    for name in ["pods", "pods/binding", "pods/eviction", "pods/status", "nodes", "bindings", "events"] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    let groups = client.get("/apis").await;
    let groups: Vec<&str> =
        groups.body["groups"].as_array().unwrap().iter().filter_map(|g| g["name"].as_str()).collect();
    assert!(groups.contains(&"coordination.k8s.io") && !groups.contains(&"autoscaling"), "{groups:?}");
    assert_eq!(client.get("/apis/autoscaling/v2").await.code, 404);
    assert_eq!(client.get("/apis/networking.k8s.io/v1/namespaces/default/ingresses").await.code, 404);
    assert_eq!(client.get("/version").await.body["minor"], "37");
    assert_eq!(client.get("/readyz").await.body, "ok");
    assert_eq!(client.get("/openapi/v2").await.body, "");
}

#[tokio::test]
async fn a_resource_that_nothing_acts_on_can_be_read_but_not_created() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let path = "/api/v1/namespaces/default/replicationcontrollers";
    assert_eq!(client.get(path).await.body["items"], json!([]));
    assert_eq!(client.post(path, &json!({"metadata": {"name": "x"}})).await.code, 405);
}

#[tokio::test]
async fn lists_select_by_labels_fields_and_namespace() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    for (name, app, scheduler) in [("a", "web", "one"), ("b", "web", "two"), ("c", "db", "two")] {
        let mut object = pod(name, "1");
        object["metadata"]["labels"] = json!({ "app": app });
        object["spec"]["schedulerName"] = json!(scheduler);
        client.create_pod(&object).await;
    }
    sandbox.objects().bind("default", "b", "", "n1").unwrap();
    for (query, expected) in [
        ("", "a b c"),
        ("labelSelector=app%3Dweb", "a b"),
        ("labelSelector=app+in+(db),x+notin+(y)", "c"),
        ("fieldSelector=spec.schedulerName%3Dtwo,spec.nodeName%3D", "c"),
        ("fieldSelector=spec.nodeName!%3D,status.phase!%3DFailed", "b"),
        ("fieldSelector=metadata.name%3Da", "a"),
    ] {
        let list = client.get(&format!("/api/v1/pods?{query}")).await;
        let names: Vec<&str> = list.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["metadata"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(names.join(" "), expected, "{query}");
    }
    let other = client.get("/api/v1/namespaces/kube-system/pods").await;
    assert_eq!(other.body["items"], json!([]));
    let refused = client.get("/api/v1/pods?fieldSelector=spec.color%3Dred").await;
    assert_eq!((refused.code, refused.message()), (400, "field label not supported: spec.color"));
    assert_eq!(client.get("/api/v1/pods?labelSelector=a+b").await.code, 400);
}

#[tokio::test]
async fn pages_of_a_list_agree_whatever_is_written_in_between() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    for i in 0..5 {
        client.create_pod(&pod(&format!("p{i}"), "1")).await;
    }
    let first = client.get("/api/v1/pods?limit=2").await;
    assert_eq!(first.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(first.body["metadata"]["remainingItemCount"], 3);
    sandbox.objects().delete("pods", "default", "p3", None).unwrap();
    client.create_pod(&pod("p9", "1")).await;
    let token = first.body["metadata"]["continue"].as_str().unwrap();
    let rest = client.get(&format!("/api/v1/pods?limit=500&continue={token}")).await;
    let names: Vec<&str> = rest.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["p2", "p3", "p4"]);
    assert_eq!(rest.version(), first.version());
    assert!(rest.body["metadata"]["continue"].is_null());
    let again = client.get(&format!("/api/v1/pods?limit=500&continue={token}")).await;
    assert_eq!((again.code, again.body["reason"].as_str()), (410, Some("Expired")));
}

#[tokio::test]
async fn a_list_at_an_exact_version_shows_the_past_and_one_of_the_future_times_out() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    client.create_pod(&pod("a", "1")).await;
    let version = client.get("/api/v1/pods").await.version().to_owned();
    client.create_pod(&pod("b", "1")).await;
    let past =
        client.get(&format!("/api/v1/pods?resourceVersion={version}&resourceVersionMatch=Exact")).await;
    assert_eq!(past.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(past.version(), version);
    let future = client.get("/api/v1/pods?resourceVersion=1000000").await;
    assert_eq!(future.code, 504);
    assert!(future.message().contains("Too large resource version"), "{}", future.message());
    sandbox.objects().compact("pods");
    let gone =
        client.get(&format!("/api/v1/pods?resourceVersion={version}&resourceVersionMatch=Exact")).await;
    assert_eq!(gone.code, 410);
}

#[tokio::test]
async fn a_long_list_is_streamed_whole() {
    let sandbox = still().await;
    for i in 0..1500 {
        sandbox.objects().create(pod(&format!("p{i:05}"), "1")).unwrap();
    }
    let list = Client::of(&sandbox).get("/api/v1/pods").await;
    assert!(list.headers.get("content-length").is_none());
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1500);
}

#[tokio::test]
async fn tables_have_the_columns_that_kubectl_shows() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let created = client.create_pod(&pod("a", "1")).await;
    client.bind("a", created.uid(), "n1").await.unwrap();
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = client.send_with("GET", "/api/v1/pods", &[("accept", accept)], Bytes::new()).await.unwrap();
    assert_eq!(table.body["kind"], "Table");
    let columns: Vec<&str> = table.body["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns.join(","), "Name,Ready,Status,Restarts,Age,IP,Node,Nominated Node,Readiness Gates");
    let mut cells = table.body["rows"][0]["cells"].as_array().unwrap().clone();
    cells.remove(4);
    assert_eq!(json!(cells), json!(["a", "0/1", "Pending", "0", "<none>", "n1", "<none>", "<none>"]));
    assert_eq!(table.body["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}
