use super::*;
use crate::fixture::object;
use secondmate_framework::{ApiWrite, WriteVerb};
use secondmate_model::objects::{ObjectKind, ObjectName};

/// A pod on its way through Reserve and PreBind.
struct Binding {
    plugin: Arc<dyn Plugin>,
    snapshot: Snapshot,
    pod: Arc<Pod>,
    node: Atom,
    state: CycleState,
}

impl Binding {
    /// PreFilter and Reserve.
    fn start(plugin: &Arc<dyn Plugin>, snapshot: Snapshot, pod: Arc<Pod>, node: &str) -> Self {
        let (status, state) = pre_filter(plugin, &snapshot, &pod);
        assert!(status.is_success() || status.is_skip(), "{status}");
        let mut binding = Self { plugin: Arc::clone(plugin), snapshot, pod, node: Atom::new(node), state };
        let reserve = binding.plugin.clone().as_reserve().expect("reserves");
        let status =
            reserve.reserve(&context(&binding.snapshot), &mut binding.state, &binding.pod, &binding.node);
        assert_eq!(status, Status::SUCCESS);
        binding
    }

    fn has_work(&self) -> bool {
        let point = self.plugin.clone().as_pre_bind().expect("binds");
        point.pre_flight(&self.state, &self.pod, &self.node)
    }

    fn step(&mut self, seconds: i64) -> PreBindStep {
        let cx = Context { now: Timestamp::from_secs(seconds), ..context(&self.snapshot) };
        let point = self.plugin.clone().as_pre_bind().expect("binds");
        point.pre_bind(&cx, &mut self.state, &self.pod, &self.node)
    }

    fn writes(&mut self) -> Vec<ApiWrite> {
        match self.step(0) {
            PreBindStep::Write(writes) => writes,
            other => panic!("expected writes, got {other:?}"),
        }
    }

    fn apply(&mut self, value: Value) {
        self.snapshot.objects_mut().apply(object(value));
    }

    fn waits_until(&mut self, now: i64) -> i64 {
        match self.step(now) {
            PreBindStep::Wait { deadline } => deadline.nanos / 1_000_000_000,
            other => panic!("expected to wait, got {other:?}"),
        }
    }

    fn fails(&mut self, now: i64) -> String {
        match self.step(now) {
            PreBindStep::Fail(status) => {
                assert_eq!(status.code(), Code::Error);
                status.message()
            }
            other => panic!("expected to fail, got {other:?}"),
        }
    }

    fn unreserve(&mut self) {
        self.plugin.clone().as_reserve().expect("reserves").unreserve(&mut self.state, &self.pod, &self.node);
    }
}

fn patch(path: &str, body: Value) -> ApiWrite {
    ApiWrite { verb: WriteVerb::MergePatch, path: path.to_owned(), body }
}

fn claimed_by(claim: &str) -> Value {
    json!({"claimRef": {"namespace": "default", "name": claim, "uid": format!("uid-{claim}")}})
}

fn versioned(mut object: Value, version: &str, annotations: Value) -> Value {
    object["metadata"]["resourceVersion"] = version.into();
    merge(&mut object["metadata"], json!({ "annotations": annotations }));
    object
}

fn is_done(step: &PreBindStep) -> bool {
    matches!(step, PreBindStep::Done)
}

/// A static volume `v` in zone a for claim `c`.
fn static_world() -> Snapshot {
    world(vec![claim("c", json!({})), volume("v", 5, in_zone("a"))])
}

/// A claim `c` for which `csi.example.com` provisions a volume.
fn dynamic_world() -> Snapshot {
    world(vec![claim("c", json!({"storageClassName": "made"}))])
}

#[test]
fn pods_without_anything_to_bind_are_done() {
    let plugin = plugin();
    for (snapshot, pod) in [
        (world(vec![]), pod_with("p", &[])),
        (world(vec![bound("c", "v"), volume("v", 5, json!({}))]), pod_with("p", &["c"])),
    ] {
        let mut binding = Binding::start(&plugin, snapshot, pod, "a");
        assert!(!binding.has_work());
        assert!(is_done(&binding.step(0)));
        binding.unreserve();
    }
}

#[test]
fn a_static_volume_is_claimed_and_waited_for() {
    let mut binding = Binding::start(&plugin(), static_world(), pod_with("p", &["c"]), "a");
    assert!(binding.has_work());
    assert_eq!(
        binding.writes(),
        [patch(
            "/api/v1/persistentvolumes/v",
            json!({
                "metadata": {"uid": "uid-v", "resourceVersion": "20",
                             "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
                "spec": {"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default",
                                      "name": "c", "uid": "uid-c", "resourceVersion": "10"}},
            })
        )]
    );
    // First the write has not come back, then the controller has not bound the claim: the timeout runs from the first of these.
    assert_eq!(binding.waits_until(5), 605);
    let mut ours = in_zone("a");
    merge(&mut ours, claimed_by("c"));
    binding.apply(versioned(
        volume("v", 5, ours),
        "21",
        json!({"pv.kubernetes.io/bound-by-controller": "yes"}),
    ));
    assert_eq!(binding.waits_until(7), 605);
    binding.apply(versioned(
        claim("c", json!({"volumeName": "v"})),
        "11",
        json!({"pv.kubernetes.io/bind-completed": "yes"}),
    ));
    assert!(is_done(&binding.step(8)));
}

