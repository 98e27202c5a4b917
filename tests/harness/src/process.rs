//! A child process: started with its output in a file, measured, signalled and stopped.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::watchdog;

/// Linux reports processor time in hundredths of a second to user space, whatever the kernel's own tick
/// (`USER_HZ`, fixed by the ABI).
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used since it started.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// CPU time in user and kernel mode, in seconds, with a precision of a hundredth.
    pub cpu_seconds: f64,
    /// Its maximum resident memory, in bytes.
    pub peak_memory_bytes: u64,
}

/// A child process that dies with this one: on drop, and by the watchdog when this process is killed.
///
/// It runs in its own process group, so that Ctrl-C in a terminal reaches it only through us.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`, with standard output and error appended to the file `log`.
    ///
    /// # Errors
    ///
    /// When the log cannot be opened or the program cannot be started.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open the log {} of {name}", log.display()))?;
        let errors = output.try_clone().context("cannot share the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        let process = Self { name: name.to_owned(), child, log: log.to_owned(), ended: None };
        // On an error `process` is dropped, which kills the child.
        watchdog::add(process.id())?;
        Ok(process)
    }

    /// The name under which it was started.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that holds its output.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Its output so far: standard output and error, in the order written.
    ///
    /// # Errors
    ///
    /// When the log file cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log)
            .with_context(|| format!("cannot read the log {} of {}", self.log.display(), self.name))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The exit status, if it has exited.
    ///
    /// # Errors
    ///
    /// When the system cannot report on the child.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none()
            && let Some(status) =
                self.child.try_wait().with_context(|| format!("cannot ask for the state of {}", self.name))?
        {
            self.ended = Some(status);
            watchdog::remove(self.child.id())?;
        }
        Ok(self.ended)
    }

    /// Whether it is still running.
    ///
    /// # Errors
    ///
    /// When the system cannot report on the child.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.try_wait()?.is_none())
    }

    /// Waits until it exits by itself.
    ///
    /// # Errors
    ///
    /// When it is still running after `deadline`; it is left running.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        let mut pause = Pause::default();
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() >= deadline {
                bail!("{} (pid {}) still runs after {deadline:?}", self.name, self.id());
            }
            pause.rest();
        }
    }

    /// Sends a signal, given by name (`TERM`, `INT`, `STOP`, `CONT`, …).
    ///
    /// # Errors
    ///
    /// When it has already exited, or `kill` fails.
    pub fn signal(&mut self, signal: &str) -> Result<()> {
        if let Some(status) = self.try_wait()? {
            bail!("cannot send {signal} to {}: it has ended with {status}", self.name);
        }
        let pid = self.id().to_string();
        let status = Command::new("sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "sh", signal, &pid])
            .status()
            .context("cannot start sh")?;
        if !status.success() {
            bail!("cannot send {signal} to {} (pid {pid})", self.name);
        }
        Ok(())
    }

    /// Kills it with SIGKILL and waits until it is gone. If it has already exited, does only the latter.
    ///
    /// # Errors
    ///
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.ended = Some(self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?);
        watchdog::remove(self.child.id())
    }

    /// Stops it with SIGTERM and returns how it exited.
    ///
    /// # Errors
    ///
    /// When it is still running after `deadline`; it has then been killed.
    pub fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        self.signal("TERM")?;
        match self.wait(deadline) {
            Ok(status) => Ok(status),
            Err(error) => {
                self.kill()?;
                Err(error.context(format!("{} did not end on SIGTERM and was killed", self.name)))
            }
        }
    }

    /// What it has used so far. Call this before it exits: the system forgets the memory of an exited process.
    ///
    /// # Errors
    ///
    /// When it has exited, or the system has no `/proc`.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.id()).with_context(|| format!("cannot measure {}", self.name))
    }

    /// The last `lines` of its output, for a message.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        match self.log() {
            Ok(log) => last_lines(&log, lines),
            Err(error) => format!("({error:#})"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // There is nobody left to report to; the watchdog still has the child if this fails.
        let _ = self.kill();
    }
}

impl Usage {
    /// The usage of the process `pid`, from `/proc`.
    ///
    /// # Errors
    ///
    /// When there is no such process, or no `/proc`.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        Self::parse(&stat, &status).ok_or_else(|| anyhow!("/proc/{pid} has no usage: the process has ended"))
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The second field is the name in parentheses, and may itself contain spaces and parentheses. Counting from the third
        // field (index 0 here), utime is field 14 and stime field 15 of proc(5).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(Self { cpu_seconds: ticks as f64 / TICKS_PER_SECOND, peak_memory_bytes: kibibytes * 1024 })
    }
}

