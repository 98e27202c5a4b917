//! Before a victim is evicted, the PodDisruptionBudgets that allow it are read once more.

use crate::fixture::*;
use anyhow::Result;
use secondmate_sandbox::{Fault, Sandbox, Target, Verb, When};
use secondmate_shell::Shell;
use serde_json::{Value, json};

const BUDGETS: &str = "poddisruptionbudgets";

/// A full node of two pods that a budget protects, one of which may be disrupted, as the scheduler knows.
async fn protected(sandbox: &Sandbox, shell: &Shell) -> Result<()> {
    for name in ["low-0", "low-1"] {
        let mut low = pod(name, "2");
        low["metadata"]["labels"] = json!({ "app": "low" });
        sandbox.objects().create(low)?;
    }
    until_bound(sandbox, 2).await;
    sandbox.objects().create(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": "low", "namespace": "default" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "low" } } },
    }))?;
    until_core(shell, "a pod may be disrupted", |core| {
        core.objects().disruption_budgets.values().any(|budget| budget.disruptions_allowed == 1)
    })
    .await;
    Ok(())
}

fn allowed(sandbox: &Sandbox) -> i64 {
    let budget = sandbox.objects().get(BUDGETS, "default", "low").unwrap_or_default();
    budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(-1)
}

fn high() -> Value {
    let mut high = pod("high", "2");
    high["spec"]["priorityClassName"] = "system-cluster-critical".into();
    high
}

fn is_placed(sandbox: &Sandbox, name: &str) -> bool {
    let pod = sandbox.objects().get("pods", "default", name).unwrap_or_default();
    pod["spec"]["nodeName"].is_string() && pod["metadata"]["deletionTimestamp"].is_null()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_the_watch_has_not_shown_to_be_used_up_is_not_overdrawn() -> Result<()> {
    let sandbox = sandbox(1).await;
    let options = options(&sandbox);
    let metrics = options.admin.metrics.clone();
    let shell = try_start(options).await?;
    protected(&sandbox, &shell).await?;

    // From now on, no watch shows any budget, and then both pods have to stay.
    let mute = sandbox.faults().inject(Target::of(Verb::Watch, BUDGETS), Fault::BlackHole, When::Always);
    sandbox.faults().break_watches();
    until("the watch is mute", || sandbox.faults().strikes(mute) > 0).await;
    sandbox.objects().merge(BUDGETS, "default", "low", "", &json!({ "spec": { "minAvailable": 2 } }))?;
    until("no pod may be disrupted", || allowed(&sandbox) == 0).await;
    sandbox.objects().create(high())?;
    until("that is found out, and once more", || metrics.budget_reads("exhausted").get() >= 2).await;
    assert!(is_placed(&sandbox, "low-0") && is_placed(&sandbox, "low-1"), "one was evicted");

    // Once the watch has shown it, the budget is overdrawn knowingly, as there is no other way.
    sandbox.faults().remove(mute);
    sandbox.faults().quiesce();
    until("the pod has its room", || is_placed(&sandbox, "high")).await;
    assert_eq!((metrics.budget_reads("allowed").get(), metrics.budget_reads("failed").get()), (0, 0));
    check(&shell).await?;
    shell.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_allows_it_or_cannot_be_read_is_no_obstacle() -> Result<()> {
    for (fault, result) in
        [(None, "allowed"), (Some(Fault::InternalError), "failed"), (Some(Fault::BlackHole), "failed")]
    {
        let sandbox = sandbox(1).await;
        let options = options(&sandbox);
        let metrics = options.admin.metrics.clone();
        let shell = try_start(options).await?;
        protected(&sandbox, &shell).await?;
        if let Some(fault) = fault {
            sandbox.faults().inject(Target::of(Verb::List, BUDGETS), fault, When::Always);
        }
        sandbox.objects().create(high())?;
        until("the pod has its room", || is_placed(&sandbox, "high")).await;
        assert_eq!(metrics.budget_reads(result).get(), 1, "{result}");
        check(&shell).await?;
        shell.stop().await;
    }
    Ok(())
}
