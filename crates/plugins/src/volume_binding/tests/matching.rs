use super::*;

#[test]
fn claims_that_cannot_be_used_reject_the_pod() {
    let mut lost = claim("lost", json!({"volumeName": "v"}));
    lost["status"] = json!({"phase": "Lost"});
    let mut going = claim("going", json!({}));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let snapshot = world(vec![
        lost,
        going,
        bound("bound", "v"),
        volume("v", 5, json!({})),
        claim("late", json!({})),
        claim("now", json!({"storageClassName": "now"})),
        claim("classless", json!({"storageClassName": null})),
        claim("empty", json!({"storageClassName": ""})),
        claim("stray", json!({"storageClassName": "nowhere"})),
        claim("prebound", json!({"volumeName": "v"})),
        claim("modeless", json!({"storageClassName": "modeless"})),
        json!({"kind": "StorageClass", "metadata": {"name": "modeless"}, "provisioner": "p"}),
        claim("p-foreign", json!({})),
    ]);
    let immediate = || Status::unresolvable("pod has unbound immediate PersistentVolumeClaims");
    for (claims, expected) in [
        (&[][..], Status::skip()),
        (&["bound"], Status::SUCCESS),
        (&["bound", "late"], Status::SUCCESS),
        (&["missing"], Status::unresolvable("persistentvolumeclaim \"missing\" not found")),
        (
            &["lost"],
            Status::unresolvable(
                "persistentvolumeclaim \"lost\" bound to non-existent persistentvolume \"v\"",
            ),
        ),
        (&["going"], Status::unresolvable("persistentvolumeclaim \"going\" is being deleted")),
        (&["now"], immediate()),
        (&["late", "now"], immediate()),
        (&["classless"], immediate()),
        (&["empty"], immediate()),
        (&["stray"], immediate()),
        (&["prebound"], immediate()),
        (&["modeless"], Status::error("VolumeBindingMode not set for StorageClass \"modeless\"")),
        // The first claim with a problem is named.
        (&["now", "missing"], Status::unresolvable("persistentvolumeclaim \"missing\" not found")),
    ] {
        assert_eq!(pre_filter(&plugin(), &snapshot, &pod_with("p", claims)).0, expected, "{claims:?}");
    }
    let ephemeral = |volume: &str| {
        let volumes = json!([{"name": volume, "ephemeral": {}}]);
        let pod = pod(json!({"metadata": {"name": "p"}, "spec": {"volumes": volumes}}));
        pre_filter(&plugin(), &snapshot, &pod).0
    };
    assert_eq!(
        ephemeral("new"),
        Status::unresolvable(
            "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-new\""
        )
    );
    assert_eq!(
        ephemeral("foreign"),
        Status::unresolvable("PVC default/p-foreign was not created for pod default/p (pod is not owner)")
    );
}

