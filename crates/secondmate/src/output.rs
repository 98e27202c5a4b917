//! The output of a command.

use anyhow::Context;
use std::io::Write;
use std::process::ExitCode;

/// Writes a command's output to standard output.
///
/// # Errors
/// It cannot be written.
pub(crate) fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text).and_then(|()| stdout.flush()).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}
