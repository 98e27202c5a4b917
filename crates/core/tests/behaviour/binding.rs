//! From the choice of a node until the pod is seen there.

use crate::fixture::{Cluster, uid};
use secondmate_core::port::{BindOutcome, Input, PodWatch, Verified};
use secondmate_framework::{
    ActionType, ApiWrite, COMMANDS_MAX, EVENTS_MAX, EventRegistration, EventResource, PluginEvent,
    PreBindStep, Status, WriteVerb,
};
use std::time::Duration;

fn refused(code: u16, message: &str) -> BindOutcome {
    BindOutcome::Refused { code, message: message.to_owned() }
}

fn unknown() -> BindOutcome {
    BindOutcome::Unknown { message: "time-out".to_owned() }
}

/// A pod that is being bound to n1.
fn sent(more: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(more);
    cluster.node("n1");
    cluster.pending("p cpu=500m");
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(cluster.effects(), ["bind p to n1"]);
    cluster
}

fn bound_and_seen(cluster: &Cluster) -> (usize, usize, usize) {
    let sizes = cluster.core.sizes();
    (sizes.bindings, sizes.cache.assumed_pods, sizes.cache.pods)
}

#[test]
fn a_bound_pod_is_confirmed_by_the_watch_whichever_comes_first() {
    for order in
        ["answer assigned gone", "assigned answer gone", "gone assigned answer", "gone answer assigned"]
    {
        let mut cluster = sent(&[]);
        let mut observed = Vec::new();
        for what in order.split(' ') {
            match what {
                "answer" => cluster.answer("p", BindOutcome::Bound),
                "assigned" => cluster.assigned("p cpu=500m node=n1"),
                _ => cluster.gone(PodWatch::Pending, "p"),
            }
            observed.extend(cluster.all_effects());
        }
        assert_eq!(
            observed,
            ["observed Scheduled attempts=1", "event p Scheduled: Successfully assigned default/p to n1"],
            "{order}"
        );
        assert_eq!(bound_and_seen(&cluster), (0, 0, 1), "{order}");
        assert_eq!(cluster.place("p"), "-", "{order}");
    }
}

#[test]
fn the_number_of_attempts_is_told_though_the_pod_left_the_queue_before_the_answer() {
    let mut cluster = Cluster::new(&[]);
    cluster.pending("p");
    cluster.step();
    cluster.node("n1");
    cluster.wait(5.0);
    assert_eq!(cluster.step(), "p -> n1");
    cluster.gone(PodWatch::Pending, "p");
    cluster.all_effects();
    cluster.answer("p", BindOutcome::Bound);
    assert_eq!(cluster.all_effects()[0], "observed Scheduled attempts=2");
}

#[test]
fn a_refused_binding_frees_the_room_and_the_pod_is_tried_again() {
    let mut cluster = sent(&[]);
    cluster.answer("p", refused(500, "internal error"));
    assert_eq!(
        cluster.effects(),
        [
            "event p FailedScheduling: running Bind plugin \"DefaultBinder\": internal error",
            "status p SchedulerError: running Bind plugin \"DefaultBinder\": internal error"
        ]
    );
    assert_eq!((cluster.place("p"), bound_and_seen(&cluster)), ("ErrorBackoff".to_owned(), (0, 0, 0)));
    cluster.wait(3.0);
    assert_eq!(cluster.step(), "p -> n1");
}

#[test]
fn a_binding_that_was_not_sent_is_undone() {
    let mut cluster = sent(&[]);
    cluster.answer("p", BindOutcome::NotSent);
    assert_eq!((cluster.place("p"), bound_and_seen(&cluster)), ("ErrorBackoff".to_owned(), (0, 0, 0)));
}

