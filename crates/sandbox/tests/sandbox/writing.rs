//! Create, update, patch and delete, for all kinds.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::client::{Client, add_small_nodes, pod, still};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

fn map(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "data": { "a": "1" } })
}

#[tokio::test]
async fn what_is_created_gets_a_uid_a_time_and_a_version() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let first = client.post(MAPS, &map("one")).await;
    let second = client.post(MAPS, &map("two")).await;
    assert_eq!(
        (first.code, &first.body["kind"], &first.body["apiVersion"]),
        (201, &json!("ConfigMap"), &json!("v1"))
    );
    assert_eq!(first.uid().len(), 36);
    assert_ne!(first.uid(), second.uid());
    assert!(first.body["metadata"]["creationTimestamp"].as_str().unwrap().ends_with('Z'));
    assert!(first.version().parse::<u64>().unwrap() < second.version().parse().unwrap());
}

#[tokio::test]
async fn a_taken_name_and_an_unknown_namespace_are_refused_in_the_servers_words() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    client.post(MAPS, &map("one")).await;
    let taken = client.post(MAPS, &map("one")).await;
    assert_eq!((taken.code, taken.message()), (409, "configmaps \"one\" already exists"));
    assert_eq!(taken.body["reason"], "AlreadyExists");
    let lost = client.post("/api/v1/namespaces/nowhere/configmaps", &map("one")).await;
    assert_eq!((lost.code, lost.message()), (404, "namespaces \"nowhere\" not found"));
    let missing = client.get(&format!("{MAPS}/two")).await;
    assert_eq!((missing.code, missing.message()), (404, "configmaps \"two\" not found"));
    let lease = client.get(&format!("{LEASES}/two")).await;
    assert_eq!(lease.message(), "leases.coordination.k8s.io \"two\" not found");
}

#[tokio::test]
async fn generated_names_have_five_letters_after_their_prefix() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let body = json!({ "metadata": { "generateName": "job-" } });
    let (one, two) = (client.post(MAPS, &body).await, client.post(MAPS, &body).await);
    let name = one.body["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("job-") && name.len() == 9, "{name}");
    assert_ne!(one.body["metadata"]["name"], two.body["metadata"]["name"]);
    let nameless = client.post(MAPS, &json!({})).await;
    assert_eq!(
        (nameless.code, nameless.message()),
        (422, "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required")
    );
}

#[tokio::test]
async fn a_body_that_is_no_such_object_is_a_bad_request() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let headers = [("content-type", "application/json")];
    let garbage = client.send_with("POST", MAPS, &headers, Bytes::from_static(b"{\"a\"")).await.unwrap();
    assert_eq!(garbage.code, 400);
    let wrong_kind = client.post(MAPS, &json!({"kind": "Secret", "metadata": {"name": "x"}})).await;
    assert_eq!(wrong_kind.code, 400);
    let wrong_version = client.post(MAPS, &json!({"apiVersion": "v2", "metadata": {"name": "x"}})).await;
    assert_eq!(
        (wrong_version.code, wrong_version.message()),
        (400, "the API version in the data (v2) does not match the expected API version (v1)")
    );
    let wrong_namespace = client.post(MAPS, &json!({"metadata": {"name": "x", "namespace": "other"}})).await;
    assert_eq!(wrong_namespace.code, 400);
    assert_eq!(client.get(MAPS).await.body["items"], json!([]));
}

/// Stored objects are listed inside of something else, and parsers stop at some depth.
#[tokio::test]
async fn an_object_too_deep_to_be_listed_is_not_stored() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let deep = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    client.post(MAPS, &map("one")).await;
    let mut object = map("two");
    object["metadata"]["extra"] = deep(110);
    assert_eq!(client.post(MAPS, &object).await.code, 400);
    assert_eq!(client.patch("merge", &format!("{MAPS}/one"), &json!({ "extra": deep(110) })).await.code, 400);
    let adds = json!([
        { "op": "add", "path": "/metadata/extra", "value": deep(60) },
        { "op": "add", "path": format!("/metadata/extra{}", "/0".repeat(60)), "value": deep(60) },
    ]);
    assert_eq!(client.patch("json", &format!("{MAPS}/one"), &adds).await.code, 422);
    assert_eq!(client.get(MAPS).await.body["items"][0]["data"], json!({ "a": "1" }));
}

#[tokio::test]
async fn unknown_fields_are_refused_when_asked_to_be_strict() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let mut object = pod("a", "1");
    object["spec"]["nodeSelektor"] = json!({"a": "b"});
    let path = "/api/v1/namespaces/default/pods";
    let refused = client.post(&format!("{path}?fieldValidation=Strict"), &object).await;
    assert_eq!(
        (refused.code, refused.message()),
        (
            400,
            "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \
             \"spec.nodeSelektor\""
        )
    );
    assert_eq!(client.post(path, &object).await.code, 201);
    client.create_pod(&pod("b", "1")).await;
    let patch = json!({"spec": {"color": "red"}});
    let refused = client.patch("merge", &format!("{path}/b?fieldValidation=Strict"), &patch).await;
    assert_eq!(refused.code, 400);
}

