use super::*;
use crate::fixture::{changed, context, deleted, pod, snapshot};
use secondmate_framework::{Code, Snapshot};
use serde_json::json;

fn claim(name: &str, volume: &str, class: &str) -> Value {
    json!({"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "default"},
           "spec": {"volumeName": volume, "storageClassName": class}})
}

fn volume(name: &str, driver: &str) -> Value {
    json!({"kind": "PersistentVolume", "metadata": {"name": name},
           "spec": {"csi": {"driver": driver, "volumeHandle": format!("handle-{name}")}}})
}

fn csi_node(limits: Value) -> Value {
    let drivers: Value = limits
        .as_object()
        .expect("limits by driver")
        .iter()
        .map(|(name, count)| json!({"name": name, "allocatable": {"count": count}}))
        .collect();
    json!({"kind": "CSINode", "metadata": {"name": "n1"}, "spec": {"drivers": drivers}})
}

fn driver(name: &str, must_be_installed: bool) -> Value {
    json!({"kind": "CSIDriver", "metadata": {"name": name},
           "spec": {"preventPodSchedulingIfMissing": must_be_installed}})
}

fn attachment(name: &str, driver: &str, volume: &str) -> Value {
    json!({"kind": "VolumeAttachment", "metadata": {"name": name},
           "spec": {"attacher": driver, "nodeName": "n1", "source": {"persistentVolumeName": volume}}})
}

fn volumes(claims: &[&str]) -> Value {
    claims.iter().map(|c| json!({"name": "v", "persistentVolumeClaim": {"claimName": c}})).collect()
}

fn existing(name: &str, volumes: Value) -> Value {
    json!({"kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": "n1", "volumes": volumes}})
}

/// Claims `c1` to `c9`, each with a volume of driver `d`; `e1` with one of driver `e`; unbound ones; a node.
fn world(more: Vec<Value>) -> Snapshot {
    let mut objects = vec![
        json!({"kind": "Node", "metadata": {"name": "n1"}}),
        claim("e1", "ve1", ""),
        volume("ve1", "e"),
        claim("twin", "twin", ""),
        json!({"kind": "PersistentVolume", "metadata": {"name": "twin"},
               "spec": {"csi": {"driver": "e", "volumeHandle": "handle-v1"}}}),
        claim("unbound", "", "class-d"),
        claim("unbound2", "", "class-d"),
        claim("gone", "no-such-volume", "class-d"),
        claim("stray", "", "no-such-class"),
        claim("old", "", "class-ebs"),
        claim("file", "", "class-file"),
        json!({"kind": "StorageClass", "metadata": {"name": "class-d"}, "provisioner": "d"}),
        json!({"kind": "StorageClass", "metadata": {"name": "class-ebs"}, "provisioner": "kubernetes.io/aws-ebs"}),
        json!({"kind": "StorageClass", "metadata": {"name": "class-file"}, "provisioner": "kubernetes.io/azure-file"}),
        claim("ebs", "vol-ebs", ""),
        json!({"kind": "PersistentVolume", "metadata": {"name": "vol-ebs"},
               "spec": {"awsElasticBlockStore": {"volumeID": "aws:///vol-1"}}}),
    ];
    for i in 1..=9 {
        objects.push(claim(&format!("c{i}"), &format!("v{i}"), ""));
        objects.push(volume(&format!("v{i}"), "d"));
    }
    objects.extend(more);
    snapshot(objects)
}

fn run_with(parity: Parity, snapshot: &Snapshot, pod: &Arc<Pod>) -> Status {
    let plugin = new(&Value::Null, &Handle::new(Default::default(), parity)).expect("no arguments");
    let cx = context(snapshot);
    let mut state = CycleState::new();
    let status = plugin.clone().as_pre_filter().expect("prefilters").pre_filter(&cx, &mut state, pod).status;
    if !status.is_success() {
        return status;
    }
    let filter = plugin.clone().as_filter().expect("filters");
    let verdict = filter.filter(&cx, &state, pod, &snapshot.nodes()[0]);
    assert_eq!(
        verdict,
        filter.filter(&cx, &CycleState::new(), pod, &snapshot.nodes()[0]),
        "without PreFilter"
    );
    verdict
}

fn run(snapshot: &Snapshot, pod_volumes: Value) -> Status {
    let pod = pod(json!({"metadata": {"name": "p"}, "spec": {"volumes": pod_volumes}}));
    run_with(Parity::Strict, snapshot, &pod)
}

