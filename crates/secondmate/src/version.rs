//! `secondmate version`: the version of the program, and of the kube-scheduler that it follows.

use crate::guests;
use crate::output::print;
use clap::{Args, ValueEnum};
use secondmate_telemetry::Metrics;
use serde::Serialize;
use std::fmt;
use std::process::ExitCode;

pub(crate) const EXAMPLES: &str = "\
Examples:
  secondmate version
  secondmate version -o json";

/// What was built.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Version {
    /// The version of secondmate, also in a program with added plugins.
    pub version: &'static str,
    /// `SECONDMATE_COMMIT` of the build, or else, in a release build, the commit that is checked out. `unknown` in a development build, and
    /// if there is no clone, as in a container.
    pub commit: &'static str,
    /// `release` or `debug`, the target, and what was left out.
    pub build: Build,
    /// The version of Kubernetes whose kube-scheduler is followed.
    pub kubernetes: &'static str,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Build {
    pub profile: &'static str,
    pub target: &'static str,
    /// Whether it has WebAssembly guests.
    pub guests: bool,
}

pub(crate) const VERSION: Version = Version {
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("SECONDMATE_COMMIT"),
    build: Build {
        profile: env!("SECONDMATE_PROFILE"),
        target: env!("SECONDMATE_TARGET"),
        guests: guests::BUILT_IN,
    },
    kubernetes: secondmate_config::KUBERNETES_VERSION,
};

impl Version {
    /// The metrics of a scheduler of this version.
    pub fn metrics(self) -> Metrics {
        let metrics = Metrics::new();
        metrics.set_build(self.version, self.commit, self.kubernetes);
        metrics
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, commit, build, kubernetes } = self;
        writeln!(f, "secondmate {version}")?;
        writeln!(f, "commit:     {commit}")?;
        let guests = if build.guests { "" } else { ", without WebAssembly guests" };
        writeln!(f, "build:      {}, {}{guests}", build.profile, build.target)?;
        writeln!(f, "Kubernetes: {kubernetes}")
    }
}

/// Options of `version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Human-readable text.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

pub(crate) fn version(args: &VersionArgs) -> anyhow::Result<ExitCode> {
    let text = match args.output {
        Output::Text => VERSION.to_string(),
        Output::Json => format!("{}\n", serde_json::to_string(&VERSION)?),
    };
    print(text.as_bytes())
}
