//! A run: many cases, several workers.

use crate::case::Case;
use crate::compare::Difference;
use crate::corrupt::corrupt;
use crate::coverage::Coverage;
use crate::generate;
use crate::judge::{Judge, Verdict};
use crate::oracle::IN_FLIGHT_MAX;
use crate::random::Random;
use anyhow::Result;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One case in so many is asked once more with what no API server stores.
const CORRUPT_EVERY: u64 = 8;
/// How often the run says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of cases.
    pub cases: u64,
    /// Seed.
    pub seed: u64,
    /// Number of the first case.
    pub first: u64,
    /// Workers, each with an oracle of its own.
    pub jobs: usize,
    /// The run ends after so many differing cases.
    pub differences_max: usize,
    /// Say on standard error how far it is.
    pub progress: bool,
}

/// What a run found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Cases that were compared.
    pub cases: u64,
    /// Cases with what no API server stores, on top.
    pub corrupt: u64,
    /// Pods in them.
    pub pods: u64,
    /// Objects that were generated.
    pub objects: u64,
    /// Cases that both sides refuse, by the oracle's reason.
    pub refused: BTreeMap<String, u64>,
    /// Cases in which the oracle could not tell.
    pub inconclusive: BTreeMap<String, u64>,
    /// Objects that an API server refuses, by the first reason.
    pub rejected: BTreeMap<String, u64>,
    /// Cases that differ.
    pub differences: Vec<(Case, Difference)>,
    /// What the cases hit.
    pub coverage: Coverage,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.corrupt += other.corrupt;
        self.pods += other.pods;
        self.objects += other.objects;
        for (mine, theirs) in [
            (&mut self.refused, other.refused),
            (&mut self.inconclusive, other.inconclusive),
            (&mut self.rejected, other.rejected),
        ] {
            for (key, count) in theirs {
                *mine.entry(key).or_insert(0) += count;
            }
        }
        self.differences.extend(other.differences);
        self.coverage.add(&other.coverage);
    }
}

/// Runs cases until all are done or too many differ.
///
/// # Errors
/// The oracle cannot be started, or has ended.
pub fn run(options: Options) -> Result<Outcome> {
    let start = Instant::now();
    let next = AtomicU64::new(0);
    let found = AtomicU64::new(0);
    let said = Mutex::new(start);
    let work = || -> Result<Outcome> {
        let mut judge = Judge::start()?;
        let mut outcome = Outcome::default();
        let mut in_flight: VecDeque<Case> = VecDeque::new();
        loop {
            while in_flight.len() < IN_FLIGHT_MAX
                && found.load(Ordering::Relaxed) < options.differences_max as u64
            {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= options.cases {
                    break;
                }
                let case = generate::case(options.seed, options.first + index);
                judge.send(&case)?;
                in_flight.push_back(case);
            }
            let Some(case) = in_flight.pop_front() else { return Ok(outcome) };
            let (verdict, answer) = judge.receive(&case)?;
            if case.validate {
                outcome.cases += 1;
                let mut random = Random::new(options.seed ^ 0xbad, hash(&case.id));
                if random.below(CORRUPT_EVERY as usize) == 0 && answer.error.is_empty() {
                    let corrupt = corrupt(&case, &answer.objects, &mut random);
                    judge.send(&corrupt)?;
                    in_flight.push_back(corrupt);
                }
            } else {
                outcome.corrupt += 1;
            }
            outcome.objects += case.objects.len() as u64;
            for rejection in &answer.rejected {
                let kind = case.objects[rejection.index]["kind"].as_str().unwrap_or_default();
                let reason = rejection.errors.first().map_or("", String::as_str);
                let reason = format!("{kind}: {}", crate::coverage::normal(reason));
                *outcome.rejected.entry(reason).or_insert(0) += 1;
            }
            match verdict {
                Verdict::Same(pods) => {
                    outcome.pods += pods as u64;
                    outcome.coverage.record(&case.config, &answer.results);
                }
                Verdict::BothRefuse(why) => *outcome.refused.entry(why).or_insert(0) += 1,
                Verdict::Inconclusive(why) => {
                    *outcome.inconclusive.entry(crate::coverage::normal(&why)).or_insert(0) += 1;
                }
                Verdict::Differs(difference) => {
                    found.fetch_add(1, Ordering::Relaxed);
                    if options.progress {
                        eprintln!("case {} differs: {difference}", case.id);
                    }
                    outcome.differences.push((case, difference));
                }
            }
            if options.progress {
                say(&said, start, next.load(Ordering::Relaxed).min(options.cases), options.cases, &found);
            }
        }
    };
    let mut outcome = Outcome::default();
    let parts: Vec<Result<Outcome>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    for part in parts {
        outcome.add(part?);
    }
    outcome.took = start.elapsed();
    Ok(outcome)
}

/// A number from the name of a case.
fn hash(id: &str) -> u64 {
    id.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn say(said: &Mutex<Instant>, start: Instant, done: u64, all: u64, found: &AtomicU64) {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if said.elapsed() < PROGRESS_EVERY {
        return;
    }
    *said = Instant::now();
    let rate = done as f64 / start.elapsed().as_secs_f64();
    eprintln!("{done} of {all} cases, {rate:.0} a second, {} differ", found.load(Ordering::Relaxed));
}
