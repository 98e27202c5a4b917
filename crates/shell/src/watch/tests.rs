//! Watches on an API server with scripted answers.

use super::needs::Subject;
use super::*;
use crate::heartbeat::WatchHeartbeats;
use crate::inbox::{Inbox, Message};
use crate::outage::Outage;
use crate::tasks::{Failures, Tasks};
use http::{Request, Response};
use kube_client::Client;
use kube_client::client::Body;
use secondmate_core::port::{Input, PodWatch};
use secondmate_model::Atom;
use secondmate_model::objects::{ApiResource, ObjectKind, PluginObject};
use secondmate_telemetry::Metrics;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// An answer: the status and the body.
type Answer = (u16, String);

/// No answer at all.
const SILENCE: u16 = 0;

/// An API server that gives these answers to lists and watches, in order, and then hangs. It does not say what it serves.
fn server(lists: Vec<Answer>, watches: Vec<Answer>) -> (Client, Arc<Mutex<Vec<String>>>) {
    server_with(no_such_path, lists, watches)
}

/// The same, with what it answers to a request for a path of discovery. These requests are not logged.
fn server_with(
    discovery: fn(&str) -> Answer,
    lists: Vec<Answer>,
    watches: Vec<Answer>,
) -> (Client, Arc<Mutex<Vec<String>>>) {
    let answers = Arc::new(Mutex::new((VecDeque::from(lists), VecDeque::from(watches))));
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let next = if query.is_empty() {
            Some(discovery(request.uri().path()))
        } else {
            let is_watch = query.contains("watch=");
            let version =
                query.split('&').find_map(|p| p.strip_prefix("resourceVersion=")).unwrap_or("-").to_owned();
            let what = if is_watch { format!("watch {version}") } else { "list".to_owned() };
            log.lock().expect("nobody panics with it").push(what);
            let mut answers = answers.lock().expect("nobody panics with it");
            if is_watch { answers.1.pop_front() } else { answers.0.pop_front() }
        };
        async move {
            let Some((code, body)) = next.filter(|(code, _)| *code != SILENCE) else {
                return std::future::pending().await;
            };
            let response = Response::builder().status(code).body(Body::from(body.into_bytes()));
            Ok::<_, kube_client::Error>(response.expect("a response"))
        }
    });
    (Client::new(service, "default"), asked)
}

fn pod(name: &str, version: u32, cpu: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"), "resourceVersion": version.to_string()},
        "spec": {"schedulerName": "mate", "containers": [{"resources": {"requests": {"cpu": cpu}}}]},
    })
}

fn list(version: u32, pods: &[Value]) -> Answer {
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}, "items": pods});
    (200, list.to_string())
}

fn events(events: &[(&str, Value)]) -> Answer {
    let line = |(kind, object): &(&str, Value)| format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
    (200, events.iter().map(line).collect())
}

fn refusal(code: u16) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "x", "message": "no"});
    (code, status.to_string())
}

/// The running watch of pods; it ends when this is dropped.
struct Running {
    unfit: Arc<UnfitObjects>,
    heartbeats: WatchHeartbeats,
    outage: Outage,
    failures: Failures,
    _end: DropGuard,
}

fn start(client: Client, inbox: Inbox) -> Running {
    start_watch(client, inbox, Watch::of_pods(roles()))
}

/// One scheduler's roles, which counts nominations of others.
fn roles() -> needs::Roles {
    needs::Roles::of_names([Atom::new("mate")], true)
}

fn start_watch(client: Client, inbox: Inbox, watch: Watch) -> Running {
    let end = CancellationToken::new();
    let (tasks, failures) = Tasks::new(end.clone());
    let (unfit, heartbeats) = (Arc::new(UnfitObjects::default()), WatchHeartbeats::new());
    let outage = Outage::default();
    let context = Context {
        client,
        inbox,
        metrics: Metrics::new(),
        unfit: Arc::clone(&unfit),
        tasks,
        heartbeats: heartbeats.clone(),
        outage: outage.clone(),
        originals: Originals::default(),
        currency: Currency::default(),
    };
    spawn(context, watch, 0);
    Running { unfit, heartbeats, outage, failures, _end: end.drop_guard() }
}

