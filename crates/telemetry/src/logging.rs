//! Logs: one line per event on standard error, as text or JSON.
//!
//! Logging never hurts: lines go through a bounded queue to a thread that writes them, so that code that logs never waits for standard
//! error or fails with it. Lost lines are counted (`secondmate_log_lines_dropped`). Anything else that a command prints on standard error
//! goes the same way: [`print()`], [`fatal`].

mod output;

use std::ffi::OsStr;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::str::FromStr;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::{EnvFilter, reload};

use crate::metrics::Labelled;
use output::{Dropped, Output};

/// The environment variable that sets the log filter, such as `info,secondmate_shell=debug`.
pub const FILTER_VARIABLE: &str = "RUST_LOG";
/// Maximum wait for the last lines at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LoggingError::Format(other.to_owned())),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logs could not be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoggingError {
    /// This is not a format.
    #[error("unknown log format {0:?}: use text or json")]
    Format(String),
    /// The filter cannot be understood.
    #[error(
        "{FILTER_VARIABLE}={filter:?} is not a log filter ({reason}): use a level (error, warn, info, debug, trace) or MODULE=LEVEL, separated by commas"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// Why not.
        reason: String,
    },
    /// Logs have already been set up.
    #[error("logs are already set up in this process")]
    AlreadySetUp,
    /// The thread that writes them cannot be started.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(String),
}

/// Lost log lines: there is one log per process, and so one count per process.
static DROPPED: LazyLock<Labelled<Counter, 1>> = LazyLock::new(|| {
    let dropped = Labelled::counter(["reason"]);
    // Present from the first scrape on, with value 0.
    for reason in DROP_REASONS {
        dropped.get([reason]);
    }
    dropped
});
const DROP_REASONS: [&str; 2] = ["full", "error"];
static OUTPUT: OnceLock<Result<Output, String>> = OnceLock::new();

/// For the registry.
pub(crate) fn dropped_lines() -> &'static Labelled<Counter, 1> {
    &DROPPED
}

fn output() -> Result<&'static Output, &'static str> {
    let start = || {
        let [full, error] = DROP_REASONS.map(|reason| DROPPED.get([reason]));
        let dropped = Dropped { full, error };
        Output::stderr(dropped).map_err(|error| error.to_string())
    };
    OUTPUT.get_or_init(start).as_ref().map_err(String::as_str)
}

/// Writes the last lines when dropped, also during a panic; waits for that, but not for long.
#[derive(Debug)]
#[must_use = "the last lines are written when it is dropped"]
pub struct LogGuard(());

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Ok(output) = output() {
            output.flush(FLUSH_TIMEOUT);
        }
    }
}

/// To be kept until the end of `main`.
pub fn guard() -> LogGuard {
    LogGuard(())
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The format of log lines.
    pub format: LogFormat,
    /// Like kube-scheduler's `-v`; `None`: not given.
    pub verbosity: Option<u8>,
    /// Log only warnings and errors, unless the verbosity or `RUST_LOG` is set.
    pub quiet: bool,
}

impl LogOptions {
    /// The filter, unless `RUST_LOG` provides one. Libraries never drown out our own or a plugin's lines: their logs have to be enabled
    /// with `RUST_LOG`.
    fn filter(self) -> String {
        let level = match self.verbosity {
            None if self.quiet => "warn",
            None | Some(0..=3) => "info",
            Some(4..=5) => "debug",
            Some(6..) => "trace",
        };
        let libraries = LIBRARIES.map(|library| format!(",{library}=warn"));
        format!("{level}{}", libraries.concat())
    }
}

/// Prefixes of the names of verbose libraries.
const LIBRARIES: [&str; 7] = ["axum", "h2", "hyper", "kube", "rustls", "tokio", "tower"];

