//! A short selection of the scenes of `cargo xtask chaos`: one of each sort, and small.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use secondmate_chaos::{Arena, Scale, play, print};
use secondmate_harness::require_or_skip;

/// The cluster of all tests here, kept for the next one. One scene at a time: the nodes are judged too.
static ARENA: Mutex<Option<Arena>> = Mutex::new(None);

const SCALE: Scale = Scale {
    pods: 100,
    kills: 5,
    rounds: 5,
    frozen: Duration::from_secs(4),
    starved: Duration::from_secs(16),
};

fn selection(test: &str, scenes: &[&str]) -> Result<()> {
    let Some(binaries) = require_or_skip(test) else { return Ok(()) };
    let mut kept = ARENA.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos");
    let seed = fastrand::u64(..);
    let mut rows = Vec::new();
    for scene in scenes {
        let arena = match kept.take() {
            Some(arena) => arena,
            None => Arena::start(binaries, &folder)?,
        };
        let row = play(&arena, scene, seed, &SCALE)?;
        if row.result.is_ok() {
            *kept = Some(arena);
        }
        rows.push(row);
    }
    print(&rows);
    let failed: Vec<&str> = rows.iter().filter(|row| row.result.is_err()).map(|row| row.scene).collect();
    assert!(
        failed.is_empty(),
        "these failed with seed {seed}: {failed:?}; `cargo xtask chaos --seed {seed} SCENE` plays one at full size"
    );
    Ok(())
}

#[test]
fn no_pod_is_bound_twice_or_lost_when_processes_are_killed() -> Result<()> {
    selection(
        "no_pod_is_bound_twice_or_lost_when_processes_are_killed",
        &["kill-apiserver", "kill-scheduler"],
    )
}

#[test]
fn no_pod_is_bound_twice_or_lost_when_etcd_stands_still() -> Result<()> {
    selection("no_pod_is_bound_twice_or_lost_when_etcd_stands_still", &["freeze-etcd"])
}

#[test]
fn no_pod_is_bound_twice_or_lost_by_candidates_that_are_starved() -> Result<()> {
    selection("no_pod_is_bound_twice_or_lost_by_candidates_that_are_starved", &["starvation"])
}

#[test]
fn memory_stays_flat_while_pods_come_and_go() -> Result<()> {
    selection("memory_stays_flat_while_pods_come_and_go", &["churn"])
}

#[test]
fn a_leader_that_was_frozen_writes_nothing_when_it_goes_on() -> Result<()> {
    selection("a_leader_that_was_frozen_writes_nothing_when_it_goes_on", &["freeze-leader"])
}

#[test]
fn no_pod_is_bound_twice_or_lost_when_answers_are_lost() -> Result<()> {
    selection(
        "no_pod_is_bound_twice_or_lost_when_answers_are_lost",
        &["answers-lost", "answers-overtaken", "answers-half"],
    )
}

#[test]
fn no_pod_is_bound_twice_or_lost_when_watches_break() -> Result<()> {
    selection(
        "no_pod_is_bound_twice_or_lost_when_watches_break",
        &["watch-stale", "watch-garbage", "list-stale"],
    )
}
