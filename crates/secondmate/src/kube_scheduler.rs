//! `secondmate kube-scheduler`, also used when the program is called `kube-scheduler`: whatever starts kube-scheduler can start secondmate.

mod answers;
mod flags;
mod gates;
mod pages;
mod values;

pub(crate) use flags::KubeSchedulerArgs;
pub(crate) use gates::{Feature, features};
pub(crate) use pages::mount as mount_pages;

use crate::config::documents;
use crate::endpoints::{Endpoints, Reviews, SecureEndpoint};
use crate::log::LogArgs;
use crate::run::{ClusterSource, Plan, Ready, execute};
use crate::version::VERSION;
use crate::{App, ConfigurationSource};
use anyhow::{Context, anyhow, bail};
use flags::or_default;
use gates::Gates;
use secondmate_config::{Configuration, DEFAULT_SCHEDULER_NAME};
use secondmate_shell::{
    NamedCertificate, RequestHeaders, ServingCertificate, TlsOptions, TlsVersion, own_certificate_in,
};
use secondmate_telemetry::LogFormat;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use values::{list, normalised, path};

/// The command, and the program name that implies it.
pub(crate) const NAME: &str = "kube-scheduler";
/// How long the API server's reviews are cached by default.
const REMEMBER: Duration = Duration::from_secs(10);
/// As upstream.
const BIND_CONCURRENCY: usize = 64;

pub(crate) const EXAMPLES: &str = "\
Examples:
  secondmate kube-scheduler --kubeconfig=/etc/kubernetes/scheduler.conf
  secondmate kube-scheduler --config scheduler.yaml --write-config-to all.yaml
  ln -s secondmate kube-scheduler && ./kube-scheduler --leader-elect=true

Flags are written as for kube-scheduler. Under the name default-scheduler it
takes kube-scheduler's Lease: see docs/beside-and-instead.md.";

/// The arguments of the process, with the command inserted if the program is called by its name, and kube-scheduler's flags in the forms
/// that are parsed here.
pub(crate) fn arguments(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut given = arguments.into_iter();
    let program = given.next().unwrap_or_default();
    let is_named = Path::new(&program).file_name().is_some_and(|name| name == NAME);
    let mut rest = given.peekable();
    if !is_named && rest.next_if(|first| first == NAME).is_none() {
        return [program].into_iter().chain(rest).collect();
    }
    let program = if is_named { "secondmate".into() } else { program };
    [program, NAME.into()].into_iter().chain(normalised(rest)).collect()
}

