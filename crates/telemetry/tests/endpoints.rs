//! The port as seen by an operator, a probe and Prometheus: over real connections on loopback.

mod pprof;
mod touch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secondmate_telemetry::{Admin, AttemptResult, DebugResponse, Metrics, Probe, StatusLabel};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use touch::touch;

struct Port {
    admin: Admin,
    address: SocketAddr,
    debug: SocketAddr,
    cancel: CancellationToken,
}

impl Port {
    async fn open() -> Self {
        let admin = Admin::new(Metrics::new());
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = Admin::listen(any).await.expect("a free port");
        let debug_listener = Admin::listen_debug(any).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let debug = debug_listener.local_addr().expect("bound");
        let cancel = CancellationToken::new();
        tokio::spawn(admin.clone().serve(listener, cancel.clone()));
        tokio::spawn(admin.clone().serve_debug(debug_listener, cancel.clone()));
        Self { admin, address, debug, cancel }
    }

    /// The status, headers and body of the answer to a request.
    async fn request(&self, method: &str, path: &str, body: &str) -> (u16, BTreeMap<String, String>, String) {
        let of_debug = path.starts_with("/debug") || path.starts_with("/configz");
        Self::request_at(if of_debug { self.debug } else { self.address }, method, path, body).await
    }

    /// Media type and text of a scrape by a client with this `Accept` header.
    async fn scrape(&self, path: &str, accept: &str) -> (String, String) {
        let path = format!("{path} HTTP/1.1\r\nAccept: {accept}\r\nX-Rest:");
        let (status, headers, text) = self.request("GET", &path, "").await;
        assert_eq!(status, 200, "{text}");
        (headers["content-type"].clone(), text)
    }

    async fn request_at(
        address: SocketAddr,
        method: &str,
        path: &str,
        body: &str,
    ) -> (u16, BTreeMap<String, String>, String) {
        let mut stream = TcpStream::connect(address).await.expect("the port is open");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("answered");
        // A profile is not text.
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        (status.expect("a status"), headers, body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.request("GET", path, "").await;
        (status, body)
    }
}

#[tokio::test]
async fn probes_follow_the_checks() {
    let port = Port::open().await;
    assert_eq!(port.get("/healthz").await, (200, "ok".to_owned()));
    let synced = port.admin.health.flag("caches-synced", Probe::Ready, "waiting for nodes");
    assert_eq!(port.get("/livez").await, (200, "ok".to_owned()));
    let failed = "[+]ping ok\n[-]caches-synced failed: waiting for nodes\nreadyz check failed\n";
    assert_eq!(port.get("/readyz").await, (500, failed.to_owned()));
    assert_eq!(port.get("/readyz?exclude=caches-synced").await, (200, "ok".to_owned()));
    assert_eq!(port.get("/readyz/caches-synced").await, (500, "waiting for nodes".to_owned()));
    synced.pass();
    let passed = "[+]ping ok\n[+]caches-synced ok\nreadyz check passed\n";
    assert_eq!(port.get("/readyz?verbose").await, (200, passed.to_owned()));
    assert_eq!(port.get("/readyz/caches-synced").await, (200, "ok".to_owned()));
    assert_eq!(port.get("/readyz/nothing").await.0, 404);
    assert_eq!(port.request("POST", "/readyz", "").await.0, 405);
    let (status, text) = port.get("/elsewhere").await;
    assert_eq!((status, text.contains("/readyz")), (404, true), "{text}");
}

#[tokio::test]
async fn configz_shows_the_configuration() {
    let port = Port::open().await;
    port.admin.set_configuration(json!({"kind": "KubeSchedulerConfiguration"}));
    let (status, body) = port.get("/configz").await;
    let value: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, value), (200, json!({"componentconfig": {"kind": "KubeSchedulerConfiguration"}})));
}

#[tokio::test]
async fn debug_handlers_are_mounted_while_it_runs() {
    let port = Port::open().await;
    assert_eq!(port.get("/debug").await, (200, String::new()));
    port.admin.mount("cache/compare", "compares the cache", async |request| {
        DebugResponse::json(&json!({
            "method": request.method,
            "query": request.query,
        }))
    });
    assert_eq!(port.get("/debug/").await, (200, "/debug/cache/compare\tcompares the cache\n".to_owned()));
    let (status, headers, body) = port.request("POST", "/debug/cache/compare?node=a%2Fb&full", "").await;
    assert_eq!((status, headers["content-type"].as_str()), (200, "application/json"));
    let value: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(value, json!({"method": "POST", "query": {"node": "a/b", "full": ""}}));
    assert_eq!(port.get("/debug/other").await.0, 404);
    assert_eq!(port.request("DELETE", "/debug/cache/compare", "").await.0, 405);
}

