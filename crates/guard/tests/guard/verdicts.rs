//! Which requests pass, which are refused, and the text of the refusals.

use crate::fixture::*;
use secondmate_guard::{Bind, Standing, Verdict};

#[test]
fn a_refusal_says_what_is_missing_and_who_was_first() {
    let mut desk = Desk::new(
        &["n1 cpu=4 mem=8Gi"],
        &["old cpu=3700m on=n1", "api-3 cpu=200m", "team-a/web-7 cpu=200m by=mate"],
    );
    assert_eq!(desk.bind("api-3", "n1"), "ok");
    desk.wait_ms(40);
    assert_eq!(
        desk.bind("team-a/web-7", "n1"),
        "node n1 has no room for team-a/web-7: Insufficient cpu (200m asked, 3900m of 4000m bound); default/api-3 was bound by default-scheduler 40 ms ago"
    );
    // A pod that is seen on the node after it was approved is counted once.
    desk.see("api-3 cpu=200m on=n1");
    desk.wait_ms(3000);
    assert_eq!(
        desk.bind("team-a/web-7", "n1"),
        "node n1 has no room for team-a/web-7: Insufficient cpu (200m asked, 3900m of 4000m bound); default/api-3 was bound by default-scheduler 3 s ago"
    );
    desk.guard.off_node(&uid("api-3"));
    assert_eq!(desk.bind("team-a/web-7", "n1"), "ok");
}

#[test]
fn who_came_before_the_guard_is_not_named_and_who_is_not_to_blame_neither() {
    let mut desk = Desk::new(
        &["n1 cpu=1 mem=2Gi pods=3"],
        &["old cpu=1 mem=1Gi on=n1", "small mem=1Gi", "a cpu=100m", "b mem=1536Mi", "c", "d"],
    );
    assert_eq!(desk.bind("small", "n1"), "ok");
    assert_eq!(
        desk.bind("a", "n1"),
        "node n1 has no room for default/a: Insufficient cpu (100m asked, 1000m of 1000m bound)"
    );
    assert_eq!(
        desk.bind("b", "n1"),
        "node n1 has no room for default/b: Insufficient memory (1536Mi asked, 2Gi of 2Gi bound); default/small was bound by default-scheduler 0 ms ago"
    );
    assert_eq!(desk.bind("c", "n1"), "ok");
    assert_eq!(
        desk.bind("d", "n1"),
        "node n1 has no room for default/d: Too many pods (3 of 3 bound); default/c was bound by default-scheduler 0 ms ago"
    );
}

#[test]
fn all_that_is_missing_is_told_and_the_first_of_it_names_who_was_first() {
    let mut desk = Desk::new(
        &["n1 cpu=1 ephemeral-storage=1Gi gpu=1 pods=1"],
        &["x cpu=1 gpu=1", "y cpu=1500m gpu=1 ephemeral-storage=2G port=80"],
    );
    desk.bind("x", "n1");
    assert_eq!(
        desk.bind("y", "n1"),
        "node n1 has no room for default/y: Too many pods (1 of 1 bound), Insufficient cpu (1500m asked, 1000m of 1000m bound), Insufficient ephemeral-storage (1953125Ki asked, 0 of 1Gi bound), Insufficient example.com/gpu (1 asked, 1 of 1 bound); default/x was bound by default-scheduler 0 ms ago"
    );
}

#[test]
fn host_ports_name_who_has_them() {
    let mut desk = Desk::new(&["n1"], &["old port=80 by=mate on=n1", "a port=80", "b port=81", "c port=81"]);
    assert_eq!(
        desk.bind("a", "n1"),
        "node n1 has no room for default/a: host port 80/TCP is in use; default/old was bound by mate"
    );
    assert_eq!(desk.bind("b", "n1"), "ok");
    assert_eq!(
        desk.bind("c", "n1"),
        "node n1 has no room for default/c: host port 81/TCP is in use; default/b was bound by default-scheduler 0 ms ago"
    );
}

