//! Many inputs for one target.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::mutate::Mutator;
use crate::seeds;
use crate::targets::Target;
use crate::watchdog::{Limits, Watchdog, resident_bytes};

/// Different findings after which a campaign ends.
const FINDINGS_MAX: usize = 10;
/// How much of an input is shown.
const SHOWN_BYTES: usize = 600;

/// A run of inputs.
#[derive(Debug)]
pub struct Campaign<'a> {
    target: &'a Target,
    seed: u64,
    mutator: Mutator,
}

/// An input that breaks a rule.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The target.
    pub target: &'static str,
    /// Seed of the campaign.
    pub seed: u64,
    /// Number of the input.
    pub number: u64,
    /// The panic, or the rule that is broken.
    pub what: String,
    /// The input.
    pub input: Vec<u8>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = String::from_utf8_lossy(&self.input[..self.input.len().min(SHOWN_BYTES)]);
        write!(
            f,
            "{}: {}\n  again: cargo xtask fuzz --target {} --seed {} --input {}\n  input ({} bytes): {shown:?}",
            self.target,
            self.what,
            self.target,
            self.seed,
            self.number,
            self.input.len()
        )
    }
}

/// What a campaign came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Inputs that were tried.
    pub inputs: u64,
    /// Those that the parser took.
    pub accepted: u64,
    /// How long it took.
    pub time: Duration,
    /// Memory resident at the end, where the system says.
    pub memory_bytes: Option<u64>,
    /// Different findings; of each the first.
    pub findings: Vec<Finding>,
}

impl<'a> Campaign<'a> {
    /// Inputs for a target, from its seeds.
    ///
    /// # Errors
    /// Its seeds cannot be read.
    pub fn new(target: &'a Target, seed: u64) -> Result<Self> {
        Ok(Self { target, seed, mutator: Mutator::new(target.form, seeds::read(target.name)?) })
    }

    /// The input with a number.
    #[must_use]
    pub fn input(&self, number: u64) -> Vec<u8> {
        self.mutator.input(self.seed, number)
    }

    /// Tries the inputs with these numbers. An input that exceeds a limit ends the process, with what is needed to have it again.
    #[must_use]
    pub fn run(&self, numbers: std::ops::Range<u64>, limits: Limits) -> Summary {
        let (target, seed) = (self.target.name, self.seed);
        let watchdog = Watchdog::start(limits, move |number, trouble| {
            eprintln!(
                "{target}: {trouble}\n  again: cargo xtask fuzz --target {target} --seed {seed} --input {number}"
            );
            std::process::exit(2);
        });
        let begin = Instant::now();
        let mut summary = Summary::default();
        for number in numbers {
            let input = self.input(number);
            watchdog.begin(number);
            summary.inputs += 1;
            match attempt(self.target.run, &input) {
                Ok(accepted) => summary.accepted += u64::from(accepted),
                Err(what) => {
                    let known = summary.findings.iter().any(|finding| kind(&finding.what) == kind(&what));
                    if !known {
                        summary.findings.push(Finding { target, seed, number, what, input });
                    }
                    if summary.findings.len() == FINDINGS_MAX {
                        break;
                    }
                }
            }
        }
        summary.time = begin.elapsed();
        summary.memory_bytes = resident_bytes();
        summary
    }
}

/// Findings of one kind begin alike: with a place in the source, or a rule.
fn kind(what: &str) -> &str {
    what.split_once(": ").map_or(what, |(kind, _)| kind)
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Tries one input: whether it was taken.
///
/// # Errors
/// The panic, or the rule that it breaks.
pub(crate) fn attempt(run: fn(&[u8]) -> Result<bool, String>, input: &[u8]) -> Result<bool, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let text = panic.payload_as_str().unwrap_or("no text");
            let caught = CATCHING.with_borrow(|catching| *catching);
            if caught {
                PANIC.set(Some(format!("panic at {place}: {text}")));
            } else {
                before(panic);
            }
        }));
    });
    CATCHING.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| run(input)));
    CATCHING.set(false);
    result.unwrap_or_else(|_| Err(PANIC.take().unwrap_or_else(|| "panic on another thread".to_owned())))
}

thread_local! {
    static CATCHING: RefCell<bool> = const { RefCell::new(false) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Form;

    fn campaign(run: fn(&[u8]) -> Result<bool, String>) -> (Target, Mutator) {
        let target = Target { name: "test", what: "a test", form: Form::Text, run };
        (target, Mutator::new(Form::Text, vec![b"one two three".to_vec()]))
    }

    /// A check that cannot fail would be none.
    #[test]
    fn panics_and_broken_rules_are_found_and_come_again_by_their_number() {
        let (target, mutator) = campaign(|input| {
            assert!(!input.contains(&b'9'), "nine");
            if input.len() > 40 { Err("length: too long".to_owned()) } else { Ok(true) }
        });
        let campaign = Campaign { target: &target, seed: 3, mutator };
        let summary = campaign.run(0..5_000, Limits::default());
        assert_eq!(summary.inputs, 5_000);
        let kinds: Vec<&str> = summary.findings.iter().map(|finding| kind(&finding.what)).collect();
        assert_eq!(kinds.len(), 2, "{kinds:?}");
        assert!(kinds.contains(&"length"), "{kinds:?}");
        for finding in &summary.findings {
            assert_eq!(campaign.input(finding.number), finding.input);
            assert_eq!(attempt(target.run, &finding.input), Err(finding.what.clone()));
        }
    }

    #[test]
    fn a_campaign_without_findings_says_how_many_were_taken() {
        let (target, mutator) = campaign(|input| Ok(input.starts_with(b"one")));
        let summary = Campaign { target: &target, seed: 3, mutator }.run(0..100, Limits::default());
        assert!(summary.findings.is_empty());
        assert!((1..100).contains(&summary.accepted), "{}", summary.accepted);
    }
}
