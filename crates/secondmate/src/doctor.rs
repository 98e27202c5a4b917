//! `secondmate doctor`: what is wrong with the schedulers of a cluster, and what to do about it.

use crate::cluster::ClusterArgs;
use crate::output::print;
use crate::run::lease_of;
use crate::{App, ConfigurationSource, profiles};
use anyhow::Result;
use clap::{Args, ValueEnum};
use secondmate_shell::{DoctorOptions, Examination, Finding, GuardsService, LookLimits, Severity, examine};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The profile's name if neither file nor option gives one: what is checked does not depend on it.
const ANY_NAME: &str = "my-scheduler";
/// The exit code if no problem was found, but not everything could be checked.
const NOT_ALL_LOOKED_AT: u8 = 3;

pub(crate) const EXAMPLES: &str = "\
Examples:
  secondmate doctor
  secondmate doctor --config scheduler.yaml \\
    --service-account secondmate/secondmate
  secondmate doctor -o json --context production

Exit codes: 0 no problems found, 1 problems found or the cluster could not be
reached, 3 no problems found, but not everything could be checked.";

/// Options of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// KubeSchedulerConfiguration file (kubescheduler.config.k8s.io/v1): check the permissions that its plugins and its Lease need, and
    /// the nodes of its tenants [default: the permissions that kube-scheduler's default plugins need].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Also check the permissions on this scheduler name's Lease. May be repeated, for one process that serves several names.
    #[arg(long, value_name = "NAME")]
    scheduler_name: Vec<String>,
    /// Service account whose permissions are checked [default: your own].
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = service_account)]
    service_account: Option<(String, String)>,
    /// Service account of the bind guard, whose permissions are checked if the guard is registered [default: secondmate-guard in the
    /// namespace of the guard's Service].
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = service_account)]
    guard_service_account: Option<(String, String)>,
    /// Ignore pods that have been pending for less time.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1m")]
    pending_for: Duration,
    /// ValidatingWebhookConfiguration of the bind guard.
    #[arg(long, value_name = "NAME", default_value = "secondmate-guard")]
    guard_webhook: String,
    /// Secret in which the bind guard keeps its certificate.
    #[arg(long, value_name = "NAME", default_value = "secondmate-guard-tls")]
    guard_secret: String,
    /// Namespace of the guard's Service and Secret, if its webhook has a URL or is missing.
    #[arg(long, value_name = "NAME", default_value = "secondmate-guard")]
    guard_namespace: String,
    /// Service in front of the bind guard, if its webhook has a URL or is missing.
    #[arg(long, value_name = "NAME", default_value = "secondmate-guard")]
    guard_service: String,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// Output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One line per finding, with its remedy.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

fn service_account(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("expected NAMESPACE/NAME".to_owned()),
    }
}

/// Runs it.
///
/// # Errors
/// The configuration cannot be decoded, the cluster cannot be reached, or standard output cannot be written.
pub(crate) fn doctor(app: &App, args: &DoctorArgs) -> Result<ExitCode> {
    let mut source = ConfigurationSource {
        file: args.config.clone(),
        scheduler_names: args.scheduler_name.clone(),
        // Nothing is scheduled.
        replace_default_scheduler: true,
    };
    let named = args.config.is_some() || !args.scheduler_name.is_empty();
    if !named {
        source.scheduler_names.push(ANY_NAME.to_owned());
    }
    let configuration = source.read(app)?;
    let lease = if named { lease_of(&configuration)? } else { None };
    let profiles = profiles(app, &configuration)?;
    let examination = args.cluster.ask(async |cluster| {
        let options = DoctorOptions {
            cluster,
            profiles,
            lease,
            service_account: args.service_account.clone(),
            guard_account: args.guard_service_account.clone(),
            pending_for: args.pending_for,
            limits: LookLimits::default(),
            tenants: configuration.own.tenants.clone(),
            webhook: args.guard_webhook.clone(),
            secret: args.guard_secret.clone(),
            guard: GuardsService {
                namespace: args.guard_namespace.clone(),
                name: args.guard_service.clone(),
            },
        };
        Ok(examine(options).await?)
    })?;
    let text = match args.output {
        Output::Text => text(&examination),
        Output::Json => format!("{:#}\n", json(&examination)?),
    };
    print(text.as_bytes())?;
    Ok(code(&examination))
}

