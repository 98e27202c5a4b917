//! Soft constraints against tables worked out by hand.

use super::super::new;
use crate::fixture;
use secondmate_framework::{Context, CycleState, Handle, Status};
use secondmate_model::{NodeInfo, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

/// A node; without a zone if that is empty.
fn node(name: &str, zone: &str) -> Value {
    let mut labels = json!({HOST: name});
    if !zone.is_empty() {
        labels[ZONE] = json!(zone);
    }
    json!({"kind": "Node", "metadata": {"name": name, "labels": labels}})
}

fn web(node: &str, count: usize) -> Vec<Value> {
    (0..count)
        .map(|i| {
            json!({"kind": "Pod", "metadata": {"name": format!("{node}-{i}"), "labels": {"app": "web"}},
                "spec": {"nodeName": node, "containers": []}})
        })
        .collect()
}

fn soft(max_skew: i32, key: &str) -> Value {
    json!({"maxSkew": max_skew, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "web"}}})
}

/// `name:raw/normalized` for the feasible nodes, or the status if there are no scores.
fn scores(
    args: &Value,
    objects: Vec<Value>,
    constraints: Value,
    infeasible: &[&str],
) -> Result<String, Status> {
    let plugin = new(args, &Handle::default()).expect("valid arguments");
    let snapshot = fixture::snapshot(objects);
    let cx = Context { snapshot: &snapshot, now: Timestamp::default(), nominations: &() };
    let pod = fixture::pod(json!({"metadata": {"name": "p", "labels": {"app": "web"}},
        "spec": {"containers": [], "topologySpreadConstraints": constraints}}));
    let feasible: Vec<Arc<NodeInfo>> =
        snapshot.nodes().iter().filter(|n| !infeasible.contains(&n.name().as_str())).cloned().collect();
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
    let shown: Vec<String> = feasible
        .iter()
        .zip(raw.iter().zip(&normalized))
        .map(|(node, (raw, normalized))| format!("{}:{raw}/{normalized}", node.name()))
        .collect();
    Ok(shown.join(" "))
}

/// Zone 1: a with 3 pods; zone 2: b with 1; zone 3: c with none; d without a zone and with 2.
fn cluster() -> Vec<Value> {
    let mut objects = vec![node("a", "1"), node("b", "2"), node("c", "3"), node("d", "")];
    objects.extend(web("a", 3));
    objects.extend(web("b", 1));
    objects.extend(web("d", 2));
    objects
}

fn service() -> Value {
    json!({"kind": "Service", "metadata": {"name": "s", "namespace": "default"}, "spec": {"selector": {"app": "web"}}})
}

#[test]
fn fuller_domains_score_lower() {
    // Three zones, ln 5 = 1.609: 3 * 1.609 = 4.83 -> 5, 1.609 -> 2, 0. d is left out.
    // Normalised: 100 * (5 + 0 - s) / 5.
    assert_eq!(
        scores(&Value::Null, cluster(), json!([soft(1, ZONE)]), &[]).expect("scores"),
        "a:5/0 b:2/60 c:0/100 d:0/0"
    );
    // maxSkew 4 adds 3: 7.83 -> 8, 4.61 -> 5, 3; normalised 100 * (8 + 3 - s) / 8.
    assert_eq!(
        scores(&Value::Null, cluster(), json!([soft(4, ZONE)]), &[]).expect("scores"),
        "a:8/37 b:5/75 c:3/100 d:0/0"
    );
    // By host name, four nodes take part, ln 6 = 1.792: 5.38 -> 5, 1.79 -> 2, 0, 3.58 -> 4.
    assert_eq!(
        scores(&Value::Null, cluster(), json!([soft(1, HOST)]), &[]).expect("scores"),
        "a:5/0 b:2/60 c:0/100 d:4/20"
    );
    // Both: d has no zone and is left out, so for the host name there are three nodes as well, ln 5 each.
    assert_eq!(
        scores(&Value::Null, cluster(), json!([soft(1, HOST), soft(1, ZONE)]), &[]).expect("scores"),
        "a:10/0 b:3/70 c:0/100 d:0/0"
    );
}

#[test]
fn the_weight_counts_domains_of_feasible_nodes_and_the_pods_all_nodes_there() {
    let mut objects = cluster();
    objects.push(node("e", "2"));
    objects.extend(web("e", 2));
    // Without a and e, two zones are left, ln 4 = 1.386; zone 2 still has e's pods: 3 * 1.386 = 4.16 -> 4.
    assert_eq!(
        scores(&Value::Null, objects, json!([soft(1, ZONE)]), &["a", "e"]).expect("scores"),
        "b:4/0 c:0/100 d:0/0"
    );
}

