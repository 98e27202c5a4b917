//! `cargo xtask simulate` runs this, in a release build.

mod command;

use anyhow::{Context, Result};
use clap::Parser;
use command::Options;
use secondmate_simulation::{
    Broken, Counts, DAY_LENGTH, History, Log, Step, days, note_panics, options_of_life, play, shrink,
};
use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time between two progress lines.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Maximum number of steps to play in order to shrink a history, which takes some minutes.
const SHRINK_STEPS: usize = 400_000;

fn main() -> ExitCode {
    let options = Options::parse();
    note_panics();
    let result = match &options.replay {
        Some(file) => replay(file),
        None => simulate(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The options of the year with this seed.
fn kind_of_life(options: &Options, seed: u64) -> secondmate_simulation::Options {
    secondmate_simulation::Options { loops_unbroken: options.no_loop_breaker, ..options_of_life(seed) }
}

/// The state that the jobs share.
struct Shared {
    options: Options,
    /// Years started so far.
    begun: AtomicU64,
    /// Days that are over.
    days: AtomicU64,
    /// A year has broken something, so no further ones are started.
    over: AtomicBool,
    results: Mutex<Results>,
}

#[derive(Default)]
struct Results {
    counts: Counts,
    simulated: Duration,
    years: u64,
    /// The first year that broke something: its seed, and what it broke.
    broken: Option<(u64, Broken)>,
}

impl Shared {
    /// Simulates one year after another.
    fn work(&self) {
        while !self.over.load(Ordering::Relaxed) {
            let year = self.begun.fetch_add(1, Ordering::Relaxed);
            if year >= u64::from(self.options.years.get()) {
                return;
            }
            let seed = self.options.seed.wrapping_add(year);
            let mut today = 0;
            let length = u64::from(self.options.days.get());
            let played = play(seed, kind_of_life(&self.options, seed), days(seed, length), |_, step| {
                let day = step.at / DAY_LENGTH;
                if day != today {
                    self.days.fetch_add(day - today, Ordering::Relaxed);
                    today = day;
                }
                !self.over.load(Ordering::Relaxed)
            });
            let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            results.counts.merge(&played.world.counts);
            results.simulated += played.world.elapsed();
            if let Some(broken) = played.broken {
                self.over.store(true, Ordering::Relaxed);
                results.broken.get_or_insert((seed, broken));
            } else if !self.over.load(Ordering::Relaxed) {
                self.days.fetch_add(1, Ordering::Relaxed);
                results.years += 1;
            }
        }
    }

    fn report(&self, began: Instant) {
        let days = self.days.load(Ordering::Relaxed) as f64;
        let wanted = f64::from(self.options.years.get()) * f64::from(self.options.days.get());
        let took = began.elapsed().as_secs_f64();
        eprintln!(
            "{:.2} of {:.2} years in {took:.0} s: {:.2} years a minute",
            days / 365.0,
            wanted / 365.0,
            days / 365.0 / (took / 60.0)
        );
    }
}

/// Whether nothing broke.
fn simulate(options: &Options) -> Result<bool> {
    let jobs = match options.jobs {
        Some(jobs) => jobs,
        None => std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
    };
    let shared = Shared {
        options: Options { keep: options.keep.clone(), replay: None, ..*options },
        begun: AtomicU64::new(0),
        days: AtomicU64::new(0),
        over: AtomicBool::new(false),
        results: Mutex::default(),
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.get()).map(|_| scope.spawn(|| shared.work())).collect();
        let mut reported = Instant::now();
        while !workers.iter().all(|worker| worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            if reported.elapsed() > REPORT_EVERY {
                reported = Instant::now();
                shared.report(began);
            }
        }
    });
    let took = began.elapsed();
    let Results { counts, simulated, years, broken } =
        shared.results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let count = shared.begun.into_inner().min(u64::from(options.years.get()));
    println!(
        "seeds {} to {}: {:.2} years of simulated time in {:.0} s of {jobs} job{}",
        options.seed,
        options.seed.wrapping_add(count.saturating_sub(1)),
        simulated.as_secs_f64() / 86_400.0 / 365.0,
        took.as_secs_f64(),
        if jobs.get() == 1 { "" } else { "s" }
    );
    for (kind, count) in counts.iter() {
        println!("{count:>14}  {kind}");
    }
    let Some((seed, broken)) = broken else {
        println!("no invariant is broken in {years} lives");
        return Ok(true);
    };
    tell_of(options, seed, broken)?;
    Ok(false)
}

/// Reports what broke, and shrinks the history.
fn tell_of(options: &Options, seed: u64, broken: Broken) -> Result<()> {
    println!("\nBROKEN with seed {seed}, at step {}: {}", broken.step, broken.message);
    let breaker = if options.no_loop_breaker { " --no-loop-breaker" } else { "" };
    println!("again: cargo xtask simulate --seed {seed} --jobs 1{breaker}");
    println!("shrinking ...");
    let steps: Vec<Step> =
        days(seed, u64::from(options.days.get())).take(broken.step.saturating_add(1)).collect();
    let history =
        History { broke: broken.message.clone(), seed, options: kind_of_life(options, seed), steps };
    let history = shrink(history, &broken, SHRINK_STEPS);
    let file = keep(options, seed, &history)?;
    println!(
        "{} steps are left, in {}; once it is mended they belong in tests/simulation/histories:\n",
        history.steps.len(),
        file.display()
    );
    print!("{}", history.to_text());
    println!("\nwhat happens in them: cargo xtask simulate --replay {}", file.display());
    Ok(())
}

fn keep(options: &Options, seed: u64, history: &History) -> Result<PathBuf> {
    let folder = &options.keep;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(format!("seed-{seed}.json"));
    std::fs::write(&file, history.to_text()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// Whether nothing broke.
fn replay(file: &Path) -> Result<bool> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let history = History::from_text(&text).with_context(|| format!("{} is no history", file.display()))?;
    let options = secondmate_simulation::Options { log: Log::Story, ..history.options };
    let played = play(history.seed, options, history.steps, |_, _| true);
    let mut out = std::io::stdout().lock();
    for line in &played.world.log {
        writeln!(out, "{line}").context("cannot write to standard output")?;
    }
    match &played.broken {
        Some(broken) => writeln!(out, "BROKEN: {}", broken.message),
        None => writeln!(out, "nothing is broken"),
    }
    .context("cannot write to standard output")?;
    Ok(played.broken.is_none())
}