#[test]
fn it_is_never_stricter_than_a_kubelet() {
    let mut desk = Desk::new(
        &["n1 cpu=1"],
        &[
            "ended cpu=1 on=n1",
            "a cpu=1",
            // A kubelet ignores extended resources that its node does not offer; huge pages are not extended resources.
            "b gpu=1",
            "c hugepages=2Mi",
            // A pod that requests none of a resource is not refused because of it, however full it is.
            "d",
        ],
    );
    desk.guard.off_node(&uid("ended"));
    assert_eq!(desk.bind("a", "n1"), "ok");
    assert_eq!(desk.bind("b", "n1"), "ok");
    assert_eq!(
        desk.bind("c", "n1"),
        "node n1 has no room for default/c: Insufficient hugepages-2Mi (2097152 asked, 0 of 0 bound)"
    );
    assert_eq!(desk.bind("d", "n1"), "ok");
}

#[test]
fn what_a_resource_claim_may_stand_for_is_not_counted() {
    let mut desk = Desk::new(
        &["n1 gpu=1", "gone gpu=0"],
        &["old gpu=1 on=n1", "a class=1", "b gpu=1", "c gpu=1", "d gpu=1 claim=example.com/gpu"],
    );
    assert_eq!(desk.bind("a", "n1"), "ok");
    // Its device plugin is gone, and the claim may have just been created.
    assert_eq!(desk.bind("b", "gone"), "ok");
    assert!(desk.bind("c", "n1").contains("Insufficient example.com/gpu (1 asked, 1 of 1 bound)"));
    assert_eq!(desk.bind("d", "n1"), "ok");
}

#[test]
fn requests_are_summed_up_as_a_kubelet_sums_them_up() {
    let mut desk = Desk::new(&["n1 cpu=1"], &["a cpu=100m init=900m overhead=100m", "b cpu=1m"]);
    assert_eq!(desk.bind("a", "n1"), "ok");
    assert_eq!(
        desk.bind("b", "n1"),
        "node n1 has no room for default/b: Insufficient cpu (1m asked, 1000m of 1000m bound); default/a was bound by default-scheduler 0 ms ago"
    );
}

#[test]
fn of_a_pod_that_is_resized_what_the_kubelet_has_allocated_counts() {
    let mut desk =
        Desk::new(&["n1 cpu=1"], &["grows cpu=900m allocated=500m on=n1", "a cpu=500m", "b cpu=1m"]);
    assert_eq!(desk.bind("a", "n1"), "ok");
    assert_eq!(
        desk.bind("b", "n1"),
        "node n1 has no room for default/b: Insufficient cpu (1m asked, 1000m of 1000m bound); default/a was bound by default-scheduler 0 ms ago"
    );
    // The kubelet has granted it: from now on, no approval for later arrivals.
    desk.see("grows cpu=900m allocated=900m on=n1");
    desk.see("a cpu=500m on=n1");
    desk.guard.off_node(&uid("a"));
    desk.see("c cpu=101m");
    assert!(desk.bind("c", "n1").contains("Insufficient cpu (101m asked, 900m of 1000m bound)"));
}

#[test]
fn a_pod_that_shrinks_keeps_its_room_until_that_is_in_effect() {
    let mut desk = Desk::new(&["n1 cpu=4"], &["shrinks cpu=1 allocated=1 actuated=3 on=n1", "a cpu=3"]);
    assert_eq!(
        desk.bind("a", "n1"),
        "node n1 has no room for default/a: Insufficient cpu (3000m asked, 3000m of 4000m bound)"
    );
    desk.see("shrinks cpu=1 allocated=1 actuated=1 on=n1");
    assert_eq!(desk.bind("a", "n1"), "ok");
}

#[test]
fn critical_pods_pass_and_are_counted() {
    let mut desk = Desk::new(
        &["n1 cpu=1"],
        &["old cpu=1 on=n1", "critical cpu=1 prio=2000000000", "high cpu=1 prio=1999999999"],
    );
    assert_eq!(desk.bind("critical", "n1"), "critical");
    assert!(desk.bind("high", "n1").contains("2000m of 1000m bound"));
}

#[test]
fn what_is_not_known_passes() {
    let mut desk = Desk::new(&["n1 cpu=1", "new blank"], &["a cpu=8", "b cpu=8"]);
    assert_eq!(desk.bind("nobody", "n1"), "unknown-pod");
    assert_eq!(desk.bind("a", "nowhere"), "unknown-node");
    assert_eq!(desk.bind("b", "new"), "unknown-node");
    // It is counted: when the node becomes known, so are the pods on it.
    desk.guard.node(node("nowhere cpu=8"));
    desk.see("c cpu=1");
    assert!(desk.bind("c", "nowhere").contains("8000m of 8000m bound"));
}