/// Runs the watch of pods until it has sent this many messages; returns them as text.
async fn told(client: Client, count: usize) -> (Vec<String>, Arc<UnfitObjects>) {
    told_to(client, roles(), count).await
}

async fn told_to(client: Client, roles: needs::Roles, count: usize) -> (Vec<String>, Arc<UnfitObjects>) {
    let (inbox, mut messages) = Inbox::new(&Metrics::new());
    let Running { unfit, .. } = &start_watch(client, inbox, Watch::of_pods(roles));
    let mut words = Vec::new();
    // Of paused time: nothing here takes that long, except a watch that sends the same request for ever.
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(600);
    while words.len() < count {
        let message = tokio::time::timeout_at(end, messages.recv()).await;
        words.push(match message.unwrap_or_else(|_| panic!("only {words:?}")).expect("the watch runs") {
            Message::Watched(Input::Pod(PodWatch::Pending, pod)) => {
                format!("{}@{}", pod.name, pod.resource_version)
            }
            Message::Watched(Input::Pod(watch, pod)) => {
                format!("{watch:?} {}@{}", pod.name, pod.resource_version)
            }
            Message::Watched(Input::PodGone(PodWatch::Pending, uid)) => format!("gone {uid}"),
            Message::Watched(Input::PodGone(watch, uid)) => format!("{watch:?} gone {uid}"),
            Message::Synced(_) => "synced".to_owned(),
            Message::ListingPods(true) => "listing anew".to_owned(),
            Message::ListingPods(false) => "listed anew".to_owned(),
            _ => "something else".to_owned(),
        });
    }
    (words, Arc::clone(unfit))
}

#[tokio::test(start_paused = true)]
async fn a_410_on_the_request_itself_lists_anew_and_tells_what_vanished() {
    let (client, asked) = server(
        vec![
            list(5, &[pod("a", 1, "1"), pod("b", 2, "1"), pod("c", 3, "1")]),
            list(9, &[pod("b", 2, "1"), pod("c", 8, "1")]),
        ],
        vec![refusal(410)],
    );
    let (words, _) = told(client, 10).await;
    assert_eq!(words[..5], ["a@1", "b@2", "c@3", "synced", "listing anew"]);
    // A read may have found it on a node in the meantime, so it is reported as gone from there as well.
    assert_eq!(words[5..], ["b@2", "c@8", "gone uid-a", "Assigned gone uid-a", "listed anew"]);
    assert_eq!(*asked.lock().expect("readable"), ["list", "watch 5", "list", "watch 9"]);
}

#[tokio::test(start_paused = true)]
async fn a_410_in_the_stream_lists_anew_and_a_closed_watch_does_not() {
    let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
    let (client, asked) = server(
        vec![list(5, &[pod("a", 1, "1")]), list(12, &[])],
        vec![
            events(&[("ADDED", pod("b", 7, "1"))]),
            events(&[("DELETED", pod("b", 9, "1")), ("ERROR", gone)]),
        ],
    );
    let (words, _) = told(client, 9).await;
    assert_eq!(words[..5], ["a@1", "synced", "b@7", "gone uid-b", "Assigned gone uid-b"]);
    assert_eq!(words[5..], ["listing anew", "gone uid-a", "Assigned gone uid-a", "listed anew"]);
    assert_eq!(asked.lock().expect("readable")[..4], ["list", "watch 5", "watch 7", "list"]);
}

/// A kind of a plugin's own.
#[derive(serde::Deserialize)]
struct Rack {}
impl PluginObject for Rack {
    const API: ApiResource =
        ApiResource { group: "acme.com", version: "v1", kind: "Rack", plural: "racks", namespaced: false };
}

/// The next message of a watch that is about something else than pods; `None` where there is none within ten minutes.
async fn next(messages: &mut tokio::sync::mpsc::Receiver<Message>) -> Option<String> {
    let message = tokio::time::timeout(Duration::from_secs(600), messages.recv()).await.ok()?;
    Some(match message.expect("the watch runs") {
        Message::Watched(Input::Object(object)) => object.name().name.to_string(),
        Message::Watched(Input::ObjectGone(_, name)) => format!("gone {}", name.name),
        Message::Synced(_) => "synced".to_owned(),
        _ => "something else".to_owned(),
    })
}

