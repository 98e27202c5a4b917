//! The oracle as a child process.

use crate::case::{Answer, Case};
use anyhow::{Context, Result, bail};
use secondmate_harness::{BinariesError, parity_oracle};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Cases that may be on their way to the oracle or back. The oracle reads 16 ahead.
pub const IN_FLIGHT_MAX: usize = 16;
/// A case takes milliseconds; one of 5,000 nodes under `-bench` some seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);

/// A running oracle.
pub struct Oracle {
    child: Child,
    cases: Option<SyncSender<String>>,
    answers: Receiver<String>,
}

impl Oracle {
    /// Builds the oracle where it is not in the cache, and starts it with these flags.
    ///
    /// # Errors
    /// There is no Go to build it with, or the build failed.
    pub fn start(flags: &[&str]) -> Result<Self> {
        let program = match parity_oracle() {
            Ok(program) => program,
            Err(BinariesError::Unavailable(unavailable)) => bail!("{unavailable}"),
            Err(BinariesError::Failed(reason)) => bail!("the parity oracle cannot be built: {reason}"),
        };
        let mut child = Command::new(program)
            .args(flags)
            // Its garbage is short-lived and its memory small: collecting it less often makes it a third faster.
            .env("GOGC", "400")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut stdin = BufWriter::new(child.stdin.take().context("the oracle has no standard input")?);
        let stdout = BufReader::new(child.stdout.take().context("the oracle has no standard output")?);
        // Each direction has a thread: a full pipe in one must not stop the other.
        let (cases, to_write) = sync_channel::<String>(IN_FLIGHT_MAX);
        std::thread::spawn(move || {
            for line in to_write {
                if stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n")).is_err() {
                    return;
                }
                if stdin.flush().is_err() {
                    return;
                }
            }
        });
        let (read, answers) = sync_channel::<String>(IN_FLIGHT_MAX);
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let Ok(line) = line else { return };
                if read.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, cases: Some(cases), answers })
    }

    /// Hands a case over; at most [`IN_FLIGHT_MAX`] before their answers are received.
    ///
    /// # Errors
    /// The oracle has ended.
    pub fn send(&mut self, case: &Case) -> Result<()> {
        let line = serde_json::to_string(case).context("a case as JSON")?;
        let sender = self.cases.as_ref().context("the oracle takes no more cases")?;
        sender.send(line).context("the oracle has ended")
    }

    /// The answer to the oldest case without one.
    ///
    /// # Errors
    /// The oracle has ended, or does not answer.
    pub fn receive(&mut self) -> Result<Answer> {
        let line = match self.answers.recv_timeout(ANSWER_WITHIN) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!("the oracle has not answered for {ANSWER_WITHIN:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the oracle has ended"),
        };
        serde_json::from_str(&line).context("the oracle's answer")
    }

    /// One case, one answer.
    ///
    /// # Errors
    /// As [`Self::send`] and [`Self::receive`].
    pub fn ask(&mut self, case: &Case) -> Result<Answer> {
        self.send(case)?;
        self.receive()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.cases = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