/// Sets up logs for the process: to standard error, filtered by `RUST_LOG` or else by the options. Panics are logged too.
///
/// # Errors
/// The filter cannot be understood, or logs have already been set up.
pub fn init(options: LogOptions) -> Result<(), LoggingError> {
    let given = std::env::var(FILTER_VARIABLE).ok().filter(|filter| !filter.trim().is_empty());
    let filter = given.clone().unwrap_or_else(|| options.filter());
    let output = output().map_err(|reason| LoggingError::Thread(reason.to_owned()))?;
    let colours = colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
    let (subscriber, refilter) =
        subscriber(options.format, &filter, colours, BoxMakeWriter::new(|| output.clone()))?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::AlreadySetUp)?;
    // It has not been set yet, as was just determined.
    let _ = REFILTER.set(refilter);
    // The default hook writes to standard error itself, and would wait for a stuck reader.
    std::panic::set_hook(Box::new(log_panic));
    if given.is_some() && options.verbosity.is_some() {
        tracing::warn!("-v is ignored, because {FILTER_VARIABLE} is set");
    }
    Ok(())
}

/// Whether lines are coloured: on a terminal, unless `NO_COLOR` is set to a non-empty value (<https://no-color.org>).
fn colours(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let backtrace = std::backtrace::Backtrace::capture();
    if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
        tracing::error!(thread, location, %backtrace, "panicked: {message}");
    } else {
        tracing::error!(thread, location, "panicked: {message}");
    }
}

/// Prints something for people that is not part of the log: one or more lines. Never waits for standard error, and never fails.
pub fn print(text: &str) {
    let text = format!("{text}\n");
    match output() {
        Ok(output) => output.push(text.as_bytes()),
        Err(_) => {
            // If this fails, there is no one left to report it to.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

/// Reports why the process ends, regardless of `RUST_LOG`: as a log line if the log is JSON, and as `error: …` in text.
pub fn fatal(format: LogFormat, message: &str) {
    match (format, output()) {
        (LogFormat::Json, Ok(output)) => {
            // The process's own subscriber may not be set up yet, or may filter it out.
            let subscriber = subscriber(format, "error", false, BoxMakeWriter::new(|| output.clone()));
            match subscriber {
                Ok((subscriber, _)) => {
                    tracing::subscriber::with_default(subscriber, || tracing::error!("{message}"))
                }
                Err(_) => print(&format!("error: {message}")),
            }
        }
        _ => print(&format!("error: {message}")),
    }
}

/// Replaces the filter.
type Refilter = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// For the process's own log.
static REFILTER: OnceLock<Refilter> = OnceLock::new();

/// Changes the verbosity of the log at run time, whatever `RUST_LOG` was at startup.
///
/// # Errors
/// The text is not a verbosity, or this process has no log.
pub fn set_verbosity(text: &str) -> Result<u8, String> {
    let refilter = REFILTER.get().ok_or("this process has set up no log")?;
    let verbosity = set_verbosity_of(refilter, text)?;
    tracing::info!(verbosity, "the verbosity of the log was changed");
    Ok(verbosity)
}

fn set_verbosity_of(refilter: &Refilter, text: &str) -> Result<u8, String> {
    let verbosity = text.trim().parse().map_err(|_| {
        format!("{:?} is no verbosity: give a number such as 4", text.chars().take(20).collect::<String>())
    })?;
    let filter = LogOptions { verbosity: Some(verbosity), ..LogOptions::default() }.filter();
    refilter(EnvFilter::try_new(filter).map_err(|error| error.to_string())?)?;
    Ok(verbosity)
}

type Subscriber = Box<dyn tracing::Subscriber + Send + Sync>;

fn subscriber(
    format: LogFormat,
    filter: &str,
    ansi: bool,
    writer: BoxMakeWriter,
) -> Result<(Subscriber, Refilter), LoggingError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| LoggingError::Filter { filter: filter.to_owned(), reason: error.to_string() })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match format {
        LogFormat::Text => {
            let builder = builder.with_ansi(ansi).with_filter_reloading();
            let refilter = refilter(builder.reload_handle());
            (Box::new(builder.finish()), refilter)
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_span_list(false).with_filter_reloading();
            let refilter = refilter(builder.reload_handle());
            (Box::new(builder.finish()), refilter)
        }
    })
}

