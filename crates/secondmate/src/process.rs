//! What commands begin with: the signals, and only then whatever may hang.
//!
//! A command that lasts takes them with its runtime, and ends in order. Any other is ended by [`end_on_signals`], wherever it is: the first
//! process of a container gets no signals that it does not take.

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
/// Longest wait for the configuration file.
const FILE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for all that a configuration names: each guest may take a minute to come, and some more to be compiled.
const PLUGINS_TIMEOUT: Duration = Duration::from_secs(300);

/// Said to the thread that ends a command that takes no signals itself.
static STAND_DOWN: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);

/// Ctrl-C, or what a supervisor sends.
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

/// From now on either signal ends the process, with the exit code by which shells tell of it, until [`run`] takes the signals.
///
/// # Errors
/// Signals cannot be taken.
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
                // Whoever takes the signals gets this one, too.
                biased;
                () = STAND_DOWN.cancelled() => {}
                signal = stop.asked() => std::process::exit(if signal == INTERRUPT { 130 } else { 143 }),
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).context("cannot start a thread")?;
    Ok(())
}

/// Runs a command on a runtime of so many threads (`None`: as many as there are processors) that has taken the signals.
///
/// # Errors
/// The runtime cannot be started or signals cannot be taken; what the command says.
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
    // Whatever still runs has been given its time.
    runtime.shutdown_background();
    code
}

impl ConfigurationSource {
    /// As [`Self::read`], and makes the profiles, on threads of their own: the file may be a FIFO, and guests come from far.
    ///
    /// # Errors
    /// As [`Self::read`] and [`profiles`]; it takes too long.
    pub(crate) async fn load(&self, app: &App) -> Result<(Configuration, Vec<Profile>)> {
        self.load_as(app, Self::parse).await
    }

    /// As [`Self::load`], where the text comes to a configuration in another way.
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