fn exceeded() -> Status {
    Status::unschedulable("node(s) exceed max volume count")
}

#[test]
fn a_driver_that_must_be_installed_is_looked_for() {
    let missing =
        |driver: &str| Status::unschedulable(format!("{driver} CSI driver is not installed on the node"));
    let ebs = "ebs.csi.aws.com";
    let inline = || json!([{"name": "x", "awsElasticBlockStore": {"volumeID": "vol-1"}}]);
    for (what, more, pod_volumes, expected) in [
        ("not asked for", vec![driver("d", false)], volumes(&["c1"]), Status::SUCCESS),
        ("no CSINode", vec![driver("d", true)], volumes(&["c1"]), missing("d")),
        ("a claim without a volume", vec![driver("d", true)], volumes(&["unbound"]), missing("d")),
        ("another driver", vec![driver("d", true)], volumes(&["e1"]), Status::SUCCESS),
        ("missing", vec![driver("d", true), csi_node(json!({"e": 9}))], volumes(&["e1", "c1"]), missing("d")),
        (
            "without a limit",
            vec![driver("d", true), csi_node(json!({"d": null}))],
            volumes(&["c1"]),
            Status::SUCCESS,
        ),
        (
            "before the limits",
            vec![driver("d", true), csi_node(json!({"e": 0}))],
            volumes(&["e1", "c1"]),
            missing("d"),
        ),
        // On nodes with a CSINode, in-tree volumes belong to the driver.
        ("in-tree inline, no CSINode", vec![driver(ebs, true)], inline(), Status::SUCCESS),
        ("in-tree inline", vec![driver(ebs, true), csi_node(json!({}))], inline(), missing(ebs)),
        ("in-tree volume, no CSINode", vec![driver(ebs, true)], volumes(&["ebs"]), Status::SUCCESS),
        ("in-tree volume", vec![driver(ebs, true), csi_node(json!({}))], volumes(&["ebs"]), missing(ebs)),
        ("in-tree class, no CSINode", vec![driver(ebs, true)], volumes(&["old"]), Status::SUCCESS),
        ("in-tree class", vec![driver(ebs, true), csi_node(json!({}))], volumes(&["old"]), missing(ebs)),
    ] {
        assert_eq!(run(&world(more), pod_volumes), expected, "{what}");
    }
}

#[test]
fn volumes_of_a_driver_are_counted_once_each() {
    let two_on_node = || vec![existing("a", volumes(&["c1", "c2"])), existing("b", volumes(&["c2"]))];
    for (what, limit, pod_volumes, expected) in [
        ("room for one more", 3, volumes(&["c3"]), Status::SUCCESS),
        ("no room", 2, volumes(&["c3"]), exceeded()),
        ("shared with the node", 2, volumes(&["c1"]), Status::SUCCESS),
        ("one shared, one new", 2, volumes(&["c1", "c3"]), exceeded()),
        ("twice the same", 3, volumes(&["c3", "c3"]), Status::SUCCESS),
        ("other driver", 0, volumes(&["e1"]), Status::SUCCESS),
        ("unbound", 2, volumes(&["unbound"]), exceeded()),
        ("two unbound", 3, volumes(&["unbound", "unbound2"]), exceeded()),
        ("bound to a volume that is gone", 2, volumes(&["gone"]), exceeded()),
        ("class that is gone", 0, volumes(&["stray"]), Status::SUCCESS),
        ("in-tree class that is not counted", 0, volumes(&["file"]), Status::SUCCESS),
        ("limit of zero", 0, volumes(&["c1"]), Status::SUCCESS),
    ] {
        let mut more = two_on_node();
        more.push(csi_node(json!({"d": limit})));
        assert_eq!(run(&world(more), pod_volumes), expected, "{what}");
    }
    // A driver without a limit does not affect the limits of others.
    let mut more = two_on_node();
    more.push(csi_node(json!({"d": 2, "e": null})));
    assert_eq!(run(&world(more), volumes(&["c3"])), exceeded());
    // Without limits, nothing is counted.
    assert_eq!(run(&world(two_on_node()), volumes(&["c3"])), Status::SUCCESS);
    let no_limit =
        json!({"kind": "CSINode", "metadata": {"name": "n1"}, "spec": {"drivers": [{"name": "d"}]}});
    assert_eq!(run(&world(vec![no_limit]), volumes(&["c3"])), Status::SUCCESS);
}

