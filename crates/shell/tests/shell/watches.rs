//! Watches that end, break, expire, or deliver late and out of order: no pod is lost and none invented.

use crate::fixture::*;
use anyhow::Result;
use secondmate_sandbox::{Fault, Target, Verb, When};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_end_are_resumed() -> Result<()> {
    for fault in [
        Fault::CloseWatch { after_events: 3 },
        Fault::BreakWatch { after_events: 3 },
        Fault::ExpireWatch { after_events: 3 },
        Fault::DelayEvents { max: Duration::from_millis(100) },
        Fault::InternalError,
        Fault::TooManyRequests { retry_after_s: 1 },
        Fault::NoBookmarks,
    ] {
        let sandbox = sandbox(4).await;
        let rule = sandbox.faults().inject(Target::verb(Verb::Watch), fault.clone(), When::Chance(0.5));
        let shell = start(&sandbox).await;
        create_pods(&sandbox, "p", 40, "100m");
        until_bound(&sandbox, 40).await;
        for i in 0..10 {
            sandbox.objects().delete("pods", "default", &format!("p-{i}"), Some(0))?;
        }
        add_nodes(&sandbox, 4, 1);
        create_pods(&sandbox, "q", 10, "100m");
        until("the second batch", || bound(&sandbox) == 40).await;
        assert!(sandbox.faults().strikes(rule) > 0, "{fault:?} never struck");
        sandbox.faults().quiesce();
        check(&shell).await.map_err(|error| error.context(format!("{fault:?}")))?;
        assert_eq!(sandbox.history().bound_twice(), Vec::<String>::new());
        shell.stop().await;
        sandbox.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_vanished_while_no_watch_was_open_is_gone_after_the_new_list() -> Result<()> {
    let sandbox = sandbox(2).await;
    let shell = start(&sandbox).await;
    create_pods(&sandbox, "bound", 4, "1");
    sandbox.objects().create(pod("waits", "5"))?;
    sandbox.objects().create(pod("waits-too", "6"))?;
    until_bound(&sandbox, 4).await;
    until_core(&shell, "two wait", |core| core.queue().size().unschedulable == 2).await;
    // Watches no longer work, and the history has been compacted.
    let rule = sandbox.faults().inject(Target::verb(Verb::Watch), Fault::ServiceUnavailable, When::Always);
    sandbox.faults().break_watches();
    sandbox.objects().delete("pods", "default", "waits", Some(0))?;
    sandbox.objects().delete("pods", "default", "bound-0", Some(0))?;
    sandbox.objects().delete("nodes", "", "node-00001", None)?;
    sandbox.objects().compact("pods");
    sandbox.objects().compact("nodes");
    sandbox.faults().remove(rule);
    until_core(&shell, "the deleted pod left the queue", |core| core.queue().size().unschedulable == 1).await;
    until_core(&shell, "the deleted pod and node left the cache", |core| {
        let size = core.cache().size();
        (size.nodes, size.pods) == (1, 3)
    })
    .await;
    check(&shell).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_scheduled_before_every_list_is_in() -> Result<()> {
    let sandbox = sandbox(2).await;
    create_pods(&sandbox, "p", 5, "100m");
    let rule =
        sandbox.faults().inject(Target::of(Verb::List, "namespaces"), Fault::InternalError, When::Always);
    let options = options(&sandbox);
    let health = options.admin.health.clone();
    let shell = try_start(options).await?;
    until_core(&shell, "the pods are known", |core| core.queue().size().active == 5).await;
    until("the list failed again and again", || sandbox.faults().strikes(rule) > 3).await;
    assert!(!shell.progress().borrow().synced);
    let unready = health.ready().expect_err("not ready");
    assert!(unready.contains("sched-handler-sync"), "{unready}");
    assert_eq!(sandbox.history().count("create pods/binding"), 0);
    sandbox.faults().quiesce();
    until_bound(&sandbox, 5).await;
    health.ready().map_err(anyhow::Error::msg)
}

/// kube-scheduler treats this as an update, and retries pods in vain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_a_new_list_shows_unchanged_is_no_event() -> Result<()> {
    let sandbox = sandbox(1).await;
    let class = |name: &str| json!({ "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": name }, "provisioner": "d" });
    for name in ["same", "changed", "gone"] {
        sandbox.objects().create(class(name))?;
    }
    let options = options(&sandbox);
    let metrics = options.admin.metrics.clone();
    let shell = try_start(options).await?;
    until_core(&shell, "all are known", |core| core.objects().storage_classes.len() == 3).await;
    let rule = sandbox.faults().inject(Target::verb(Verb::Watch), Fault::ServiceUnavailable, When::Always);
    sandbox.faults().break_watches();
    sandbox.objects().delete("storageclasses", "", "gone", None)?;
    let changed = json!({ "metadata": { "labels": { "a": "b" } } });
    sandbox.objects().merge("storageclasses", "", "changed", "", &changed)?;
    sandbox.objects().compact("storageclasses");
    sandbox.faults().remove(rule);
    until_core(&shell, "one is gone", |core| core.objects().storage_classes.len() == 2).await;
    let told = |event: &str| {
        let label = format!("event=\"storage.k8s.io/StorageClass{event}\"");
        let text = metrics.encode();
        let line = text
            .lines()
            .find(|line| line.contains("event_handling_duration_seconds_count") && line.contains(&label));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    // No plugin has registered for the deletion of a class.
    assert_eq!((told("Add"), told("Update")), (3, 1));
    check(&shell).await
}
