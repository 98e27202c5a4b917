//! What is remembered about preemptions in vain, and for which pods.

use super::*;
use secondmate_model::wire;
use serde_json::json;

fn pod(uid: &str, scheduler: &str, owner: Option<&str>) -> Arc<Pod> {
    let owners: Vec<_> = owner
        .iter()
        .map(|uid| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": uid, "controller": true}))
        .collect();
    let pod = json!({
        "metadata": {"name": uid, "namespace": "default", "uid": uid, "ownerReferences": owners},
        "spec": {"schedulerName": scheduler, "containers": []},
    });
    let wire: wire::Pod = serde_json::from_value(pod).expect("a pod");
    Arc::new(Pod::new(&wire).expect("a pod that compiles"))
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// The pod preempts, is bound, and is rejected because another pod took its room.
fn loses(loops: &mut Loops, preemptor: &Arc<Pod>, node: &Atom, now: i64) {
    loops.preempted(&preemptor.uid, node, vec![pod("v", "theirs", Some("rs"))], at(now));
    loops.bound(preemptor, Some(node), at(now + 1));
    loops.arrived(&pod("w", "theirs", Some("rs")), node, true);
    loops.rejected(&preemptor.uid, at(now + 2));
}

/// Number of lost histories that no pod has claimed.
fn unclaimed(loops: &Loops) -> usize {
    loops.lost.iter().filter(|lost| lost.claimed_by.is_none()).count()
}

#[test]
fn the_delay_doubles_with_each_preemption_in_vain() {
    let (mut loops, p, n) = (Loops::default(), pod("p", "ours", None), Atom::new("n"));
    assert_eq!(loops.delays(&p, &n, at(0)), None, "a first preemption is never delayed");
    let mut now = 0;
    for (round, delay) in [(1, 10), (2, 20), (3, 40), (4, 80)] {
        loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(now));
        assert_eq!(loops.delays(&p, &n, at(now + 1)), None, "nobody took the room");
        loops.arrived(&pod("w", "ours", Some("rs")), &n, false);
        for is_news in [true, false] {
            let delayed = loops.delays(&p, &n, at(now + 1)).expect("the victim is back");
            assert_eq!(delayed.until, at(now + delay));
            assert_eq!(
                (delayed.in_vain, delayed.cause, delayed.is_news),
                (round, Cause::VictimsCameBack, is_news)
            );
        }
        now += delay;
        assert_eq!(loops.delays(&p, &n, at(now)), None);
    }
    assert_eq!(
        (delay(14), delay(15), delay(u32::MAX)),
        (Duration::from_secs(81_920), LONGEST_DELAY, LONGEST_DELAY)
    );
}

#[test]
fn only_successors_of_the_victims_and_pods_of_other_schedulers_take_the_room() {
    let (p, n) = (pod("p", "ours", None), Atom::new("n"));
    for (arrival, node, foreign, cause) in [
        (pod("w", "ours", Some("rs")), "n", false, Some(Cause::VictimsCameBack)),
        (pod("w", "theirs", Some("rs")), "n", true, Some(Cause::VictimsCameBack)),
        (pod("w", "theirs", Some("other")), "n", true, Some(Cause::RoomTaken)),
        (pod("w", "ours", Some("other")), "n", false, None),
        (pod("w", "ours", None), "n", false, None),
        (pod("w", "theirs", Some("rs")), "elsewhere", true, None),
        (pod("p", "ours", Some("rs")), "n", false, None),
        (pod("v", "ours", Some("rs")), "n", false, None),
        // An old list shows the victim once more.
        (pod("v", "theirs", Some("rs")), "n", true, None),
    ] {
        let mut loops = Loops::default();
        loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(0));
        loops.arrived(&arrival, &Atom::new(node), foreign);
        assert_eq!(loops.delays(&p, &n, at(1)).map(|delayed| delayed.cause), cause, "{arrival:?}");
    }
}

#[test]
fn nothing_is_left_of_a_pod_that_is_placed() {
    let mut loops = Loops::default();
    for node in ["a", "b"] {
        loops.preempted(&Uid::from("p"), &Atom::new(node), vec![pod("v", "theirs", None)], at(0));
    }
    assert_eq!((loops.preemptors().count(), loops.by_node.len()), (1, 1));
    loops.gone(&Uid::from("p"));
    assert_eq!((loops.preemptors().count(), loops.by_node.len()), (0, 0));
}