fn code(examination: &Examination) -> ExitCode {
    if examination.count(Severity::Fault) > 0 {
        ExitCode::FAILURE
    } else if examination.count(Severity::Unknown) > 0 {
        NOT_ALL_LOOKED_AT.into()
    } else {
        ExitCode::SUCCESS
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Fault => "fault",
        Severity::Unknown => "unknown",
        Severity::Warning => "warning",
    }
}

fn text(examination: &Examination) -> String {
    let mut text = String::new();
    for Finding { severity, check, object, problem, remedy, .. } in &examination.findings {
        let _ = writeln!(text, "{} ({check}): {object}: {problem}; {remedy}", word(*severity));
    }
    let counts: Vec<String> = [
        (Severity::Fault, "fault", "faults"),
        (Severity::Unknown, "unknown", "unknown"),
        (Severity::Warning, "warning", "warnings"),
    ]
    .into_iter()
    .filter_map(|(severity, one, several)| {
        let count = examination.count(severity);
        (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { several }))
    })
    .collect();
    let found = if counts.is_empty() { "nothing is wrong".to_owned() } else { counts.join(", ") };
    let kubernetes = examination.kubernetes.as_deref().unwrap_or("of an unknown version");
    let _ = writeln!(
        text,
        "looked at {} of {} (Kubernetes {kubernetes}): {found}",
        examination.checks.join(", "),
        examination.server
    );
    text
}

fn json(examination: &Examination) -> Result<serde_json::Value> {
    let mut json = json!({
        "healthy": examination.count(Severity::Fault) == 0,
        "complete": examination.count(Severity::Unknown) == 0,
    });
    if let (Some(all), serde_json::Value::Object(fields)) =
        (json.as_object_mut(), serde_json::to_value(examination)?)
    {
        all.extend(fields);
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examination(severities: &[Severity]) -> Examination {
        let finding = |severity: &Severity| Finding {
            severity: *severity,
            check: "names",
            object: "scheduler name \"x\"".to_owned(),
            problem: "nobody serves it".to_owned(),
            remedy: "run one".to_owned(),
            pods: vec!["default/a".to_owned()],
            nodes: Vec::new(),
            since: None,
        };
        Examination {
            server: "https://api:6443/".to_owned(),
            kubernetes: Some("v1.37.2".to_owned()),
            checks: vec!["version", "names"],
            findings: severities.iter().map(finding).collect(),
        }
    }

    #[test]
    fn each_finding_has_one_line_with_its_remedy() {
        let told = text(&examination(&[Severity::Fault, Severity::Warning, Severity::Warning]));
        assert_eq!(
            told,
            "fault (names): scheduler name \"x\": nobody serves it; run one\n\
             warning (names): scheduler name \"x\": nobody serves it; run one\n\
             warning (names): scheduler name \"x\": nobody serves it; run one\n\
             looked at version, names of https://api:6443/ (Kubernetes v1.37.2): 1 fault, 2 warnings\n"
        );
        assert!(text(&examination(&[])).ends_with(": nothing is wrong\n"));
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        for (severities, expected) in [
            (&[][..], ExitCode::SUCCESS),
            (&[Severity::Warning], ExitCode::SUCCESS),
            (&[Severity::Warning, Severity::Unknown], NOT_ALL_LOOKED_AT.into()),
            (&[Severity::Unknown, Severity::Fault], ExitCode::FAILURE),
        ] {
            assert_eq!(code(&examination(severities)), expected, "{severities:?}");
        }
    }

    #[test]
    fn a_service_account_has_a_namespace() {
        assert_eq!(service_account("a/b"), Ok(("a".to_owned(), "b".to_owned())));
        for wrong in ["a", "/b", "a/", "a/b/c"] {
            assert!(service_account(wrong).is_err(), "{wrong}");
        }
    }
}
