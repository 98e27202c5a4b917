//! Two schedulers that evict and replace pods endlessly (kubernetes/kubernetes issue 130429), with the loop breaker off and on.

use secondmate_simulation::{Action, Options, Step, play};

const HOUR: u64 = 60 * 60 * 1000;

/// Evictions by secondmate after each hour, and how many of them the breaker would have put off.
fn evictions(seed: u64, loops_unbroken: bool, hours: u64) -> (Vec<u64>, u64) {
    let options = Options {
        nodes: 1,
        lag: true,
        foreign: true,
        preemption: true,
        living: true,
        hasty_others: true,
        loops_unbroken,
        ..Options::default()
    };
    let mut steps = vec![Step { at: 0, number: 0, action: Action::CreateRivals }];
    steps.extend((1..=hours).map(|hour| Step { at: hour * HOUR, number: hour, action: Action::Nothing }));
    let mut counts = Vec::new();
    let played = play(seed, options, steps, |world, step| {
        if step.at > 0 {
            counts.push(world.counts.get("pods evicted by secondmate"));
        }
        true
    });
    assert_eq!(played.broken, None, "seed {seed}");
    let counted = &played.world.counts;
    println!("seed {seed}, {loops_unbroken}: {counts:?} {counted:?}");
    (counts, counted.get("evictions repeated too soon"))
}

#[test]
fn without_the_breaker_a_loop_between_two_schedulers_has_no_end() {
    let (evictions, too_soon) = evictions(0, true, 2);
    assert!(evictions[0] > 200, "{evictions:?}");
    // As many in each hour.
    assert!(evictions[1] > 9 * evictions[0] / 5, "{evictions:?}");
    assert!(too_soon > evictions[1] / 2, "{too_soon} of {evictions:?}");
}

/// The delay doubles, up to a day: ten evictions in the first hour, one more each time that the total time doubles.
#[test]
fn with_the_breaker_the_same_loop_comes_to_rest() {
    for seed in 0..3 {
        let (evictions, too_soon) = evictions(seed, false, 12);
        assert!(evictions[0] > 5 && evictions[11] <= 20, "seed {seed}: {evictions:?}");
        assert_eq!(too_soon, 0, "seed {seed}");
    }
}
