//! Processes of the program under test.
#![allow(dead_code, reason = "each test file uses its part")]

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::net::TcpListener;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

/// Longer than anything takes, so that only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);

/// A process that ends with the test, if not earlier.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl std::ops::Deref for Killed {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Killed {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

/// The exit code of a process; an error if it never exits.
pub fn until_ended(child: &mut Child) -> Result<Option<i32>> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        ensure!(Instant::now() < end, "it never ended");
        std::thread::sleep(POLL);
    }
}

pub fn terminate(child: &Child) -> Result<()> {
    Ok(kill_process(Pid::from_child(child), Signal::TERM)?)
}

/// Does what Ctrl-C in a terminal does.
pub fn interrupt(child: &Child) -> Result<()> {
    Ok(kill_process(Pid::from_child(child), Signal::INT)?)
}

/// The output of a program that exits by itself; an error if it stays up.
pub fn output(command: Command) -> Result<Output> {
    secondmate_harness::run(command, b"", PATIENCE)
}

/// An address on loopback on which nobody is listening.
pub fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Waits until this is true.
pub async fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
