//! The outcomes of an approval.

use crate::fixture::*;
use secondmate_guard::{Found, Settled};
use std::time::Duration;

#[test]
fn a_second_request_of_a_pod_takes_the_place_of_the_first() {
    let mut desk = Desk::new(&["n1 cpu=1", "n2 cpu=1"], &["a cpu=1", "b cpu=1"]);
    assert_eq!(desk.bind("a", "n1"), "ok");
    assert_eq!(desk.bind("a", "n1"), "ok", "its own room");
    assert_eq!(desk.guard.unseen(), 1);
    assert_eq!(desk.bind("b", "n2"), "ok");
    // A refused request changes nothing: the first bind may still be carried out.
    assert!(desk.bind("b", "n1").contains("default/a was bound"));
    assert!(desk.bind("a", "n2").contains("default/b was bound"));
    assert_eq!(desk.guard.unseen(), 2);
}

#[test]
fn a_request_for_another_node_leaves_the_first_one_its_room_until_that_is_looked_at() {
    let pods = ["a cpu=1", "b cpu=1"];
    let moved = || {
        let mut desk = Desk::new(&["n1 cpu=1", "n2 cpu=1"], &pods);
        assert_eq!(desk.bind("a", "n1"), "ok");
        desk.wait_ms(2000);
        assert_eq!((desk.bind("a", "n2"), desk.guard.unseen()), ("ok".to_owned(), 2));
        assert!(desk.bind("b", "n1").contains("default/a was bound by default-scheduler 2 s ago"));
        desk
    };
    // A look shows that it was not carried out.
    let mut desk = moved();
    desk.wait_ms(7000);
    let looks = desk.guard.looks(desk.now, 10);
    assert_eq!(looks.len(), 2);
    let settled: Vec<_> = looks.iter().map(|look| desk.found(look, &Found::Unbound)).collect();
    assert_eq!(settled.iter().filter(|settled| **settled == Some(Settled::NotCarriedOut)).count(), 1);
    assert_eq!(desk.bind("b", "n1"), "ok");
    // It was carried out after all.
    let mut desk = moved();
    assert_eq!(desk.see("a cpu=1 on=n1"), Some(Settled::Seen(Duration::from_secs(2))));
    assert_eq!(desk.guard.unseen(), 0);
    assert_eq!(desk.bind("b", "n2"), "ok");
    // The second was carried out.
    let mut desk = moved();
    assert_eq!(desk.see("a cpu=1 on=n2"), Some(Settled::Seen(Duration::ZERO)));
    assert_eq!((desk.bind("b", "n1"), desk.guard.unseen()), ("ok".to_owned(), 1));
    // It returns to the first node: that is one request again.
    let mut desk = moved();
    assert_eq!((desk.bind("a", "n1"), desk.guard.unseen()), ("ok".to_owned(), 2));
    assert!(desk.bind("b", "n2").contains("default/a was bound"));
    // The outcome cannot be determined.
    let mut desk = moved();
    desk.wait_ms(60_000);
    assert_eq!(desk.guard.expire(desk.now), 2);
}

#[test]
fn who_goes_round_the_nodes_does_not_hold_them_all() {
    let nodes: Vec<String> = (0..9).map(|number| format!("n{number} cpu=1")).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let mut desk = Desk::new(&nodes, &["a cpu=1", "b cpu=1"]);
    for number in 0..9 {
        desk.wait_ms(1);
        assert_eq!(desk.bind("a", &format!("n{number}")), "ok");
    }
    assert_eq!(desk.guard.unseen(), 5);
    assert_eq!(desk.bind("b", "n3"), "ok", "it was the oldest");
    assert!(desk.bind("b", "n4").contains("default/a was bound"));
}

