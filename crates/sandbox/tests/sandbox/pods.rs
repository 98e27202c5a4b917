//! Pods: defaults, admission, validation, updates, deletion.

use serde_json::{Value, json};

use crate::client::{Client, pod, still, with};

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn a_pod_gets_the_defaults_that_schedulers_rely_on() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let spec = json!({"containers": [{"name": "c", "image": "nginx",
        "resources": {"limits": {"cpu": 2, "memory": "1Gi"}}}]});
    let created = client.post(PODS, &json!({"metadata": {"name": "a"}, "spec": spec})).await;
    let body = &created.body;
    assert_eq!(body["spec"]["schedulerName"], "default-scheduler");
    assert_eq!(
        (&body["spec"]["priority"], &body["spec"]["preemptionPolicy"]),
        (&json!(0), &json!("PreemptLowerPriority"))
    );
    assert_eq!(body["spec"]["terminationGracePeriodSeconds"], 30);
    assert_eq!(body["spec"]["containers"][0]["resources"]["requests"], json!({"cpu": "2", "memory": "1Gi"}));
    let tolerations: Vec<&str> =
        body["spec"]["tolerations"].as_array().unwrap().iter().map(|t| t["key"].as_str().unwrap()).collect();
    assert_eq!(tolerations, ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
    assert_eq!(body["status"], json!({"phase": "Pending", "qosClass": "Guaranteed"}));
    assert_eq!(body["metadata"]["generation"], 1);
}

#[tokio::test]
async fn quality_of_service_follows_requests_and_limits() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    for (name, resources, class) in [
        ("a", json!({}), "BestEffort"),
        ("b", json!({"requests": {"cpu": "1"}}), "Burstable"),
        ("c", json!({"limits": {"cpu": "1", "memory": "1"}}), "Guaranteed"),
        ("d", json!({"limits": {"cpu": "1", "memory": "1"}, "requests": {"cpu": "500m"}}), "Burstable"),
        (
            "e",
            json!({"requests": {"cpu": "1000m", "memory": "1Ki"}, "limits": {"cpu": "1", "memory": "1024"}}),
            "Guaranteed",
        ),
        (
            "f",
            json!({"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}),
            "BestEffort",
        ),
    ] {
        let mut object = pod(name, "1");
        object["spec"]["containers"][0]["resources"] = resources;
        assert_eq!(client.create_pod(&object).await.body["status"]["qosClass"], class, "{name}");
    }
}

#[tokio::test]
async fn a_gated_pod_says_so_and_opens_when_its_gates_are_removed() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let mut object = pod("a", "1");
    object["spec"]["schedulingGates"] = json!([{"name": "example.com/a"}, {"name": "example.com/b"}]);
    let created = client.create_pod(&object).await;
    let condition = &created.body["status"]["conditions"][0];
    assert_eq!((&condition["reason"], &condition["status"]), (&json!("SchedulingGated"), &json!("False")));
    let bound = client.bind("a", created.uid(), "n1").await.unwrap();
    assert_eq!(bound.code, 409);
    assert!(bound.message().contains("has non-empty .spec.schedulingGates"), "{}", bound.message());
    let path = format!("{PODS}/a");
    let more = json!({"spec": {"schedulingGates": [{"name": "example.com/c"}]}});
    assert_eq!(client.patch("merge", &path, &more).await.code, 422);
    let fewer = client.patch("merge", &path, &json!({"spec": {"schedulingGates": []}})).await;
    assert_eq!((fewer.code, &fewer.body["metadata"]["generation"]), (200, &json!(2)));
    assert_eq!(client.bind("a", created.uid(), "n1").await.unwrap().code, 201);
}