#[test]
fn a_binding_without_an_answer_is_settled_by_a_look_at_the_pod() {
    for outcome in [unknown(), refused(409, "already assigned")] {
        let mut cluster = sent(&[]);
        cluster.answer("p", outcome.clone());
        assert_eq!(cluster.effects(), ["verify p"]);
        assert_eq!(bound_and_seen(&cluster), (1, 1, 1), "its room is kept");
        cluster.apply(Input::Verified(uid("p"), Verified::Failed("503".to_owned())));
        assert_eq!(cluster.effects(), Vec::<String>::new());
        cluster.wait(0.9);
        cluster.step();
        assert_eq!(cluster.effects(), Vec::<String>::new());
        cluster.wait(0.2);
        cluster.step();
        assert_eq!(cluster.effects(), ["verify p"]);
        let found = crate::fixture::pod("p cpu=500m node=n1");
        cluster.apply(Input::Verified(uid("p"), Verified::Found(found)));
        assert_eq!(cluster.effects(), ["event p Scheduled: Successfully assigned default/p to n1"]);
        assert_eq!(bound_and_seen(&cluster), (0, 0, 1));
    }
}

#[test]
fn looks_that_fail_again_and_again_become_rarer() {
    let mut cluster = sent(&[]);
    cluster.answer("p", unknown());
    assert_eq!(cluster.effects(), ["verify p"]);
    for pause in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
        cluster.apply(Input::Verified(uid("p"), Verified::Failed("503".to_owned())));
        cluster.wait(pause - 0.1);
        cluster.step();
        assert_eq!(cluster.effects(), Vec::<String>::new(), "before {pause} s have passed");
        cluster.wait(0.2);
        cluster.step();
        assert_eq!(cluster.effects(), ["verify p"], "after {pause} s");
    }
    // The next binding begins anew.
    cluster.apply(Input::Verified(uid("p"), Verified::Found(crate::fixture::pod("p cpu=500m"))));
    cluster.wait(60.0);
    assert_eq!(cluster.step(), "p -> n1");
    cluster.answer("p", unknown());
    cluster.apply(Input::Verified(uid("p"), Verified::Failed("503".to_owned())));
    cluster.effects();
    cluster.wait(1.1);
    cluster.step();
    assert_eq!(cluster.effects(), ["verify p"]);
}

#[test]
fn a_look_that_finds_the_pod_unbound_gone_or_elsewhere_ends_the_binding() {
    for (found, place, pods) in [
        (Some("p cpu=500m"), "ErrorBackoff", 0),
        (None, "ErrorBackoff", 0),
        (Some("p cpu=500m node=n2"), "-", 1),
    ] {
        let mut cluster = sent(&[]);
        cluster.answer("p", unknown());
        let verified = found.map_or(Verified::Gone, |text| Verified::Found(crate::fixture::pod(text)));
        cluster.apply(Input::Verified(uid("p"), verified));
        assert_eq!(
            (cluster.place("p").as_str(), bound_and_seen(&cluster)),
            (place, (0, 0, pods)),
            "{found:?}"
        );
    }
}

#[test]
fn a_look_that_nobody_waits_for_any_more_changes_nothing() {
    let mut cluster = sent(&[]);
    cluster.gone(PodWatch::Pending, "p");
    cluster.answer("p", refused(409, "already assigned"));
    assert_eq!(cluster.effects(), ["verify p"]);
    // The watch is faster than the look, and also shows the end of the pod.
    cluster.assigned("p cpu=500m node=n1");
    cluster.gone(PodWatch::Assigned, "p");
    // An old list brings it back.
    cluster.pending("p cpu=500m");
    let found = || Input::Verified(uid("p"), Verified::Found(crate::fixture::pod("p cpu=500m node=n1")));
    cluster.apply(found());
    assert_eq!((cluster.place("p").as_str(), bound_and_seen(&cluster)), ("Active", (0, 0, 0)));
    cluster.effects();
    // The same while the pod is being bound once more: the answer to this binding says what has become of it.
    assert_eq!(cluster.step(), "p -> n1");
    cluster.apply(found());
    assert_eq!(bound_and_seen(&cluster), (1, 1, 1));
    cluster.answer("p", refused(404, "not found"));
    assert_eq!(cluster.place("p"), "ErrorBackoff");
    cluster.gone(PodWatch::Pending, "p");
    assert_eq!(cluster.place("p"), "-");
}

