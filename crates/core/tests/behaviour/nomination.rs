//! Nominated nodes: of our pods and of those of other schedulers.

use crate::fixture::Cluster;
use secondmate_core::port::PodWatch;

/// A pod that waits because n1 is full.
fn full() -> Cluster {
    let mut cluster = Cluster::new(&[]);
    cluster.node("n1 cpu=1");
    cluster
}

fn nominations(cluster: &Cluster) -> usize {
    cluster.core.sizes().nominations
}

#[test]
fn a_nomination_in_the_status_counts_from_the_first_sight_of_the_pod() {
    let mut cluster = full();
    cluster.pending("nominated cpu=800m priority=5 nominated=n1 gated");
    assert_eq!(nominations(&cluster), 1, "a gated pod holds its room too");
    cluster.pending("nominated cpu=800m priority=5 nominated=n1 rv=2");
    assert_eq!(nominations(&cluster), 1);
    cluster.pending("nominated cpu=800m priority=5 rv=3");
    assert_eq!(nominations(&cluster), 0);
}

#[test]
fn a_nomination_that_the_status_does_not_show_yet_is_kept_by_an_update() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=1");
    cluster.assigned("victim cpu=800m node=n1");
    cluster.pending("p cpu=800m priority=5");
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(nominations(&cluster), 1);
    cluster.pending("p cpu=800m priority=5 rv=2 label=x");
    assert_eq!(nominations(&cluster), 1);
    cluster.gone(PodWatch::Pending, "p");
    assert_eq!(nominations(&cluster), 0);
}

/// If the write of the status takes a while, the requested nomination counts for the next attempt.
#[test]
fn a_preemptor_whose_status_does_not_show_the_nomination_yet_does_not_preempt_again() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    for node in ["n1", "n2"] {
        cluster.node(&format!("{node} cpu=1"));
    }
    cluster.assigned("v1 cpu=800m node=n1");
    cluster.assigned("v2 cpu=800m node=n2 priority=1");
    cluster.pending("p cpu=800m priority=5");
    assert_eq!(cluster.step(), "p: unschedulable");
    let effects = cluster.effects();
    assert!(effects.contains(&"evict v1 for p".to_owned()), "{effects:?}");
    assert!(effects.last().is_some_and(|status| status.ends_with(" nominated=n1")), "{effects:?}");
    cluster.evicted("p", "v1", Ok(()));
    cluster.assigned("v1 cpu=800m node=n1 evicted rv=2");
    cluster.assigned("other node=n9");
    cluster.gone(PodWatch::Assigned, "other");
    cluster.wait(20.0);
    assert_eq!(cluster.step(), "p: unschedulable");
    let effects = cluster.effects();
    let event = "event p FailedScheduling: 0/2 nodes are available: 2 Insufficient cpu. preemption: not eligible due to a terminating pod on the nominated node.";
    assert!(effects.contains(&event.to_owned()), "{effects:?}");
    assert_eq!(nominations(&cluster), 1);
    // When the status shows it and another party removes it, that counts.
    cluster.pending("p cpu=800m priority=5 rv=2 nominated=n1");
    assert_eq!(nominations(&cluster), 1);
    cluster.pending("p cpu=800m priority=5 rv=3");
    assert_eq!(nominations(&cluster), 0);
}

#[test]
fn a_nomination_that_was_withdrawn_does_not_count_when_the_status_shows_it_late() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=1");
    cluster.assigned("v cpu=800m node=n1");
    cluster.pending("p cpu=800m priority=5");
    assert_eq!(cluster.step(), "p: unschedulable");
    // Its eviction fails, and the next attempt finds no pod to evict.
    cluster.evicted("p", "v", Err("500"));
    cluster.assigned("v cpu=800m node=n1 priority=9 rv=2");
    cluster.wait(20.0);
    assert_eq!(cluster.step(), "p: unschedulable");
    let effects = cluster.effects();
    assert!(effects.last().is_some_and(|status| status.ends_with(" nominated=-")), "{effects:?}");
    assert_eq!(nominations(&cluster), 0);
    cluster.pending("p cpu=800m priority=5 rv=2 nominated=n1");
    assert_eq!(nominations(&cluster), 0, "it was asked before that it be cleared");
    cluster.pending("p cpu=800m priority=5 rv=3");
    cluster.pending("p cpu=800m priority=5 rv=4 nominated=n2");
    assert_eq!(nominations(&cluster), 1, "by somebody else");
}

