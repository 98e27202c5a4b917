use super::*;
use crate::fixture::{added, changed, context, deleted, node, pod, snapshot};
use secondmate_framework::{Code, Snapshot};
use serde_json::json;

fn claim(name: &str, modes: &[&str]) -> Value {
    json!({"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "default"},
           "spec": {"accessModes": modes}})
}

fn pod_with(name: &str, volumes: Value) -> Arc<Pod> {
    pod(json!({"metadata": {"name": name}, "spec": {"volumes": volumes}}))
}

fn claims(names: &[&str]) -> Value {
    names.iter().map(|n| json!({"name": n, "persistentVolumeClaim": {"claimName": n}})).collect()
}

fn gce(disk: &str, read_only: bool) -> Value {
    json!([{"name": "d", "gcePersistentDisk": {"pdName": disk, "readOnly": read_only}}])
}

fn ebs(id: &str, read_only: bool) -> Value {
    json!([{"name": "d", "awsElasticBlockStore": {"volumeID": id, "readOnly": read_only}}])
}

fn iscsi(iqn: &str, read_only: bool) -> Value {
    json!([{"name": "d", "iscsi": {"iqn": iqn, "readOnly": read_only}}])
}

fn rbd(monitors: &[&str], pool: &str, image: &str, read_only: bool) -> Value {
    json!([{"name": "d", "rbd": {"monitors": monitors, "pool": pool, "image": image, "readOnly": read_only}}])
}

fn plugin(parity: Parity) -> Arc<dyn Plugin> {
    new(&Value::Null, &Handle::new(Default::default(), parity)).expect("no arguments")
}

/// PreFilter's status and, unless it is a rejection, that of the filter on the first node.
fn run(snapshot: &Snapshot, pod: &Arc<Pod>) -> (Status, Option<Status>) {
    let plugin = plugin(Parity::Strict);
    let cx = context(snapshot);
    let mut state = CycleState::new();
    let status = plugin.clone().as_pre_filter().expect("prefilters").pre_filter(&cx, &mut state, pod).status;
    if !status.is_success() {
        return (status, None);
    }
    let verdict = plugin.clone().as_filter().expect("filters").filter(&cx, &state, pod, &snapshot.nodes()[0]);
    (status, Some(verdict))
}

#[test]
fn a_disk_is_shared_only_where_all_only_read() {
    let rbd_one = || rbd(&["m1", "m2"], "p", "i", false);
    for (ours, theirs, fits) in [
        (gce("a", false), gce("a", false), false),
        (gce("a", true), gce("a", false), false),
        (gce("a", true), gce("a", true), true),
        (gce("a", false), gce("b", false), true),
        (ebs("a", true), ebs("a", true), false),
        (ebs("a", false), ebs("b", false), true),
        (iscsi("a", false), iscsi("a", true), false),
        (iscsi("a", true), iscsi("a", true), true),
        (iscsi("a", false), iscsi("b", false), true),
        (rbd_one(), rbd(&["m2", "m3"], "p", "i", true), false),
        (rbd_one(), rbd(&["m3"], "p", "i", false), true),
        (rbd_one(), rbd(&["m1"], "q", "i", false), true),
        (rbd_one(), rbd(&["m1"], "p", "j", false), true),
        (rbd(&["m1"], "p", "i", true), rbd(&["m1"], "p", "i", true), true),
        (gce("a", false), ebs("a", false), true),
    ] {
        let snapshot = snapshot(vec![
            json!({"kind": "Node", "metadata": {"name": "n1"}}),
            json!({"kind": "Pod", "metadata": {"name": "other", "namespace": "elsewhere"},
                   "spec": {"nodeName": "n1", "volumes": theirs}}),
        ]);
        let (prefilter, filter) = run(&snapshot, &pod_with("p", ours.clone()));
        let expected =
            if fits { Status::SUCCESS } else { Status::unschedulable("node(s) had no available disk") };
        assert_eq!((prefilter, filter), (Status::SUCCESS, Some(expected)), "{ours} beside {theirs}");
    }
}