#[test]
fn who_asks_again_and_again_in_vain_does_not_hold_the_room_for_ever() {
    for every_ms in [2_000, 5_000, 9_000, 10_000] {
        let mut desk = Desk::new(&["n1 cpu=1"], &["a cpu=1", "b cpu=1"]);
        let mut free_ms = 0;
        for at_ms in (0..120_000).step_by(250) {
            if at_ms % every_ms == 0 {
                assert_eq!(desk.bind("a", "n1"), "ok");
            }
            if let Some(look) = desk.look() {
                desk.found(&look, &Found::Unbound);
            }
            free_ms += if desk.guard.unseen() == 0 { 250 } else { 0 };
            desk.wait_ms(250);
        }
        assert!(free_ms > 30_000, "every {every_ms} ms: free for {free_ms} ms of two minutes");
        // Once it is seen, everything is forgotten.
        desk.see("a cpu=1 on=n1");
        desk.guard.off_node(&uid("a"));
        assert_eq!(desk.bind("a", "n1"), "ok");
        desk.wait_ms(1000);
        assert_eq!(desk.look(), None);
    }
}

#[test]
fn what_is_seen_is_settled() {
    let mut desk = Desk::new(&["n1 cpu=1", "n2 cpu=1"], &["a cpu=1", "b cpu=1"]);
    desk.bind("a", "n1");
    desk.bind("b", "n2");
    desk.wait_ms(30);
    assert_eq!(desk.see("a cpu=1 on=n1"), Some(Settled::Seen(Duration::from_millis(30))));
    assert_eq!(desk.see("a cpu=1 on=n1"), None, "an update");
    assert_eq!(desk.see("b cpu=1 on=n1"), Some(Settled::Elsewhere));
    assert_eq!(desk.guard.unseen(), 0);
    desk.wait_ms(100_000);
    assert_eq!((desk.look(), desk.guard.expire(desk.now)), (None, 0));
    desk.see("c cpu=1");
    assert_eq!(desk.bind("c", "n2"), "ok");
}

#[test]
fn what_was_not_carried_out_is_found_out_and_given_back() {
    let mut desk = Desk::new(&["n1 cpu=1"], &["a cpu=1", "b cpu=1"]);
    desk.bind("a", "n1");
    desk.wait_ms(2999);
    assert_eq!(desk.look(), None);
    desk.wait_ms(1);
    let look = desk.look().expect("it is unseen for too long");
    assert_eq!(desk.look(), None, "one at a time");
    assert_eq!(desk.found(&look, &Found::Unknown), None);
    assert!(desk.bind("b", "n1").contains("default/a was bound"));
    desk.wait_ms(3000);
    let early = desk.look().expect("it is looked at again");
    assert_eq!(desk.found(&early, &Found::Unbound), None, "it may be carried out yet");
    desk.wait_ms(3000);
    let look = desk.look().expect("and again");
    assert_eq!(desk.found(&early, &Found::Unbound), None, "what an early look found is as old");
    assert!(desk.bind("b", "n1").contains("default/a was bound"));
    assert_eq!(desk.found(&look, &Found::Unbound), Some(Settled::NotCarriedOut));
    assert_eq!(desk.bind("b", "n1"), "ok");
    desk.wait_ms(3000);
    let look = desk.look().expect("of the other");
    assert_eq!(desk.found(&look, &Found::Gone), Some(Settled::NotCarriedOut));
    assert_eq!(desk.found(&look, &Found::Gone), None, "told twice");
}

#[test]
fn where_binds_are_slow_it_takes_longer_to_say_that_one_was_not_carried_out() {
    for (seen_after_s, given_back_after_s) in [(1, 9), (3, 9), (4, 12), (6, 18), (11, 33), (12, 36), (50, 36)]
    {
        let mut desk = Desk::new(&["n1 cpu=1", "n2 cpu=1"], &["a cpu=1", "slow cpu=1"]);
        desk.bind("slow", "n2");
        desk.wait_ms(seen_after_s * 1000);
        desk.see("slow cpu=1 on=n2");
        desk.bind("a", "n1");
        let gives_back = |desk: &mut Desk| {
            (1_u64..30).find(|_| {
                desk.wait_ms(3000);
                desk.look().is_some_and(|look| desk.found(&look, &Found::Unbound).is_some())
            })
        };
        assert_eq!(
            gives_back(&mut desk),
            Some(given_back_after_s / 3),
            "one was seen after {seen_after_s} s"
        );
        // Two minutes later it is forgotten.
        desk.wait_ms(120_000);
        desk.bind("a", "n1");
        assert_eq!(gives_back(&mut desk), Some(3));
    }
}