#[test]
fn a_pending_pod_that_is_being_deleted_holds_no_room() {
    let mut cluster = full();
    cluster.pending("p cpu=800m priority=5 nominated=n1 deleting");
    assert_eq!(nominations(&cluster), 0);
    cluster.pending("q cpu=800m priority=2");
    assert_eq!(cluster.step(), "q -> n1");
    cluster.pending("p cpu=800m priority=5 nominated=n1 deleting rv=2");
    assert_eq!(nominations(&cluster), 0);
}

/// A finalizer keeps it, and it waits for something that does not come.
#[test]
fn a_waiting_pod_that_is_being_deleted_gives_its_room_back_before_it_is_gone() {
    let mut cluster = full();
    cluster.pending("waits cpu=800m priority=5 nominated=n1 gated");
    cluster.pending("p cpu=800m");
    assert_eq!((cluster.step(), cluster.place("p")), ("p: unschedulable".into(), "Unschedulable".into()));
    cluster.pending("waits cpu=800m priority=5 nominated=n1 gated deleting rv=2");
    assert_eq!((nominations(&cluster), cluster.place("p")), (0, "Backoff".into()));
    cluster.pending("waits cpu=800m priority=5 nominated=n1 gated deleting rv=3 label=x");
    assert_eq!(nominations(&cluster), 0);
    assert_eq!(cluster.step(), "p -> n1");
}

/// The write of the nomination is still on its way.
#[test]
fn a_pod_that_goes_wakes_who_waits_though_its_status_never_showed_its_nomination() {
    for is_gone in [true, false] {
        let mut cluster = Cluster::new(&["DefaultPreemption"]);
        cluster.node("n1 cpu=1");
        cluster.assigned("victim cpu=900m node=n1");
        cluster.pending("p cpu=900m priority=9");
        assert_eq!(cluster.step(), "p: unschedulable");
        cluster.evicted("p", "victim", Ok(()));
        cluster.gone(PodWatch::Assigned, "victim");
        cluster.pending("waits cpu=600m priority=5");
        assert_eq!(cluster.step(), "waits: unschedulable", "p will be tried after it");
        if is_gone {
            cluster.gone(PodWatch::Pending, "p");
        } else {
            cluster.pending("p cpu=900m priority=9 deleting rv=2");
        }
        assert_eq!(cluster.place("waits"), "Backoff", "gone: {is_gone}");
        assert_eq!(cluster.step(), "waits -> n1");
    }
}

/// Equivalent pods were rejected because of its room: those that come after its deletion are not rejected because of a state that
/// no longer holds.
#[test]
fn what_was_rejected_for_the_room_of_a_pod_that_is_deleted_is_tried_in_earnest() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=1");
    cluster.assigned("v cpu=900m node=n1 evicted");
    cluster.pending("p cpu=800m priority=5 nominated=n1");
    assert_eq!(cluster.step(), "p: unschedulable");
    cluster.gone(PodWatch::Assigned, "v");
    assert_eq!(cluster.place("p"), "Backoff");
    for q in ["q1", "q2", "q3"] {
        cluster.pending(&format!("{q} cpu=800m priority=2"));
    }
    for q in ["q1", "q2"] {
        assert_eq!(cluster.step(), format!("{q}: unschedulable"));
    }
    cluster.pending("p cpu=800m priority=5 nominated=n1 deleting rv=2");
    assert_eq!(cluster.step(), "q3 -> n1");
}

#[test]
fn foreign_nominations_hold_room_and_give_it_back() {
    let mut cluster = full();
    cluster.foreign("theirs cpu=800m priority=5 nominated=n1 scheduler=default-scheduler");
    cluster.pending("p cpu=500m");
    cluster.pending("high cpu=500m priority=9");
    assert_eq!(cluster.step(), "high -> n1", "a nomination of a less important pod does not count");
    assert_eq!(cluster.step(), "p: unschedulable");
    cluster.effects();
    cluster.gone(PodWatch::ForeignNominated, "theirs");
    assert_eq!(nominations(&cluster), 0);
    assert_eq!(cluster.step(), "p -> n1");
}