fn refilter<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> Refilter {
    Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (subscriber, _) = subscriber(format, filter, false, BoxMakeWriter::new(move || writer.clone()))
            .expect("a valid filter");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(pod = "default/web-1", node = "n1", "bound");
            tracing::debug!("detail");
        });
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn text_and_json() {
        let text = logged(LogFormat::Text, "info");
        assert!(text.contains("INFO") && text.contains("bound pod=\"default/web-1\" node=\"n1\""), "{text}");
        assert!(!text.contains("detail"), "{text}");
        assert!(logged(LogFormat::Text, "debug").contains("detail"));
        assert_eq!(logged(LogFormat::Text, "off"), "");
        let json = logged(LogFormat::Json, "info");
        let line: serde_json::Value = serde_json::from_str(json.trim()).expect("one object a line");
        assert_eq!(
            (&line["level"], &line["message"], &line["pod"], &line["node"]),
            (&"INFO".into(), &"bound".into(), &"default/web-1".into(), &"n1".into())
        );
    }

    #[test]
    fn verbosity_is_kube_schedulers_and_libraries_are_quiet() {
        let filter = |verbosity, quiet| {
            let options = LogOptions { verbosity, quiet, ..LogOptions::default() };
            let filter = options.filter();
            filter.split_once(',').map(|(level, _)| level.to_owned()).expect("libraries are named")
        };
        assert_eq!([None, Some(0), Some(3)].map(|v| filter(v, false)), ["info"; 3]);
        assert_eq!([Some(4), Some(5)].map(|v| filter(v, true)), ["debug"; 2]);
        assert_eq!([Some(6), Some(10)].map(|v| filter(v, false)), ["trace"; 2]);
        assert_eq!((filter(None, true), filter(Some(0), true)), ("warn".to_owned(), "info".to_owned()));

        let buffer = Buffer::default();
        let writer = buffer.clone();
        let filter = LogOptions { verbosity: Some(10), ..LogOptions::default() }.filter();
        let writer = BoxMakeWriter::new(move || writer.clone());
        let (subscriber, _) = subscriber(LogFormat::Text, &filter, false, writer).expect("a valid filter");
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "secondmate_core::queue", "ours");
            tracing::trace!(target: "my_plugin", "a plugin's");
            tracing::info!(target: "hyper_util::client", "drowned");
            tracing::info!(target: "kube_client::client", "drowned");
            tracing::info!(target: "tower_http::trace", "drowned");
            tracing::warn!(target: "kube_runtime::watcher", "heard");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).expect("text");
        assert!(["ours", "a plugin's", "heard"].iter().all(|word| text.contains(word)), "{text}");
        assert!(!text.contains("drowned"), "{text}");
    }

    #[test]
    fn the_verbosity_changes_while_it_runs() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let buffer = Buffer::default();
            let writer = buffer.clone();
            let writer = BoxMakeWriter::new(move || writer.clone());
            let (subscriber, refilter) = subscriber(format, "info", false, writer).expect("a valid filter");
            tracing::subscriber::with_default(subscriber, || {
                tracing::debug!("before");
                assert_eq!(set_verbosity_of(&refilter, " 4\n"), Ok(4));
                tracing::debug!("between");
                assert_eq!(set_verbosity_of(&refilter, "0"), Ok(0));
                tracing::debug!("after");
                for wrong in ["", "-1", "loud", "1000"] {
                    let error = set_verbosity_of(&refilter, wrong).expect_err("refused");
                    assert!(error.contains("is no verbosity: give a number such as 4"), "{error}");
                }
            });
            let text = String::from_utf8(buffer.0.lock().unwrap().clone()).expect("text");
            assert!(text.contains("between"), "{text}");
            assert!(!text.contains("before") && !text.contains("after"), "{text}");
        }
    }

    #[test]
    fn colours_on_a_terminal_only_and_not_against_no_color() {
        assert!(colours(true, None) && colours(true, Some(OsStr::new(""))));
        assert!(!colours(true, Some(OsStr::new("1"))) && !colours(false, None));
    }

    #[test]
    fn refusals() {
        let writer = || BoxMakeWriter::new(std::io::sink);
        let error =
            subscriber(LogFormat::Text, "secondmate=loud", false, writer()).err().expect("not a level");
        assert!(
            error.to_string().starts_with("RUST_LOG=\"secondmate=loud\" is not a log filter ("),
            "{error}"
        );
        let error = "xml".parse::<LogFormat>().expect_err("not a format");
        assert_eq!(error.to_string(), "unknown log format \"xml\": use text or json");
        assert_eq!("json".parse::<LogFormat>(), Ok(LogFormat::Json));
    }
}
