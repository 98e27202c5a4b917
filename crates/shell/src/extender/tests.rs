//! What is reported when an extender does not answer as it should.

use super::breaker::{Breaker, FAILURES_MAX, PAUSE};
use super::http::Http;
use super::{Context, HttpExtender, Verb};
use crate::call::Caller;
use crate::heartbeat::Heartbeat;
use crate::outage::Outage;
use crate::tasks::Tasks;
use crate::write::{EventSink, EventSinkConfig, Leading};
use kube_client::Client;
use kube_client::client::Body;
use secondmate_config::{Extender, ExtenderTls};
use secondmate_framework::Parity;
use secondmate_model::{Pod, wire};
use secondmate_telemetry::Metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that answers each request with these bytes and closes the connection; with `None` it stays silent. Returns its URL.
async fn serve(answer: Option<&'static str>) -> String {
    serve_with(move || answer).await
}

/// The same with bytes that may change.
async fn serve_with(answer: impl Fn() -> Option<&'static str> + Send + 'static) -> String {
    serve_and_close(answer, true).await
}

/// The same, and the connection may be left open.
async fn serve_and_close(answer: impl Fn() -> Option<&'static str> + Send + 'static, close: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"question") {
                let mut bytes = [0; 4096];
                let read = stream.read(&mut bytes).await.expect("a request");
                request.extend_from_slice(&bytes[..read]);
            }
            let head = String::from_utf8_lossy(&request).to_lowercase();
            assert!(head.starts_with("post /base/filter http/1.1"), "{head}");
            assert!(head.contains("content-type: application/json"), "{head}");
            let answer = answer();
            stream.write_all(answer.unwrap_or_default().as_bytes()).await.expect("sent");
            if answer.is_none() || !close {
                open.push(stream);
            }
        }
    });
    url
}

