//! kube-scheduler's flags, grouped as in its help. A flag is an `Option` if a configuration file may set the same field, so that one that
//! was not given can be told apart.

use super::values::{boolean, duration, list, map};
use clap::{ArgAction, Args};
use std::path::PathBuf;
use std::time::Duration;

/// Flags of `kube-scheduler`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true, disable_version_flag = true)]
pub(crate) struct KubeSchedulerArgs {
    /// KubeSchedulerConfiguration file. If it is given, deprecated flags other than --pod-max-in-unschedulable-pods-duration are
    /// ignored.
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// URL of the API server, in place of the kubeconfig's.
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
    /// Write the configuration with all defaults to this file, and exit.
    #[arg(long, value_name = "FILE")]
    pub write_config_to: Option<String>,
    /// Print the version and exit; "raw" prints every detail.
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub version: Option<String>,
    #[command(flatten)]
    pub serving: ServingFlags,
    #[command(flatten)]
    pub authentication: AuthenticationFlags,
    #[command(flatten)]
    pub authorization: AuthorizationFlags,
    #[command(flatten)]
    pub deprecated: DeprecatedFlags,
    #[command(flatten)]
    pub election: ElectionFlags,
    #[command(flatten)]
    pub features: FeatureFlags,
    #[command(flatten)]
    pub metrics: MetricsFlags,
    #[command(flatten)]
    pub logs: LogFlags,
}

/// How HTTPS is served.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Secure serving flags")]
pub(crate) struct ServingFlags {
    /// Address of the HTTPS port; empty or unspecified means all addresses.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub bind_address: String,
    /// HTTPS port for probes, metrics and debugging; 0 disables it.
    #[arg(long, value_name = "PORT", default_value_t = 10259)]
    pub secure_port: u16,
    /// Directory for a self-signed certificate (kube-scheduler.crt, kube-scheduler.key) [default: kept in memory].
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<String>,
    /// Certificate chain (PEM), reloaded when it changes [default: self-signed].
    #[arg(long, value_name = "FILE")]
    pub tls_cert_file: Option<String>,
    /// Private key of the certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub tls_private_key_file: Option<String>,
    /// Certificate for specific server names (SNI): CERT,KEY or CERT,KEY:NAME,NAME. May be repeated.
    #[arg(long, value_name = "FILES", action = ArgAction::Append)]
    pub tls_sni_cert_key: Vec<String>,
    /// Cipher suites for TLS 1.2 [default: all supported ones, which have forward secrecy and authenticated encryption].
    #[arg(long, value_name = "NAMES", action = ArgAction::Append)]
    pub tls_cipher_suites: Vec<String>,
    /// Curves, by number: 23 (P-256), 24 (P-384), 29 (X25519) [default: all of them].
    #[arg(long, value_name = "NUMBERS", action = ArgAction::Append)]
    pub tls_curve_preferences: Vec<String>,
    /// Minimum TLS version: VersionTLS12 or VersionTLS13 [default: VersionTLS12].
    #[arg(long, value_name = "VERSION")]
    pub tls_min_version: Option<String>,
    /// Accepted: HTTP/2 is not served.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub disable_http2_serving: Option<bool>,
    /// No effect: HTTP/2 is not served.
    #[arg(long, value_name = "N")]
    pub http2_max_streams_per_connection: Option<i64>,
    /// Accepted: SO_REUSEADDR is always set.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub permit_address_sharing: Option<bool>,
    /// Share the port with other processes (SO_REUSEPORT) [default: false].
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub permit_port_sharing: Option<bool>,
}

/// How clients are authenticated.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Authentication flags")]
pub(crate) struct AuthenticationFlags {
    /// Kubeconfig of the API server that reviews tokens [default: the pod's service account; without one, tokens are rejected].
    #[arg(long, value_name = "FILE")]
    pub authentication_kubeconfig: Option<String>,
    /// Do not read the ConfigMap kube-system/extension-apiserver-authentication [default: false].
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub authentication_skip_lookup: Option<bool>,
    /// How long a token review is cached [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub authentication_token_webhook_cache_ttl: Option<Duration>,
    /// Start even if that ConfigMap cannot be read [default: true].
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub authentication_tolerate_lookup_failure: Option<bool>,
    /// CA bundle (PEM) for client certificates, reloaded when it changes [default: that of the ConfigMap].
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<String>,
    /// CA bundle (PEM) for the certificates of authenticating proxies [default: that of the ConfigMap].
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<String>,
    /// Common names that such proxies may have [default: any].
    #[arg(long, value_name = "NAMES", action = ArgAction::Append)]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers with the user name [default: x-remote-user].
    #[arg(long, value_name = "NAMES", action = ArgAction::Append)]
    pub requestheader_username_headers: Vec<String>,
    /// Headers with the user's UID.
    #[arg(long, value_name = "NAMES", action = ArgAction::Append)]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers with the user's groups [default: x-remote-group].
    #[arg(long, value_name = "NAMES", action = ArgAction::Append)]
    pub requestheader_group_headers: Vec<String>,
    /// Prefixes of headers with extra information about the user [default: x-remote-extra-].
    #[arg(long, value_name = "PREFIXES", action = ArgAction::Append)]
    pub requestheader_extra_headers_prefix: Vec<String>,
}

