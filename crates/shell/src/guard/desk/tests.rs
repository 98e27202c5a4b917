use super::super::{feed, review};
use super::*;
use crate::inbox::Message;
use crate::lease::Term;
use crate::tasks::Tasks;
use http::{Request, Response};
use kube_client::Client;
use kube_client::client::Body;
use secondmate_core::port::{Input, PodWatch};
use std::collections::BTreeSet;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const POD: &[u8] = br#"{
    "metadata": { "name": "web", "namespace": "team", "uid": "u-1" },
    "spec": { "schedulerName": "mate", "containers": [{ "name": "c" }] }
}"#;
const REVIEW: &[u8] = br#"{
    "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
    "request": { "uid": "r-1", "name": "web", "namespace": "team", "object": {
        "metadata": { "name": "web", "namespace": "team", "uid": "u-1" },
        "target": { "kind": "Node", "name": "n1" }
    } }
}"#;

/// A desk that leads, and what keeps it leading.
fn desk(client: Client, currency: &Currency, metrics: &Metrics) -> (Desk, watch::Sender<Option<Term>>) {
    let caller = Caller::new(client, None, Duration::from_secs(1));
    let (leads, leading) = watch::channel(Some(Term::unlimited()));
    (Desk::new(Leading::new(leading), currency.clone(), caller, metrics.clone()), leads)
}

/// Begins to keep the books; returns how the only watch tells them something.
fn keep(desk: &Desk) -> mpsc::Sender<Message> {
    let (tasks, _failures) = Tasks::new(CancellationToken::new());
    let (watch, messages) = mpsc::channel(1);
    tokio::spawn(feed::feed(desk.clone(), messages, BTreeSet::from([0]), tasks));
    watch
}

async fn until_it_decides(desk: &Desk) {
    let waited = async {
        while desk.decides().is_err() {
            tokio::time::sleep(feed::TURN).await;
        }
    };
    timeout(Duration::from_secs(60), waited).await.expect("it decides");
}

/// Whoever reads there gets no answer.
fn nowhere() -> Client {
    let nowhere = kube_client::Config::new("http://127.0.0.1:1".parse().expect("a URL"));
    Client::try_from(nowhere).expect("a client")
}

#[tokio::test(start_paused = true)]
async fn when_a_look_ends_the_next_one_that_is_due_begins() {
    let service = tower::service_fn(|_: Request<Body>| async {
        let gone = Response::builder().status(404).body(Body::empty());
        Ok::<_, kube_client::Error>(gone.expect("a response"))
    });
    let (desk, _leads) = desk(Client::new(service, "default"), &Currency::default(), &Metrics::new());
    let _watch = keep(&desk);
    for number in 0..100 {
        let text = String::from_utf8_lossy(POD).replace("u-1", &format!("u-{number}"));
        let pod = Source::try_from(text.as_bytes()).and_then(Source::pod).expect("a pod");
        let pod = Arc::new(Pod::new(&pod).expect("a pod"));
        let bind = Bind { uid: Some(pod.uid.clone()), ..review::read(REVIEW).expect("a review").bind };
        desk.guard().decide(&bind, Some(&pod), Standing::Decides, desk.now());
    }
    assert_eq!(desk.guard().unseen(), 100);
    // Two or three turns after they have become due, which is not enough for one set of looks with each turn.
    tokio::time::sleep(Times::default().look_after + 2 * feed::TURN).await;
    assert_eq!(desk.guard().unseen(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_decides_when_its_books_contain_what_the_watches_have_shown() {
    let currency = Currency::default();
    let (desk, _leads) = desk(nowhere(), &currency, &Metrics::new());
    currency.add(0, "pods".to_owned());
    let watch = keep(&desk);
    currency.listing(0);
    currency.listed(0);
    // The end of the list is in the inbox.
    tokio::time::sleep(10 * CATCH_UP).await;
    assert!(desk.decides().is_err());
    watch.send(Message::Synced(0)).await.expect("it is fed");
    until_it_decides(&desk).await;
    // It breaks, and is resumed at once: what it has missed comes after that. Then nothing happens in the cluster.
    currency.failed(0);
    currency.answered(0);
    assert!(desk.decides().is_err());
    tokio::time::sleep(CATCH_UP / 2).await;
    assert!(desk.decides().is_err());
    until_it_decides(&desk).await;
    currency.listing(0);
    tokio::time::sleep(10 * CATCH_UP).await;
    assert!(desk.decides().is_err());
    currency.listed(0);
    assert!(desk.decides().is_err());
    until_it_decides(&desk).await;
}

/// A bind of a pod that the watches show only after this time, at a desk that looks pods up with this client. The pod must be known by then:
/// only then is the scheduler's name known.
async fn a_bind_whose_pod_is_shown_after(time: Duration, client: Client) {
    let metrics = Metrics::new();
    let (desk, _leads) = desk(client, &Currency::default(), &metrics);
    let watch = keep(&desk);
    watch.send(Message::Synced(0)).await.expect("it is fed");
    until_it_decides(&desk).await;
    let asked = review::read(REVIEW).expect("a review of a Binding");
    let shown = async {
        tokio::time::sleep(time).await;
        let pod = Source::try_from(POD).and_then(Source::pod).expect("a pod");
        let pod = Arc::new(Pod::new(&pod).expect("a pod"));
        watch.send(Message::Watched(Input::Pod(PodWatch::Pending, pod))).await.expect("it is fed");
    };
    tokio::join!(desk.decide(&asked), shown);
    assert_eq!(metrics.guard.binds("mate", "unknown-node").get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_the_watches_are_about_to_show_is_waited_for() {
    a_bind_whose_pod_is_shown_after(WATCHES_HAVE / 2, nowhere()).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_the_watches_show_during_a_look_is_known() {
    let service =
        tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, kube_client::Error>>());
    a_bind_whose_pod_is_shown_after(LOOK_TIMEOUT / 2, Client::new(service, "default")).await;
}

#[tokio::test(start_paused = true)]
async fn many_pods_that_the_watches_do_not_show_are_looked_up_in_turn() {
    let service = tower::service_fn(|_: Request<Body>| async {
        tokio::time::sleep(LOOK_TIMEOUT / 5).await;
        Ok::<_, kube_client::Error>(Response::new(Body::from(POD.to_vec())))
    });
    let metrics = Metrics::new();
    let (desk, _leads) = desk(Client::new(service, "default"), &Currency::default(), &metrics);
    let watch = keep(&desk);
    watch.send(Message::Synced(0)).await.expect("it is fed");
    until_it_decides(&desk).await;
    let asked = review::read(REVIEW).expect("a review of a Binding");
    futures::future::join_all((0..2 * LOOKS_MAX + 1).map(|_| desk.decide(&asked))).await;
    assert_eq!(metrics.guard.binds("", "unknown-pod").get(), 0);
    assert_eq!(metrics.guard.binds("mate", "unknown-node").get(), 2 * LOOKS_MAX as u64 + 1);
}