#[test]
fn a_pod_that_was_on_no_node_is_looked_at_again_when_that_settles_it() {
    let mut desk = Desk::new(&["n1 cpu=1"], &["a cpu=1"]);
    desk.bind("a", "n1");
    desk.wait_ms(3000);
    let look = desk.look().expect("unseen for too long");
    desk.wait_ms(1);
    assert_eq!(desk.found(&look, &Found::Unbound), None);
    desk.wait_ms(5998);
    assert_eq!(desk.look(), None);
    desk.wait_ms(1);
    let look = desk.look().expect("it can be settled");
    assert_eq!(desk.found(&look, &Found::Unbound), Some(Settled::NotCarriedOut));
}

#[test]
fn who_has_been_due_longest_is_looked_at_first_and_who_is_in_the_way_before_all() {
    let mut desk = Desk::new(
        &["n1 cpu=1", "full cpu=1"],
        &["b cpu=1m", "d cpu=1m", "a cpu=1m", "c cpu=1m", "old cpu=1 on=full"],
    );
    for pod in ["c", "a", "d"] {
        assert_eq!(desk.bind(pod, "n1"), "ok");
        desk.wait_ms(1);
    }
    assert_eq!(desk.bind("b", "n1"), "ok");
    desk.wait_ms(3000);
    assert!(desk.bind("c", "full").contains("Insufficient cpu"));
    let mut looked_at = Vec::new();
    for at_most in [0, 1, 2, 9] {
        let looks = desk.guard.looks(desk.now, at_most);
        looked_at.push(looks.iter().map(|look| look.name.to_string()).collect::<Vec<_>>());
    }
    assert_eq!(looked_at, [vec![], vec!["old"], vec!["c", "a"], vec!["d", "b"]]);
}

#[test]
fn a_look_is_about_the_request_that_was_there_when_it_began() {
    let mut desk = Desk::new(&["n1 cpu=1"], &["a cpu=1", "b cpu=1"]);
    desk.bind("a", "n1");
    desk.wait_ms(3000);
    let look = desk.look().expect("unseen for too long");
    desk.bind("a", "n1");
    assert_eq!(desk.found(&look, &Found::Unbound), None);
    assert!(desk.bind("b", "n1").contains("default/a was bound"));
}

#[test]
fn a_bind_that_only_the_watch_does_not_show_stands_and_says_that_the_watch_lags() {
    let mut desk = Desk::new(&["n1 cpu=1"], &["a cpu=1", "b cpu=1"]);
    desk.bind("a", "n1");
    desk.wait_ms(3000);
    let look = desk.look().expect("unseen for too long");
    assert_eq!(desk.found(&look, &Found::On(atom("n1"))), None, "it may have been carried out just now");
    assert!(!desk.guard.lags(desk.now));
    desk.wait_ms(999);
    assert_eq!(desk.look(), None);
    desk.wait_ms(1);
    for _ in 0..100 {
        let look = desk.look().expect("unseen still");
        assert_eq!(desk.found(&look, &Found::On(atom("n1"))), Some(Settled::WatchLags));
        assert!(desk.guard.lags(desk.now));
        assert_eq!(desk.guard.expire(desk.now), 0);
        assert!(desk.bind("b", "n1").contains("default/a was bound"));
        desk.wait_ms(3000);
    }
    assert_eq!(desk.see("a cpu=1 on=n1"), Some(Settled::Seen(Duration::from_secs(304))));
    assert!(!desk.guard.lags(desk.now));
}