#[tokio::test]
async fn a_priority_class_gives_its_value_and_policy() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let class = json!({"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"});
    assert_eq!(client.post(classes, &class).await.code, 201);
    let mut object = pod("a", "1");
    object["spec"]["priorityClassName"] = json!("high");
    let created = client.create_pod(&object).await.body;
    assert_eq!(
        (&created["spec"]["priority"], &created["spec"]["preemptionPolicy"]),
        (&json!(1000), &json!("Never"))
    );
    let mut object = pod("b", "1");
    object["spec"]["priorityClassName"] = json!("none");
    let refused = client.post(PODS, &object).await;
    assert_eq!(
        (refused.code, refused.message()),
        (403, "pods \"b\" is forbidden: no PriorityClass with name none was found")
    );
    let mut object = pod("c", "1");
    object["spec"]["priority"] = json!(5);
    assert_eq!(client.post(PODS, &object).await.code, 403);
    let too_high = json!({"metadata": {"name": "higher"}, "value": 2_000_000_000});
    assert_eq!(client.post(classes, &too_high).await.code, 422);
}

#[tokio::test]
async fn what_does_not_validate_is_refused_with_the_field_and_the_reason() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    type Change = fn(&mut Value);
    let cases: Vec<(&str, Change, u16, &str)> = vec![
        ("no-containers", |p| p["spec"]["containers"] = json!([]), 422, "spec.containers: Required value"),
        (
            "no-image",
            |p| p["spec"]["containers"][0]["image"] = json!(""),
            422,
            "spec.containers[0].image: Required value",
        ),
        (
            "policy",
            |p| p["spec"]["restartPolicy"] = json!("Maybe"),
            422,
            "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
        (
            "over-limit",
            |p| {
                p["spec"]["containers"][0]["resources"] =
                    json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})
            },
            422,
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            "negative",
            |p| p["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("-1"),
            422,
            "must be greater than or equal to 0",
        ),
        (
            "quantity",
            |p| p["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("many"),
            400,
            "quantities must match the regular expression",
        ),
        (
            "operator",
            |p| {
                p["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                    json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Near"}]}]});
            },
            422,
            "matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator",
        ),
        (
            "topology",
            |p| {
                p["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                    json!([{"topologyKey": ""}]);
            },
            422,
            "topologyKey: Required value: can not be empty",
        ),
        (
            "skew",
            |p| {
                p["spec"]["topologySpreadConstraints"] =
                    json!([{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]);
            },
            422,
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            "toleration",
            |p| p["spec"]["tolerations"] = json!([{"operator": "Equal", "value": "x"}]),
            422,
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty",
        ),
        (
            "labels",
            |p| p["metadata"]["labels"] = json!({"a b": "c"}),
            422,
            "metadata.labels: Invalid value: \"a b\"",
        ),
        (
            "Bad_Name",
            |_| {},
            422,
            "metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain",
        ),
        ("type", |p| p["spec"]["containers"] = json!({}), 400, "cannot be handled as a Pod"),
    ];
    for (name, change, code, message) in cases {
        let mut object = pod(name, "1");
        change(&mut object);
        let refused = client.post(PODS, &object).await;
        assert_eq!(refused.code, code, "{name}: {}", refused.body);
        assert!(refused.message().contains(message), "{name}: {}", refused.message());
    }
    assert_eq!(sandbox.objects().count("pods"), 0);
}

#[tokio::test]
async fn several_field_errors_come_in_one_answer_with_their_causes() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let refused = client.post(PODS, &json!({"metadata": {"name": "a"}, "spec": {"containers": [{}]}})).await;
    assert_eq!(
        refused.message(),
        "Pod \"a\" is invalid: [spec.containers[0].name: Required value, spec.containers[0].image: Required value]"
    );
    assert_eq!(refused.body["details"]["causes"][1]["field"], "spec.containers[0].image");
}

