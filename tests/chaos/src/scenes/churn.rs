//! Pods come and go, round after round.

use anyhow::{Result, ensure};

use secondmate_harness::{MeasuredScheduler, wait_until};
use secondmate_suite::DEADLINE;

use super::Played;
use crate::arena::{ALONE, GIANTS, Ground};

/// Rounds after which memory has reached what it keeps: tables grow by doubling, and what is remembered of the past is bounded.
const WARM_UP: f64 = 0.5;
/// More than this in the rounds after that is a leak, less may be the allocator's. At full size (20 rounds of 300 pods) it is a kilobyte
/// for each pod of those rounds; what a shorter run can see of a leak is the entries that are left.
const GROWTH_MIB_MAX: f64 = 3.0;

/// Waits until the scheduler holds this many pods that are bound, and nothing of others. Only the giants wait.
fn wait_held(scheduler: &MeasuredScheduler, bound: usize) -> Result<()> {
    wait_until(DEADLINE, &format!("the scheduler to hold {bound} pods"), || {
        for (series, expected) in [
            ("scheduler_cache_size{type=\"pods\"}", bound),
            ("scheduler_cache_size{type=\"assumed_pods\"}", 0),
            ("scheduler_pending_pods", GIANTS),
            ("scheduler_inflight_events", 0),
            ("secondmate_queue_length", 0),
        ] {
            let found = scheduler.value(series)?;
            ensure!(found == expected as f64, "{series} is {found}, not {expected}");
        }
        Ok(Some(()))
    })
}

pub(super) fn churn(ground: &mut Ground<'_>) -> Result<Played> {
    let mut scheduler = ground.start_measured(ALONE)?;
    // What the first look at the metrics takes is no growth.
    wait_held(&scheduler, 0)?;
    let (rounds, pods) = (ground.scale.rounds, ground.scale.pods);
    let mut peaks = Vec::new();
    for round in 0..rounds {
        ground.create(pods)?;
        // Every third round goes while pods wait or are being bound.
        if round % 3 != 2 {
            ground.wait_all(&mut [&mut scheduler.process])?;
        }
        ground.delete_all()?;
        peaks.push(scheduler.process.usage()?.peak_memory_bytes as f64 / f64::from(1 << 20));
    }
    wait_held(&scheduler, 0)?;
    ground.create(pods)?;
    ground.wait_all(&mut [&mut scheduler.process])?;
    wait_held(&scheduler, pods)?;
    let warm = peaks[(rounds as f64 * WARM_UP) as usize];
    let last = scheduler.process.usage()?.peak_memory_bytes as f64 / f64::from(1 << 20);
    eprintln!("peak memory after each round, in MiB: {peaks:.1?}");
    ensure!(
        last - warm <= GROWTH_MIB_MAX,
        "memory is not flat: {warm:.1} MiB after half of the rounds, {last:.1} MiB at the end"
    );
    ground.end(scheduler.process)?;
    Ok(Played { done: format!("{rounds} rounds of {pods} pods, {warm:.0} to {last:.0} MiB"), in_vain_max: 0 })
}
