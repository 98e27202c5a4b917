//! The command line: the options as given, and the function that runs each command.

use crate::App;
use crate::completion::CompletionArgs;
use crate::config::ConfigArgs;
use crate::doctor::DoctorArgs;
use crate::dump::DumpArgs;
use crate::explain::ExplainArgs;
use crate::guard::GuardArgs;
use crate::kube_scheduler::KubeSchedulerArgs;
use crate::log::LogArgs;
use crate::man::ManArgs;
use crate::new_plugin::NewPluginArgs;
use crate::playground::PlaygroundArgs;
use crate::run::RunArgs;
use crate::tenants::TenantsArgs;
use crate::version::VersionArgs;
use clap::{CommandFactory, Parser, Subcommand};
use secondmate_telemetry::logging;
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
    Run(Box<RunArgs>),
    /// Run in kube-scheduler's place, with its flags, files and HTTPS port. Implied if the program is called kube-scheduler.
    #[command(after_help = crate::kube_scheduler::EXAMPLES)]
    KubeScheduler(Box<KubeSchedulerArgs>),
    /// Try the scheduler without a cluster: an API server, simulated nodes, pods and the scheduler in one process.
    #[command(after_help = crate::playground::EXAMPLES, after_long_help = crate::playground::SUMMARY_HELP)]
    Playground(PlaygroundArgs),
    /// Serve the bind guard: an admission webhook that refuses any scheduler's binds that the node's kubelet would reject.
    #[command(after_help = crate::guard::EXAMPLES)]
    Guard(GuardArgs),
    /// Explain placement, in a live cluster or from a dump of one: where pods would go, why not elsewhere, and which pods they would
    /// preempt. Nothing is changed.
    #[command(after_help = crate::explain::EXAMPLES)]
    Explain(ExplainArgs),
    /// Print everything in a cluster that scheduling reads, as a file for explain. No secrets are included, and nothing is changed.
    #[command(after_help = crate::dump::EXAMPLES)]
    Dump(DumpArgs),
    /// Check the schedulers of a cluster: pods that no scheduler will ever schedule, names that two processes serve, stale Leases,
    /// missing permissions, an unreachable bind guard. Nothing is changed.
    #[command(after_help = crate::doctor::EXAMPLES)]
    Doctor(DoctorArgs),
    /// Check a configuration file, or print the default configuration.
    #[command(after_help = crate::config::EXAMPLES, arg = crate::log::no_verbosity())]
    Config(ConfigArgs),
    /// Generate manifests with one scheduler for each tenant of a configuration.
    #[command(after_help = crate::tenants::EXAMPLES, arg = crate::log::no_verbosity())]
    Tenants(TenantsArgs),
    /// Create a crate for a plugin of your own, with a configuration, a test on an in-memory API server, and a Containerfile.
    #[command(after_help = crate::new_plugin::EXAMPLES, arg = crate::log::no_verbosity())]
    NewPlugin(NewPluginArgs),
    /// Print the version, commit, build and Kubernetes version.
    #[command(after_help = crate::version::EXAMPLES, arg = crate::log::no_verbosity())]
    Version(VersionArgs),
    /// Print a shell completion script.
    #[command(after_help = crate::completion::EXAMPLES, arg = crate::log::no_verbosity())]
    Completion(CompletionArgs),
    /// Print the manual page of secondmate or of one of its commands.
    #[command(after_help = crate::man::EXAMPLES, arg = crate::log::no_verbosity())]
    Man(ManArgs),
}

impl App {
    /// Runs the command line of this process; call it from `main`.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let mut cli = Cli::parse_from(crate::kube_scheduler::arguments(std::env::args_os()));
        if let Command::KubeScheduler(args) = &cli.command {
            cli.log = crate::kube_scheduler::log_of(args, cli.log);
        }
        let format = cli.log.format();
        let _last_lines = logging::guard();
        match crate::process::end_on_signals().and_then(|()| self.dispatch(cli)) {
            Ok(code) => code,
            Err(error) => {
                logging::fatal(format, &format!("{error:#}"));
                ExitCode::FAILURE
            }
        }
    }

    fn dispatch(&self, cli: Cli) -> anyhow::Result<ExitCode> {
        match cli.command {
            Command::Run(args) => crate::run::run(self, *args, cli.log),
            Command::KubeScheduler(args) => crate::kube_scheduler::kube_scheduler(self, &args, cli.log),
            Command::Playground(args) => crate::playground::playground(self, args, cli.log),
            Command::Guard(args) => crate::guard::guard(args, cli.log),
            Command::Explain(args) => {
                cli.log.init(true)?;
                crate::explain::explain(self, &args)
            }
            Command::Dump(args) => {
                cli.log.init(true)?;
                crate::dump::dump(self, &args)
            }
            Command::Doctor(args) => {
                cli.log.init(true)?;
                crate::doctor::doctor(self, &args)
            }
            Command::Config(args) => crate::config::config(self, &args),
            Command::Tenants(args) => crate::tenants::tenants(self, &args),
            Command::NewPlugin(args) => crate::new_plugin::new_plugin(self, &args),
            Command::Version(args) => crate::version::version(&args),
            Command::Completion(args) => crate::completion::completion(&args, Cli::command()),
            Command::Man(args) => crate::man::man(&args, Cli::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;
    use std::collections::BTreeMap;

    /// Options that mean different things in different commands.
    const DIFFERENT: [&str; 1] = [
        // kube-scheduler's takes a form.
        "version",
    ];

    fn options<'a>(command: &'a clap::Command, found: &mut Vec<(String, &'a Arg)>) {
        let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
        let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set());
        found.extend(arguments.map(|arg| (name.to_owned(), arg)));
        command.get_subcommands().for_each(|sub| options(sub, found));
    }

    #[test]
    fn one_option_is_written_alike_in_all_commands() {
        let mut program = Cli::command();
        program.build();
        let mut all = Vec::new();
        options(&program, &mut all);
        let mut by_name: BTreeMap<&str, BTreeMap<String, Vec<String>>> = BTreeMap::new();
        for (command, arg) in &all {
            let Some(name) = arg.get_long().filter(|name| !DIFFERENT.contains(name)) else { continue };
            let short = arg.get_short().map_or_else(String::new, |short| format!("-{short} "));
            let values: Vec<&str> = arg.get_value_names().into_iter().flatten().map(|v| v.as_str()).collect();
            let form = format!("{short}{}", values.join(" "));
            by_name.entry(name).or_default().entry(form).or_default().push(command.clone());
        }
        assert!(by_name.len() > 60, "{}", by_name.len());
        by_name.retain(|_, forms| forms.len() > 1);
        assert_eq!(by_name, BTreeMap::new());
    }

    #[test]
    fn words_for_what_options_take_are_few() {
        let mut program = Cli::command();
        program.build();
        let mut all = Vec::new();
        options(&program, &mut all);
        let told = |arg: &Arg| arg.get_help().map(ToString::to_string).unwrap_or_default();
        for (command, arg) in all {
            let help = told(arg);
            for another in ["COUNT", "FOLDER", "NUMBER"] {
                let named = arg.get_value_names().into_iter().flatten().any(|value| value == another);
                assert!(!named, "{command}: {another} of --{}: it is N or DIR elsewhere", arg.get_id());
            }
            for another in ["Repeat it", "Can be repeated", "Repeatable"] {
                assert!(!help.contains(another), "{command}: {help:?}: say \"May be repeated\"");
            }
        }
    }
}