#[test]
fn the_same_handle_of_another_driver_is_another_volume() {
    let more = |pod: &str| vec![existing("a", volumes(&[pod])), csi_node(json!({"d": 1, "e": 1}))];
    let both = volumes(&["c1", "twin"]);
    assert_eq!(run(&world(more("c1")), both.clone()), Status::SUCCESS);
    assert_eq!(run(&world(more("e1")), both), exceeded());
}

#[test]
fn an_unbound_claim_of_a_pod_on_the_node_is_the_same_volume() {
    let more = |limit| vec![existing("a", volumes(&["unbound"])), csi_node(json!({"d": limit}))];
    assert_eq!(run(&world(more(1)), volumes(&["unbound"])), Status::SUCCESS);
    assert_eq!(run(&world(more(1)), volumes(&["unbound2"])), exceeded());
    assert_eq!(run(&world(more(2)), volumes(&["unbound2"])), Status::SUCCESS);
}

#[test]
fn attachments_without_a_pod_count() {
    let more = |limit| {
        vec![
            existing("a", volumes(&["c1"])),
            attachment("x1", "d", "v1"),
            attachment("x2", "d", "v2"),
            attachment("x3", "d", "v2"),
            attachment("x4", "e", "ve1"),
            attachment("x5", "d", "no-such-volume"),
            attachment("x6", "d", "vol-ebs"),
            csi_node(json!({"d": limit})),
        ]
    };
    // v1 through its pod, v2 attached, and the new one.
    assert_eq!(run(&world(more(2)), volumes(&["c3"])), exceeded());
    assert_eq!(run(&world(more(3)), volumes(&["c3"])), Status::SUCCESS);

    // Upstream's quirk: a volume that is attached and also comes with the pod counts twice.
    let pod = pod(json!({"metadata": {"name": "p"}, "spec": {"volumes": volumes(&["c2"])}}));
    assert_eq!(run_with(Parity::Strict, &world(more(2)), &pod), exceeded());
    assert_eq!(run_with(Parity::Sensible, &world(more(2)), &pod), Status::SUCCESS);
    assert_eq!(run_with(Parity::Sensible, &world(more(1)), &pod), exceeded());
}

#[test]
fn in_tree_volumes_count_for_their_csi_driver_where_there_is_a_csi_node() {
    let inline = json!([{"name": "i", "awsElasticBlockStore": {"volumeID": "vol-2"}}]);
    let limit = |limit: i32| csi_node(json!({"ebs.csi.aws.com": limit}));
    for (what, more, pod_volumes, expected) in [
        ("volume", vec![limit(0)], volumes(&["ebs"]), exceeded()),
        ("class", vec![limit(0)], volumes(&["old"]), exceeded()),
        ("inline", vec![limit(0)], inline.clone(), exceeded()),
        ("no CSINode", vec![], inline.clone(), Status::SUCCESS),
        ("inline and room", vec![limit(1)], inline.clone(), Status::SUCCESS),
        (
            "inline beside inline",
            vec![limit(1), existing("a", inline.clone())],
            inline.clone(),
            Status::SUCCESS,
        ),
        (
            "inline and the same by claim",
            vec![
                limit(1),
                existing("a", json!([{"name": "i", "awsElasticBlockStore": {"volumeID": "vol-1"}}])),
            ],
            volumes(&["ebs"]),
            Status::SUCCESS,
        ),
    ] {
        assert_eq!(run(&world(more), pod_volumes), expected, "{what}");
    }
}

#[test]
fn a_volume_on_the_node_of_which_nothing_can_be_told_is_no_other_pods_trouble_in_sensible_parity() {
    let shared = json!([{"name": "i", "azureDisk": {"diskName": "d", "diskURI": "u", "kind": "Shared"}}]);
    let ephemeral = json!([{"name": "e", "ephemeral": {}}]);
    let limit = |limit: i32| csi_node(json!({"d": limit}));
    for odd in [
        vec![claim("a-e", "v1", ""), existing("a", ephemeral)],
        vec![existing("a", shared)],
        vec![existing("a", volumes(&[""]))],
    ] {
        let with = |count| [odd.clone(), vec![existing("b", volumes(&["c2"])), limit(count)]].concat();
        let pod = pod(json!({"metadata": {"name": "p"}, "spec": {"volumes": volumes(&["c1"])}}));
        assert_eq!(run_with(Parity::Strict, &world(with(9)), &pod).code(), Code::Error);
        assert_eq!(run_with(Parity::Sensible, &world(with(2)), &pod), Status::SUCCESS, "{odd:?}");
        assert_eq!(run_with(Parity::Sensible, &world(with(1)), &pod), exceeded(), "{odd:?}");
    }
}

