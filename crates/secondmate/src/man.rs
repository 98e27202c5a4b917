//! `secondmate man`: the manual, made from the same definitions as `--help`.

use crate::output::print;
use anyhow::{Context, bail};
use clap::{Args, Command};
use clap_mangen::Man;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) const EXAMPLES: &str = "\
Examples:
  secondmate man | man -l -
  secondmate man explain | man -l -
  secondmate man --dir ~/.local/share/man/man1";

/// Options of `man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Command to describe [default: secondmate itself].
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Option<String>,
    /// Write a page for secondmate and one for each command into this directory, which is made if it is not there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn man(args: &ManArgs, program: Command) -> anyhow::Result<ExitCode> {
    let pages = pages(program);
    if let Some(dir) = &args.dir {
        write_all(dir, &pages)?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = args.command.as_ref().map_or_else(|| pages[0].name.clone(), |name| file_name(Some(name)));
    let Some(page) = pages.iter().find(|page| page.name == wanted) else {
        let names: Vec<&str> =
            pages.iter().filter_map(|page| page.name.split_once('-')).map(|n| n.1).collect();
        bail!(
            "no command is called {:?}: use one of {}",
            args.command.as_deref().unwrap_or_default(),
            names.join(", ")
        );
    };
    print(&page.render()?)
}

struct Page {
    /// `secondmate-run`.
    name: String,
    command: Command,
}

impl Page {
    fn render(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = Vec::new();
        let source = concat!("secondmate ", env!("CARGO_PKG_VERSION"));
        let man = Man::new(self.command.clone()).title(&self.name).source(source);
        man.render(&mut text).context("cannot write a page")?;
        Ok(text)
    }
}

fn file_name(command: Option<&str>) -> String {
    command.map_or_else(|| "secondmate".to_owned(), |command| format!("secondmate-{command}"))
}

/// The page of the program, then one for each command.
fn pages(mut program: Command) -> Vec<Page> {
    // Options for all commands are handed down to them, and `help` is made.
    program.build();
    let of_command = |command: &Command| {
        let name = file_name(Some(command.get_name()));
        Page { command: command.clone(), name }
    };
    let mut pages = vec![Page { name: file_name(None), command: program.clone() }];
    pages.extend(program.get_subcommands().filter(|c| c.get_name() != "help").map(of_command));
    pages
}

fn write_all(dir: &Path, pages: &[Page]) -> anyhow::Result<()> {
    let written = || format!("cannot write into {}: give a directory that is yours by --dir", dir.display());
    std::fs::create_dir_all(dir).with_context(written)?;
    for page in pages {
        std::fs::write(dir.join(format!("{}.1", page.name)), page.render()?).with_context(written)?;
    }
    Ok(())
}