#[tokio::test]
async fn the_spec_of_a_pod_stays_but_for_image_tolerations_and_gates() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    client.create_pod(&pod("a", "1")).await;
    let path = format!("{PODS}/a");
    let image = json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}});
    assert_eq!(client.patch("strategic-merge", &path, &image).await.code, 200);
    let toleration =
        json!([{"op": "add", "path": "/spec/tolerations/-", "value": {"key": "x", "operator": "Exists"}}]);
    assert_eq!(client.patch("json", &path, &toleration).await.code, 200);
    let gone = json!([{"op": "remove", "path": "/spec/tolerations/2"}]);
    assert_eq!(client.patch("json", &path, &gone).await.code, 422);
    let renamed = client.patch("merge", &path, &json!({"spec": {"schedulerName": "other"}})).await;
    assert_eq!(renamed.code, 422);
    assert!(
        renamed.message().starts_with(
            "Pod \"a\" is invalid: spec: Forbidden: pod updates may not change fields other than"
        ),
        "{}",
        renamed.message()
    );
    let node = client.patch("merge", &path, &json!({"spec": {"nodeName": "n1"}})).await;
    assert_eq!(node.code, 422);
    let labels = client.patch("merge", &path, &json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!((labels.code, &labels.body["metadata"]["generation"]), (200, &json!(3)));
}

#[tokio::test]
async fn match_label_keys_become_requirements_of_the_selector() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    let mut object = pod("a", "1");
    object["metadata"]["labels"] = json!({"app": "web", "hash": "1"});
    object["spec"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "matchLabelKeys": ["hash", "none"],
        "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let created = client.create_pod(&object).await.body;
    assert_eq!(
        created["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"],
        json!([{"key": "hash", "operator": "In", "values": ["1"]}])
    );
}

#[tokio::test]
async fn only_a_bound_and_running_pod_has_a_grace_period() {
    let sandbox = still().await;
    let client = Client::of(&sandbox);
    client.create_pod(&pod("pending", "1")).await;
    client.delete(&format!("{PODS}/pending"), &json!({})).await;
    assert_eq!(client.get(&format!("{PODS}/pending")).await.code, 404);

    let bound = client.create_pod(&pod("bound", "1")).await;
    client.bind("bound", bound.uid(), "n1").await.unwrap();
    let path = format!("{PODS}/bound");
    let marked = client.delete(&path, &json!({})).await;
    assert_eq!(marked.body["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(client.get(&path).await.code, 200);
    // A second delete may shorten the time, never lengthen it.
    let longer = client.delete(&path, &json!({"gracePeriodSeconds": 60})).await;
    assert_eq!(longer.body["metadata"]["deletionGracePeriodSeconds"], 30);
    let shorter = client.delete(&path, &json!({"gracePeriodSeconds": 5})).await;
    assert_eq!(shorter.body["metadata"]["deletionGracePeriodSeconds"], 5);
    client.delete(&path, &json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(client.get(&path).await.code, 404);
}

#[tokio::test]
async fn an_eviction_asks_the_budget_first() {
    let sandbox = with(|options| {
        options.kubelets.enabled = false;
        options.disruption_controller = false;
    })
    .await;
    let client = Client::of(&sandbox);
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {
        "minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    assert_eq!(client.post(budgets, &budget).await.code, 201);
    let mut object = pod("a", "1");
    object["metadata"]["labels"] = json!({"app": "web"});
    let created = client.create_pod(&object).await;
    client.bind("a", created.uid(), "n1").await.unwrap();
    client.patch("merge", &format!("{PODS}/a/status"), &json!({"status": {"phase": "Running"}})).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"},
                          "deleteOptions": {"gracePeriodSeconds": 0}});
    let path = format!("{PODS}/a/eviction");
    let refused = client.post(&path, &eviction).await;
    assert_eq!(refused.code, 429);
    assert_eq!(refused.message(), "Cannot evict pod as it would violate the pod's disruption budget.");
    let allowed = json!({"status": {"disruptionsAllowed": 1}});
    client.patch("merge", &format!("{budgets}/b/status"), &allowed).await;
    assert_eq!(client.post(&path, &eviction).await.code, 201);
    assert_eq!(client.get(&format!("{PODS}/a")).await.code, 404);
    assert_eq!(client.get(&format!("{budgets}/b")).await.body["status"]["disruptionsAllowed"], 0);
}
