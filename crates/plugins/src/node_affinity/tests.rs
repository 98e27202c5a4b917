use super::*;
use crate::fixture::{added, context, node, pod, updated_node};
use secondmate_framework::{Code, Snapshot};
use serde_json::json;

fn labelled(name: &str, labels: Value) -> NodeInfo {
    node(json!({"metadata": {"name": name, "labels": labels}}))
}

fn requiring(terms: Value) -> Arc<Pod> {
    pod(json!({"spec": {"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}}))
}

fn preferring(terms: Value) -> Arc<Pod> {
    pod(json!({"spec": {"affinity": {"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": terms}}}}))
}

fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
    json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
}

fn name_is(operator: &str, names: &[&str]) -> Value {
    json!({"matchFields": names.iter().map(|name| json!({"key": "metadata.name", "operator": operator, "values": [name]})).collect::<Vec<_>>()})
}

fn added_affinity(affinity: Value) -> Arc<dyn Plugin> {
    new(&json!({ "addedAffinity": affinity }), &Handle::default()).expect("sound arguments")
}

fn without_arguments() -> Arc<dyn Plugin> {
    Arc::new(NodeAffinity::default())
}

fn filter(plugin: &Arc<dyn Plugin>, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
    let snapshot = Snapshot::default();
    plugin.clone().as_filter().expect("filters").filter(&context(&snapshot), &CycleState::new(), pod, node)
}

fn pre_filter(plugin: &NodeAffinity, pod: &Arc<Pod>) -> (Status, Option<Vec<String>>) {
    let snapshot = Snapshot::default();
    let outcome = plugin.pre_filter(&context(&snapshot), &mut CycleState::new(), pod);
    (outcome.status, outcome.nodes.map(|nodes| nodes.iter().map(ToString::to_string).collect()))
}

/// PreScore's status and the raw score of each node.
fn score(plugin: &Arc<dyn Plugin>, pod: &Arc<Pod>, nodes: &[NodeInfo]) -> (Status, Vec<i64>) {
    let snapshot = Snapshot::default();
    let cx = context(&snapshot);
    let mut state = CycleState::new();
    let status = plugin.clone().as_pre_score().expect("prepares").pre_score(&cx, &mut state, pod, &[]);
    if !status.is_success() {
        return (status, Vec::new());
    }
    let scorer = plugin.clone().as_score().expect("scores");
    let scores = nodes.iter().map(|node| scorer.score(&cx, &state, pod, node).expect("a score")).collect();
    (status, scores)
}

#[test]
fn required_terms_and_node_selectors_decide() {
    let node = labelled("n1", json!({"zone": "a", "cores": "8", "empty": ""}));
    for (terms, fits) in [
        (json!([expression("zone", "In", &["a", "b"])]), true),
        (json!([expression("zone", "In", &["b"])]), false),
        (json!([expression("zone", "NotIn", &["b"])]), true),
        (json!([expression("other", "NotIn", &["b"])]), true),
        (json!([expression("empty", "Exists", &[])]), true),
        (json!([expression("zone", "DoesNotExist", &[])]), false),
        (json!([expression("cores", "Gt", &["7"])]), true),
        (json!([expression("cores", "Gt", &["8"])]), false),
        (json!([expression("cores", "Lt", &["9"])]), true),
        (json!([expression("zone", "Gt", &["7"])]), false),
        (json!([expression("absent", "Lt", &["7"])]), false),
        // A term that cannot be parsed does not match, but does not keep others from matching.
        (json!([expression("cores", "Gt", &["many"])]), false),
        (json!([expression("cores", "Gt", &["many"]), expression("zone", "In", &["a"])]), true),
        (json!([expression("zone", "NotIn", &["not a label value"])]), false),
        // Terms are alternatives; an empty term matches nothing, and neither does an empty list.
        (json!([expression("zone", "In", &["b"]), expression("cores", "Exists", &[])]), true),
        (json!([{}]), false),
        (json!([]), false),
        (json!([name_is("In", &["n1"])]), true),
        (json!([name_is("In", &["n2"])]), false),
        (json!([name_is("NotIn", &["n2"])]), true),
        (
            json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}],
                 "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]),
            false,
        ),
    ] {
        let expected = if fits { Status::SUCCESS } else { Status::unresolvable(REASON_POD) };
        assert_eq!(filter(&without_arguments(), &requiring(terms.clone()), &node), expected, "{terms}");
    }
    for (selector, fits) in
        [(json!({}), true), (json!({"zone": "a"}), true), (json!({"zone": "a", "cores": "4"}), false)]
    {
        let expected = if fits { Status::SUCCESS } else { Status::unresolvable(REASON_POD) };
        let pod = pod(json!({"spec": {"nodeSelector": selector}}));
        assert_eq!(filter(&without_arguments(), &pod, &node), expected, "{selector}");
    }
}

