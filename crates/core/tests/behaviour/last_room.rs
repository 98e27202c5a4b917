//! A pod waits before it is bound to a nearly full node while another party is binding pods to it.

use crate::fixture::{Cluster, uid};
use secondmate_core::port::{BindOutcome, Input, PodWatch};
use secondmate_framework::{ApiWrite, PreBindStep, WriteVerb};
use std::time::Duration;

const LONGEST: Duration = Duration::from_secs(5);

/// Pods give up at different times, up to an eighth earlier than the longest.
fn assert_waited(waited: Duration, longest: Duration) {
    assert!(waited <= longest && waited > longest * 7 / 8, "{waited:?} of {longest:?}");
}

/// A pod that waits for the last room of n1, where another scheduler has just bound a pod.
fn yielding(reads: bool, pod: &str) -> Cluster {
    let mut cluster = Cluster::beside_others(reads, LONGEST);
    cluster.node("n1 cpu=1");
    cluster.assigned("f1 cpu=100m node=n1 scheduler=other");
    cluster.pending(pod);
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(cluster.all_effects(), Vec::<String>::new());
    cluster
}

/// Steps at the next time when something is due.
fn next(cluster: &mut Cluster) {
    cluster.now = cluster.core.next_wakeup().expect("something is due");
    assert_eq!(cluster.step(), "-");
}

#[test]
fn it_is_bound_when_nobody_else_has_bound_pods_there_for_a_while() {
    for reads in [false, true] {
        let mut cluster = yielding(reads, "p cpu=500m");
        let began = cluster.now;
        next(&mut cluster);
        let waited = cluster.now.since(began);
        assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&waited), "{waited:?}");
        let then = if reads { "read n1" } else { "bind p to n1" };
        assert_eq!(cluster.all_effects(), ["observed Yielded quiet", then]);
        if reads {
            cluster.read("n1", Ok(&[]));
            assert_eq!(cluster.effects(), ["bind p to n1"]);
        }
    }
}

#[test]
fn each_pod_of_others_there_makes_it_wait_on_but_not_longer_than_is_configured() {
    let mut cluster = yielding(true, "p cpu=500m");
    let began = cluster.now;
    for number in 0..5 {
        cluster.wait(0.9);
        cluster.assigned(&format!("g{number} cpu=10m node=n1 scheduler=other"));
        assert_eq!((cluster.step().as_str(), cluster.all_effects()), ("-", Vec::new()));
    }
    next(&mut cluster);
    assert_waited(cluster.now.since(began), LONGEST);
    assert_eq!(cluster.all_effects(), ["observed Yielded time_is_up", "read n1"]);
    // After the read it is bound, no matter who else binds pods.
    cluster.assigned("h cpu=10m node=n1 scheduler=other");
    cluster.read("n1", Ok(&[]));
    assert_eq!(cluster.effects(), ["bind p to n1"]);
}

/// What is sent has to wait for its turn, while more may become known.
#[test]
fn pods_whose_wait_is_over_are_bound_a_few_at_a_time() {
    let mut cluster = Cluster::beside_others(false, LONGEST);
    for number in 0..18 {
        cluster.node(&format!("n{number} cpu=1"));
        cluster.assigned(&format!("f{number} cpu=100m node=n{number} scheduler=other"));
        cluster.pending(&format!("p{number} cpu=500m"));
        assert!(cluster.step().contains(" -> n"));
    }
    assert_eq!(cluster.effects(), Vec::<String>::new());
    cluster.wait(3.0);
    for expected in [4, 4, 4, 4, 2] {
        assert!(cluster.core.next_wakeup().is_some_and(|at| at <= cluster.now), "some are left");
        assert_eq!(cluster.step(), "-");
        let effects = cluster.effects();
        assert!(effects.iter().all(|line| line.starts_with("bind p")), "{effects:?}");
        assert_eq!(effects.len(), expected);
    }
    assert_eq!((cluster.step(), cluster.effects()), ("-".to_owned(), Vec::new()));
}

#[test]
fn it_gives_way_where_the_room_is_taken_meanwhile() {
    let mut cluster = yielding(true, "p cpu=500m");
    cluster.wait(0.5);
    cluster.assigned("f2 cpu=600m node=n1 scheduler=other");
    let effects = cluster.all_effects();
    assert!(effects.contains(&"observed Yielded room_taken".to_owned()), "{effects:?}");
    assert_eq!(cluster.place("p"), "ErrorBackoff");
    cluster.wait(10.0);
    assert_eq!(cluster.step(), "p: unschedulable");
}