#[tokio::test]
async fn what_names_pods_is_at_an_address_of_its_own() {
    let port = Port::open().await;
    port.admin.mount("queue", "the pods that wait", async |_| DebugResponse::text("default/web-1"));
    for path in ["/configz", "/debug", "/debug/", "/debug/queue"] {
        let (status, _, text) = Port::request_at(port.address, "GET", path, "").await;
        assert_eq!((status, text.contains("--debug-listen")), (404, true), "{path}: {text}");
        assert_eq!(Port::request_at(port.debug, "GET", path, "").await.0, 200, "{path}");
    }
    for path in ["/livez", "/metrics"] {
        assert_eq!(Port::request_at(port.debug, "GET", path, "").await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn what_costs_others_something_is_not_run_again_at_once() {
    let port = Port::open().await;
    let hour = Duration::from_secs(3600);
    port.admin.mount_costly("compare", "lists everything", hour, async |_| DebugResponse::text("equal"));
    assert_eq!(port.get("/debug/compare").await, (200, "equal".to_owned()));
    let (status, text) = port.get("/debug/compare").await;
    assert_eq!((status, text.contains("try again in 3600 s")), (429, true), "{text}");
}

#[tokio::test]
async fn debug_requests_run_one_at_a_time() {
    let port = Arc::new(Port::open().await);
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = (started.clone(), finish.clone());
    port.admin.mount("slow", "takes its time", move |_| {
        let (started, finish) = handler.clone();
        async move {
            started.notify_one();
            finish.notified().await;
            DebugResponse::text("done")
        }
    });
    let first = tokio::spawn({
        let port = port.clone();
        async move { port.get("/debug/slow").await }
    });
    started.notified().await;
    assert_eq!(port.get("/debug/slow").await.0, 429);
    assert_eq!(port.get("/healthz").await.0, 200, "probes do not wait");
    finish.notify_one();
    assert_eq!(first.await.expect("no panic"), (200, "done".to_owned()));
}

#[tokio::test]
async fn the_port_closes_when_cancelled_and_a_taken_address_is_named() {
    let port = Port::open().await;
    let error = Admin::listen(port.address).await.expect_err("taken").to_string();
    assert!(error.starts_with(&format!("cannot listen on {}", port.address)), "{error}");
    assert!(error.ends_with("choose another address with --listen"), "{error}");
    port.cancel.cancel();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(port.address).await.is_ok() {
        assert!(std::time::Instant::now() < deadline, "the port stays open");
        tokio::task::yield_now().await;
    }
}

/// `name type` for every metric, sorted, without `process_*`, which depends on the machine.
fn types(text: &str) -> Vec<String> {
    let mut types: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter(|line| !line.starts_with("process_"))
        .map(ToOwned::to_owned)
        .collect();
    types.sort();
    types
}

#[tokio::test]
async fn names_and_types_are_kube_schedulers() {
    let port = Port::open().await;
    touch(&port.admin.metrics);
    let (media_type, text) =
        port.scrape("/metrics", "application/openmetrics-text;q=0.6,text/plain;q=0.3").await;
    assert_eq!(media_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(
        types(&text),
        [
            "apiserver_delegated_authn_request counter",
            "apiserver_delegated_authn_request_duration_seconds histogram",
            "apiserver_delegated_authz_request counter",
            "apiserver_delegated_authz_request_duration_seconds histogram",
            "kubernetes_build_info gauge",
            "kubernetes_feature_enabled gauge",
            "leader_election_master_status gauge",
            "leader_election_slowpath counter",
            "rest_client_rate_limiter_duration_seconds histogram",
            "rest_client_request_duration_seconds histogram",
            "rest_client_request_retries counter",
            "rest_client_request_size_bytes histogram",
            "rest_client_requests counter",
            "rest_client_response_size_bytes histogram",
            "scheduler_cache_size gauge",
            "scheduler_event_handling_duration_seconds histogram",
            "scheduler_framework_extension_point_duration_seconds histogram",
            "scheduler_goroutines gauge",
            "scheduler_inflight_events gauge",
            "scheduler_pending_pods gauge",
            "scheduler_permit_wait_duration_seconds histogram",
            "scheduler_plugin_evaluation counter",
            "scheduler_plugin_execution_duration_seconds histogram",
            "scheduler_pod_scheduled_after_flush counter",
            "scheduler_pod_scheduling_attempts histogram",
            "scheduler_pod_scheduling_sli_duration_seconds histogram",
            "scheduler_preemption_attempts counter",
            "scheduler_preemption_evaluation_duration_seconds histogram",
            "scheduler_preemption_execution_duration_seconds histogram",
            "scheduler_preemption_goroutines_duration_seconds histogram",
            "scheduler_preemption_goroutines_execution counter",
            "scheduler_preemption_pdb_violations counter",
            "scheduler_preemption_victims histogram",
            "scheduler_queue_incoming_entities counter",
            "scheduler_queue_incoming_pods counter",
            "scheduler_queued_entities gauge",
            "scheduler_queueing_hint_execution_duration_seconds histogram",
            "scheduler_schedule_attempts counter",
            "scheduler_scheduling_algorithm_duration_seconds histogram",
            "scheduler_scheduling_attempt_duration_seconds histogram",
            "scheduler_unschedulable_pods gauge",
            "secondmate_attempts_repeated counter",
            "secondmate_bind_concurrency gauge",
            "secondmate_bind_conflicts counter",
            "secondmate_bind_requests counter",
            "secondmate_binds_averted counter",
            "secondmate_budget_reads counter",
            "secondmate_build_info gauge",
            "secondmate_cache_comparer_differences gauge",
            "secondmate_cache_comparer_runs counter",
            "secondmate_events_dropped counter",
            "secondmate_extender_call_duration_seconds histogram",
            "secondmate_extender_calls counter",
            "secondmate_extender_suspended gauge",
            "secondmate_guard_answer_duration_seconds histogram",
            "secondmate_guard_binds counter",
            "secondmate_guard_bound_unasked counter",
            "secondmate_guard_certificate_expiry_seconds gauge",
            "secondmate_guard_connections counter",
            "secondmate_guard_connections_failed counter",
            "secondmate_guard_deciding gauge",
            "secondmate_guard_refused counter",
            "secondmate_guard_settled counter",
            "secondmate_guard_unseen gauge",
            "secondmate_guest_failures counter",
            "secondmate_http_connections_closed counter",
            "secondmate_kubelet_rejections counter",
            "secondmate_last_room_wait_duration_seconds histogram",
            "secondmate_log_lines_dropped counter",
            "secondmate_node_reads counter",
            "secondmate_object_rejected counter",
            "secondmate_plugin_panics counter",
            "secondmate_pods_bound_by_others counter",
            "secondmate_pods_unserved gauge",
            "secondmate_poll_expired gauge",
            "secondmate_poll_left_out gauge",
            "secondmate_polls counter",
            "secondmate_preemptions_put_off counter",
            "secondmate_queue_full counter",
            "secondmate_queue_length gauge",
            "secondmate_queue_limit gauge",
            "secondmate_rejections_not_kept counter",
            "secondmate_shadow_decisions counter",
            "secondmate_shadow_score_difference histogram",
            "secondmate_shadow_worse_nodes counter",
            "secondmate_standing_asked counter",
            "secondmate_standing_bytes gauge",
            "secondmate_standing_class_changes counter",
            "secondmate_standing_classes gauge",
            "secondmate_standing_first_sights counter",
            "secondmate_standing_groups_visited counter",
            "secondmate_standing_hits counter",
            "secondmate_standing_nodes_evaluated counter",
            "secondmate_standing_plain counter",
            "secondmate_standing_trials counter",
            "secondmate_watch_restarts counter",
        ]
    );
    let mut names: Vec<_> =
        types(&text).iter().map(|line| line.split(' ').next().map(str::to_owned)).collect();
    names.sort();
    let mut registered: Vec<_> = port.admin.metrics.names().iter().cloned().map(Some).collect();
    registered.sort();
    assert_eq!(names, registered);
    if cfg!(target_os = "linux") {
        for name in
            ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_start_time_seconds "]
        {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name}");
        }
    }
}

#[tokio::test]
async fn numbers_arrive_with_their_labels() {
    let port = Port::open().await;
    touch(&port.admin.metrics);
    let (_, text) = port.get("/metrics").await;
    for expected in [
        "scheduler_schedule_attempts_total{result=\"scheduled\",profile=\"my-scheduler\"} 2",
        "scheduler_schedule_attempts_total{result=\"unschedulable\",profile=\"my-scheduler\"} 1",
        "scheduler_scheduling_attempt_duration_seconds_count{result=\"scheduled\",profile=\"my-scheduler\"} 2",
        "scheduler_scheduling_attempt_duration_seconds_bucket{le=\"0.004\",result=\"scheduled\",profile=\"my-scheduler\"} 1",
        "scheduler_framework_extension_point_duration_seconds_bucket{le=\"0.0002\",extension_point=\"Filter\",status=\"Success\",profile=\"my-scheduler\"} 1",
        "scheduler_plugin_evaluation_total{plugin=\"NodeName\",extension_point=\"Filter\",profile=\"my-scheduler\"} 7",
        "scheduler_unschedulable_pods{plugin=\"NodeResourcesFit\",profile=\"my-scheduler\"} 1",
        "scheduler_scheduling_algorithm_duration_seconds_count 1",
        "scheduler_pod_scheduling_attempts_bucket{le=\"2.0\"} 1",
        "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"1\"} 2",
        "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"14\"} 1",
        "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"15+\"} 2",
        "scheduler_pending_pods{queue=\"gated\"} 4",
        "scheduler_pending_pods{queue=\"active\"} 0",
        "scheduler_cache_size{type=\"assumed_pods\"} 9",
        "scheduler_goroutines{operation=\"binding\"} 1",
        "scheduler_queue_incoming_pods_total{queue=\"active\",event=\"UnscheduledPodAdd\"} 1",
        "scheduler_preemption_attempts_total 1",
        "scheduler_preemption_victims_bucket{le=\"4.0\"} 1",
        "leader_election_master_status{name=\"my-scheduler\"} 1",
        "secondmate_bind_conflicts_total{reason=\"already_bound\"} 1",
        "secondmate_build_info{version=\"0.1.0\",commit=\"abc\",kubernetes=\"1.37\"} 1",
        "secondmate_watch_restarts_total{resource=\"pods\",reason=\"gone\"} 2",
        "secondmate_object_rejected_total{kind=\"Node\"} 1",
        "secondmate_events_dropped_total 1",
        "secondmate_queue_length{queue=\"events\"} 12",
        "secondmate_queue_limit{queue=\"events\"} 1000",
        "secondmate_queue_full_total{queue=\"events\"} 1",
    ] {
        assert!(text.lines().any(|line| line == expected), "missing: {expected}\n{text}");
    }
    // No series that was not touched: no zeros for every status and result.
    assert!(!text.contains("result=\"error\""), "{text}");
}

/// As served by kube-scheduler: counters have the same name as their samples.
#[tokio::test]
async fn who_does_not_ask_for_open_metrics_gets_the_text_format() {
    let port = Port::open().await;
    touch(&port.admin.metrics);
    let (media_type, text) = port.scrape("/metrics", "*/*").await;
    assert_eq!(media_type, "text/plain; version=0.0.4; charset=utf-8");
    let (_, open_metrics) = port.scrape("/metrics", "application/openmetrics-text").await;
    let mut counters: Vec<String> = types(&open_metrics)
        .iter()
        .map(|line| {
            line.strip_suffix(" counter").map_or(line.clone(), |name| format!("{name}_total counter"))
        })
        .collect();
    counters.sort();
    assert_eq!(types(&text), counters);
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    let samples = |text: &str| -> Vec<String> {
        let own = |line: &&str| !line.starts_with('#') && !line.starts_with("process_");
        text.lines().filter(own).map(str::to_owned).collect()
    };
    let (mut found, mut expected) = (samples(&text), samples(&open_metrics));
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

/// Like `/metrics/slis` of Kubernetes' components.
#[tokio::test]
async fn what_came_of_checks_is_counted_for_each_probe() {
    let port = Port::open().await;
    let synced = port.admin.health.flag("caches-synced", Probe::Ready, "waiting for nodes");
    port.admin.health.register("watches", Probe::Live, || Ok(()));
    assert_eq!(port.get("/readyz").await.0, 500);
    synced.pass();
    for path in ["/readyz", "/readyz", "/livez", "/livez?exclude=watches"] {
        assert_eq!(port.get(path).await.0, 200);
    }
    // These are not probes.
    assert_eq!(port.get("/readyz/watches").await.0, 200);
    assert_eq!(port.admin.health.ready(), Ok(()));
    let (_, text) = port.scrape("/metrics/slis", "*/*").await;
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "# TYPE kubernetes_healthcheck gauge",
            "# TYPE kubernetes_healthchecks_total counter",
            "kubernetes_healthchecks_total{name=\"caches-synced\",type=\"readyz\",status=\"error\"} 1",
            "kubernetes_healthchecks_total{name=\"caches-synced\",type=\"readyz\",status=\"success\"} 2",
            "kubernetes_healthchecks_total{name=\"ping\",type=\"livez\",status=\"success\"} 2",
            "kubernetes_healthchecks_total{name=\"ping\",type=\"readyz\",status=\"success\"} 3",
            "kubernetes_healthchecks_total{name=\"watches\",type=\"livez\",status=\"success\"} 1",
            "kubernetes_healthchecks_total{name=\"watches\",type=\"readyz\",status=\"success\"} 3",
            "kubernetes_healthcheck{name=\"caches-synced\",type=\"readyz\"} 1",
            "kubernetes_healthcheck{name=\"ping\",type=\"livez\"} 1",
            "kubernetes_healthcheck{name=\"ping\",type=\"readyz\"} 1",
            "kubernetes_healthcheck{name=\"watches\",type=\"livez\"} 1",
            "kubernetes_healthcheck{name=\"watches\",type=\"readyz\"} 1",
        ]
    );
}

#[tokio::test]
async fn the_verbosity_of_the_log_is_changed_by_put() {
    let port = Port::open().await;
    let put = async |body: &str| port.request("PUT", "/debug/flags/v", body).await;
    secondmate_telemetry::logging::init(secondmate_telemetry::LogOptions::default()).expect("the first");
    let (status, _, text) = put("4").await;
    assert_eq!((status, text.as_str()), (200, "the log's verbosity is 4 now\n"));
    assert!(tracing::enabled!(tracing::Level::DEBUG) && !tracing::enabled!(tracing::Level::TRACE));
    assert_eq!(put("0").await.0, 200);
    assert!(tracing::enabled!(tracing::Level::INFO) && !tracing::enabled!(tracing::Level::DEBUG));
    let (status, _, text) = put("loud").await;
    assert_eq!((status, text.contains("\"loud\" is no verbosity")), (400, true), "{text}");
    assert_eq!(put(&"4".repeat(1 << 20)).await.0, 400);
    assert_eq!(port.get("/debug/flags/v").await.0, 405);
    port.admin.set_profiling(false);
    assert_eq!(put("4").await.0, 404);
}

/// Upper bounds of the buckets, with kube-scheduler's numbers: first, last, and how many (without +Inf).
#[tokio::test]
async fn buckets_are_kube_schedulers() {
    let metrics = Metrics::new();
    let profile = metrics.profile("p");
    profile.observe_attempt(AttemptResult::Error, Duration::ZERO);
    profile.extension_point("Bind").observe(StatusLabel::Error, Duration::ZERO);
    metrics.observe_pod_scheduling_sli(1, Duration::ZERO);
    metrics.event_handling_duration("NodeAdd").observe(0.0);
    metrics.queueing_hint_execution_duration("p", "e", "Queue").observe(0.0);
    profile.plugin("p", "Filter").observe(StatusLabel::Success, Duration::ZERO);
    metrics.permit_wait_duration(StatusLabel::Success).observe(0.0);
    metrics.preemption.evaluated(StatusLabel::Success, Duration::ZERO);
    metrics.preemption.carried_out(true, Duration::ZERO);
    let text = metrics.encode();
    for (name, first, last, count) in [
        ("scheduling_attempt_duration_seconds", 0.001, 16.384, 15),
        ("scheduling_algorithm_duration_seconds", 0.001, 16.384, 15),
        ("pod_scheduling_sli_duration_seconds", 0.01, 5242.88, 20),
        ("pod_scheduling_attempts", 1.0, 16.0, 5),
        ("framework_extension_point_duration_seconds", 0.0001, 0.2048, 12),
        ("plugin_execution_duration_seconds", 0.000_01, 0.022_168_378_2, 20),
        ("event_handling_duration_seconds", 0.0001, 0.2048, 12),
        ("queueing_hint_execution_duration_seconds", 0.000_01, 0.022_168_378_2, 20),
        ("preemption_victims", 1.0, 64.0, 7),
        ("preemption_evaluation_duration_seconds", 0.001, 32.768, 16),
        ("preemption_execution_duration_seconds", 0.001, 32.768, 16),
        ("preemption_goroutines_duration_seconds", 0.01, 5242.88, 20),
        ("permit_wait_duration_seconds", 0.001, 16.384, 15),
    ] {
        let prefix = format!("scheduler_{name}_bucket{{le=\"");
        let bounds: Vec<f64> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix)?.split('"').next()?.parse().ok())
            .filter(|bound: &f64| bound.is_finite())
            .collect();
        assert_eq!(bounds.len(), count, "{name}: {bounds:?}");
        let near = |found: f64, expected: f64| (found - expected).abs() <= expected * 1e-6;
        assert!(near(bounds[0], first) && near(bounds[count - 1], last), "{name}: {bounds:?}");
    }
}
