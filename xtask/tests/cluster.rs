//! `cargo xtask cluster up` and `down`, as a user runs them.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result};
use secondmate_harness::{Program, require_or_skip, run};

const DEADLINE: Duration = Duration::from_secs(300);

fn xtask(arguments: &[&str], dir: &Path) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("cluster").args(arguments).arg("--dir").arg(dir);
    run(command, b"", DEADLINE)
}

/// Stops the cluster even if the test fails.
struct Down<'a>(&'a Path);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let _ = xtask(&["down"], self.0);
    }
}

#[test]
fn up_stays_and_prints_the_kubeconfig_and_down_ends_it() -> Result<()> {
    let Some(binaries) = require_or_skip("up_stays_and_prints_the_kubeconfig_and_down_ends_it") else {
        return Ok(());
    };
    let parent = tempfile::tempdir()?;
    let dir = parent.path().join("cluster");
    let _down = Down(&dir);
    let up = xtask(&["up", "--nodes", "2", "--no-default-scheduler"], &dir)?;
    let errors = String::from_utf8_lossy(&up.stderr);
    assert!(up.status.success(), "{errors}");
    let kubeconfig = String::from_utf8(up.stdout)?;
    assert_eq!(Path::new(kubeconfig.trim_end()), dir.canonicalize()?.join("admin.kubeconfig"));

    let get_nodes = || {
        let mut kubectl = Command::new(binaries.path(Program::Kubectl)?);
        kubectl
            .args(["get", "nodes", "-o", "name", "--kubeconfig", kubeconfig.trim_end()])
            .env("HOME", parent.path());
        run(kubectl, b"", DEADLINE)
    };
    assert_eq!(String::from_utf8(get_nodes()?.stdout)?, "node/node-0000\nnode/node-0001\n");
    assert!(!dir.join("logs/kube-scheduler.log").exists());

    let again = xtask(&["up"], &dir)?;
    assert!(!again.status.success());
    let errors = String::from_utf8(again.stderr)?;
    assert!(errors.contains("runs in") && errors.contains("cluster down"), "{errors}");

    let down = xtask(&["down"], &dir)?;
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    assert!(!dir.exists());
    assert!(xtask(&["down"], &dir)?.status.success());
    Ok(())
}

#[test]
fn a_release_that_is_not_pinned_is_refused_with_those_that_are() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let dir = parent.path().join("cluster");
    let up = xtask(&["up", "--kubernetes", "1.33.99"], &dir)?;
    assert!(!up.status.success());
    let errors = String::from_utf8(up.stderr)?;
    let newest = secondmate_harness::releases()?.pop().context("no release is pinned")?.version;
    assert!(errors.contains("1.33.99 is not pinned") && errors.contains(&newest), "{errors}");
    assert!(!dir.exists());
    Ok(())
}

#[test]
fn help_of_a_chore_and_a_mistake_in_its_options_build_nothing() -> Result<()> {
    let chore = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        // Makes it impossible to start a build.
        command.args(arguments).env("CARGO", "/nowhere/cargo");
        run(command, b"", DEADLINE)
    };
    let of_its_own: [(&[&str], _, _); 6] = [
        (&["bench"], "--latency-nodes", "--nodes"),
        (&["bench", "core"], "--growth-nodes", "--shapes"),
        (&["parity"], "--self-check", "--jobs"),
        (&["fuzz"], "--list", "--target"),
        (&["chaos"], "Scenes:", "--pods"),
        (&["simulate"], "--replay", "--years"),
    ];
    for (which, option, meant) in of_its_own {
        let help = chore(&[which, &["--help"]].concat())?;
        assert!(help.status.success(), "{}", String::from_utf8_lossy(&help.stderr));
        let help = String::from_utf8(help.stdout)?;
        let usage = format!("Usage: cargo xtask {}", which.join(" "));
        assert!(help.contains(option) && help.contains(&usage), "{help}");
        let mistake = chore(&[which, &[&meant[..meant.len() - 1]]].concat())?;
        assert!(!mistake.status.success());
        let errors = String::from_utf8(mistake.stderr)?;
        assert!(errors.contains(meant) && !errors.contains("nowhere"), "{errors}");
    }
    Ok(())
}

#[test]
fn a_folder_of_something_else_is_left_alone() -> Result<()> {
    let parent = tempfile::tempdir()?;
    std::fs::write(parent.path().join("letter"), "dear")?;
    let up = xtask(&["up"], parent.path())?;
    assert!(!up.status.success());
    let errors = String::from_utf8(up.stderr).context("text")?;
    assert!(errors.contains("is not empty and not of a cluster"), "{errors}");
    assert_eq!(std::fs::read_to_string(parent.path().join("letter"))?, "dear");
    Ok(())
}
