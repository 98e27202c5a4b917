//! Pods of ours that a kubelet rejected: two schedulers gave away the same room, and the kubelet had the last word.
//!
//! Such a pod has failed before it started, and only its owner can replace it. It is counted under the kubelet's reason, and an event on
//! the pod names the pods of other schedulers on the node, one of which took the room. These pods have their own watch, because the watch
//! of assigned pods leaves out pods that have terminated.

use crate::call::chain;
use crate::dump::selector_value;
use crate::inbox::{Inbox, Message};
use crate::watch::{Watched, must_list_anew};
use crate::write::{EventNote, EventSink, Leading, PodRef};
use futures::StreamExt;
use kube_client::{Api, Client};
use kube_runtime::watcher::{self, Event};
use rustc_hash::FxHashSet;
use secondmate_core::Scheduler;
use secondmate_core::port::{EventType, Input};
use secondmate_guard::{is_for_want_of_room, rejection};
use secondmate_model::objects::ApiResource;
use secondmate_model::{Atom, Uid, wire};
use secondmate_telemetry::Metrics;
use serde::Deserialize;
use std::cmp::Reverse;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// The API server ends a watch after this time; a connection on which nothing arrives for longer is given up.
const WATCH_SECONDS: u32 = 290;
/// A list is given up if its next part has not arrived within this time.
const LIST_TIMEOUT: Duration = Duration::from_secs(90);
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Maximum number of other schedulers' pods that an event names.
const NAMED_MAX: usize = 3;
/// The parts of a failed pod that are read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Failed {
    metadata: wire::ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    reason: Box<str>,
    message: Box<str>,
}

impl Failed {
    /// An object that is not a pod at all has failed for no relevant reason.
    fn read(object: &Watched) -> Self {
        serde_json::from_str(object.text()).unwrap_or_default()
    }

    fn reference(&self) -> PodRef {
        let metadata = &self.metadata;
        PodRef {
            namespace: Atom::new(&metadata.namespace),
            name: metadata.name.clone(),
            uid: Uid::from(&*metadata.uid),
            resource_version: metadata.resource_version.clone(),
        }
    }
}

/// What the watch needs.
pub(crate) struct Rejections {
    pub client: Client,
    pub leading: Leading,
    pub events: EventSink,
    pub inbox: Inbox,
    pub metrics: Metrics,
    /// The scheduler name whose pods are watched.
    pub name: Atom,
}

impl Rejections {
    /// Watches for ever, starting when this process first leads: a standby reports nothing.
    pub async fn run(mut self) {
        while !self.leading.may_write() {
            self.leading.changed().await;
        }
        let api: Api<Watched> = Api::all_with(self.client.clone(), &ApiResource::PODS);
        let fields = format!("spec.schedulerName={},status.phase=Failed", selector_value(self.name.as_str()));
        let config = watcher::Config::default().timeout(WATCH_SECONDS).fields(&fields);
        // The UIDs of failed pods. Pods in the first list may have failed at any time before, so they are not reported.
        let mut known = None;
        let mut pause = PAUSE_MIN;
        loop {
            self.follow(api.clone(), config.clone(), &mut known, &mut pause).await;
        }
    }

