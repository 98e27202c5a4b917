//! `docs/metrics.md` matches what a scrape shows. After a change: `UPDATE_EXPECT=1 cargo test -p secondmate-telemetry --test reference`.
#![cfg(target_os = "linux")]

mod touch;

use expect_test::expect_file;
use secondmate_telemetry::{Admin, Metrics};
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use touch::touch;

const HEAD: &str = "\
# Metrics

`/metrics` serves OpenMetrics to clients that ask for it, as Prometheus does, and the Prometheus text format to all others.
`secondmate_*` is specific to secondmate. All others have the names, labels and buckets of kube-scheduler and the libraries in it, so their
dashboards and alerts work. What kube-scheduler has and secondmate does not is listed [below](#kube-scheduler-metrics-that-are-not-provided).
Durations are in seconds. A series appears when it is first used. `kubernetes_build_info` lacks `git_tree_state`, `build_date` and `go_version`:
this program is not built with Go, and its build does not record the other two. `kubernetes_feature_enabled` shows the gates that decide where
pods go, and those of `/flagz` and `/statusz`.

`/metrics/slis` shows the results of the checks behind the probes, as Kubernetes' own components do: `kubernetes_healthcheck{name, type}` is 1
if the last one passed, and `kubernetes_healthchecks_total{name, type, status}` counts them.

The table is generated from the code, and a test compares the two: to change a text, change it where the metric is registered.

| metric | type | labels | meaning |
|---|---|---|---|
";

/// What a real kube-scheduler exposes in addition: a test in `tests/suite` compares both tables with one.
const NOT_HERE: &str = "
## kube-scheduler metrics that are not provided

Every metric of kube-scheduler 1.37 is either in the table above or in this one.

| metrics | why not |
|---|---|
| `scheduler_batch_*`, `scheduler_get_node_hint_duration_seconds`, `scheduler_store_schedule_results_duration_seconds` | With opportunistic batching, kube-scheduler reuses its result for an equivalent pod. Here the standing evaluation does so: `secondmate_standing_*` |
| `scheduler_pre_queueing_hint_evaluations_total` | A hint is evaluated once for all equivalent waiting pods, so there is nothing to narrow down beforehand |
| `scheduler_volume_binder_cache_requests_total`, `scheduler_volume_scheduling_stage_error_total` | There is no cache of volume decisions, and errors of the plugin are in `scheduler_plugin_execution_duration_seconds{status=\"Error\"}` as for any other plugin |
| `scheduler_async_api_call_*`, `scheduler_pending_async_api_calls` | Calls to the API server never block scheduling: see `secondmate_queue_*` and `secondmate_bind_requests_total` (upstream this is off by default) |
| `scheduler_podgroup_*`, `scheduler_workload_preemption_*`, `scheduler_preemption_workload_disruptions`, `scheduler_generated_placements_total`, `scheduler_placement_*` | Pod groups are not implemented (upstream they are off by default) |
| `scheduler_dra_*`, `resourceclaim_controller_*` | Pods with resource claims are not scheduled yet |
| `informer_*`, `reflector_*` | There are no informers: see `secondmate_watch_restarts_total`, `secondmate_queue_*` and `scheduler_event_handling_duration_seconds` |
| `workqueue_*` | There are no work queues; the bounded queues are in `secondmate_queue_*` |
| `rest_client_exec_plugin_*`, `rest_client_transport_*`, `rest_client_dns_resolution_duration_seconds` | About client-go's credential plugins and its cache of connections |
| `version_info` | No release other than that of `kubernetes_build_info` can be emulated |
| `registered_metrics_total`, `disabled_metrics_total`, `hidden_metrics_total`, `cardinality_enforcement_unexpected_categorizations_total` | About Kubernetes' metrics library; `--disabled-metrics` leaves metrics out without counting them |
| `apiserver_*` except `apiserver_delegated_*`, `aggregator_*`, `authenticated_user_requests`, `authentication_*`, `authorization_*`, `field_validation_*` | About the API server library, with which kube-scheduler serves its HTTPS port |
| `go_*` | There is no Go runtime; `process_*` shows memory, threads and CPU time |
";

#[derive(Debug, Default)]
struct Shown {
    kind: String,
    help: String,
    labels: Vec<String>,
}

/// The label names in `{a=\"x\",b=\"y\"}`, without the bound of a bucket. No value in these tests contains a quote or a comma.
fn labels(series: &str) -> Vec<String> {
    let Some((_, labels)) = series.split_once('{') else { return Vec::new() };
    let labels = labels.rsplit_once('}').expect("the end of the labels").0;
    let names = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
    names.filter(|name| name != "le").collect()
}

fn shown(text: &str) -> BTreeMap<String, Shown> {
    let mut all: BTreeMap<String, Shown> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            all.entry(name.to_owned()).or_default().help = help.trim_end_matches('.').to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            all.entry(name.to_owned()).or_default().kind = kind.to_owned();
            current = name.to_owned();
        } else if !line.starts_with('#') {
            let found = labels(line.rsplit_once(' ').expect("a value").0);
            let shown = all.get_mut(&current).expect("a type comes first");
            assert!(shown.labels.is_empty() || shown.labels == found, "{line}");
            shown.labels = found;
        }
    }
    all
}

#[tokio::test]
async fn the_reference_is_what_is_shown() {
    let metrics = Metrics::new();
    touch(&metrics);
    // One connection, for the port's own metrics.
    let listener = Admin::listen("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(Admin::new(metrics.clone()).serve(listener, CancellationToken::new()));
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    stream.read_to_end(&mut Vec::new()).await.expect("answered");
    let shown = shown(&metrics.encode());
    for name in metrics.names() {
        assert!(shown.contains_key(name), "{name} is not touched by the test");
    }
    let mut text = HEAD.to_owned();
    for (name, Shown { kind, help, labels }) in shown {
        // As named in queries.
        let name = if kind == "counter" { format!("{name}_total") } else { name };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let help = help.replace('<', "&lt;");
        text.push_str(&format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", ")));
    }
    text.push_str(NOT_HERE);
    expect_file!["../../../docs/metrics.md"].assert_eq(&text);
}
