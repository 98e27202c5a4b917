//! kube's own client and watcher against the sandbox.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Config};
use secondmate_sandbox::Sandbox;

use crate::client::{add_small_nodes, alive, pod, until};

async fn kube(sandbox: &Sandbox) -> Client {
    let config = Config::new(sandbox.url().parse().unwrap());
    Client::try_from(config).unwrap()
}

#[tokio::test]
async fn kubes_client_creates_binds_patches_and_sees_the_pod_run() {
    let sandbox = alive().await;
    add_small_nodes(&sandbox, 1);
    let client = kube(&sandbox).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let object: Pod = serde_json::from_value(pod("a", "500m")).unwrap();
    let created = pods.create(&PostParams::default(), &object).await.unwrap();
    let patch = serde_json::json!({"status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}]}});
    pods.patch_status("a", &PatchParams::default(), &Patch::Strategic(&patch)).await.unwrap();
    let binding = Binding {
        metadata: kube::api::ObjectMeta {
            name: Some("a".into()),
            uid: created.metadata.uid.clone(),
            ..Default::default()
        },
        target: ObjectReference {
            kind: Some("Node".into()),
            name: Some("node-00000".into()),
            ..Default::default()
        },
    };
    let body = serde_json::to_vec(&binding).unwrap();
    let _: kube::core::Status =
        pods.create_subresource("binding", "a", &PostParams::default(), &binding).await.unwrap();
    drop(body);
    until("the pod runs", || sandbox.objects().count_where("pods", "status.phase=Running").unwrap() == 1)
        .await;
    let running = pods.get("a").await.unwrap();
    let conditions = running.status.unwrap().conditions.unwrap();
    let scheduled = conditions.iter().find(|c| c.type_ == "PodScheduled").unwrap();
    assert_eq!((scheduled.status.as_str(), scheduled.reason.as_deref()), ("True", None));
    let nodes: Api<Node> = Api::all(client);
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 1);
    sandbox.shutdown().await;
}

#[tokio::test]
async fn kubes_watcher_lists_in_pages_or_streams_and_survives_410() {
    for streaming in [false, true] {
        let sandbox = crate::client::still().await;
        for i in 0..7 {
            sandbox.objects().create(pod(&format!("p{i}"), "1")).unwrap();
        }
        let pods: Api<Pod> = Api::all(kube(&sandbox).await);
        let config = watcher::Config::default();
        let config = if streaming { config.streaming_lists() } else { config.page_size(3) };
        let mut events = watcher::watcher(pods, config).boxed();
        let mut seen = 0;
        loop {
            match events.try_next().await.unwrap().unwrap() {
                Event::InitApply(_) => seen += 1,
                Event::InitDone => break,
                _ => {}
            }
        }
        assert_eq!(seen, 7);
        sandbox.objects().create(pod("new", "1")).unwrap();
        loop {
            if let Event::Apply(pod) = events.try_next().await.unwrap().unwrap() {
                assert_eq!(pod.metadata.name.as_deref(), Some("new"));
                break;
            }
        }
    }
}