#[test]
fn others_on_other_nodes_and_room_enough_are_no_reason_to_wait() {
    for (other, pod) in [("f cpu=100m node=n2", "p cpu=600m"), ("f cpu=100m node=n1", "p cpu=300m")] {
        let mut cluster = Cluster::beside_others(false, LONGEST);
        cluster.node("n1 cpu=1");
        cluster.node("n2 cpu=100m");
        cluster.assigned(&format!("{other} scheduler=other"));
        cluster.pending(pod);
        assert_eq!(cluster.step(), "p -> n1");
        assert_eq!(cluster.effects(), ["bind p to n1"], "{other}");
    }
}

#[test]
fn a_pod_for_which_room_was_made_does_not_wait() {
    let mut cluster = Cluster::beside_others(false, LONGEST);
    cluster.node("n1 cpu=1");
    cluster.assigned("f cpu=100m node=n1 scheduler=other");
    cluster.pending("p cpu=500m nominated=n1");
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(cluster.effects(), ["bind p to n1"]);
}

#[test]
fn a_pod_for_which_pods_were_evicted_does_not_wait_there_after_a_refusal_either() {
    let mut cluster = Cluster::beside_others(false, LONGEST);
    cluster.node("n1 cpu=1");
    cluster.assigned("v cpu=1 node=n1");
    cluster.pending("p cpu=500m priority=9");
    assert_eq!(cluster.step(), "p: unschedulable");
    assert!(cluster.effects().contains(&"evict v for p".to_owned()));
    cluster.evicted("p", "v", Ok(()));
    cluster.gone(PodWatch::Assigned, "v");
    for number in 0..2 {
        cluster.wait(10.0);
        cluster.assigned(&format!("f{number} cpu=100m node=n1 scheduler=other"));
        cluster.effects();
        assert_eq!(cluster.step(), "p -> n1");
        assert_eq!(cluster.effects(), ["bind p to n1"], "attempt {number}");
        // The first refusal ends its nomination.
        cluster.answer("p", BindOutcome::Refused { code: 403, message: "no room".to_owned() });
        let ends = cluster.effects().iter().any(|line| line.ends_with(" nominated=-"));
        assert_eq!(ends, number == 0);
    }
}

#[test]
fn a_pod_of_higher_priority_takes_the_room_of_one_that_waits() {
    let mut cluster = yielding(false, "p cpu=500m");
    cluster.pending("high cpu=900m priority=9");
    assert_eq!(cluster.step(), "high: unschedulable");
    assert!(cluster.all_effects().contains(&"observed Yielded preempted".to_owned()));
    assert_eq!(cluster.place("p"), "ErrorBackoff");
}

#[test]
fn a_pod_that_goes_while_it_waits_leaves_nothing_behind() {
    let mut cluster = yielding(false, "p cpu=500m");
    cluster.gone(PodWatch::Pending, "p");
    assert_eq!((cluster.place("p").as_str(), cluster.core.sizes().bindings), ("-", 0));
    assert_eq!(cluster.core.cache().pod(&uid("p")), None);
}

#[test]
fn pods_differ_in_how_long_they_want_it_to_be_quiet() {
    // Two schedulers that wait for each other do not continue at the same moment.
    let mut times: Vec<_> = (0..20)
        .map(|number| {
            let mut cluster = Cluster::beside_others(false, LONGEST);
            cluster.node("n1 cpu=1");
            cluster.assigned("f cpu=100m node=n1 scheduler=other");
            cluster.pending(&format!("p{number} cpu=500m"));
            cluster.step();
            cluster.core.next_wakeup().expect("it waits")
        })
        .collect();
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 15, "{times:?}");
}

/// Ten nodes for ten pods each; the other scheduler has bound one pod and has 50 more to bind, five for each node.
fn beside_a_queue(longest: Duration) -> Cluster {
    let mut cluster = Cluster::beside_others(false, longest);
    for number in 0..10 {
        cluster.node(&format!("n{number} cpu=1"));
    }
    for number in 0..50 {
        cluster.waiting_elsewhere(&format!("w{number} cpu=100m scheduler=other"));
    }
    cluster.assigned("f cpu=100m node=n0 scheduler=other scheduled");
    cluster
}