#[test]
fn a_volume_that_its_owner_reserved_is_not_marked() {
    let mut reserved = in_zone("a");
    merge(&mut reserved, json!({"claimRef": {"namespace": "default", "name": "c"}}));
    let snapshot = world(vec![claim("c", json!({})), volume("v", 5, reserved)]);
    let mut binding = Binding::start(&plugin(), snapshot, pod_with("p", &["c"]), "a");
    let writes = binding.writes();
    assert_eq!(writes[0].body["metadata"], json!({"uid": "uid-v", "resourceVersion": "20"}));
    assert_eq!(writes[0].body["spec"]["claimRef"]["uid"], "uid-c");
}

#[test]
fn a_write_that_changes_nothing_is_not_waited_for() {
    let mut complete = in_zone("a");
    merge(&mut complete, claimed_by("c"));
    let mut selected = claim("d", json!({"storageClassName": "made"}));
    selected["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": "a"});
    let snapshot = world(vec![claim("c", json!({})), volume("v", 5, complete), selected]);
    let mut binding = Binding::start(&plugin(), snapshot, pod_with("p", &["c", "d"]), "a");
    assert_eq!(
        binding.writes(),
        [
            patch(
                "/api/v1/persistentvolumes/v",
                json!({"metadata": {"uid": "uid-v", "resourceVersion": "20"}})
            ),
            patch(
                "/api/v1/namespaces/default/persistentvolumeclaims/d",
                json!({"metadata": {"uid": "uid-d", "resourceVersion": "10",
                                    "annotations": {"volume.kubernetes.io/selected-node": "a"}}})
            ),
        ]
    );
    let done = json!({"pv.kubernetes.io/bind-completed": "yes"});
    binding.apply(versioned(claim("c", json!({"volumeName": "v"})), "11", done));
    // The volume still has its old version, and yet it is the second claim that is waited for.
    assert_eq!(binding.waits_until(0), 600);
    let done = json!({"pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/selected-node": "a"});
    binding.apply(volume("w", 5, json!({})));
    binding.apply(versioned(claim("d", json!({"volumeName": "w"})), "11", done));
    assert!(is_done(&binding.step(1)));
}

#[test]
fn a_static_binding_fails_when_it_is_undone() {
    let written = |spec: Value| {
        let mut all = in_zone("a");
        merge(&mut all, claimed_by("c"));
        merge(&mut all, spec);
        versioned(volume("v", 5, all), "21", json!({}))
    };
    let start = || {
        let mut binding = Binding::start(&plugin(), static_world(), pod_with("p", &["c"]), "a");
        binding.writes();
        binding
    };
    for (what, object, expected) in [
        (
            "no claimRef",
            written(json!({"claimRef": null})),
            "binding volumes: ClaimRef got reset for pv \"v\"",
        ),
        (
            "claimRef without UID",
            written(json!({"claimRef": {"namespace": "default", "name": "c"}})),
            "binding volumes: ClaimRef got reset for pv \"v\"",
        ),
        (
            "affinity",
            written(in_zone("b")),
            "binding volumes: pv \"v\" node affinity doesn't match node \"a\": no matching NodeSelectorTerms",
        ),
    ] {
        let mut binding = start();
        binding.apply(object);
        assert_eq!(binding.fails(1), expected, "{what}");
    }
    let mut binding = start();
    binding
        .snapshot
        .objects_mut()
        .remove(ObjectKind::PersistentVolume, &ObjectName::new(&Atom::default(), "v"));
    assert_eq!(
        binding.fails(1),
        "binding volumes: failed to check binding: persistentvolumes \"v\" not found"
    );
    let mut binding = start();
    let name = ObjectName::new(&Atom::new("default"), "c");
    binding.snapshot.objects_mut().remove(ObjectKind::PersistentVolumeClaim, &name);
    assert_eq!(
        binding.fails(1),
        "binding volumes: failed to check binding: persistentvolumeclaims \"default/c\" not found"
    );
    let mut binding = start();
    binding.snapshot.replace_nodes(Vec::new());
    assert_eq!(binding.fails(1), "binding volumes: failed to get node \"a\": node \"a\" not found");
}

