//! The plugin on a snapshot.

use super::*;
use secondmate_framework::{OwnKind, Snapshot, Timestamp};
use secondmate_model::objects::{Object, Objects};
use secondmate_model::{Atom, Node, wire};
use serde_json::{Value, json};

const NOON: &str = "2026-05-06T12:00:00Z";

fn pod(name: &str, cpu: &str, started: Option<&str>) -> Arc<Pod> {
    let pod = json!({"metadata": {"name": name, "uid": name}, "spec": {"containers": [{"name": "c",
        "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]}, "status": {"startTime": started}});
    let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
    Arc::new(Pod::new(&wire).expect("a pod that compiles"))
}

fn node(name: &str, pods: &[Arc<Pod>]) -> NodeInfo {
    let node = json!({"metadata": {"name": name},
        "status": {"allocatable": {"cpu": "10", "memory": "100Gi", "pods": "110"}}});
    let wire: wire::Node = serde_json::from_value(node).expect("a node");
    let mut node = NodeInfo::new(Arc::new(Node::new(&wire).expect("a node that compiles")));
    for pod in pods {
        node.add_pod(Arc::new(pod.on_node(&Atom::new(name))));
    }
    node
}

fn plugin(args: &Value) -> Arc<LoadAware> {
    let args = LoadAwareArgs::read(args).expect("valid");
    let loads = Loads::new(&args, "mate");
    Arc::new(LoadAware { args, loads })
}

/// The scores of the nodes, given these answers from endpoints, which arrived at noon; `None` if the plugin is skipped.
fn scores(plugin: &LoadAware, answers: &[(OwnKind, &str, Value)], nodes: Vec<NodeInfo>) -> Option<Vec<i64>> {
    let mut objects = Objects::default();
    let noon = Timestamp::parse(NOON).expect("a time");
    for (kind, name, answer) in answers {
        objects.apply(Object::Own(kind.answered(name, &answer.to_string(), noon).expect("it is understood")));
    }
    let nodes: Vec<Arc<NodeInfo>> = nodes.into_iter().map(Arc::new).collect();
    let snapshot = Snapshot::new(nodes.clone(), objects);
    let cx = Context { snapshot: &snapshot, now: noon, nominations: &() };
    let (mut state, pod) = (CycleState::new(), pod("p", "1", None));
    if plugin.pre_score(&cx, &mut state, &pod, &nodes).is_skip() {
        return None;
    }
    let score = |node: &Arc<NodeInfo>| plugin.score(&cx, &state, &pod, node).expect("a score");
    Some(nodes.iter().map(score).collect())
}

fn used(node: &str, cpu: &str, at: &str) -> Value {
    json!({"metadata": {"name": node}, "timestamp": at, "window": "10s", "usage": {"cpu": cpu, "memory": "10Gi"}})
}

fn metrics(items: &[Value]) -> (OwnKind, &'static str, Value) {
    (OwnKind::of::<NodeUse>(), "metrics.k8s.io", json!({"kind": "NodeMetricsList", "items": items}))
}

#[test]
fn a_node_is_scored_by_its_use_with_the_pod_and_with_those_that_are_not_measured_yet() {
    let plugin = plugin(&json!({"targetUtilization": 50, "defaultRequestsMultiplier": 1}));
    let answer =
        metrics(&[used("idle", "0", NOON), used("used", "4", NOON), used("over", "4000000000n", NOON)]);
    // The pod is a tenth of a node. One node has two more pods, one of which is included in the measurement.
    let on_over = [pod("old", "2", Some("2026-05-06T11:00:00Z")), pod("new", "2", None)];
    let nodes = vec![node("idle", &[]), node("used", &[]), node("over", &on_over), node("unknown", &[])];
    assert_eq!(scores(&plugin, &[answer], nodes), Some(vec![60, 100, 30, 0]));
}

#[test]
fn a_measurement_that_is_too_old_counts_as_none_and_is_told() {
    let plugin = plugin(&json!({"staleAfterSeconds": 60, "strategy": "LoadVariationRiskBalancing"}));
    let items = [
        used("fresh", "500m", "2026-05-06T11:59:00Z"),
        used("stale", "500m", "2026-05-06T11:58:59Z"),
        json!({"metadata": {"name": "misread"}, "usage": {"cpu": "?"}}),
    ];
    let nodes = || vec![node("fresh", &[]), node("stale", &[]), node("misread", &[])];
    let answer = metrics(&items);
    let told =
        answer.0.answered("metrics.k8s.io", &answer.2.to_string(), Timestamp::parse(NOON).expect("a time"));
    let left_out = plugin.polls().remove(0).left_out.expect("it is counted");
    assert_eq!(left_out(&told.expect("it is understood")), 2);
    assert_eq!(scores(&plugin, &[answer], nodes()), Some(vec![90, 0, 0]));
    // Without any answer, the plugin is skipped.
    assert_eq!(scores(&plugin, &[], nodes()), None);
}

#[test]
fn prometheus_is_asked_by_node_label_with_a_deviation() {
    let plugin = plugin(&json!({
        "strategy": "LoadVariationRiskBalancing", "defaultRequestsMultiplier": 0,
        "prometheus": {"url": "http://prometheus:9090/", "nodeLabel": "host", "cpu": "sum by (host) (cpu)",
            "cpuDeviation": "dev"},
    }));
    let polls: Vec<String> =
        plugin.polls().iter().map(|poll| format!("{}: {}", poll.name, poll.endpoint)).collect();
    assert_eq!(
        polls,
        [
            "cpu for mate: http://prometheus:9090/api/v1/query?query=sum%20by%20%28host%29%20%28cpu%29",
            "cpuDeviation for mate: http://prometheus:9090/api/v1/query?query=dev"
        ]
    );
    let at = Timestamp::parse(NOON).expect("a time").nanos / 1_000_000_000;
    let vector = |name, samples: &[(&str, i64, &str)]| {
        let result: Vec<Value> = samples
            .iter()
            .map(|(host, at, value)| json!({"metric": {"host": host}, "value": [at, value]}))
            .collect();
        let data = json!({"resultType": "vector", "result": result});
        (OwnKind::of::<Samples>(), name, json!({"status": "success", "data": data}))
    };
    let cpu = [("a", at, "0.2"), ("b", at, "0.2"), ("c", at, "NaN"), ("d", at - 1000, "0.1")];
    let answers = [vector("cpu for mate", &cpu), vector("cpuDeviation for mate", &[("b", at, "0.4")])];
    let nodes = ["a", "b", "c", "d"].map(|name| node(name, &[])).to_vec();
    assert_eq!(scores(&plugin, &answers, nodes), Some(vec![90, 70, 0, 0]));
}

#[test]
fn an_answer_of_prometheus_that_is_none_is_told() {
    let error = |answer: Value| {
        let answered = OwnKind::of::<Samples>().answered("x", &answer.to_string(), Timestamp::default());
        answered.expect_err("no vector").to_string()
    };
    assert!(error(json!({"status": "error", "error": "parse error"})).contains("parse error"));
    let scalar = json!({"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}});
    assert!(error(scalar).contains("answers with a scalar"));
}

#[test]
fn arguments_out_of_range_are_refused_by_name() {
    for (args, part) in [
        (json!({"targetUtilization": 100}), "targetUtilization: 100 is not 1 to 99"),
        (json!({"pollSeconds": 0}), "pollSeconds: 0"),
        (json!({"pollSeconds": 60, "staleAfterSeconds": 60}), "staleAfterSeconds: 60 is not more than"),
        (json!({"safeVarianceSensitivity": 0}), "safeVarianceSensitivity: 0"),
        (json!({"strategy": "Best"}), "Best"),
        (json!({"target": 1}), "target"),
        (json!({"prometheus": {"url": "prometheus:9090", "cpu": "x"}}), "prometheus.url"),
        (json!({"prometheus": {"url": "ftp://me:s3cret@prometheus", "cpu": "x"}}), "prometheus.url"),
        (
            json!({"prometheus": {"url": "https://me:s3cret@prometheus:9090", "cpu": "x"}}),
            "prometheus.url: a name or password in it would be shown in logs; give a bearer token in a file (prometheus.tokenFile)",
        ),
    ] {
        let error = new(&args, &Handle::default()).err().expect("refused").to_string();
        assert!(error.contains(part) && !error.contains("s3cret"), "{error}");
    }
}
