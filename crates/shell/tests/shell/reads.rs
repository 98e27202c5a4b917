//! The pods of a nearly full node are read before a pod is bound there, while another scheduler binds pods too.

use crate::fixture::*;
use anyhow::Result;
use secondmate_sandbox::{Fault, Sandbox, Target, Verb, When};

/// A pod bound by another scheduler.
fn bound_by_another(sandbox: &Sandbox, name: &str, node: &str, cpu: &str) -> Result<()> {
    let mut other = pod(name, cpu);
    other["spec"]["schedulerName"] = "next-door".into();
    other["spec"]["nodeName"] = node.into();
    sandbox.objects().create(other)?;
    Ok(())
}

fn node_of(sandbox: &Sandbox, pod: &str) -> Option<String> {
    let pod = sandbox.objects().get("pods", "default", pod)?;
    pod["spec"]["nodeName"].as_str().map(ToOwned::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_another_scheduler_that_the_watch_has_not_shown_is_found_by_the_read() -> Result<()> {
    let sandbox = sandbox(1).await;
    let options = options(&sandbox);
    let metrics = options.admin.metrics.clone();
    let shell = try_start(options).await?;
    bound_by_another(&sandbox, "early", "node-00000", "4")?;
    until_core(&shell, "the other binds pods", |core| core.cache().size().pods == 1).await;
    sandbox.objects().create(pod("p", "3"))?;
    until_core(&shell, "it waits for room", |core| core.queue().size().unschedulable == 1).await;

    // From now on, no watch shows any pods.
    let blind = Target::of(Verb::Watch, "pods");
    let rule = sandbox.faults().inject(blind, Fault::ServiceUnavailable, When::Always);
    sandbox.faults().break_watches();
    until("the watch is broken", || metrics.watch_restarts("pods", "error").get() > 0).await;
    bound_by_another(&sandbox, "late", "node-00001", "2")?;
    add_nodes(&sandbox, 1, 1);
    until("its room is found taken", || metrics.binds_averted.get() == 1).await;
    assert_eq!((metrics.node_reads("new_pods").get(), sandbox.history().binds_accepted()), (1, 0));
    until_core(&shell, "what was found is counted", |core| core.cache().size().pods == 2).await;

    sandbox.faults().remove(rule);
    add_nodes(&sandbox, 2, 1);
    until("it has room elsewhere", || node_of(&sandbox, "p").as_deref() == Some("node-00002")).await;
    check(&shell).await?;
    shell.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_read_fails_or_is_not_wanted_the_pod_is_bound_all_the_same() -> Result<()> {
    for (wanted, fault) in
        [(true, Fault::BlackHole), (true, Fault::InternalError), (false, Fault::InternalError)]
    {
        let sandbox = sandbox(1).await;
        let mut options = options(&sandbox);
        options.scheduler.read_before_bind = wanted;
        let metrics = options.admin.metrics.clone();
        let shell = try_start(options).await?;
        bound_by_another(&sandbox, "other", "node-00000", "1")?;
        until_core(&shell, "the other binds pods", |core| core.cache().size().pods == 1).await;
        let rule = sandbox.faults().inject(Target::of(Verb::List, "pods"), fault.clone(), When::Always);
        create_pods(&sandbox, "p", 1, "2500m");
        until("it is bound", || bound(&sandbox) == 2).await;
        let failed = (sandbox.faults().strikes(rule), metrics.node_reads("failed").get());
        assert_eq!(failed, if wanted { (1, 1) } else { (0, 0) }, "{fault:?}");
        sandbox.faults().quiesce();
        check(&shell).await.map_err(|error| error.context(format!("{fault:?}")))?;
        shell.stop().await;
        sandbox.shutdown().await;
    }
    Ok(())
}