#[test]
fn victims_count_until_their_room_is_lost_also_where_the_pod_preempts_on_the_node_again() {
    let (mut loops, p, n) = (Loops::default(), pod("p", "ours", None), Atom::new("n"));
    loops.preempted(
        &p.uid,
        &n,
        vec![pod("v", "theirs", Some("one")), pod("w", "theirs", Some("other"))],
        at(0),
    );
    // The watch does not show yet that w is leaving, so it is chosen once more.
    loops.preempted(&p.uid, &n, vec![pod("w", "theirs", Some("other"))], at(1));
    loops.arrived(&pod("x", "ours", Some("one")), &n, false);
    let delayed = loops.delays(&p, &n, at(2)).expect("a victim of the first time is back");
    assert_eq!((delayed.until, delayed.in_vain, delayed.cause), (at(11), 1, Cause::VictimsCameBack));
    // Another node is a different matter, and so is the time after the room is known to be lost.
    loops.preempted(&p.uid, &Atom::new("m"), vec![pod("u", "theirs", Some("third"))], at(11));
    loops.arrived(&pod("y", "ours", Some("other")), &Atom::new("m"), false);
    assert_eq!(loops.delays(&p, &n, at(12)), None);
}

#[test]
fn a_rejected_pod_leaves_its_history_to_the_next_one_of_its_controller() {
    let mut loops = Loops::default();
    let n = Atom::new("n");
    let mut now = 0;
    for (round, delay) in [(1, 10), (2, 20), (3, 40)] {
        let p = pod(&format!("p{round}"), "ours", Some("mine"));
        // The first may preempt at once, each further one when the delay is over.
        assert_eq!(loops.delays(&p, &n, at(now)), None, "round {round}");
        loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(now));
        loops.bound(&p, Some(&n), at(now + 1));
        assert!(!loops.remembers(&p.uid), "it does not wait any more");
        // The pending watch also shows that it is gone.
        loops.gone(&p.uid);
        loops.arrived(&pod("w", "theirs", Some("rs")), &n, true);
        loops.rejected(&p.uid, at(now + 2));
        let next = pod(&format!("p{}", round + 1), "ours", Some("mine"));
        let delayed = loops.delays(&next, &n, at(now + 2)).expect("the room was taken");
        assert_eq!((delayed.in_vain, delayed.until), (round, at(now + delay)));
        // A pod of another controller is not affected.
        assert_eq!(loops.delays(&pod("q", "ours", Some("other")), &n, at(now + 2)), None);
        now += delay;
    }
}

#[test]
fn a_pod_that_is_bound_and_not_rejected_leaves_nothing() {
    let mut loops = Loops::default();
    let n = Atom::new("n");
    for (name, owner) in [("p", Some("mine")), ("q", None)] {
        let p = pod(name, "ours", owner);
        loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(0));
        loops.bound(&p, Some(&n), at(1));
    }
    loops.bound(&pod("later", "ours", None), Some(&n), at(61));
    loops.rejected(&Uid::from("p"), at(62));
    let kept = (loops.by_preemptor.len(), loops.by_node.len(), loops.bound.len(), loops.lost.len());
    assert_eq!((kept, loops.bound_until.len()), ((0, 0, 0, 0), 0));
}

#[test]
fn a_rejection_that_is_told_before_who_took_the_room_counts_when_that_is_told() {
    let mut loops = Loops::default();
    let n = Atom::new("n");
    let p = pod("p", "ours", Some("mine"));
    loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(0));
    loops.bound(&p, Some(&n), at(1));
    loops.rejected(&p.uid, at(2));
    let next = pod("q", "ours", Some("mine"));
    assert_eq!(loops.delays(&next, &n, at(2)), None, "nobody is known to have taken the room");
    loops.arrived(&pod("w", "theirs", Some("rs")), &Atom::new("m"), true);
    assert_eq!(loops.delays(&next, &n, at(2)), None, "that was elsewhere");
    loops.arrived(&pod("w", "theirs", Some("rs")), &n, true);
    let delayed = loops.delays(&next, &n, at(3)).expect("the room was taken");
    assert_eq!((delayed.in_vain, delayed.until), (1, at(10)));
}