#[test]
fn an_ephemeral_claim_of_the_pod_is_treated_as_any_other() {
    let mut own = claim("p-own", json!({}));
    own["metadata"]["ownerReferences"] =
        json!([{"kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
    let snapshot = world(vec![own, volume("v", 5, in_zone("b"))]);
    let pod =
        pod(json!({"metadata": {"name": "p"}, "spec": {"volumes": [{"name": "own", "ephemeral": {}}]}}));
    assert_eq!(verdict(&plugin(), &snapshot, &pod, "a"), rejected(&[BIND_CONFLICT]));
    assert_eq!(verdict(&plugin(), &snapshot, &pod, "b"), Status::SUCCESS);
}

#[test]
fn bound_volumes_must_be_reachable() {
    let ebs = |volume_id: &str| {
        let mut spec = in_zone("ignored");
        spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0] =
            json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]});
        spec["awsElasticBlockStore"] = json!({"volumeID": volume_id});
        spec
    };
    let names_node = json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["elsewhere"]}]}]}}});
    let snapshot = snapshot(vec![
        json!({"kind": "Node", "metadata": {"name": "plain", "labels": {
            "zone": "a", "topology.kubernetes.io/zone": "a"}}}),
        json!({"kind": "Node", "metadata": {"name": "migrated", "labels": {
            "zone": "a", "topology.ebs.csi.aws.com/zone": "a"}}}),
        json!({"kind": "CSINode", "metadata": {"name": "plain", "annotations": {
            "storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/cinder"}}}),
        json!({"kind": "CSINode", "metadata": {"name": "migrated", "annotations": {
            "storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/aws-ebs,kubernetes.io/cinder"}}}),
        bound("any", "any"),
        volume("any", 5, json!({})),
        bound("here", "here"),
        volume("here", 5, in_zone("a")),
        bound("there", "there"),
        volume("there", 5, in_zone("b")),
        bound("nowhere", "nowhere"),
        volume("nowhere", 5, json!({"nodeAffinity": {"required": {"nodeSelectorTerms": []}}})),
        bound("empty", "empty"),
        volume("empty", 5, json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [{}]}}})),
        bound("odd", "odd"),
        volume(
            "odd",
            5,
            json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "Near", "values": ["a"]}]}]}}}),
        ),
        bound("gone", "gone"),
        bound("ebs", "ebs"),
        volume("ebs", 5, ebs("vol-1")),
        bound("broken", "broken"),
        volume("broken", 5, ebs("aws:///broken")),
        bound("fields", "fields"),
        volume("fields", 5, names_node),
    ]);
    let untranslatable = || {
        Status::error(
            "could not translate pv: failed to translate Kubernetes ID to EBS Volume ID Invalid format for AWS volume (aws:///broken)",
        )
    };
    for (claims, node, expected) in [
        (&["any"][..], "plain", Status::SUCCESS),
        (&["here"], "plain", Status::SUCCESS),
        (&["there"], "plain", rejected(&[NODE_CONFLICT])),
        (&["nowhere"], "plain", rejected(&[NODE_CONFLICT])),
        (&["empty"], "plain", rejected(&[NODE_CONFLICT])),
        (&["odd"], "plain", rejected(&[NODE_CONFLICT])),
        (&["gone"], "plain", rejected(&[VOLUME_MISSING])),
        // The first claim that fails decides.
        (&["gone", "there"], "plain", rejected(&[VOLUME_MISSING])),
        (&["there", "gone"], "plain", rejected(&[NODE_CONFLICT])),
        (&["ebs"], "plain", Status::SUCCESS),
        (&["ebs"], "migrated", Status::SUCCESS),
        (&["broken"], "plain", Status::SUCCESS),
        (&["broken"], "migrated", untranslatable()),
        // Upstream checks against a node without a name, so fields do not count.
        (&["fields"], "plain", Status::SUCCESS),
    ] {
        let pod = pod_with("p", claims);
        assert_eq!(verdict(&plugin(), &snapshot, &pod, node), expected, "{claims:?} on {node}");
    }
}