#[test]
fn a_pod_whose_end_alone_the_watch_shows_is_not_brought_back_by_an_earlier_look() {
    for outcome in [BindOutcome::Bound, unknown(), refused(409, "already assigned")] {
        let mut cluster = sent(&[]);
        cluster.answer("p", outcome.clone());
        cluster.wait(31.0);
        cluster.step();
        assert!(cluster.effects().contains(&"verify p".to_owned()), "{outcome:?}");
        cluster.gone(PodWatch::Assigned, "p");
        assert_eq!(bound_and_seen(&cluster), (0, 0, 0), "{outcome:?}");
        cluster.apply(Input::Verified(uid("p"), Verified::Found(crate::fixture::pod("p cpu=500m node=n1"))));
        assert_eq!(bound_and_seen(&cluster), (0, 0, 0), "{outcome:?}");
        // Stale information.
        cluster.pending("p cpu=500m rv=2");
        assert_eq!((cluster.place("p"), cluster.step()), ("-".to_owned(), "-".to_owned()), "{outcome:?}");
    }
    // It may have finished before the answer comes.
    let mut cluster = sent(&[]);
    cluster.gone(PodWatch::Assigned, "p");
    assert_eq!(bound_and_seen(&cluster), (1, 0, 0));
    cluster.answer("p", unknown());
    assert_eq!(bound_and_seen(&cluster), (0, 0, 0));
    assert_eq!((cluster.place("p"), cluster.step()), ("-".to_owned(), "-".to_owned()));
}

/// The shell reports a pod that was pending and is gone as gone from both watches. If it was deleted before it was bound, nobody is
/// told that it was assigned.
#[test]
fn a_pod_that_is_gone_before_its_binding_is_answered_was_bound_only_if_the_answer_says_so() {
    let assigned =
        ["observed Scheduled attempts=1", "event p Scheduled: Successfully assigned default/p to n1"];
    for (outcome, expected) in [
        (BindOutcome::Bound, &assigned[..]),
        (refused(404, "not found"), &["observed BindRefused { code: 404 }"]),
        (refused(409, "being deleted"), &["observed BindRefused { code: 409 }"]),
        (unknown(), &["observed BindUnknown"]),
        (BindOutcome::NotSent, &[]),
    ] {
        let mut cluster = sent(&["A"]);
        cluster.script.calls();
        cluster.gone(PodWatch::Pending, "p");
        cluster.gone(PodWatch::Assigned, "p");
        assert_eq!(bound_and_seen(&cluster), (1, 0, 0), "its room is free");
        assert_eq!(cluster.all_effects(), Vec::<String>::new());
        cluster.answer("p", outcome.clone());
        assert_eq!(cluster.all_effects(), expected, "{outcome:?}");
        let is_undone = cluster.script.calls().contains(&"unreserve A/p".to_owned());
        assert_eq!(is_undone, outcome != BindOutcome::Bound, "{outcome:?}");
        assert_eq!(bound_and_seen(&cluster), (0, 0, 0), "{outcome:?}");
        assert_eq!((cluster.place("p"), cluster.step()), ("-".to_owned(), "-".to_owned()), "{outcome:?}");
    }
    // The same if it is already known that nobody knows.
    let mut cluster = sent(&[]);
    cluster.answer("p", unknown());
    cluster.all_effects();
    cluster.gone(PodWatch::Pending, "p");
    cluster.gone(PodWatch::Assigned, "p");
    assert_eq!((bound_and_seen(&cluster), cluster.all_effects()), ((0, 0, 0), Vec::new()));
    cluster.apply(Input::Verified(uid("p"), Verified::Gone));
    assert_eq!((bound_and_seen(&cluster), cluster.all_effects()), ((0, 0, 0), Vec::new()));
}

