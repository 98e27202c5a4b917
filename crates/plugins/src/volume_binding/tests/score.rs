use super::*;

/// Scores on nodes `a` and `b`.
fn scores(args: Value, more: Vec<Value>, claims: &[&str]) -> [i64; 2] {
    let plugin = new(&args, &Handle::default()).expect("arguments");
    let (snapshot, pod) = (world(more), pod_with("p", claims));
    let cx = context(&snapshot);
    let (status, mut state) = pre_filter(&plugin, &snapshot, &pod);
    if !status.is_skip() {
        assert_eq!(status, Status::SUCCESS);
        for node in snapshot.nodes() {
            // A rejected node is not normally scored; here it is, and has no score.
            let _ = plugin.clone().as_filter().expect("filters").filter(&cx, &state, &pod, node);
        }
    }
    let prepared =
        plugin.clone().as_pre_score().expect("prepares").pre_score(&cx, &mut state, &pod, snapshot.nodes());
    assert_eq!(prepared, Status::SUCCESS);
    let score = |node: usize| {
        plugin.clone().as_score().expect("scores").score(&cx, &state, &pod, &snapshot.nodes()[node])
    };
    [score(0).expect("a score"), score(1).expect("a score")]
}

fn driver() -> Value {
    json!({"kind": "CSIDriver", "metadata": {"name": "csi.example.com"}, "spec": {"storageCapacity": true}})
}

/// The remaining capacity of a class in a zone.
fn left(name: &str, class: &str, zone: &str, capacity: &str) -> Value {
    json!({"kind": "CSIStorageCapacity", "metadata": {"name": name}, "storageClassName": class, "capacity": capacity,
           "nodeTopology": {"matchLabels": {"zone": zone}}})
}

#[test]
fn the_more_is_left_for_new_volumes_the_better() {
    let made = |name: &str| claim(name, json!({"storageClassName": "made"}));
    let rooms = || vec![driver(), left("a", "made", "a", "20Gi"), left("b", "made", "b", "100Gi")];
    let with = |mut objects: Vec<Value>, more: Vec<Value>| {
        objects.extend(more);
        objects
    };
    // 5 of 20 and 5 of 100.
    assert_eq!(scores(Value::Null, with(rooms(), vec![made("c")]), &["c"]), [75, 95]);
    // Two volumes share the capacity: 10 of 20 and 10 of 100.
    assert_eq!(scores(Value::Null, with(rooms(), vec![made("c"), made("d")]), &["c", "d"]), [50, 90]);
    // Each of them fits alone, but not together.
    let tight =
        vec![driver(), left("a", "made", "a", "7Gi"), left("b", "made", "b", "10Gi"), made("c"), made("d")];
    assert_eq!(scores(Value::Null, tight, &["c", "d"]), [0, 0]);
    // The mean of two classes: (75 + 0) / 2 = 37.5 and (95 + 50) / 2 = 72.5, rounded.
    let more = vec![
        class("second", "WaitForFirstConsumer", "csi.example.com"),
        left("c", "second", "a", "5Gi"),
        left("d", "second", "b", "10Gi"),
        made("c"),
        claim("d", json!({"storageClassName": "second"})),
    ];
    assert_eq!(scores(Value::Null, with(rooms(), more), &["c", "d"]), [38, 73]);
    // A class for which no capacity is published does not count.
    let more = vec![
        class("silent", "WaitForFirstConsumer", "other.example.com"),
        made("c"),
        claim("d", json!({"storageClassName": "silent"})),
    ];
    assert_eq!(scores(Value::Null, with(rooms(), more), &["c", "d"]), [75, 95]);
    // Of several that fit, the first by name is taken.
    let more = vec![left("aa", "made", "a", "10Gi"), made("c")];
    assert_eq!(scores(Value::Null, with(rooms(), more), &["c"]), [75, 95]);
    // Only the largest volume is published.
    let mut nothing_left = left("a", "made", "a", "1Gi");
    nothing_left["capacity"] = Value::Null;
    nothing_left["maximumVolumeSize"] = json!("50Gi");
    assert_eq!(scores(Value::Null, vec![driver(), nothing_left, made("c")], &["c"]), [0, 0]);
}

