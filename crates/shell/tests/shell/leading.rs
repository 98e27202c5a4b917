//! One process leads, the others wait.

use crate::fixture::*;
use anyhow::Result;
use secondmate_sandbox::{Fault, Sandbox, Target, Verb, When};
use secondmate_shell::lease::{Claim, ElectionConfig, LeaseName};
use secondmate_shell::{End, Options, Shell};
use serde_json::json;
use std::time::Duration;

/// Options with an election with short times, but not so short that a busy machine cannot keep to them.
fn candidate(sandbox: &Sandbox, identity: &str) -> Options {
    let lease = LeaseName { namespace: "kube-system".to_owned(), name: NAME.to_owned() };
    Options {
        election: Some(ElectionConfig {
            lease_duration: Duration::from_secs(5),
            renew_deadline: Duration::from_secs(4),
            retry_period: Duration::from_millis(300),
            ..ElectionConfig::new(lease, identity, Claim::new(&[NAME], "same"))
        }),
        ..options(sandbox)
    }
}

async fn until_leading(shell: &Shell) {
    let mut progress = shell.progress();
    let leads = progress.wait_for(|p| p.leading && p.synced);
    tokio::time::timeout(Duration::from_secs(60), leads).await.expect("it leads").expect("it runs");
}

fn holder(sandbox: &Sandbox) -> String {
    let lease = sandbox.objects().get("leases", "kube-system", NAME).unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_warm_writes_nothing_and_takes_over_from_one_that_crashed() -> Result<()> {
    let sandbox = sandbox(4).await;
    let first = try_start(candidate(&sandbox, "first")).await?;
    until_leading(&first).await;
    let second = try_start(candidate(&sandbox, "second")).await?;
    // It has its nodes before there is a pod, so it would be able to decide.
    let mut progress = second.progress();
    let synced = progress.wait_for(|p| p.synced);
    tokio::time::timeout(Duration::from_secs(60), synced).await?.expect("it runs");
    create_pods(&sandbox, "big", 1, "100");
    create_pods(&sandbox, "p", 20, "10m");
    until_bound(&sandbox, 20).await;
    until("the leader has told of every pod", || sandbox.objects().count("events") >= 21).await;
    until("the leader has written the status", || condition_of(&sandbox, "big-0").is_some()).await;
    until_core(&second, "the standby has seen the pods, those on nodes and the one that waits", |core| {
        let queue = core.queue().size();
        core.cache().size().pods == 20 && queue.active + queue.backoff + queue.unschedulable == 1
    })
    .await;
    assert!(!second.progress().borrow().leading);
    // As in a crash, the first process's renewals no longer arrive, and its lease expires.
    let target = Target::of(Verb::Update, "leases");
    let rule = sandbox.faults().inject(target, Fault::BlackHole, When::Always);
    let mut first = first;
    let end = tokio::time::timeout(Duration::from_secs(60), first.ended()).await?;
    assert!(matches!(end, End::LeadershipLost { .. }), "{end:?}");
    sandbox.faults().remove(rule);
    // The leader wrote each once, and the standby, which had the whole of the leader's term to do so, nothing.
    let written = |class: &str| sandbox.history().count(class);
    assert_eq!(written("create pods/binding"), 20);
    assert_eq!(written("patch pods/status"), 1);
    assert_eq!(written("create events.events.k8s.io"), 21);
    sandbox.faults().quiesce();
    until_leading(&second).await;
    assert_eq!(holder(&sandbox), "second");
    create_pods(&sandbox, "q", 20, "10m");
    until_bound(&sandbox, 40).await;
    assert_eq!(written("create pods/binding"), 40, "what was bound is bound no second time");
    check(&second).await
}

/// Bindings that are on their way are waited for by a leader that stops: fifteen seconds long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_lost_the_lease_waits_for_nothing_that_is_on_its_way() -> Result<()> {
    let sandbox = sandbox(2).await;
    let rule = sandbox.faults().inject(Target::bind(), Fault::BlackHole, When::Always);
    let options = Options { bind_timeout: Duration::from_secs(600), ..candidate(&sandbox, "first") };
    let mut first = try_start(options).await?;
    until_leading(&first).await;
    create_pods(&sandbox, "p", 3, "10m");
    until("the bindings are on their way", || sandbox.faults().strikes(rule) == 3).await;
    // Somebody who does not keep the rules.
    let taken = json!({ "spec": { "holderIdentity": "thief" } });
    sandbox.objects().merge("leases", "kube-system", NAME, "", &taken)?;
    let end = tokio::time::timeout(Duration::from_secs(60), first.ended()).await?;
    assert!(matches!(end, End::LeadershipLost { .. }), "{end:?}");
    tokio::time::timeout(Duration::from_secs(10), first.stop()).await?;
    assert_eq!((bound(&sandbox), sandbox.faults().strikes(rule)), (0, 3));
    assert_eq!(holder(&sandbox), "thief");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_stands_for_election_before_every_list_is_in() -> Result<()> {
    let sandbox = sandbox(2).await;
    let target = Target::of(Verb::List, "namespaces");
    let rule = sandbox.faults().inject(target, Fault::InternalError, When::Always);
    let first = try_start(candidate(&sandbox, "first")).await?;
    let second = try_start(candidate(&sandbox, "second")).await?;
    until("the lists failed again and again", || sandbox.faults().strikes(rule) > 8).await;
    assert!(sandbox.objects().get("leases", "kube-system", NAME).is_none(), "there is a Lease");
    // One that stops does not wait for the caches.
    let end = tokio::time::timeout(Duration::from_secs(10), second.stop()).await?;
    assert_eq!(end, End::Stopped);
    sandbox.faults().quiesce();
    until_leading(&first).await;
    assert_eq!(holder(&sandbox), "first");
    create_pods(&sandbox, "p", 5, "10m");
    until_bound(&sandbox, 5).await;
    check(&first).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_whose_watches_are_delayed_lists_nothing_until_it_leads() -> Result<()> {
    let sandbox = sandbox(4).await;
    let first = try_start(candidate(&sandbox, "first")).await?;
    until_leading(&first).await;
    let lists = || sandbox.history().count("list nodes");
    let before = lists();
    assert!(before > 0);
    let delayed = Options { delay_watches: true, ..candidate(&sandbox, "second") };
    let health = delayed.admin.health.clone();
    let second = try_start(delayed).await?;
    // Neither a rollout nor a drain waits for its caches.
    assert_eq!(health.ready(), Ok(()));
    create_pods(&sandbox, "p", 20, "10m");
    until_bound(&sandbox, 20).await;
    assert_eq!(lists(), before, "the standby listed the nodes");
    assert!(!second.progress().borrow().synced);
    assert_eq!(first.stop().await, End::Stopped);
    until_leading(&second).await;
    assert!(lists() > before);
    create_pods(&sandbox, "q", 20, "10m");
    until_bound(&sandbox, 40).await;
    check(&second).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_stops_gives_the_lease_back() -> Result<()> {
    let sandbox = sandbox(2).await;
    let first = try_start(candidate(&sandbox, "first")).await?;
    until_leading(&first).await;
    create_pods(&sandbox, "p", 30, "10m");
    // In the middle of its work.
    assert_eq!(first.stop().await, End::Stopped);
    assert_eq!(holder(&sandbox), "");
    let second = try_start(candidate(&sandbox, "second")).await?;
    until_bound(&sandbox, 30).await;
    assert_eq!(second.stop().await, End::Stopped);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_that_panics_ends_the_shell_by_name_and_the_standby_takes_over_at_once() -> Result<()> {
    let sandbox = sandbox(2).await;
    let mut first = try_start(candidate(&sandbox, "first")).await?;
    until_leading(&first).await;
    let second = try_start(candidate(&sandbox, "second")).await?;
    assert_eq!(first.look(|_, _| -> () { panic!("injected") }).await, None);
    let end = tokio::time::timeout(Duration::from_secs(60), first.ended()).await?;
    let End::Failed(failure) = end else { anyhow::bail!("{end:?}") };
    assert_eq!(failure.to_string(), "task \"scheduling thread\" panicked: injected");
    first.stop().await;
    assert_ne!(holder(&sandbox), "first", "the Lease was given up");
    until_leading(&second).await;
    create_pods(&sandbox, "p", 5, "10m");
    until_bound(&sandbox, 5).await;
    Ok(())
}