/// The watches are not ordered relative to each other.
#[test]
fn a_pod_whose_end_is_seen_before_it_leaves_the_pending_watch_is_not_queued_again() {
    for outcome in [BindOutcome::Bound, refused(404, "not found")] {
        let mut cluster = sent(&[]);
        cluster.gone(PodWatch::Assigned, "p");
        assert_eq!((cluster.place("p").as_str(), bound_and_seen(&cluster)), ("-", (1, 0, 0)));
        cluster.pending("p cpu=500m rv=2 deleting");
        cluster.answer("p", outcome.clone());
        assert_eq!((cluster.place("p").as_str(), bound_and_seen(&cluster)), ("-", (0, 0, 0)), "{outcome:?}");
        cluster.pending("p cpu=500m rv=3 deleting");
        cluster.gone(PodWatch::Pending, "p");
        assert_eq!((cluster.place("p"), cluster.step()), ("-".to_owned(), "-".to_owned()), "{outcome:?}");
    }
}

#[test]
fn a_binding_that_nobody_confirms_is_looked_at_and_not_believed_for_ever() {
    let mut cluster = sent(&[]);
    cluster.answer("p", BindOutcome::Bound);
    cluster.effects();
    cluster.wait(29.0);
    cluster.step();
    assert_eq!(cluster.effects(), Vec::<String>::new());
    cluster.wait(1.0);
    cluster.step();
    assert_eq!(cluster.effects(), ["verify p"]);
    // The answer said it was bound, but it is not: it is not lost.
    cluster.apply(Input::Verified(uid("p"), Verified::Found(crate::fixture::pod("p cpu=500m"))));
    assert_eq!(bound_and_seen(&cluster), (0, 0, 0));
    assert_eq!(cluster.step(), "p -> n1");
}

#[test]
fn a_pod_deleted_while_it_is_being_bound_frees_its_room_at_once() {
    let mut cluster = sent(&[]);
    cluster.pending("p cpu=500m rv=2 deleting");
    assert_eq!(bound_and_seen(&cluster), (1, 0, 0));
    cluster.answer("p", refused(409, "being deleted"));
    assert_eq!((bound_and_seen(&cluster).0, cluster.place("p")), (0, "Unschedulable".to_owned()));
    cluster.gone(PodWatch::Pending, "p");
    assert_eq!(cluster.place("p"), "-");
}

#[test]
fn old_news_of_the_pending_watch_does_not_bring_a_bound_pod_back() {
    let mut cluster = sent(&[]);
    cluster.assigned("p cpu=500m node=n1");
    cluster.answer("p", BindOutcome::Bound);
    cluster.pending("p cpu=500m rv=1");
    assert_eq!((cluster.place("p"), cluster.step()), ("-".to_owned(), "-".to_owned()));
}

#[test]
fn old_news_of_the_pending_watch_does_not_bring_a_pod_back_that_ran_and_ended() {
    let mut cluster = sent(&[]);
    cluster.answer("p", BindOutcome::Bound);
    cluster.assigned("p cpu=500m node=n1");
    cluster.gone(PodWatch::Assigned, "p");
    cluster.pending("p cpu=500m rv=2");
    assert_eq!((cluster.place("p"), cluster.step()), ("-".to_owned(), "-".to_owned()));
    cluster.gone(PodWatch::Pending, "p");
    assert_eq!(bound_and_seen(&cluster), (0, 0, 0));
}

#[test]
fn a_pod_that_the_pending_watch_lost_and_found_again_is_tried_again_when_its_binding_fails() {
    for outcome in [BindOutcome::NotSent, refused(500, "internal error"), unknown()] {
        let mut cluster = sent(&[]);
        // A stale list does not contain the pod, and a later event brings it back.
        cluster.gone(PodWatch::Pending, "p");
        cluster.pending("p cpu=500m");
        cluster.answer("p", outcome.clone());
        if outcome == unknown() {
            let found = crate::fixture::pod("p cpu=500m");
            cluster.apply(Input::Verified(uid("p"), Verified::Found(found)));
        }
        assert_eq!(bound_and_seen(&cluster), (0, 0, 0));
        assert_eq!(cluster.step(), "p -> n1", "{outcome:?}");
    }
}

