//! Binding: every precondition, and the record of what was accepted.

use serde_json::json;

use crate::client::{Client, binding, pod, still};

#[tokio::test]
async fn a_binding_sets_the_node_and_the_condition_and_clears_the_nomination() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let created = client.create_pod(&pod("a", "1")).await;
    let path = "/api/v1/namespaces/default/pods/a";
    let status = json!({"status": {"nominatedNodeName": "n0", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no"}]}});
    client.patch("strategic-merge", &format!("{path}/status"), &status).await;
    let mut body = binding("a", created.uid(), "n1");
    body["metadata"]["annotations"] = json!({"by": "test"});
    let bound = client.post(&format!("{path}/binding"), &body).await;
    assert_eq!((bound.code, &bound.body["status"]), (201, &json!("Success")));
    let pod = client.get(path).await.body;
    assert_eq!(
        (&pod["spec"]["nodeName"], &pod["metadata"]["annotations"]["by"]),
        (&json!("n1"), &json!("test"))
    );
    assert!(pod["status"]["nominatedNodeName"].is_null());
    let condition = &pod["status"]["conditions"][0];
    assert_eq!((&condition["status"], condition.get("reason")), (&json!("True"), None));
    assert_eq!(sandbox.history().binds_of(created.uid()).len(), 1);
}

#[tokio::test]
async fn a_second_binding_is_refused_in_the_servers_words_and_not_recorded() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let created = client.create_pod(&pod("a", "1")).await;
    assert_eq!(client.bind("a", created.uid(), "n1").await.unwrap().code, 201);
    let second = client.bind("a", created.uid(), "n2").await.unwrap();
    assert_eq!((second.code, &second.body["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        second.message(),
        "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\""
    );
    assert_eq!(sandbox.history().binds_accepted(), 1);
    assert_eq!(sandbox.history().binds()[0].node, "n1");
    assert!(sandbox.history().bound_twice().is_empty());
}

#[tokio::test]
async fn a_binding_for_another_incarnation_of_the_pod_is_a_conflict() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let old = client.create_pod(&pod("a", "1")).await;
    client.delete("/api/v1/namespaces/default/pods/a", &json!({})).await;
    assert_eq!(client.bind("a", old.uid(), "n1").await.unwrap().code, 404);
    let new = client.create_pod(&pod("a", "1")).await;
    let refused = client.bind("a", old.uid(), "n1").await.unwrap();
    assert_eq!(refused.code, 409);
    assert_eq!(
        refused.message(),
        format!(
            "Operation cannot be fulfilled on pods \"a\": StorageError: invalid object, Code: 4, Key: \
             /registry/pods/default/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in \
             precondition: {}, UID in object meta: {}",
            old.uid(),
            new.uid()
        )
    );
}

#[tokio::test]
async fn a_pod_that_is_being_deleted_is_not_bound() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let mut object = pod("a", "1");
    object["metadata"]["finalizers"] = json!(["example.com/wait"]);
    let created = client.create_pod(&object).await;
    client.delete("/api/v1/namespaces/default/pods/a", &json!({})).await;
    let refused = client.bind("a", created.uid(), "n1").await.unwrap();
    assert_eq!(refused.code, 409);
    assert!(
        refused.message().ends_with("pod a is being deleted, cannot be assigned to a host"),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn a_malformed_binding_is_refused() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    client.create_pod(&pod("a", "1")).await;
    let path = "/api/v1/namespaces/default/pods/a/binding";
    assert_eq!(client.post(path, &binding("b", "", "n1")).await.code, 400);
    let nowhere = client.post(path, &binding("a", "", "")).await;
    assert_eq!((nowhere.code, nowhere.message()), (500, "target.name: Required value"));
    let legacy = client.post("/api/v1/namespaces/default/bindings", &binding("a", "", "n1")).await;
    assert_eq!(legacy.code, 201);
}

#[tokio::test]
async fn a_body_that_is_no_binding_is_refused_where_webhooks_are_asked_about_binds() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    client.create_pod(&pod("a", "1")).await;
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "nobody" },
        "webhooks": [{
            "name": "nobody.example.com",
            "clientConfig": { "url": "https://127.0.0.1:1/bind" },
            "rules": [{
                "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/binding"],
            }],
            "failurePolicy": "Ignore", "timeoutSeconds": 2,
        }],
    });
    sandbox.objects().create(configuration).expect("a valid configuration");
    for body in [json!([]), json!("a"), json!({ "metadata": "a" }), json!({ "metadata": [] })] {
        let answer = client.post("/api/v1/namespaces/default/pods/a/binding", &body).await;
        assert_eq!(answer.code, 400, "{body}: {:?}", answer.body);
    }
}
