//! Claims and volumes, with the simulated binder on.

use secondmate_sandbox::{NodeShape, Sandbox};
use serde_json::{Value, json};

use crate::client::{until, with};

async fn bound_by_itself() -> Sandbox {
    let sandbox = with(|options| {
        options.kubelets.enabled = false;
        options.volume_binder = true;
    })
    .await;
    sandbox.add_nodes(0, 3, &NodeShape::default());
    sandbox
}

fn class(name: &str, mode: &str, provisioner: &str, default: bool) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()}},
        "provisioner": provisioner, "volumeBindingMode": mode})
}

fn claim(name: &str, class: Option<&str>, size: &str) -> Value {
    let mut claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}});
    if let Some(class) = class {
        claim["spec"]["storageClassName"] = Value::from(class);
    }
    claim
}

fn phase(sandbox: &Sandbox, name: &str) -> Value {
    sandbox.objects().get("persistentvolumeclaims", "default", name).unwrap()["status"]["phase"].clone()
}

#[tokio::test]
async fn a_claim_that_waits_for_its_consumer_gets_a_volume_in_the_zone_of_the_chosen_node() {
    let sandbox = bound_by_itself().await;
    let objects = sandbox.objects();
    objects.create(class("late", "WaitForFirstConsumer", "example.com/disk", true)).unwrap();
    objects.create(class("now", "Immediate", "example.com/disk", false)).unwrap();
    objects.create(claim("late", None, "1Gi")).unwrap();
    objects.create(claim("now", Some("now"), "1Gi")).unwrap();
    until("the immediate one is bound", || phase(&sandbox, "now") == "Bound").await;
    assert_eq!(phase(&sandbox, "late"), "Pending");
    let chosen = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-00001"}}});
    objects.merge("persistentvolumeclaims", "default", "late", "", &chosen).unwrap();
    until("the other one too", || phase(&sandbox, "late") == "Bound").await;
    let claim = objects.get("persistentvolumeclaims", "default", "late").unwrap();
    assert_eq!(claim["spec"]["storageClassName"], "late", "the default class");
    assert_eq!(claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"], "yes");
    let volume = objects.get("persistentvolumes", "", claim["spec"]["volumeName"].as_str().unwrap()).unwrap();
    let node = objects.get("nodes", "", "node-00001").unwrap();
    assert_eq!(
        volume
            .pointer("/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values/0")
            .unwrap(),
        &node["metadata"]["labels"]["topology.kubernetes.io/zone"]
    );
    assert_eq!(
        (&volume["status"]["phase"], &volume["spec"]["claimRef"]["name"]),
        (&json!("Bound"), &json!("late"))
    );
    objects.delete("persistentvolumeclaims", "default", "late", None).unwrap();
    objects.delete("persistentvolumeclaims", "default", "now", None).unwrap();
    until("volumes go with their claims", || objects.count("persistentvolumes") == 0).await;
}

#[tokio::test]
async fn volumes_that_are_there_are_taken_first_the_smallest_that_fits_or_the_one_that_names_the_claim() {
    let sandbox = bound_by_itself().await;
    let objects = sandbox.objects();
    objects.create(class("made", "Immediate", "kubernetes.io/no-provisioner", false)).unwrap();
    let volume = |name: &str, size: &str, claim: Option<&str>| {
        let mut volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "made",
                "hostPath": {"path": "/x"}}});
        if let Some(claim) = claim {
            volume["spec"]["claimRef"] = json!({"namespace": "default", "name": claim});
        }
        volume
    };
    for (name, size, claim) in
        [("large", "8Gi", None), ("small", "2Gi", None), ("tiny", "1Gi", None), ("meant", "9Gi", Some("b"))]
    {
        objects.create(volume(name, size, claim)).unwrap();
    }
    objects.create(claim("a", Some("made"), "2Gi")).unwrap();
    objects.create(claim("b", Some("made"), "1Gi")).unwrap();
    objects.create(claim("c", Some("made"), "100Gi")).unwrap();
    let taken = |name: &str| {
        objects.get("persistentvolumeclaims", "default", name).unwrap()["spec"]["volumeName"].clone()
    };
    until("both have their volumes", || taken("a") == "small" && taken("b") == "meant").await;
    assert_eq!(phase(&sandbox, "c"), "Pending");
    objects.create(volume("huge", "200Gi", None)).unwrap();
    until("a volume that comes later is taken", || taken("c") == "huge").await;
    objects.delete("persistentvolumeclaims", "default", "c", None).unwrap();
    until("it is kept", || {
        objects.get("persistentvolumes", "", "huge").unwrap()["status"]["phase"] == "Released"
    })
    .await;
}
