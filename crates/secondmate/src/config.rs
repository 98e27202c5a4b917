//! `secondmate config`: checks a configuration, and prints the default one.

use crate::output::print;
use crate::{App, profiles};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use secondmate_config::{Configuration, OWN_API_VERSION, OWN_KIND};
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

macro_rules! check_examples {
    () => {
        "\
Examples:
  secondmate config check scheduler.yaml
  helm template my-chart -s templates/configmap.yaml \\
    | yq -r '.data.\"config.yaml\"' | secondmate config check -"
    };
}

pub(crate) const EXAMPLES: &str =
    concat!(check_examples!(), "\n  secondmate config defaults > scheduler.yaml");

const DEFAULTS_EXAMPLES: &str = "\
Examples:
  secondmate config defaults > scheduler.yaml
  secondmate config defaults --scheduler-name red --scheduler-name blue";

/// Options of `config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a KubeSchedulerConfiguration file, and report every mistake with its line and its remedy. Nothing is started.
    #[command(after_help = check_examples!())]
    Check {
        /// KubeSchedulerConfiguration file (kubescheduler.config.k8s.io/v1); - for standard input.
        #[arg(value_name = "FILE", required_unless_present = "filename", conflicts_with = "filename")]
        file: Option<PathBuf>,
        /// Same as FILE.
        #[arg(short, long, value_name = "FILE")]
        filename: Option<PathBuf>,
    },
    /// Print the configuration that a scheduler with these names has without a file: every default, and the plugins of each
    /// extension point.
    #[command(after_help = DEFAULTS_EXAMPLES)]
    Defaults {
        /// Scheduler name. May be repeated, for several profiles.
        #[arg(long = "scheduler-name", value_name = "NAME", default_value = "my-scheduler")]
        scheduler_names: Vec<String>,
    },
}

pub(crate) fn config(app: &App, args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        ConfigCommand::Check { file, filename } => {
            let file = file.as_ref().or(filename.as_ref()).context("clap requires one of the two")?;
            let text = read(file)?;
            let said = check(app, &text).with_context(|| file.display().to_string())?;
            print(said.as_bytes())
        }
        ConfigCommand::Defaults { scheduler_names } => {
            let configuration =
                Configuration::for_scheduler_names(scheduler_names).context("--scheduler-name")?;
            print(documents(&configuration)?.as_bytes())
        }
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The report on a valid configuration.
///
/// # Errors
/// All mistakes in it.
fn check(app: &App, text: &str) -> anyhow::Result<String> {
    let configuration = Configuration::parse(text, &app.catalogue_for(text)?)?;
    if !configuration.unsupported().is_empty() {
        let list: Vec<String> = configuration.unsupported().iter().map(|u| format!("\n  - {u}")).collect();
        bail!("the configuration asks for what secondmate does not have yet:{}", list.concat());
    }
    profiles(app, &configuration)?;
    let mut said = format!(
        "valid: {} for {}\n",
        if configuration.profiles.len() == 1 { "a profile" } else { "profiles" },
        configuration.scheduler_names().join(", ")
    );
    let mut note = |text: String| said.push_str(&format!("note: {text}\n"));
    if let Err(refusal) = configuration.check_default_scheduler(false) {
        note(format!("`run` refuses it as it is: {refusal}"));
    }
    for notice in configuration.notices() {
        note(notice.to_string());
    }
    Ok(said)
}

/// The configuration as the documents of a file, to be used as a starting point, with its secrets.
pub(crate) fn documents(configuration: &Configuration) -> anyhow::Result<String> {
    let mut main = configuration.to_whole_value();
    let own = main.as_object_mut().and_then(|fields| fields.remove("secondmate")).unwrap_or_default();
    let mut document = json!({ "apiVersion": OWN_API_VERSION, "kind": OWN_KIND });
    if let (Some(document), Value::Object(own)) = (document.as_object_mut(), own) {
        document.extend(own.into_iter().filter(|(_, value)| !value.is_null()));
    }
    let yaml = |value: &Value| serde_saphyr::to_string(value).context("cannot write the configuration");
    Ok(format!("{}---\n{}", yaml(&main)?, yaml(&document)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        let head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
        check(&App::new(), &format!("{head}{text}")).unwrap_or_else(|error| format!("{error:#}"))
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_line() {
        let answer = said("parallelism: 0\npodInitialBackoffSeconds: 0\n");
        for part in ["2 problems", "line 3: parallelism: ", "line 4: podInitialBackoffSeconds: "] {
            assert!(answer.contains(part), "{part}: {answer}");
        }
        let answer = said("profiles:\n- schedulerName: {{ .Values.name }}\n");
        assert!(answer.contains("template that was not rendered"), "{answer}");
    }

    #[test]
    fn what_is_valid_is_told_with_what_has_no_effect() {
        assert_eq!(
            said("profiles: [{schedulerName: a}, {schedulerName: b}]\n"),
            "valid: profiles for a, b\n"
        );
        let answer = said("enableContentionProfiling: true\n");
        assert!(
            answer.starts_with("valid: a profile for default-scheduler\nnote: `run` refuses it"),
            "{answer}"
        );
        assert!(answer.contains("note: enableContentionProfiling: has no effect"), "{answer}");
        let answer =
            said("profiles: [{schedulerName: a, plugins: {permit: {enabled: [{name: GangScheduling}]}}}]\n");
        assert!(answer.contains("not supported yet"), "{answer}");
    }

    #[test]
    fn the_defaults_are_a_file_that_comes_to_the_same() {
        let configuration = Configuration::for_scheduler_names(&["a"]).expect("a name");
        let text = documents(&configuration).expect("written");
        let read = Configuration::parse(&text, &App::new().catalogue().expect("no name twice"));
        let read = read.unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(read.to_value(), configuration.to_value(), "{text}");
    }

    #[test]
    fn the_configuration_of_a_chart_is_in_a_config_map() {
        let file = "templates/configmap.yaml";
        assert!(check_examples!().contains(&format!("-s {file} ")), "{}", check_examples!());
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/chart");
        let template = read(&chart.join(file)).expect("a template of ours");
        assert!(template.contains("kind: ConfigMap") && template.contains("config.yaml: |"), "{template}");
    }
}
