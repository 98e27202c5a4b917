use super::*;
use crate::fixture::{added, changed, node};

#[test]
fn hints_tell_what_may_help() {
    let plugin = plugin();
    let ours = pod(json!({"metadata": {"name": "p"}, "spec": {"volumes": [
        {"name": "c", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "e", "ephemeral": {}},
        {"name": "i", "csi": {"driver": "inline.example.com"}},
    ]}}));
    let zoned = |zone: &str| {
        let mut class = class("s", "Immediate", "p");
        class["allowedTopologies"] = json!([{"matchLabelExpressions": [{"key": "zone", "values": [zone]}]}]);
        class
    };
    let csi_node = |migrated: &str| {
        json!({"kind": "CSINode", "metadata": {"name": "n",
               "annotations": {"storage.alpha.kubernetes.io/migrated-plugins": migrated}}})
    };
    let driver = |name: &str, publishes: bool| json!({"kind": "CSIDriver", "metadata": {"name": name}, "spec": {"storageCapacity": publishes}});
    let capacity = |size: Option<&str>| json!({"kind": "CSIStorageCapacity", "metadata": {"name": "k"}, "capacity": size});
    let update = |old: Value, new: Value| changed(Some(old), Some(new));
    for (what, change, expected) in [
        ("new class", changed(None, Some(zoned("a"))), Hint::Queue),
        ("topologies changed", update(zoned("a"), zoned("b")), Hint::Queue),
        ("something else of the class changed", update(zoned("a"), zoned("a")), Hint::Skip),
        ("our claim", changed(None, Some(claim("c", json!({})))), Hint::Queue),
        ("our ephemeral claim", update(claim("p-e", json!({})), bound("p-e", "v")), Hint::Queue),
        ("another claim", changed(None, Some(claim("x", json!({})))), Hint::Skip),
        ("a volume comes", changed(None, Some(volume("v", 1, json!({})))), Hint::Queue),
        ("a volume changes", update(volume("v", 1, json!({})), volume("v", 1, json!({}))), Hint::Queue),
        ("a CSINode comes", changed(None, Some(csi_node("x"))), Hint::Queue),
        ("migration changed", update(csi_node("x"), csi_node("x,y")), Hint::Queue),
        ("migration unchanged", update(csi_node("x"), csi_node("x")), Hint::Skip),
        (
            "our driver stops publishing",
            update(driver("inline.example.com", true), driver("inline.example.com", false)),
            Hint::Queue,
        ),
        (
            "our driver starts publishing",
            update(driver("inline.example.com", false), driver("inline.example.com", true)),
            Hint::Skip,
        ),
        ("another driver", update(driver("x", true), driver("x", false)), Hint::Skip),
        ("a capacity comes", changed(None, Some(capacity(None))), Hint::Queue),
        ("a capacity grows", update(capacity(Some("1Gi")), capacity(Some("2Gi"))), Hint::Queue),
        ("a capacity appears", update(capacity(None), capacity(Some("0"))), Hint::Queue),
        ("a capacity shrinks", update(capacity(Some("2Gi")), capacity(Some("1Gi"))), Hint::Skip),
        ("a capacity is withdrawn", update(capacity(Some("2Gi")), capacity(None)), Hint::Skip),
        ("a node comes", added(&node(json!({"metadata": {"name": "n"}}))), Hint::Queue),
    ] {
        assert_eq!(plugin.hint(&ours, &change), expected, "{what}");
    }
}