#[test]
fn added_affinity_goes_before_the_pods_own() {
    let plugin = added_affinity(json!({"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [expression("pool", "In", &["batch"])]}}));
    let plain = pod(json!({}));
    let wanting = pod(json!({"spec": {"nodeSelector": {"zone": "a"}}}));
    for (pod, labels, expected) in [
        (&plain, json!({"pool": "batch"}), Status::SUCCESS),
        (&plain, json!({}), Status::unresolvable(REASON_ENFORCED)),
        (&wanting, json!({}), Status::unresolvable(REASON_ENFORCED)),
        (&wanting, json!({"pool": "batch"}), Status::unresolvable(REASON_POD)),
        (&wanting, json!({"pool": "batch", "zone": "a"}), Status::SUCCESS),
    ] {
        assert_eq!(filter(&plugin, pod, &labelled("n", labels.clone())), expected, "{labels}");
    }
}

#[test]
fn pre_filter_narrows_down_to_nodes_that_are_named() {
    let skip = (Status::skip(), None);
    let all = (Status::SUCCESS, None);
    let only =
        |names: &[&str]| (Status::SUCCESS, Some(names.iter().map(ToString::to_string).collect::<Vec<_>>()));
    let conflict = (Status::unresolvable("pod affinity terms conflict"), None);
    let plugin = NodeAffinity::default();
    assert_eq!(pre_filter(&plugin, &pod(json!({}))), skip);
    assert_eq!(
        pre_filter(
            &plugin,
            &preferring(json!([{"weight": 1, "preference": expression("a", "Exists", &[])}]))
        ),
        skip
    );
    assert_eq!(pre_filter(&plugin, &pod(json!({"spec": {"nodeSelector": {"a": "b"}}}))), all);
    for (terms, expected) in [
        (json!([]), all.clone()),
        (json!([expression("zone", "In", &["a"])]), all.clone()),
        (json!([name_is("In", &["n1"])]), only(&["n1"])),
        (json!([name_is("In", &["n2"]), name_is("In", &["n1"])]), only(&["n1", "n2"])),
        (json!([name_is("In", &["n1", "n2"])]), conflict),
        (json!([name_is("In", &["n1", "n2"]), name_is("In", &["n3"])]), only(&["n3"])),
        // One alternative that may match anywhere admits all nodes.
        (json!([name_is("In", &["n1"]), expression("zone", "In", &["a"])]), all.clone()),
        (json!([name_is("NotIn", &["n1"])]), all),
    ] {
        assert_eq!(pre_filter(&plugin, &requiring(terms.clone())), expected, "{terms}");
    }
}

#[test]
fn preferences_add_their_weights() {
    let nodes = [
        labelled("n1", json!({"a": "1", "b": "1"})),
        labelled("n2", json!({"a": "1"})),
        labelled("n3", json!({})),
    ];
    let terms = json!([
        {"weight": 5, "preference": expression("a", "Exists", &[])},
        {"weight": 3, "preference": expression("b", "In", &["1"])},
        {"weight": 9, "preference": {}},
        {"weight": 2, "preference": name_is("In", &["n3"])},
    ]);
    assert_eq!(
        score(&without_arguments(), &preferring(terms.clone()), &nodes),
        (Status::SUCCESS, vec![8, 5, 2])
    );
    let plugin = added_affinity(json!({"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": expression("b", "Exists", &[])}]}));
    assert_eq!(score(&plugin, &preferring(terms), &nodes), (Status::SUCCESS, vec![18, 5, 2]));
    assert_eq!(score(&plugin, &pod(json!({})), &nodes), (Status::SUCCESS, vec![10, 0, 0]));
}

#[test]
fn without_preferences_scoring_is_skipped() {
    let plugin = without_arguments();
    assert_eq!(score(&plugin, &pod(json!({})), &[]).0, Status::skip());
    assert_eq!(score(&plugin, &requiring(json!([expression("a", "Exists", &[])])), &[]).0, Status::skip());
    // A preference without requirements is still a preference.
    assert_eq!(score(&plugin, &preferring(json!([{"weight": 4, "preference": {}}])), &[]).0, Status::SUCCESS);
}

#[test]
fn preferences_that_cannot_be_parsed_fail_the_pod() {
    let rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and \
                end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
                '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    let bad_bound = |value| json!({"weight": 1, "preference": expression("a", "Gt", &[value])});
    let not_integer = |index, value: &str| {
        format!(
            "[{index}].matchExpressions[0].values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
        )
    };
    let not_label = |index, value: &str| {
        format!("[{index}].matchExpressions[0].values[0][a]: Invalid value: {value:?}: {rule}")
    };
    let good = json!({"weight": 1, "preference": expression("a", "Exists", &[])});
    for (terms, expected) in [
        (json!([good, bad_bound("many")]), not_integer(1, "many")),
        (
            json!([bad_bound("x"), bad_bound("y")]),
            format!("[{}, {}]", not_integer(0, "x"), not_integer(1, "y")),
        ),
        // An integer, but not a valid label value.
        (json!([bad_bound("-5")]), not_label(0, "-5")),
        (json!([bad_bound("a b")]), format!("[{}, {}]", not_integer(0, "a b"), not_label(0, "a b"))),
    ] {
        let pod = preferring(terms.clone());
        let failed = Status::error(expected);
        assert_eq!(score(&without_arguments(), &pod, &[]).0, failed, "{terms}");
        let snapshot = Snapshot::default();
        let node = labelled("n", json!({}));
        let unprepared = NodeAffinity::default().score(&context(&snapshot), &CycleState::new(), &pod, &node);
        assert_eq!(unprepared, Err(failed), "{terms}");
    }
    // With weight 0, it is not even parsed.
    let ignored = preferring(json!([{"weight": 0, "preference": expression("a", "Gt", &["many"])}]));
    assert_eq!(score(&without_arguments(), &ignored, &[]).0.code(), Code::Success);
}

#[test]
fn arguments_that_cannot_be_evaluated_are_refused() {
    let refused = |affinity: Value| {
        new(&json!({ "addedAffinity": affinity }), &Handle::default())
            .map(|_| ())
            .expect_err("refused")
            .to_string()
    };
    assert_eq!(
        refused(
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [expression("a", "Near", &["x"])]}})
        ),
        "arguments of plugin \"NodeAffinity\" (pluginConfig): addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.\
         nodeSelectorTerms[0]: matchExpressions[0].operator: Unsupported value: \"Near\": supported values: \"In\", \"NotIn\", \
         \"Exists\", \"DoesNotExist\", \"Gt\", \"Lt\""
    );
    assert_eq!(
        refused(
            json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": expression("a", "Gt", &["x"])}]})
        ),
        "arguments of plugin \"NodeAffinity\" (pluginConfig): addedAffinity.preferredDuringSchedulingIgnoredDuringExecution: \
         [0].matchExpressions[0].values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"
    );
}

