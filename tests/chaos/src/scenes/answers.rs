//! A scheduler behind a proxy that breaks answers.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use secondmate_harness::wait_until;
use secondmate_suite::DEADLINE;

use super::Played;
use crate::arena::{ALONE, Ground};
use crate::modes::Mode;

/// How long faults last, unless every pod is bound before.
const STRIKE: Duration = Duration::from_secs(8);
/// Fewer would prove nothing.
const STRUCK_MIN: usize = 3;
/// Between the waves in which pods come, so that watches have something to show again and again.
const WAVES: usize = 5;

pub(super) fn break_answers(ground: &mut Ground<'_>, mode: &Mode) -> Result<Played> {
    let (proxy, kubeconfig) = ground.proxy()?;
    let mut scheduler = ground.start(&kubeconfig, None, ALONE)?;
    // One that is well, so that it is a scheduler at work that is struck.
    ground.create(1)?;
    ground.wait_all(&mut [&mut scheduler])?;

    proxy.strike(mode.rules);
    let began = Instant::now();
    let pods = ground.scale.pods / 5;
    for wave in 1..=WAVES {
        ground.create(pods / WAVES)?;
        // The next wave comes when this one is bound or its share of the time is over.
        let due = STRIKE.mul_f64(wave as f64 / WAVES as f64);
        let expected = 1 + wave * (pods / WAVES);
        while began.elapsed() < due && ground.bound()? < expected {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    wait_until(DEADLINE, "requests to be struck", || Ok((proxy.struck() >= STRUCK_MIN).then_some(())))?;
    let struck = proxy.struck();
    let bound = ground.bound()?;
    proxy.heal();
    ensure!(scheduler.is_running()?, "it ended while answers were broken:\n{}", scheduler.tail(12));
    ground.wait_all(&mut [&mut scheduler])?;
    ground.end(scheduler)?;
    Ok(Played {
        done: format!("{struck} faults, {} of {} bound meanwhile", bound - 1, pods),
        in_vain_max: mode.in_vain_max,
    })
}