#[test]
fn a_guard_that_does_not_lead_or_is_behind_passes_everything_and_keeps_count() {
    for (standing, word) in [(Standing::NotLeading, "not-leading"), (Standing::NotInSync, "not-in-sync")] {
        let mut desk = Desk::new(&["n1 cpu=1"], &["a cpu=1", "b cpu=1", "c cpu=1"]);
        desk.standing = standing;
        assert_eq!(desk.bind("a", "n1"), word);
        assert_eq!(desk.bind("b", "n1"), word);
        assert_eq!(desk.bind("nobody", "n1"), word);
        desk.standing = Standing::Decides;
        assert!(desk.bind("c", "n1").contains("2000m of 1000m bound"));
    }
}

#[test]
fn what_the_api_server_refuses_by_itself_takes_no_room() {
    let mut desk =
        Desk::new(&["n1 cpu=1"], &["bound cpu=1 on=n2", "stops cpu=1 stop", "ended cpu=1 end", "a cpu=1"]);
    // Stale information that arrives late: it is still shown as waiting.
    desk.see("bound cpu=1");
    assert_eq!(desk.bind("bound", "n1"), "moot");
    assert_eq!(desk.bind("stops", "n1"), "moot");
    assert_eq!(desk.bind("ended", "n1"), "ok");
    let earlier = Bind { uid: Some(uid("another")), ..desk.request("a", "n1") };
    assert_eq!(desk.guard.pod_of(&earlier), None, "the pod of the UID is gone");
    let later = pod("a cpu=1");
    let decision = desk.guard.decide(&earlier, Some(&later), Standing::Decides, desk.now);
    assert_eq!(text(&decision.verdict), "moot");
    assert_eq!(desk.guard.unseen(), 0);
    assert_eq!(desk.bind("a", "n1"), "ok");
}

#[test]
fn a_gate_that_was_removed_just_now_is_no_reason_to_let_a_pod_pass_uncounted() {
    let mut desk = Desk::new(&["n1 cpu=1"], &["a cpu=1 gate", "b cpu=1", "c cpu=1 gate"]);
    assert_eq!(desk.bind("a", "n1"), "ok");
    assert!(desk.bind("b", "n1").contains("default/a was bound"));
    assert!(desk.bind("c", "n1").contains("default/a was bound"));
}

#[test]
fn a_dry_run_is_answered_and_counts_nothing() {
    let mut desk = Desk::new(&["n1 cpu=1"], &["a cpu=600m", "b cpu=600m"]);
    let dry = |desk: &Desk, pod: &str| Bind { dry_run: true, ..desk.request(pod, "n1") };
    for pod in ["a", "b"] {
        let bind = dry(&desk, pod);
        assert_eq!(desk.decide(&bind), Verdict::Approved);
    }
    assert_eq!(desk.guard.unseen(), 0);
    assert_eq!(desk.bind("a", "n1"), "ok");
    let bind = dry(&desk, "b");
    assert!(matches!(desk.decide(&bind), Verdict::Refused(_)));
    // Nor does it revoke anything.
    let bind = dry(&desk, "a");
    assert_eq!(desk.decide(&bind), Verdict::Approved);
    assert_eq!(desk.guard.unseen(), 1);
}

#[test]
fn a_pod_that_the_watches_do_not_show_yet_is_decided_about_from_a_look() {
    let mut desk = Desk::new(&["n1 cpu=1"], &[]);
    let bind = desk.request("fresh", "n1");
    assert_eq!(desk.guard.pod_of(&bind), None);
    let fresh = pod("fresh cpu=1 by=mate");
    let decision = desk.guard.decide(&bind, Some(&fresh), Standing::Decides, desk.now);
    assert_eq!((text(&decision.verdict).as_str(), decision.scheduler), ("ok", Some(atom("mate"))));
    desk.see("b cpu=1");
    assert!(desk.bind("b", "n1").contains("default/fresh was bound by mate"));
}
