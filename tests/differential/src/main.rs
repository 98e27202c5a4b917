//! `cargo xtask parity`: the differential test from the command line.

mod command;

use anyhow::{Context, Result, bail};
use clap::Parser;
use command::Cli;
use secondmate_differential::case::Case;
use secondmate_differential::judge::{Judge, Verdict};
use secondmate_differential::oracle::Oracle;
use secondmate_differential::ours::Ours;
use secondmate_differential::run::{Options, Outcome, run};
use secondmate_differential::shrink::shrink;
use secondmate_differential::{corpus, coverage, mutants, self_check, timing};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// Most differing cases of one kind that are made small: one or two are enough to work on.
const SHRUNK_OF_A_KIND: u32 = 2;

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
    if let Some(file) = &cli.replay {
        let found = mutants::replay(file)?;
        if let Some((number, difference)) = &found {
            println!("case {number}: {difference}");
        }
        return Ok(found.is_none());
    }
    if cli.corpus {
        return check_corpus();
    }
    if let Some(file) = &cli.record {
        return record(file);
    }
    if cli.timing {
        println!("{}", timing::table()?);
        return Ok(true);
    }
    if let Some(filter) = &cli.mutants {
        let options = mutants::Options {
            filter: filter.clone(),
            mutants_max: cli.mutants_max,
            cases: cli.cases.min(1000),
            seed: cli.seed.unwrap_or(1),
        };
        return Ok(mutants::run(&options)?.is_empty());
    }
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
    println!("seed {seed}, {} cases from number {}", cli.cases, cli.first);
    if cli.self_check {
        let checked = self_check::run(seed, cli.first, cli.cases)?;
        for contradiction in &checked.contradictions {
            println!("{contradiction}");
        }
        let differ = checked.contradictions.len();
        println!("the oracle against the real scheduler's cycles: {} pods, {differ} differ", checked.pods);
        return Ok(differ == 0);
    }
    random_cases(cli, seed)
}

fn random_cases(cli: &Cli, seed: u64) -> Result<bool> {
    let options = Options {
        cases: cli.cases,
        seed,
        first: cli.first,
        jobs: cli.jobs,
        differences_max: cli.differences,
        progress: true,
    };
    let outcome = run(options)?;
    if !outcome.differences.is_empty() {
        write_differences(&outcome, &cli.out)?;
    }
    let (table, holes) = outcome.coverage.table();
    if !cli.no_coverage {
        println!("{table}");
    }
    report(&outcome, seed);
    Ok(outcome.differences.is_empty() && (holes.is_empty() || !cli.complete))
}

fn read_case(file: &Path) -> Result<Case> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no case", file.display()))
}

fn one_case(file: &Path, judge: &mut Judge) -> Result<bool> {
    let case = read_case(file)?;
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

fn check_corpus() -> Result<bool> {
    let cases = corpus::read()?;
    let mut ours = Ours::default();
    let mut differing = 0;
    for (name, recorded) in &cases {
        if let Some(difference) = recorded.check(&mut ours) {
            println!("{name}: {difference}");
            differing += 1;
        }
    }
    println!("corpus: {} cases against their recorded answers: {differing} differ", cases.len());
    match Oracle::start(&[]) {
        Err(error) => println!("the recorded answers themselves are not checked: {error:#}"),
        Ok(mut oracle) => {
            let mut outdated = 0;
            for (name, recorded) in &cases {
                if let Some(difference) = corpus::still_true(recorded, &mut oracle)? {
                    println!("{name}: recorded is what kube-scheduler does not say any more: {difference}");
                    outdated += 1;
                }
            }
            println!("corpus: {} recorded answers against the oracle: {outdated} differ", cases.len());
            differing += outdated;
        }
    }
    Ok(differing == 0)
}

fn record(file: &Path) -> Result<bool> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines: Vec<&str> = if file.extension().is_some_and(|ending| ending == "jsonl") {
        text.lines().filter(|line| !line.trim().is_empty()).collect()
    } else {
        vec![text.as_str()]
    };
    let source = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut oracle = Oracle::start(&[])?;
    for line in lines {
        let case: Case =
            serde_json::from_str(line).with_context(|| format!("{} is no case", file.display()))?;
        if case.id.is_empty() || case.id.contains(['/', '\\']) {
            bail!("{}: a case needs an id that can be the name of a file", file.display());
        }
        let about = if source.ends_with(".jsonl") {
            format!("{}, from {source}", case.id.replace('-', " "))
        } else {
            format!("found by random case {}", case.id)
        };
        println!("{}", corpus::record(&case, &case.id, &about, &mut oracle)?.display());
    }
    Ok(true)
}

fn report(outcome: &Outcome, seed: u64) {
    for (what, counts) in [
        ("objects that an API server refuses", &outcome.rejected),
        ("cases that both sides refuse", &outcome.refused),
        ("cases in which the oracle could not tell", &outcome.inconclusive),
    ] {
        let all: u64 = counts.values().sum();
        println!("{what}: {all}");
        let mut list: Vec<_> = counts.iter().collect();
        list.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (reason, count) in list.into_iter().take(8) {
            let shown: String = reason.chars().take(180).collect();
            println!("{count:>9}  {shown}");
        }
    }
    println!(
        "seed {seed}: {} cases as an API server stores them and {} as it does not, with {} objects and {} pods that were compared \
         in all they say, in {:.1} s: {} differ",
        outcome.cases,
        outcome.corrupt,
        outcome.objects,
        outcome.pods,
        outcome.took.as_secs_f64(),
        outcome.differences.len()
    );
}

fn write_differences(outcome: &Outcome, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut judge = Judge::start()?;
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    for (case, difference) in &outcome.differences {
        println!("case {}: {difference}", case.id);
        let seen = kinds.entry(coverage::normal(&difference.kind())).or_insert(0);
        *seen += 1;
        if *seen > SHRUNK_OF_A_KIND {
            continue;
        }
        let mut small = shrink(case, &mut judge)?;
        small.id.clone_from(&case.id);
        let (Verdict::Differs(difference), _) = judge.judge(&small)? else {
            println!("  does not differ any more when it is asked again");
            continue;
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
