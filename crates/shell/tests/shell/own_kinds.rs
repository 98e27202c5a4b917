//! Kinds that a plugin reads as its own types, and endpoints that are polled for it.

use crate::fixture::*;
use secondmate_config::{Configuration, EnabledPlugin, make_profiles};
use secondmate_cycle::Profile;
use secondmate_framework::{
    ActionType, ApiResource, Context, CycleState, Declaration, Endpoint, EventRegistration, EventResource,
    Filter, NodeInfo, NodeParts, ObjectKind, Plugin, PluginObject, Pod, PodParts, Poll, Right, Status,
};
use secondmate_sandbox::{Fault, Sandbox, Target, Verb, When};
use secondmate_shell::{Options, StartError};
use secondmate_telemetry::Metrics;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A ConfigMap that opens a node.
#[derive(Deserialize)]
struct Key {
    data: KeyData,
}
#[derive(Deserialize)]
struct KeyData {
    node: String,
}
impl PluginObject for Key {
    const API: ApiResource =
        ApiResource { group: "", version: "v1", kind: "ConfigMap", plural: "configmaps", namespaced: true };
}

/// Not served by any API server.
#[derive(Deserialize)]
struct Rack {}
impl PluginObject for Rack {
    const API: ApiResource =
        ApiResource { group: "acme.com", version: "v1", kind: "Rack", plural: "racks", namespaced: false };
}

/// The node named by an endpoint.
#[derive(Deserialize)]
struct Choice {
    node: String,
}
impl PluginObject for Choice {
    const API: ApiResource = ApiResource::polled("Choice");
}

/// Node names, as in a list.
#[derive(Deserialize)]
struct Listed {
    items: Vec<Value>,
}
impl PluginObject for Listed {
    const API: ApiResource = ApiResource::polled("Listed");
}

/// Pods go to nodes that are opened by a key or named by an endpoint.
#[derive(Clone, Default)]
struct Doors {
    polls: Vec<Poll>,
}

impl Plugin for Doors {
    fn name(&self) -> &str {
        "Doors"
    }
    fn declaration(&self) -> Declaration {
        let mut kinds = vec![ObjectKind::own::<Key>(), ObjectKind::own::<Rack>()];
        kinds.extend(self.polls.iter().map(|poll| ObjectKind::Own(poll.kind)));
        Declaration::of(PodParts::LABELS, NodeParts::NAME).with_objects(&kinds)
    }
    fn events(&self) -> Vec<EventRegistration> {
        let kinds = [EventResource::own::<Key>(), EventResource::own::<Choice>()];
        kinds.map(|kind| EventRegistration::new(kind, ActionType::ALL)).to_vec()
    }
    fn polls(&self) -> Vec<Poll> {
        self.polls.clone()
    }
    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }
}

impl Filter for Doors {
    fn filter(&self, cx: &Context<'_>, _: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let (objects, name) = (cx.snapshot.objects(), node.name().as_str());
        let chosen = objects.own::<Choice>().named("choice").is_some_and(|choice| choice.node == name);
        let key = objects.own::<Key>().get(&pod.namespace, "key").is_some_and(|key| key.data.node == name);
        if chosen || key { Status::SUCCESS } else { Status::unschedulable("closed") }
    }
}

fn profile(doors: &Doors) -> Profile {
    let mut registry = secondmate_plugins::registry().expect("in-tree names differ");
    let doors = doors.clone();
    registry
        .register("Doors", move |_, _| Ok(Arc::new(doors.clone()) as Arc<dyn Plugin>))
        .expect("a new name");
    let mut configuration = Configuration::for_scheduler_names(&[NAME]).expect("a name");
    let doors = EnabledPlugin { name: "Doors".to_owned(), weight: 0 };
    configuration.profiles[0].plugins.filter.push(doors);
    make_profiles(&configuration, &registry).expect("a profile").remove(0)
}