#[test]
fn a_successor_that_is_quicker_than_the_news_of_the_rejection_goes_on_counting() {
    let mut loops = Loops::default();
    let n = Atom::new("n");
    let p = pod("p", "ours", Some("mine"));
    for now in [0, 10, 30] {
        assert_eq!(loops.delays(&p, &n, at(now)), None);
        loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(now));
        loops.arrived(&pod("w", "theirs", Some("rs")), &n, true);
    }
    loops.bound(&p, Some(&n), at(31));
    let next = pod("q", "ours", Some("mine"));
    assert_eq!(loops.delays(&next, &n, at(32)), None, "it is not known yet that the first one was rejected");
    loops.preempted(&next.uid, &n, vec![pod("w", "theirs", Some("rs"))], at(32));
    loops.rejected(&p.uid, at(33));
    loops.arrived(&pod("x", "theirs", Some("rs")), &n, true);
    let delayed = loops.delays(&next, &n, at(34)).expect("the room was taken");
    assert_eq!((delayed.in_vain, delayed.until), (4, at(32 + 80)));
}

#[test]
fn of_what_several_have_lost_that_counts_which_makes_wait_longest() {
    let mut loops = Loops::default();
    let n = Atom::new("n");
    let taker = || pod("w", "theirs", Some("rs"));
    let victims = || vec![pod("v", "theirs", Some("rs"))];
    // The first replica preempts in vain three times, the second one long after that.
    let p = pod("p", "ours", Some("mine"));
    for now in [0, 10, 30] {
        assert_eq!(loops.delays(&p, &n, at(now)), None);
        loops.preempted(&p.uid, &n, victims(), at(now));
        loops.arrived(&taker(), &n, true);
    }
    let q = pod("q", "ours", Some("mine"));
    loops.preempted(&q.uid, &n, victims(), at(200));
    loops.arrived(&taker(), &n, true);
    for replica in [&p, &q] {
        loops.bound(replica, Some(&n), at(201));
        loops.rejected(&replica.uid, at(202));
    }
    let delayed = loops.delays(&pod("r", "ours", Some("mine")), &n, at(203)).expect("room was taken");
    assert_eq!((delayed.in_vain, delayed.until), (1, at(210)));
    assert_eq!(loops.delays(&pod("r", "ours", Some("mine")), &n, at(210)), None, "it is over");
    assert_eq!(loops.delays(&pod("s", "ours", Some("mine")), &n, at(203)), None, "that was long ago");
}

#[test]
fn what_turns_out_to_be_lost_later_counts_if_it_makes_wait_longer() {
    let mut loops = Loops::default();
    let n = Atom::new("n");
    let taker = pod("w", "theirs", Some("rs"));
    for (name, now) in [("p", 0), ("q", 5)] {
        let p = pod(name, "ours", Some("mine"));
        loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(now));
        loops.bound(&p, Some(&n), at(now + 1));
        loops.rejected(&p.uid, at(now + 2));
        if name == "p" {
            loops.arrived(&taker, &n, true);
        }
    }
    let r = pod("r", "ours", Some("mine"));
    let until =
        |loops: &mut Loops, pod: &Pod, now: i64| loops.delays(pod, &n, at(now)).map(|delayed| delayed.until);
    assert_eq!(until(&mut loops, &r, 8), Some(at(10)), "who took the room of q is not known yet");
    loops.arrived(&taker, &n, true);
    assert_eq!(until(&mut loops, &r, 10), Some(at(15)));
    // Another pod can claim what it has left, and neither takes from the other again.
    assert_eq!(until(&mut loops, &pod("s", "ours", Some("mine")), 9), Some(at(10)));
    assert_eq!((until(&mut loops, &r, 14), until(&mut loops, &r, 15)), (Some(at(15)), None));
    assert_eq!(unclaimed(&loops), 0);
}

