//! `cargo xtask fuzz` runs this, in a build with every assertion and check of overflow.

mod options;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use options::Options;
use secondmate_fuzz::{Campaign, Limits, Summary, TARGETS, Target, target};

/// As in the program itself; a third of the time of an input went into an allocator that is slower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Inputs between two lines about how far it is.
const REPORT_EVERY: u64 = 1_000_000;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing was found.
fn run(options: &Options) -> Result<bool> {
    if options.list {
        for Target { name, what, .. } in TARGETS {
            println!("{name:16} {what}");
        }
        return Ok(true);
    }
    let named = |name: &String| {
        target(name).with_context(|| format!("there is no target {name:?}: see `cargo xtask fuzz --list`"))
    };
    let targets: Vec<&Target> = match options.target.as_slice() {
        [] => TARGETS.iter().collect(),
        names => names.iter().map(named).collect::<Result<_>>()?,
    };
    let seed = match options.seed {
        Some(seed) => seed,
        None => std::time::UNIX_EPOCH.elapsed().context("the clock is before 1970")?.as_secs(),
    };
    let mut clean = true;
    for target in targets {
        if let Some(file) = &options.file {
            let input = std::fs::read(file).with_context(|| file.display().to_string())?;
            match (target.run)(&input) {
                Ok(taken) => {
                    println!("{}: {}", target.name, if taken { "taken" } else { "refused, as it should be" })
                }
                Err(rule) => bail!("{}: {rule}", target.name),
            }
            continue;
        }
        let campaign = Campaign::new(target, seed)?;
        clean &= match options.input {
            Some(number) => {
                println!("{}", String::from_utf8_lossy(&campaign.input(number)));
                report(target, seed, &campaign.run(number..number + 1, Limits::default()))
            }
            None => long(target, seed, &campaign, options.first, options.inputs),
        };
    }
    Ok(clean)
}

/// A campaign in pieces, with a line after each.
fn long(target: &Target, seed: u64, campaign: &Campaign<'_>, first: u64, inputs: u64) -> bool {
    let mut sum = Summary::default();
    while sum.inputs < inputs && sum.findings.is_empty() {
        let part = REPORT_EVERY.min(inputs - sum.inputs);
        let begin = first + sum.inputs;
        let part = campaign.run(begin..begin + part, Limits::default());
        sum.inputs += part.inputs;
        sum.accepted += part.accepted;
        sum.time += part.time;
        sum.memory_bytes = part.memory_bytes;
        sum.findings = part.findings;
        if sum.inputs < inputs {
            eprintln!("{}: {} inputs, {:.0} s", target.name, sum.inputs, sum.time.as_secs_f64());
        }
    }
    report(target, seed, &sum)
}

fn report(target: &Target, seed: u64, summary: &Summary) -> bool {
    let memory =
        summary.memory_bytes.map_or(String::new(), |bytes| format!(", {} MiB resident", bytes >> 20));
    println!(
        "{:16} seed {seed}: {} inputs, {} taken, {} findings, {:.1} s{memory}",
        target.name,
        summary.inputs,
        summary.accepted,
        summary.findings.len(),
        summary.time.as_secs_f64(),
    );
    for finding in &summary.findings {
        println!("{finding}");
    }
    summary.findings.is_empty()
}
