//! Options of the log, which all commands share.

use clap::{Arg, Args, ValueEnum};
use secondmate_telemetry::{LogOptions, LoggingError, logging};

/// In help texts, these options come after the command's own.
const LAST: usize = 900;

/// Options of the log.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LogArgs {
    /// Log format; the log goes to standard error.
    #[arg(long, global = true, value_enum, default_value_t, display_order = LAST)]
    log_format: LogFormat,
    /// Log verbosity, as in kube-scheduler: 0 to 3 log decisions, 4 and 5 debug messages, 6 and above every API request. RUST_LOG
    /// overrides it [default: 0].
    #[arg(short = 'v', long = "verbosity", visible_alias = "v", global = true, display_order = LAST, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=10))]
    verbosity: Option<u8>,
}

impl LogArgs {
    pub fn format(self) -> secondmate_telemetry::LogFormat {
        self.log_format.into()
    }

    /// With this format, unless one was given.
    pub fn or_format(mut self, format: Option<secondmate_telemetry::LogFormat>) -> Self {
        if self.log_format == LogFormat::Text && format == Some(secondmate_telemetry::LogFormat::Json) {
            self.log_format = LogFormat::Json;
        }
        self
    }

    /// Sets up the log; `quiet`: only warnings, unless more is requested.
    ///
    /// # Errors
    /// `RUST_LOG` cannot be parsed.
    pub fn init(self, quiet: bool) -> Result<(), LoggingError> {
        logging::init(LogOptions { format: self.format(), verbosity: self.verbosity, quiet })
    }
}

/// In place of `-v`, for commands that write no log.
pub(crate) fn no_verbosity() -> Arg {
    let refuse = |_: &str| Err::<u8, _>("this command writes no log");
    Arg::new("verbosity").short('v').long("verbosity").alias("v").hide(true).value_parser(refuse)
}

/// Log format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Human-readable lines.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl From<LogFormat> for secondmate_telemetry::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}