#[test]
fn each_replica_that_was_rejected_leaves_its_history_to_one_on_the_same_node() {
    let mut loops = Loops::default();
    let (a, b) = (Atom::new("a"), Atom::new("b"));
    for (name, node) in [("p1", &a), ("p2", &b)] {
        let p = pod(name, "ours", Some("mine"));
        loses(&mut loops, &p, node, 0);
    }
    let delayed = |loops: &mut Loops, name: &str, node: &Atom, now: i64| {
        loops.delays(&pod(name, "ours", Some("mine")), node, at(now)).is_some()
    };
    assert!(!delayed(&mut loops, "p3", &Atom::new("c"), 3), "a first preemption on a node");
    assert!(delayed(&mut loops, "p4", &b, 3) && delayed(&mut loops, "p5", &a, 3));
    assert!(!delayed(&mut loops, "p6", &a, 3), "no more were rejected");
    // A pod that is bound elsewhere has not lost what it made room for.
    let p = pod("q", "ours", Some("other"));
    loops.preempted(&p.uid, &a, vec![pod("v", "theirs", Some("rs"))], at(10));
    loops.bound(&p, Some(&b), at(11));
    loops.arrived(&pod("w", "theirs", Some("rs")), &a, true);
    loops.rejected(&p.uid, at(12));
    assert!(unclaimed(&loops) == 0 && loops.bound.is_empty());
    // Old histories are forgotten.
    let p = pod("r", "ours", Some("other"));
    loses(&mut loops, &p, &a, 20);
    assert_eq!(unclaimed(&loops), 1);
    assert_eq!(loops.delays(&pod("s", "ours", Some("other")), &a, at(3622)), None);
    assert_eq!(unclaimed(&loops), 0);
    // Claimed histories end with the pods that claimed them and are placed elsewhere, or are forgotten after those pods are gone.
    loops.bound(&pod("p4", "ours", Some("mine")), Some(&a), at(3623));
    loops.gone(&Uid::from("p5"));
    assert_eq!(loops.delays(&pod("p7", "ours", Some("mine")), &a, at(3624)), None);
    assert!(loops.lost.is_empty());
}

#[test]
fn what_a_pod_claimed_that_is_gone_is_left_to_the_next_one() {
    let mut loops = Loops::default();
    let n = Atom::new("n");
    let p = pod("p", "ours", Some("mine"));
    loses(&mut loops, &p, &n, 0);
    // An old list brings the rejected pod itself back, and then it is gone; so is one that the controller created.
    for name in ["p", "q", "r"] {
        let pod = pod(name, "ours", Some("mine"));
        assert_eq!(loops.delays(&pod, &n, at(3)).map(|delayed| delayed.until), Some(at(10)), "{name}");
        loops.gone(&pod.uid);
    }
    assert_eq!((loops.by_preemptor.len(), loops.by_node.len(), loops.lost.len()), (0, 0, 1));
    // It is kept for an hour after the rejection, not after the last pod was gone.
    assert_eq!(loops.delays(&pod("s", "ours", Some("mine")), &n, at(3602)), None);
    // What the pod has used ends with it.
    loses(&mut loops, &p, &n, 4000);
    let t = pod("t", "ours", Some("mine"));
    assert!(loops.delays(&t, &n, at(4003)).is_some());
    loops.preempted(&t.uid, &n, Vec::new(), at(4010));
    loops.gone(&t.uid);
    assert!(loops.lost.is_empty());
}

#[test]
fn whoever_preempted_there_long_ago_waits_after_what_was_lost_since() {
    let mut loops = Loops::default();
    let n = Atom::new("n");
    let (p, q) = (pod("p", "ours", Some("mine")), pod("q", "ours", Some("mine")));
    loops.preempted(&q.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(0));
    loses(&mut loops, &p, &n, 600);
    // Both were in vain.
    let delayed = loops.delays(&q, &n, at(603)).map(|delayed| (delayed.until, delayed.in_vain));
    assert_eq!(delayed, Some((at(620), 2)));
    // Elsewhere it may preempt at once: the wait for its own is long over, and another pod can claim what it had claimed.
    assert_eq!(loops.delays(&q, &Atom::new("m"), at(604)), None);
    assert_eq!(unclaimed(&loops), 1);
    let r = pod("r", "ours", Some("mine"));
    assert_eq!(loops.delays(&r, &n, at(605)).map(|delayed| delayed.until), Some(at(610)));
}

#[test]
fn whoever_preempted_elsewhere_waits_for_what_was_lost_here() {
    let mut loops = Loops::default();
    let (a, n) = (Atom::new("a"), Atom::new("n"));
    let (p, r) = (pod("p", "ours", Some("mine")), pod("r", "ours", Some("mine")));
    loses(&mut loops, &p, &n, 0);
    loops.preempted(&r.uid, &a, vec![pod("x", "theirs", Some("rs"))], at(3));
    let until = |loops: &mut Loops, now: i64| loops.delays(&r, &n, at(now)).map(|delayed| delayed.until);
    assert_eq!((until(&mut loops, 4), until(&mut loops, 10)), (Some(at(10)), None));
    // The count continues from there.
    loops.preempted(&r.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(10));
    loops.arrived(&pod("y", "theirs", Some("rs")), &n, true);
    assert_eq!(until(&mut loops, 11), Some(at(30)));
}