/// A stale list contains it neither as pending nor on its node, so that it seems to have ended.
#[test]
fn a_pod_that_seemed_to_have_ended_and_was_found_again_is_tried_again_when_its_binding_fails() {
    for (outcome, tried) in [
        (BindOutcome::NotSent, "p -> n1"),
        (refused(500, "internal error"), "p -> n1"),
        // It may have been on its node.
        (BindOutcome::Bound, "-"),
        (refused(409, "bound already"), "-"),
        (unknown(), "-"),
    ] {
        let mut cluster = sent(&[]);
        cluster.gone(PodWatch::Pending, "p");
        cluster.gone(PodWatch::Assigned, "p");
        cluster.pending("p cpu=500m");
        assert_eq!((cluster.place("p").as_str(), bound_and_seen(&cluster)), ("-", (1, 0, 0)));
        cluster.answer("p", outcome.clone());
        assert_eq!(cluster.step(), tried, "{outcome:?}");
        cluster.gone(PodWatch::Pending, "p");
        assert_eq!(cluster.place("p"), "-", "{outcome:?}");
    }
}

/// A makes p wait on permit, for 60 s.
fn on_permit() -> Cluster {
    let mut cluster = Cluster::new(&["A", "B"]);
    let wait = (Status::wait(""), Duration::from_secs(60));
    cluster.script.lines().permit.insert("A/p".to_owned(), wait);
    cluster.node("n1");
    cluster.pending("p cpu=500m");
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(cluster.effects(), ["status p - nominated=n1"], "others are told where it is going");
    assert_eq!(cluster.place("p"), "InFlight");
    cluster
}

#[test]
fn a_pod_that_is_allowed_is_bound() {
    let mut cluster = on_permit();
    cluster.script.handle().allow(&uid("p"), "B");
    cluster.step();
    assert_eq!(cluster.effects(), Vec::<String>::new(), "it does not wait for B");
    cluster.script.handle().allow(&uid("p"), "A");
    cluster.wait(2.0);
    cluster.step();
    assert_eq!(
        cluster.all_effects(),
        ["observed PermitWait { waited: 2s, result: \"allowed\" }", "bind p to n1"]
    );
}

#[test]
fn commands_are_refused_while_too_many_wait_and_taken_again_after_a_step() {
    let mut cluster = on_permit();
    let handle = cluster.script.handle();
    for _ in 0..COMMANDS_MAX {
        assert!(handle.allow(&uid("unknown"), "A"));
    }
    assert!(!handle.allow(&uid("p"), "A"));
    assert!(!handle.reject(&uid("p"), "A", "not today"));
    cluster.step();
    assert_eq!((cluster.place("p"), cluster.core.sizes().commands_refused), ("InFlight".to_owned(), 2));
    assert!(handle.allow(&uid("p"), "A"));
    cluster.step();
    assert_eq!(cluster.effects(), ["bind p to n1"]);
}

#[test]
fn a_command_given_during_a_step_is_carried_out_in_it() {
    let mut cluster = on_permit();
    cluster.script.handle().allow(&uid("p"), "A");
    // Nothing is ready, and yet the step carries it out.
    assert_eq!(cluster.step(), "-");
    assert_eq!(cluster.effects(), ["bind p to n1"]);
}

#[test]
fn plugins_see_which_pods_wait_on_permit_and_have_events_written_about_them() {
    let mut cluster = on_permit();
    let handle = cluster.script.handle();
    let pod = handle.waiting_pod(&uid("p")).expect("it waits");
    let (reason, action, note) = ("Looked".to_owned(), "Looking".to_owned(), "at p".to_owned());
    let event = PluginEvent { pod, warning: true, reason, action, note };
    for _ in 0..EVENTS_MAX {
        assert!(handle.event(event.clone()));
    }
    assert!(!handle.event(event), "there are too many");
    cluster.step();
    assert_eq!(cluster.effects(), vec!["event p Looked: at p"; EVENTS_MAX]);
    assert_eq!(cluster.core.sizes().commands_refused, 1);
    handle.allow(&uid("p"), "A");
    cluster.step();
    assert_eq!(handle.waiting_pod(&uid("p")), None);
}