    /// Runs one watcher until it has to be replaced.
    async fn follow(
        &self,
        api: Api<Watched>,
        config: watcher::Config,
        known: &mut Option<FxHashSet<Box<str>>>,
        pause: &mut Duration,
    ) {
        let mut stream = pin!(watcher::watcher(api, config));
        let mut listed = FxHashSet::default();
        let mut lists = false;
        loop {
            // A list that stalls would never end: its answer has already begun, so none of the client's timeouts applies.
            let event = if lists {
                let Ok(event) = timeout(LIST_TIMEOUT, stream.next()).await else {
                    debug!(name = %self.name, "the list of rejected pods took longer than {LIST_TIMEOUT:?}, trying again");
                    return;
                };
                event
            } else {
                stream.next().await
            };
            let Some(event) = event else { return };
            // Each list starts with one of these, even one that fails.
            lists = matches!(event, Ok(Event::Init | Event::InitApply(_)));
            if event.is_ok() && !matches!(event, Ok(Event::Init)) {
                *pause = PAUSE_MIN;
            }
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    let pod = Failed::read(&object);
                    // Reported at once: a list that fails later on starts again, and shows this pod again.
                    if known.as_mut().is_some_and(|known| known.insert(pod.metadata.uid.clone())) {
                        self.failed(&pod).await;
                    }
                    listed.insert(pod.metadata.uid);
                }
                Ok(Event::InitDone) => *known = Some(std::mem::take(&mut listed)),
                Ok(Event::Apply(object)) => {
                    let pod = Failed::read(&object);
                    if known.get_or_insert_default().insert(pod.metadata.uid.clone()) {
                        self.failed(&pod).await;
                    }
                }
                Ok(Event::Delete(object)) => {
                    known.get_or_insert_default().remove(&Failed::read(&object).metadata.uid);
                }
                Err(error) => {
                    // The watches that scheduling depends on report when the API server is unavailable.
                    debug!(name = %self.name, "rejected pods: {}; trying again in {pause:?}", chain(&error));
                    sleep(*pause).await;
                    *pause = (*pause * 2).min(PAUSE_MAX);
                    if must_list_anew(&error) {
                        return;
                    }
                }
            }
        }
    }

    async fn failed(&self, pod: &Failed) {
        let Some(cause) = rejection(&pod.status.reason, &pod.status.message) else { return };
        if !self.leading.may_write() {
            return;
        }
        self.metrics.kubelet_rejections(cause).inc();
        if is_for_want_of_room(cause) {
            let rejected = Input::PodRejected(Uid::from(&*pod.metadata.uid));
            let _ = self.inbox.send(Message::Watched(rejected)).await;
        }
        let node = Atom::new(&pod.spec.node_name);
        let others = self.inbox.look({
            let node = node.clone();
            move |scheduler, _| others_on(scheduler, &node)
        });
        let Some(others) = others.await else { return };
        let note = note(&node, pod, &others);
        let regarding = pod.reference();
        warn!(pod = regarding.full_name(), "{note}");
        self.events.submit(EventNote {
            regarding,
            related: None,
            kind: EventType::Warning,
            reason: "RejectedByKubelet".into(),
            action: "Binding".into(),
            note,
            controller: self.name.clone(),
            time: jiff::Timestamp::now(),
        });
    }
}

/// Pods on a node that were bound by other schedulers: how many there are, and the names of some, those that came last first.
fn others_on(scheduler: &Scheduler, node: &Atom) -> (usize, Vec<String>) {
    let cache = scheduler.cache();
    let Some(info) = cache.node_info(node) else { return (0, Vec::new()) };
    let is_other = |name: &Atom| !scheduler.profiles().contains_key(name);
    // The node's own list is in no particular order.
    let mut others: Vec<_> = info.pods().iter().filter(|pod| is_other(&pod.scheduler_name)).collect();
    others.sort_by_key(|pod| Reverse(cache.arrival(&pod.uid)));
    let named = others.iter().take(NAMED_MAX);
    let named = named.map(|pod| format!("{} ({})", pod.full_name(), pod.scheduler_name)).collect();
    (others.len(), named)
}