#[tokio::test]
async fn a_dry_run_leaves_nothing_behind() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    assert_eq!(client.post(&format!("{MAPS}?dryRun=All"), &map("one")).await.code, 201);
    assert_eq!(client.get(&format!("{MAPS}/one")).await.code, 404);
    client.post(MAPS, &map("one")).await;
    let path = format!("{MAPS}/one?dryRun=All");
    assert_eq!(client.patch("merge", &path, &json!({"data": {"a": "2"}})).await.body["data"]["a"], "2");
    assert_eq!(client.delete(&path, &json!({})).await.code, 200);
    assert_eq!(client.get(&format!("{MAPS}/one")).await.body["data"]["a"], "1");
}

#[tokio::test]
async fn an_update_with_an_old_version_is_a_conflict_and_one_without_version_is_not() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let path = format!("{MAPS}/one");
    let old = client.post(MAPS, &map("one")).await.body;
    let mut new = old.clone();
    new["data"]["a"] = json!("2");
    assert_eq!(client.put(&path, &new).await.code, 200);
    let conflict = client.put(&path, &new).await;
    assert_eq!((conflict.code, &conflict.body["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        conflict.message(),
        "Operation cannot be fulfilled on configmaps \"one\": the object has been modified; please apply your \
         changes to the latest version and try again"
    );
    new["metadata"]["resourceVersion"] = json!("");
    new["data"]["a"] = json!("3");
    let updated = client.put(&path, &new).await;
    assert_eq!((updated.code, &updated.body["data"]["a"]), (200, &json!("3")));
    assert_eq!(updated.body["metadata"]["uid"], old["metadata"]["uid"]);
    new["metadata"]["uid"] = json!("someone-else");
    assert_eq!(client.put(&path, &new).await.code, 409);
}

#[tokio::test]
async fn a_write_that_changes_nothing_makes_no_version() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let created = client.post(MAPS, &map("one")).await;
    let path = format!("{MAPS}/one");
    let same = client.patch("merge", &path, &json!({"data": {"a": "1"}})).await;
    assert_eq!((same.code, same.version()), (200, created.version()));
    let changed = client.patch("merge", &path, &json!({"data": {"a": "2"}})).await;
    assert_ne!(changed.version(), created.version());
}

#[tokio::test]
async fn a_lease_is_created_by_put_and_never_updated_without_a_version() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let path = format!("{LEASES}/mine");
    let lease =
        json!({"metadata": {"name": "mine"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}});
    let mut created = client.put(&path, &lease).await;
    assert_eq!(created.code, 201);
    let refused = client.put(&path, &lease).await;
    assert_eq!(refused.code, 422);
    assert!(refused.message().ends_with("must be specified for an update"), "{}", refused.message());
    created.body["spec"]["holderIdentity"] = json!("b");
    assert_eq!(client.put(&path, &created.body).await.code, 200);
    assert_eq!(client.put(&path, &created.body).await.code, 409);
}

#[tokio::test]
async fn a_patch_with_an_old_version_is_a_conflict() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let path = format!("{MAPS}/one");
    let old = client.post(MAPS, &map("one")).await;
    client.patch("merge", &path, &json!({"data": {"a": "2"}})).await;
    let patch = json!({"metadata": {"resourceVersion": old.version()}, "data": {"a": "3"}});
    for kind in ["merge", "strategic-merge"] {
        assert_eq!(client.patch(kind, &path, &patch).await.code, 409, "{kind}");
    }
    let patch = json!([{"op": "replace", "path": "/data/a", "value": "4"}]);
    assert_eq!(client.patch("json", &path, &patch).await.body["data"]["a"], "4");
    let headers = [("content-type", "application/apply-patch+yaml")];
    let applied = client.send_with("PATCH", &path, &headers, Bytes::from_static(b"a: 1")).await.unwrap();
    assert_eq!(applied.code, 415);
    assert!(applied.message().contains("server-side apply is not served"), "{}", applied.message());
}

#[tokio::test]
async fn status_is_written_through_its_subresource_only() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    add_small_nodes(&sandbox, 1);
    let path = "/api/v1/nodes/node-00000";
    let patch = json!({"metadata": {"labels": {"x": "y"}}, "spec": {"unschedulable": true},
                       "status": {"phase": "odd"}});
    let main = client.patch("merge", path, &patch).await;
    assert_eq!(
        (&main.body["spec"]["unschedulable"], &main.body["status"]["phase"]),
        (&json!(true), &Value::Null)
    );
    let patch = json!({"spec": {"unschedulable": false}, "status": {"phase": "odd"}});
    let status = client.patch("strategic-merge", &format!("{path}/status"), &patch).await;
    assert_eq!(
        (&status.body["spec"]["unschedulable"], &status.body["status"]["phase"]),
        (&json!(true), &json!("odd"))
    );
}

