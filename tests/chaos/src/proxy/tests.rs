//! Each fault is what it says, before an API server that counts what reaches it.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use kube_client::client::Body;
use secondmate_harness::wait_until;

use super::*;

const EVENTS: usize = 20;
/// Longer than any fault of these tests.
const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    proxy: Proxy,
    reached: Arc<AtomicUsize>,
}

impl World {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let reached = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reached);
        let service = tower::service_fn(move |request: Request<Body>| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let body = match Kind::of(request.method(), request.uri()) {
                Kind::Watch => (0..EVENTS).map(|n| format!("{{\"event\":{n}}}\n")).collect(),
                Kind::List => format!("{{\"list\":{number}}}"),
                _ => r#"{"kind":"Binding"}"#.to_owned(),
            };
            std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body)))))
        });
        let (upstream, listener) = runtime.block_on(async {
            (Client::new(service, "default"), TcpListener::bind("127.0.0.1:0").await.unwrap())
        });
        let proxy = Proxy::serve(runtime, upstream, listener, 1).unwrap();
        Self { proxy, reached }
    }

    fn strike(&self, kinds: &'static [Kind], fault: Fault) {
        self.proxy.strike(Box::leak(Box::new([Rule { kinds, percent: 100, fault }])));
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// All that comes back until the connection ends.
    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.proxy.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The answer to a binding, and whether it was carried out before that.
    fn bind(&self, fault: Fault) -> (String, bool) {
        self.strike(&[Kind::Bind], fault);
        let before = self.reached();
        let answer = self.ask("POST", "/api/v1/namespaces/a/pods/b/binding");
        assert_eq!(self.proxy.struck(), 1, "{fault:?}");
        (answer, self.reached() > before)
    }

    fn watch(&self, fault: EventFault) -> String {
        self.strike(&[Kind::Watch], Fault::Events(fault));
        let answer = self.ask("GET", "/api/v1/pods?watch=true");
        assert!(self.proxy.struck() > 0, "{fault:?}");
        answer
    }
}

/// Where the body of a stream ends as it should.
const END: &str = "0\r\n\r\n";

fn lines(answer: &str) -> usize {
    answer.matches("{\"event\":").count()
}

#[test]
fn without_rules_everything_passes() {
    let world = World::new();
    let answer = world.ask("POST", "/api/v1/namespaces/a/pods/b/binding");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(r#"{"kind":"Binding"}"#),
        "{answer}"
    );
    let answer = world.ask("GET", "/api/v1/pods?watch=true");
    assert!(lines(&answer) == EVENTS && answer.ends_with(END), "{answer}");
    assert_eq!((world.reached(), world.proxy.struck()), (2, 0));
}

#[test]
fn a_binding_is_carried_out_or_not_whatever_is_answered() {
    let world = World::new();
    let at_once = Duration::ZERO;
    let conflict = Reply::Status(409, false);
    let starts = |(answer, carried_out): (String, bool), start: &str, expected: bool| {
        assert!(answer.starts_with(start), "{answer}");
        assert_eq!(carried_out, expected, "{start}: {answer}");
    };
    starts(world.bind(Fault::Refused(conflict)), "HTTP/1.1 409 Conflict\r\n", false);
    starts(world.bind(Fault::Denied(conflict)), "HTTP/1.1 409 Conflict\r\n", true);
    starts(world.bind(Fault::Refused(Reply::Page)), "HTTP/1.1 502 Bad Gateway\r\n", false);
    starts(world.bind(Fault::Slow(at_once, Duration::from_millis(5))), "HTTP/1.1 200 OK\r\n", true);
    assert_eq!(world.bind(Fault::Closed(at_once)), (String::new(), false));
    assert_eq!(world.bind(Fault::Lost(at_once)), (String::new(), true));
    let later = world.bind(Fault::Refused(Reply::Status(429, true))).0;
    assert!(later.contains("\r\nretry-after: 1\r\n"), "{later}");

    let before = world.reached();
    let (answer, _) = world.bind(Fault::Overtaken(Duration::from_millis(5)));
    assert_eq!(answer, "");
    wait_until(PATIENCE, "the binding to be carried out", || Ok((world.reached() > before).then_some(())))
        .unwrap();
}

#[test]
fn bodies_are_broken() {
    let world = World::new();
    let body = |fault| world.bind(Fault::Body(fault)).0.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(BodyFault::Half), r#"{"kind":""#);
    assert_eq!(body(BodyFault::Truncated), r#"{"kind":""#);
    assert!(world.bind(Fault::Body(BodyFault::Truncated)).0.contains("content-length: 18\r\n"));
    assert_eq!(body(BodyFault::Empty), "");
    assert!(body(BodyFault::Garbage).contains("nothing that was asked for"));
    let pieces = body(BodyFault::Drip);
    assert!(pieces.lines().count() > 8 && pieces.ends_with(END), "{pieces}");
}

#[test]
fn a_list_stays_as_it_was_first() {
    let world = World::new();
    let list = || world.ask("GET", "/api/v1/pods?limit=500");
    let first = list();
    world.strike(&[Kind::List], Fault::OldList);
    assert!(list().ends_with(r#"{"list":0}"#) && first.ends_with(r#"{"list":0}"#));
    world.proxy.heal();
    assert!(list().ends_with(r#"{"list":1}"#));
}

#[test]
fn events_are_broken() {
    let world = World::new();
    let cut = world.watch(EventFault::Cut);
    assert!(lines(&cut) < EVENTS && !cut.ends_with(END), "{cut}");
    let half = world.watch(EventFault::HalfLine);
    assert!(lines(&half) < EVENTS && half.ends_with(END), "{half}");
    let expired = world.watch(EventFault::Error(410));
    assert!(
        expired.contains("\"ERROR\"") && expired.contains("\"code\":410") && expired.ends_with(END),
        "{expired}"
    );
    assert_eq!(lines(&world.watch(EventFault::Twice)), 2 * EVENTS);
    let stale = world.watch(EventFault::Stale);
    let numbers: Vec<&str> =
        stale.split("{\"event\":").skip(1).filter_map(|rest| rest.split('}').next()).collect();
    let (last, before) = numbers.split_last().unwrap();
    assert!(before.contains(last) && stale.ends_with(END), "{stale}");
    let garbage = world.watch(EventFault::Garbage);
    assert!(lines(&garbage) < EVENTS && garbage.contains("nothing that was asked for"), "{garbage}");
    assert_eq!(lines(&world.watch(EventFault::Silent)), 0);
    assert_eq!(lines(&world.watch(EventFault::Late(Duration::from_millis(2)))), EVENTS);
}

#[test]
fn a_parted_proxy_closes_every_connection() {
    let world = World::new();
    world.proxy.part();
    assert_eq!(world.ask("GET", "/version"), "");
    assert_eq!(world.reached(), 0);
    world.proxy.heal();
    assert!(world.ask("GET", "/version").starts_with("HTTP/1.1 200 OK\r\n"));
}