/// A preemption by another pod has cleared the nomination, and the status does not show that yet: waiting pods are notified
/// nevertheless.
#[test]
fn a_pod_that_goes_while_its_status_shows_a_nomination_wakes_who_waits() {
    let mut cluster = Cluster::new(&["DefaultPreemption"]);
    cluster.node("n1 cpu=1");
    cluster.assigned("victim cpu=900m node=n1");
    cluster.pending("low cpu=500m priority=5 nominated=n1 gated");
    cluster.pending("waits cpu=600m priority=5");
    cluster.pending("high cpu=900m priority=9");
    assert_eq!(cluster.step(), "high: unschedulable");
    assert_eq!(nominations(&cluster), 1, "low's is cleared, and high has one");
    assert_eq!(cluster.step(), "waits: unschedulable");
    assert_eq!(cluster.place("waits"), "Unschedulable");
    cluster.gone(PodWatch::Pending, "low");
    assert_eq!(cluster.place("waits"), "Backoff");
}

/// The watches are not ordered relative to each other: the pod may be shown on another node before its nomination is shown to
/// have ended.
#[test]
fn a_foreign_nomination_that_ends_on_another_node_wakes_who_waits_for_its_room() {
    let mut cluster = full();
    cluster.node("n2 cpu=100m");
    cluster.foreign("theirs cpu=800m priority=5 nominated=n1 scheduler=default-scheduler");
    cluster.pending("p cpu=500m");
    assert_eq!(cluster.step(), "p: unschedulable");
    cluster.assigned("theirs cpu=800m priority=5 node=n2 scheduler=default-scheduler");
    cluster.gone(PodWatch::ForeignNominated, "theirs");
    assert_eq!(cluster.place("p"), "Backoff");
}

#[test]
fn a_nomination_that_moves_or_ends_wakes_pods_of_at_most_its_priority() {
    for (first, then) in [
        ("v cpu=800m priority=5 nominated=n1 rv=1", "v cpu=800m priority=5 nominated=n2 rv=2"),
        ("v cpu=800m priority=5 nominated=n1 rv=1", "v cpu=800m priority=5 rv=2"),
    ] {
        for foreign in [false, true] {
            let mut cluster = Cluster::new(&[]);
            cluster.node("n1 cpu=1");
            cluster.assigned("there cpu=100m node=n1 priority=100");
            let (first, then) = if foreign {
                let theirs = |text: &str| format!("{text} scheduler=default-scheduler");
                (theirs(first), theirs(then))
            } else {
                (format!("{first} gated"), format!("{then} gated"))
            };
            if foreign {
                cluster.foreign(&first);
            } else {
                cluster.pending(&first);
            }
            assert_eq!(nominations(&cluster), 1);
            cluster.pending("low cpu=500m");
            cluster.pending("high cpu=950m priority=9");
            assert_eq!(
                (cluster.step(), cluster.step()),
                ("high: unschedulable".into(), "low: unschedulable".into())
            );
            assert_eq!(
                (cluster.place("low"), cluster.place("high")),
                ("Unschedulable".into(), "Unschedulable".into())
            );
            if foreign {
                cluster.foreign(&then);
            } else {
                cluster.pending(&then);
            }
            assert_eq!(
                (cluster.place("low"), cluster.place("high")),
                ("Backoff".into(), "Unschedulable".into()),
                "{then}"
            );
        }
    }
}

#[test]
fn a_failed_attempt_clears_the_nomination_and_a_rejected_one_without_preemption_too() {
    let mut cluster = full();
    cluster.pending("p cpu=2 nominated=n1");
    assert_eq!(nominations(&cluster), 1);
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(nominations(&cluster), 0);
    assert!(cluster.effects()[1].ends_with(" nominated=-"));
}

#[test]
fn a_nomination_ends_when_the_pod_is_assumed() {
    let mut cluster = full();
    cluster.pending("p cpu=200m nominated=n1");
    assert_eq!(nominations(&cluster), 1);
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(nominations(&cluster), 0);
    assert_eq!(cluster.effects(), ["bind p to n1"]);
}
