//! The shapes on tiny clusters: how many pods are placed by which evaluation, and by kube-scheduler.

use super::*;
use clap::ValueEnum;
use measure::Tally;

const NODES: usize = 30;
const PODS: usize = 20;
/// More than any of them takes.
const UNLIMITED: Duration = Duration::from_secs(3600);

fn tiny(shape: Shape) -> Measurement {
    // More pods than are alive at a time.
    let pods = if shape == Shape::DeletionChurn { 120 } else { PODS };
    Measurement { shape, nodes: NODES, pods, at_most: UNLIMITED, warm_up: 0 }
}

/// Pods that were tried, placed, rejected, gated, evicted and deleted.
fn counts(tally: &Tally) -> [usize; 6] {
    [tally.steps.len(), tally.placed, tally.rejected.len(), tally.gated, tally.evicted, tally.deleted]
}

fn expected(shape: Shape) -> [usize; 6] {
    match shape {
        Shape::Unschedulable => [20, 10, 10, 0, 0, 0],
        Shape::Gated => [10, 10, 0, 10, 0, 0],
        Shape::DeletionChurn => [120, 120, 0, 0, 0, 20],
        Shape::Preemption => [20, 0, 20, 0, 20, 0],
        _ => [20, 20, 0, 0, 0, 0],
    }
}

#[test]
fn every_shape_is_placed_as_it_says_by_every_evaluation() {
    for shape in Shape::value_variants() {
        for evaluation in Evaluation::value_variants() {
            let (tally, _) = tiny(*shape).run(*evaluation).expect("a measurement");
            assert_eq!(counts(&tally), expected(*shape), "{shape} {evaluation:?}");
        }
    }
}

#[test]
fn the_standing_evaluation_serves_all_but_the_first_pods_of_a_kind() {
    for shape in Shape::value_variants() {
        let many_kinds = [
            Shape::ManyClasses,
            Shape::Alone,
            Shape::DaemonSet,
            Shape::AntiAffinityHostRequired,
            Shape::AntiAffinityZoneRequired,
            Shape::AntiAffinityNamespacesRequired,
            Shape::Mixed,
            Shape::MixedByZone,
        ];
        let (tally, own) = tiny(*shape).run(Evaluation::Standing).expect("a measurement");
        let plain = own.plain * tally.steps.len() as f64;
        assert!(many_kinds.contains(shape) || plain < 2.5, "{shape}: {own:?}");
    }
}

#[test]
fn kube_scheduler_finds_room_for_the_same_pods() {
    let test = "kube_scheduler_finds_room_for_the_same_pods";
    let Some(oracle) = secondmate_harness::require_oracle_or_skip(test) else { return };
    for shape in Shape::value_variants() {
        let (own, _) = tiny(*shape).run(Evaluation::Standing).expect("a measurement");
        // On so few nodes both ways look at all of them.
        let peer = if *shape == Shape::Basic { Peer::Sampled } else { Peer::Every };
        let (tally, release) = peer::run(oracle, &tiny(*shape), peer).expect("kube-scheduler's steps");
        assert_eq!(counts(&tally), expected(*shape), "{shape}");
        assert_eq!(tally.rejected, own.rejected, "{shape}");
        assert!(release.starts_with("1."), "{release}");
    }
}

#[test]
fn the_first_pods_can_be_left_unmeasured() {
    let warm = Measurement { warm_up: 3, at_most: Duration::ZERO, ..tiny(Shape::Basic) };
    let (tally, _) = warm.run(Evaluation::Standing).expect("a measurement");
    assert_eq!((tally.steps.len(), tally.placed), (1, 4));
    let warm = Measurement { at_most: UNLIMITED, ..warm };
    let (tally, _) = warm.run(Evaluation::Standing).expect("a measurement");
    assert_eq!((tally.steps.len(), tally.placed), (17, 20));
    let Some(oracle) = secondmate_harness::require_oracle_or_skip("the_first_pods_can_be_left_unmeasured")
    else {
        return;
    };
    let (tally, _) = peer::run(oracle, &warm, Peer::Every).expect("kube-scheduler's steps");
    assert_eq!((tally.steps.len(), tally.placed), (17, 20));
}

#[test]
fn what_kube_scheduler_cannot_read_is_an_error() {
    let test = "what_kube_scheduler_cannot_read_is_an_error";
    let Some(oracle) = secondmate_harness::require_oracle_or_skip(test) else { return };
    let none = Measurement { nodes: 0, ..tiny(Shape::Basic) };
    let error = peer::run(oracle, &none, Peer::Every).expect_err("a cluster without nodes");
    assert!(error.to_string().contains("no nodes available"), "{error}");
    let missing = std::path::Path::new("/nonexistent/oracle");
    let error = peer::run(missing, &tiny(Shape::Basic), Peer::Every).expect_err("no such program");
    assert!(error.to_string().contains("/nonexistent/oracle"), "{error}");
}
