//! The bind guard on a sandbox whose API server calls it and whose kubelets reject what does not fit.

mod client;
mod connections;
mod verdicts;

use crate::fixture::*;
use secondmate_sandbox::{Fault, Sandbox, Target, Verb, When};
use secondmate_shell::{
    CertificateSource, ClusterConfig, End, Endpoint, GuardOptions, GuardService, Options,
};
use secondmate_telemetry::{Admin, Metrics};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub const NAMESPACE: &str = "guard";
const WEBHOOK: &str = "secondmate-guard";
const SECRET: &str = "secondmate-guard-tls";
pub const SERVICE: &str = "secondmate-guard";

/// A webhook configuration as in the manifests, without an authority yet.
pub fn register(sandbox: &Sandbox, policy: &str) {
    register_as(sandbox, WEBHOOK, policy);
}

fn register_as(sandbox: &Sandbox, name: &str, policy: &str) {
    let _ = sandbox.objects().create(json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE },
    }));
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": name },
        "webhooks": [{
            "name": "guard.secondmate.dev",
            "clientConfig": { "service": { "namespace": NAMESPACE, "name": SERVICE, "path": "/bind" } },
            "rules": [{
                "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                "resources": ["pods/binding", "bindings"],
            }],
            "failurePolicy": policy, "timeoutSeconds": 5, "sideEffects": "NoneOnDryRun",
            "admissionReviewVersions": ["v1"],
        }],
    });
    sandbox.objects().create(configuration).expect("a valid configuration");
}

fn guard_options(sandbox: &Sandbox, metrics: &Metrics) -> GuardOptions {
    let names = BTreeSet::from([format!("{SERVICE}.{NAMESPACE}.svc")]);
    let mut election = GuardOptions::election();
    // Short times, but such that a busy machine can keep to them.
    election.lease_duration = Duration::from_secs(5);
    election.renew_deadline = Duration::from_secs(4);
    election.retry_period = Duration::from_millis(300);
    GuardOptions {
        cluster: ClusterConfig::new(sandbox.url().parse().expect("a URL")),
        listen: "127.0.0.1:0".parse().expect("an address"),
        certificate: CertificateSource::Own {
            namespace: NAMESPACE.to_owned(),
            secret: SECRET.to_owned(),
            webhook: WEBHOOK.to_owned(),
            names,
        },
        client_authority: None,
        election: Some(election),
        endpoint: Some(Endpoint {
            namespace: NAMESPACE.to_owned(),
            service: SERVICE.to_owned(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }),
        admin: Admin::new(metrics.clone()),
    }
}

async fn start_guard(sandbox: &Sandbox, metrics: &Metrics) -> GuardService {
    let options = guard_options(sandbox, metrics);
    let admin = options.admin.clone();
    let guard = GuardService::start(options).await.expect("the guard starts");
    until("the guard is ready", || admin.health.ready().is_ok()).await;
    guard
}

/// A guard that has started, leads, and is reached by the API server.
pub async fn deciding_guard(sandbox: &Sandbox, metrics: &Metrics) -> GuardService {
    let guard = start_guard(sandbox, metrics).await;
    until("the guard decides", || metrics.guard.deciding.get() == 1).await;
    until("the Service leads to it", || endpoint_port(sandbox) == Some(u64::from(guard.address().port())))
        .await;
    guard
}

fn endpoint_port(sandbox: &Sandbox) -> Option<u64> {
    sandbox.objects().get("endpointslices", NAMESPACE, SERVICE)?["ports"][0]["port"].as_u64()
}

fn scheduler(sandbox: &Sandbox, name: &str) -> Options {
    Options { profiles: vec![profile(name)], ..options(sandbox) }
}

fn pod_of(scheduler: &str, name: &str, cpu: &str) -> Value {
    let mut pod = pod(name, cpu);
    pod["spec"]["schedulerName"] = scheduler.into();
    pod
}

fn count(metrics: &Metrics, series: &str) -> u64 {
    let text = metrics.encode();
    let line = text.lines().find(|line| line.split(' ').next() == Some(series));
    line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0)
}