#[test]
fn what_cannot_be_told_is_an_error_or_a_rejection() {
    let shared = json!([{"name": "i", "azureDisk": {"diskName": "d", "diskURI": "u", "kind": "Shared"}}]);
    let untranslatable = || {
        Status::error(
            "converting volume(i) from inline to csi: kind(Shared) is not supported in csi migration",
        )
    };
    let ephemeral = json!([{"name": "e", "ephemeral": {}}]);
    let foreign = |pod: &str| claim(&format!("{pod}-e"), "v1", "");
    let not_owner = |pod: &str| {
        Status::error(format!("PVC default/{pod}-e was not created for pod default/{pod} (pod is not owner)"))
    };
    let limit = || csi_node(json!({"d": 9}));
    let of_namesake = || {
        let mut claim = foreign("p");
        claim["metadata"]["ownerReferences"] =
            json!([{"kind": "Pod", "name": "p", "uid": "earlier", "controller": true}]);
        claim
    };
    for (what, more, pod_volumes, expected) in [
        ("no volumes", vec![], json!([]), Status::skip()),
        (
            "a disk that is not attached",
            vec![],
            json!([{"name": "x", "iscsi": {"iqn": "i"}}]),
            Status::skip(),
        ),
        (
            "missing claim",
            vec![],
            volumes(&["missing"]),
            Status::unresolvable(
                "looking up PVC default/missing: persistentvolumeclaim \"missing\" not found",
            ),
        ),
        ("claim without a name", vec![], volumes(&[""]), Status::error("PersistentVolumeClaim had no name")),
        ("foreign ephemeral claim", vec![foreign("p")], ephemeral.clone(), not_owner("p")),
        (
            "ephemeral claim of an earlier pod of the name",
            vec![of_namesake()],
            ephemeral.clone(),
            not_owner("p"),
        ),
        (
            "foreign ephemeral claim of a pod on the node",
            vec![foreign("a"), existing("a", ephemeral.clone()), limit()],
            volumes(&["c1"]),
            not_owner("a"),
        ),
        (
            "missing claim of a pod on the node",
            vec![existing("a", volumes(&["missing"])), limit()],
            volumes(&["c1"]),
            Status::SUCCESS,
        ),
        ("untranslatable", vec![limit()], shared.clone(), untranslatable()),
        ("untranslatable without CSINode", vec![], shared.clone(), Status::SUCCESS),
        (
            "untranslatable on the node",
            vec![existing("a", shared.clone()), limit()],
            volumes(&["c1"]),
            untranslatable(),
        ),
    ] {
        assert_eq!(run(&world(more), pod_volumes), expected, "{what}");
    }
}

