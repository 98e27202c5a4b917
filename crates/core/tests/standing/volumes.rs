//! Volumes, claims and CSI objects in the random histories.

use crate::objects::{object, one};
use secondmate_cycle::Random;
use secondmate_model::Atom;
use secondmate_model::objects::{Object, ObjectKind, ObjectName, Objects};
use serde_json::{Value, json};

const ZONE: &str = "topology.kubernetes.io/zone";
const DRIVER: &str = "d.example.com";
const MIGRATED: &str = "ebs.csi.aws.com";
/// Number of claims that the pods of a kind share.
const SHARED: usize = 4;
/// Number of claims of which each pod names a different one, as the pods of a StatefulSet do.
const EACH: usize = 12;
const VOLUMES: usize = 16;

fn one_in(random: &mut Random, n: usize) -> bool {
    random.below(n) == 0
}

/// Volumes of a kind of pods. In place of the claim `each`, a pod names one by its own number: see [`name_claims`].
pub fn of_template(random: &mut Random) -> Value {
    let volume = |at: usize, random: &mut Random| {
        let mut volume = match random.below(16) {
            0..=4 => json!({"persistentVolumeClaim": {"claimName": "each"}}),
            5..=7 => {
                let claim = format!("c{}", random.below(SHARED));
                json!({"persistentVolumeClaim": {"claimName": claim}})
            }
            8 | 9 => json!({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
            10 => json!({"csi": {"driver": one(random, &[DRIVER, "other"])}}),
            11 => {
                json!({"awsElasticBlockStore": {"volumeID": one(random, &["vol-1", "vol-2", "aws://x/y/z"])}})
            }
            12 => {
                json!({"gcePersistentDisk": {"pdName": one(random, &["d1", "d2"]), "readOnly": one_in(random, 2)}})
            }
            13 => {
                json!({"iscsi": {"iqn": "i", "targetPortal": "t", "lun": 0, "readOnly": one_in(random, 2)}})
            }
            14 => json!({"emptyDir": {}}),
            _ => json!({"projected": {"sources": []}}),
        };
        volume["name"] = format!("v{at}").into();
        volume
    };
    let count = one(random, &[1, 1, 1, 2, 3]);
    (0..count).map(|at| volume(at, random)).collect()
}

/// Makes the pod name claims of its own.
pub fn name_claims(pod: &mut Value, name: &str) {
    let number: usize = name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
    for (at, volume) in pod["spec"]["volumes"].as_array_mut().into_iter().flatten().enumerate() {
        let claim = &mut volume["persistentVolumeClaim"]["claimName"];
        if *claim == "each" {
            *claim = format!("each-{}", (number + at) % EACH).into();
        } else if claim.is_null() {
            volume.as_object_mut().expect("a volume").remove("persistentVolumeClaim");
        }
    }
}

/// The specification of pods that differ only in their volumes.
pub fn template(random: &mut Random) -> Value {
    let mut template = json!({"metadata": {"namespace": "red", "labels": {}}, "spec": {"containers": [
        {"name": "c", "image": "one", "resources": {"requests": {"cpu": "10m"}}}]}});
    let volumes = match random.below(8) {
        0..=3 => json!([{"name": "v0", "persistentVolumeClaim": {"claimName": "each"}}]),
        4 => json!([{"name": "v0", "persistentVolumeClaim": {"claimName": "each"}},
            {"name": "v1", "persistentVolumeClaim": {"claimName": "each"}}]),
        _ => of_template(random),
    };
    template["spec"]["volumes"] = volumes;
    template
}

/// A claim that is bound or waits for its first consumer, as most do.
fn sound_claim(random: &mut Random, namespace: &str, name: &str) -> Value {
    let mode = if one_in(random, 12) { "ReadWriteOncePod" } else { "ReadWriteOnce" };
    let class = one(random, &["late", "late", "zoned"]);
    let mut claim = json!({"metadata": {"name": name, "namespace": namespace, "annotations": {}},
        "spec": {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": class},
        "status": {}});
    if !one_in(random, 4) {
        claim["spec"]["volumeName"] = format!("pv{}", random.below(VOLUMES)).into();
        claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = "yes".into();
    }
    claim
}

/// A volume that belongs to a claim, as most do.
fn sound_volume(random: &mut Random, at: usize) -> Value {
    let handle = if one_in(random, 6) { format!("h{}", random.below(3)) } else { format!("h{at}") };
    let mut volume = json!({"metadata": {"name": format!("pv{at}"), "labels": {}},
        "spec": {"storageClassName": "late"}, "status": {"phase": "Bound"}});
    if one_in(random, 6) {
        volume["spec"]["awsElasticBlockStore"] =
            json!({"volumeID": one(random, &["vol-1", "vol-2", "vol-3"])});
    } else {
        // Those of the other driver do not count toward the limit.
        let driver = one(random, &[DRIVER, DRIVER, "other"]);
        volume["spec"]["csi"] = json!({"driver": driver, "volumeHandle": handle});
    }
    match random.below(6) {
        0 => volume["metadata"]["labels"][ZONE] = one(random, &["a", "b"]).into(),
        1 => {
            volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": ZONE, "operator": "In", "values": [one(random, &["a", "b"])]}]}]}});
        }
        _ => {}
    }
    volume
}

fn claim(random: &mut Random, namespace: &str, name: &str, sound: bool) -> Value {
    if sound && !one_in(random, 12) {
        return sound_claim(random, namespace, name);
    }
    let mode = one(random, &["ReadWriteOnce", "ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]);
    let mut claim = json!({"metadata": {"name": name, "namespace": namespace, "annotations": {}},
        "spec": {"accessModes": [mode], "resources": {"requests": {"storage": one(random, &["1Gi", "5Gi"])}}},
        "status": {}});
    if !one_in(random, 10) {
        let classes = ["late", "late", "late", "zoned", "in-tree", "static", "now"];
        claim["spec"]["storageClassName"] = one(random, &classes).into();
    }
    match random.below(16) {
        0..=8 => {
            claim["spec"]["volumeName"] = format!("pv{}", random.below(VOLUMES)).into();
            claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = "yes".into();
        }
        // Named, but not bound yet.
        9 => claim["spec"]["volumeName"] = format!("pv{}", random.below(VOLUMES)).into(),
        10 => {
            let node = one(random, &["n1", "n2", "n3"]);
            claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = node.into();
        }
        11 if one_in(random, 3) => claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into(),
        12 if one_in(random, 3) => claim["status"]["phase"] = "Lost".into(),
        _ => {}
    }
    claim
}

fn volume(random: &mut Random, at: usize, sound: bool) -> Value {
    if sound && !one_in(random, 40) {
        return sound_volume(random, at);
    }
    let mut volume = json!({"metadata": {"name": format!("pv{at}"), "labels": {}},
        "spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "late"},
        "status": {"phase": "Bound"}});
    let zones = |random: &mut Random| one(random, &[&["a"][..], &["b"], &["a", "b"], &["c", "a"]]);
    if one_in(random, 3) {
        let key = one(random, &[ZONE, ZONE, "disk"]);
        let values = if key == ZONE { zones(random) } else { &["ssd"][..] };
        volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": key, "operator": "In", "values": values}]}]}});
    }
    if one_in(random, 3) {
        volume["metadata"]["labels"][ZONE] = zones(random).join("__").into();
    }
    match random.below(8) {
        // Occasionally two volumes are the same one.
        0..=4 => {
            let handle = if one_in(random, 4) { format!("h{}", random.below(3)) } else { format!("h{at}") };
            let driver = one(random, &[DRIVER, DRIVER, DRIVER, "other"]);
            volume["spec"]["csi"] = json!({"driver": driver, "volumeHandle": handle});
        }
        5 | 6 => {
            let id = one(random, &["vol-1", "vol-2", "vol-3", "aws://x/y/z"]);
            volume["spec"]["awsElasticBlockStore"] = json!({"volumeID": id});
        }
        _ => {}
    }
    if one_in(random, 8) {
        volume["status"]["phase"] = "Available".into();
        volume["spec"]["storageClassName"] = one(random, &["late", "static"]).into();
    }
    volume
}

fn class(random: &mut Random) -> Value {
    let (name, provisioner, mode) = one(
        random,
        &[
            ("late", DRIVER, "WaitForFirstConsumer"),
            ("zoned", DRIVER, "WaitForFirstConsumer"),
            ("in-tree", "kubernetes.io/aws-ebs", "WaitForFirstConsumer"),
            ("static", "kubernetes.io/no-provisioner", "WaitForFirstConsumer"),
            ("now", DRIVER, "Immediate"),
        ],
    );
    let mut class =
        json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode});
    if name == "zoned" {
        let zones = one(random, &[&["a"][..], &["b", "c"]]);
        class["allowedTopologies"] = json!([{"matchLabelExpressions": [{"key": ZONE, "values": zones}]}]);
    }
    class
}

/// What the node can attach.
pub fn csi_node(random: &mut Random, node: &str) -> Value {
    let mut drivers = Vec::new();
    for driver in [DRIVER, MIGRATED] {
        match random.below(5) {
            0 => {}
            1 => drivers.push(json!({"name": driver, "nodeID": node})),
            _ => drivers
                .push(json!({"name": driver, "nodeID": node, "allocatable": {"count": 1 + random.below(3)}})),
        }
    }
    let mut csi_node = json!({"metadata": {"name": node, "annotations": {}}, "spec": {"drivers": drivers}});
    if one_in(random, 2) {
        csi_node["metadata"]["annotations"]["storage.alpha.kubernetes.io/migrated-plugins"] =
            "kubernetes.io/aws-ebs".into();
    }
    csi_node
}

/// Most of the objects that pods with volumes need.
pub fn begin(random: &mut Random, objects: &mut Objects, sound: bool) {
    for _ in 0..20 {
        objects.apply(object(ObjectKind::StorageClass, class(random)));
    }
    for at in 0..VOLUMES {
        objects.apply(object(ObjectKind::PersistentVolume, volume(random, at, sound)));
    }
    for namespace in ["red", "blue"] {
        let names = (0..SHARED).map(|at| format!("c{at}")).chain((0..EACH).map(|at| format!("each-{at}")));
        for name in names {
            let claim = claim(random, namespace, &name, sound);
            objects.apply(object(ObjectKind::PersistentVolumeClaim, claim));
        }
    }
}

/// The claims of a pod's generic ephemeral volumes, which most pods get soon.
pub fn ephemeral_claims(random: &mut Random, pod: &Value, sound: bool) -> Vec<Object> {
    let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
    let mut claims = Vec::new();
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        if volume["ephemeral"].is_null() || one_in(random, 8) {
            continue;
        }
        let mut claim = claim(random, namespace, &format!("{name}-{}", text(&volume["name"])), sound);
        let uid = if one_in(random, 12) { "another" } else { name };
        claim["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid, "controller": true}]);
        claims.push(object(ObjectKind::PersistentVolumeClaim, claim));
    }
    claims
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Changes some storage object. `ephemeral` are names of claims of pods; with `sound`, most objects are as one would expect.
pub fn change(
    random: &mut Random,
    objects: &mut Objects,
    nodes: &[String],
    ephemeral: &[ObjectName],
    sound: bool,
) {
    let nowhere = Atom::default();
    let at = random.below(VOLUMES);
    match random.below(16) {
        0..=3 => {
            let namespace = if sound { "red" } else { one(random, &["red", "blue"]) };
            let name = match random.below(4) {
                0 => format!("c{}", random.below(SHARED)),
                _ => format!("each-{}", random.below(EACH)),
            };
            let claim = claim(random, namespace, &name, sound);
            objects.apply(object(ObjectKind::PersistentVolumeClaim, claim));
        }
        4 | 5 if !ephemeral.is_empty() => {
            let name = one(random, ephemeral);
            if one_in(random, 4) {
                objects.remove(ObjectKind::PersistentVolumeClaim, &name);
                return;
            }
            let mut claim = claim(random, name.namespace.as_str(), &name.name, sound);
            let pod = name.name.split('-').next().unwrap_or_default();
            claim["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": pod, "controller": true}]);
            objects.apply(object(ObjectKind::PersistentVolumeClaim, claim));
        }
        6..=8 if one_in(random, 5) => {
            objects.remove(ObjectKind::PersistentVolume, &ObjectName::new(&nowhere, &format!("pv{at}")));
        }
        6..=8 => {
            objects.apply(object(ObjectKind::PersistentVolume, volume(random, at, sound)));
        }
        9 | 10 if !nodes.is_empty() => {
            let node = one(random, nodes);
            if one_in(random, 5) {
                objects.remove(ObjectKind::CsiNode, &ObjectName::new(&nowhere, &node));
            } else {
                objects.apply(object(ObjectKind::CsiNode, csi_node(random, &node)));
            }
        }
        11..=13 if !nodes.is_empty() => {
            let name = format!("a{}", random.below(6));
            if one_in(random, 3) {
                objects.remove(ObjectKind::VolumeAttachment, &ObjectName::new(&nowhere, &name));
                return;
            }
            let spec = json!({"attacher": one(random, &[DRIVER, DRIVER, MIGRATED]), "nodeName": one(random, nodes),
                "source": {"persistentVolumeName": format!("pv{at}")}});
            let attachment = json!({"metadata": {"name": name}, "spec": spec});
            objects.apply(object(ObjectKind::VolumeAttachment, attachment));
        }
        14 => {
            objects.apply(object(ObjectKind::StorageClass, class(random)));
        }
        _ if sound && !one_in(random, 20) => {}
        _ => change_driver(random, objects),
    }
}

fn change_driver(random: &mut Random, objects: &mut Objects) {
    let capacity = ObjectName::new(&Atom::new("red"), "room");
    match random.below(6) {
        0 => {
            let capacity = json!({"metadata": {"name": "room", "namespace": "red"}, "storageClassName": "late",
                "capacity": one(random, &["1Gi", "50Gi"]),
                "nodeTopology": {"matchLabels": {"disk": one(random, &["ssd", "hdd"])}}});
            objects.apply(object(ObjectKind::StorageCapacity, capacity));
        }
        1 => {
            objects.remove(ObjectKind::StorageCapacity, &capacity);
        }
        _ => {
            let spec = json!({"storageCapacity": one_in(random, 6), "preventPodSchedulingIfMissing": one_in(random, 3)});
            let driver = json!({"metadata": {"name": one(random, &[DRIVER, MIGRATED])}, "spec": spec});
            objects.apply(object(ObjectKind::CsiDriver, driver));
        }
    }
}
