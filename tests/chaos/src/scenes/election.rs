//! Several schedulers with an election, and what ends a term.

use anyhow::{Result, ensure};
use secondmate_harness::Process;

use super::Played;
use crate::arena::{BURST, CANDIDATE, Ground};
use crate::proxy::{Fault, Kind, Proxy, Reply, Rule};

/// How many leaders are killed.
const KILLS: usize = 3;

/// Every request for the Lease is refused.
const NO_LEASE: &[Rule] =
    &[Rule { kinds: &[Kind::Lease], percent: 100, fault: Fault::Refused(Reply::Status(500, false)) }];

/// Waits until some pods are bound and others are not.
fn wait_for_the_middle(ground: &Ground<'_>, leader: &mut Process) -> Result<()> {
    let pods = ground.scale.pods;
    let bound = ground.wait_bound(pods / 5, &mut [leader])?;
    ensure!(bound < pods, "all pods were bound before anything happened: more pods are needed");
    Ok(())
}

pub(super) fn freeze_leader(ground: &mut Ground<'_>) -> Result<Played> {
    let kubeconfig = ground.direct()?;
    // Before anybody leads: a machine on which they come more slowly than they are bound would leave no work to be frozen with.
    ground.create(ground.scale.pods)?;
    let mut first = ground.start(&kubeconfig, Some(ground.pace()), CANDIDATE)?;
    let leader = ground.leader("")?;
    let mut second = ground.start(&kubeconfig, Some(ground.pace()), CANDIDATE)?;
    wait_for_the_middle(ground, &mut first)?;
    first.signal("STOP")?;
    ground.leader(&leader)?;
    // It goes on while the other has work.
    let before = ground.bound()?;
    ground.create(ground.scale.pods / 5)?;
    ground.wait_bound(before + 1, &mut [&mut second])?;
    first.signal("CONT")?;
    ground.ended_as_loser(&mut first)?;
    ground.wait_all(&mut [&mut second])?;
    ground.end(second)?;
    // What was on its way to the socket when it froze is refused; the dozens that wait for their turn must not be sent.
    Ok(Played { done: "leader frozen until another led, then resumed".to_owned(), in_vain_max: BURST })
}

pub(super) fn kill_leader(ground: &mut Ground<'_>) -> Result<Played> {
    let kubeconfig = ground.direct()?;
    ground.create(ground.scale.pods)?;
    let mut candidate = ground.start(&kubeconfig, Some(ground.pace()), CANDIDATE)?;
    let mut leader = ground.leader("")?;
    for _ in 0..KILLS {
        // The Lease is taken when it has run out, by one who has watched for that long.
        let standby = ground.start(&kubeconfig, Some(ground.pace()), CANDIDATE)?;
        ground.create(ground.scale.pods / 10)?;
        let before = ground.bound()?;
        ground.wait_bound(before + 1, &mut [&mut candidate])?;
        candidate.kill()?;
        candidate = standby;
        leader = ground.leader(&leader)?;
    }
    ground.wait_all(&mut [&mut candidate])?;
    ground.end(candidate)?;
    Ok(Played { done: format!("{KILLS} leaders killed"), in_vain_max: usize::MAX })
}

/// The leader goes through a proxy, the standby does not. `loss` is what takes the leader's Lease away.
fn lose(ground: &mut Ground<'_>, loss: impl FnOnce(&Proxy)) -> Result<()> {
    let (proxy, through) = ground.proxy()?;
    let direct = ground.direct()?;
    ground.create(ground.scale.pods)?;
    let mut first = ground.start(&through, Some(ground.pace()), CANDIDATE)?;
    let leader = ground.leader("")?;
    let mut second = ground.start(&direct, Some(ground.pace()), CANDIDATE)?;
    wait_for_the_middle(ground, &mut first)?;
    loss(&proxy);
    ground.ended_as_loser(&mut first)?;
    proxy.heal();
    ground.leader(&leader)?;
    ground.wait_all(&mut [&mut second])?;
    ground.end(second)
}

pub(super) fn partition(ground: &mut Ground<'_>) -> Result<Played> {
    lose(ground, Proxy::part)?;
    // The answers of its last bindings were lost.
    Ok(Played { done: "leader cut off".to_owned(), in_vain_max: usize::MAX })
}

pub(super) fn lease_lost(ground: &mut Ground<'_>) -> Result<Played> {
    lose(ground, |proxy| proxy.strike(NO_LEASE))?;
    Ok(Played { done: "leader's renewals refused".to_owned(), in_vain_max: 0 })
}