#[test]
fn an_ephemeral_claim_of_the_pod_is_counted() {
    let mut own = claim("p-e", "", "class-d");
    own["metadata"]["ownerReferences"] =
        json!([{"kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
    let world = world(vec![own, csi_node(json!({"d": 0}))]);
    assert_eq!(run(&world, json!([{"name": "e", "ephemeral": {}}])), exceeded());
}

#[test]
fn hints_tell_what_may_help() {
    let plugin = new(&Value::Null, &Handle::default()).expect("no arguments");
    let ours = pod(json!({"metadata": {"name": "p"}, "spec": {"volumes": [
        {"name": "e", "ephemeral": {}},
        {"name": "i", "awsElasticBlockStore": {"volumeID": "vol-1"}},
    ]}}));
    let with_claim = pod(json!({"metadata": {"name": "p"}, "spec": {"volumes": volumes(&["c"])}}));
    let gone = |node: &str, volumes: Value| {
        deleted(&pod(json!({"metadata": {"name": "o"}, "spec": {"nodeName": node, "volumes": volumes}})))
    };
    let vsphere = json!([{"name": "s", "vsphereVolume": {"volumePath": "p"}}]);
    let detached = |driver: &str| changed(Some(attachment("x", driver, "v")), None);
    let limits = |old: Value, new: Value| changed(Some(csi_node(old)), Some(csi_node(new)));
    for (what, pod, change, expected) in [
        ("pod with a claim", &ours, gone("n1", volumes(&["x"])), Hint::Queue),
        ("pod with a vSphere volume", &ours, gone("n1", vsphere), Hint::Queue),
        (
            "pod with none of these",
            &ours,
            gone("n1", json!([{"name": "x", "iscsi": {"iqn": "i"}}])),
            Hint::Skip,
        ),
        ("pod that waited", &ours, gone("", volumes(&["x"])), Hint::Skip),
        ("our ephemeral claim", &ours, changed(None, Some(claim("p-e", "", ""))), Hint::Queue),
        ("another claim", &ours, changed(None, Some(claim("e", "", ""))), Hint::Skip),
        ("our driver detached", &ours, detached("ebs.csi.aws.com"), Hint::Queue),
        ("another driver detached", &ours, detached("d"), Hint::Skip),
        ("any driver detached, we have a claim", &with_claim, detached("d"), Hint::Queue),
        ("new CSINode", &ours, changed(None, Some(csi_node(json!({})))), Hint::Queue),
        ("limit grew", &ours, limits(json!({"d": 1}), json!({"d": 2})), Hint::Queue),
        (
            "one of two limits grew",
            &ours,
            limits(json!({"d": 1, "e": 1}), json!({"d": 2, "e": 1})),
            Hint::Queue,
        ),
        ("limit stays", &ours, limits(json!({"d": 1}), json!({"d": 1, "e": null})), Hint::Skip),
        ("driver without a limit", &ours, limits(json!({}), json!({"d": null})), Hint::Skip),
        ("limit shrank", &ours, limits(json!({"d": 2}), json!({"d": 1})), Hint::Skip),
        ("driver appeared", &ours, limits(json!({}), json!({"d": 1})), Hint::Queue),
        ("limit went away", &ours, limits(json!({"d": 1}), json!({"d": null})), Hint::Skip),
    ] {
        assert_eq!(plugin.hint(pod, &change), expected, "{what}");
    }
}

/// Thousands of volumes, on the node and of the pod, and hundreds of drivers.
#[test]
fn many_volumes_are_counted_as_few_are() {
    const MANY: usize = 6_000;
    // Each tenth is a driver of its own, and half of the pod's volumes are on the node already.
    let driver_of = |at: usize| if at.is_multiple_of(10) { format!("d{at}") } else { "d".to_owned() };
    let name = |at: usize| format!("many-{at}");
    let mut objects = Vec::new();
    for at in 0..MANY {
        objects.push(claim(&name(at), &name(at), ""));
        objects.push(volume(&name(at), &driver_of(at)));
    }
    let claims = |range: std::ops::Range<usize>| -> Value {
        range.map(|at| json!({"name": "v", "persistentVolumeClaim": {"claimName": name(at)}})).collect()
    };
    objects.push(existing("a", claims(0..MANY / 2)));
    let of_d = MANY - MANY / 10;
    for (limit, expected) in [(of_d, Status::SUCCESS), (of_d - 1, exceeded())] {
        let with_limit = [objects.clone(), vec![csi_node(json!({"d": limit, "d3000": 1}))]].concat();
        assert_eq!(run(&world(with_limit), claims(0..MANY)), expected, "{limit}");
    }
    let with_limit = [objects, vec![csi_node(json!({"d": of_d, "d3000": 0}))]].concat();
    // Of a driver that allows none, one that is new.
    assert_eq!(run(&world(with_limit), claims(0..MANY)), exceeded());
}

#[test]
fn what_is_in_a_set_of_volumes_does_not_depend_on_how_many_there_are() {
    let driver = Atom::new("d");
    let handles: Vec<String> = (0..200).map(|at| format!("handle-{at}")).collect();
    let mut set = Attachables::default();
    for (at, handle) in handles.iter().enumerate() {
        // Each twice.
        (0..2).for_each(|_| set.insert(Attachable::of_handle(&driver, handle)));
        assert_eq!(set.iter().count(), at + 1);
        let there = handles.iter().filter(|handle| set.contains(&Attachable::of_handle(&driver, handle)));
        assert_eq!(there.count(), at + 1);
    }
}
