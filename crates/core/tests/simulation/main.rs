//! The core alone, without any API: random cluster histories under a simulated clock.
//!
//! A pretended API server holds the truth (`world/server.rs`). What it tells reaches the core through watches that lag behind at
//! random, are not ordered against each other, break, and are listed anew, sometimes from a state older than what they have shown.
//! A pretended shell (`world/shell.rs`) carries out the effects: late, out of order, not at all, or without an answer. It loses its
//! leadership, and it crashes and starts again. Users and other schedulers (`world/users.rs`) create, change, bind and delete: pods
//! with CPU, memory, a scalar resource, host ports, gates and priorities, nodes that come, go, shrink and are cordoned, budgets,
//! nominations. A plugin lets pods wait on permit and works before they are bound; pods spread and repel each other.
//!
//! After every input and every step [`secondmate_core::Scheduler::check`] judges the core; what it cannot see from inside is checked
//! by the world: that the cache is what the core was told, that nothing is written without leadership, and, when the faults have
//! ended, that every pod that fits is bound. The numbers in the messages are those of the invariants in `ARCHITECTURE.md`.
//!
//! A history is fixed by its seed: `SEED=17 cargo test -p secondmate-core --test simulation` replays one, `HISTORIES=1000` runs more
//! of them, and `-- --nocapture` shows how many it makes in a second.

mod extender;
mod odd;
mod slow;
mod world;

use std::time::{Duration, Instant};
use world::{Options, World};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn run(seed: u64, options: Options) -> Vec<String> {
    run_world(seed, options).log
}

fn run_world(seed: u64, options: Options) -> World {
    // Printed by the test runner only where the history fails.
    println!("seed {seed}");
    let mut world = World::new(seed, options);
    for _ in 0..options.steps {
        world.advance();
    }
    world.calm_down();
    world
}

fn histories(name: &str, options: Options) {
    histories_of(name, options, 8);
}

/// So many histories, unless the environment says otherwise.
fn histories_of(name: &str, options: Options, count: u64) {
    let seeds: Vec<u64> = match std::env::var("SEED").ok().and_then(|v| v.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..number("HISTORIES", count)).collect(),
    };
    let (count, began) = (seeds.len(), Instant::now());
    let mut simulated = Duration::ZERO;
    for seed in seeds {
        println!("{name}: replay it with SEED={seed}");
        simulated += run_world(seed, options).elapsed();
    }
    let took = began.elapsed().as_secs_f64();
    let rate = count as f64 / took;
    println!("{name}: {count} histories, {} s of simulated time, {rate:.1} histories/s", simulated.as_secs());
}

#[test]
fn a_quiet_cluster_places_every_pod_that_fits() {
    histories("quiet", Options { steps: 300, ..Options::default() });
}

#[test]
fn faults_lose_no_pod_and_bind_none_twice() {
    histories("faults", Options { steps: 400, bind_faults: true, lag: true, ..Options::default() });
}

#[test]
fn other_schedulers_and_a_changing_cluster_disturb_nothing() {
    let options = Options { steps: 500, bind_faults: true, lag: true, foreign: true, ..Options::default() };
    histories("foreign", options);
    // Nodes are read before pods are bound to them, and reads show what no watch has shown.
    let log: Vec<String> = (0..8).flat_map(|seed| run(seed, options)).collect();
    for what in ["\"nothing_new\"", "\"new_pods\"", "\"failed\"", "averted: 1"] {
        assert!(log.iter().any(|line| line.contains("NodeRead") && line.contains(what)), "{what}");
    }
}

#[test]
fn preemption_makes_room_and_loses_nothing() {
    let options = Options {
        steps: 400,
        bind_faults: true,
        lag: true,
        preemption: true,
        foreign: true,
        ..Options::default()
    };
    histories("preemption", options);
}

#[test]
fn pods_that_wait_on_permit_or_in_pre_bind_are_settled() {
    let options = Options { steps: 400, slow_plugins: true, ..Options::default() };
    histories("slow", options);
    let options = Options { bind_faults: true, lag: true, foreign: true, preemption: true, ..options };
    histories("slow among others", options);
}

#[test]
fn stale_lists_lose_no_pod_and_bring_none_back() {
    let options =
        Options { steps: 400, lag: true, stale_lists: true, bind_faults: true, ..Options::default() };
    // What goes wrong here goes wrong seldom.
    histories_of("stale lists", options, 20);
}

#[test]
fn crashes_and_lost_leadership_lose_nothing() {
    let options = Options { steps: 400, lag: true, restarts: true, bind_faults: true, ..Options::default() };
    histories("restarts", options);
    let options =
        Options { stale_lists: true, foreign: true, preemption: true, slow_plugins: true, ..options };
    histories("restarts among others", options);
}

#[test]
fn pods_that_an_extender_binds_are_settled() {
    let options = Options { steps: 400, lag: true, bind_faults: true, extender: true, ..Options::default() };
    histories("extender", options);
    histories(
        "extender among others",
        Options { foreign: true, restarts: true, preemption: true, ..options },
    );
}

#[test]
fn pods_that_look_at_each_other_are_settled() {
    let options = Options { steps: 300, lag: true, bind_faults: true, topology: true, ..Options::default() };
    histories("topology", options);
}

const EVERYTHING: Options = Options {
    steps: 300,
    bind_faults: true,
    lag: true,
    foreign: true,
    preemption: true,
    slow_plugins: true,
    topology: true,
    stale_lists: true,
    restarts: true,
    extender: true,
    measured: false,
    log_in_full: false,
    plain: false,
};

#[test]
fn the_same_history_has_the_same_effects() {
    let options = Options { log_in_full: true, ..EVERYTHING };
    for seed in 0..5 {
        let (one, other) = (run(seed, options), run(seed, options));
        let differs = one.iter().zip(&other).find(|(one, other)| one != other);
        assert_eq!(differs, None, "invariant 6: seed {seed}");
        assert_eq!(one.len(), other.len(), "invariant 6: seed {seed}");
    }
}

#[test]
fn a_history_that_is_measured_has_the_same_effects() {
    for seed in 0..5 {
        let measured = run_world(seed, Options { measured: true, ..EVERYTHING });
        assert_eq!(measured.log, run(seed, EVERYTHING), "seed {seed}");
        let told = measured.probe.told();
        for what in ["point", "called", "evaluated", "hint", "event"] {
            assert!(told.get(what).is_some_and(|times| *times > 0), "seed {seed}: {told:?}");
        }
    }
}

#[test]
fn either_evaluation_has_the_same_effects() {
    let mut hits = 0;
    for seed in 0..number("HISTORIES", 6) {
        // Without plugins that look further than the node more pods have a class.
        let options = Options { log_in_full: true, topology: seed % 2 == 0, ..EVERYTHING };
        let standing = run_world(seed, options);
        let plain = run(seed, Options { plain: true, ..options });
        let differs = standing.log.iter().zip(&plain).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(standing.log.len(), plain.len(), "seed {seed}");
        hits += standing.standing_hits();
    }
    assert!(hits > 0, "pods are answered from a class");
}