#[tokio::test]
async fn deletion_honours_preconditions_and_finalizers() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let path = format!("{MAPS}/one");
    let mut object = map("one");
    object["metadata"]["finalizers"] = json!(["example.com/wait"]);
    let created = client.post(MAPS, &object).await;
    let wrong = json!({"preconditions": {"uid": "someone-else"}});
    assert_eq!(client.delete(&path, &wrong).await.code, 409);
    let right = json!({"preconditions": {"uid": created.uid(), "resourceVersion": created.version()}});
    let marked = client.delete(&path, &right).await;
    assert!(marked.body["metadata"]["deletionTimestamp"].is_string(), "{}", marked.body);
    assert_eq!(client.get(&path).await.code, 200);
    client.patch("merge", &path, &json!({"metadata": {"finalizers": []}})).await;
    assert_eq!(client.get(&path).await.code, 404);
    assert_eq!(client.delete(&path, &json!({})).await.code, 404);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    for (name, color) in [("a", "red"), ("b", "red"), ("c", "blue")] {
        let mut object = map(name);
        object["metadata"]["labels"] = json!({ "color": color });
        client.post(MAPS, &object).await;
    }
    let deleted = client.delete(&format!("{MAPS}?labelSelector=color%3Dred"), &json!({})).await;
    assert_eq!(deleted.body["items"].as_array().unwrap().len(), 2);
    let left = client.get(MAPS).await;
    assert_eq!(left.body["items"][0]["metadata"]["name"], "c");
    assert_eq!(left.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_deleted_namespace_takes_its_objects_along() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    client.post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}})).await;
    let created = client.get("/api/v1/namespaces/team").await;
    assert_eq!(created.body["metadata"]["labels"]["kubernetes.io/metadata.name"], "team");
    let mut object = pod("a", "1");
    object["metadata"]["namespace"] = json!("team");
    assert_eq!(client.post("/api/v1/namespaces/team/pods", &object).await.code, 201);
    let mut watch = client.watch("/api/v1/pods?watch=1&resourceVersion=0").await;
    assert_eq!(watch.brief().await, "ADDED a");
    assert_eq!(client.delete("/api/v1/namespaces/team", &json!({})).await.code, 200);
    assert_eq!(watch.brief().await, "DELETED a");
    assert_eq!(client.get("/api/v1/namespaces/team").await.code, 404);
    assert_eq!(client.delete("/api/v1/namespaces/default", &json!({})).await.code, 403);
}

#[tokio::test]
async fn a_cordoned_node_has_the_taint_of_it_until_it_is_uncordoned() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    add_small_nodes(&sandbox, 1);
    let path = "/api/v1/nodes/node-00000";
    client
        .patch(
            "strategic-merge",
            path,
            &json!({"spec": {"taints": [
        {"key": "a", "value": "b", "effect": "NoSchedule"}]}}),
        )
        .await;
    let cordoned = client.patch("strategic-merge", path, &json!({"spec": {"unschedulable": true}})).await;
    let taints = cordoned.body["spec"]["taints"].as_array().unwrap();
    assert_eq!((taints.len(), &taints[1]["key"]), (2, &json!("node.kubernetes.io/unschedulable")));
    let open = client.patch("strategic-merge", path, &json!({"spec": {"unschedulable": null}})).await;
    assert_eq!(open.body["spec"]["taints"], json!([{"key": "a", "value": "b", "effect": "NoSchedule"}]));
    let bad =
        client.patch("merge", path, &json!({"spec": {"taints": [{"key": "a", "effect": "Never"}]}})).await;
    assert_eq!(
        (bad.code, bad.message()),
        (
            422,
            "Node \"node-00000\" is invalid: metadata.taints[0].effect: Unsupported value: \"Never\": supported values: \
             \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\""
        )
    );
}

#[tokio::test]
async fn what_is_denied_is_refused_and_an_access_review_says_so() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let review = |verb: &str| {
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {
            "resourceAttributes": {"verb": verb, "group": "", "resource": "pods", "subresource": "binding"}}})
    };
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(client.post(path, &review("create")).await.body["status"]["allowed"], true);
    sandbox.access().deny("create", "", "pods", "binding");
    assert_eq!(client.post(path, &review("create")).await.body["status"]["allowed"], false);
    let created = client.create_pod(&pod("a", "1")).await;
    let refused = client.bind("a", created.uid(), "n1").await.unwrap();
    assert_eq!(refused.code, 403);
    assert!(refused.message().contains("cannot create resource \"pods/binding\""), "{}", refused.message());
    sandbox.access().allow_all();
    assert_eq!(client.bind("a", created.uid(), "n1").await.unwrap().code, 201);
}