#[test]
fn the_smallest_volume_that_suits_is_taken() {
    let candidates = |claim_spec: Value, volumes: Vec<Value>| {
        let mut objects = volumes;
        objects.push(claim("c", claim_spec));
        let snapshot = world(objects);
        let pod = pod_with("p", &["c"]);
        let plugin = plugin();
        let (_, mut state) = pre_filter(&plugin, &snapshot, &pod);
        let node = Atom::new("a");
        plugin.clone().as_reserve().expect("reserves").reserve(&context(&snapshot), &mut state, &pod, &node);
        let reservation = state.get_mut::<PodState>().expect("a state").reservation.clone();
        reservation.map(|reservation| reservation.volumes())
    };
    let found = |volumes| candidates(json!({}), volumes);
    let with = |name: &str, field: &str, value: Value| {
        let mut volume = volume(name, 5, json!({}));
        volume["metadata"][field] = value;
        volume
    };
    let some = |name: &str| Some(vec![name.to_owned()]);
    let claimed =
        |name: &str, uid: &str| json!({"claimRef": {"namespace": "default", "name": name, "uid": uid}});

    assert_eq!(
        found(vec![volume("big", 9, json!({})), volume("small", 6, json!({})), volume("tiny", 4, json!({}))]),
        some("small")
    );
    assert_eq!(found(vec![volume("v2", 5, json!({})), volume("v1", 5, json!({}))]), some("v1"));
    assert_eq!(found(vec![volume("v", 4, json!({}))]), None);
    assert_eq!(found(vec![volume("far", 5, in_zone("b")), volume("near", 9, in_zone("a"))]), some("near"));
    assert_eq!(found(vec![volume("v", 5, json!({"storageClassName": "other"}))]), None);
    assert_eq!(found(vec![volume("v", 5, json!({"volumeMode": "Block"}))]), None);
    assert_eq!(found(vec![volume("v", 5, json!({"volumeMode": "Filesystem"}))]), some("v"));
    assert_eq!(found(vec![volume("v", 5, json!({"volumeAttributesClassName": "gold"}))]), None);
    assert_eq!(found(vec![volume("v", 5, json!({"volumeAttributesClassName": ""}))]), some("v"));
    assert_eq!(found(vec![volume("v", 5, json!({"accessModes": ["ReadOnlyMany"]}))]), None);
    assert_eq!(
        found(vec![volume("v", 5, json!({"accessModes": ["ReadOnlyMany", "ReadWriteOnce"]}))]),
        some("v")
    );
    let modes = json!({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]});
    assert_eq!(
        candidates(modes.clone(), vec![volume("v", 5, json!({"accessModes": ["ReadWriteOnce"]}))]),
        None
    );
    assert_eq!(candidates(modes.clone(), vec![volume("v", 5, modes)]), some("v"));
    assert_eq!(found(vec![with("v", "deletionTimestamp", "2026-01-01T00:00:00Z".into())]), None);
    let mut released = volume("v", 5, json!({}));
    released["status"]["phase"] = "Released".into();
    assert_eq!(found(vec![released]), None);
    let annotated = json!({"volume.beta.kubernetes.io/storage-class": "other"});
    assert_eq!(found(vec![with("v", "annotations", annotated)]), None);

    // Reserved volumes: for other claims they are unavailable, and for their claim they decide, reachable or not, whatever their phase.
    assert_eq!(found(vec![volume("v", 5, claimed("x", ""))]), None);
    assert_eq!(found(vec![volume("v", 5, claimed("c", "uid-old"))]), None);
    assert_eq!(found(vec![volume("big", 9, claimed("c", "")), volume("small", 5, json!({}))]), some("big"));
    assert_eq!(
        found(vec![volume("big", 9, claimed("c", "uid-c")), volume("small", 5, json!({}))]),
        some("big")
    );
    let mut far = in_zone("b");
    merge(&mut far, claimed("c", ""));
    assert_eq!(found(vec![volume("far", 5, far), volume("small", 5, json!({}))]), None);
    assert_eq!(
        found(vec![volume("tiny", 4, claimed("c", "")), volume("small", 5, json!({}))]),
        some("small")
    );

    let selecting = json!({"selector": {"matchLabels": {"tier": "gold"}}});
    let labelled = |tier: &str| with("v", "labels", json!({"tier": tier}));
    assert_eq!(candidates(selecting.clone(), vec![labelled("gold")]), some("v"));
    assert_eq!(candidates(selecting, vec![labelled("lead")]), None);
}

#[test]
fn two_claims_do_not_get_one_volume_and_the_smaller_goes_first() {
    let snapshot = world(vec![
        claim("big", json!({"resources": {"requests": {"storage": "5Gi"}}})),
        claim("small", json!({"resources": {"requests": {"storage": "1Gi"}}})),
        volume("five", 5, in_zone("a")),
        volume("one", 1, in_zone("a")),
        volume("eight", 8, in_zone("b")),
    ]);
    let pod = pod_with("p", &["big", "small"]);
    assert_eq!(verdict(&plugin(), &snapshot, &pod, "a"), Status::SUCCESS);
    assert_eq!(verdict(&plugin(), &snapshot, &pod, "b"), rejected(&[BIND_CONFLICT]));
}

