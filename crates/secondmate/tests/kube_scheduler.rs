//! Our command line, compared with that of the real kube-scheduler.

mod support;

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Program, require_programs_or_skip, skip};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn help(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).arg("--help").env("COLUMNS", "200").output()?;
    ensure!(output.status.success(), "{}: {output:?}", program.display());
    Ok(String::from_utf8(output.stdout)?)
}

/// The long names of the flags in a help text.
fn flags(help: &str) -> BTreeSet<String> {
    let flag = |line: &str| {
        let line = line.trim_start();
        let long = match line.strip_prefix('-')?.strip_prefix('-') {
            Some(long) => long,
            None => line.split_once(", --")?.1,
        };
        let end = long.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-');
        Some(long[..end.unwrap_or(long.len())].to_owned())
    };
    help.lines().filter_map(flag).collect()
}

#[test]
fn flags_and_feature_gates_are_those_of_the_real_kube_scheduler() -> Result<()> {
    let test = "flags_and_feature_gates_are_those_of_the_real_kube_scheduler";
    let Some(binaries) = require_programs_or_skip(test, &[Program::KubeScheduler]) else { return Ok(()) };
    let real = binaries.path(Program::KubeScheduler)?;
    let version = String::from_utf8(Command::new(real).arg("--version").output()?.stdout)?;
    let own =
        Command::new(env!("CARGO_BIN_EXE_secondmate")).args(["kube-scheduler", "--version"]).output()?;
    let minor = |text: &str| text.split('.').take(2).collect::<Vec<_>>().join(".");
    if minor(&version) != minor(&String::from_utf8(own.stdout)?) {
        skip(test, &format!("KUBEBUILDER_ASSETS has {}", version.trim()));
        return Ok(());
    }
    let theirs = help(real, &[])?;
    let ours = help(Path::new(env!("CARGO_BIN_EXE_secondmate")), &["kube-scheduler"])?;
    let (mut expected, found) = (flags(&theirs), flags(&ours));
    assert!(expected.len() > 60, "{expected:?}");
    // Ours is spelled out; `--v` is an alias of it, see the help of -v.
    assert!(expected.remove("v") && ours.contains("[alias: --v]"), "{ours}");
    expected.extend(["verbosity", "log-format"].map(str::to_owned));
    assert_eq!(found, expected);

    let table = include_str!("../src/kube_scheduler/feature-gates.txt");
    let of_table: BTreeSet<String> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (name, default, stage) = (words.next()?, words.next()?, words.next()?);
            let listed = matches!(stage, "alpha" | "beta");
            listed.then(|| format!("{name}=true|false ({} - default={default})", stage.to_uppercase()))
        })
        .collect();
    let gates = theirs.lines().filter_map(|line| line.trim_start().strip_prefix("kube:"));
    // Some have another default if a minimum version is given.
    let of_help: BTreeSet<String> =
        gates.map(|gate| gate.split(", or ").next().unwrap_or(gate).to_owned()).collect();
    assert_eq!(of_table, of_help);
    Ok(())
}

#[test]
fn the_configuration_is_written_as_a_file_that_starts_it_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("kube-scheduler");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_secondmate"), &program)?;
    let (first, second) = (folder.path().join("first.yaml"), folder.path().join("second.yaml"));
    let write = |arguments: &[&str], file: &Path| -> Result<String> {
        let to = format!("--write-config-to={}", file.display());
        let output = Command::new(&program).args(arguments).arg(to).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(std::fs::read_to_string(file)?)
    };
    let one = write(&["--kube-api-qps=77", "--leader-elect=false", "--profiling=false"], &first)?;
    for line in
        ["schedulerName: default-scheduler", "qps: 77", "leaderElect: false", "enableProfiling: false"]
    {
        assert!(one.contains(line), "{line}: {one}");
    }
    let config = format!("--config={}", first.display());
    assert_eq!(write(&[&config], &second)?, one);

    // With an extender's certificates and credentials, since without them a different server would be called, or none be verified.
    let given = folder.path().join("given.yaml");
    std::fs::write(
        &given,
        "apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
extenders:
- urlPrefix: https://me:secret@extender:8443
  filterVerb: filter
  enableHTTPS: true
  httpTimeout: 1m30s
  tlsConfig: {caData: QXV0aG9yaXR5}
",
    )?;
    let one = write(&[&format!("--config={}", given.display())], &first)?;
    for line in ["httpTimeout: 1m30s", "caData: QXV0aG9yaXR5", "urlPrefix: https://me:secret@extender:8443"] {
        assert!(one.contains(line), "{line}: {one}");
    }
    assert_eq!(write(&[&config], &second)?, one);
    Ok(())
}

#[test]
fn versions_and_mistakes_are_told() -> Result<()> {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secondmate"));
        command.arg("kube-scheduler").args(arguments);
        support::output(command)
    };
    let text = String::from_utf8(run(&["--version"])?.stdout)?;
    assert!(text.starts_with("Kubernetes v1."), "{text}");
    assert!(String::from_utf8(run(&["--version=raw"])?.stdout)?.starts_with("secondmate "));
    for (flag, why) in [
        ("--feature-gates=GenericWorkload=true", "would change what is decided"),
        ("--feature-gates=Nonsense=true", "there is no feature gate"),
        ("--logging-format=xml", "text and json"),
        ("--version=v1.2.3", "cannot be claimed"),
    ] {
        let output = run(&[flag])?;
        let error = String::from_utf8(output.stderr)?;
        assert!(!output.status.success() && error.contains(why), "{flag}: {error}");
    }
    let error = String::from_utf8(run(&["--leader-elct=true"])?.stderr)?;
    error.find("--leader-elect").with_context(|| error.clone())?;
    Ok(())
}
