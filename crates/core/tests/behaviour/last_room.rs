//! A pod waits before it is bound to a nearly full node while another party is binding pods to it.

use crate::fixture::{Cluster, uid};
use secondmate_core::port::{BindOutcome, PodWatch};
use std::time::Duration;

const LONGEST: Duration = Duration::from_secs(5);

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
    assert_eq!(cluster.now.since(began), LONGEST);
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