/// How requests are authorized.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Authorization flags")]
pub(crate) struct AuthorizationFlags {
    /// Kubeconfig of the API server that authorizes requests [default: the pod's service account; without one, only the
    /// always-allowed paths are served].
    #[arg(long, value_name = "FILE")]
    pub authorization_kubeconfig: Option<String>,
    /// Paths served without authorization; a trailing * matches any suffix [default: /healthz,/readyz,/livez].
    #[arg(long, value_name = "PATHS", action = ArgAction::Append)]
    pub authorization_always_allow_paths: Vec<String>,
    /// How long an authorized response is cached [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub authorization_webhook_cache_authorized_ttl: Option<Duration>,
    /// How long a denied response is cached [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub authorization_webhook_cache_unauthorized_ttl: Option<Duration>,
}

/// Flags that kube-scheduler keeps for old command lines. A configuration file has a field for all but the last.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Deprecated flags")]
pub(crate) struct DeprecatedFlags {
    /// Kubeconfig file [default: KUBECONFIG, ~/.kube/config, the pod's service account].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// Maximum writes per second; negative means no limit [default: no limit other than the API server's].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub kube_api_qps: Option<f32>,
    /// Maximum burst of writes above that rate.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub kube_api_burst: Option<i32>,
    /// Checked, but has no effect: requests to the API server are JSON.
    #[arg(long, value_name = "TYPE")]
    pub kube_api_content_type: Option<String>,
    /// Serve CPU profiles at /debug/pprof/ [default: true].
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub profiling: Option<bool>,
    /// No effect: there are no goroutines to profile.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub contention_profiling: Option<bool>,
    /// Maximum time that a pod stays in the unschedulable queue; applies with --config too [default: 5m].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub pod_max_in_unschedulable_pods_duration: Option<Duration>,
}

/// How one of several processes is elected; these flags override the configuration file.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Leader election flags")]
pub(crate) struct ElectionFlags {
    /// Elect a leader, so that only one of several replicas schedules [default: true].
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub leader_elect: Option<bool>,
    /// How long non-leaders wait after the last observed renewal before they try to take the Lease [default: 15s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub leader_elect_lease_duration: Option<Duration>,
    /// How long the leader retries renewing the Lease before it gives up leadership [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub leader_elect_renew_deadline: Option<Duration>,
    /// Time between attempts to acquire or renew the Lease [default: 2s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub leader_elect_retry_period: Option<Duration>,
    /// Type of lock; only leases is supported.
    #[arg(long, value_name = "KIND")]
    pub leader_elect_resource_lock: Option<String>,
    /// Name of the Lease [default: kube-scheduler, or the scheduler name if it is not default-scheduler].
    #[arg(long, value_name = "NAME")]
    pub leader_elect_resource_name: Option<String>,
    /// Namespace of the Lease [default: kube-system].
    #[arg(long, value_name = "NAME")]
    pub leader_elect_resource_namespace: Option<String>,
}

/// Feature gates and compatibility versions.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Feature gate flags")]
pub(crate) struct FeatureFlags {
    /// Feature gates, as NAME=true,NAME=false. Gates of other components are accepted; gates that would change scheduling decisions
    /// are refused.
    #[arg(long, value_name = "GATES", action = ArgAction::Append)]
    pub feature_gates: Vec<String>,
    /// Kubernetes version to emulate; only this program's own version is accepted.
    #[arg(long, value_name = "VERSION", action = ArgAction::Append)]
    pub emulated_version: Vec<String>,
    /// Minimum Kubernetes version of the control plane.
    #[arg(long, value_name = "VERSION", action = ArgAction::Append)]
    pub min_compatibility_version: Vec<String>,
}

/// Metrics.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Metrics flags")]
pub(crate) struct MetricsFlags {
    /// Metrics to leave out of /metrics.
    #[arg(long, value_name = "NAMES", action = ArgAction::Append)]
    pub disabled_metrics: Vec<String>,
    /// Checked, but has no effect: no metric is hidden.
    #[arg(long, value_name = "VERSION")]
    pub show_hidden_metrics_for_version: Option<String>,
    /// No effect: labels have a bounded number of values.
    #[arg(long, value_name = "MAP", action = ArgAction::Append, value_parser = map)]
    pub allow_metric_labels: Vec<String>,
    /// No effect: labels have a bounded number of values.
    #[arg(long, value_name = "FILE")]
    pub allow_metric_labels_manifest: Option<PathBuf>,
}

/// Logging flags. -v is one of the options that all commands share.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logs flags")]
pub(crate) struct LogFlags {
    /// Log format: text or json.
    #[arg(long, value_name = "FORMAT")]
    pub logging_format: Option<String>,
    /// No effect: each line is written at once.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub log_flush_frequency: Option<Duration>,
    /// No effect: everything goes to standard error.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub log_json_split_stream: Option<bool>,
    /// No effect: everything goes to standard error.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub log_text_split_stream: Option<bool>,
    /// No effect: each line is written at once.
    #[arg(long, value_name = "BYTES")]
    pub log_json_info_buffer_size: Option<String>,
    /// No effect: each line is written at once.
    #[arg(long, value_name = "BYTES")]
    pub log_text_info_buffer_size: Option<String>,
    /// No effect: it matches Go files; use RUST_LOG to choose by module.
    #[arg(long, value_name = "PATTERNS", action = ArgAction::Append)]
    pub vmodule: Vec<String>,
}

/// A list that was given, or the default.
pub(crate) fn or_default(given: &[String], default: &[&str]) -> Vec<String> {
    if given.is_empty() { default.iter().map(|text| (*text).to_owned()).collect() } else { list(given) }
}