#[test]
fn the_count_is_the_same_in_whatever_order_the_news_come() {
    for asks_before in [false, true] {
        let mut loops = Loops::default();
        let n = Atom::new("n");
        let (p, q) = (pod("p", "ours", Some("mine")), pod("q", "ours", Some("mine")));
        loops.preempted(&p.uid, &n, vec![pod("v", "theirs", Some("rs"))], at(0));
        loops.arrived(&pod("w", "theirs", Some("rs")), &n, true);
        loops.bound(&p, Some(&n), at(1));
        loops.preempted(&q.uid, &n, vec![pod("w", "theirs", Some("rs"))], at(20));
        loops.arrived(&pod("x", "theirs", Some("rs")), &n, true);
        if asks_before {
            assert_eq!(loops.delays(&q, &n, at(21)).map(|delayed| delayed.in_vain), Some(1));
        }
        loops.rejected(&p.uid, at(22));
        let delayed = loops.delays(&q, &n, at(23)).map(|delayed| (delayed.until, delayed.in_vain));
        assert_eq!(delayed, Some((at(40), 2)), "{asks_before}");
    }
}

#[test]
fn each_pod_that_waits_is_told_once() {
    let mut loops = Loops::default();
    let n = Atom::new("n");
    let p = pod("p", "ours", Some("mine"));
    loses(&mut loops, &p, &n, 0);
    for name in ["q", "r"] {
        let pod = pod(name, "ours", Some("mine"));
        for is_news in [true, false] {
            let delayed = loops.delays(&pod, &n, at(3)).expect("the room was taken");
            assert_eq!(delayed.is_news, is_news, "{name}");
        }
        loops.gone(&pod.uid);
    }
}

#[test]
fn a_pod_that_claimed_and_is_bound_there_leaves_it_if_it_is_rejected_and_ends_it_if_not() {
    for is_rejected in [true, false] {
        let mut loops = Loops::default();
        let n = Atom::new("n");
        let (p, q) = (pod("p", "ours", Some("mine")), pod("q", "ours", Some("mine")));
        loses(&mut loops, &p, &n, 0);
        assert!(loops.delays(&q, &n, at(3)).is_some() && loops.remembers(&q.uid));
        loops.bound(&q, Some(&n), at(4));
        loops.gone(&q.uid);
        assert!(!loops.remembers(&q.uid) && loops.preemptors().count() == 0);
        if is_rejected {
            loops.rejected(&q.uid, at(5));
        }
        loops.bound(&pod("later", "ours", None), Some(&n), at(64));
        assert_eq!(
            (unclaimed(&loops), loops.lost.len()),
            (usize::from(is_rejected), usize::from(is_rejected))
        );
    }
}

#[test]
fn what_was_lost_on_one_node_delays_nobody_on_another_and_is_left_to_the_next_one_there() {
    let mut loops = Loops::default();
    let (a, b) = (Atom::new("a"), Atom::new("b"));
    for (name, node, now) in [("p", &a, 0), ("q", &b, 20)] {
        let p = pod(name, "ours", Some("mine"));
        loses(&mut loops, &p, node, now);
    }
    let r = pod("r", "ours", Some("mine"));
    let until = |loops: &mut Loops, pod: &Pod, node: &Atom, now: i64| {
        loops.delays(pod, node, at(now)).map(|delayed| (delayed.node, delayed.until))
    };
    assert_eq!(until(&mut loops, &r, &a, 5), Some((a.clone(), at(10))));
    assert_eq!(until(&mut loops, &r, &b, 25), Some((b.clone(), at(30))));
    assert_eq!(until(&mut loops, &r, &Atom::new("c"), 25), None);
    assert_eq!((loops.by_preemptor.len(), loops.by_node.len(), unclaimed(&loops)), (0, 0, 2));
    assert_eq!(until(&mut loops, &pod("s", "ours", Some("mine")), &a, 6), Some((a.clone(), at(10))));
}