#[test]
fn a_pod_that_is_rejected_on_permit_waits_for_events_and_not_for_its_own_room() {
    let mut cluster = on_permit();
    cluster.script.handle().reject(&uid("p"), "A", "not today");
    cluster.step();
    let message = "0/1 nodes are available: 1 not today.";
    assert_eq!(
        cluster.effects(),
        [
            format!("event p FailedScheduling: {message}"),
            format!("status p Unschedulable: {message} nominated=-")
        ]
    );
    assert_eq!((cluster.place("p"), bound_and_seen(&cluster)), ("Unschedulable".to_owned(), (0, 0, 0)));
    let calls = cluster.script.calls();
    assert_eq!(&calls[calls.len() - 2..], ["unreserve B/p", "unreserve A/p"], "in reverse order");
}

#[test]
fn permit_has_a_time_out_and_the_earliest_one_counts() {
    let mut cluster = Cluster::new(&["A", "B"]);
    let wait = |secs| (Status::wait(""), Duration::from_secs(secs));
    cluster.script.lines().permit.insert("A/p".to_owned(), wait(90));
    cluster.script.lines().permit.insert("B/p".to_owned(), wait(60));
    cluster.script.lines().permit.insert("A/q".to_owned(), wait(3600));
    cluster.node("n1");
    cluster.pending("p");
    cluster.pending("q");
    cluster.step();
    cluster.step();
    cluster.effects();
    let deadline = cluster.now + Duration::from_secs(60);
    assert_eq!(cluster.core.next_wakeup(), Some(deadline));
    cluster.wait(100.0);
    cluster.step();
    assert_eq!(
        cluster.effects()[0],
        "event p FailedScheduling: 0/1 nodes are available: 1 rejected due to timeout after waiting 1m0s at plugin B."
    );
    cluster.wait(800.0);
    cluster.step();
    assert_eq!(
        cluster.effects().iter().find(|l| l.starts_with("event q")).map(String::as_str),
        Some(
            "event q FailedScheduling: 0/1 nodes are available: 1 rejected due to timeout after waiting 15m0s at plugin A."
        ),
        "no wait is longer than 15 minutes"
    );
}

#[test]
fn a_rejection_in_reserve_or_permit_is_told_as_of_one_node_and_is_no_event_for_the_pod_itself() {
    for point in ["reserve", "permit"] {
        let mut cluster = Cluster::new(&["A", "B"]);
        let status = Status::unschedulable("not here");
        if point == "reserve" {
            cluster.script.lines().reserve.insert("B/p".to_owned(), status);
        } else {
            cluster.script.lines().permit.insert("B/p".to_owned(), (status, Duration::ZERO));
        }
        cluster.node("n1");
        cluster.node("n2");
        cluster.pending("p cpu=500m");
        assert_eq!(cluster.step(), "p: unschedulable");
        assert_eq!(cluster.effects()[0], "event p FailedScheduling: 0/1 nodes are available: 1 not here.");
        // B is notified of deleted pods; the room becoming free again must not count as a deletion.
        assert_eq!((cluster.place("p"), bound_and_seen(&cluster)), ("Unschedulable".to_owned(), (0, 0, 0)));
        let calls = cluster.script.calls();
        assert_eq!(&calls[calls.len() - 2..], ["unreserve B/p", "unreserve A/p"], "{point}");
    }
}

#[test]
fn an_error_in_reserve_names_the_plugin() {
    let mut cluster = Cluster::new(&["A"]);
    cluster.script.lines().reserve.insert("A/p".to_owned(), Status::error("broken"));
    cluster.node("n1");
    cluster.pending("p");
    assert_eq!(cluster.step(), "p: error");
    assert_eq!(cluster.effects()[0], "event p FailedScheduling: running Reserve plugin \"A\": broken");
    assert_eq!(cluster.place("p"), "ErrorBackoff");
}