#[test]
fn a_claim_that_was_bound_and_has_no_volume_is_not_bound() {
    let snapshot = world(vec![bound("c", ""), volume("v", 5, in_zone("a"))]);
    assert_eq!(verdict(&plugin(), &snapshot, &pod_with("p", &["c"]), "a"), Status::SUCCESS);
    assert_eq!(verdict(&plugin(), &snapshot, &pod_with("p", &["c"]), "b"), rejected(&[BIND_CONFLICT]));
}

#[test]
fn among_many_volumes_each_node_finds_its_own() {
    // More than are checked one after another; the affinity of `either` has two terms, so no single label decides.
    let mut objects: Vec<_> =
        (0..60).map(|i| volume(&format!("v{i}"), 5, in_zone(&format!("z{i}")))).collect();
    objects.push(volume("mine", 7, in_zone("a")));
    let mut either = in_zone("elsewhere");
    let terms = either["nodeAffinity"]["required"]["nodeSelectorTerms"].as_array_mut().expect("terms");
    terms.push(json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}));
    objects.push(volume("either", 6, either));
    objects.push(claim("c", json!({})));
    let snapshot = world(objects);
    let pod = pod_with("p", &["c"]);
    let found = |node: &str| {
        let plugin = plugin();
        let (_, mut state) = pre_filter(&plugin, &snapshot, &pod);
        let reserve = plugin.clone().as_reserve().expect("reserves");
        assert_eq!(reserve.reserve(&context(&snapshot), &mut state, &pod, &Atom::new(node)), Status::SUCCESS);
        state.read::<PodState>().and_then(|s| s.reservation.as_ref()).expect("a reservation").volumes()
    };
    assert_eq!(found("a"), ["mine"]);
    assert_eq!(found("b"), ["either"]);
}

#[test]
fn a_broken_selector_is_an_error() {
    let selector = json!({"selector": {"matchExpressions": [{"key": "k", "operator": "Near"}]}});
    let snapshot = world(vec![claim("c", selector)]);
    let status = verdict(&plugin(), &snapshot, &pod_with("p", &["c"]), "a");
    assert_eq!(status.code(), Code::Error);
    assert!(
        status.message().starts_with("error creating internal label selector for claim: default/c: "),
        "{status}"
    );
}

#[test]
fn volumes_are_provisioned_where_the_class_allows() {
    let topologies = |terms: Value| {
        let mut class = class("zoned", "WaitForFirstConsumer", "csi.example.com");
        class["allowedTopologies"] = terms;
        class
    };
    let zone = |zone: &str| json!({"matchLabelExpressions": [{"key": "zone", "values": [zone]}]});
    for (what, terms, on_a) in [
        ("no terms", json!([]), Status::SUCCESS),
        ("this zone", json!([zone("a")]), Status::SUCCESS),
        ("another zone", json!([zone("b")]), rejected(&[BIND_CONFLICT])),
        ("one of two", json!([zone("b"), zone("a")]), Status::SUCCESS),
        ("a term without requirements", json!([{}]), rejected(&[BIND_CONFLICT])),
        (
            "two requirements",
            json!([{"matchLabelExpressions": [{"key": "zone", "values": ["a"]}, {"key": "rack", "values": ["1"]}]}]),
            rejected(&[BIND_CONFLICT]),
        ),
    ] {
        let snapshot = world(vec![topologies(terms), claim("c", json!({"storageClassName": "zoned"}))]);
        assert_eq!(verdict(&plugin(), &snapshot, &pod_with("p", &["c"]), "a"), on_a, "{what}");
    }
    // A class without a provisioner provisions none.
    let snapshot = world(vec![claim("c", json!({}))]);
    assert_eq!(verdict(&plugin(), &snapshot, &pod_with("p", &["c"]), "a"), rejected(&[BIND_CONFLICT]));
}

