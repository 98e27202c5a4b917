//! What files are read as, and what is said about what cannot be read.

use super::*;
use secondmate_model::objects::{ApiResource, OwnKind, PluginObject};
use serde_json::json;

fn titles(text: &str) -> Vec<String> {
    let reading = read(text, "f", Keep::COMPILED).expect("objects");
    reading.items.iter().map(Item::title).collect()
}

fn refusal(text: &str) -> String {
    read(text, "f.yaml", Keep::COMPILED).map(|_| ()).expect_err("refused").to_string()
}

#[test]
fn documents_and_lists_give_their_objects_in_order() {
    let yaml = "# nodes\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n---\n---\napiVersion: v1\nkind: List\nitems:\n\
                - {apiVersion: v1, kind: Pod, metadata: {name: p}}\n- {apiVersion: v1, kind: Pod, metadata: {name: p, namespace: x}}\n";
    assert_eq!(titles(yaml), ["Node n1", "Pod default/p", "Pod x/p"]);
    let json = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}
        {"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"p"}},{"metadata":{"name":"q"}}]}"#;
    assert_eq!(titles(json), ["Node n1", "Pod default/p", "Pod default/q"]);
    assert_eq!(titles(r#"[{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}]"#), ["Node n1"]);
    assert_eq!(titles(""), Vec::<String>::new());
}

#[test]
fn metadata_that_is_a_list_is_refused_where_objects_are_kept_in_full() {
    // Of various lengths: a list with too few or too many entries is rejected earlier.
    for length in 1..16 {
        let metadata = vec!["x"; length];
        for kind in ["Pod", "Node"] {
            let object = serde_json::json!({"apiVersion": "v1", "kind": kind, "metadata": metadata});
            let refused = read(&object.to_string(), "f.json", Keep::WHOLE).map(|_| ());
            refused.expect_err(&format!("{length} entries, {kind}"));
        }
    }
}

#[test]
fn words_that_once_were_booleans_are_names() {
    assert_eq!(titles("kind: Node\napiVersion: v1\nmetadata: {name: n}\n"), ["Node n"]);
}

#[test]
fn kinds_that_scheduling_does_not_read_are_counted() {
    let text = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}\n---\n{apiVersion: policy/v1beta1, kind: PodDisruptionBudget, metadata: {name: b}}\n";
    let text = format!("---\n{text}");
    let Reading { items, ignored, .. } = read(&text, "f", Keep::COMPILED).expect("objects");
    assert!(items.is_empty());
    assert_eq!(
        ignored.into_iter().collect::<Vec<_>>(),
        [("apps/v1 Deployment".to_owned(), 1), ("policy/v1beta1 PodDisruptionBudget".to_owned(), 1)]
    );
}

#[test]
fn the_time_of_a_file_is_just_after_the_latest_that_it_tells_of() {
    let time = |text: &str| read(text, "f", Keep::COMPILED).expect("objects").time();
    let at = |text| Timestamp::parse(text).expect("a time");
    assert_eq!(time("{apiVersion: v1, kind: Node, metadata: {name: n}}"), Timestamp::default());
    let node =
        "{apiVersion: v1, kind: Node, metadata: {name: n, creationTimestamp: \"2026-01-02T00:00:00Z\"}}";
    assert_eq!(time(node), at("2026-01-02T00:00:01Z"));
    // Of a kind that scheduling does not read; of no form that a time has; none.
    let others = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, creationTimestamp: \"2026-01-03T00:00:00Z\"}}\n---\n\
        {apiVersion: v1, kind: ConfigMap, metadata: {name: d, creationTimestamp: 7}}\n---\n\
        {apiVersion: v1, kind: ConfigMap, metadata: {name: e, creationTimestamp: null}}";
    assert_eq!(time(&format!("{node}\n---\n{others}")), at("2026-01-03T00:00:01Z"));
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p, uid: u}, spec: {containers: []}, \
        status: {startTime: \"2026-01-04T00:00:00Z\"}}";
    assert_eq!(time(&format!("{node}\n---\n{pod}")), at("2026-01-04T00:00:01Z"));
}

#[test]
fn errors_name_file_place_object_and_remedy() {
    assert_eq!(
        refusal(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - resources: {requests: {cpu: lots}}\n"
        ),
        "f.yaml: line 1: pod default/p: spec.containers[0].resources.requests[\"cpu\"]: \"lots\" is no quantity: \
         it is not a number with an optional suffix; write a number with \
         an optional suffix, such as 500m, 2, 1.5, 128Mi or 1G"
    );
    assert_eq!(
        refusal("apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {version: 1}}\n"),
        "f.yaml: line 1: Pod p: invalid type: integer `1`, expected a string; correct the field \
         (`kubectl apply --dry-run=server` shows what an API server says)"
    );
    assert_eq!(
        refusal(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        ),
        "f.yaml: Pod default/p stands there twice, at line 1 and at line 5; keep one"
    );
    assert_eq!(
        refusal("hello: world\n"),
        "f.yaml: line 1 is no Kubernetes object: kind is missing; begin it with apiVersion and kind"
    );
    assert_eq!(
        refusal("apiVersion: v1\nkind: Node\nmetadata: {}\n"),
        "f.yaml: line 1: a Node without metadata.name; give it one"
    );
    let message = refusal("a: [\n");
    assert!(message.starts_with("f.yaml: line 1: not valid YAML: "), "{message}");
    let message = refusal("{\"a\": ");
    assert!(message.starts_with("f.yaml: line 1: not valid JSON: "), "{message}");
}

#[test]
fn all_faults_are_told_at_once_each_with_its_line() {
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: 7}\n---\n\n# two\napiVersion: v1\nkind: List\nitems:\n\
                - {apiVersion: v1, kind: Node, metadata: {name: n}}\n- apiVersion: v1\n  kind: Node\n- just words\n";
    assert_eq!(
        refusal(yaml),
        "f.yaml has 3 faults:\n  \
         - line 1: Pod p: invalid type: integer `7`, expected a string; correct the field \
         (`kubectl apply --dry-run=server` shows what an API server says)\n  \
         - line 12: a Node without metadata.name; give it one\n  \
         - line 14: object: invalid type: string \"just words\", expected struct Header; correct the field \
         (`kubectl apply --dry-run=server` shows what an API server says)"
    );
    let json = "{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [\n{\"kind\": \"Node\", \"apiVersion\": \"v1\",\n\"metadata\": {\"name\": 1}}]}";
    let message = refusal(json);
    assert!(message.starts_with("f.yaml: line 3: object: invalid type: integer `1`"), "{message}");
}

