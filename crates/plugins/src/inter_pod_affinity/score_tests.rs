//! Preferred terms against tables worked out by hand.

use super::super::new;
use crate::fixture;
use secondmate_framework::{Context, CycleState, Handle, Status};
use secondmate_model::{NodeInfo, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

/// Zone 1: a and b; zone 2: c; d has no zone.
fn nodes() -> Vec<Value> {
    [("a", "1"), ("b", "1"), ("c", "2"), ("d", "")]
        .map(|(name, zone)| {
            let mut labels = json!({"host": name});
            if !zone.is_empty() {
                labels["zone"] = json!(zone);
            }
            json!({"kind": "Node", "metadata": {"name": name, "labels": labels}})
        })
        .into()
}

fn on(node: &str, app: &str, affinity: Value) -> Value {
    json!({"kind": "Pod", "metadata": {"name": format!("{app}-{node}"), "namespace": "default", "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [], "affinity": affinity}})
}

fn term(key: &str, app: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
}

fn weighted(weight: i32, term: Value) -> Value {
    json!({"weight": weight, "podAffinityTerm": term})
}

const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

fn prefers(near: Value, far: Value) -> Value {
    json!({"podAffinity": {PREFERRED: near}, "podAntiAffinity": {PREFERRED: far}})
}

fn requires(near: Value) -> Value {
    json!({"podAffinity": {REQUIRED: near}})
}

/// `raw/normalized` for a, b, c and d, or the status if there are no scores.
fn scores_with(args: &Value, objects: Vec<Value>, affinity: Value) -> Result<String, Status> {
    let plugin = new(args, &Handle::default()).expect("valid arguments");
    let snapshot = fixture::snapshot(nodes().into_iter().chain(objects).collect());
    let cx = Context { snapshot: &snapshot, now: Timestamp::default(), nominations: &() };
    let pod =
        fixture::pod(json!({"metadata": {"name": "p", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [], "affinity": affinity}}));
    let feasible: Vec<Arc<NodeInfo>> = snapshot.nodes().to_vec();
    let mut state = CycleState::new();
    let status =
        plugin.clone().as_pre_score().expect("implemented").pre_score(&cx, &mut state, &pod, &feasible);
    if !status.is_success() {
        return Err(status);
    }
    let plugin = plugin.clone().as_score().expect("implemented");
    let raw: Vec<i64> =
        feasible.iter().map(|n| plugin.score(&cx, &state, &pod, n)).collect::<Result<_, _>>()?;
    let mut normalized = raw.clone();
    let status = plugin.normalize(&cx, &state, &pod, &feasible, &mut normalized);
    assert!(status.is_success(), "{status}");
    let shown: Vec<String> = raw.iter().zip(&normalized).map(|(raw, n)| format!("{raw}/{n}")).collect();
    Ok(shown.join(" "))
}

fn scores(objects: Vec<Value>, affinity: Value) -> String {
    scores_with(&Value::Null, objects, affinity).expect("scores")
}

#[test]
fn own_preferences_count_each_pod_that_they_mean() {
    let objects =
        || vec![on("a", "db", Value::Null), on("b", "db", Value::Null), on("c", "cache", Value::Null)];
    for (affinity, expected) in [
        (prefers(json!([weighted(5, term("zone", "db"))]), json!([])), "10/100 10/100 0/0 0/0"),
        (prefers(json!([weighted(5, term("host", "db"))]), json!([])), "5/100 5/100 0/0 0/0"),
        (prefers(json!([]), json!([weighted(7, term("zone", "db"))])), "-14/0 -14/0 0/100 0/100"),
        // 6 and -10: from -10 to 6, so 0 is 100 * 10/16 = 62.5.
        (
            prefers(json!([weighted(6, term("zone", "cache"))]), json!([weighted(5, term("zone", "db"))])),
            "-10/0 -10/0 6/100 0/62",
        ),
        // Both labels of a node count.
        (
            prefers(json!([weighted(1, term("zone", "db")), weighted(10, term("host", "db"))]), json!([])),
            "12/100 12/100 0/0 0/0",
        ),
    ] {
        assert_eq!(scores(objects(), affinity.clone()), expected, "{affinity}");
    }
}

#[test]
fn preferences_of_existing_pods_count_the_other_way() {
    let objects = vec![
        on("a", "db", prefers(json!([weighted(3, term("zone", "web"))]), json!([]))),
        on("c", "db", prefers(json!([]), json!([weighted(4, term("host", "web"))]))),
        on("c", "x", prefers(json!([weighted(9, term("zone", "other"))]), json!([]))),
    ];
    // From -4 to 3: 0 is 100 * 4/7 = 57.1.
    assert_eq!(scores(objects, Value::Null), "3/100 3/100 -4/0 0/57");
}

#[test]
fn required_affinity_of_existing_pods_counts_by_the_argument() {
    let objects = || vec![on("a", "db", requires(json!([term("host", "web"), term("zone", "web")])))];
    let with = |args: Value| scores_with(&args, objects(), Value::Null);
    assert_eq!(with(Value::Null).expect("scores"), "2/100 1/50 0/0 0/0");
    assert_eq!(with(json!({"hardPodAffinityWeight": 50})).expect("scores"), "100/100 50/50 0/0 0/0");
    assert!(with(json!({"hardPodAffinityWeight": 0})).expect_err("no scores").is_skip());
}

#[test]
fn the_quotient_comes_before_the_product() {
    let objects = vec![
        on("a", "db", prefers(json!([weighted(100, term("host", "web"))]), json!([]))),
        on("b", "db", prefers(json!([weighted(29, term("host", "web"))]), json!([]))),
    ];
    // 100 * (29/100) is a little less than 29 in binary.
    assert_eq!(scores(objects, Value::Null), "100/100 29/28 0/0 0/0");
}

#[test]
fn preferences_that_cancel_out_score_all_the_same_and_are_not_skipped() {
    let objects = vec![on("a", "db", Value::Null)];
    let affinity =
        prefers(json!([weighted(5, term("zone", "db"))]), json!([weighted(5, term("zone", "db"))]));
    assert_eq!(scores(objects, affinity), "0/0 0/0 0/0 0/0");
}

#[test]
fn where_nothing_scores_scoring_is_skipped() {
    let skipped = |args: Value, objects: Vec<Value>, affinity: Value| {
        scores_with(&args, objects, affinity).expect_err("no scores").is_skip()
    };
    let existing = || vec![on("a", "db", prefers(json!([weighted(3, term("zone", "web"))]), json!([])))];
    assert!(skipped(Value::Null, vec![on("a", "db", Value::Null)], Value::Null));
    // The only pod that matches is on a node without the label.
    let near = prefers(json!([weighted(5, term("zone", "db"))]), json!([]));
    assert!(skipped(Value::Null, vec![on("d", "db", Value::Null)], near.clone()));
    let ignoring = json!({"ignorePreferredTermsOfExistingPods": true});
    assert!(skipped(ignoring.clone(), existing(), Value::Null));
    // A pod with preferences of its own is also scored by those of the others.
    assert_eq!(scores_with(&ignoring, existing(), near).expect("scores"), "8/100 8/100 0/0 0/0");
}

#[test]
fn a_namespace_selector_that_no_label_has_to_meet_means_the_namespaces_that_it_selects() {
    let mut far = term("host", "db");
    far["namespaceSelector"] = json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]});
    let affinity = prefers(json!([]), json!([weighted(1, far)]));
    let mut red = on("a", "db", Value::Null);
    red["metadata"]["namespace"] = json!("red");
    let mut bare = on("b", "db", Value::Null);
    bare["metadata"]["namespace"] = json!("bare");
    let objects = vec![
        json!({"kind": "Namespace", "metadata": {"name": "red", "labels": {"team": "red"}}}),
        json!({"kind": "Namespace", "metadata": {"name": "bare"}}),
        red,
        bare,
    ];
    assert_eq!(scores(objects, affinity), "0/100 -1/0 0/100 0/100");
}

#[test]
fn without_pre_score_the_score_fails() {
    let plugin = new(&Value::Null, &Handle::default()).expect("valid arguments");
    let snapshot = fixture::snapshot(nodes());
    let cx = Context { snapshot: &snapshot, now: Timestamp::default(), nominations: &() };
    let pod = fixture::pod(json!({"metadata": {"name": "p"}, "spec": {"containers": []}}));
    let plugin = plugin.clone().as_score().expect("implemented");
    let status = plugin.score(&cx, &CycleState::new(), &pod, &snapshot.nodes()[0]).expect_err("no state");
    assert_eq!(status.message(), "failed to read \"PreScoreInterPodAffinity\" from cycleState: not found");
}