#[test]
fn a_pod_that_is_gone_and_still_shown_says_that_the_watch_lags_while_everything_is_refused() {
    for found in [Found::Gone, Found::Unbound, Found::On(atom("n2"))] {
        let mut desk = Desk::new(&["n1 cpu=1"], &["old cpu=500m on=n1", "other cpu=500m on=n1", "a cpu=1"]);
        assert!(desk.bind("a", "n1").contains("Insufficient cpu"));
        let look = desk.look().expect("whether who is in the way is there");
        assert_eq!((look.name.as_ref(), look.node.as_str()), ("old", "n1"));
        assert_eq!(desk.found(&look, &Found::On(atom("n1"))), None);
        assert!(desk.bind("a", "n1").contains("Insufficient cpu"));
        assert_eq!(desk.look(), None, "not for each refusal");
        desk.wait_ms(1000);
        assert!(!desk.guard.lags(desk.now));
        assert!(desk.bind("a", "n1").contains("Insufficient cpu"));
        let look = desk.look().expect("another one");
        assert_eq!(look.name.as_ref(), "other");
        assert_eq!(desk.found(&look, &found), None);
        desk.wait_ms(999);
        assert!(!desk.guard.lags(desk.now), "the watch may tell it yet");
        desk.wait_ms(1);
        assert!(desk.guard.lags(desk.now));
        assert!(desk.bind("a", "n1").contains("Insufficient cpu"));
        assert!(desk.look().is_none() && desk.guard.lags(desk.now), "as long as it is shown");
        desk.guard.off_node(&uid("other"));
        assert!(!desk.guard.lags(desk.now));
        desk.wait_ms(1000);
        assert!(desk.bind("a", "n1").contains("Insufficient cpu"));
        let look = desk.look().expect("and again");
        assert_eq!(desk.found(&look, &Found::Unknown), None);
        desk.wait_ms(5000);
        assert!(!desk.guard.lags(desk.now), "nobody could say");
    }
}

#[test]
fn a_look_may_find_it_elsewhere() {
    let mut desk = Desk::new(&["n1 cpu=1"], &["a cpu=1", "b cpu=1"]);
    desk.bind("a", "n1");
    desk.wait_ms(3000);
    let look = desk.look().expect("unseen for too long");
    assert_eq!(desk.found(&look, &Found::On(atom("n2"))), Some(Settled::Elsewhere));
    assert_eq!(desk.bind("b", "n1"), "ok");
}

#[test]
fn what_nobody_can_say_anything_about_expires() {
    let mut desk = Desk::new(&["n1 cpu=1"], &["a cpu=1", "b cpu=1"]);
    desk.bind("a", "n1");
    desk.wait_ms(59_999);
    assert_eq!(desk.guard.expire(desk.now), 0);
    desk.wait_ms(1);
    assert_eq!(desk.guard.expire(desk.now), 1);
    assert_eq!(desk.bind("b", "n1"), "ok");
    assert_eq!(desk.guard.unseen(), 1);
}

#[test]
fn a_pod_of_the_same_name_comes_again_before_the_end_of_the_first_is_told() {
    let mut desk = Desk::new(&["n1 cpu=1"], &["a cpu=1"]);
    let mut again = (*pod("a cpu=500m")).clone();
    again.uid = uid("a-2");
    desk.guard.waiting(std::sync::Arc::new(again));
    desk.guard.waiting_gone(&uid("a"));
    let bind = secondmate_guard::Bind { uid: Some(uid("a-2")), ..desk.request("a", "n1") };
    assert_eq!(text(&desk.decide(&bind)), "ok");
    desk.guard.waiting_gone(&uid("a-2"));
    assert_eq!(desk.guard.pod_of(&bind), None);
    assert_eq!(desk.guard.sizes(), [1, 1, 0]);
}

#[test]
fn a_node_that_goes_and_comes_keeps_its_pods() {
    let mut desk = Desk::new(&["n1 cpu=1"], &["old cpu=500m on=n1", "a cpu=500m", "b cpu=500m"]);
    desk.bind("a", "n1");
    desk.guard.node_gone(&atom("n1"));
    assert_eq!(desk.bind("b", "n1"), "unknown-node");
    desk.guard.node(node("n1 cpu=2"));
    assert_eq!(desk.see("c cpu=500m"), None);
    assert_eq!(desk.bind("c", "n1"), "ok");
    desk.see("d cpu=1m");
    assert!(desk.bind("d", "n1").contains("2000m of 2000m bound"));
}
