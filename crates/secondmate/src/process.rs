//! What a command that lasts begins with: a runtime, then the signals, and only then whatever may hang.

use crate::{App, ConfigurationSource, profiles};
use anyhow::{Context, Result};
use secondmate_config::Configuration;
use secondmate_cycle::Profile;
use secondmate_shell::in_time;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Longest wait for the configuration file.
const FILE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for all that a configuration names: each guest may take a minute to come, and some more to be compiled.
const PLUGINS_TIMEOUT: Duration = Duration::from_secs(300);

/// Ctrl-C, or what a supervisor sends. The first process of a container that takes no signals gets none.
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
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
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
    let code = runtime.block_on(async { work(Stop::listen()?).await });
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