fn with(sandbox: &Sandbox, polls: Vec<Poll>) -> (Options, Metrics) {
    let options = options(sandbox);
    let metrics = options.admin.metrics.clone();
    (Options { profiles: vec![profile(&Doors { polls })], ..options }, metrics)
}

fn key(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "key", "namespace": "default"}, "data": data})
}

fn node_of(sandbox: &Sandbox, pod: &str) -> Option<String> {
    let pod = sandbox.objects().get("pods", "default", pod)?;
    pod["spec"]["nodeName"].as_str().map(str::to_owned)
}

fn quick(poll: Poll) -> Poll {
    poll.every(Duration::from_millis(100)).timeout(Duration::from_millis(300))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_is_watched_decoded_and_wakes_pods_and_one_that_is_not_served_holds_nothing_up() {
    let sandbox = sandbox(3).await;
    let (options, metrics) = with(&sandbox, Vec::new());
    let shell = try_start(options).await.expect("the scheduler starts");
    // What cannot be decoded is left out and reported, and disturbs nothing else.
    sandbox.objects().create(key(json!({"nodes": "all"}))).expect("any data will do for the API");
    until("the object is rejected", || metrics.object_rejected("ConfigMap").get() > 0).await;
    create_pods(&sandbox, "p", 1, "100m");
    until_core(&shell, "the pod waits", |core| core.queue().size().unschedulable == 1).await;
    sandbox.objects().update("configmaps", "", key(json!({"node": "node-00001"}))).expect("it is there");
    until_bound(&sandbox, 1).await;
    assert_eq!(node_of(&sandbox, "p-0").as_deref(), Some("node-00001"));
    let counts = shell.look(|core, _| core.objects().own_counts()).await.expect("the core runs");
    let counts: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind:?}: {count}")).collect();
    assert_eq!(counts, ["ConfigMap as Key: 1"]);
    // A relist shows what has gone.
    let rule = sandbox.faults().inject(Target::verb(Verb::Watch), Fault::ServiceUnavailable, When::Always);
    sandbox.faults().break_watches();
    sandbox.objects().delete("configmaps", "default", "key", None).expect("it is there");
    sandbox.objects().compact("configmaps");
    sandbox.faults().remove(rule);
    until_core(&shell, "the key is gone", |core| core.objects().own::<Key>().is_empty()).await;
    check(&shell).await.expect("the invariants hold");
    shell.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plugin_reads_and_polls_is_among_the_rights_that_are_checked() {
    let sandbox = sandbox(1).await;
    for (group, resource) in [("", "configmaps"), ("acme.com", "racks"), ("metrics.k8s.io", "nodes")] {
        sandbox.access().deny("list", group, resource, "");
    }
    let right = Right { verb: "list", group: "metrics.k8s.io", resource: "nodes" };
    let path = "/apis/metrics.k8s.io/v1beta1/nodes".to_owned();
    let poll = Poll::new::<Listed>("nodes", Endpoint::ApiServer { path, right });
    let (options, _) = with(&sandbox, vec![poll]);
    let StartError::Access { missing } = try_start(options).await.expect_err("it may not list") else {
        panic!("another error")
    };
    assert_eq!(missing, ["list configmaps", "list racks in acme.com", "list nodes in metrics.k8s.io"]);
}

/// Answers each connection with the current answer, or with nothing at all.
async fn server(answer: Arc<Mutex<Option<(u16, String)>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/choice?of=node", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let answer = answer.lock().expect("nobody panics with it").clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                assert!(request[..read].starts_with(b"GET /choice?of=node HTTP/1.1\r\n"));
                let Some((code, text)) = answer else { std::future::pending().await };
                let length = text.len();
                let answer = format!(
                    "HTTP/1.1 {code} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_an_endpoint_counts_until_it_is_too_old() {
    let sandbox = sandbox(3).await;
    let answer = Arc::new(Mutex::new(Some((200, json!({"node": "node-00002"}).to_string()))));
    let url = server(Arc::clone(&answer)).await;
    let poll = quick(Poll::new::<Choice>("choice", Endpoint::url(url)))
        .keep_for(Duration::from_millis(500))
        .left_out(|choice| usize::from(choice.get::<Choice>().is_some_and(|c| c.node == "node-00001")));
    let (options, metrics) = with(&sandbox, vec![poll]);
    let shell = try_start(options).await.expect("the scheduler starts");
    create_pods(&sandbox, "p", 1, "100m");
    until_bound(&sandbox, 1).await;
    assert_eq!(node_of(&sandbox, "p-0").as_deref(), Some("node-00002"));
    let say = |code: u16, text: &str| {
        *answer.lock().expect("nobody panics with it") = Some((code, text.to_owned()));
    };
    let polls = |result: &str| metrics.polls.polls("Choice", "choice", result).get();
    let expired = || metrics.polls.expired("Choice", "choice").get() == 1;
    until("the answer counts", || !expired()).await;
    // A bad answer is counted, and the last good one remains valid until it expires.
    say(200, "not JSON");
    until("it cannot be decoded", || polls("undecodable") > 0).await;
    say(503, "not now");
    until("it fails", || polls("error") > 0).await;
    *answer.lock().expect("nobody panics with it") = None;
    until("it is silent", || polls("timeout") > 0).await;
    until("the answer is withdrawn", expired).await;
    until_core(&shell, "the core has none", |core| core.objects().own::<Choice>().is_empty()).await;
    create_pods(&sandbox, "q", 1, "100m");
    until_core(&shell, "the pod waits", |core| core.queue().size().unschedulable == 1).await;
    say(200, &json!({"node": "node-00001"}).to_string());
    until("the second pod", || bound(&sandbox) == 2).await;
    assert_eq!(node_of(&sandbox, "q-0").as_deref(), Some("node-00001"));
    until("its parts are told", || !expired() && metrics.polls.left_out("Choice", "choice").get() == 1).await;
    shell.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_hangs_holds_nobody_up_and_is_not_called_twice_at_once() {
    let sandbox = sandbox(2).await;
    let (let_go, held) = mpsc::channel::<()>();
    let (held, calls) = (Mutex::new(held), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let function = move || {
        match counted.fetch_add(1, Ordering::Relaxed) {
            // Waits until the test releases it.
            0 => drop(held.lock().expect("nobody panics with it").recv()),
            1 => panic!("oh"),
            2 => return Err("not yet".to_owned()),
            _ => {}
        }
        Ok(json!({"node": "node-00000"}))
    };
    let poll = quick(Poll::new::<Choice>("choice", Endpoint::Function(Arc::new(function))));
    let right = Right { verb: "list", group: "metrics.k8s.io", resource: "nodes" };
    let path = "/apis/metrics.k8s.io/v1beta1/nodes".to_owned();
    let listed = quick(Poll::new::<Listed>("nodes", Endpoint::ApiServer { path, right }));
    let (options, metrics) = with(&sandbox, vec![poll, listed]);
    let shell = try_start(options).await.expect("the scheduler starts");
    let polls = |result: &str| metrics.polls.polls("Choice", "choice", result).get();
    until("the first call is given up, and there is no second", || {
        polls("timeout") == 1 && polls("error") > 2
    })
    .await;
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    until("another poll answers", || metrics.polls.polls("Listed", "nodes", "ok").get() > 0).await;
    until_core(&shell, "what the API server lists", |core| {
        core.objects().own::<Listed>().named("nodes").is_some_and(|listed| listed.items.len() == 2)
    })
    .await;
    let_go.send(()).expect("it waits");
    until("it answers after a panic and an error", || polls("ok") > 0).await;
    create_pods(&sandbox, "p", 1, "100m");
    until_bound(&sandbox, 1).await;
    assert!(calls.load(Ordering::Relaxed) >= 4);
    shell.stop().await;
}
