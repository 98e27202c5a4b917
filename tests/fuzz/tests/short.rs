//! A short, always equal selection of what `cargo xtask fuzz` does at length.

use secondmate_fuzz::{Campaign, Limits, TARGETS, Target};

/// Inputs of each target: some seconds in all in a debug build.
const INPUTS: u64 = 300;
const SEED: u64 = 1;

/// Files are read on the main thread of a process, which has this stack; a test's own has less, and builds for tests have large frames.
const STACK_BYTES: usize = 8 << 20;

fn check(targets: &'static [Target]) {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(|| check_each(targets));
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

fn check_each(targets: &[Target]) {
    for target in targets {
        let campaign = Campaign::new(target, SEED).expect("seeds");
        let summary = campaign.run(0..INPUTS, Limits::default());
        let findings: Vec<String> = summary.findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        // A target that takes nothing, or everything, sees one side of its parser only.
        let taken = summary.accepted;
        assert!((1..INPUTS).contains(&taken), "{} of {INPUTS} inputs for {} were taken", taken, target.name);
    }
}

#[test]
fn no_input_breaks_the_first_half_of_the_targets() {
    check(&TARGETS[..TARGETS.len() / 2]);
}

#[test]
fn no_input_breaks_the_second_half_of_the_targets() {
    check(&TARGETS[TARGETS.len() / 2..]);
}

#[test]
fn the_first_seed_of_each_target_is_taken() {
    for target in TARGETS {
        let campaign = Campaign::new(target, SEED).expect("seeds");
        assert!(
            (target.run)(&campaign.input(0)).expect("no rule is broken"),
            "the first seed of {}",
            target.name
        );
    }
}