#[test]
fn a_selected_node_stays_selected() {
    let selected = |node: &str, class: &str| {
        let mut claim = claim("c", json!({"storageClassName": class}));
        claim["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": node});
        claim
    };
    let on_a = |claim: Value| {
        // A free volume is not considered once a node has been selected.
        let snapshot = world(vec![claim, volume("v", 5, json!({}))]);
        verdict(&plugin(), &snapshot, &pod_with("p", &["c"]), "a")
    };
    assert_eq!(on_a(selected("a", "made")), Status::SUCCESS);
    assert_eq!(on_a(selected("b", "made")), rejected(&[BIND_CONFLICT]));
    assert_eq!(on_a(selected("a", "late")), rejected(&[BIND_CONFLICT]));
}

#[test]
fn capacity_is_checked_for_drivers_that_publish_it() {
    let driver = |publishes: bool| json!({"kind": "CSIDriver", "metadata": {"name": "csi.example.com"}, "spec": {"storageCapacity": publishes}});
    let capacity = |class: &str, zone: Option<&str>, capacity: Option<&str>, maximum: Option<&str>| {
        json!({"kind": "CSIStorageCapacity", "metadata": {"name": "k", "namespace": "storage"},
               "storageClassName": class, "capacity": capacity, "maximumVolumeSize": maximum,
               "nodeTopology": zone.map(|zone| json!({"matchLabels": {"zone": zone}}))})
    };
    let full = || rejected(&[NOT_ENOUGH_SPACE]);
    for (what, objects, on_a) in [
        ("driver unknown", vec![], Status::SUCCESS),
        ("driver does not publish", vec![driver(false)], Status::SUCCESS),
        ("nothing published", vec![driver(true)], full()),
        ("enough", vec![driver(true), capacity("made", Some("a"), Some("5Gi"), None)], Status::SUCCESS),
        ("too little", vec![driver(true), capacity("made", Some("a"), Some("4Gi"), None)], full()),
        (
            "maximum decides",
            vec![driver(true), capacity("made", Some("a"), Some("9Gi"), Some("4Gi"))],
            full(),
        ),
        (
            "maximum is enough",
            vec![driver(true), capacity("made", Some("a"), Some("1Gi"), Some("5Gi"))],
            Status::SUCCESS,
        ),
        ("no number", vec![driver(true), capacity("made", Some("a"), None, None)], full()),
        ("other zone", vec![driver(true), capacity("made", Some("b"), Some("9Gi"), None)], full()),
        ("no topology", vec![driver(true), capacity("made", None, Some("9Gi"), None)], full()),
        ("other class", vec![driver(true), capacity("late", Some("a"), Some("9Gi"), None)], full()),
    ] {
        let mut objects = objects;
        objects.push(claim("c", json!({"storageClassName": "made"})));
        assert_eq!(verdict(&plugin(), &world(objects), &pod_with("p", &["c"]), "a"), on_a, "{what}");
    }
}

#[test]
fn reasons_come_in_upstreams_order_and_provisioning_has_the_last_word() {
    let driver = json!({"kind": "CSIDriver", "metadata": {"name": "csi.example.com"}, "spec": {"storageCapacity": true}});
    let snapshot = world(vec![
        driver,
        bound("there", "there"),
        volume("there", 5, in_zone("b")),
        bound("gone", "gone"),
        claim("static", json!({})),
        claim("made", json!({"storageClassName": "made", "resources": {"requests": {"storage": "1Gi"}}})),
    ]);
    let on_a = |claims: &[&str]| verdict(&plugin(), &snapshot, &pod_with("p", claims), "a");
    assert_eq!(on_a(&["static", "there"]), rejected(&[NODE_CONFLICT, BIND_CONFLICT]));
    assert_eq!(on_a(&["static", "gone"]), rejected(&[BIND_CONFLICT, VOLUME_MISSING]));
    assert_eq!(on_a(&["gone", "made"]), rejected(&[NOT_ENOUGH_SPACE, VOLUME_MISSING]));
    // `made` is first by size: there is no room for it, and so it is not reported that there is no volume for `static`.
    assert_eq!(on_a(&["static", "made"]), rejected(&[NOT_ENOUGH_SPACE]));
}