/// Lets the other scheduler bind these, each to the next node.
fn others_bind(cluster: &mut Cluster, pods: std::ops::Range<usize>) {
    for number in pods {
        cluster.assigned(&format!("w{number} cpu=100m node=n{} scheduler=other scheduled", number % 10));
    }
}

#[test]
fn it_leaves_room_for_the_pods_that_others_have_yet_to_bind() {
    let mut cluster = beside_a_queue(LONGEST);
    // Half as much again as their share would leave 250m.
    cluster.pending("small cpu=200m");
    assert!(cluster.step().starts_with("small -> n"));
    assert_eq!(cluster.effects().len(), 1);
    cluster.pending("p cpu=300m");
    assert!(cluster.step().starts_with("p -> n"));
    assert_eq!(cluster.all_effects(), Vec::<String>::new());
    // Looks again, and they still wait.
    let began = cluster.now;
    next(&mut cluster);
    let waited = cluster.now.since(began);
    assert!((Duration::from_millis(250)..Duration::from_millis(500)).contains(&waited), "{waited:?}");
    assert_eq!(cluster.all_effects(), Vec::<String>::new());
    // Two of three are bound: what the others may still take is little enough.
    others_bind(&mut cluster, 0..34);
    next(&mut cluster);
    let effects = cluster.all_effects();
    assert_eq!(effects.len(), 2, "{effects:?}");
    assert_eq!(effects[0], "observed Yielded quiet");
    assert!(effects[1].starts_with("bind p to n"));
}

#[test]
fn it_waits_for_them_no_longer_than_is_configured_and_not_at_all_if_that_is_disabled() {
    let mut cluster = beside_a_queue(Duration::from_secs(20));
    cluster.pending("p cpu=300m");
    assert!(cluster.step().starts_with("p -> n"));
    let began = cluster.now;
    let bound = until_it_goes_on(&mut cluster);
    assert_eq!(bound[0], "observed Yielded time_is_up");
    assert_waited(cluster.now.since(began), Duration::from_secs(20));

    let mut cluster = beside_a_queue(Duration::ZERO);
    cluster.pending("p cpu=300m");
    assert!(cluster.step().starts_with("p -> n"));
    assert_eq!(cluster.effects().len(), 1);
}

/// The other scheduler goes on binding pods to n9, and more come; what our pod does when it goes on.
fn until_it_goes_on(cluster: &mut Cluster) -> Vec<String> {
    for number in 0..1_000 {
        cluster.assigned(&format!("b{number} cpu=1m node=n9 scheduler=other scheduled"));
        cluster.waiting_elsewhere(&format!("more{number} cpu=1m scheduler=other"));
        cluster.all_effects();
        next(cluster);
        let effects = cluster.all_effects();
        if !effects.is_empty() {
            return effects;
        }
    }
    panic!("it waits for ever");
}

#[test]
fn what_it_has_waited_in_earlier_attempts_counts() {
    let mut cluster = Cluster::beside_others(false, Duration::from_secs(20));
    cluster.node("n1 cpu=1");
    cluster.node("n9 cpu=100m");
    cluster.waiting_elsewhere("w cpu=900m scheduler=other");
    cluster.assigned("f cpu=1m node=n9 scheduler=other scheduled");
    cluster.pending("p cpu=800m");
    assert_eq!(cluster.step(), "p -> n1");
    for number in 0..12 {
        cluster.wait(1.0);
        cluster.assigned(&format!("f{number} cpu=1m node=n9 scheduler=other scheduled"));
        assert_eq!((cluster.step().as_str(), cluster.effects()), ("-", Vec::new()));
    }
    cluster.assigned("taken cpu=500m node=n1 scheduler=other scheduled");
    assert!(cluster.all_effects().contains(&"observed Yielded room_taken".to_owned()));
    cluster.wait(10.0);
    cluster.node("n2 cpu=1");
    cluster.assigned("g cpu=1m node=n9 scheduler=other scheduled");
    cluster.waiting_elsewhere("more cpu=900m scheduler=other");
    assert_eq!(cluster.step(), "p -> n2");
    let began = cluster.now;
    assert_eq!(until_it_goes_on(&mut cluster), ["observed Yielded time_is_up", "bind p to n2"]);
    assert_waited(Duration::from_secs(12) + cluster.now.since(began), Duration::from_secs(20));
}

