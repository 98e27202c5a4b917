//! What commands start with: signal handling, and only then anything that may hang.
//!
//! A long-running command handles signals on its runtime, and shuts down in order. Any other is ended by [`end_on_signals`], whatever it is
//! doing: the first process of a container does not receive signals that it has no handlers for.

use crate::{App, ConfigurationSource, profiles};
use anyhow::{Context, Result};
use secondmate_config::Configuration;
use secondmate_cycle::Profile;
use secondmate_shell::in_time;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The name of the signal that Ctrl-C sends.
const INTERRUPT: &str = "SIGINT";
/// Maximum time to wait for the configuration file.
const FILE_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time to wait for everything that a configuration names: each guest may take a minute to download, and some more to compile.
const PLUGINS_TIMEOUT: Duration = Duration::from_secs(300);

/// Cancels the thread that ends commands without their own signal handling.
static STAND_DOWN: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);

/// The signals that stop a command: Ctrl-C, or a supervisor's.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
        })
    }

    /// Waits for one of them; returns its name.
    pub async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPT,
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// From now on, either signal ends the process with the exit code that shells use for it, until [`run`] handles the signals.
///
/// # Errors
/// The signal handlers cannot be installed.
pub(crate) fn end_on_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.context("cannot start the runtime of the signals")?;
    let mut stop = {
        let _inside = runtime.enter();
        Stop::listen()?
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                // Whoever handles the signals from then on gets this one, too.
                biased;
                () = STAND_DOWN.cancelled() => {}
                signal = stop.asked() => std::process::exit(if signal == INTERRUPT { 130 } else { 143 }),
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).context("cannot start a thread")?;
    Ok(())
}

/// Runs a command on a runtime with this many threads (`None`: the number of processors), with the signals handled.
///
/// # Errors
/// The runtime cannot be started, the signal handlers cannot be installed, or the command failed.
pub(crate) fn run<W: Future<Output = Result<ExitCode>>>(
    workers: Option<usize>,
    work: impl FnOnce(Stop) -> W,
) -> Result<ExitCode> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    let runtime = builder.enable_all().build().context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        let stop = Stop::listen()?;
        STAND_DOWN.cancel();
        work(stop).await
    });
    // Whatever still runs has had its time.
    runtime.shutdown_background();
    code
}

impl ConfigurationSource {
    /// Like [`Self::read`], and makes the profiles, on separate threads: the file may be a FIFO, and guests may be remote.
    ///
    /// # Errors
    /// As [`Self::read`] and [`profiles`], or it takes too long.
    pub(crate) async fn load(&self, app: &App) -> Result<(Configuration, Vec<Profile>)> {
        self.load_as(app, Self::parse).await
    }

    /// Like [`Self::load`], with another way to turn the text into a configuration.
    pub(crate) async fn load_as(
        &self,
        app: &App,
        parse: impl FnOnce(&Self, &App, Option<&str>) -> Result<Configuration> + Send + 'static,
    ) -> Result<(Configuration, Vec<Profile>)> {
        let (source, app) = (self.clone(), app.clone());
        let (mut text, mut plugins) = (None, "plugins".to_owned());
        if let Some(file) = &self.file {
            let what = format!("the configuration {}", file.display());
            plugins = format!("plugins and guests of {what}");
            let source = self.clone();
            text = in_time(what, FILE_TIMEOUT, move || source.text()).await??;
        }
        in_time(plugins, PLUGINS_TIMEOUT, move || {
            let configuration = parse(&source, &app, text.as_deref())?;
            let profiles = profiles(&app, &configuration)?;
            Ok((configuration, profiles))
        })
        .await?
    }
}
