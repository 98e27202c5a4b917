//! The command line as a user meets it: help, version, completion, the log's options.

use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_secondmate"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("NO_COLOR").env_remove("KUBECONFIG");
    command.env_remove("KUBERNETES_SERVICE_HOST").env("HOME", "/nonexistent");
    Ok(command.envs(variables.iter().copied()).output()?)
}

fn stdout(arguments: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    let output = run(arguments, variables)?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

const COMMANDS: [&str; 13] = [
    "run",
    "kube-scheduler",
    "playground",
    "explain",
    "dump",
    "doctor",
    "guard",
    "config",
    "tenants",
    "new-plugin",
    "version",
    "completion",
    "man",
];

/// The words of each command, including subcommands.
fn all_commands() -> Result<Vec<Vec<String>>> {
    let mut found: Vec<Vec<String>> = COMMANDS.iter().map(|command| vec![(*command).to_owned()]).collect();
    let mut next = 0;
    while let Some(command) = found.get(next).cloned() {
        next += 1;
        let help = help(&command, "-h")?;
        let Some((_, list)) = help.split_once("\nCommands:\n") else { continue };
        for line in list.lines().take_while(|line| !line.is_empty()) {
            // The description of a command continues in lines that are indented further.
            let name = line.strip_prefix("  ").and_then(|line| line.split(' ').next()).unwrap_or_default();
            if !name.is_empty() && name != "help" {
                found.push(command.iter().cloned().chain([name.to_owned()]).collect());
            }
        }
    }
    Ok(found)
}

/// The help on a terminal of 80 columns.
fn help(command: &[String], flag: &str) -> Result<String> {
    let arguments: Vec<&str> = command.iter().map(String::as_str).chain([flag]).collect();
    stdout(&arguments, &[("COLUMNS", "80")])
}

/// The options that all commands share come after the command's own.
#[test]
fn options_of_the_log_come_after_the_commands_own() -> Result<()> {
    for command in ["run", "explain", "doctor", "playground"] {
        let help = help(&[command.to_owned()], "-h")?;
        let at = |option: &str| help.find(option).with_context(|| format!("{command}: {option}:\n{help}"));
        ensure!(at(" --log-format ")? > at(" --config ")?, "{command}:\n{help}");
        ensure!(
            at(" --verbosity ")? > at(" --log-format ")? && at(" --help")? > at(" --verbosity ")?,
            "{command}:\n{help}"
        );
    }
    Ok(())
}

/// A reason comes before its remedy, and nothing is repeated.
#[test]
fn what_is_not_there_is_told_in_one_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let here = folder.path().to_str().context("a path")?;
    let nowhere = format!("{here}/nowhere");
    let gone = "No such file or directory (os error 2)";
    let cases: [(&[&str], String); 6] = [
        (&["doctor", "--kubeconfig", &nowhere], format!("kubeconfig {nowhere}: {gone}; correct it, or give another by --kubeconfig")),
        (
            &["doctor"],
            format!("no cluster: /nonexistent/.kube/config: {gone}; and this is no pod (KUBERNETES_SERVICE_HOST is not set); give --kubeconfig FILE, set KUBECONFIG, or run in a pod with a service account"),
        ),
        (&["run", "--config", &nowhere], format!("cannot read the configuration {nowhere}: {gone}; give a readable file by --config")),
        (&["tenants", "render", "-f", &nowhere, "--dir", here], format!("cannot read {nowhere}: {gone}; give a readable file by --filename")),
        (&["run", "--scheduler-name", ""], "--scheduler-name: a name must not be empty".to_owned()),
        (
            &["man", "conf"],
            "no command is called \"conf\": use one of run, kube-scheduler, playground, guard, explain, dump, doctor, config, config check, config defaults, tenants, tenants render, new-plugin, version, completion, man".to_owned(),
        ),
    ];
    for (arguments, expected) in cases {
        let output = run(arguments, &[])?;
        let text = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(1), "{arguments:?}: {text}");
        ensure!(text == format!("error: {expected}\n"), "{arguments:?}: {text}");
    }
    Ok(())
}

#[test]
fn commands_of_commands_are_found() -> Result<()> {
    let nested: Vec<String> =
        all_commands()?.iter().filter(|command| command.len() > 1).map(|command| command.join(" ")).collect();
    assert_eq!(nested, ["config check", "config defaults", "tenants render"]);
    Ok(())
}

#[test]
fn every_help_has_examples_and_fits_the_terminal() -> Result<()> {
    for flag in ["-h", "--help"] {
        for command in all_commands()?.into_iter().chain([Vec::new()]) {
            let text = help(&command, flag)?;
            assert!(text.contains("\nExamples:\n"), "{command:?}:\n{text}");
            // The usage line is not wrapped.
            let long: Vec<&str> = text
                .lines()
                .filter(|line| line.chars().count() > 80 && !line.starts_with("Usage:"))
                .collect();
            assert!(long.is_empty(), "{command:?}: {long:#?}");
        }
    }
    Ok(())
}

