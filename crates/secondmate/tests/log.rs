//! If standard error is closed, full or not read, log lines are lost, and nothing else.

mod support;

use anyhow::{Context, Result, ensure};
use secondmate_harness::Lines;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use support::{Killed, PATIENCE, until_ended};

const PODS: usize = 300;
/// Enough to fill a pipe and the queue of lines: some 5 KiB are logged about each.
const MANY_PODS: usize = 3000;

/// A playground that logs everything it can.
fn playground(pods: usize, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_secondmate"));
    command.args(["playground", "--nodes", "100", "-o", "json", "--pods", &pods.to_string()]).args(arguments);
    command.env("RUST_LOG", "trace").env_remove("RUST_BACKTRACE").stdout(Stdio::piped());
    command
}

/// It succeeds and has bound all pods.
fn assert_all_bound(child: Child) -> Result<()> {
    let mut child = Killed(child);
    let mut stdout = child.stdout.take().context("it is piped")?;
    let code = until_ended(&mut child)?;
    let mut summary = String::new();
    stdout.read_to_string(&mut summary)?;
    assert_eq!(code, Some(0), "{summary}");
    let summary: serde_json::Value = serde_json::from_str(&summary).context(summary)?;
    assert_eq!(summary["bound"], PODS, "{summary}");
    Ok(())
}

#[test]
fn standard_error_on_a_full_disk() -> Result<()> {
    let full = OpenOptions::new().write(true).open("/dev/full")?;
    assert_all_bound(playground(PODS, &[]).stderr(full).spawn()?)
}

#[test]
fn standard_error_whose_reader_has_gone() -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    assert_all_bound(playground(PODS, &[]).stderr(writer).spawn()?)
}

#[test]
fn standard_error_that_is_closed() -> Result<()> {
    let inner = playground(PODS, &[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" 2>&-"]).arg(inner.get_program()).args(inner.get_args());
    assert_all_bound(shell.env("RUST_LOG", "trace").stdout(Stdio::piped()).spawn()?)
}

/// The metrics at an address, once they contain this text.
fn scrape_until(address: &str, found: impl Fn(&str) -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        if found(&text) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "it never came:\n{text}");
    }
}

#[test]
fn standard_error_that_nobody_reads() -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    let address = support::free_address()?;
    let mut command = playground(MANY_PODS, &["--keep", "--listen", &address]);
    let mut child = Killed(command.stderr(writer).spawn()?);
    let stdout = child.stdout.take().context("it is piped")?;
    let first_line = Lines::of(stdout).until(PATIENCE, "anything", |_| true)?;
    let summary: serde_json::Value = serde_json::from_str(&first_line)?;
    assert_eq!(summary["bound"], MANY_PODS, "{summary}");
    scrape_until(&address, |text| {
        let dropped = "secondmate_log_lines_dropped_total{reason=\"full\"} ";
        text.lines().any(|line| line.strip_prefix(dropped).is_some_and(|count| count != "0"))
    })?;
    support::terminate(&child)?;
    until_ended(&mut child)?;
    drop(reader);
    Ok(())
}

/// The last message of the process is read, although much was still waiting when it exited.
#[test]
fn the_last_lines_arrive() -> Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_secondmate"));
    command
        .args(["run", "--scheduler-name", "x", "--kubeconfig", "/nowhere", "--listen", "127.0.0.1:0"])
        .env("RUST_LOG", "trace");
    let output = support::output(command)?;
    let text = String::from_utf8(output.stderr)?;
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: kubeconfig /nowhere: "), "{text}");
    Ok(())
}

/// Programs can read a JSON line even if the process fails before the log is set up.
#[test]
fn the_fatal_error_is_a_line_of_the_log_in_json() -> Result<()> {
    let run = ["run", "--log-format", "json", "--listen", "127.0.0.1:0"];
    let kube_scheduler = ["kube-scheduler", "--logging-format=json", "--secure-port=0"];
    let nowhere = "cannot read the configuration /nowhere.yaml: ";
    for (subcommand, arguments, filter, expected) in [
        (
            &run[..],
            &["--scheduler-name", "x", "--kubeconfig", "/nowhere"][..],
            "off",
            "kubeconfig /nowhere: ",
        ),
        (&run, &["--config", "/nowhere.yaml"], "", nowhere),
        (&kube_scheduler, &["--config", "/nowhere.yaml"], "", nowhere),
        (&run, &["--scheduler-name", "x"], "a=loud", "RUST_LOG=\"a=loud\" is not a log filter"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secondmate"));
        command.args(subcommand).args(arguments).env("RUST_LOG", filter);
        let output = support::output(command)?;
        let text = String::from_utf8(output.stderr)?;
        let lines: Vec<serde_json::Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>().context(text.clone())?;
        let last = lines.last().context("it says nothing")?;
        assert_eq!(last["level"], "ERROR", "{text}");
        assert!(last["message"].as_str().is_some_and(|message| message.starts_with(expected)), "{text}");
    }
    Ok(())
}
