//! The options, as given.

use crate::completion::CompletionArgs;
use crate::config::ConfigArgs;
use crate::dump::DumpArgs;
use crate::explain::ExplainArgs;
use crate::guard::GuardArgs;
use crate::man::ManArgs;
use crate::playground::PlaygroundArgs;
use crate::run::RunArgs;
use crate::version::VersionArgs;
use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use secondmate_telemetry::{LogOptions, LoggingError, logging};
use std::io::Write;
use std::process::ExitCode;

/// An additional scheduler for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "secondmate", version, about, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub log: LogArgs,
    /// Command.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  secondmate playground --nodes 100 --pods 1000    # no cluster needed
  secondmate run --scheduler-name my-scheduler     # beside kube-scheduler
  secondmate explain -f cluster.yaml               # why is my pod pending?";

/// Commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Schedule the pods of one or more scheduler names in a cluster.
    #[command(after_help = crate::run::EXAMPLES)]
    Run(RunArgs),
    /// Try it without a cluster: an API server, simulated nodes, pods and the scheduler in one process.
    #[command(after_help = crate::playground::EXAMPLES, after_long_help = crate::playground::SUMMARY_HELP)]
    Playground(PlaygroundArgs),
    /// Refuse binds, of any scheduler, that the node's kubelet would reject: the admission webhook by which several schedulers share
    /// nodes.
    #[command(after_help = crate::guard::EXAMPLES)]
    Guard(GuardArgs),
    /// Explain placement, in a live cluster or from a dump of one: where pods would go, why not elsewhere, and which pods they would
    /// preempt. Nothing is changed.
    #[command(after_help = crate::explain::EXAMPLES)]
    Explain(ExplainArgs),
    /// Write everything of a cluster that scheduling reads into one file, for explain: no secrets, and nothing is changed.
    #[command(after_help = crate::dump::EXAMPLES)]
    Dump(DumpArgs),
    /// Check a configuration file, or print the default configuration.
    #[command(after_help = crate::config::EXAMPLES)]
    Config(ConfigArgs),
    /// Print the version, commit, build and Kubernetes version.
    #[command(after_help = "Examples:\n  secondmate version\n  secondmate version -o json")]
    Version(VersionArgs),
    /// Print a shell completion script.
    #[command(after_help = crate::completion::EXAMPLES)]
    Completion(CompletionArgs),
    /// Print the manual page of secondmate or of one of its commands.
    #[command(after_help = crate::man::EXAMPLES)]
    Man(ManArgs),
}

/// Options of the log.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LogArgs {
    /// Log format; the log goes to standard error.
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: LogFormat,
    /// Log verbosity, as in kube-scheduler: 0 to 3 log decisions, 4 and 5 debug messages, 6 and above every API request. RUST_LOG
    /// overrides it [default: 0].
    #[arg(short = 'v', long = "verbosity", visible_alias = "v", global = true, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=10))]
    verbosity: Option<u8>,
}

impl LogArgs {
    pub fn format(self) -> secondmate_telemetry::LogFormat {
        self.log_format.into()
    }

    /// Sets up the log; `quiet`: only warnings, unless more is asked for.
    ///
    /// # Errors
    /// `RUST_LOG` cannot be understood.
    pub fn init(self, quiet: bool) -> Result<(), LoggingError> {
        logging::init(LogOptions { format: self.format(), verbosity: self.verbosity, quiet })
    }
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

/// Writes a command's answer to standard output.
///
/// # Errors
/// It cannot be written.
pub(crate) fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text).and_then(|()| stdout.flush()).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}