async fn ask(url: &str, timeout: Duration) -> Result<String, String> {
    let extender =
        Extender { url_prefix: format!("{url}/base//"), http_timeout: Some(timeout), ..Extender::default() };
    let http = Http::new(&extender).await.expect("a client");
    let answer = http.post("filter", b"question".to_vec()).await.map_err(|error| error.to_string());
    answer.map(|body| String::from_utf8_lossy(&body).into_owned())
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_answer_is_what_comes_with_200() {
    let url = serve(Some("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")).await;
    assert_eq!(ask(&url, LONG).await, Ok("{}".to_owned()));
    let url = serve(Some("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops")).await;
    let said = format!("failed filter with extender at URL {url}/base/filter, code 500");
    assert_eq!(ask(&url, LONG).await, Err(said));
    let url = serve(Some("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let said = format!("failed filter with extender at URL {url}/base/filter, code 204");
    assert_eq!(ask(&url, LONG).await, Err(said));
}

#[tokio::test]
async fn an_answer_that_is_whole_is_taken_though_its_end_never_comes() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                  10\r\n{\"NodeNames\":[]}\r\n";
    let url = serve_and_close(move || Some(answer), false).await;
    let asked = tokio::time::timeout(LONG, ask(&url, LONG * 60)).await.expect("it does not wait");
    assert_eq!(asked, Ok("{\"NodeNames\":[]}".to_owned()));
    // What is closed and yet no value is waited for, as before.
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{]\r\n";
    let url = serve_and_close(move || Some(answer), false).await;
    assert!(ask(&url, Duration::from_millis(50)).await.is_err());
}

#[tokio::test]
async fn silence_ends_with_the_time_out() {
    let url = serve(None).await;
    let said = format!(
        "Post \"{url}/base/filter\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    );
    assert_eq!(ask(&url, Duration::from_millis(50)).await, Err(said));
}

#[tokio::test]
async fn what_breaks_off_is_told_in_the_words_of_go() {
    let url = serve(Some("")).await;
    assert_eq!(ask(&url, LONG).await, Err(format!("Post \"{url}/base/filter\": EOF")));
    let url = serve(Some("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"NodeNames\":[")).await;
    assert_eq!(ask(&url, LONG).await, Err("unexpected EOF".to_owned()));
    let url = serve(Some("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"NodeNames\":[]}")).await;
    assert_eq!(ask(&url, LONG).await, Ok("{\"NodeNames\":[]}".to_owned()), "nothing is missing");
    let url = serve(Some("SSH-2.0-OpenSSH_9.2\r\n\r\n")).await;
    let said = ask(&url, LONG).await.expect_err("that is no HTTP");
    let expected = format!(
        "Post \"{url}/base/filter\": net/http: HTTP/1.x transport connection broken: malformed HTTP response"
    );
    assert!(said.starts_with(&expected), "{said}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let said = ask(&format!("http://{address}"), LONG).await;
    let expected =
        format!("Post \"http://{address}/base/filter\": dial tcp {address}: connect: connection refused");
    assert_eq!(said, Err(expected));
}

#[tokio::test]
async fn what_cannot_be_called_is_refused_when_it_is_made() {
    let tls = |tls: ExtenderTls| Extender {
        url_prefix: "https://127.0.0.1:1".to_owned(),
        tls_config: Some(tls),
        ..Extender::default()
    };
    let with_ca = ExtenderTls { insecure: true, ca_file: "/ca.crt".to_owned(), ..ExtenderTls::default() };
    let lost = ExtenderTls { ca_file: "/does/not/exist".to_owned(), ..ExtenderTls::default() };
    for (extender, expected) in [
        (
            Extender { url_prefix: "gpu.kube-system:80".to_owned(), ..Extender::default() },
            "http:// or https://",
        ),
        (Extender::default(), "urlPrefix is not a URL"),
        (tls(with_ca), "exclude each other"),
        (tls(lost), "/does/not/exist"),
    ] {
        let refused = Http::new(&extender).await.err().expect("it is refused").to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

/// The events go nowhere: there is no API server.
fn context(metrics: &Metrics) -> Context {
    let service = tower::service_fn(|_: http::Request<Body>| {
        std::future::pending::<kube_client::Result<http::Response<Body>>>()
    });
    let config =
        EventSinkConfig { parity: Parity::Strict, host: "host".to_owned(), outage: Outage::default() };
    let (tasks, _) = Tasks::new(tokio_util::sync::CancellationToken::new());
    let caller = Caller::new(Client::new(service, "default"), None, LONG);
    let leading = Leading::new(tokio::sync::watch::channel(None).1);
    Context {
        runtime: tokio::runtime::Handle::current(),
        heartbeat: Heartbeat::new(),
        metrics: metrics.clone(),
        events: Some(EventSink::start(caller, leading, metrics, config, Arc::default(), tasks)),
    }
}

#[tokio::test]
async fn the_gauge_of_an_extender_that_is_not_asked_falls_when_it_answers_again() {
    let well = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&well);
    let url = serve_with(move || match answers.load(Ordering::Relaxed) {
        true => Some("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        false => Some("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
    })
    .await;
    let configured = Extender {
        url_prefix: format!("{url}/base"),
        filter_verb: "filter".to_owned(),
        ignorable: true,
        ..Extender::default()
    };
    let (metrics, http) = (Metrics::new(), Http::new(&configured).await.expect("a client"));
    let breaker = Some(Breaker::default());
    let extender = HttpExtender { name: "e".into(), configured, http, breaker, context: context(&metrics) };
    let wire: wire::Pod = serde_json::from_str(r#"{"metadata":{"name":"p","uid":"p"}}"#).expect("a pod");
    let pod = Pod::new(&wire).expect("it compiles");
    let ask = || async {
        let asked = extender.ask(Verb::Filter, &pod, b"question".to_vec(), |_| Ok(())).await;
        (asked.is_ok(), metrics.extenders.suspended("e").get())
    };
    for failures in 1..FAILURES_MAX {
        assert_eq!(ask().await, (false, 0), "{failures}");
    }
    assert_eq!(ask().await, (false, 1));
    well.store(true, Ordering::Relaxed);
    assert_eq!(ask().await, (false, 1), "it is not asked");
    tokio::time::pause();
    tokio::time::advance(PAUSE).await;
    tokio::time::resume();
    assert_eq!(ask().await, (true, 0));
}