#[test]
fn what_is_no_file_of_objects_is_recognised() {
    assert_eq!(
        refusal("NAME   READY   STATUS\nweb-1  1/1     Running\n"),
        "f.yaml: line 1 looks like a table that `kubectl get` printed; add `-o yaml` to the command"
    );
    let message = refusal("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Release.Name }}\n");
    assert_eq!(
        message,
        "f.yaml: line 4 looks like a template that was not rendered: `name: {{ .Release.Name }}`; \
         render it first, for example with `helm template`"
    );
}

#[derive(Debug, PartialEq, Deserialize)]
struct Maintenance {
    nodes: Vec<String>,
}

impl PluginObject for Maintenance {
    const API: ApiResource = ApiResource {
        group: "acme.com",
        version: "v1",
        kind: "Maintenance",
        plural: "maintenances",
        namespaced: true,
    };
}

/// A node as read by a plugin for nodes with racks.
#[derive(Debug, PartialEq, Deserialize)]
struct Racked {
    rack: String,
}

impl PluginObject for Racked {
    const API: ApiResource = ApiResource::NODES;
}

#[test]
fn of_a_live_cluster_what_cannot_be_read_is_left_out_by_its_name() {
    let mut keep = Keep::COMPILED;
    keep.own = vec![OwnKind::of::<Maintenance>(), OwnKind::of::<Racked>()];
    let own = |name: &str, nodes: Value| json!({"apiVersion": "acme.com/v1", "kind": "Maintenance", "metadata": {"name": name, "namespace": "shop"}, "nodes": nodes});
    let objects = [
        own("good", json!(["n"])),
        own("bad", json!(7)),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "odd", "labels": 7}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": 7}}),
    ];
    let Live { items, left_out, .. } = read_live(&objects, "the cluster", keep.clone()).expect("live");
    let titles: Vec<String> = items.iter().map(Item::title).collect();
    assert_eq!(titles.len(), 2, "{titles:?}");
    assert!(titles[0].contains("shop/good") && titles[1] == "Node n", "{titles:?}");
    assert_eq!(
        left_out,
        [
            "Maintenance shop/bad: invalid type: integer `7`, expected a sequence",
            "Node n: missing field `rack`",
            "Node odd: invalid type: integer `7`, expected a map",
            "Pod p: invalid type: integer `7`, expected a string",
        ]
    );
    let strict = read_values(&objects, "the file", keep).map(|_| ()).expect_err("refused").to_string();
    assert!(strict.starts_with("the file has 5 faults:\n"), "{strict}");
}

#[test]
fn objects_are_kept_in_full_where_a_plugin_reads_them_so() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: a, annotations: {x: y}}, spec: {containers: []}}\n---\n{apiVersion: v1, kind: Node, metadata: {name: n}}\n";
    let json = |keep| {
        let items = read(text, "f", keep).expect("objects").items;
        items.into_iter().map(|item| match item {
            Item::Pod(pod) => pod.json.clone(),
            Item::Node(node) => node.json.clone(),
            Item::Other(_) => None,
        })
    };
    assert!(json(Keep::COMPILED).all(|json| json.is_none()));
    let whole: Vec<Value> =
        json(Keep::WHOLE).map(|json| serde_json::from_str(&json.expect("kept")).expect("JSON")).collect();
    let metadata = &whole[0]["metadata"];
    assert_eq!((&metadata["annotations"]["x"], &metadata["namespace"]), (&"y".into(), &"default".into()));
    assert_eq!(metadata["uid"], "pod-default-a");
    assert_eq!(whole[1]["metadata"]["name"], "n");
}
