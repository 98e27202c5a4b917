use super::*;
use crate::fixture::{added, changed, context, node, pod, snapshot};
use secondmate_framework::Snapshot;
use serde_json::json;

fn claim(name: &str, volume: &str, class: Option<&str>) -> Value {
    json!({"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "default"},
           "spec": {"volumeName": volume, "storageClassName": class}})
}

fn volume(name: &str, labels: Value) -> Value {
    json!({"kind": "PersistentVolume", "metadata": {"name": name, "labels": labels}})
}

fn class(name: &str, mode: Option<&str>) -> Value {
    json!({"kind": "StorageClass", "metadata": {"name": name}, "volumeBindingMode": mode})
}

fn pod_with(claims: &[&str]) -> Arc<Pod> {
    let volumes: Value =
        claims.iter().map(|c| json!({"name": "v", "persistentVolumeClaim": {"claimName": c}})).collect();
    pod(json!({"metadata": {"name": "p"}, "spec": {"volumes": volumes}}))
}

fn plugin() -> Arc<dyn Plugin> {
    new(&Value::Null, &Handle::default()).expect("no arguments")
}

fn pre_filter(snapshot: &Snapshot, pod: &Arc<Pod>) -> (Status, CycleState) {
    let mut state = CycleState::new();
    let plugin = plugin();
    let point = plugin.clone().as_pre_filter().expect("prefilters");
    (point.pre_filter(&context(snapshot), &mut state, pod).status, state)
}

#[test]
fn what_cannot_be_told_rejects_the_pod() {
    let snapshot = snapshot(vec![
        claim("bound", "v1", None),
        volume("v1", json!({"topology.kubernetes.io/zone": "a"})),
        claim("unlabelled", "v2", None),
        volume("v2", json!({})),
        claim("half", "v3", None),
        volume("v3", json!({"topology.kubernetes.io/zone": "a____b"})),
        claim("lost", "gone", None),
        claim("waiting", "", Some("late")),
        class("late", Some("WaitForFirstConsumer")),
        claim("pending", "", Some("now")),
        class("now", Some("Immediate")),
        claim("odd", "", Some("modeless")),
        class("modeless", None),
        claim("classless", "", None),
        claim("stray", "", Some("nowhere")),
    ]);
    for (claims, expected) in [
        (&["bound"][..], Status::SUCCESS),
        (&[], Status::skip()),
        (&["unlabelled"], Status::skip()),
        (&["half"], Status::skip()),
        (&["waiting"], Status::skip()),
        (&["waiting", "bound"], Status::SUCCESS),
        (&["lost"], Status::unresolvable("persistentvolume \"gone\" not found")),
        (&["pending"], Status::unresolvable("PersistentVolume had no name")),
        (&["odd"], Status::unresolvable("VolumeBindingMode not set for StorageClass \"modeless\"")),
        (&["classless"], Status::unresolvable("PersistentVolumeClaim had no pv name and storageClass name")),
        (&["stray"], Status::unresolvable("storageclass.storage.k8s.io \"nowhere\" not found")),
        (&["bound", "missing"], Status::unresolvable("persistentvolumeclaim \"missing\" not found")),
        (&[""], Status::unresolvable("PersistentVolumeClaim had no name")),
    ] {
        assert_eq!(pre_filter(&snapshot, &pod_with(claims)).0, expected, "{claims:?}");
    }
}

#[test]
fn zones_of_volume_and_node_must_agree() {
    let (beta_zone, beta_region) =
        ("failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region");
    let (zone, region) = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region");
    for (on_volume, on_node, fits) in [
        (json!({zone: "a"}), json!({zone: "a"}), true),
        (json!({zone: "a"}), json!({zone: "b"}), false),
        (json!({zone: "b__ a"}), json!({zone: "a"}), true),
        (json!({zone: "a"}), json!({}), true),
        (json!({zone: "a"}), json!({"other": "x"}), true),
        (json!({zone: "a"}), json!({region: "r"}), false),
        (json!({zone: "a", region: "r"}), json!({zone: "a", region: "s"}), false),
        (json!({zone: "a", region: "r"}), json!({zone: "a", region: "r"}), true),
        (json!({beta_zone: "a"}), json!({zone: "a"}), true),
        (json!({beta_zone: "a"}), json!({beta_zone: "b", zone: "a"}), false),
        (json!({beta_region: "r"}), json!({region: "r"}), true),
        // Not the other way round.
        (json!({zone: "a"}), json!({beta_zone: "a"}), false),
    ] {
        let snapshot = snapshot(vec![claim("c", "v", None), volume("v", on_volume.clone())]);
        let pod = pod_with(&["c"]);
        let (status, state) = pre_filter(&snapshot, &pod);
        assert_eq!(status, Status::SUCCESS);
        let node = node(json!({"metadata": {"name": "n", "labels": on_node}}));
        let expected =
            if fits { Status::SUCCESS } else { Status::unresolvable("node(s) had no available volume zone") };
        let plugin = plugin();
        let filter = plugin.clone().as_filter().expect("filters");
        let cx = context(&snapshot);
        assert_eq!(filter.filter(&cx, &state, &pod, &node), expected, "{on_volume} on {on_node}");
        // Without PreFilter, the result is the same.
        assert_eq!(filter.filter(&cx, &CycleState::new(), &pod, &node), expected);
    }
}

#[test]
fn hints_tell_what_may_help() {
    let plugin = plugin();
    let ours = pod_with(&["c"]);
    let zone = |zone: &str| volume("v", json!({"topology.kubernetes.io/zone": zone, "other": zone}));
    let other = |value: &str| volume("v", json!({"other": value}));
    for (what, change, expected) in [
        ("late class", changed(None, Some(class("s", Some("WaitForFirstConsumer")))), Hint::Queue),
        ("other class", changed(None, Some(class("s", Some("Immediate")))), Hint::Skip),
        ("class without mode", changed(None, Some(class("s", None))), Hint::Skip),
        ("our claim", changed(Some(claim("c", "", None)), Some(claim("c", "v", None))), Hint::Queue),
        ("another claim", changed(None, Some(claim("x", "", None))), Hint::Skip),
        ("new volume", changed(None, Some(other("1"))), Hint::Queue),
        ("zone changed", changed(Some(zone("a")), Some(zone("b"))), Hint::Queue),
        ("order of zones changed", changed(Some(zone("a__b")), Some(zone("b__a__b"))), Hint::Skip),
        ("other label changed", changed(Some(other("1")), Some(other("2"))), Hint::Skip),
        ("node", added(&node(json!({"metadata": {"name": "n"}}))), Hint::Queue),
    ] {
        assert_eq!(plugin.hint(&ours, &change), expected, "{what}");
    }
}
