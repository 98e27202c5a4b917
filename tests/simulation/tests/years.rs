//! A short run of what `cargo xtask simulate` runs for years, the histories that once broke something, and how such histories are shrunk.

use secondmate_simulation::{Counts, DAY_LENGTH, History, days, options_of_life, play};

/// Each kind of world for a few days.
#[test]
fn days_of_a_clusters_life_break_nothing() {
    let mut counts = Counts::default();
    for seed in 0..8 {
        println!("replay it with cargo xtask simulate --seed {seed} --days 2");
        let played = play(seed, options_of_life(seed), days(seed, 2), |_, _| true);
        assert_eq!(played.broken, None, "seed {seed}");
        assert!(played.world.elapsed().as_millis() >= u128::from(2 * DAY_LENGTH - DAY_LENGTH / 24));
        counts.merge(&played.world.counts);
    }
    // Days without these are not what this test is about; the others need longer.
    let rare = [
        "preemptions put off",
        "evictions repeated too soon",
        "pods evicted by others",
        "pods that a kubelet rejected",
    ];
    for (kind, count) in counts.iter().filter(|(kind, _)| !rare.contains(kind)) {
        assert!(count > 0, "no {kind}: {counts:?}");
    }
}

#[test]
fn the_same_life_is_the_same() {
    let run = |_| play(5, options_of_life(5), days(5, 1), |_, _| true).world.counts;
    assert_eq!(run(1), run(2));
}

/// They once broke something and must not do so again.
#[test]
fn kept_histories_break_nothing() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("histories");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "there is no history in {}", folder.display());
    for file in files {
        println!("replay it with cargo xtask simulate --replay {}", file.display());
        let text = std::fs::read_to_string(&file).expect("it can be read");
        let history = History::from_text(&text).expect("it is a history");
        assert_eq!(history.to_text(), text, "{}: the form in which it is written", file.display());
        let played = play(history.seed, history.options, history.steps, |_, _| true);
        assert_eq!(played.broken, None, "{}", file.display());
    }
}
