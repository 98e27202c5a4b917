//! Kills every child when the process that started it dies, however it dies.
//!
//! A shell holds the read end of a pipe whose write end only this process has. It is told about each child; when the pipe
//! closes, this process is gone (returned, panicked or killed with SIGKILL), and the shell kills the children that are
//! left. It has its own process group, so that what ends the group of the tests does not end the shell first.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow};

pub(crate) const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=
while read -r verb pid; do
  case $verb in
    add) pids="$pids $pid" ;;
    remove)
      left=
      for p in $pids; do [ "$p" = "$pid" ] || left="$left $p"; done
      pids=$left ;;
  esac
done
[ -z "$pids" ] || kill -9 $pids
"#;

static WATCHDOG: OnceLock<std::result::Result<Mutex<ChildStdin>, String>> = OnceLock::new();

/// From now on the child `pid` dies with this process.
pub(crate) fn add(pid: u32) -> Result<()> {
    tell("add", pid)
}

/// The child `pid` has been waited for: its number may now belong to another process.
pub(crate) fn remove(pid: u32) -> Result<()> {
    tell("remove", pid)
}

fn tell(verb: &str, pid: u32) -> Result<()> {
    let watchdog = WATCHDOG
        .get_or_init(|| start().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("cannot start the watchdog of child processes: {error}"))?;
    let mut pipe = watchdog.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(pipe, "{verb} {pid}").context("the watchdog of child processes is gone")
}

fn start() -> Result<Mutex<ChildStdin>> {
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("sh")?;
    let pipe = shell.stdin.take().context("the pipe to sh")?;
    Ok(Mutex::new(pipe))
}