fn note(node: &Atom, pod: &Failed, (count, named): &(usize, Vec<String>)) -> String {
    let Status { reason, message } = &pod.status;
    let mut text = format!("the kubelet of node {node} rejected the pod after it was bound: {reason}");
    if !message.is_empty() {
        text += &format!(": {message}");
    }
    if named.is_empty() {
        return text + "; the node holds no pods of other schedulers";
    }
    text += &format!("; pods of other schedulers on the node: {}", named.join(", "));
    if *count > named.len() {
        text += &format!(" and {} more", count - named.len());
    }
    text + "; a bind guard (secondmate guard) keeps two schedulers from giving away the same room"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Caller;
    use crate::lease::Term;
    use crate::outage::Outage;
    use crate::tasks::Tasks;
    use crate::write::EventSinkConfig;
    use futures::stream;
    use http::{Request, Response, StatusCode};
    use http_body_util::StreamBody;
    use hyper::body::{Bytes, Frame};
    use kube_client::client::Body;
    use secondmate_core::SchedulerConfig;
    use secondmate_core::port::PodWatch;
    use secondmate_framework::Parity;
    use secondmate_model::{Node, Pod, Timestamp};
    use serde_json::json;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    /// Watches an API server's pods, without a scheduler.
    fn rejections(client: Client, metrics: &Metrics) -> Rejections {
        let (_term, leading) = watch::channel(Some(Term::unlimited()));
        let leading = Leading::new(leading);
        let (tasks, _failures) = Tasks::new(CancellationToken::new());
        let events = EventSink::start(
            Caller::new(client.clone(), None, Duration::from_secs(60)),
            leading.clone(),
            metrics,
            EventSinkConfig { parity: Parity::Sensible, host: String::new(), outage: Outage::default() },
            Arc::default(),
            tasks,
        );
        let (inbox, _messages) = Inbox::new(metrics);
        Rejections {
            client,
            leading,
            events,
            inbox,
            metrics: metrics.clone(),
            name: Atom::new("my-scheduler"),
        }
    }

    /// How many requests are made in ten minutes to an API server whose answers have this status and begin with this, and, unless `ends`,
    /// do not end.
    async fn lists_in_ten_minutes(status: StatusCode, begins: &'static str, ends: bool) -> usize {
        let lists = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&lists);
        let service = tower::service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            let begin =
                stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(begins.as_bytes())))]);
            let rest = stream::pending();
            let body = if ends { begin.left_stream() } else { begin.chain(rest).right_stream() };
            let body = StreamBody::new(body);
            let answer = Response::builder().status(status).body(body).expect("a response");
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        let looks = rejections(Client::new(service, "default"), &Metrics::new()).run();
        assert!(timeout(Duration::from_secs(600), looks).await.is_err(), "it looks for ever");
        lists.load(Ordering::Relaxed)
    }

    #[test]
    fn the_pods_of_others_that_came_last_are_named() {
        let mut scheduler = Scheduler::new(SchedulerConfig::default(), Vec::new());
        let now = Timestamp::from_secs(1000);
        let wire: wire::Node =
            serde_json::from_value(json!({"metadata": {"name": "n1", "uid": "n1"}})).expect("a node");
        scheduler.apply(Input::Node(Arc::new(Node::new(&wire).expect("it compiles"))), now);
        let mut show = |name: &str, version: &str| {
            let wire: wire::Pod = serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": version},
                "spec": {"schedulerName": "next-door", "nodeName": "n1", "containers": []},
            }))
            .expect("a pod");
            let pod = Arc::new(Pod::new(&wire).expect("it compiles"));
            scheduler.apply(Input::Pod(PodWatch::Assigned, pod), now);
        };
        for name in ["a", "b", "c", "d", "e"] {
            show(name, "1");
        }
        // The kubelet has written the status of one, and another one is gone.
        show("a", "2");
        scheduler.apply(Input::PodGone(PodWatch::Assigned, Uid::from("b")), now);
        let names = ["shop/e (next-door)", "shop/d (next-door)", "shop/c (next-door)"].map(str::to_owned);
        assert_eq!(others_on(&scheduler, &Atom::new("n1")), (4, names.to_vec()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_cannot_list_is_asked_less_and_less_often() {
        let lists = lists_in_ten_minutes(StatusCode::INTERNAL_SERVER_ERROR, "{}", true).await;
        assert!((10..40).contains(&lists), "{lists}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_stalls_is_begun_again() {
        let lists = lists_in_ten_minutes(StatusCode::OK, "{", false).await;
        assert_eq!(lists, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_list_has_shown_that_fails_part_way_is_not_told_again() {
        let page = |items: &str, rest: &str| {
            let text = format!(r#"{{"metadata":{{"resourceVersion":"7"{rest}}},"items":[{items}]}}"#);
            (StatusCode::OK, text)
        };
        let pod = r#"{"metadata":{"namespace":"shop","name":"web","uid":"u","resourceVersion":"6"},
            "spec":{"nodeName":"n"},"status":{"phase":"Failed","reason":"OutOfcpu"}}"#;
        let first_page = || page(pod, r#","continue":"more""#);
        let failure = || (StatusCode::INTERNAL_SERVER_ERROR, "{}".to_owned());
        // The first list reports nothing; the second one fails on its second page, twice.
        let answers = [
            page("", ""),
            (
                StatusCode::OK,
                r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#.to_owned(),
            ),
            first_page(),
            failure(),
            first_page(),
            failure(),
            first_page(),
            page("", ""),
        ];
        let left = Arc::new(Mutex::new(VecDeque::from(answers)));
        let script = Arc::clone(&left);
        let service = tower::service_fn(move |_: Request<Body>| {
            let next = script.lock().expect("nobody panics with it").pop_front();
            async move {
                let Some((status, text)) = next else { return std::future::pending().await };
                Ok::<_, Infallible>(
                    Response::builder()
                        .status(status)
                        .body(Body::from(text.into_bytes()))
                        .expect("a response"),
                )
            }
        });
        let metrics = Metrics::new();
        let looks = rejections(Client::new(service, "default"), &metrics).run();
        assert!(timeout(Duration::from_secs(60), looks).await.is_err(), "it looks for ever");
        assert_eq!(left.lock().expect("nobody panics with it").len(), 0, "all answers were asked for");
        assert_eq!(metrics.kubelet_rejections("OutOfcpu").get(), 1);
    }
}
