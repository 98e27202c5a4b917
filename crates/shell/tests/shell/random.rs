//! Everything at once, at random, from a seed.

use crate::fixture::*;
use anyhow::{Context, Result, ensure};
use secondmate_sandbox::{Fault, Sandbox, Target, Verb, When};
use secondmate_shell::Options;
use std::time::Duration;

/// More consecutive attempts to start than rare faults could make fail.
const STARTS_MAX: usize = 50;

fn inject_all(sandbox: &Sandbox) {
    let rare = When::Chance(0.05);
    for fault in [
        Fault::LoseAnswer,
        Fault::LoseRequest,
        Fault::Conflict,
        Fault::InternalError,
        Fault::ServiceUnavailable,
        Fault::GatewayTimeout,
        Fault::TooManyRequests { retry_after_s: 1 },
        Fault::Slow { min: Duration::ZERO, max: Duration::from_millis(100) },
    ] {
        sandbox.faults().inject(Target::resource("pods"), fault.clone(), rare);
        sandbox.faults().inject(Target::resource("events"), fault, rare);
    }
    for fault in [
        Fault::CloseWatch { after_events: 5 },
        Fault::BreakWatch { after_events: 5 },
        Fault::ExpireWatch { after_events: 5 },
        Fault::DelayEvents { max: Duration::from_millis(50) },
    ] {
        sandbox.faults().inject(Target::verb(Verb::Watch), fault, When::Chance(0.3));
    }
}

async fn history(seed: u64) -> Result<()> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let sandbox = sandbox(6).await;
    inject_all(&sandbox);
    let mut failures = Vec::new();
    let shell = loop {
        let options = Options { bind_timeout: Duration::from_millis(500), ..options(&sandbox) };
        // The faults hit startup as well; in production, a process manager would restart it.
        match try_start(options).await {
            Ok(shell) => break shell,
            Err(error) => failures.push(error.to_string()),
        }
        ensure!(failures.len() < STARTS_MAX, "it does not start: {failures:#?}");
    };
    let mut created = 0;
    for _ in 0..60 {
        match dice.u64(..10) {
            0..=5 => {
                let cpu = ["100m", "250m", "1"][usize::try_from(dice.u64(..3))?];
                sandbox.objects().create(pod(&format!("p-{created}"), cpu))?;
                created += 1;
            }
            6 if created > 0 => {
                // Whether it existed does not matter.
                let _ = sandbox.objects().delete(
                    "pods",
                    "default",
                    &format!("p-{}", dice.u64(..created)),
                    Some(0),
                );
            }
            7 => {
                let name = format!("node-{:05}", dice.u64(..6));
                let unschedulable = dice.u64(..2) == 0;
                let patch = serde_json::json!({"spec": {"unschedulable": unschedulable}});
                sandbox.objects().merge("nodes", "", &name, "", &patch)?;
            }
            8 => sandbox.faults().break_watches(),
            _ => tokio::time::sleep(Duration::from_millis(dice.u64(..30))).await,
        }
        check_core(&shell).await?;
    }
    sandbox.faults().quiesce();
    for i in 0..6 {
        let patch = serde_json::json!({"spec": {"unschedulable": false}});
        sandbox.objects().merge("nodes", "", &format!("node-{i:05}"), "", &patch)?;
    }
    let pending = || sandbox.objects().count_where("pods", "spec.nodeName=").unwrap_or(usize::MAX);
    until(&format!("seed {seed}: every pod on a node"), || pending() == 0).await;
    ensure!(sandbox.history().bound_twice().is_empty(), "bound twice: {:?}", sandbox.history().bound_twice());
    let over = shell.look(|core, _| core.overcommitted()).await.context("the core has ended")?;
    ensure!(over.is_empty(), "overcommitted: {over:?}");
    check(&shell).await?;
    shell.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_under_random_faults_end_with_every_pod_bound_once() -> Result<()> {
    // SEED=n repeats a single history.
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse()?],
        Err(_) => (1..=6).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        history(seed).await.with_context(|| format!("SEED={seed} repeats it"))?;
    }
    Ok(())
}
