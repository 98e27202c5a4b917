//! Short random histories of the core, each a few hundred events in a few minutes of simulated time: see `tests/simulation`.
//!
//! A history is determined by its seed: `SEED=17 cargo test -p secondmate-core --test simulation` replays one, `HISTORIES=1000`
//! runs more of them, and `-- --nocapture` shows how many it runs per second. `cargo xtask simulate` runs years.

use secondmate_simulation::{Log, Options, World, short};
use std::time::{Duration, Instant};

/// A numeric environment variable. An invalid value is an error, so that nothing is run other than what was asked for.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name}={} is not a number", text.display())))
}

/// The seeds of this many histories, unless the environment specifies others.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HISTORIES").unwrap_or(count),
    };
    assert!(!seeds.is_empty(), "HISTORIES=0 would show nothing");
    seeds
}

fn run(seed: u64, options: Options, steps: usize) -> Vec<String> {
    run_world(seed, options, steps).log
}

fn run_world(seed: u64, options: Options, steps: usize) -> World {
    // The test runner prints this only if the history fails.
    println!("seed {seed}");
    let mut world = World::new(seed, options);
    short(seed, options, steps).iter().for_each(|step| world.perform(step));
    world.calm_down();
    world
}

fn histories(name: &str, steps: usize, options: Options) {
    histories_of(name, steps, options, 8);
}

/// This many histories, unless the environment specifies otherwise.
fn histories_of(name: &str, steps: usize, options: Options, count: u64) {
    let seeds = seeds(count);
    let (count, began) = (seeds.end - seeds.start, Instant::now());
    let mut simulated = Duration::ZERO;
    for seed in seeds {
        println!("{name}: replay it with SEED={seed}");
        simulated += run_world(seed, options, steps).elapsed();
    }
    let took = began.elapsed().as_secs_f64();
    let rate = count as f64 / took;
    println!("{name}: {count} histories, {} s of simulated time, {rate:.1} histories/s", simulated.as_secs());
}

#[test]
fn a_quiet_cluster_places_every_pod_that_fits() {
    histories("quiet", 300, Options::default());
}

#[test]
fn faults_lose_no_pod_and_bind_none_twice() {
    histories("faults", 400, Options { bind_faults: true, lag: true, ..Options::default() });
}

#[test]
fn other_schedulers_and_a_changing_cluster_disturb_nothing() {
    let options =
        Options { bind_faults: true, lag: true, foreign: true, log: Log::Brief, ..Options::default() };
    histories("foreign", 500, options);
    // Nodes are read before pods are bound to them, and reads show what no watch has shown.
    let mut missing = vec!["\"nothing_new\"", "\"new_pods\"", "\"failed\"", "averted: 1"];
    for seed in 0..40 {
        let log = run(seed, options, 500);
        missing.retain(|what| !log.iter().any(|line| line.contains("NodeRead") && line.contains(what)));
        if missing.is_empty() {
            return;
        }
    }
    panic!("no read showed this: {missing:?}");
}

#[test]
fn preemption_makes_room_and_loses_nothing() {
    let options =
        Options { bind_faults: true, lag: true, preemption: true, foreign: true, ..Options::default() };
    histories("preemption", 400, options);
}

#[test]
fn pods_that_wait_on_permit_or_in_pre_bind_are_settled() {
    let options = Options { slow_plugins: true, ..Options::default() };
    histories("slow", 400, options);
    let options = Options { bind_faults: true, lag: true, foreign: true, preemption: true, ..options };
    histories("slow among others", 400, options);
}

#[test]
fn stale_lists_lose_no_pod_and_bring_none_back() {
    let options = Options { lag: true, stale_lists: true, bind_faults: true, ..Options::default() };
    // Failures in this area are rare.
    histories_of("stale lists", 400, options, 20);
}

#[test]
fn crashes_and_lost_leadership_lose_nothing() {
    let options = Options { lag: true, restarts: true, bind_faults: true, ..Options::default() };
    histories("restarts", 400, options);
    let options =
        Options { stale_lists: true, foreign: true, preemption: true, slow_plugins: true, ..options };
    histories("restarts among others", 400, options);
}

#[test]
fn pods_that_an_extender_binds_are_settled() {
    let options = Options { lag: true, bind_faults: true, extender: true, ..Options::default() };
    histories("extender", 400, options);
    histories(
        "extender among others",
        400,
        Options { foreign: true, restarts: true, preemption: true, ..options },
    );
}

#[test]
fn pods_that_look_at_each_other_are_settled() {
    let options = Options { lag: true, bind_faults: true, topology: true, ..Options::default() };
    histories("topology", 300, options);
}

const STEPS: usize = 300;
const EVERYTHING: Options = Options {
    nodes: 0,
    bind_faults: true,
    lag: true,
    foreign: true,
    preemption: true,
    slow_plugins: true,
    topology: true,
    stale_lists: true,
    restarts: true,
    extender: true,
    living: false,
    tenants: false,
    guard: false,
    plain: false,
    loops_unbroken: false,
    hasty_others: false,
    measured: false,
    log: Log::Brief,
};

#[test]
fn the_same_history_has_the_same_effects() {
    let options = Options { log: Log::Full, ..EVERYTHING };
    for seed in 0..5 {
        let (one, other) = (run(seed, options, STEPS), run(seed, options, STEPS));
        let differs = one.iter().zip(&other).find(|(one, other)| one != other);
        assert_eq!(differs, None, "invariant 6: seed {seed}");
        assert_eq!(one.len(), other.len(), "invariant 6: seed {seed}");
    }
}

#[test]
fn a_history_that_is_measured_has_the_same_effects() {
    for seed in 0..5 {
        let measured = run_world(seed, Options { measured: true, ..EVERYTHING }, STEPS);
        assert_eq!(measured.log, run(seed, EVERYTHING, STEPS), "seed {seed}");
        let told = measured.probe.told();
        for what in ["point", "called", "evaluated", "hint", "event"] {
            assert!(told.get(what).is_some_and(|times| *times > 0), "seed {seed}: {told:?}");
        }
    }
}

#[test]
fn either_evaluation_has_the_same_effects() {
    let mut hits = 0;
    for seed in seeds(6) {
        // Without plugins that look further than the node, more pods have a class.
        let options = Options { log: Log::Full, topology: seed % 2 == 0, ..EVERYTHING };
        let standing = run_world(seed, options, STEPS);
        let plain = run(seed, Options { plain: true, ..options }, STEPS);
        let differs = standing.log.iter().zip(&plain).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(standing.log.len(), plain.len(), "seed {seed}");
        hits += standing.standing_hits();
    }
    assert!(hits > 0, "pods are answered from a class");
}