fn write(path: &str) -> PreBindStep {
    let body = serde_json::Value::Null;
    PreBindStep::Write(vec![ApiWrite { verb: WriteVerb::MergePatch, path: path.to_owned(), body }])
}

/// A performs these steps in PreBind for p; it is notified of nodes.
fn pre_binding(steps: Vec<PreBindStep>) -> Cluster {
    let cluster = crate::scripted::Script::default();
    let nodes = EventRegistration::new(EventResource::Node, ActionType::ADD);
    cluster.lines().events.insert("A".to_owned(), vec![nodes]);
    cluster.lines().pre_bind.insert("A/p".to_owned(), steps.into());
    let mut cluster = Cluster::with_script(&["A"], cluster);
    cluster.node("n1");
    cluster.pending("p cpu=500m");
    assert_eq!(cluster.step(), "p -> n1");
    cluster
}

#[test]
fn pre_bind_writes_waits_and_goes_on_where_it_was() {
    let deadline = crate::fixture::secs(1100.0);
    let mut cluster = pre_binding(vec![write("/pv"), PreBindStep::Wait { deadline }, PreBindStep::Done]);
    assert_eq!(cluster.effects(), ["status p - nominated=n1", "write /pv for p"]);
    cluster.apply(Input::WriteFinished(uid("p"), Ok(())));
    assert_eq!(cluster.core.next_wakeup(), Some(deadline));
    // Pods are not a kind that the plugin registered; a heartbeat is not a change.
    cluster.assigned("other node=n1");
    cluster.node("n1");
    assert_eq!(cluster.effects(), Vec::<String>::new());
    cluster.node("n2");
    assert_eq!(cluster.effects(), ["bind p to n1"]);
}

#[test]
fn pre_bind_is_asked_about_the_cluster_as_it_is_when_its_node_goes() {
    let deadline = crate::fixture::secs(1100.0);
    let wait = PreBindStep::Wait { deadline };
    let mut cluster = pre_binding(vec![wait.clone(), wait]);
    cluster.effects();
    cluster.apply(Input::NodeGone("n1".into()));
    let failed = "event p FailedScheduling: running PreBind plugin \"A\": there is no node n1";
    assert!(cluster.effects().contains(&failed.to_owned()));
}

/// However often objects change, plugins for which many pods wait are asked only now and then.
#[test]
fn where_many_wait_in_pre_bind_they_are_asked_together() {
    let count = 100;
    let script = crate::scripted::Script::default();
    let nodes = EventRegistration::new(EventResource::Node, ActionType::ADD);
    script.lines().events.insert("A".to_owned(), vec![nodes]);
    let deadline = crate::fixture::secs(5000.0);
    for pod in 0..count {
        let steps = std::iter::repeat_n(PreBindStep::Wait { deadline }, 3).collect();
        script.lines().pre_bind.insert(format!("A/p{pod}"), steps);
    }
    let mut cluster = Cluster::with_script(&["A"], script.clone());
    cluster.node("n1 cpu=1000 pods=1000");
    for pod in 0..count {
        cluster.pending(&format!("p{pod}"));
        assert!(cluster.step().ends_with("-> n1"));
    }
    let asked = || script.calls().iter().filter(|call| call.contains("prebind")).count();
    assert_eq!(asked(), count);
    for node in 0..1_000 {
        cluster.node(&format!("other-{node}"));
    }
    assert_eq!(asked(), 0);
    assert_eq!(cluster.core.next_wakeup(), Some(cluster.now + Duration::from_millis(1)));
    cluster.wait(0.001);
    cluster.step();
    assert_eq!(asked(), count);
    cluster.step();
    assert_eq!((asked(), cluster.core.next_wakeup()), (0, Some(deadline)));
    // Nothing is lost: each continues when the next node comes, and the one after that.
    for left in [count, 0] {
        cluster.node(&format!("more-{left}"));
        cluster.wait(0.001);
        cluster.step();
        assert_eq!(cluster.core.sizes().bindings, count);
    }
    let bound = cluster.effects().iter().filter(|effect| effect.starts_with("bind ")).count();
    assert_eq!(bound, count);
}

