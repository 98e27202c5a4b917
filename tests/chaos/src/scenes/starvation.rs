//! Two candidates with short leases on a machine that has no time for them.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use secondmate_harness::Process;

use super::Played;
use crate::arena::{Ground, HASTY};

/// Processes that want a processor for themselves, for each processor.
const HOGS_PER_PROCESSOR: usize = 4;
/// The longest time for which a candidate is stopped: longer than its lease.
const STOPPED_MAX: Duration = Duration::from_secs(5);

pub(super) fn starvation(ground: &mut Ground<'_>) -> Result<Played> {
    let kubeconfig = ground.direct()?;
    let processors = std::thread::available_parallelism().context("how many processors there are")?.get();
    let mut hogs = Vec::new();
    for number in 0..processors * HOGS_PER_PROCESSOR {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        hogs.push(ground.cluster.spawn(&format!("hog-{number}"), command)?);
    }
    let mut candidates = [
        ground.start(&kubeconfig, Some(ground.pace()), HASTY)?,
        ground.start(&kubeconfig, Some(ground.pace()), HASTY)?,
    ];
    let (pods, starved) = (ground.scale.pods, ground.scale.starved);
    let (mut stops, mut losses) = (0, 0);
    let began = Instant::now();
    let mut created = 0;
    while began.elapsed() < starved {
        // Pods come as long as it lasts.
        let due = (pods as f64 * began.elapsed().div_duration_f64(starved)) as usize;
        ground.create(due.saturating_sub(created))?;
        created = created.max(due);
        let which = ground.chance.usize(..candidates.len());
        losses += supervise(ground, &mut candidates, &kubeconfig)?;
        let stopped = STOPPED_MAX.mul_f64(ground.chance.f64());
        stops += usize::from(stop(&mut candidates[which], stopped)?);
    }
    drop(hogs);
    ground.create(pods.saturating_sub(created))?;
    let expected = pods.max(created);
    let deadline = Instant::now() + secondmate_suite::DEADLINE;
    while ground.bound()? < expected {
        losses += supervise(ground, &mut candidates, &kubeconfig)?;
        ensure!(
            Instant::now() < deadline,
            "{} of {expected} pods are bound:\n{}",
            ground.bound()?,
            candidates[0].tail(12)
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    for mut candidate in candidates {
        // One that lost the Lease at the last moment has ended as it should.
        match candidate.try_wait()? {
            Some(_) => ground.ended_as_loser(&mut candidate)?,
            None => ground.end(candidate)?,
        }
    }
    Ok(Played {
        done: format!("starved for {} s, {stops} stops, {losses} leases lost", starved.as_secs()),
        in_vain_max: usize::MAX,
    })
}

/// Starts those again that have lost the Lease, as a Deployment does; returns how many.
fn supervise(
    ground: &mut Ground<'_>,
    candidates: &mut [Process],
    kubeconfig: &std::path::Path,
) -> Result<usize> {
    let mut lost = 0;
    for candidate in candidates {
        if candidate.try_wait()?.is_some() {
            ground.ended_as_loser(candidate)?;
            *candidate = ground.start(kubeconfig, Some(ground.pace()), HASTY)?;
            lost += 1;
        }
    }
    Ok(lost)
}

/// Stops a candidate for a while, unless it has just ended.
fn stop(candidate: &mut Process, stopped: Duration) -> Result<bool> {
    let signalled = candidate.signal("STOP");
    if !candidate.is_running()? {
        return Ok(false);
    }
    signalled?;
    std::thread::sleep(stopped);
    candidate.signal("CONT")?;
    Ok(true)
}
