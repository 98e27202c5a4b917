//! Pods come and go, round after round.

use anyhow::{Result, ensure};

use super::Played;
use crate::arena::{ALONE, Ground};

/// Rounds after which memory has reached what it keeps: tables grow by doubling, and what is remembered of the past is bounded.
const WARM_UP: f64 = 0.5;
/// More than this in the rounds after that is a leak: a few hundred bytes a pod.
const GROWTH_MIB_MAX: f64 = 3.0;

pub(super) fn churn(ground: &mut Ground<'_>) -> Result<Played> {
    let kubeconfig = ground.direct()?;
    let mut scheduler = ground.start(&kubeconfig, None, ALONE)?;
    let (rounds, pods) = (ground.scale.rounds, ground.scale.pods);
    let mut peaks = Vec::new();
    for round in 0..rounds {
        ground.create(pods)?;
        // Every third round goes while pods wait or are being bound.
        if round % 3 != 2 {
            ground.wait_all(&mut [&mut scheduler])?;
        }
        ground.delete_all()?;
        peaks.push(scheduler.usage()?.peak_memory_bytes as f64 / f64::from(1 << 20));
    }
    ground.create(pods)?;
    ground.wait_all(&mut [&mut scheduler])?;
    let warm = peaks[(rounds as f64 * WARM_UP) as usize];
    let last = scheduler.usage()?.peak_memory_bytes as f64 / f64::from(1 << 20);
    eprintln!("peak memory after each round, in MiB: {peaks:.1?}");
    ensure!(
        last - warm <= GROWTH_MIB_MAX,
        "memory is not flat: {warm:.1} MiB after half of the rounds, {last:.1} MiB at the end"
    );
    ground.end(scheduler)?;
    Ok(Played { done: format!("{rounds} rounds of {pods} pods, {warm:.0} to {last:.0} MiB"), in_vain_max: 0 })
}