/// Runs a command to completion, with `input` on its standard input, and returns its output.
///
/// # Errors
///
/// When it cannot be started, or is still running after `deadline` (it has then been killed). A nonzero status is
/// not an error here.
pub fn run(mut command: Command, input: &[u8], deadline: Duration) -> Result<Output> {
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let stdout = child.stdout.take().context("no standard output")?;
    let stderr = child.stderr.take().context("no standard error")?;
    std::thread::scope(|scope| {
        // A command that does not read its input may close the pipe.
        scope.spawn(move || drop(stdin.write_all(input)));
        let stdout = scope.spawn(move || read_to_end(stdout));
        let stderr = scope.spawn(move || read_to_end(stderr));
        let start = Instant::now();
        let mut pause = Pause::default();
        let status = loop {
            if let Some(status) = child.try_wait().with_context(|| format!("cannot wait for {program}"))? {
                break status;
            }
            if start.elapsed() >= deadline {
                child.kill().with_context(|| format!("cannot kill {program}"))?;
                child.wait().with_context(|| format!("cannot wait for {program}"))?;
                bail!("{program} still ran after {deadline:?} and was killed");
            }
            pause.rest();
        };
        let stdout = stdout.join().map_err(|_| anyhow!("reading the output of {program} panicked"))?;
        let stderr = stderr.join().map_err(|_| anyhow!("reading the errors of {program} panicked"))?;
        Ok(Output { status, stdout, stderr })
    })
}

fn read_to_end(mut pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before an error, for example from the pipe of a killed child, is worth more than the error.
    let _ = pipe.read_to_end(&mut bytes);
    bytes
}

/// The last `lines` lines of a text.
pub(crate) fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Increasing pauses between two checks of a child, up to a tenth of a second.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(2))
    }
}

impl Pause {
    fn rest(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_of_both_kinds_lands_in_the_log_and_the_status_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Process::spawn("speaker", shell("echo out; echo err >&2; exit 3"), &log).unwrap();
        assert_eq!(process.wait(Duration::from_secs(60)).unwrap().code(), Some(3));
        assert_eq!(process.log().unwrap(), "out\nerr\n");
        assert!(process.signal("TERM").unwrap_err().to_string().contains("it has ended"));
    }

    #[test]
    fn terminate_asks_first_and_kills_what_does_not_listen() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut polite = Process::spawn(
            "polite",
            shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done"),
            &log,
        )
        .unwrap();
        crate::wait_until(Duration::from_secs(60), "the trap", || {
            Ok((!polite.log()?.is_empty()).then_some(()))
        })
        .unwrap();
        assert_eq!(polite.terminate(Duration::from_secs(60)).unwrap().code(), Some(7));

        let log = dir.path().join("deaf");
        let mut deaf =
            Process::spawn("deaf", shell("trap '' TERM; echo up; while :; do sleep 0.01; done"), &log)
                .unwrap();
        crate::wait_until(
            Duration::from_secs(60),
            "the trap",
            || Ok((!deaf.log()?.is_empty()).then_some(())),
        )
        .unwrap();
        assert!(deaf.usage().unwrap().peak_memory_bytes > 0);
        deaf.terminate(Duration::from_millis(50)).unwrap_err();
        assert!(!deaf.is_running().unwrap());
        deaf.usage().unwrap_err();
    }

    #[test]
    fn children_of_a_killed_process_are_killed() {
        // Stands in for a killed test process: the watchdog's own script on a pipe that closes.
        let dir = tempfile::tempdir().unwrap();
        let mut child = Process::spawn("orphan", shell("exec sleep 600"), &dir.path().join("log")).unwrap();
        let pid = child.id();
        run(
            shell(crate::watchdog::SCRIPT),
            format!("add 1{pid}\nremove 1{pid}\nadd {pid}\n").as_bytes(),
            Duration::from_secs(60),
        )
        .unwrap();
        let status = child.wait(Duration::from_secs(60)).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn run_passes_input_and_stops_at_the_deadline() {
        let output = run(shell("cat; echo no >&2; exit 2"), b"text", Duration::from_secs(60)).unwrap();
        assert_eq!(
            (output.stdout, output.stderr, output.status.code()),
            (b"text".to_vec(), b"no\n".to_vec(), Some(2))
        );
        run(shell("exec sleep 600"), b"", Duration::from_millis(20)).unwrap_err();
    }

    #[test]
    fn usage_is_read_behind_a_name_with_blanks_and_parentheses() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 0 0 0 150 25 0 0 20 0 1 0 100 1 2";
        let status = "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n";
        let usage = Usage::parse(stat, status).unwrap();
        assert_eq!(usage, Usage { cpu_seconds: 1.75, peak_memory_bytes: 2 << 20 });
        assert_eq!(Usage::parse(stat, "Name:\ta\n"), None);
    }
}
