//! Logs: one line an event to standard error, as text or JSON.
//!
//! Logging never hurts: lines go through a bounded queue to a thread that writes them, so that nobody who logs waits for
//! standard error or fails with it. Lines that are lost are counted (`secondmate_log_lines_dropped`). What else a command says
//! on standard error goes the same way: [`print()`], [`fatal`].

mod output;

use std::fmt;
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::str::FromStr;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::metrics::Labelled;
use output::{Dropped, Output};

/// The variable that chooses what is logged, such as `info,secondmate_shell=debug`.
pub const FILTER_VARIABLE: &str = "RUST_LOG";
const DEFAULT_FILTER: &str = "info";
/// Longest wait for the last lines at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
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
    /// Not a format.
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
    /// Somebody else was first.
    #[error("logs are already set up in this process")]
    AlreadySetUp,
    /// There is no thread to write them.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(String),
}

/// Lines of the log that were lost: one log a process, one count a process.
static DROPPED: LazyLock<Labelled<Counter, 1>> = LazyLock::new(|| {
    let dropped = Labelled::counter(["reason"]);
    // There from the first scrape on, as zeros.
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

/// Writes the last lines when it is dropped, by a panic too; waits for that, but not for long.
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

/// Sets up logs for the process: to standard error, filtered by `RUST_LOG` (default `info`). Panics are logged too.
///
/// # Errors
/// When the filter cannot be understood, or logs are set up already.
pub fn init(format: LogFormat) -> Result<(), LoggingError> {
    init_with_default(format, DEFAULT_FILTER)
}

/// As [`init`], with another filter where `RUST_LOG` is not set.
///
/// # Errors
/// As [`init`].
pub fn init_with_default(format: LogFormat, default_filter: &str) -> Result<(), LoggingError> {
    let given = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let given = if given.trim().is_empty() { default_filter.to_owned() } else { given };
    let output = output().map_err(|reason| LoggingError::Thread(reason.to_owned()))?;
    let ansi = std::io::stderr().is_terminal();
    let subscriber = subscriber(format, &given, ansi, BoxMakeWriter::new(|| output.clone()))?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::AlreadySetUp)?;
    // The usual hook writes to standard error itself: it waits for a stuck reader.
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
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

/// Says something to people that is not of the log: a line, or several. Never waits for standard error, and never fails.
pub fn print(text: &str) {
    let text = format!("{text}\n");
    match output() {
        Ok(output) => output.push(text.as_bytes()),
        Err(_) => {
            // Nobody is left who could be told that it failed.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

/// Says why the process ends, whatever `RUST_LOG` says: as a line of the log where that is JSON, and `error: …` in text.
pub fn fatal(format: LogFormat, message: &str) {
    match (format, output()) {
        (LogFormat::Json, Ok(output)) => {
            // The process's own subscriber may not be set up yet, or filter it out.
            let subscriber = subscriber(format, "error", false, BoxMakeWriter::new(|| output.clone()));
            match subscriber {
                Ok(subscriber) => {
                    tracing::subscriber::with_default(subscriber, || tracing::error!("{message}"))
                }
                Err(_) => print(&format!("error: {message}")),
            }
        }
        _ => print(&format!("error: {message}")),
    }
}

fn subscriber(
    format: LogFormat,
    filter: &str,
    ansi: bool,
    writer: BoxMakeWriter,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>, LoggingError> {
    let given = if filter.trim().is_empty() { DEFAULT_FILTER } else { filter };
    let filter = EnvFilter::try_new(given)
        .map_err(|error| LoggingError::Filter { filter: given.to_owned(), reason: error.to_string() })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(builder.with_ansi(ansi).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_span_list(false).finish()),
    })
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
        let subscriber = subscriber(format, filter, false, BoxMakeWriter::new(move || writer.clone()))
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
        let text = logged(LogFormat::Text, "");
        assert!(text.contains("INFO") && text.contains("bound pod=\"default/web-1\" node=\"n1\""), "{text}");
        assert!(!text.contains("detail"), "the default is info");
        assert!(logged(LogFormat::Text, "debug").contains("detail"));
        assert_eq!(logged(LogFormat::Text, "off"), "");
        let json = logged(LogFormat::Json, "");
        let line: serde_json::Value = serde_json::from_str(json.trim()).expect("one object a line");
        assert_eq!(
            (&line["level"], &line["message"], &line["pod"], &line["node"]),
            (&"INFO".into(), &"bound".into(), &"default/web-1".into(), &"n1".into())
        );
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