#[test]
fn schedulers_that_bind_no_pods_are_not_waited_for() {
    for (after, by, waits) in [(2.1, None, false), (9.0, Some("third"), true), (10.1, Some("third"), false)] {
        let mut cluster = beside_a_queue(LONGEST);
        cluster.wait(after);
        // Created on its node, not bound.
        cluster.assigned("static cpu=1m node=n1 scheduler=other");
        if let Some(by) = by {
            cluster.assigned(&format!("t cpu=1m node=n1 scheduler={by} scheduled"));
        }
        cluster.pending("p cpu=300m");
        assert!(cluster.step().starts_with("p -> n"));
        assert_eq!(cluster.effects().is_empty(), waits, "{after}");
    }
}

#[test]
fn pods_that_no_node_could_take_are_not_waited_for_until_one_can() {
    let mut cluster = Cluster::beside_others(false, LONGEST);
    cluster.waiting_elsewhere("huge cpu=100 scheduler=other");
    for number in 0..10 {
        cluster.node(&format!("n{number} cpu=1"));
    }
    cluster.assigned("f cpu=1m node=n0 scheduler=other scheduled");
    cluster.pending("p cpu=300m");
    assert!(cluster.step().starts_with("p -> n"));
    assert_eq!(cluster.effects().len(), 1);
    cluster.node("large cpu=100");
    cluster.assigned("most cpu=99 node=large");
    cluster.pending("q cpu=300m");
    assert!(cluster.step().starts_with("q -> "));
    assert_eq!(cluster.effects(), Vec::<String>::new());
}

#[test]
fn a_pod_for_which_something_was_written_does_not_wait_for_them_in_a_later_attempt_either() {
    let mut cluster = Cluster::beside_others(false, LONGEST);
    cluster.node("n1 cpu=1");
    cluster.node("n9 cpu=100m");
    cluster.waiting_elsewhere("w cpu=900m scheduler=other");
    let body = serde_json::json!({});
    let write = ApiWrite { verb: WriteVerb::MergePatch, path: "/pv".to_owned(), body };
    cluster.script.lines().pre_bind.insert("A/p".to_owned(), vec![PreBindStep::Write(vec![write])].into());
    cluster.pending("p cpu=800m");
    assert_eq!(cluster.step(), "p -> n1");
    cluster.assigned("f cpu=1m node=n9 scheduler=other scheduled");
    cluster.effects();
    cluster.apply(Input::WriteFinished(uid("p"), Ok(())));
    assert_eq!(cluster.effects(), ["bind p to n1"]);
    cluster.answer("p", BindOutcome::Refused { code: 500, message: "no".to_owned() });
    cluster.wait(10.0);
    cluster.effects();
    cluster.assigned("g cpu=1m node=n9 scheduler=other scheduled");
    assert_eq!(cluster.step(), "p -> n1");
    assert!(cluster.effects().contains(&"bind p to n1".to_owned()));
}

#[test]
fn room_for_the_number_of_pods_is_left_as_well() {
    let mut cluster = Cluster::beside_others(false, LONGEST);
    cluster.node("n1 cpu=10 pods=4");
    cluster.assigned("f cpu=1m node=n1 scheduler=other scheduled");
    cluster.waiting_elsewhere("w1 scheduler=other");
    cluster.waiting_elsewhere("w2 scheduler=other");
    cluster.pending("p cpu=1m");
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(cluster.effects(), Vec::<String>::new());
}

#[test]
fn pods_that_are_bound_or_gone_are_not_waited_for() {
    for ends in ["bound", "gone"] {
        let mut cluster = beside_a_queue(LONGEST);
        for number in 0..50 {
            let name = format!("w{number}");
            match ends {
                "bound" => cluster.assigned(&format!("{name} cpu=1m node=n1 scheduler=other scheduled")),
                _ => cluster.gone(PodWatch::ForeignWaiting, &name),
            }
        }
        // What an older list says of a pod that is on a node.
        cluster.waiting_elsewhere("f cpu=10 scheduler=other");
        cluster.wait(1.9);
        cluster.pending("p cpu=300m");
        assert!(cluster.step().starts_with("p -> n"), "{ends}");
        assert_eq!(cluster.effects().len(), 1, "{ends}");
    }
}

