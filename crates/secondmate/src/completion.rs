//! `secondmate completion`: scripts that let shells complete commands and options.

use crate::output::print;
use clap::{Args, Command, ValueEnum};
use clap_complete::Shell as Known;
use std::process::ExitCode;

pub(crate) const EXAMPLES: &str = "\
Examples:
  source <(secondmate completion bash)
  secondmate completion zsh > \"${fpath[1]}/_secondmate\"
  secondmate completion fish > ~/.config/fish/completions/secondmate.fish";

/// Options of `completion`.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// Shell to generate the script for.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn completion(args: &CompletionArgs, mut program: Command) -> anyhow::Result<ExitCode> {
    let shell = match args.shell {
        Shell::Bash => Known::Bash,
        Shell::Zsh => Known::Zsh,
        Shell::Fish => Known::Fish,
    };
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, name, &mut script);
    print(&script)
}
