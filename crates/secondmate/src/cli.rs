//! The options, as given.

use crate::dump::DumpArgs;
use crate::explain::ExplainArgs;
use crate::playground::PlaygroundArgs;
use crate::run::RunArgs;
use clap::{Parser, Subcommand, ValueEnum};

/// A second scheduler for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "secondmate", version, about, propagate_version = true)]
pub(crate) struct Cli {
    /// Form of the log, which goes to standard error; what is logged is told by RUST_LOG.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Schedule the pods of one or more scheduler names in a cluster.
    Run(RunArgs),
    /// See it at work without a cluster: an API server, simulated nodes, pods and the scheduler in one process.
    #[command(after_long_help = crate::playground::SUMMARY_HELP)]
    Playground(PlaygroundArgs),
    /// Explain placement, in a live cluster or from a dump of one: where pods would go, why not elsewhere, and which pods they would
    /// preempt. Nothing is changed.
    Explain(ExplainArgs),
    /// Write everything of a cluster that scheduling reads into one file, for explain: no secrets, and nothing is changed.
    Dump(DumpArgs),
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object a line.
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