#[test]
fn hints() {
    let waiting = pod(json!({"metadata": {"name": "p"}, "spec": {"nodeSelector": {"zone": "a"}}}));
    let plugin = added_affinity(json!({"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [expression("pool", "Exists", &[])]}}));
    let good = labelled("n", json!({"pool": "x", "zone": "a"}));
    let bad = labelled("n", json!({"pool": "x", "zone": "b"}));
    let outside = labelled("n", json!({"zone": "a"}));
    for (change, expected) in [
        (added(&good), Hint::Queue),
        (added(&bad), Hint::Skip),
        (added(&outside), Hint::Skip),
        (updated_node(&bad, &good), Hint::Queue),
        (updated_node(&good, &good), Hint::Skip),
        // The pod's own terms matched before: upstream does not check the added affinity again.
        (updated_node(&outside, &good), Hint::Skip),
        (updated_node(&good, &bad), Hint::Skip),
    ] {
        assert_eq!(plugin.hint(&waiting, &change), expected, "{change:?}");
    }
    let unparsable = requiring(json!([expression("cores", "Gt", &["many"])]));
    assert_eq!(NodeAffinity::default().hint(&unparsable, &added(&good)), Hint::Queue);
    assert_eq!(NodeAffinity::default().hint(&unparsable, &updated_node(&good, &good)), Hint::Queue);
    // The node has ceased to match the other term; upstream comes upon the first one before it looks at the node as it was.
    let either = requiring(json!([expression("cores", "Gt", &["many"]), expression("zone", "In", &["a"])]));
    for (change, expected) in [
        (updated_node(&good, &bad), Hint::Queue),
        (updated_node(&bad, &good), Hint::Queue),
        (updated_node(&good, &good), Hint::Skip),
    ] {
        assert_eq!(NodeAffinity::default().hint(&either, &change), expected, "{change:?}");
    }
}
