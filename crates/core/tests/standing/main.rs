//! The standing evaluation compared with the plain pass: random histories of a cluster, and after each step the same questions to
//! both.
//!
//! The answers must be equal in everything: verdicts, reasons, scores, best nodes, message, rejecting plugins, the result of
//! preemption, the node that is chosen for a random number, and how many random numbers were drawn. A history is determined by
//! its seed: `SEED=17 cargo test -p secondmate-core --test standing` replays one, `HISTORIES=1000` runs more of them, `FROM=500`
//! begins with that seed, `STEPS=1000` makes them longer, and `-- --nocapture` shows what they did.

mod asked;
mod bounds;
mod cluster;
mod compare;
mod counts;
mod counts_of_volumes;
mod objects;
mod variety;
mod volumes;
mod world;

use cluster::{About, Cluster};
use secondmate_cycle::{StandingCounts, StandingSettings};
use secondmate_model::Atom;

/// A numeric environment variable. An invalid value is an error, so that nothing is run other than what was asked for.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name}={} is not a number", text.display())))
}

/// Runs histories of the given number of steps, and adds up what the standing evaluation did, and how many pods with claims it
/// served.
fn histories(name: &str, count: u64, settings: StandingSettings, about: About) -> (StandingCounts, u64) {
    let from = number("FROM").unwrap_or(0);
    let seeds = from..from + number("HISTORIES").unwrap_or(count);
    let seeds = number("SEED").map_or(seeds, |seed| seed..seed + 1);
    assert!(!seeds.is_empty(), "HISTORIES=0 would show nothing");
    let (mut sum, mut claims_served) = (StandingCounts::default(), 0);
    for seed in seeds {
        println!("{name}: replay it with SEED={seed}");
        let (counts, served) = history(seed, settings, about);
        claims_served += served;
        sum.hits += counts.hits;
        sum.first_sights += counts.first_sights;
        sum.made += counts.made;
        sum.rebuilds += counts.rebuilds;
        sum.dropped += counts.dropped;
        sum.nodes_evaluated += counts.nodes_evaluated;
        sum.groups_visited += counts.groups_visited;
        sum.trials.made += counts.trials.made;
        sum.trials.known += counts.trials.known;
        for (plugin, pods) in counts.asked {
            *sum.asked.entry(plugin).or_insert(0) += pods;
        }
        for (why, pods) in counts.plain {
            *sum.plain.entry(why).or_insert(0) += pods;
        }
    }
    println!("{name}: {sum:?}, {claims_served} with claims");
    (sum, claims_served)
}

fn history(seed: u64, settings: StandingSettings, about: About) -> (StandingCounts, u64) {
    // Few nodes change between two pods here, so every other history always evaluates them over columns.
    let columns_from = if seed.is_multiple_of(2) { settings.columns_from } else { 0 };
    let mut cluster = Cluster::new(seed, StandingSettings { columns_from, ..settings }, about);
    let steps = number("STEPS").unwrap_or(150);
    assert!(steps > 0, "STEPS=0 would show nothing");
    for step in 0..steps {
        let what = cluster.change();
        if let Err(difference) = cluster.ask() {
            panic!("seed {seed}, step {step} ({what}): {difference}");
        }
    }
    (cluster.counts(), cluster.claims_served())
}

#[test]
fn both_answer_alike_whatever_happens() {
    let settings = StandingSettings { first_sight: true, ..StandingSettings::default() };
    let (counts, claims_served) = histories("every class", 20, settings, About::Anything);
    let plain: u64 = counts.plain.values().sum();
    assert!(counts.hits > plain, "most pods are answered from a class: {counts:?}");
    assert!(counts.hits > counts.made + counts.rebuilds, "most classes are known: {counts:?}");
    assert!(counts.trials.known > 100, "preemption meets nodes that it has tried out: {counts:?}");
    assert!(claims_served > counts.hits / 20, "pods with claims are answered from classes as well");
}

#[test]
fn both_answer_alike_where_classes_come_with_the_second_pod_and_go_for_want_of_memory() {
    let settings = StandingSettings { bytes_max: 6 << 10, ..StandingSettings::default() };
    let (counts, _) = histories("few classes", 20, settings, About::Anything);
    assert!(counts.dropped > 0 && counts.hits > 0, "classes come and go: {counts:?}");
}

#[test]
fn both_answer_alike_where_every_pod_is_alone() {
    let (counts, _) = histories("alone", 20, StandingSettings::default(), About::PodsAlone);
    assert!(
        counts.first_sights > 200 && counts.made < counts.hits - counts.first_sights,
        "pods are answered over columns, and by a class of their own where domains count: {counts:?}"
    );
}

#[test]
fn both_answer_alike_whatever_becomes_of_volumes() {
    let settings = StandingSettings { first_sight: true, ..StandingSettings::default() };
    let (counts, claims_served) = histories("volumes", 20, settings, About::Volumes);
    assert!(claims_served > counts.hits / 2, "most pods have claims");
    assert!(claims_served > 2 * (counts.made + counts.rebuilds), "most classes are known: {counts:?}");
}

#[test]
fn both_answer_alike_where_plugins_declare_nothing() {
    for first_sight in [true, false] {
        let settings = StandingSettings { first_sight, ..StandingSettings::default() };
        let (counts, _) = histories("asked", 20, settings, About::Asked);
        for plugin in ["Secretive", "OwnWay"] {
            let asked = counts.asked.get(&Atom::new(plugin)).copied().unwrap_or(0);
            assert!(asked > 300, "{plugin} is asked about the nodes that pass: {counts:?}");
        }
    }
}