#[test]
fn the_built_in_defaults_take_nodes_without_a_zone_too() {
    let mut objects = cluster();
    objects.push(service());
    // Host name: four nodes, ln 6 = 1.7918, and 2 for maxSkew 3. Zone: values 1, 2, 3 and none, ln 6, and 4 for maxSkew 5.
    // a: 3 * 1.7918 + 2 + 3 * 1.7918 + 4 = 16.75 -> 17; b: 2 * 1.7918 + 6 = 9.58 -> 10; c: 6;
    // d has no zone to score by: 2 * 1.7918 + 2 = 5.58 -> 6. Normalised: 100 * (17 + 6 - s) / 17.
    assert_eq!(
        scores(&Value::Null, objects, json!([]), &[]).expect("scores"),
        "a:17/35 b:10/76 c:6/100 d:6/100"
    );
}

#[test]
fn listed_defaults_leave_such_nodes_out() {
    let mut objects = cluster();
    objects.push(service());
    let args = json!({"defaultingType": "List", "defaultConstraints": [
        {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "ScheduleAnyway"}]});
    assert_eq!(scores(&args, objects, json!([]), &[]).expect("scores"), "a:5/0 b:2/60 c:0/100 d:0/0");
}

#[test]
fn where_nothing_counts_every_node_is_as_good_as_can_be() {
    let mut constraint = soft(1, ZONE);
    constraint["labelSelector"] = json!({"matchLabels": {"app": "nobody"}});
    assert_eq!(
        scores(&Value::Null, cluster(), json!([constraint]), &[]).expect("scores"),
        "a:0/100 b:0/100 c:0/100 d:0/0"
    );
}

#[test]
fn nodes_that_the_policies_exclude_do_not_count() {
    let mut objects = cluster();
    let mut tainted = node("t", "3");
    tainted["spec"] = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
    objects.push(tainted);
    objects.extend(web("t", 9));
    let mut constraint = soft(1, ZONE);
    constraint["nodeTaintsPolicy"] = json!("Honor");
    assert_eq!(
        scores(&Value::Null, objects.clone(), json!([constraint]), &["t"]).expect("scores"),
        "a:5/0 b:2/60 c:0/100 d:0/0"
    );
    // 9 * 1.609 = 14.48 -> 14; normalised 100 * (14 + 2 - s) / 14.
    assert_eq!(
        scores(&Value::Null, objects, json!([soft(1, ZONE)]), &["t"]).expect("scores"),
        "a:5/78 b:2/100 c:14/14 d:0/0"
    );
}

#[test]
fn without_soft_constraints_scoring_is_skipped() {
    let skipped =
        |constraints: Value| scores(&Value::Null, cluster(), constraints, &[]).expect_err("no scores");
    assert!(skipped(json!([])).is_skip(), "no service selects the pod");
    let mut hard = soft(1, ZONE);
    hard["whenUnsatisfiable"] = json!("DoNotSchedule");
    assert!(skipped(json!([hard])).is_skip());
}

#[test]
fn an_invalid_selector_is_an_error() {
    let mut broken = soft(1, ZONE);
    broken["labelSelector"] = json!({"matchExpressions": [{"key": "k", "operator": "Near"}]});
    let status = scores(&Value::Null, cluster(), json!([broken]), &[]).expect_err("no scores");
    assert_eq!(
        status.to_string(),
        "Error: calculating preScoreState: obtaining pod's soft topology spread constraints: \
         \"Near\" is not a valid label selector operator"
    );
}

#[test]
fn without_pre_score_the_score_fails() {
    let plugin = new(&Value::Null, &Handle::default()).expect("valid arguments");
    let snapshot = fixture::snapshot(cluster());
    let cx = Context { snapshot: &snapshot, now: Timestamp::default(), nominations: &() };
    let pod = fixture::pod(json!({"metadata": {"name": "p"}, "spec": {"containers": []}}));
    let plugin = plugin.clone().as_score().expect("implemented");
    let status = plugin.score(&cx, &CycleState::new(), &pod, &snapshot.nodes()[0]).expect_err("no state");
    assert_eq!(status.message(), "error reading \"PreScorePodTopologySpread\" from cycleState: not found");
}