/// As shown on a terminal of 80 columns: a wrapped example would no longer be a valid command.
#[test]
fn examples_are_understood() -> Result<()> {
    for command in all_commands()? {
        let help = help(&command, "--help")?;
        let (_, examples) = help.split_once("\nExamples:\n").context("examples")?;
        let lines: Vec<&str> = examples.lines().take_while(|line| line.starts_with("  ")).collect();
        let joined = lines.join("\n").replace("\\\n", " ");
        let of_this = format!("secondmate {}", command.join(" "));
        assert!(joined.contains(&of_this), "{command:?}: {help}");
        for line in joined.lines() {
            let programs = ["secondmate", "kubectl", "helm", "source", "ln"];
            let program = line.split_whitespace().next().unwrap_or_default();
            assert!(programs.contains(&program), "{command:?}: {line:?} is no command: shorten it");
            let Some((_, call)) = line.split_once("secondmate ") else { continue };
            let words = call.split(['>', '|', '&', ')', '#']).next().unwrap_or_default().split_whitespace();
            let arguments: Vec<&str> = words.chain(["--help"]).collect();
            stdout(&arguments, &[])?;
        }
    }
    Ok(())
}

#[test]
fn verbosity_is_offered_where_there_is_a_log() -> Result<()> {
    for command in all_commands()? {
        let logs = !["config", "tenants", "new-plugin", "version", "completion", "man"]
            .contains(&command[0].as_str());
        assert_eq!(help(&command, "--help")?.contains("--verbosity"), logs, "{command:?}");
    }
    let refused = run(&["version", "-v", "4"], &[])?;
    let why = String::from_utf8(refused.stderr)?;
    assert!(!refused.status.success() && why.contains("this command writes no log"), "{why}");
    assert!(!run(&["config", "defaults", "-v", "4"], &[])?.status.success());
    Ok(())
}

/// Former spellings, and different names for the same thing in two commands.
#[test]
fn other_spellings_are_understood() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tenants/config.yaml");
    for options in [["-f", "--dir"], ["--file", "--output"], ["--filename", "-o"]] {
        let overlay = folder.path().join(options[1]);
        let overlay = overlay.to_str().context("a path")?;
        stdout(&["tenants", "render", options[0], config, options[1], overlay], &[])?;
    }
    let checked = stdout(&["config", "check", config], &[])?;
    for option in ["-f", "--filename"] {
        assert_eq!(stdout(&["config", "check", option, config], &[])?, checked);
    }
    for arguments in [&["config", "check"][..], &["config", "check", config, "-f", config]] {
        assert!(!run(arguments, &[])?.status.success(), "{arguments:?}");
    }
    for prefix in ["--", "--guard-"] {
        let options = [format!("{prefix}tls-cert-file=c"), format!("{prefix}tls-private-key-file=k")];
        for command in ["guard", "run"] {
            stdout(&[command, &options[0], &options[1], "--help"], &[])?;
            let alone = run(&[command, &options[0]], &[])?;
            let why = String::from_utf8(alone.stderr)?;
            assert!(why.contains("--guard-tls-private-key-file"), "{command}: {why}");
        }
    }
    Ok(())
}