#[test]
fn a_volume_is_provisioned_and_waited_for() {
    let mut binding = Binding::start(&plugin(), dynamic_world(), pod_with("p", &["c"]), "a");
    assert!(binding.has_work());
    assert_eq!(
        binding.writes(),
        [patch(
            "/api/v1/namespaces/default/persistentvolumeclaims/c",
            json!({"metadata": {"uid": "uid-c", "resourceVersion": "10",
                                "annotations": {"volume.kubernetes.io/selected-node": "a"}}})
        )]
    );
    assert_eq!(binding.waits_until(0), 600);
    let selected = || json!({"volume.kubernetes.io/selected-node": "a"});
    binding.apply(versioned(claim("c", json!({"storageClassName": "made"})), "11", selected()));
    assert_eq!(binding.waits_until(1), 600);
    // The claim is bound before the volume has been seen.
    let mut both = selected();
    merge(&mut both, json!({"pv.kubernetes.io/bind-completed": "yes"}));
    binding.apply(versioned(claim("c", json!({"storageClassName": "made", "volumeName": "v"})), "12", both));
    assert_eq!(binding.waits_until(2), 600);
    binding.apply(volume("v", 5, in_zone("a")));
    assert!(is_done(&binding.step(3)));
}

#[test]
fn provisioning_fails_when_it_is_undone_or_takes_too_long() {
    let start = || {
        let mut binding = Binding::start(&plugin(), dynamic_world(), pod_with("p", &["c"]), "a");
        binding.writes();
        binding
    };
    let made = |annotations: Value, spec: Value| versioned(claim("c", spec), "11", annotations);
    for (what, object, expected) in [
        (
            "all annotations gone",
            made(json!({}), json!({})),
            "binding volumes: selectedNode annotation reset for PVC \"c\"",
        ),
        (
            "annotation gone",
            made(json!({"x": "y"}), json!({})),
            "binding volumes: provisioning failed for PVC \"c\"",
        ),
        (
            "another node",
            made(json!({"volume.kubernetes.io/selected-node": "b"}), json!({})),
            "binding volumes: provisioning failed for PVC \"c\"",
        ),
        (
            "volume elsewhere",
            made(json!({"volume.kubernetes.io/selected-node": "a"}), json!({"volumeName": "far"})),
            "binding volumes: pv \"far\" node affinity doesn't match node \"a\": no matching NodeSelectorTerms",
        ),
    ] {
        let mut binding = start();
        binding.apply(volume("far", 5, in_zone("b")));
        binding.apply(object);
        assert_eq!(binding.fails(1), expected, "{what}");
    }
    let mut binding = start();
    let name = ObjectName::new(&Atom::new("default"), "c");
    binding.snapshot.objects_mut().remove(ObjectKind::PersistentVolumeClaim, &name);
    assert_eq!(
        binding.fails(1),
        "binding volumes: failed to check provisioning pvc: persistentvolumeclaims \"default/c\" not found"
    );
    let mut binding = start();
    assert_eq!(binding.waits_until(100), 700);
    assert_eq!(binding.waits_until(699), 700);
    assert_eq!(binding.fails(700), "binding volumes: context deadline exceeded");
}

#[test]
fn the_time_out_is_an_argument() {
    let plugin = new(&json!({"bindTimeoutSeconds": 0}), &Handle::default()).expect("sound arguments");
    let mut binding = Binding::start(&plugin, dynamic_world(), pod_with("p", &["c"]), "a");
    binding.writes();
    assert_eq!(binding.fails(9), "binding volumes: context deadline exceeded");
}

#[test]
fn what_is_reserved_is_not_given_to_the_next_pod() {
    let plugin = plugin();
    let objects = || {
        world(vec![
            claim("c", json!({})),
            claim("d", json!({})),
            volume("v", 5, json!({})),
            claim("e", json!({"storageClassName": "made"})),
        ])
    };
    let mut first = Binding::start(&plugin, objects(), pod_with("p", &["c", "e"]), "a");
    let next = |snapshot: &Snapshot| verdict(&plugin, snapshot, &pod_with("q", &["d"]), "a");
    let follower = |snapshot: &Snapshot, node: &str| verdict(&plugin, snapshot, &pod_with("q", &["e"]), node);

    let snapshot = objects();
    assert_eq!(next(&snapshot), rejected(&[BIND_CONFLICT]));
    // A pod that shares the claim follows it to its node.
    assert_eq!(follower(&snapshot, "a"), Status::SUCCESS);
    assert_eq!(follower(&snapshot, "b"), rejected(&[BIND_CONFLICT]));

    // Unreserve gives it back, and may be called repeatedly.
    first.unreserve();
    assert_eq!(next(&snapshot), Status::SUCCESS);
    assert_eq!(follower(&snapshot, "b"), Status::SUCCESS);
    first.unreserve();
    assert_eq!(next(&snapshot), Status::SUCCESS);
}

