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
  secondmate man config check | man -l -
  secondmate man --dir ~/.local/share/man/man1";

/// Options of `man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Command to describe [default: secondmate itself].
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write a page for secondmate and for each of its commands into this directory, which is created if it does not exist.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn man(args: &ManArgs, program: Command) -> anyhow::Result<ExitCode> {
    let pages = pages(program);
    if let Some(dir) = &args.dir {
        write_all(dir, &pages)?;
        return Ok(ExitCode::SUCCESS);
    }
    let words = std::iter::once("secondmate").chain(args.command.iter().flat_map(|given| given.split(' ')));
    let wanted = words.collect::<Vec<_>>().join("-");
    let Some(page) = pages.iter().find(|page| page.name == wanted) else {
        let program = pages.first().map_or("", |page| page.name.as_str());
        let names: Vec<String> = pages.iter().filter_map(|page| page.words(program)).collect();
        bail!("no command is called {:?}: use one of {}", args.command.join(" "), names.join(", "));
    };
    print(&page.render().context("cannot write a page")?)
}

struct Page {
    /// `secondmate-run`, `secondmate-config-check`.
    name: String,
    command: Command,
}

impl Page {
    /// The command as it is typed; `None` for the page of the program itself.
    fn words(&self, program: &str) -> Option<String> {
        self.command.get_bin_name()?.strip_prefix(program)?.strip_prefix(' ').map(str::to_owned)
    }

    fn render(&self) -> std::io::Result<Vec<u8>> {
        let source = concat!("secondmate ", env!("CARGO_PKG_VERSION"));
        let man = Man::new(self.command.clone()).title(&self.name).source(source);
        let mut text = Vec::new();
        man.render_title(&mut text)?;
        man.render_name_section(&mut text)?;
        man.render_synopsis_section(&mut text)?;
        man.render_description_section(&mut text)?;
        man.render_options_section(&mut text)?;
        if self.command.has_subcommands() {
            man.render_subcommands_section(&mut text)?;
        }
        text.extend(self.after_help().bytes());
        man.render_version_section(&mut text)?;
        Ok(text)
    }

    /// What follows the options in a help text: the examples, and any notes, each line unchanged.
    fn after_help(&self) -> String {
        let command = &self.command;
        let Some(help) = command.get_after_long_help().or_else(|| command.get_after_help()) else {
            return String::new();
        };
        let help = help.to_string();
        let (examples, notes) = help.split_once("\n\n").unwrap_or((&help, ""));
        let examples = examples.strip_prefix("Examples:\n").unwrap_or(examples);
        let mut text = format!(".SH EXAMPLES\n{}", as_it_is(examples));
        if !notes.is_empty() {
            text.push_str(&format!(".SH NOTES\n{}", as_it_is(notes)));
        }
        text
    }
}

/// Marks lines so that roff neither fills them nor interprets them.
fn as_it_is(lines: &str) -> String {
    let mut text = ".nf\n".to_owned();
    for line in lines.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        if line.starts_with(['.', '\'']) {
            text.push_str("\\&");
        }
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(".fi\n");
    text
}

/// The page of the program, then one for each command, with subcommands after their command.
fn pages(program: Command) -> Vec<Page> {
    let mut program = without_help(program);
    // This passes global options down to the commands.
    program.build();
    let mut pages = Vec::new();
    add(&program, &[], &mut pages);
    pages
}

/// Removes the `help` commands, which have no pages.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

fn add(command: &Command, above: &[&str], pages: &mut Vec<Page>) {
    let words: Vec<&str> = above.iter().copied().chain([command.get_name()]).collect();
    pages.push(Page { name: words.join("-"), command: command.clone() });
    for sub in command.get_subcommands() {
        add(sub, &words, pages);
    }
}

fn write_all(dir: &Path, pages: &[Page]) -> anyhow::Result<()> {
    let written = || format!("cannot write into {}: give a directory that is yours by --dir", dir.display());
    std::fs::create_dir_all(dir).with_context(written)?;
    for page in pages {
        std::fs::write(dir.join(format!("{}.1", page.name)), page.render()?).with_context(written)?;
    }
    Ok(())
}
