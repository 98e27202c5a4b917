//! Command lines as static pods, charts and tools write them.

use super::*;
use crate::cli::{Cli, Command};
use clap::{Arg, CommandFactory, Parser};

fn written(given: &[&str]) -> Vec<String> {
    let arguments = arguments(given.iter().map(OsString::from));
    arguments.into_iter().map(|argument| argument.into_string().expect("text")).collect()
}

fn parsed(flags: &[&str]) -> Result<KubeSchedulerArgs, String> {
    let given = ["kube-scheduler"].iter().chain(flags).map(OsString::from);
    let cli = Cli::try_parse_from(arguments(given)).map_err(|error| error.to_string())?;
    match cli.command {
        Command::KubeScheduler(args) => Ok(*args),
        other => Err(format!("{other:?}")),
    }
}

fn refused(flags: &[&str]) -> String {
    parsed(flags).expect_err("it is wrong")
}

fn configured(flags: &[&str]) -> Configuration {
    let args = parsed(flags).expect("flags");
    let mut configuration = source(&args).read(&App::new()).expect("a configuration");
    apply(&args, &mut configuration).expect("flags that count");
    configuration
}

fn served(flags: &[&str]) -> anyhow::Result<Endpoints> {
    let gates = Gates { remarks: vec![], flagz: true, statusz: true };
    endpoints(&parsed(flags).expect("flags"), &gates, &mut Vec::new())
}

fn secure(flags: &[&str]) -> SecureEndpoint {
    match served(flags).expect("endpoints") {
        Endpoints::Secure(endpoint) => *endpoint,
        _ => panic!("it is served over TLS"),
    }
}

#[test]
fn the_command_is_the_name_of_the_program_or_its_first_argument() {
    let expected = ["secondmate", "kube-scheduler", "-v", "4", "--bind-address=::1"];
    assert_eq!(written(&["/usr/local/bin/kube-scheduler", "--v=4", "--bind_address=::1"]), expected);
    assert_eq!(written(&["secondmate", "kube-scheduler", "--v=4", "--bind_address=::1"]), expected);
    assert_eq!(written(&["secondmate", "run", "--a_b"]), ["secondmate", "run", "--a_b"]);
    assert_eq!(written(&["secondmate"]), ["secondmate"]);
}

#[test]
fn a_static_pod_of_kubeadm_starts_it() {
    let flags = [
        "--authentication-kubeconfig=/etc/kubernetes/scheduler.conf",
        "--authorization-kubeconfig=/etc/kubernetes/scheduler.conf",
        "--bind-address=127.0.0.1",
        "--kubeconfig=/etc/kubernetes/scheduler.conf",
        "--leader-elect=true",
    ];
    let configuration = configured(&flags);
    assert_eq!(configuration.scheduler_names(), ["default-scheduler"]);
    assert_eq!(configuration.victims("default-scheduler"), secondmate_config::Victims::All);
    assert_eq!(configuration.client_connection.kubeconfig.as_deref(), Some("/etc/kubernetes/scheduler.conf"));
    assert!(!configuration.client_connection.limited);
    assert!(configuration.leader_election.leader_elect);
    let secure = secure(&flags);
    assert_eq!(secure.address.to_string(), "127.0.0.1:10259");
    assert!(matches!(
        &secure.reviews,
        Reviews::Of { authentication: Some(who), authorization: Some(may) } if who == may
    ));
    assert_eq!(secure.always_allow_paths, ["/healthz", "/readyz", "/livez"]);
    assert!(secure.tolerate_lookup_failure && !secure.skip_lookup);
    assert_eq!(answers::remarks(&parsed(&flags).expect("flags")), Vec::<String>::new());
}

#[test]
fn flags_come_over_the_defaults() {
    let configuration = configured(&[
        "--kube-api-qps=100.5",
        "--kube-api-burst",
        "200",
        "--profiling=false",
        "--leader-elect=false",
        "--leader-elect-lease-duration=1m",
        "--leader-elect-resource-name=mine",
        "--leader-elect",
    ]);
    let connection = &configuration.client_connection;
    assert_eq!((connection.qps, connection.burst, connection.limited), (100.5, 200, true));
    assert!(!configuration.enable_profiling);
    let election = &configuration.leader_election;
    assert!(election.leader_elect, "the last one counts");
    assert_eq!(election.lease_duration, Duration::from_secs(60));
    assert_eq!(election.resource_name.as_deref(), Some("mine"));
    assert_eq!(configured(&["--kube-api-qps", "-1"]).client_connection.qps, -1.0);
}

#[test]
fn a_file_counts_over_the_deprecated_flags_and_under_those_of_the_election() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    let text = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
                clientConnection: {kubeconfig: /file, qps: 7}\nleaderElection: {leaderElect: true}\n";
    std::fs::write(&file, text).expect("written");
    let config = format!("--config={}", file.display());
    let flags =
        [&*config, "--kubeconfig=/flag", "--kube-api-qps=9", "--profiling=false", "--leader-elect=false"];
    let configuration = configured(&flags);
    assert_eq!(configuration.client_connection.kubeconfig.as_deref(), Some("/file"));
    assert_eq!(configuration.client_connection.qps, 7.0);
    assert!(configuration.enable_profiling && !configuration.leader_election.leader_elect);
    let remarks = answers::remarks(&parsed(&flags).expect("flags"));
    assert_eq!(remarks.len(), 3, "{remarks:?}");
    assert!(remarks[0].starts_with("--kubeconfig is ignored"), "{remarks:?}");
}

