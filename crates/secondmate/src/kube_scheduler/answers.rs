//! Remarks on flags that have no effect here, or none in combination with others; and errors for those that cannot be honoured.

use super::flags::KubeSchedulerArgs;
use super::values::list;
use crate::version::VERSION;
use anyhow::bail;

/// Remarks on the flags that were given. Those on the feature gates and on TLS are made elsewhere.
pub(super) fn remarks(args: &KubeSchedulerArgs) -> Vec<String> {
    let mut remarks = Vec::new();
    ignored_with_file(args, &mut remarks);
    let (serving, logs, metrics) = (&args.serving, &args.logs, &args.metrics);
    let without_effect = [
        (
            "--http2-max-streams-per-connection",
            serving.http2_max_streams_per_connection.is_some(),
            "HTTP/2 is not served",
        ),
        (
            "--disable-http2-serving=false",
            serving.disable_http2_serving == Some(false),
            "HTTP/2 is not served",
        ),
        (
            "--contention-profiling",
            args.deprecated.contention_profiling == Some(true),
            "one thread decides, and nothing contends with it; there are CPU profiles only",
        ),
        (
            "--kube-api-content-type",
            args.deprecated.kube_api_content_type.as_ref().is_some_and(|kind| kind.contains("protobuf")),
            "requests to the API server are JSON, with the same content",
        ),
        (
            "--allow-metric-labels",
            !list(&metrics.allow_metric_labels).is_empty(),
            "labels have a bounded number of values",
        ),
        (
            "--allow-metric-labels-manifest",
            metrics.allow_metric_labels_manifest.is_some(),
            "labels have a bounded number of values",
        ),
        ("--log-flush-frequency", logs.log_flush_frequency.is_some(), "each line is written at once"),
        (
            "--log-json-split-stream",
            logs.log_json_split_stream == Some(true),
            "everything goes to standard error",
        ),
        (
            "--log-text-split-stream",
            logs.log_text_split_stream == Some(true),
            "everything goes to standard error",
        ),
        (
            "--log-json-info-buffer-size",
            logs.log_json_info_buffer_size.is_some(),
            "each line is written at once",
        ),
        (
            "--log-text-info-buffer-size",
            logs.log_text_info_buffer_size.is_some(),
            "each line is written at once",
        ),
        (
            "--vmodule",
            !list(&logs.vmodule).is_empty(),
            "it matches Go files; use RUST_LOG=MODULE=LEVEL to choose by module",
        ),
    ];
    let said = without_effect.iter().filter(|(_, given, _)| *given);
    remarks.extend(said.map(|(flag, _, why)| format!("{flag} has no effect: {why}")));
    let who = &args.authentication;
    let proxies = [
        ("--requestheader-allowed-names", &who.requestheader_allowed_names),
        ("--requestheader-username-headers", &who.requestheader_username_headers),
        ("--requestheader-uid-headers", &who.requestheader_uid_headers),
        ("--requestheader-group-headers", &who.requestheader_group_headers),
        ("--requestheader-extra-headers-prefix", &who.requestheader_extra_headers_prefix),
    ];
    if who.requestheader_client_ca_file.as_ref().is_none_or(String::is_empty) {
        let given = proxies.iter().filter(|(_, given)| !given.is_empty());
        remarks.extend(given.map(|(flag, _)| {
            format!(
                "{flag} has no effect without --requestheader-client-ca-file: the cluster's ConfigMap is used"
            )
        }));
    }
    remarks
}

/// As upstream: if there is a file, only the file sets these. `--pod-max-in-unschedulable-pods-duration` has no field and still applies.
fn ignored_with_file(args: &KubeSchedulerArgs, remarks: &mut Vec<String>) {
    if args.config.as_ref().is_none_or(String::is_empty) {
        return;
    }
    let deprecated = &args.deprecated;
    for (flag, given, field) in [
        ("--kubeconfig", deprecated.kubeconfig.is_some(), "clientConnection.kubeconfig"),
        ("--kube-api-qps", deprecated.kube_api_qps.is_some(), "clientConnection.qps"),
        ("--kube-api-burst", deprecated.kube_api_burst.is_some(), "clientConnection.burst"),
        (
            "--kube-api-content-type",
            deprecated.kube_api_content_type.is_some(),
            "clientConnection.contentType",
        ),
        ("--profiling", deprecated.profiling.is_some(), "enableProfiling"),
        ("--contention-profiling", deprecated.contention_profiling.is_some(), "enableContentionProfiling"),
    ] {
        if given {
            remarks.push(format!("{flag} is ignored, because --config is given: the file's {field} applies"));
        }
    }
}

/// Checks for values that cannot be honoured.
///
/// # Errors
/// A version other than this program's, a kind of lock that does not exist, or a value that is not a finite number.
pub(super) fn check(args: &KubeSchedulerArgs) -> anyhow::Result<()> {
    let own = VERSION.kubernetes;
    for version in list(&args.features.emulated_version) {
        if of_kube(&version) != own {
            bail!("--emulated-version={version}: decisions are those of Kubernetes {own} only; remove it");
        }
    }
    for version in list(&args.features.min_compatibility_version) {
        let minor = |version: &str| version.strip_prefix("1.")?.parse::<u16>().ok();
        let possible = minor(of_kube(&version)).zip(minor(own)).is_some_and(|(asked, own)| asked <= own);
        if !possible {
            bail!("--min-compatibility-version={version}: expected 1.N, at most {own}");
        }
    }
    if let Some(lock) = args.election.leader_elect_resource_lock.as_deref()
        && !matches!(lock, "" | "leases")
    {
        bail!("--leader-elect-resource-lock={lock}: the only kind of lock is leases");
    }
    if let Some(shown) = args.metrics.show_hidden_metrics_for_version.as_deref().filter(|v| !v.is_empty()) {
        let previous = own
            .strip_prefix("1.")
            .and_then(|minor| minor.parse::<u16>().ok())
            .map(|minor| format!("1.{}", minor.saturating_sub(1)));
        if previous.as_deref() != Some(shown) {
            bail!(
                "--show-hidden-metrics-for-version={shown}: as in kube-scheduler it can only be {}; no metric is hidden here",
                previous.unwrap_or_default()
            );
        }
    }
    if args.deprecated.kube_api_qps.is_some_and(|qps| !qps.is_finite()) {
        bail!("--kube-api-qps must be a finite number");
    }
    Ok(())
}

/// The version in `kube=1.37`, or in `1.37` without the component.
fn of_kube(version: &str) -> &str {
    version.strip_prefix("kube=").unwrap_or(version)
}