#[test]
fn pods_of_which_their_scheduler_says_nothing_are_not_waited_for_forever() {
    for (minutes, waits) in [(4, true), (6, false)] {
        let mut cluster = beside_a_queue(LONGEST);
        cluster.wait(f64::from(minutes) * 60.0);
        // A change of the pod does not renew that.
        cluster.waiting_elsewhere("w0 cpu=200m scheduler=other");
        cluster.assigned("b cpu=1m node=n9 scheduler=other scheduled");
        cluster.waiting_elsewhere("w1 cpu=200m scheduler=other");
        cluster.pending("p cpu=300m");
        assert!(cluster.step().starts_with("p -> n"));
        assert_eq!(cluster.effects().is_empty(), waits, "{minutes}");
    }
}

#[test]
fn what_the_node_does_not_offer_or_the_others_do_not_request_is_no_reason_to_wait() {
    let mut cluster = beside_a_queue(LONGEST);
    for number in 0..10 {
        cluster.node(&format!("n{number} cpu=10 gpu=1"));
    }
    cluster.pending("p cpu=100m gpu=1");
    assert!(cluster.step().starts_with("p -> n"));
    assert_eq!(cluster.effects().len(), 1);
}

#[test]
fn scalar_resources_of_waiting_pods_count() {
    let mut cluster = Cluster::beside_others(false, LONGEST);
    cluster.node("n1 cpu=10 gpu=4");
    cluster.node("n2 cpu=1");
    cluster.waiting_elsewhere("w cpu=100m gpu=2 scheduler=other");
    cluster.assigned("f cpu=100m node=n2 scheduler=other scheduled");
    cluster.pending("p cpu=100m gpu=4");
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(cluster.effects(), Vec::<String>::new());
    // It turns out to request none.
    cluster.waiting_elsewhere("w cpu=100m scheduler=other");
    next(&mut cluster);
    assert_eq!(cluster.effects(), ["bind p to n1"]);
}

#[test]
fn a_pod_for_which_room_was_made_does_not_wait_for_waiting_pods() {
    let mut cluster = beside_a_queue(LONGEST);
    cluster.pending("p cpu=900m nominated=n1");
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(cluster.effects(), ["bind p to n1"]);
}

#[test]
fn waiting_pods_of_our_own_are_no_reason_to_wait() {
    let mut cluster = Cluster::beside_others(false, LONGEST);
    cluster.node("n1 cpu=1");
    cluster.assigned("f cpu=100m node=n1 scheduler=other scheduled");
    cluster.waiting_elsewhere("theirs cpu=100m scheduler=other");
    cluster.pending("p cpu=300m");
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(cluster.effects(), ["bind p to n1"]);
    cluster.waiting_elsewhere("mine cpu=900m");
    assert_eq!(cluster.core.sizes().others_waiting, 1);
}

#[test]
fn while_many_wait_those_that_go_on_do_not_wait_for_the_looks_of_the_others() {
    let mut cluster = Cluster::beside_others(false, Duration::from_secs(60));
    for number in 0..100 {
        cluster.node(&format!("n{number} cpu=1"));
        cluster.waiting_elsewhere(&format!("w{number} cpu=200m scheduler=other"));
    }
    cluster.assigned("f cpu=1m node=n0 scheduler=other scheduled");
    for number in 0..100 {
        cluster.pending(&format!("p{number} cpu=800m"));
        assert!(cluster.step().contains(" -> n"));
    }
    assert_eq!(cluster.effects(), Vec::<String>::new());
    // All are due to look.
    cluster.wait(0.6);
    cluster.step();
    let due = |cluster: &Cluster| cluster.core.next_wakeup().is_some_and(|at| at <= cluster.now);
    assert!(due(&cluster), "some are left to the next step");
    cluster.step();
    assert!(!due(&cluster), "a step looks at many");
    assert_eq!(cluster.effects(), Vec::<String>::new());
}

#[test]
fn pods_differ_in_how_long_they_wait_at_most() {
    // Two schedulers that wait for each other do not give up at the same moment.
    let mut times: Vec<_> = (0..10)
        .map(|number| {
            let mut cluster = beside_a_queue(Duration::from_secs(20));
            cluster.pending(&format!("p{number} cpu=300m"));
            cluster.step();
            let began = cluster.now;
            assert_eq!(until_it_goes_on(&mut cluster)[0], "observed Yielded time_is_up");
            cluster.now.since(began)
        })
        .collect();
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 7, "{times:?}");
}