/// The help of `--config` names each deprecated flag that applies with a file, and every other one is reported as ignored.
#[test]
fn the_help_of_config_names_the_deprecated_flag_that_still_applies() {
    let mut program = Cli::command();
    program.build();
    let command = program.find_subcommand("kube-scheduler").expect("the command");
    let deprecated = |arg: &&Arg| arg.get_help_heading() == Some("Deprecated flags");
    let mut still_apply = Vec::new();
    for arg in command.get_arguments().filter(deprecated) {
        let name = arg.get_long().expect("a name");
        let value = match arg.get_value_names().into_iter().flatten().map(|v| v.as_str()).next() {
            Some("BOOL") => "true",
            Some("DURATION") => "1m",
            _ => "1",
        };
        let flag = format!("--{name}={value}");
        let remarks = answers::remarks(&parsed(&["--config=/file", &flag]).expect("flags"));
        if !remarks.iter().any(|remark| remark.starts_with(&format!("--{name} is ignored"))) {
            still_apply.push(format!("--{name}"));
        }
    }
    assert_eq!(still_apply, ["--pod-max-in-unschedulable-pods-duration"]);
    let config = command.get_arguments().find(|arg| arg.get_long() == Some("config")).expect("--config");
    let help = config.get_help().map(ToString::to_string).unwrap_or_default();
    assert!(help.contains(&format!("deprecated flags other than {} are ignored", still_apply[0])), "{help}");
}

#[test]
fn what_is_unknown_is_refused_with_the_nearest_name() {
    let error = refused(&["--kubeconfg=/x"]);
    assert!(error.contains("--kubeconfg") && error.contains("'--kubeconfig'"), "{error}");
    for (flags, why) in [
        (&["--leader-elect", "false"][..], "false"),
        (&["--profiling=yes"], "expected true or false"),
        (&["--leader-elect-retry-period=2"], "expected a duration"),
        (&["--secure-port=70000"], "70000"),
        (&["positional"], "positional"),
    ] {
        let error = refused(flags);
        assert!(error.contains(why), "{flags:?}: {error}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for (flag, why) in [
        ("--emulated-version=1.36", "only; remove it"),
        ("--min-compatibility-version=kube=1.99", "at most"),
        ("--leader-elect-resource-lock=endpoints", "leases"),
        ("--show-hidden-metrics-for-version=1.20", "no metric is hidden"),
    ] {
        let error = answers::check(&parsed(&[flag]).expect("a flag")).expect_err(flag).to_string();
        assert!(error.contains(flag.split('=').next().expect("a name")) && error.contains(why), "{error}");
    }
    answers::check(
        &parsed(&[
            "--emulated-version=kube=1.37",
            "--min-compatibility-version=1.36",
            "--show-hidden-metrics-for-version=1.36",
        ])
        .expect("flags"),
    )
    .expect("all of it is so");
    for (flag, why) in [
        ("--bind-address=here", "expected an IP address"),
        ("--tls-cert-file=/a", "both"),
        ("--tls-min-version=VersionTLS9", "VersionTLS13"),
        ("--tls-cipher-suites=NONE", "NONE"),
        ("--tls-sni-cert-key=a", "CERT,KEY"),
        ("--tls-sni-cert-key=a,b:10.0.0.1", "is an address"),
    ] {
        let error = served(&[flag]).err().unwrap_or_else(|| panic!("{flag}")).to_string();
        assert!(error.contains(why), "{flag}: {error}");
    }
}

#[test]
fn serving_is_as_the_flags_say() {
    assert!(matches!(served(&["--secure-port=0"]), Ok(Endpoints::Nowhere)));
    let endpoint = secure(&[
        "--bind-address=",
        "--secure-port=1",
        "--permit-port-sharing",
        "--tls-sni-cert-key=a.crt,a.key:foo.com,*.foo.com",
        "--tls-min-version=VersionTLS13",
        "--authorization-always-allow-paths=/healthz,/metrics",
        "--authorization-always-allow-paths=/x*",
        "--authorization-webhook-cache-unauthorized-ttl=3s",
        "--requestheader-client-ca-file=/proxy.crt",
        "--requestheader-allowed-names=a,b",
    ]);
    assert_eq!(endpoint.address.to_string(), "0.0.0.0:1");
    assert!(endpoint.share_port);
    assert_eq!(endpoint.named[0].names, ["foo.com", "*.foo.com"]);
    assert_eq!(endpoint.tls.minimum, TlsVersion::V13);
    assert_eq!(endpoint.always_allow_paths, ["/healthz", "/metrics", "/x*"]);
    assert_eq!(endpoint.remember_denied, Duration::from_secs(3));
    let headers = endpoint.request_headers.expect("a proxy's authority");
    assert_eq!((headers.allowed_names.len(), &*headers.username), (2, &["x-remote-user".to_owned()][..]));
    let closed = secure(&["--authorization-always-allow-paths="]);
    assert_eq!(closed.always_allow_paths, Vec::<String>::new());
}

#[test]
fn every_flag_without_effect_says_so() {
    let flags = [
        "--http2-max-streams-per-connection=5",
        "--contention-profiling",
        "--kube-api-content-type=application/vnd.kubernetes.protobuf",
        "--allow-metric-labels=a,b='c'",
        "--allow-metric-labels-manifest=/a",
        "--log-flush-frequency=5s",
        "--log-json-split-stream",
        "--log-text-split-stream",
        "--log-json-info-buffer-size=1Ki",
        "--log-text-info-buffer-size=1Ki",
        "--vmodule=a=4",
        "--requestheader-group-headers=x-group",
    ];
    let remarks = answers::remarks(&parsed(&flags).expect("flags"));
    for flag in flags {
        let name = flag.split('=').next().expect("a name");
        let said = remarks.iter().any(|remark| remark.starts_with(&format!("{name} has no effect")));
        assert!(said, "{name}: {remarks:?}");
    }
    assert_eq!(remarks.len(), flags.len());
}