#[test]
fn claims_must_exist_and_pods_without_business_here_skip() {
    let snapshot = snapshot(vec![
        json!({"kind": "Node", "metadata": {"name": "n1"}}),
        claim("shared", &["ReadWriteMany"]),
        claim("alone", &["ReadWriteOncePod"]),
    ]);
    let prefilter = |volumes| run(&snapshot, &pod_with("p", volumes)).0;
    assert_eq!(prefilter(json!([])), Status::skip());
    assert_eq!(prefilter(claims(&["shared", "alone"])), Status::skip());
    assert_eq!(
        prefilter(claims(&["alone", "gone"])),
        Status::unresolvable("persistentvolumeclaim \"gone\" not found")
    );
    // Generic ephemeral volumes are not considered.
    assert_eq!(prefilter(json!([{"name": "e", "ephemeral": {}}])), Status::skip());
}

#[test]
fn an_exclusive_claim_in_use_rejects_until_its_user_goes() {
    let snapshot = snapshot(vec![
        json!({"kind": "Node", "metadata": {"name": "n1"}}),
        json!({"kind": "Node", "metadata": {"name": "n2"}}),
        json!({"kind": "Pod", "metadata": {"name": "user"}, "spec": {"nodeName": "n2", "volumes": claims(&["alone"])}}),
        claim("alone", &["ReadWriteOncePod"]),
    ]);
    let pod = pod_with("p", claims(&["alone"]));
    let (status, verdict) = run(&snapshot, &pod);
    let in_use = || {
        Status::unschedulable(
            "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod",
        )
    };
    assert_eq!((status, verdict), (Status::SUCCESS, Some(in_use())));

    for (parity, same_name_counts) in [(Parity::Strict, true), (Parity::Sensible, false)] {
        let plugin = plugin(parity);
        let cx = context(&snapshot);
        let (pre_filter, filter) = (
            plugin.clone().as_pre_filter().expect("prefilters"),
            plugin.clone().as_filter().expect("filters"),
        );
        let mut state = CycleState::new();
        assert!(pre_filter.pre_filter(&cx, &mut state, &pod).status.is_success());
        let (n1, n2) = (&snapshot.nodes()[0], &snapshot.nodes()[1]);
        let user = Arc::clone(&n2.pods()[0]);
        assert!(pre_filter.remove_pod(&cx, &mut state, &pod, &user, n2).is_success());
        assert_eq!(filter.filter(&cx, &state, &pod, n1), Status::SUCCESS);

        // Upstream's quirk: the same name in another namespace is considered the same claim.
        let stranger = crate::fixture::pod(json!({"metadata": {"name": "s", "namespace": "elsewhere"},
                                                  "spec": {"volumes": claims(&["alone"])}}));
        assert!(pre_filter.add_pod(&cx, &mut state, &pod, &stranger, n1).is_success());
        let expected = if same_name_counts { in_use() } else { Status::SUCCESS };
        assert_eq!(filter.filter(&cx, &state, &pod, n1), expected, "{parity:?}");
    }
}

#[test]
fn a_filter_without_its_prefilter_fails() {
    let snapshot = Snapshot::default();
    let plugin = plugin(Parity::Strict);
    let node = node(json!({"metadata": {"name": "n1"}}));
    let verdict = plugin.clone().as_filter().expect("filters").filter(
        &context(&snapshot),
        &CycleState::new(),
        &pod_with("p", json!([])),
        &node,
    );
    assert_eq!(verdict.code(), Code::Error);
}

#[test]
fn hints_tell_what_may_help() {
    let plugin = plugin(Parity::Strict);
    let ours = pod(json!({"metadata": {"name": "p"}, "spec": {"volumes": [
        {"name": "c", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "d", "gcePersistentDisk": {"pdName": "d"}},
    ]}}));
    let gone = |namespace: &str, volumes: Value| {
        deleted(&pod(
            json!({"metadata": {"name": "o", "namespace": namespace}, "spec": {"volumes": volumes}}),
        ))
    };
    let new_claim = |name: &str| changed(None, Some(claim(name, &[])));
    for (what, change, expected) in [
        ("shared claim", gone("default", claims(&["c"])), Hint::Queue),
        ("other claim", gone("default", claims(&["x"])), Hint::Skip),
        ("same disk", gone("default", gce("d", false)), Hint::Queue),
        ("same disk, other namespace", gone("elsewhere", gce("d", false)), Hint::Skip),
        ("claim of ours", new_claim("c"), Hint::Queue),
        ("claim of others", new_claim("x"), Hint::Skip),
        ("node", added(&node(json!({"metadata": {"name": "n"}}))), Hint::Queue),
    ] {
        assert_eq!(plugin.hint(&ours, &change), expected, "{what}");
    }
}