/// Sends a binding as a scheduler does; returns the status and the message of the answer.
async fn bind(sandbox: &Sandbox, pod: &str, node: &str) -> (u16, String) {
    let uid = sandbox.objects().get("pods", "default", pod).map(|pod| pod["metadata"]["uid"].clone());
    let body = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": { "name": pod, "namespace": "default", "uid": uid },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    });
    post(sandbox, &format!("/api/v1/namespaces/default/pods/{pod}/binding"), body).await
}

async fn post(sandbox: &Sandbox, path: &str, body: Value) -> (u16, String) {
    use kube_client::client::Body;
    let config = ClusterConfig::new(sandbox.url().parse().expect("a URL"));
    let client = kube_client::Client::try_from(config).expect("a client");
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string().into_bytes()))
        .expect("a request");
    let response = client.send(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect_bytes().await.expect("a body");
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    (status, answer["message"].as_str().unwrap_or_default().to_owned())
}

/// Nodes that take one pod each, and half as many pods for each of two schedulers.
const RACE_NODES: u32 = 20;

/// Both schedulers place all their pods before the first is bound; returns how many pods the kubelets rejected in the end.
async fn race(sandbox: &Sandbox) -> usize {
    add_nodes(sandbox, 0, RACE_NODES as usize);
    for number in 0..RACE_NODES {
        let name = ["one", "two"][number as usize % 2];
        sandbox.objects().create(pod_of(name, &format!("p-{number}"), "4")).expect("a valid pod");
    }
    let while_both_choose = Duration::from_secs(3);
    sandbox.faults().inject(
        Target::bind(),
        Fault::Slow { min: while_both_choose, max: while_both_choose },
        When::Next(RACE_NODES),
    );
    let (one, two) = tokio::join!(try_start(scheduler(sandbox, "one")), try_start(scheduler(sandbox, "two")));
    let (one, two) = (one.expect("it starts"), two.expect("it starts"));
    let pending = || sandbox.objects().count_where("pods", "spec.nodeName=").expect("a valid selector");
    until("every pod on a node", || pending() == 0).await;
    assert_eq!((one.stop().await, two.stop().await), (End::Stopped, End::Stopped));
    let rejected = || sandbox.objects().count_where("pods", "status.phase=Failed").expect("a valid selector");
    let running = || sandbox.objects().count_where("pods", "status.phase=Running").expect("a valid selector");
    until("kubelets have taken or rejected every pod", || rejected() + running() == RACE_NODES as usize)
        .await;
    rejected()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_guard_kubelets_reject_pods_of_two_schedulers() {
    let sandbox = sandbox(0).await;
    assert!(race(&sandbox).await > 0, "or the next test shows nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_guard_two_schedulers_fill_the_nodes_and_no_kubelet_rejects_a_pod() {
    let sandbox = sandbox(0).await;
    register(&sandbox, "Ignore");
    let metrics = Metrics::new();
    let guard = deciding_guard(&sandbox, &metrics).await;
    assert_eq!(race(&sandbox).await, 0);
    assert_eq!(sandbox.history().bound_twice(), Vec::<String>::new());
    let approved: u64 = ["one", "two"]
        .iter()
        .map(|name| {
            let labels = format!("{{scheduler=\"{name}\",verdict=\"approved\"}}");
            count(&metrics, &format!("secondmate_guard_binds_total{labels}"))
        })
        .sum();
    assert_eq!(approved, u64::from(RACE_NODES));
    assert!(metrics.encode().contains("secondmate_guard_refused_total{reason=\"cpu\",first=\""));
    until("everything is seen", || metrics.guard.unseen.get() == 0).await;
    assert_eq!(metrics.guard.bound_unasked.get(), 0);
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_is_told_who_took_the_room() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Fail");
    let metrics = Metrics::new();
    let guard = deciding_guard(&sandbox, &metrics).await;
    for (name, cpu) in [("first", "3800m"), ("second", "300m"), ("third", "100m")] {
        sandbox.objects().create(pod_of("mate", name, cpu)).expect("a valid pod");
    }
    let node = sandbox.objects().list("nodes")[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    assert_eq!(bind(&sandbox, "first", &node).await, (201, String::new()));
    let (code, message) = bind(&sandbox, "second", &node).await;
    let expected = format!(
        "admission webhook \"guard.secondmate.dev\" denied the request: node {node} has no room for default/second: Insufficient cpu (300m asked, 3800m of 4000m bound); default/first was bound by mate "
    );
    assert!(code == 403 && message.starts_with(&expected), "{code} {message}");
    // The older resource is reviewed too, and a dry run counts nothing.
    let binding = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
            "target": { "kind": "Node", "name": node },
        })
    };
    let older = "/api/v1/namespaces/default/bindings";
    assert_eq!(post(&sandbox, older, binding("second")).await.0, 403);
    assert_eq!(post(&sandbox, &format!("{older}?dryRun=All"), binding("third")).await.0, 201);
    let unseen = metrics.guard.unseen.clone();
    until("the first is seen", || unseen.get() == 0).await;
    assert_eq!(post(&sandbox, older, binding("third")).await.0, 201);
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binds_go_on_without_the_guard_and_its_metrics_tell_of_those_that_it_was_not_asked_about() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Ignore");
    let metrics = Metrics::new();
    let guard = deciding_guard(&sandbox, &metrics).await;
    let node = sandbox.objects().list("nodes")[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    create_pods(&sandbox, "p", 3, "100m");
    assert_eq!(bind(&sandbox, "p-0", &node).await.0, 201);
    // The API server no longer trusts it.
    let nobody = json!({ "webhooks": [{
        "name": "guard.secondmate.dev", "clientConfig": { "url": "https://127.0.0.1:1/bind" },
        "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/binding"] }],
        "failurePolicy": "Ignore", "sideEffects": "None", "admissionReviewVersions": ["v1"],
    }] });
    sandbox.objects().merge("validatingwebhookconfigurations", "", WEBHOOK, "", &nobody).expect("a patch");
    assert_eq!(bind(&sandbox, "p-1", &node).await.0, 201);
    let unasked = metrics.guard.bound_unasked.clone();
    until("it is told", || unasked.get() == 1).await;
    drop(guard);
    assert_eq!(bind(&sandbox, "p-2", &node).await.0, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_that_another_one_undoes_is_given_back() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Ignore");
    let metrics = Metrics::new();
    let guard = deciding_guard(&sandbox, &metrics).await;
    let node = sandbox.objects().list("nodes")[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    create_pods(&sandbox, "p", 2, "3");
    let stale = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": { "name": "p-0", "namespace": "default", "resourceVersion": "1" },
        "target": { "kind": "Node", "name": node },
    });
    // The guard approves it, and the API server rejects it because of the resource version.
    let (code, _) = post(&sandbox, "/api/v1/namespaces/default/pods/p-0/binding", stale).await;
    assert_eq!(code, 409);
    let (code, message) = bind(&sandbox, "p-1", &node).await;
    assert!(code == 403 && message.contains("default/p-0 was bound by mate"), "{code} {message}");
    until("it is found out", || {
        count(&metrics, "secondmate_guard_settled_total{outcome=\"not-carried-out\"}") == 1
    })
    .await;
    assert_eq!(bind(&sandbox, "p-1", &node).await.0, 201);
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_decides_the_service_leads_to_it_and_both_have_one_certificate() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Fail");
    let (first_metrics, second_metrics) = (Metrics::new(), Metrics::new());
    let first = deciding_guard(&sandbox, &first_metrics).await;
    let bundle = || {
        let found =
            sandbox.objects().get("validatingwebhookconfigurations", "", WEBHOOK).expect("registered");
        found["webhooks"][0]["clientConfig"]["caBundle"].clone()
    };
    let told = bundle();
    assert!(told.is_string(), "{told}");
    let second = start_guard(&sandbox, &second_metrics).await;
    assert_eq!(
        (second_metrics.guard.deciding.get(), endpoint_port(&sandbox)),
        (0, Some(first.address().port().into()))
    );
    first.stop().await;
    until("the second takes over", || second_metrics.guard.deciding.get() == 1).await;
    let port = u64::from(second.address().port());
    until("the Service leads to it", || endpoint_port(&sandbox) == Some(port)).await;
    assert_eq!(bundle(), told);
    create_pods(&sandbox, "p", 1, "100m");
    let node = sandbox.objects().list("nodes")[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    assert_eq!(bind(&sandbox, "p-0", &node).await, (201, String::new()));
    let approved = "secondmate_guard_binds_total{scheduler=\"mate\",verdict=\"approved\"}";
    assert_eq!((count(&first_metrics, approved), count(&second_metrics, approved)), (0, 1));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_serve_yet_takes_the_lease_from_nobody_who_can() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Ignore");
    let first = deciding_guard(&sandbox, &Metrics::new()).await;
    let start = async |retry_period: Duration, configuration: &str| {
        let metrics = Metrics::new();
        let mut options = guard_options(&sandbox, &metrics);
        options.election.as_mut().expect("there is one").retry_period = retry_period;
        if let CertificateSource::Own { webhook, .. } = &mut options.certificate {
            *webhook = configuration.to_owned();
        }
        let admin = options.admin.clone();
        let guard = GuardService::start(options).await.expect("the guard starts");
        (guard, admin, metrics)
    };
    let (standby, admin, standby_metrics) = start(Duration::from_secs(3), WEBHOOK).await;
    until("the standby is ready", || admin.health.ready().is_ok()).await;
    // It has nothing to publish its authority in, and would take the Lease thirty times as fast.
    let (cold, _, cold_metrics) = start(Duration::from_millis(100), "later").await;
    first.stop().await;
    until("the standby takes over", || standby_metrics.guard.deciding.get() == 1).await;
    assert_eq!(cold_metrics.guard.deciding.get(), 0);
    register_as(&sandbox, "later", "Ignore");
    standby.stop().await;
    until("the other one has found its configuration", || cold_metrics.guard.deciding.get() == 1).await;
    cold.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_watch_is_behind_everything_passes() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Fail");
    let metrics = Metrics::new();
    let guard = deciding_guard(&sandbox, &metrics).await;
    let node = sandbox.objects().list("nodes")[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    create_pods(&sandbox, "p", 3, "3");
    assert_eq!(bind(&sandbox, "p-0", &node).await.0, 201);
    assert_eq!(bind(&sandbox, "p-1", &node).await.0, 403);
    // Its watches break, and its requests after that are not answered.
    let target = Target::verb(Verb::Watch);
    sandbox.faults().inject(target, Fault::ServiceUnavailable, When::Always);
    sandbox.faults().break_watches();
    until("it ceases to decide", || metrics.guard.deciding.get() == 0).await;
    assert_eq!(bind(&sandbox, "p-1", &node).await.0, 201);
    sandbox.faults().quiesce();
    until("it decides again", || metrics.guard.deciding.get() == 1).await;
    assert_eq!(bind(&sandbox, "p-2", &node).await.0, 403);
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_that_may_not_do_what_it_has_to_says_so_at_the_start() {
    let sandbox = sandbox(1).await;
    sandbox.access().deny("update", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "");
    sandbox.access().deny("get", "", "secrets", "");
    let error = GuardService::start(guard_options(&sandbox, &Metrics::new())).await.expect_err("it may not");
    let text = error.to_string();
    assert!(text.contains("get secrets named \"secondmate-guard-tls\" (namespace guard)"), "{text}");
    assert!(
        text.contains("update validatingwebhookconfigurations in admissionregistration.k8s.io"),
        "{text}"
    );
}

/// Without an election no instance decides, and every bind passes: the guard must not go on as if all were well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_election_ends_the_guard() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Ignore");
    let metrics = Metrics::new();
    let mut options = guard_options(&sandbox, &metrics);
    // The clock is read at each renewal; the first reading is for the creation of the Lease.
    let asked = std::sync::atomic::AtomicU32::new(0);
    let election = options.election.as_mut().expect("there is one");
    election.wall_clock = std::sync::Arc::new(move || {
        assert_eq!(asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed), 0, "no more time");
        jiff::Timestamp::now()
    });
    let mut guard = GuardService::start(options).await.expect("the guard starts");
    let failure = tokio::time::timeout(Duration::from_secs(60), guard.failed()).await.expect("it is told");
    assert_eq!(failure.task, "election of the bind guard");
    assert!(failure.reason.contains("no more time"), "{}", failure.reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_part_of_the_guard_that_could_be_stuck_fails_livez() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Ignore");
    let options = guard_options(&sandbox, &Metrics::new());
    let admin = options.admin.clone();
    let guard = GuardService::start(options).await.expect("the guard starts");
    assert_eq!(
        crate::probes::livez(&admin).await,
        "[+]ping ok\n[+]guard-credentials ok\n[+]guard-watches ok\n[+]guard-books ok\nlivez check passed\n"
    );
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_watch_is_silent_and_everything_is_refused_it_finds_that_out_and_everything_passes() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Fail");
    create_pods(&sandbox, "p", 2, "3");
    let node = sandbox.objects().list("nodes")[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    sandbox.objects().bind("default", "p-0", "", &node).expect("it is not bound");
    // It knows both pods from its first lists, and receives no more events.
    let silence = Fault::DelayEvents { max: Duration::from_secs(36_000) };
    sandbox.faults().inject(Target::of(Verb::Watch, "pods"), silence, When::Always);
    let metrics = Metrics::new();
    let guard = deciding_guard(&sandbox, &metrics).await;
    sandbox.objects().delete("pods", "default", "p-0", Some(0)).expect("it is there");
    assert_eq!(bind(&sandbox, "p-1", &node).await.0, 403);
    until("it is found out", || metrics.guard.deciding.get() == 0).await;
    assert_eq!(bind(&sandbox, "p-1", &node).await.0, 201);
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_leads_nowhere_when_the_last_one_stops_and_to_the_next_one_where_there_is_one() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Fail");
    let endpoints = |sandbox: &Sandbox| {
        let slice = sandbox.objects().get("endpointslices", NAMESPACE, SERVICE).expect("it is there");
        slice["endpoints"].as_array().map_or(0, Vec::len)
    };
    let first = deciding_guard(&sandbox, &Metrics::new()).await;
    let metrics = Metrics::new();
    let second = start_guard(&sandbox, &metrics).await;
    first.stop().await;
    until("the next one decides", || metrics.guard.deciding.get() == 1).await;
    until("the Service leads to it", || endpoint_port(&sandbox) == Some(u64::from(second.address().port())))
        .await;
    assert_eq!(endpoints(&sandbox), 1);
    second.stop().await;
    assert_eq!(endpoints(&sandbox), 0);
    let third = deciding_guard(&sandbox, &Metrics::new()).await;
    assert_eq!(endpoints(&sandbox), 1);
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_of_another_address_family_is_made_anew() {
    let sandbox = sandbox(1).await;
    register(&sandbox, "Fail");
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": SERVICE, "namespace": NAMESPACE, "labels": { "kubernetes.io/service-name": SERVICE },
        },
        "addressType": "IPv6", "endpoints": [{ "addresses": ["fd00::1"] }], "ports": [{ "name": "bind", "port": 1 }],
    });
    let uid = sandbox.objects().create(slice).expect("a valid slice")["metadata"]["uid"].clone();
    let guard = deciding_guard(&sandbox, &Metrics::new()).await;
    let found = sandbox.objects().get("endpointslices", NAMESPACE, SERVICE).expect("it is there");
    assert_eq!(
        (&found["addressType"], found["endpoints"][0]["addresses"][0].as_str()),
        (&json!("IPv4"), Some("127.0.0.1"))
    );
    // The API server allows no other way of changing it.
    assert_ne!(found["metadata"]["uid"], uid);
    guard.stop().await;
}
