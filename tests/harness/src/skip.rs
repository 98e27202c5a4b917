//! Tests that need the real control plane on a machine that cannot have it: they are skipped visibly, but never in CI.

use std::io::Write;
use std::path::Path;

use crate::binaries::{Binaries, BinariesError, Program, Unavailable, binaries};
use crate::oracle::{chart_renderer, parity_oracle, promtool};

/// Names a file to which each skip is appended as a line `NAME: REASON`; `cargo xtask test` lists them at the end.
pub const SKIP_REPORT_VARIABLE: &str = "SECONDMATE_SKIP_REPORT";

/// Names a file to which a test appends a line for each kind or field that it found missing in the API server; `cargo xtask
/// compatibility` shows them.
pub const LACKS_VARIABLE: &str = "SECONDMATE_LACKS_REPORT";

/// The programs of the control plane, or `None` after the skip has been reported.
///
/// # Panics
///
/// In CI, where a skip is a failure, and when the programs could have been built but were not.
#[must_use]
pub fn require_or_skip(test: &str) -> Option<&'static Binaries> {
    require_programs_or_skip(test, &Program::ALL)
}

/// Like [`require_or_skip`], for a test that starts only some of the programs.
///
/// # Panics
///
/// As [`require_or_skip`].
#[must_use]
pub fn require_programs_or_skip(test: &str, programs: &[Program]) -> Option<&'static Binaries> {
    let found = binaries().and_then(|binaries| {
        programs.iter().try_for_each(|program| binaries.path(*program).map(drop))?;
        Ok(binaries)
    });
    match found {
        Ok(binaries) => Some(binaries),
        Err(BinariesError::Unavailable(unavailable)) => {
            assert!(!in_ci(), "{test} must not be skipped in CI: {unavailable}");
            report(test, &unavailable);
            None
        }
        Err(BinariesError::Failed(reason)) => panic!("{test}: {reason}"),
    }
}

/// The parity oracle, or `None` after the skip has been reported.
///
/// # Panics
///
/// As [`require_or_skip`].
#[must_use]
pub fn require_oracle_or_skip(test: &str) -> Option<&'static Path> {
    or_skip(test, parity_oracle())
}

/// The renderer of Helm charts, or `None` after the skip has been reported.
///
/// # Panics
///
/// As [`require_or_skip`].
#[must_use]
pub fn require_chart_renderer_or_skip(test: &str) -> Option<&'static Path> {
    or_skip(test, chart_renderer())
}

/// Promtool, or `None` after the skip has been reported.
///
/// # Panics
///
/// As [`require_or_skip`].
#[must_use]
pub fn require_promtool_or_skip(test: &str) -> Option<&'static Path> {
    or_skip(test, promtool())
}

fn or_skip(test: &str, program: Result<&'static Path, BinariesError>) -> Option<&'static Path> {
    match program {
        Ok(program) => Some(program),
        Err(BinariesError::Unavailable(unavailable)) => {
            skip_unless_ci(test, &unavailable.reason);
            None
        }
        Err(BinariesError::Failed(reason)) => panic!("{test}: {reason}"),
    }
}

/// Reports that a test is skipped because this machine lacks something that every CI machine has.
///
/// # Panics
///
/// In CI.
pub fn skip_unless_ci(test: &str, reason: &str) {
    assert!(!in_ci(), "{test} must not be skipped in CI: {reason}");
    skip(test, reason);
}

/// Reports that a test is skipped, also in CI: for things that are not part of this project.
pub fn skip(test: &str, reason: &str) {
    report(test, &Unavailable { reason: reason.to_owned() });
}

/// Whether this run is CI's: `CI` is set to something other than `false`, `0` or nothing.
#[must_use]
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

fn report(test: &str, unavailable: &Unavailable) {
    // Written directly to the stream: the test runner hides what a passing test prints with `eprintln!`.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {unavailable}");
    if let Some(path) = std::env::var_os(SKIP_REPORT_VARIABLE)
        && let Ok(mut file) = std::fs::File::options().create(true).append(true).open(path)
    {
        let _ = writeln!(file, "{test}: {unavailable}");
    }
}
