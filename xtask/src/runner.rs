//! Commands whose output is passed through as it arrives, and whose summary lines are kept for the end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};

/// Runs a command, its output passed through.
pub(crate) fn check(mut command: Command) -> Result<()> {
    let shown = shown(&command);
    eprintln!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs a test command, its output passed through line by line, and returns the summary line of each runner.
pub(crate) fn stream_tests(command: Command) -> Result<(ExitStatus, Vec<String>)> {
    let mut closing = ClosingLines::default();
    let status = stream(command, |line| closing.read(line))?;
    Ok((status, closing.lines))
}

/// Runs a command, its output passed through line by line and shown to `read` as well.
pub(crate) fn stream(mut command: Command, mut read: impl FnMut(&str)) -> Result<ExitStatus> {
    let shown = shown(&command);
    eprintln!("$ {shown}");
    // Both streams in one pipe: the line that names a runner is on one, and its result on the other.
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command.stdout(writer.try_clone().context("cannot share a pipe")?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    // The command still holds the writing ends: the pipe closes when the child ends and they are gone.
    drop(command);
    let mut out = std::io::stdout();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.with_context(|| format!("cannot read the output of `{shown}`"))?;
        let line = String::from_utf8_lossy(&line);
        writeln!(out, "{line}").context("cannot write to standard output")?;
        read(&line);
    }
    child.wait().with_context(|| format!("cannot wait for `{shown}`"))
}

fn shown(command: &Command) -> String {
    let mut words =
        vec![command.get_program().to_string_lossy().rsplit('/').next().unwrap_or_default().to_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Picks each runner's summary line from the output of `cargo test` or `go test`.
#[derive(Default)]
struct ClosingLines {
    /// The line that named the runner, until its summary line is seen.
    runner: Option<String>,
    lines: Vec<String>,
}

impl ClosingLines {
    fn read(&mut self, line: &str) {
        let text = line.trim_start();
        if text.starts_with("Running ") || text.starts_with("Doc-tests ") {
            self.runner = Some(line.to_owned());
        } else if text.starts_with("test result: ")
            || (text.starts_with("test ") && text.ends_with(" FAILED"))
            || text.starts_with("error: ")
            || ["ok ", "ok\t", "FAIL\t", "--- FAIL: "].iter().any(|closing| line.starts_with(closing))
        {
            self.lines.extend(self.runner.take());
            self.lines.push(line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runner_is_kept_with_what_it_closed_with() {
        let mut closing = ClosingLines::default();
        let output = "   Compiling a v0.1.0\n     Running unittests src/lib.rs (a)\n\nrunning 2 tests\ntest x ... ok\n\
                      test y ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed\n\nerror: 1 target failed:\n\
                      \x20  Doc-tests a\n\ntest result: ok. 0 passed\n";
        output.lines().for_each(|line| closing.read(line));
        let expected = [
            "     Running unittests src/lib.rs (a)",
            "test y ... FAILED",
            "test result: FAILED. 1 passed; 1 failed",
            "error: 1 target failed:",
            "   Doc-tests a",
            "test result: ok. 0 passed",
        ];
        assert_eq!(closing.lines, expected);
    }

    #[test]
    fn both_streams_are_read_to_the_end_and_the_status_is_kept() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo '   Running r' >&2; echo 'test result: ok. 1 passed'; exit 4"]);
        let (status, lines) = stream_tests(shell).unwrap();
        assert_eq!(status.code(), Some(4));
        assert_eq!(lines, ["   Running r", "test result: ok. 1 passed"]);
    }
}
