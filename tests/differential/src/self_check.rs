//! The judge is judged: what the oracle says, against whole cycles of the real scheduler, on the same random cases.

use crate::generate;
use crate::oracle::{IN_FLIGHT_MAX, Oracle};
use anyhow::Result;

/// What the check came to.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Pods that were compared.
    pub pods: u64,
    /// What the oracle says and the real scheduler does not, each with the number of its case.
    pub contradictions: Vec<String>,
}

/// Checks the oracle on cases `first` to `first + cases` of a seed.
///
/// # Errors
/// The oracle cannot be started, or has ended.
pub fn run(seed: u64, first: u64, cases: u64) -> Result<Checked> {
    let mut oracle = Oracle::start(&["-workers", "2", "-self-check"])?;
    let mut checked = Checked::default();
    let (mut sent, mut received) = (first, first);
    while received < first + cases {
        while sent < first + cases && sent - received < IN_FLIGHT_MAX as u64 {
            oracle.send(&generate::case(seed, sent))?;
            sent += 1;
        }
        let answer = oracle.receive()?;
        checked.pods += answer.checked;
        let said = answer.self_check.iter();
        checked.contradictions.extend(said.map(|text| format!("case {seed}-{received}: {text}")));
        received += 1;
    }
    Ok(checked)
}