#[test]
fn a_failure_in_pre_bind_is_retried_after_a_backoff_whatever_its_code() {
    for (status, reason, message) in [
        (Status::error("broken"), "SchedulerError", "running PreBind plugin \"A\": broken"),
        (Status::unschedulable("taken"), "Unschedulable", "taken"),
    ] {
        let mut cluster = pre_binding(vec![PreBindStep::Fail(status)]);
        let effects = cluster.effects();
        assert_eq!(
            effects[1..],
            [
                format!("event p FailedScheduling: {message}"),
                format!("status p {reason}: {message} nominated=-")
            ]
        );
        assert_eq!((cluster.place("p"), bound_and_seen(&cluster)), ("ErrorBackoff".to_owned(), (0, 0, 0)));
    }
}

#[test]
fn a_write_that_fails_and_a_wait_that_is_too_long_end_the_binding() {
    let mut cluster = pre_binding(vec![write("/pv")]);
    cluster.apply(Input::WriteFinished(uid("p"), Err("409".to_owned())));
    assert_eq!(cluster.effects()[2], "event p FailedScheduling: running PreBind plugin \"A\": 409");
    let deadline = crate::fixture::secs(1100.0);
    let wait = PreBindStep::Wait { deadline };
    let mut cluster = pre_binding(vec![wait.clone(), wait]);
    cluster.wait(100.0);
    cluster.step();
    assert_eq!(cluster.effects()[1], "event p FailedScheduling: running PreBind plugin \"A\": timed out");
    assert_eq!(cluster.place("p"), "ErrorBackoff");
}

#[test]
fn an_answer_to_a_write_of_an_earlier_attempt_is_not_taken_for_that_of_a_later_one() {
    let mut cluster = pre_binding(vec![write("/pv")]);
    cluster.pending("p cpu=500m rv=2 deleting");
    assert_eq!(bound_and_seen(&cluster), (1, 0, 0), "its room is free, and the answer is awaited");
    assert_eq!(cluster.place("p"), "InFlight");
    cluster.apply(Input::WriteFinished(uid("p"), Ok(())));
    assert_eq!((bound_and_seen(&cluster).0, cluster.place("p")), (0, "Unschedulable".to_owned()));
    assert!(!cluster.effects().contains(&"bind p to n1".to_owned()));
}

#[test]
fn a_pod_that_was_seen_on_a_node_is_not_queued_again_whichever_watch_lists_an_older_state() {
    let mut cluster = sent(&[]);
    cluster.answer("p", BindOutcome::Bound);
    cluster.assigned("p cpu=500m node=n1");
    cluster.gone(PodWatch::Pending, "p");
    // A list from before it was bound, in both watches.
    cluster.pending("p cpu=500m");
    cluster.gone(PodWatch::Assigned, "p");
    cluster.pending("p cpu=500m label=b rv=2");
    assert_eq!((cluster.place("p").as_str(), cluster.step().as_str()), ("-", "-"));
    cluster.gone(PodWatch::Pending, "p");
    cluster.assigned("p cpu=500m node=n1");
    assert_eq!(bound_and_seen(&cluster), (0, 0, 1));
}

#[test]
fn a_pod_that_ran_and_ended_before_its_binding_was_answered_is_not_queued_again() {
    for outcome in [BindOutcome::Bound, refused(409, "bound already"), unknown()] {
        let mut cluster = sent(&[]);
        cluster.gone(PodWatch::Pending, "p");
        cluster.assigned("p cpu=500m node=n1");
        cluster.gone(PodWatch::Assigned, "p");
        // A list from before it was bound.
        cluster.pending("p cpu=500m");
        cluster.answer("p", outcome);
        assert_eq!((cluster.place("p").as_str(), cluster.step().as_str()), ("-", "-"));
        cluster.gone(PodWatch::Pending, "p");
        assert_eq!(bound_and_seen(&cluster), (0, 0, 0));
    }
}
