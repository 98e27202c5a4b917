//! What a pod with volumes costs if its class is known.

use crate::objects::object;
use crate::world::{AT_ONCE, World, asking};
use secondmate_model::objects::{ObjectKind, ObjectName};
use secondmate_model::{Atom, NodeInfo};
use serde_json::{Value, json};

const DRIVER: &str = "d.example.com";
const ZONE: &str = "topology.kubernetes.io/zone";

/// A pod that uses a claim.
fn using(claim: &str) -> Value {
    let mut pod = asking("100m");
    pod["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
    pod
}

fn apply(world: &mut World, kind: ObjectKind, value: Value) {
    world.snapshot.objects_mut().apply(object(kind, value));
}

/// A claim that waits for its first consumer.
fn waiting(world: &mut World, name: &str) {
    let spec = json!({"storageClassName": "late", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}});
    apply(
        world,
        ObjectKind::PersistentVolumeClaim,
        json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec}),
    );
}

/// A claim, bound to a volume of its own in a zone.
fn bound(world: &mut World, name: &str, zone: &str) {
    let affinity = json!({"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}]}});
    let volume = json!({"metadata": {"name": format!("pv-{name}"), "labels": {ZONE: zone}},
        "spec": {"csi": {"driver": DRIVER, "volumeHandle": format!("h-{name}")}, "nodeAffinity": affinity},
        "status": {"phase": "Bound"}});
    apply(world, ObjectKind::PersistentVolume, volume);
    let metadata =
        json!({"name": name, "namespace": "ns", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}});
    let spec = json!({"storageClassName": "late", "accessModes": ["ReadWriteOnce"], "volumeName": format!("pv-{name}")});
    apply(world, ObjectKind::PersistentVolumeClaim, json!({"metadata": metadata, "spec": spec}));
}

fn attached(world: &mut World, claim: &str, node: &NodeInfo) {
    let spec = json!({"attacher": DRIVER, "nodeName": node.name().as_str(),
        "source": {"persistentVolumeName": format!("pv-{claim}")}});
    apply(
        world,
        ObjectKind::VolumeAttachment,
        json!({"metadata": {"name": format!("a-{claim}")}, "spec": spec}),
    );
}

fn limit(world: &mut World, node: usize, count: usize) {
    let drivers = json!([{"name": DRIVER, "nodeID": "n", "allocatable": {"count": count}}]);
    let csi_node = json!({"metadata": {"name": format!("n{node}")}, "spec": {"drivers": drivers}});
    apply(world, ObjectKind::CsiNode, csi_node);
}

/// Nodes in three zones, each of which can attach a hundred volumes.
fn world(nodes: usize) -> World {
    let mut world = World::new(nodes, 0, AT_ONCE);
    let class = json!({"metadata": {"name": "late"}, "provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer"});
    apply(&mut world, ObjectKind::StorageClass, class);
    (0..nodes).for_each(|node| limit(&mut world, node, 100));
    world
}

#[test]
fn pods_with_a_claim_of_their_own_each_look_at_the_node_that_changed() {
    for nodes in [12, 2000] {
        let mut world = world(nodes);
        for at in 0..30 {
            let claim = format!("c{at}");
            waiting(&mut world, &claim);
            let before = world.standing.counts().nodes_evaluated;
            let node = world.place(&using(&claim)).expect("the pod fits");
            let looked_at = world.standing.counts().nodes_evaluated - before;
            assert_eq!(looked_at, if at == 0 { nodes as u64 } else { 1 }, "pod {at}, {nodes} nodes");
            // The volume is provisioned and attached, as with a real driver.
            bound(&mut world, &claim, node.node().labels.get(&Atom::new(ZONE)).expect("a zone").as_str());
            attached(&mut world, &claim, &node);
        }
        let counts = world.standing.counts();
        assert_eq!(
            (counts.made, counts.rebuilds, counts.hits, counts.plain.len()),
            (1, 0, 30, 0),
            "{counts:?}"
        );
    }
}

#[test]
fn pods_whose_volumes_are_in_the_same_zone_are_alike() {
    for nodes in [12, 2000] {
        let mut world = world(nodes);
        for at in 0..30 {
            let claim = format!("c{at}");
            let zone = ["z0", "z1"][at % 2];
            bound(&mut world, &claim, zone);
            let node = world.place(&using(&claim)).expect("the pod fits");
            assert_eq!(node.node().labels.get(&Atom::new(ZONE)).map(Atom::as_str), Some(zone));
            attached(&mut world, &claim, &node);
        }
        let counts = world.standing.counts();
        assert_eq!((counts.made, counts.rebuilds, counts.plain.len()), (2, 0, 0), "{counts:?}");
        assert!(counts.nodes_evaluated <= 2 * nodes as u64 + 60, "{counts:?}");
    }
}

#[test]
fn pods_that_share_a_claim_look_at_few_nodes_however_many_use_it() {
    let mut world = world(500);
    bound(&mut world, "shared", "z0");
    let pod = using("shared");
    world.nodes_for(&pod);
    for _ in 0..8 {
        assert!(world.nodes_for(&pod) <= 9, "those that use it already");
    }
    // From here on they are equivalent, since they use this volume.
    world.nodes_for(&pod);
    for _ in 0..30 {
        assert_eq!(world.nodes_for(&pod), 1);
    }
    assert_eq!(world.standing.counts().made, 2);
}

#[test]
fn what_changes_of_storage_has_the_nodes_looked_at_that_it_concerns() {
    let mut world = world(200);
    for claim in ["one", "two", "three", "four"] {
        waiting(&mut world, claim);
    }
    world.place(&using("one")).expect("the pod fits");
    let node = world.place(&using("two")).expect("the pod fits");
    world.nodes_for(&asking("1m"));
    limit(&mut world, 150, 0);
    limit(&mut world, 151, 7);
    assert_eq!(
        world.nodes_for(&using("three")),
        4,
        "the two, that of the pod before, and that of the pod without a volume"
    );
    // The claim of a pod that is on a node, and one that is not used yet.
    bound(&mut world, "two", node.node().labels.get(&Atom::new(ZONE)).expect("a zone").as_str());
    bound(&mut world, "nobody", "z0");
    assert_eq!(world.nodes_for(&using("four")), 2);
    let counts = world.standing.counts();
    assert_eq!((counts.made, counts.rebuilds), (2, 0), "{counts:?}");
    // Pods without volumes are not affected.
    assert!(world.nodes_for(&asking("1m")) <= 3);
    bound(&mut world, "five", "z0");
    assert_eq!(world.nodes_for(&asking("1m")), 1);
    assert_eq!(world.standing.counts().rebuilds, 0);
}

#[test]
fn a_volume_that_is_on_a_node_already_counts_there_once() {
    let mut world = world(2);
    for claim in ["one", "two"] {
        bound(&mut world, claim, "z0");
    }
    limit(&mut world, 0, 1);
    assert_eq!(world.place(&using("one")).expect("the pod fits").name().as_str(), "n0");
    // Another pod with the same volume needs no more room for it; one with a different volume does.
    assert!(world.message(&using("two")).contains("exceed max volume count"));
    assert_eq!(world.place(&using("one")).expect("the pod fits").name().as_str(), "n0");
    assert!(world.message(&using("two")).contains("exceed max volume count"));
    assert_eq!(world.standing.counts().made, 1);
}

#[test]
fn a_claim_for_which_only_one_pod_may_come_rejects_the_next_without_a_look_at_the_nodes() {
    let mut world = world(100);
    bound(&mut world, "only", "z0");
    let mut claim = json!({"metadata": {"name": "only", "namespace": "ns",
        "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "pv-only"}});
    claim["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    apply(&mut world, ObjectKind::PersistentVolumeClaim, claim);
    world.place(&using("only")).expect("the pod fits");
    for at in 0..3 {
        let before = world.standing.counts().nodes_evaluated;
        assert!(world.message(&using("only")).contains("ReadWriteOncePod access mode already in-use"));
        let looked_at = world.standing.counts().nodes_evaluated - before;
        assert!(looked_at <= if at == 0 { 100 } else { 1 }, "{looked_at}");
    }
}

#[test]
fn a_claim_for_which_volumes_lie_ready_takes_the_plain_pass_and_the_metric_says_on_whose_account() {
    let mut world = world(5);
    let volume = json!({"metadata": {"name": "free"}, "spec": {"storageClassName": "late", "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "5Gi"}}, "status": {"phase": "Available"}});
    apply(&mut world, ObjectKind::PersistentVolume, volume);
    waiting(&mut world, "c");
    assert_eq!(world.nodes_for(&using("c")), 0);
    let plain: Vec<_> = world.standing.counts().plain.keys().collect();
    let told: Vec<_> = plain.iter().map(|why| (why.reason(), why.plugin().map(Atom::as_str))).collect();
    assert_eq!(told, [("volumes", Some("VolumeBinding"))]);
    // Without it, the volume would be provisioned.
    world
        .snapshot
        .objects_mut()
        .remove(ObjectKind::PersistentVolume, &ObjectName::new(&Atom::default(), "free"));
    assert_eq!(world.nodes_for(&using("c")), 5);
}

#[test]
fn volumes_that_no_plugin_reads_do_not_tell_pods_apart() {
    let mut world = world(20);
    world.nodes_for(&asking("100m"));
    let mut pod = asking("100m");
    for source in ["configMap", "secret", "emptyDir", "projected", "downwardAPI", "hostPath", "nfs"] {
        pod["spec"]["volumes"] = json!([{"name": "v", source: {}}]);
        assert_eq!(world.nodes_for(&pod), 1, "{source}");
    }
    // A volume that belongs to a driver but is neither counted nor bound.
    pod["spec"]["volumes"] = json!([{"name": "v", "csi": {"driver": DRIVER}}]);
    assert_eq!(world.nodes_for(&pod), 1);
    assert_eq!(world.standing.counts().made, 1);
}