#[test]
fn the_version_names_the_kubernetes_that_is_followed() -> Result<()> {
    let module = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/go.mod"))?;
    let version: serde_json::Value = serde_json::from_str(&stdout(&["version", "-o", "json"], &[])?)?;
    let kubernetes = version["kubernetes"].as_str().context("a version")?;
    assert!(module.contains(&format!("k8s.io/kubernetes v{kubernetes}.")), "{kubernetes} is not the judge's");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(version["commit"].is_string() && version["build"]["target"].is_string(), "{version}");
    assert_eq!(version["build"]["guests"], cfg!(feature = "guests"), "{version}");
    let text = stdout(&["version"], &[])?;
    assert!(text.starts_with(&format!("secondmate {}\n", env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(text.ends_with(&format!("Kubernetes: {kubernetes}\n")), "{text}");
    Ok(())
}

#[test]
fn completion_scripts_know_the_commands() -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&["completion", shell], &[])?;
        for word in COMMANDS.iter().chain(&["debug-listen", "scheduler-name"]) {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let script = stdout(&["completion", "bash"], &[])?;
    let mut bash = Command::new("bash").arg("-s").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = bash.stdin.take().context("it is piped")?;
    let ask = "\nCOMP_WORDS=(secondmate play); COMP_CWORD=1; _secondmate secondmate play secondmate; echo \"${COMPREPLY[@]}\"\n";
    stdin.write_all(format!("{script}{ask}").as_bytes())?;
    drop(stdin);
    let answer = String::from_utf8(bash.wait_with_output()?.stdout)?;
    assert_eq!(answer, "playground\n");
    Ok(())
}

#[test]
fn the_manual_has_a_page_for_each_command() -> Result<()> {
    let page = stdout(&["man"], &[])?;
    for word in COMMANDS {
        assert!(page.contains(&word.replace('-', "\\-")), "{word}: {page}");
    }
    let page = stdout(&["man", "explain"], &[])?;
    assert!(page.contains("secondmate\\-explain") && page.contains("\\-\\-filename"), "{page}");
    assert!(page.contains("secondmate dump > cluster.json"), "the examples are missing: {page}");
    let refused = run(&["man", "fly"], &[])?;
    let why = String::from_utf8(refused.stderr)?;
    assert!(!refused.status.success() && why.contains("fly") && why.contains("explain"), "{why}");
    let folder = tempfile::tempdir()?;
    let pages = folder.path().join("man1");
    stdout(&["man", "--dir", pages.to_str().context("a path")?], &[])?;
    let names: Vec<String> = std::iter::once("secondmate".to_owned())
        .chain(all_commands()?.iter().map(|command| format!("secondmate-{}", command.join("-"))))
        .collect();
    for name in &names {
        let text = std::fs::read_to_string(pages.join(format!("{name}.1")))?;
        assert!(text.contains(".SH SYNOPSIS") && text.contains(".SH EXAMPLES\n.nf\n"), "{name}: {text}");
        assert!(!text.contains(".SH EXTRA"), "{name}: {text}");
        // Every page that is referred to is written.
        let plain = text.replace("\\-", "-");
        for page in plain.split("(1)").collect::<Vec<_>>().split_last().map_or(&[][..], |(_, pages)| pages) {
            let page = page.rsplit(char::is_whitespace).next().unwrap_or_default();
            assert!(
                names.iter().any(|name| name == page),
                "{name} refers to {page}(1), which is not written"
            );
        }
    }
    assert_eq!(std::fs::read_dir(&pages)?.count(), names.len());
    for arguments in [&["man", "config", "check"][..], &["man", "config check"], &["man", "config-check"]] {
        assert!(stdout(arguments, &[])?.contains(".TH secondmate-config-check 1"), "{arguments:?}");
    }
    Ok(())
}

/// A file of objects is `-f` wherever one is accepted.
#[test]
fn files_are_named_alike_everywhere() -> Result<()> {
    for command in ["explain", "playground"] {
        let help = stdout(&[command, "--help"], &[])?;
        assert!(help.contains("-f, --filename <FILE>"), "{command}: {help}");
    }
    for option in ["-f", "--filename", "--from"] {
        let output = run(&["explain", option, "/nonexistent"], &[])?;
        let why = String::from_utf8(output.stderr)?;
        assert!(why.contains("cannot read /nonexistent"), "{option}: {why}");
    }
    Ok(())
}

/// `-v` as in kube-scheduler, in all spellings; libraries do not log.
#[test]
fn verbosity() -> Result<()> {
    let logged = |arguments: &[&str], variables: &[(&str, &str)]| -> Result<Vec<(String, String)>> {
        let few = ["playground", "--nodes", "2", "--pods", "3", "--log-format", "json"];
        let output = run(&[&few[..], arguments].concat(), variables)?;
        ensure!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stderr)?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Ok(lines.map(|line| (word(&line["level"]), word(&line["target"]))).collect())
    };
    let has = |lines: &[(String, String)], level: &str| lines.iter().any(|(found, _)| found == level);
    assert!(logged(&[], &[])?.is_empty(), "the progress is what is to be seen");
    let info = logged(&["-v", "0"], &[])?;
    assert!(has(&info, "INFO") && !has(&info, "DEBUG"), "{info:?}");
    let debug = logged(&["-v=4"], &[])?;
    assert!(has(&debug, "DEBUG") && !has(&debug, "TRACE"), "{debug:?}");
    let trace = logged(&["--v=6"], &[])?;
    assert!(has(&trace, "TRACE"), "{trace:?}");
    assert!(trace.iter().all(|(_, target)| target.starts_with("secondmate")), "{trace:?}");
    let asked = logged(&[], &[("RUST_LOG", "hyper_util=trace")])?;
    assert!(asked.iter().any(|(_, target)| target.starts_with("hyper")), "{asked:?}");
    assert!(!run(&["run", "-v", "11"], &[])?.status.success());
    Ok(())
}

#[test]
fn no_colours_where_no_terminal_is() -> Result<()> {
    let output = run(&["playground", "--nodes", "1", "--pods", "1", "-v", "4"], &[])?;
    assert!(!output.stderr.is_empty() && !output.stderr.contains(&0x1b));
    Ok(())
}
