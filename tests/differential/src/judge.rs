//! Both sides on one case.

use crate::case::{Answer, Case};
use crate::compare::{Difference, compare};
use crate::oracle::Oracle;
use crate::ours::{Answers, Ours};
use anyhow::Result;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The answers are equal, for so many pods.
    Same(usize),
    /// Both sides refuse the case.
    BothRefuse(String),
    /// They differ.
    Differs(Difference),
    /// The oracle could not tell, and why.
    Inconclusive(String),
}

/// Asks both sides.
pub struct Judge {
    oracle: Oracle,
    ours: Ours,
}

impl Judge {
    /// Starts an oracle.
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn start() -> Result<Self> {
        // One worker: each judge has its own thread on our side.
        Ok(Self { oracle: Oracle::start(&["-workers", "1"])?, ours: Ours::default() })
    }

    /// Hands a case to the oracle.
    ///
    /// # Errors
    /// The oracle has ended.
    pub fn send(&mut self, case: &Case) -> Result<()> {
        self.oracle.send(case)
    }

    /// Takes the oracle's answer to a case and holds ours against it.
    ///
    /// # Errors
    /// The oracle has ended.
    pub fn receive(&mut self, case: &Case) -> Result<(Verdict, Answer)> {
        let answer = self.oracle.receive()?;
        Ok((verdict(case, &answer, &mut self.ours), answer))
    }

    /// Both at once.
    ///
    /// # Errors
    /// The oracle has ended.
    pub fn judge(&mut self, case: &Case) -> Result<(Verdict, Answer)> {
        self.send(case)?;
        self.receive(case)
    }
}

/// Holds our answer against one of the oracle.
pub fn verdict(case: &Case, theirs: &Answer, ours: &mut Ours) -> Verdict {
    if theirs.error.contains("contradicts itself") || theirs.error.starts_with("panic") {
        return Verdict::Inconclusive(theirs.error.lines().next().unwrap_or_default().to_owned());
    }
    // Without `validate` the objects are as an API server has stored them.
    let objects = if case.validate { &theirs.objects } else { &case.objects };
    let attempt =
        catch_unwind(AssertUnwindSafe(|| ours.answer(objects, &case.config, &case.extenders, &case.pods)));
    let differs = |path: &str, ours: String| {
        let theirs = if theirs.error.is_empty() {
            format!("{} results", theirs.results.len())
        } else {
            theirs.error.clone()
        };
        Verdict::Differs(Difference { pod: String::new(), path: path.to_owned(), theirs, ours })
    };
    match attempt {
        Err(panic) => differs("panic", panic_text(&*panic)),
        Ok(Err(error)) if theirs.error.is_empty() => differs("refused", format!("{error:#}")),
        Ok(Err(error)) => Verdict::BothRefuse(format!("{} | {error:#}", theirs.error)),
        Ok(Ok(results)) if !theirs.error.is_empty() => {
            differs("accepted", format!("{} results", results.explained.len()))
        }
        Ok(Ok(results)) => match catch_unwind(AssertUnwindSafe(|| hold(theirs, &results))) {
            Err(panic) => differs("scheduler/panic", panic_text(&*panic)),
            Ok(Err(error)) => differs("scheduler", format!("{error:#}")),
            Ok(Ok(Some(difference))) => Verdict::Differs(difference),
            Ok(Ok(None)) => Verdict::Same(results.explained.len()),
        },
    }
}

/// First what is said about every node, then what the scheduler does.
fn hold(theirs: &Answer, ours: &Answers) -> Result<Option<Difference>> {
    match compare(&theirs.results, &ours.explained) {
        Some(difference) => Ok(Some(difference)),
        None => ours.judge_scheduler(&theirs.results),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