/// An object without a namespace.
fn object(name: &str, version: u32) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": version.to_string()}, "provisioner": "d"})
}

/// What a gateway answers that knows no such path, whatever the API server behind it serves.
fn no_such_path(_: &str) -> Answer {
    (404, "404 page not found".to_owned())
}

/// The discovery of an API server that serves storage classes.
fn with_storage_classes(path: &str) -> Answer {
    let body = match path {
        "/apis" => groups("storage.k8s.io"),
        "/apis/storage.k8s.io/v1" => resources("storage.k8s.io/v1", "storageclasses"),
        _ => return no_such_path(path),
    };
    (200, body.to_string())
}

/// The same, without the resource of storage classes in its group.
fn without_the_resource(path: &str) -> Answer {
    let (code, body) = with_storage_classes(path);
    (code, body.replace("storageclasses", "csinodes"))
}

/// The same, without the group of storage classes.
fn without_the_group(path: &str) -> Answer {
    if path == "/apis" { (200, groups("apps").to_string()) } else { no_such_path(path) }
}

fn groups(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": name, "versions": [version]}]})
}

fn resources(version: &str, name: &str) -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [{"name": name}]})
}

/// The discovery of an API server that this process may not ask.
fn forbidden(_: &str) -> Answer {
    refusal(403)
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_finds_nothing_for_a_while_takes_nothing_away() {
    let mut lists = vec![list(5, &[object("a", 1)])];
    lists.extend(std::iter::repeat_n((404, "404 page not found".to_owned()), 8));
    lists.push(list(9, &[object("b", 8)]));
    let (client, _) = server(lists, vec![refusal(410)]);
    let (inbox, mut messages) = Inbox::new(&Metrics::new());
    let _running = start_watch(client, inbox, Watch::of(Subject::Objects(ObjectKind::StorageClass)));
    for expected in ["a", "synced", "b", "gone a"] {
        assert_eq!(next(&mut messages).await.as_deref(), Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_was_served_is_gone_after_minutes_if_the_api_server_says_so_or_it_is_a_plugins_own() {
    let in_tree = ObjectKind::StorageClass;
    for (kind, discovery, vanishes) in [
        (in_tree, no_such_path as fn(&str) -> Answer, false),
        (in_tree, forbidden, false),
        (in_tree, with_storage_classes, false),
        (in_tree, without_the_resource, true),
        (in_tree, without_the_group, true),
        (ObjectKind::own::<Rack>(), no_such_path, true),
        (ObjectKind::own::<Rack>(), without_the_group, true),
    ] {
        let mut lists = vec![list(5, &[object("a", 1)])];
        lists.extend(std::iter::repeat_n(refusal(404), 1000));
        let (client, asked) = server_with(discovery, lists, vec![refusal(410)]);
        let (inbox, mut messages) = Inbox::new(&Metrics::new());
        let _running = start_watch(client, inbox, Watch::of(Subject::Objects(kind)));
        for expected in ["a", "synced"] {
            assert_eq!(next(&mut messages).await.as_deref(), Some(expected), "{kind:?}");
        }
        let began = tokio::time::Instant::now();
        if vanishes {
            assert_eq!(next(&mut messages).await.as_deref(), Some("gone a"), "{kind:?}");
            assert!(began.elapsed() >= Duration::from_secs(300), "{:?}", began.elapsed());
        }
        assert_eq!(next(&mut messages).await, None, "{kind:?}");
        assert!(asked.lock().expect("readable").len() < 100, "it is asked for with pauses");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_was_never_served_holds_nothing_up() {
    for discovery in [without_the_group as fn(&str) -> Answer, forbidden] {
        let (client, _) = server_with(discovery, vec![refusal(404), list(9, &[object("b", 8)])], vec![]);
        let (inbox, mut messages) = Inbox::new(&Metrics::new());
        let _running = start_watch(client, inbox, Watch::of(Subject::Objects(ObjectKind::own::<Rack>())));
        for expected in ["synced", "b"] {
            assert_eq!(next(&mut messages).await.as_deref(), Some(expected));
        }
    }
}

/// A scheduler that took budgets or classes for absent would evict, and place pods, against them.
#[tokio::test(start_paused = true)]
async fn a_first_404_that_is_not_the_api_servers_word_is_asked_again_before_anything_is_scheduled() {
    for discovery in [no_such_path as fn(&str) -> Answer, with_storage_classes] {
        let mut lists = vec![refusal(404); 8];
        lists.push(list(9, &[object("a", 8)]));
        let (client, _) = server_with(discovery, lists, vec![]);
        let (inbox, mut messages) = Inbox::new(&Metrics::new());
        let _running = start_watch(client, inbox, Watch::of(Subject::Objects(ObjectKind::StorageClass)));
        for expected in ["a", "synced"] {
            assert_eq!(next(&mut messages).await.as_deref(), Some(expected));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_404_that_lasts_from_the_first_list_on_holds_nothing_up_for_longer_than_minutes() {
    for discovery in [no_such_path as fn(&str) -> Answer, with_storage_classes] {
        let (client, asked) = server_with(discovery, vec![refusal(404); 1000], vec![]);
        let (inbox, mut messages) = Inbox::new(&Metrics::new());
        let _running = start_watch(client, inbox, Watch::of(Subject::Objects(ObjectKind::StorageClass)));
        let began = tokio::time::Instant::now();
        assert_eq!(next(&mut messages).await.as_deref(), Some("synced"));
        let waited = began.elapsed();
        assert!((300..330).contains(&waited.as_secs()), "{waited:?}");
        assert!(asked.lock().expect("readable").len() < 50, "it is asked for with pauses");
    }
}

/// How many lists there were within two minutes, against an API server that always answers so.
async fn lists_in_two_minutes(listed: Answer, watched: Answer) -> usize {
    let always = |answer: Answer| std::iter::repeat_n(answer, 2000).collect::<Vec<_>>();
    let (client, asked) = server(always(listed), always(watched));
    let (inbox, _messages) = Inbox::new(&Metrics::new());
    let _running = start(client, inbox);
    tokio::time::sleep(Duration::from_secs(120)).await;
    asked.lock().expect("readable").iter().filter(|what| *what == "list").count()
}

/// A list may take longer than the API server's history lasts: one after the other would be all that there is.
#[tokio::test(start_paused = true)]
async fn lists_after_which_no_watch_succeeds_come_less_and_less_often() {
    let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
    let in_the_stream = lists_in_two_minutes(list(5, &[pod("a", 1, "1")]), events(&[("ERROR", gone)])).await;
    let at_the_start = lists_in_two_minutes(list(5, &[pod("a", 1, "1")]), refusal(410)).await;
    let forbidden = lists_in_two_minutes(list(5, &[pod("a", 1, "1")]), refusal(403)).await;
    // A tenth of a second at first, and ten seconds in the end; what is refused is asked for five times before a list.
    assert!((10..25).contains(&in_the_stream), "{in_the_stream}");
    assert!((10..25).contains(&at_the_start), "{at_the_start}");
    assert!((2..6).contains(&forbidden), "{forbidden}");
}

/// The history ends now and then; that is no reason to wait for long.
#[tokio::test(start_paused = true)]
async fn after_a_watch_that_has_shown_something_the_next_list_comes_soon() {
    let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
    let lists = (0..20).map(|n| list(10 * n, &[])).collect();
    let watches =
        (0..20).map(|n| events(&[("ADDED", pod("a", 10 * n + 1, "1")), ("ERROR", gone.clone())])).collect();
    let (client, asked) = server(lists, watches);
    let (inbox, _messages) = Inbox::new(&Metrics::new());
    let _running = start(client, inbox);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(asked.lock().expect("readable").iter().filter(|what| *what == "list").count(), 21);
}

#[tokio::test(start_paused = true)]
async fn errors_are_waited_out_and_a_line_that_is_no_event_starts_over() {
    let (client, asked) = server(
        vec![refusal(500), refusal(403), list(5, &[]), list(6, &[pod("a", 6, "1")])],
        vec![refusal(429), (200, "{\"type\":\"ADDED\",\"object\":]}\n".to_owned())],
    );
    let (words, _) = told(client, 4).await;
    assert_eq!(words, ["synced", "listing anew", "a@6", "listed anew"]);
    assert_eq!(asked.lock().expect("readable")[..6], ["list", "list", "list", "watch 5", "watch 5", "list"]);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_watch_goes_on_where_it_was_and_after_refusals_it_lists_anew() {
    let mut answers: Vec<Answer> = std::iter::repeat_n(refusal(503), 9).collect();
    answers.push(events(&[("ADDED", pod("a", 7, "1"))]));
    answers.extend(std::iter::repeat_n(refusal(400), 5));
    let (client, asked) = server(vec![list(5, &[]), list(8, &[pod("b", 8, "1")])], answers);
    let (words, _) = told(client, 5).await;
    assert_eq!(words, ["synced", "a@7", "listing anew", "b@8", "gone uid-a"]);
    let asked = asked.lock().expect("readable");
    let count = |what: &str| asked.iter().filter(|a| *a == what).count();
    assert_eq!((count("watch 5"), count("watch 7"), count("list")), (10, 5, 2));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_hangs_is_given_up() {
    // The second page never arrives, so the list starts again.
    let page = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "5", "continue": "x"}, "items": [pod("a", 1, "1")]});
    let lists = vec![(200, page.to_string()), (SILENCE, String::new()), list(6, &[pod("b", 6, "1")])];
    let (client, asked) = server(lists, vec![]);
    let (words, _) = told(client, 5).await;
    assert_eq!(words, ["a@1", "b@6", "gone uid-a", "Assigned gone uid-a", "synced"]);
    assert_eq!(asked.lock().expect("readable")[..3], ["list", "list", "list"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_understood_hides_no_other_and_is_remembered_until_it_is_corrected() {
    let (client, _) = server(
        vec![list(5, &[pod("bad", 1, "12 apples"), pod("good", 2, "1"), pod("turns", 3, "1")])],
        vec![events(&[
            ("MODIFIED", pod("turns", 6, "x")),
            ("MODIFIED", pod("bad", 7, "1")),
            ("ADDED", pod("late", 8, "1")),
        ])],
    );
    let (words, unfit) = told(client, 6).await;
    assert_eq!(words, ["good@2", "turns@3", "synced", "gone uid-turns", "bad@7", "late@8"]);
    let names: Vec<String> = unfit.list().into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(names, ["n/turns"]);
    let untold = unfit.take_untold();
    assert_eq!(untold.len(), 1);
    assert_eq!((untold[0].0.full_name().as_str(), untold[0].1.as_str()), ("n/turns", "mate"));
    assert_eq!(unfit.take_untold(), []);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_understood_and_vanished_while_no_watch_was_open_is_forgotten() {
    let stays = || pod("stays", 2, "12 apples");
    let (client, _) = server(
        vec![
            list(5, &[pod("never", 1, "12 apples"), stays(), pod("turns", 3, "1")]),
            list(9, &[stays(), pod("last", 8, "1")]),
        ],
        vec![events(&[("MODIFIED", pod("turns", 6, "x")), ("ADDED", pod("late", 7, "1"))]), refusal(410)],
    );
    let (inbox, mut messages) = Inbox::new(&Metrics::new());
    let running = start(client, inbox);
    let names = || running.unfit.list().into_iter().map(|(_, name, _)| name).collect::<Vec<_>>();
    let told = |message: &Message| match message {
        Message::Watched(Input::Pod(_, pod)) => pod.name.to_string(),
        _ => String::new(),
    };
    while told(&messages.recv().await.expect("the watch runs")) != "late" {}
    assert_eq!(names(), ["n/never", "n/stays", "n/turns"]);
    while told(&messages.recv().await.expect("the watch runs")) != "last" {}
    // The end of the list is at hand: the next pause comes after it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(names(), ["n/stays"]);
}

/// Nothing else is known, so nothing else could make the list remember what it has shown.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_understood_is_forgotten_where_nothing_else_was_known() {
    let (client, _) = server(vec![list(5, &[pod("bad", 1, "12 apples")]), list(9, &[])], vec![refusal(410)]);
    let (inbox, mut messages) = Inbox::new(&Metrics::new());
    let running = start(client, inbox);
    assert!(matches!(messages.recv().await, Some(Message::Synced(0))));
    assert!(!running.unfit.is_empty());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(running.unfit.is_empty(), "{:?}", running.unfit.list());
}

/// The pod with some of its fields changed.
fn but(mut pod: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, value) in changes {
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        if pod.pointer(parent).is_none() {
            pod[&parent[1..]] = json!({});
        }
        pod.pointer_mut(parent).expect("it is there")[field] = value.clone();
    }
    pod
}

/// A pod is created in another's place once that one is being deleted. If it were seen first, spread constraints and anti-affinity would
/// count both.
#[tokio::test(start_paused = true)]
async fn what_happens_to_pods_is_told_in_its_order_whatever_they_are() {
    let on = |name: &str, version| but(pod(name, version, "1"), &[("/spec/nodeName", json!("n1"))]);
    let leaving = but(on("old", 6), &[("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"))]);
    let foreign =
        |version| but(pod("other", version, "1"), &[("/spec/schedulerName", json!("default-scheduler"))]);
    let nominated = but(foreign(9), &[("/status/nominatedNodeName", json!("n1"))]);
    let (client, _) = server(
        vec![list(5, &[on("old", 3), foreign(4)])],
        vec![events(&[
            ("MODIFIED", leaving.clone()),
            ("ADDED", pod("new", 7, "1")),
            ("MODIFIED", on("new", 8)),
            ("MODIFIED", nominated),
            ("DELETED", leaving),
            ("MODIFIED", foreign(11)),
            ("MODIFIED", but(foreign(12), &[("/spec/nodeName", json!("n1"))])),
            ("DELETED", on("new", 13)),
        ])],
    );
    let (words, _) = told(client, 11).await;
    assert_eq!(
        words,
        [
            "Assigned old@3",
            "synced",
            "Assigned old@6",
            "new@7",
            "Assigned new@8",
            "gone uid-new",
            "ForeignNominated other@9",
            "Assigned gone uid-old",
            "ForeignNominated gone uid-other",
            "Assigned other@12",
            "Assigned gone uid-new",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_another_scheduler_is_told_as_long_as_it_may_have_been_assigned_to_a_node() {
    let theirs = |name: &str, version, cpu| {
        but(pod(name, version, cpu), &[("/spec/schedulerName", json!("default-scheduler"))])
    };
    let with =
        |name: &str, version, pointer: &str, value| but(theirs(name, version, "1"), &[(pointer, value)]);
    let was_tried = json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" }]);
    let is_bound = json!([{ "type": "PodScheduled", "status": "True" }]);
    let (client, _) = server(
        vec![list(
            5,
            &[
                theirs("tried", 1, "1"),
                theirs("leaves", 2, "1"),
                theirs("nominated", 3, "1"),
                theirs("bound", 4, "1"),
            ],
        )],
        vec![events(&[
            ("MODIFIED", with("tried", 6, "/status/conditions", was_tried.clone())),
            ("MODIFIED", with("tried", 7, "/status/conditions", is_bound)),
            ("MODIFIED", with("leaves", 8, "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"))),
            ("MODIFIED", with("nominated", 9, "/status/nominatedNodeName", json!("n1"))),
            ("MODIFIED", with("bound", 10, "/spec/nodeName", json!("n1"))),
            ("ADDED", with("gated", 11, "/spec/schedulingGates", json!([{ "name": "later" }]))),
            ("ADDED", with("fits-nowhere", 12, "/status/conditions", was_tried)),
            ("ADDED", theirs("bad", 13, "12 apples")),
            ("ADDED", theirs("last", 14, "1")),
        ])],
    );
    let (words, unfit) = told_to(client, roles().with_waiting_elsewhere(true), 13).await;
    assert!(unfit.is_empty());
    assert_eq!(
        words,
        [
            "ForeignWaiting tried@1",
            "ForeignWaiting leaves@2",
            "ForeignWaiting nominated@3",
            "ForeignWaiting bound@4",
            "synced",
            "ForeignWaiting gone uid-tried",
            "ForeignWaiting tried@7",
            "ForeignWaiting gone uid-leaves",
            "ForeignNominated nominated@9",
            "ForeignWaiting gone uid-nominated",
            "Assigned bound@10",
            "ForeignWaiting gone uid-bound",
            "ForeignWaiting last@14",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_another_scheduler_that_cannot_be_understood_matters_once_it_is_on_a_node() {
    let other = |version, node: &str| {
        let changes = [("/spec/schedulerName", json!("other")), ("/spec/nodeName", json!(node))];
        but(pod("bad", version, "12 apples"), &changes)
    };
    let no_pod = |name: &str, version, scheduler: &str| {
        let changes = [("/spec/schedulerName", json!(scheduler)), ("/spec/containers", json!(7))];
        but(pod(name, version, "1"), &changes)
    };
    let (client, _) = server(
        vec![list(5, &[other(1, ""), no_pod("theirs", 2, "other"), no_pod("ours", 3, "mate")])],
        vec![events(&[("MODIFIED", other(6, "n1")), ("ADDED", pod("late", 7, "1"))])],
    );
    let (words, unfit) = told(client, 2).await;
    assert_eq!(words, ["synced", "late@7"]);
    let names: Vec<String> = unfit.list().into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(names, ["n/bad", "n/ours"]);
    let untold: Vec<String> = unfit.take_untold().into_iter().map(|(unfit, _)| unfit.full_name()).collect();
    assert_eq!(untold, ["n/ours"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_never_answered_is_dead_while_others_are_answered() {
    let (client, _) = server(vec![list(5, &[])], vec![]);
    let (inbox, mut messages) = Inbox::new(&Metrics::new());
    let running = start(client, inbox);
    assert!(matches!(messages.recv().await, Some(Message::Synced(0))));
    assert_eq!(running.heartbeats.check(), Ok(()));
    tokio::time::advance(Duration::from_secs(200)).await;
    running.heartbeats.api.beat();
    let dead = running.heartbeats.check().expect_err("it has been silent");
    assert!(
        dead.starts_with(
            "the watch of pods (status.phase!=Succeeded,status.phase!=Failed) has had no answer for 200"
        ),
        "{dead}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_answered_lives_however_long_nothing_changes() {
    let watches = std::iter::repeat_n(events(&[]), 1000).collect();
    let (client, asked) = server(vec![list(5, &[])], watches);
    let (inbox, mut messages) = Inbox::new(&Metrics::new());
    let running = start(client, inbox);
    assert!(matches!(messages.recv().await, Some(Message::Synced(0))));
    tokio::time::advance(Duration::from_secs(200)).await;
    while asked.lock().expect("readable").len() < 5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    running.heartbeats.api.beat();
    assert_eq!(running.heartbeats.check(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_panics_is_told_by_name() {
    let service = tower::service_fn(|_: Request<Body>| async {
        panic!("an answer that nobody thought of");
        #[expect(unreachable_code, reason = "the type of an answer")]
        Ok::<Response<Body>, kube_client::Error>(Response::new(Body::empty()))
    });
    let (inbox, _messages) = Inbox::new(&Metrics::new());
    let mut running = start(Client::new(service, "default"), inbox);
    let told = tokio::time::timeout(Duration::from_secs(600), running.failures.next()).await;
    let failure = told.expect("it is told");
    assert_eq!(
        failure.to_string(),
        "task \"watch of pods (status.phase!=Succeeded,status.phase!=Failed)\" panicked: an answer that nobody thought of"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_begins_with_the_first_error_and_ends_with_an_answer_though_nothing_changes() {
    let mut watches: Vec<Answer> = std::iter::repeat_n(refusal(503), 4).collect();
    watches.extend(std::iter::repeat_n(events(&[]), 2));
    let (client, asked) = server(vec![list(5, &[])], watches);
    let (inbox, mut messages) = Inbox::new(&Metrics::new());
    let running = start(client, inbox);
    assert!(matches!(messages.recv().await, Some(Message::Synced(0))));
    let count = |n: usize| asked.lock().expect("readable").len() >= n;
    while !count(3) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(running.outage.is_on());
    while !count(7) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!running.outage.is_on());
}
