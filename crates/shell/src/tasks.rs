//! Reports how each task ends.
//!
//! A task that ends unnoticed leaves a scheduler that looks healthy and does nothing. So every task of the shell, and the scheduling
//! thread, is started here. A panic, or the end of a task that should last as long as the shell, is a [`Failure`]; the owner of the shell
//! waits for the first one, releases the Lease and ends the process.

use futures::FutureExt;
use futures::future::BoxFuture;
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Maximum number of failures waiting to be read. The first ends the shell; later ones change nothing, and are dropped.
const FAILURES_MAX: usize = 8;

/// A task of the shell failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which task.
    pub task: String,
    /// How it ended.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {:?} {}", self.task, self.reason)
    }
}

/// Starts tasks. Clones report to the same owner.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    failures: mpsc::Sender<Failure>,
    end: CancellationToken,
}

/// What is reported to the owner of the tasks.
#[derive(Debug)]
pub(crate) struct Failures(mpsc::Receiver<Failure>);

impl Failures {
    /// Returns the first failure; never returns while all is well.
    pub async fn next(&mut self) -> Failure {
        match self.0.recv().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }
}

impl Tasks {
    /// Tasks that end when `end` is cancelled, and the receiver of their failures.
    pub fn new(end: CancellationToken) -> (Self, Failures) {
        let (failures, receiver) = mpsc::channel(FAILURES_MAX);
        (Self { failures, end }, Failures(receiver))
    }

    /// Reports to the same owner, but the tasks end earlier: with this token.
    pub fn until(&self, end: CancellationToken) -> Self {
        Self { failures: self.failures.clone(), end }
    }

    /// Starts a task that lasts until it is told to end: if it ends by itself, that is a failure.
    pub fn spawn_lasting(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        self.start(name.into(), task.boxed(), Some("ended by itself"));
    }

    /// Starts a task that may end: only a panic is a failure.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        self.start(name.into(), task.boxed(), None);
    }

    /// Boxed, so that what a runtime needs for a task is compiled once, and not for each place that starts one.
    fn start(&self, task: String, work: BoxFuture<'static, ()>, ended: Option<&'static str>) {
        let this = self.clone();
        tokio::spawn(async move {
            let reason = tokio::select! {
                biased;
                () = this.end.cancelled() => return,
                end = AssertUnwindSafe(work).catch_unwind() => match (end, ended) {
                    (Err(panic), _) => panicked(&*panic),
                    (Ok(()), Some(ended)) => ended.to_owned(),
                    (Ok(()), None) => return,
                },
            };
            this.tell(task, reason);
        });
    }

    /// Runs the work of the current thread and reports a panic; returns whether there was none.
    pub fn run_in_thread(&self, task: &str, work: impl FnOnce()) -> bool {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(()) => true,
            Err(panic) => {
                self.tell(task.to_owned(), panicked(&*panic));
                false
            }
        }
    }

    /// Reports a failure to the owner.
    pub fn tell(&self, task: String, reason: String) {
        // The queue may be full of earlier failures, of which the first counts; or nobody is left who could act.
        let _ = self.failures.try_send(Failure { task, reason });
    }
}

/// The message of a panic.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "panicked".to_owned(), |text| format!("panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn failure(task: &str, reason: &str) -> Failure {
        Failure { task: task.to_owned(), reason: reason.to_owned() }
    }

    /// The next failure. Time is paused, so if a failure is never reported, the test ends at once.
    async fn next(failures: &mut Failures) -> Failure {
        tokio::time::timeout(Duration::from_secs(600), failures.next()).await.expect("it is told")
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_and_the_end_of_a_lasting_task_are_told_by_name() {
        let (tasks, mut failures) = Tasks::new(CancellationToken::new());
        tasks.spawn("short", async {});
        tasks.spawn("binding", async { panic!("no room for {}", "it") });
        assert_eq!(next(&mut failures).await, failure("binding", "panicked: no room for it"));
        tasks.spawn_lasting("watch of nodes", async {});
        assert_eq!(next(&mut failures).await, failure("watch of nodes", "ended by itself"));
        assert!(!tasks.run_in_thread("scheduling thread", || panic!("oh")));
        assert_eq!(next(&mut failures).await, failure("scheduling thread", "panicked: oh"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_told_to_end_is_no_failure() {
        let end = CancellationToken::new();
        let (tasks, mut failures) = Tasks::new(CancellationToken::new());
        let (held, released) = tokio::sync::oneshot::channel::<()>();
        tasks.until(end.clone()).spawn_lasting("watch", async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        end.cancel();
        assert!(released.await.is_err(), "what the task held is dropped");
        tasks.spawn("last", async { panic!("only this") });
        assert_eq!(next(&mut failures).await, failure("last", "panicked: only this"));
    }
}