#[test]
fn volumes_that_exist_count_by_their_size_and_alone() {
    let small = |zone: &str, size: u32| volume(&format!("v-{zone}"), size, in_zone(zone));
    // 5 of 10 and 5 of 6 (83.3).
    let objects = || vec![small("a", 10), small("b", 6), claim("c", json!({}))];
    assert_eq!(scores(Value::Null, objects(), &["c"]), [50, 17]);
    // Beside an existing volume, one that is provisioned does not count.
    let mut more = objects();
    more.extend([driver(), left("a", "made", "a", "5Gi"), left("b", "made", "b", "5Gi")]);
    more.push(claim("d", json!({"storageClassName": "made"})));
    assert_eq!(scores(Value::Null, more, &["c", "d"]), [50, 17]);
    // Sums for a class: 10 of 30, and nothing on b.
    let more = vec![
        volume("v1", 10, in_zone("a")),
        volume("v2", 20, in_zone("a")),
        claim("c", json!({})),
        claim("d", json!({})),
    ];
    assert_eq!(scores(Value::Null, more, &["c", "d"]), [67, 0]);
    // A class given only in the annotation does not exist for the score: the sums are those of one class.
    let annotated = |name: &str, size: u32, class: &str| {
        let mut volume = volume(name, size, in_zone("a"));
        volume["metadata"]["annotations"] = json!({"volume.beta.kubernetes.io/storage-class": class});
        volume["spec"]["storageClassName"] = "".into();
        volume
    };
    let late = |name: &str| class(name, "WaitForFirstConsumer", "kubernetes.io/no-provisioner");
    let asking = |name: &str, class: &str, size: &str| {
        let resources = json!({"requests": {"storage": size}});
        claim(name, json!({"storageClassName": class, "resources": resources}))
    };
    let more = vec![
        late("one"),
        late("other"),
        annotated("v1", 10, "one"),
        annotated("v2", 100, "other"),
        asking("c", "one", "9Gi"),
        asking("d", "other", "1Gi"),
    ];
    // 10 of 110; by class they would be 9 of 10 and 1 of 100.
    assert_eq!(scores(Value::Null, more, &["c", "d"])[0], 91);
}

#[test]
fn bound_claims_and_pods_without_claims_score_nothing() {
    assert_eq!(scores(Value::Null, vec![], &[]), [0, 0]);
    let objects = vec![volume("v", 10, json!({})), bound("c", "v")];
    assert_eq!(scores(Value::Null, objects, &["c"]), [0, 0]);
}

#[test]
fn the_shape_is_that_of_the_arguments() {
    let fullest = json!({"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]});
    let objects =
        vec![volume("v-a", 10, in_zone("a")), volume("v-b", 6, in_zone("b")), claim("c", json!({}))];
    assert_eq!(scores(fullest, objects, &["c"]), [50, 83]);
}

#[test]
fn without_pre_filter_the_score_fails_and_without_filter_it_is_nothing() {
    let (plugin, snapshot, pod) =
        (plugin(), world(vec![claim("c", json!({})), volume("v", 10, json!({}))]), pod_with("p", &["c"]));
    let cx = context(&snapshot);
    let mut state = CycleState::new();
    let prepared =
        plugin.clone().as_pre_score().expect("prepares").pre_score(&cx, &mut state, &pod, snapshot.nodes());
    assert_eq!(prepared, Status::error("not found"));
    let score = |state: &CycleState| {
        plugin.clone().as_score().expect("scores").score(&cx, state, &pod, &snapshot.nodes()[0])
    };
    assert_eq!(score(&state), Err(Status::error("not found")));
    let (_, state) = pre_filter(&plugin, &snapshot, &pod);
    assert_eq!(score(&state), Ok(0));
}