pub(crate) fn kube_scheduler(app: &App, args: &KubeSchedulerArgs, log: LogArgs) -> anyhow::Result<ExitCode> {
    if let Some(form) = &args.version {
        return version(form);
    }
    if let Some(other) = args.logs.logging_format.as_deref()
        && !["", "text", "json"].contains(&other)
    {
        bail!("--logging-format={other}: there are text and json");
    }
    let mut remarks = answers::remarks(args);
    let gates = gates::read(&args.features.feature_gates).map_err(|why| anyhow!("--feature-gates: {why}"))?;
    remarks.extend(gates.remarks.iter().cloned());
    answers::check(args)?;
    if let Some(file) = path(args.write_config_to.as_ref()) {
        let mut configuration = source(args).read(app)?;
        apply(args, &mut configuration)?;
        write(&file, &documents(&configuration)?)
            .with_context(|| format!("--write-config-to: cannot write {}", file.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let endpoints = endpoints(args, &gates, &mut remarks)?;
    let plan = Plan {
        cluster: ClusterSource {
            kubeconfig: None,
            // kube-scheduler has no such flag.
            context: None,
            server: args.master.clone().filter(|master| !master.is_empty()),
        },
        replace_default_scheduler: true,
        bind_concurrency: BIND_CONCURRENCY,
        max_unschedulable: args.deprecated.pod_max_in_unschedulable_pods_duration,
        disabled_metrics: list(&args.metrics.disabled_metrics),
        endpoints,
        features: gates::features(gates.flagz, gates.statusz),
        guard: None,
        remarks,
    };
    execute(log, async {
        let (mut configuration, profiles) = source(args).load(app).await?;
        apply(args, &mut configuration)?;
        Ok(Ready { plan, configuration, profiles })
    })
}

/// Writes a configuration, which may contain keys of extenders, so that only the owner can read a new file.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(file)?.write_all(text.as_bytes())
}

/// The log options with kube-scheduler's own flag applied, which is needed before there is a log.
pub(crate) fn log_of(args: &KubeSchedulerArgs, log: LogArgs) -> LogArgs {
    let json = args.logs.logging_format.as_deref() == Some("json");
    log.or_format(json.then_some(LogFormat::Json))
}

fn version(form: &str) -> anyhow::Result<ExitCode> {
    let text = match form {
        "raw" => VERSION.to_string(),
        "false" => bail!("--version=false: leave the flag out"),
        _ if form == "true" => {
            format!(
                "Kubernetes v{}.0 (secondmate {}, {})\n",
                VERSION.kubernetes, VERSION.version, VERSION.commit
            )
        }
        other => bail!(
            "--version={other}: another version than its own cannot be claimed; there are --version and --version=raw"
        ),
    };
    crate::output::print(text.as_bytes())
}

/// The configuration of the file, or kube-scheduler's defaults.
fn source(args: &KubeSchedulerArgs) -> ConfigurationSource {
    let file = path(args.config.as_ref());
    let names = if file.is_none() { vec![DEFAULT_SCHEDULER_NAME.to_owned()] } else { Vec::new() };
    ConfigurationSource { file, scheduler_names: names, replace_default_scheduler: true }
}

/// Applies the flags that override the configuration.
fn apply(args: &KubeSchedulerArgs, configuration: &mut Configuration) -> anyhow::Result<()> {
    if path(args.config.as_ref()).is_none() {
        let deprecated = &args.deprecated;
        let connection = &mut configuration.client_connection;
        connection.kubeconfig = deprecated.kubeconfig.clone().filter(|path| !path.is_empty());
        if let Some(qps) = deprecated.kube_api_qps.filter(|qps| *qps != 0.0) {
            (connection.qps, connection.limited) = (f64::from(qps), true);
        }
        if let Some(burst) = deprecated.kube_api_burst.filter(|burst| *burst != 0) {
            connection.burst =
                u32::try_from(burst).map_err(|_| anyhow!("--kube-api-burst must not be negative"))?;
            connection.limited = true;
        }
        if let Some(profiling) = deprecated.profiling {
            configuration.enable_profiling = profiling;
        }
    }
    let (flags, election) = (&args.election, &mut configuration.leader_election);
    if let Some(elect) = flags.leader_elect {
        election.leader_elect = elect;
    }
    for (given, field) in [
        (flags.leader_elect_lease_duration, &mut election.lease_duration),
        (flags.leader_elect_renew_deadline, &mut election.renew_deadline),
        (flags.leader_elect_retry_period, &mut election.retry_period),
    ] {
        if let Some(given) = given {
            *field = given;
        }
    }
    for (given, field) in [
        (&flags.leader_elect_resource_name, &mut election.resource_name),
        (&flags.leader_elect_resource_namespace, &mut election.resource_namespace),
    ] {
        if let Some(given) = given.clone().filter(|name| !name.is_empty()) {
            *field = Some(given);
        }
    }
    Ok(())
}

/// Where and how endpoints are served.
fn endpoints(
    args: &KubeSchedulerArgs,
    gates: &Gates,
    remarks: &mut Vec<String>,
) -> anyhow::Result<Endpoints> {
    let serving = &args.serving;
    if serving.secure_port == 0 {
        return Ok(Endpoints::Nowhere);
    }
    let ip = match serving.bind_address.as_str() {
        "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        given => given.parse().map_err(|_| anyhow!("--bind-address={given}: expected an IP address"))?,
    };
    let tls = tls(args, remarks)?;
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    names.extend(Some(ip.to_string()).filter(|ip| *ip != names[1]));
    names.retain(|name| name.parse().map_or(true, |ip: IpAddr| !ip.is_unspecified()));
    let files = (path(serving.tls_cert_file.as_ref()), path(serving.tls_private_key_file.as_ref()));
    let certificate = match (files, path(serving.cert_dir.as_ref())) {
        ((Some(certificate), Some(key)), _) => ServingCertificate::Files { certificate, key },
        ((None, None), Some(folder)) => {
            own_certificate_in(&folder, &names).map_err(|why| anyhow!("--cert-dir: {why}"))?
        }
        ((None, None), None) => ServingCertificate::Own { names },
        _ => bail!("give both --tls-cert-file and --tls-private-key-file, or neither"),
    };
    let named: Result<_, _> = serving.tls_sni_cert_key.iter().map(|given| named(given)).collect();
    let (who, may) = (&args.authentication, &args.authorization);
    let request_headers = path(who.requestheader_client_ca_file.as_ref()).map(|authority| RequestHeaders {
        authority,
        allowed_names: list(&who.requestheader_allowed_names),
        username: or_default(&who.requestheader_username_headers, &["x-remote-user"]),
        uid: list(&who.requestheader_uid_headers),
        groups: or_default(&who.requestheader_group_headers, &["x-remote-group"]),
        extra_prefixes: or_default(&who.requestheader_extra_headers_prefix, &["x-remote-extra-"]),
    });
    Ok(Endpoints::Secure(Box::new(SecureEndpoint {
        address: SocketAddr::new(ip, serving.secure_port),
        share_port: serving.permit_port_sharing.unwrap_or(false),
        certificate,
        named: named?,
        tls,
        reviews: Reviews::Of {
            authentication: path(who.authentication_kubeconfig.as_ref()),
            authorization: path(may.authorization_kubeconfig.as_ref()),
        },
        client_authority: path(who.client_ca_file.as_ref()),
        request_headers,
        skip_lookup: who.authentication_skip_lookup.unwrap_or(false),
        tolerate_lookup_failure: who.authentication_tolerate_lookup_failure.unwrap_or(true),
        remember_tokens: who.authentication_token_webhook_cache_ttl.unwrap_or(REMEMBER),
        always_allow_paths: or_default(
            &may.authorization_always_allow_paths,
            &["/healthz", "/readyz", "/livez"],
        ),
        remember_allowed: may.authorization_webhook_cache_authorized_ttl.unwrap_or(REMEMBER),
        remember_denied: may.authorization_webhook_cache_unauthorized_ttl.unwrap_or(REMEMBER),
        flagz: gates.flagz.then(pages::flags),
        statusz: gates.statusz,
    })))
}

fn tls(args: &KubeSchedulerArgs, remarks: &mut Vec<String>) -> anyhow::Result<TlsOptions> {
    let serving = &args.serving;
    let minimum = match serving.tls_min_version.as_deref() {
        None | Some("" | "VersionTLS12") => TlsVersion::V12,
        Some("VersionTLS13") => TlsVersion::V13,
        Some(old @ ("VersionTLS10" | "VersionTLS11")) => {
            remarks.push(format!("--tls-min-version={old}: TLS 1.2 is the oldest that is spoken here"));
            TlsVersion::V12
        }
        Some(other) => bail!("--tls-min-version={other}: there are VersionTLS12 and VersionTLS13"),
    };
    let curves: Result<Vec<i32>, _> =
        list(&serving.tls_curve_preferences).iter().map(|n| n.parse()).collect();
    let tls = TlsOptions {
        minimum,
        cipher_suites: list(&serving.tls_cipher_suites),
        curves: curves.context("--tls-curve-preferences: expected numbers")?,
    };
    let said = tls.check().map_err(|why| anyhow!("--tls-cipher-suites, --tls-curve-preferences: {why}"))?;
    remarks.extend(said);
    Ok(tls)
}

/// `CERT,KEY` or `CERT,KEY:NAME,NAME`.
fn named(given: &str) -> anyhow::Result<NamedCertificate> {
    let (files, names) = given.split_once(':').unwrap_or((given, ""));
    let files: Vec<&str> = files.split(',').map(str::trim).collect();
    let [certificate, key] = files.as_slice() else {
        bail!("--tls-sni-cert-key={given}: expected CERT,KEY or CERT,KEY:NAME,NAME");
    };
    let names: Vec<String> =
        names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if let Some(address) = names.iter().find(|name| name.parse::<IpAddr>().is_ok()) {
        bail!(
            "--tls-sni-cert-key={given}: {address} is an address, for which clients ask no certificate by name: give it to --tls-cert-file's certificate"
        );
    }
    Ok(NamedCertificate { certificate: PathBuf::from(certificate), key: PathBuf::from(key), names })
}

#[cfg(test)]
mod tests;
