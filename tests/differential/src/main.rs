//! `cargo xtask parity`: the differential test from the command line.

use anyhow::{Context, Result, bail};
use clap::Parser;
use secondmate_differential::case::Case;
use secondmate_differential::judge::{Judge, Verdict};
use secondmate_differential::run::{Options, Outcome, run};
use secondmate_differential::shrink::shrink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask parity",
    about = "Holds secondmate's decisions against the real kube-scheduler framework's"
)]
struct Cli {
    /// Number of random cases.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    cases: u64,
    /// Seed of the cases [default: the time].
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Number of the first case: to run one again, with --cases 1.
    #[arg(long, default_value_t = 0, value_name = "N")]
    first: u64,
    /// Workers, each with an oracle of its own.
    #[arg(long, default_value_t = 2, value_name = "N")]
    jobs: usize,
    /// Stop after so many differing cases.
    #[arg(long, default_value_t = 20, value_name = "N")]
    differences: usize,
    /// Where differing cases are written, made small.
    #[arg(long, default_value = "target/parity", value_name = "FOLDER")]
    out: PathBuf,
    /// Ask both sides about the case in this file instead, and shrink it where they differ.
    #[arg(long, value_name = "FILE")]
    case: Vec<PathBuf>,
    /// Print the coverage table.
    #[arg(long)]
    coverage: bool,
}

fn main() -> ExitCode {
    match parity(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True where nothing differs.
fn parity(cli: &Cli) -> Result<bool> {
    if !cli.case.is_empty() {
        let mut judge = Judge::start()?;
        let mut all_same = true;
        for file in &cli.case {
            all_same &= one_case(file, &mut judge)?;
        }
        return Ok(all_same);
    }
    let seed = match cli.seed {
        Some(seed) => seed,
        None => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .context("the clock stands before 1970: give --seed")?
            .as_secs(),
    };
    println!("seed {seed}, cases {} to {}", cli.first, cli.first + cli.cases - 1);
    let options = Options {
        cases: cli.cases,
        seed,
        first: cli.first,
        jobs: cli.jobs,
        differences_max: cli.differences,
        progress: true,
    };
    let outcome = run(options)?;
    report(&outcome, cli)?;
    Ok(outcome.differences.is_empty())
}

fn one_case(file: &Path, judge: &mut Judge) -> Result<bool> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let case: Case = serde_json::from_str(&text).with_context(|| format!("{} is no case", file.display()))?;
    let (verdict, _) = judge.judge(&case)?;
    match verdict {
        Verdict::Differs(difference) => {
            println!("{}: differs: {difference}", file.display());
            let small = shrink(&case, judge)?;
            if small != case {
                println!("made small:\n{}", serde_json::to_string_pretty(&small)?);
            }
            Ok(false)
        }
        other => {
            println!("{}: {other:?}", file.display());
            Ok(matches!(other, Verdict::Same(_) | Verdict::BothRefuse(_)))
        }
    }
}

fn report(outcome: &Outcome, cli: &Cli) -> Result<()> {
    if !outcome.differences.is_empty() {
        write_differences(outcome, &cli.out)?;
    }
    if cli.coverage {
        println!("{}", outcome.coverage.table(&[]).0);
    }
    for (what, counts) in [
        ("objects that an API server refuses", &outcome.rejected),
        ("cases that both sides refuse", &outcome.refused),
        ("cases in which the oracle could not tell", &outcome.inconclusive),
    ] {
        let all: u64 = counts.values().sum();
        println!("{what}: {all}");
        let mut list: Vec<_> = counts.iter().collect();
        list.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (reason, count) in list.into_iter().take(12) {
            println!("{count:>9}  {reason}");
        }
    }
    println!(
        "{} cases with {} objects and {} pods compared in {:.1} s: {} differ",
        outcome.cases,
        outcome.objects,
        outcome.pods,
        outcome.took.as_secs_f64(),
        outcome.differences.len()
    );
    Ok(())
}

fn write_differences(outcome: &Outcome, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut judge = Judge::start()?;
    let mut kinds = std::collections::BTreeMap::new();
    for (case, difference) in &outcome.differences {
        println!("case {}: {difference}", case.id);
        let seen: &mut u32 = kinds.entry(difference.kind()).or_insert(0);
        *seen += 1;
        // One or two of a kind are enough to work on.
        if *seen > 2 {
            continue;
        }
        let mut small = shrink(case, &mut judge)?;
        small.id.clone_from(&case.id);
        let (Verdict::Differs(difference), _) = judge.judge(&small)? else {
            bail!("case {} does not differ any more when it is asked again", case.id)
        };
        let path = folder.join(format!("{}.json", case.id));
        std::fs::write(&path, serde_json::to_string(&small)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("made small, {}: {difference}", path.display());
        for object in &small.objects {
            println!("    {object}");
        }
        println!("    config {}", small.config);
    }
    Ok(())
}