#[test]
fn what_was_written_stays_reserved_until_the_watches_say_otherwise() {
    let plugin = plugin();
    let objects = || world(vec![claim("c", json!({})), claim("d", json!({})), volume("v", 5, json!({}))]);
    let next = |snapshot: &Snapshot| verdict(&plugin, snapshot, &pod_with("q", &["d"]), "a");

    let mut first = Binding::start(&plugin, objects(), pod_with("p", &["c"]), "a");
    first.writes();
    first.waits_until(0);
    first.unreserve();
    let mut snapshot = objects();
    assert_eq!(next(&snapshot), rejected(&[BIND_CONFLICT]));
    // A newer version of the volume wins over what was assumed: it has been freed.
    snapshot.objects_mut().apply(object(versioned(volume("v", 5, json!({})), "22", json!({}))));
    assert_eq!(next(&snapshot), Status::SUCCESS);
}

#[test]
fn after_a_failed_write_all_is_given_back() {
    let plugin = plugin();
    let objects = || world(vec![claim("c", json!({})), claim("d", json!({})), volume("v", 5, json!({}))]);
    let mut first = Binding::start(&plugin, objects(), pod_with("p", &["c"]), "a");
    first.writes();
    first.unreserve();
    assert_eq!(verdict(&plugin, &objects(), &pod_with("q", &["d"]), "a"), Status::SUCCESS);
    assert_eq!(first.fails(1), "no pod volume found for node \"a\"");
}

#[test]
fn a_later_reservation_survives_an_earlier_ones_end() {
    let plugin = plugin();
    let mut first = Binding::start(&plugin, static_world(), pod_with("p", &["c"]), "a");
    // The volume changes: what the first pod assumed no longer counts, and the second assumes it again.
    let mut newer = static_world();
    newer.objects_mut().apply(object(versioned(volume("v", 5, in_zone("a")), "21", json!({}))));
    newer.objects_mut().apply(object(claim("d", json!({}))));
    let _second = Binding::start(&plugin, newer.clone(), pod_with("q", &["d"]), "a");
    first.unreserve();
    assert_eq!(verdict(&plugin, &newer, &pod_with("r", &["c"]), "a"), rejected(&[BIND_CONFLICT]));
}

#[test]
fn who_shares_a_claim_writes_for_itself() {
    // The first pod may fail: what the second does must not rely on what the first has only assumed.
    for objects in [static_world, dynamic_world] {
        let plugin = plugin();
        let mut first = Binding::start(&plugin, objects(), pod_with("p", &["c"]), "a");
        let mut second = Binding::start(&plugin, objects(), pod_with("q", &["c"]), "a");
        assert_eq!(second.writes(), first.writes());
        // Neither write has come back.
        assert_eq!(second.waits_until(0), 600);
    }
}

#[test]
fn a_newer_claim_wins_over_what_was_assumed() {
    let plugin = plugin();
    let mut first = Binding::start(&plugin, dynamic_world(), pod_with("p", &["c"]), "a");
    let on_b = |snapshot: &Snapshot| verdict(&plugin, snapshot, &pod_with("q", &["c"]), "b");
    assert_eq!(on_b(&dynamic_world()), rejected(&[BIND_CONFLICT]));
    // Provisioning failed: the annotation was removed again.
    let mut newer = dynamic_world();
    newer.objects_mut().apply(object(versioned(
        claim("c", json!({"storageClassName": "made"})),
        "12",
        json!({}),
    )));
    assert_eq!(on_b(&newer), Status::SUCCESS);
    // Another pod reserves it again, and the end of the first does not affect that.
    let _second = Binding::start(&plugin, newer.clone(), pod_with("q", &["c"]), "b");
    first.unreserve();
    assert_eq!(verdict(&plugin, &newer, &pod_with("r", &["c"]), "a"), rejected(&[BIND_CONFLICT]));
}

#[test]
fn without_the_filter_a_node_that_will_not_do_is_taken_without_its_volumes() {
    let (plugin, snapshot, pod) = (plugin(), static_world(), pod_with("p", &["c"]));
    let (_, mut state) = pre_filter(&plugin, &snapshot, &pod);
    let reserve = plugin.clone().as_reserve().expect("reserves");
    let status = reserve.reserve(&context(&snapshot), &mut state, &pod, &Atom::new("b"));
    assert_eq!(status, Status::SUCCESS);
    let pre_bind = plugin.clone().as_pre_bind().expect("binds");
    assert!(!pre_bind.pre_flight(&state, &pod, &Atom::new("b")), "nothing is written for it");
    let status = reserve.reserve(&context(&snapshot), &mut CycleState::new(), &pod, &Atom::new("a"));
    assert_eq!(status, Status::error("not found"));
}
