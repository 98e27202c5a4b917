//! The watch that measures: all pods, over HTTP, on its own thread, so that neither the API server nor the scheduler in the
//! same process delays its readings of the clock.

use super::api;
use super::observations::{Observations, SeenMetadata, SeenPod};
use anyhow::Context;
use futures::StreamExt;
use http::Request;
use kube_client::core::WatchEvent;
use kube_client::{Client, Error};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The API server ends a watch after this; resuming costs one request.
const WATCH_SECONDS: u32 = 240;
/// Number of consecutive failures of the watch after which the playground gives up.
const FAILURES_MAX: u32 = 20;
/// Maximum time to wait for the end of the thread.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// A running watch; dropping it ends it.
pub(super) struct Observer {
    /// What it has seen.
    pub seen: Shared,
    failed: oneshot::Receiver<anyhow::Error>,
    cancel: DropGuard,
}

impl Observer {
    /// Starts it and waits until it has listed the pods: from then on it misses nothing.
    ///
    /// # Errors
    /// The pods cannot be listed.
    pub async fn start(kubeconfig: String, observations: Observations) -> anyhow::Result<Self> {
        let seen: Shared = Arc::new(Mutex::new(observations));
        let cancel = CancellationToken::new();
        let (failure, failed) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let (shared, cancelled) = (Arc::clone(&seen), cancel.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = async move {
            let client = api::connect(&kubeconfig).await?;
            let version = relist(&client, &shared).await?;
            // The receiver may be gone; then the token ends this.
            let _ = ready.send(());
            follow(client, shared, version).await
        };
        let work = move || {
            let end = runtime.block_on(async {
                tokio::select! {
                    end = run => end,
                    () = cancelled.cancelled() => Ok(()),
                }
            });
            if let Err(error) = end {
                let _ = failure.send(error);
            }
        };
        std::thread::Builder::new()
            .name("observer".to_owned())
            .spawn(work)
            .context("cannot start a thread")?;
        let mut observer = Self { seen, failed, cancel: cancel.drop_guard() };
        match is_ready.await {
            Ok(()) => Ok(observer),
            Err(_) => Err(observer.failed().await),
        }
    }

    /// Ends it, and waits until its connection is closed.
    pub async fn stop(self) {
        drop(self.cancel);
        // The thread drops its end of the channel; whether it failed no longer matters.
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.failed).await;
    }

    /// Waits until the watch cannot continue; normally forever.
    pub async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.failed).await {
            Ok(error) => error,
            Err(_) => anyhow::anyhow!("the watch that measures the pods ended"),
        }
    }
}

/// The observations, shared between the watch and its readers.
pub(super) type Shared = Arc<Mutex<Observations>>;

/// Reads the shared observations.
pub(super) fn look<T>(shared: &Shared, at: impl FnOnce(&mut Observations) -> T) -> T {
    // The observations are consistent after each change, so a panic elsewhere does not spoil them.
    at(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Lists the pods. If started from the version that this returns, [`follow`] misses nothing.
async fn relist(client: &Client, shared: &Shared) -> anyhow::Result<String> {
    let mut pods: Vec<SeenPod> = Vec::new();
    let version = api::list(client, "/api/v1/pods", "", |pod| pods.push(pod)).await?;
    look(shared, |observations| observations.relisted(&pods, Instant::now()));
    Ok(version)
}

/// Follows all pods from a version on.
///
/// # Errors
/// The watch failed too many times in a row.
async fn follow(client: Client, shared: Shared, mut version: String) -> anyhow::Result<()> {
    let mut failures = 0;
    loop {
        let before = version.clone();
        let again = match watch(&client, &shared, &mut version).await {
            Ok(()) => Ok(()),
            Err(error) if is_gone(&error) => relist(&client, &shared).await.map(|now| version = now),
            Err(error) => Err(error),
        };
        if version != before {
            failures = 0;
        }
        if let Err(error) = again {
            failures += 1;
            if failures > FAILURES_MAX {
                return Err(error.context("the watch that measures the pods failed again and again"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Error>(), Some(Error::Api(status)) if status.code == 410)
}

/// One watch request; succeeds when the API server ends it.
async fn watch(client: &Client, shared: &Shared, version: &mut String) -> anyhow::Result<()> {
    let path = format!(
        "/api/v1/pods?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}"
    );
    let events = client.request_events::<SeenPod>(Request::get(path).body(Vec::new())?).await?;
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        let now = Instant::now();
        let seen = |metadata: &SeenMetadata| metadata.resource_version.to_string();
        match event? {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                *version = seen(&pod.metadata);
                look(shared, |observations| observations.applied(&pod, now));
            }
            WatchEvent::Deleted(pod) => {
                *version = seen(&pod.metadata);
                look(shared, |observations| observations.deleted(&pod.metadata.uid, now));
            }
            WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
            WatchEvent::Error(status) => return Err(Error::Api(status).into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::observations::Counts;
    use super::*;
    use secondmate_sandbox::{Fault, Options, Sandbox, Target, Verb, When};
    use serde_json::json;

    /// Nothing here takes longer; a longer wait would never end.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn create(sandbox: &Sandbox, name: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"schedulerName": "mine", "containers": [{"name": "c", "image": "x"}]},
        });
        sandbox.objects().create(pod).expect("a pod");
    }

    async fn until(observer: &Observer, expected: Counts) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counts = look(&observer.seen, |observations| observations.counts());
            if counts == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{counts:?}, not {expected:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn it_sees_everything_however_its_watches_end() {
        for fault in [
            Fault::CloseWatch { after_events: 1 },
            Fault::BreakWatch { after_events: 1 },
            Fault::ExpireWatch { after_events: 1 },
        ] {
            let mut options = Options::default();
            options.kubelets.enabled = false;
            let sandbox = Sandbox::start(options).await.expect("a sandbox");
            let rule = sandbox.faults().inject(Target::of(Verb::Watch, "pods"), fault, When::Next(3));
            let observations = Observations::new(["mine".to_owned()], Instant::now());
            let observer = Observer::start(sandbox.kubeconfig(), observations).await.expect("an observer");
            for index in 0..6 {
                create(&sandbox, &format!("pod-{index}"));
            }
            for (index, node) in [(0, "n1"), (3, "n2"), (5, "n1")] {
                sandbox.objects().bind("default", &format!("pod-{index}"), "", node).expect("bound");
            }
            until(&observer, Counts { seen: 6, waiting: 3, bound: 3, ..Counts::default() }).await;
            sandbox.objects().delete("pods", "default", "pod-1", Some(0)).expect("deleted");
            until(&observer, Counts { seen: 6, waiting: 2, bound: 3, gone: 1, ..Counts::default() }).await;
            // It may take more changes than these until each of the watches has been ended.
            let deadline = Instant::now() + PATIENCE;
            for change in 0.. {
                if sandbox.faults().strikes(rule) == 3 {
                    break;
                }
                assert!(Instant::now() < deadline, "the watches were not ended");
                let labels = json!({ "metadata": { "labels": { "change": format!("{change}") } } });
                sandbox.objects().merge("pods", "default", "pod-0", "", &labels).expect("changed");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            until(&observer, Counts { seen: 6, waiting: 2, bound: 3, gone: 1, ..Counts::default() }).await;
            observer.stop().await;
            sandbox.shutdown().await;
        }
    }
}
