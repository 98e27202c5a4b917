//! The cluster that the tests of one file share, with the scheduler under test beside kube-scheduler.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use secondmate_harness::{Binaries, Cluster, Process, require_or_skip, wait_until};

use crate::{DEADLINE, OWN};

/// A [`Stage`] that the first test of a file sets up, for a `static`.
pub struct SharedStage(OnceLock<std::result::Result<Stage, String>>);

impl Default for SharedStage {
    fn default() -> Self {
        Self::new()
    }
}

impl SharedStage {
    /// Not set up yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The stage, or `None` after the skip of `test` has been reported.
    ///
    /// # Errors
    ///
    /// What `set_up` answered, for each test again.
    pub fn get(
        &'static self,
        test: &str,
        set_up: impl FnOnce(&'static Binaries) -> Result<Stage>,
    ) -> Result<Option<&'static Stage>> {
        let Some(binaries) = require_or_skip(test) else { return Ok(None) };
        let stage = self.0.get_or_init(|| set_up(binaries).map_err(|error| format!("{error:#}")));
        stage.as_ref().map(Some).map_err(|error| anyhow!("the cluster of this file: {error}"))
    }
}

/// A cluster and the schedulers under test.
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    /// Those that live as long as the stage.
    schedulers: Mutex<Vec<Process>>,
    turn: Mutex<()>,
    /// How many schedulers were started: their logs have different names.
    started: AtomicUsize,
}

impl Stage {
    /// A cluster without a scheduler under test.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        let (schedulers, turn) = (Mutex::default(), Mutex::default());
        Self { cluster, schedulers, turn, started: AtomicUsize::new(0) }
    }

    /// Starts the scheduler under test for all tests of the file: one name, no election, an administrator.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn with_secondmate(self) -> Result<Self> {
        self.with_secondmate_as(&["--scheduler-name", OWN])
    }

    /// The same, with these arguments in place of the name.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn with_secondmate_as(self, arguments: &[&str]) -> Result<Self> {
        let kubeconfig = self.cluster.kubeconfig_for("mate", &["system:masters"])?;
        let process = self.start_secondmate(&kubeconfig, &[arguments, &["--leader-elect=false"]].concat())?;
        self.schedulers.lock().unwrap_or_else(PoisonError::into_inner).push(process);
        Ok(self)
    }

    /// Starts a scheduler under test, which serves its metrics on a port of its own choice.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_secondmate(&self, kubeconfig: &Path, arguments: &[&str]) -> Result<Process> {
        let name = format!("secondmate-{}", self.started.fetch_add(1, Ordering::Relaxed));
        self.cluster.start_secondmate(&name, kubeconfig, &[arguments, &["--listen", "127.0.0.1:0"]].concat())
    }

    /// Runs the scheduler under test until it ends by itself with a failure; returns its output.
    ///
    /// # Errors
    ///
    /// When it does not end in time, or ends with success.
    pub fn refused(&self, kubeconfig: &Path, arguments: &[&str]) -> Result<String> {
        let mut process = self.start_secondmate(kubeconfig, arguments)?;
        let status = process
            .wait(DEADLINE)
            .with_context(|| format!("it should have refused to run:\n{}", process.tail(20)))?;
        let log = process.log()?;
        if status.success() || status.code().is_none() {
            bail!("it should have ended with a failure, not with {status}:\n{log}");
        }
        Ok(log)
    }

    /// Waits for the turn of a test that must not see the objects of others, nor they what it breaks.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `probe` answers with a value, and returns that.
    ///
    /// # Errors
    ///
    /// When [`DEADLINE`] has passed; names `what`, and has the end of each scheduler's log.
    pub fn wait<T>(&self, what: &str, probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        wait_until(DEADLINE, what, probe).map_err(|error| {
            let schedulers = self.schedulers.lock().unwrap_or_else(PoisonError::into_inner);
            let tails: Vec<String> = schedulers
                .iter()
                .map(|process| format!("\n{}:\n{}", process.name(), process.tail(10)))
                .collect();
            error.context(format!("the ends of the schedulers' logs:{}", tails.concat()))
        })
    }
}

/// The top folder of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
