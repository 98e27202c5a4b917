//! An HTTP extender beside the scheduler: what it is sent, what it decides, and what happens to pods when it fails.

use crate::fixture::{NAME, bound, events_of, options, pod, sandbox, until, until_bound};
use rustix::fs::{Mode, OFlags};
use secondmate_config::{Configuration, Extender, ExtenderTls, PluginCatalogue, make_profiles};
use secondmate_sandbox::Sandbox;
use secondmate_shell::Shell;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Answer = Arc<dyn Fn(&str, &Value) -> Option<(u16, String)> + Send + Sync>;

/// An extender that gives scripted answers; `None` is silence. It records its requests.
#[derive(Clone)]
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// Credentials that came with the requests.
    headers: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str, &Value) -> Option<(u16, String)> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let server = Self { url, asked: Arc::default(), headers: Arc::default() };
        let (this, answer): (_, Answer) = (server.clone(), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(converse(stream, this.clone(), Arc::clone(&answer)));
            }
        });
        server
    }

    fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().expect("nobody panics with it").clone()
    }

    fn verbs(&self) -> Vec<String> {
        self.asked().into_iter().map(|(verb, _)| verb).collect()
    }
}

/// Answers the requests of one connection.
async fn converse(mut stream: TcpStream, server: Server, answer: Answer) {
    let mut bytes = Vec::new();
    loop {
        let (head, length) = loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let header = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = header.expect("a length").parse().expect("a number");
                if body.len() >= length {
                    break (head.len() + 4, length);
                }
            }
            let mut more = [0; 65_536];
            match stream.read(&mut more).await {
                Ok(0) | Err(_) => return,
                Ok(read) => bytes.extend_from_slice(&more[..read]),
            }
        };
        let line = String::from_utf8_lossy(&bytes[..head]).into_owned();
        let verb = line.split(' ').nth(1).expect("a path").trim_start_matches('/').to_owned();
        let body: Value = serde_json::from_slice(&bytes[head..head + length]).expect("JSON");
        bytes.drain(..head + length);
        let credentials = line.lines().filter(|header| header.starts_with("authorization: "));
        server.headers.lock().expect("nobody panics with it").extend(credentials.map(str::to_owned));
        server.asked.lock().expect("nobody panics with it").push((verb.clone(), body.clone()));
        let Some((code, answer)) = answer(&verb, &body) else { std::future::pending().await };
        let location = if code == 307 { "Location: /elsewhere?from=http://here\r\n" } else { "" };
        let length = answer.len();
        let answer = format!("HTTP/1.1 {code} X\r\n{location}Content-Length: {length}\r\n\r\n{answer}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn extender(server: &Server) -> Extender {
    Extender {
        url_prefix: server.url.clone(),
        filter_verb: "filter".to_owned(),
        node_cache_capable: true,
        http_timeout: Some(Duration::from_millis(200)),
        ..Extender::default()
    }
}

async fn start(sandbox: &Sandbox, extenders: Vec<Extender>) -> Shell {
    let options = secondmate_shell::Options { extenders, ..options(sandbox) };
    Shell::start(options).await.expect("the scheduler starts")
}

fn all_pass(body: &Value) -> Option<(u16, String)> {
    Some((200, json!({ "NodeNames": body["NodeNames"] }).to_string()))
}

fn create(sandbox: &Sandbox, name: &str) {
    sandbox.objects().create(pod(name, "100m")).expect("a valid pod");
}

fn node_of(sandbox: &Sandbox, name: &str) -> Option<String> {
    let pod = sandbox.objects().get("pods", "default", name)?;
    pod["spec"]["nodeName"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_filters_scores_and_binds() {
    let sandbox = sandbox(6).await;
    let objects = sandbox.objects();
    let server = Server::start(move |verb, body| match verb {
        "filter" => {
            let passed: Vec<&Value> = body["Nodes"]["items"].as_array()?.iter().take(2).collect();
            Some((200, json!({ "nodes": { "items": passed }, "failedNodes": {} }).to_string()))
        }
        "prioritize" => {
            let second = &body["Nodes"]["items"][1]["metadata"]["name"];
            Some((200, json!([{ "host": second, "score": 10 }]).to_string()))
        }
        "bind" => {
            let name = body["PodName"].as_str()?;
            let bound = objects.bind("default", name, body["PodUID"].as_str()?, body["Node"].as_str()?);
            Some((
                200,
                json!({ "Error": bound.err().map(|error| error.to_string()).unwrap_or_default() })
                    .to_string(),
            ))
        }
        _ => None,
    })
    .await;
    let shell = start(
        &sandbox,
        vec![Extender {
            prioritize_verb: "prioritize".to_owned(),
            weight: 100,
            bind_verb: "bind".to_owned(),
            node_cache_capable: false,
            http_timeout: None,
            ..extender(&server)
        }],
    )
    .await;
    create(&sandbox, "p");
    until_bound(&sandbox, 1).await;
    assert_eq!(server.verbs(), ["filter", "prioritize", "bind"]);
    let asked = server.asked();
    let (filter, bind) = (&asked[0].1, &asked[2].1);
    assert_eq!(filter["Pod"]["metadata"]["name"], "p");
    assert_eq!(filter["Pod"]["spec"]["containers"][0]["image"], "nginx:1", "the pod is sent whole");
    assert_eq!(filter["Nodes"]["items"].as_array().map(Vec::len), Some(6));
    assert!(filter["Nodes"]["items"][0]["status"]["capacity"].is_object(), "nodes are sent whole: {filter}");
    assert_eq!(node_of(&sandbox, "p").as_deref(), bind["Node"].as_str());
    assert_eq!(bind["Node"], asked[1].1["Nodes"]["items"][1]["metadata"]["name"]);
    until("the event", || events_of(&sandbox, "p").iter().any(|(_, reason, ..)| reason == "Scheduled")).await;
    shell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_concern_no_extender_are_placed_while_it_hangs() {
    let sandbox = sandbox(3).await;
    let server = Server::start(|_, _| None).await;
    let text = format!(
        "apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles: [{{schedulerName: {NAME}}}]
extenders:
- urlPrefix: {}
  filterVerb: filter
  httpTimeout: 200ms
  nodeCacheCapable: true
  managedResources: [{{name: example.com/gpu, ignoredByScheduler: true}}]
",
        server.url
    );
    let configuration =
        Configuration::parse(&text, &PluginCatalogue::default()).expect("a valid configuration");
    let registry = secondmate_plugins::registry().expect("in-tree names differ");
    let profiles = make_profiles(&configuration, &registry).expect("profiles");
    let options =
        secondmate_shell::Options { profiles, extenders: configuration.extenders, ..options(&sandbox) };
    let shell = Shell::start(options).await.expect("the scheduler starts");
    let mut wants = pod("wants", "100m");
    wants["spec"]["containers"][0]["resources"]["limits"] = json!({ "example.com/gpu": "1" });
    sandbox.objects().create(wants).expect("a valid pod");
    for number in 0..20 {
        create(&sandbox, &format!("plain-{number}"));
    }
    until("20 pods on nodes", || bound(&sandbox) == 20).await;
    let url = &server.url;
    let said = format!(
        "Post \"{url}/filter\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    );
    until("the event", || {
        events_of(&sandbox, "wants")
            .iter()
            .any(|(_, reason, note, _)| reason == "FailedScheduling" && *note == said)
    })
    .await;
    assert_eq!(node_of(&sandbox, "wants"), None);
    shell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_is_told_and_ends_when_the_extender_answers() {
    let garbled = Arc::new(Mutex::new((500, "oops".to_owned())));
    let sandbox = sandbox(3).await;
    let answer = Arc::clone(&garbled);
    let server = Server::start(move |_, body| {
        let (code, text) = answer.lock().expect("nobody panics with it").clone();
        if text.is_empty() { all_pass(body) } else { Some((code, text)) }
    })
    .await;
    let shell = start(&sandbox, vec![extender(&server)]).await;
    let url = server.url.clone();
    for (number, (answer, said)) in [
        ((500, "oops".to_owned()), format!("failed filter with extender at URL {url}/filter, code 500")),
        (
            (200, "<html>".to_owned()),
            "invalid character '<' looking for beginning of value".to_owned(),
        ),
        ((200, r#"{"NodeNames":["a"#.to_owned()), "unexpected EOF".to_owned()),
        (
            (200, r#"{"NodeNames":["nowhere"]}"#.to_owned()),
            format!(
                "extender \"{url}\" claims a filtered node \"nowhere\" which is not found in the input node list"
            ),
        ),
        ((200, r#"{"Error":"no devices"}"#.to_owned()), "no devices".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        *garbled.lock().expect("nobody panics with it") = answer;
        let name = format!("p-{number}");
        create(&sandbox, &name);
        until(&said, || {
            events_of(&sandbox, &name).iter().any(|(_, reason, note, _)| reason == "FailedScheduling" && *note == said)
        })
        .await;
    }
    assert_eq!(bound(&sandbox), 0);
    garbled.lock().expect("nobody panics with it").1.clear();
    until_bound(&sandbox, 5).await;
    shell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_that_may_be_ignored_and_keeps_failing_is_not_asked_for_a_while() {
    let sandbox = sandbox(3).await;
    let server = Server::start(|_, _| Some((503, String::new()))).await;
    let options = secondmate_shell::Options {
        extenders: vec![Extender { ignorable: true, ..extender(&server) }],
        ..options(&sandbox)
    };
    let metrics = options.admin.metrics.clone();
    let shell = Shell::start(options).await.expect("the scheduler starts");
    for number in 0..12 {
        create(&sandbox, &format!("p-{number}"));
    }
    until_bound(&sandbox, 12).await;
    assert_eq!(server.verbs(), ["filter"; 5]);
    let calls = |result: &str| metrics.extenders.calls(&server.url, "filter", result).get();
    assert_eq!((calls("error"), calls("skipped")), (5, 7));
    assert_eq!(metrics.extenders.suspended(&server.url).get(), 1);
    let told = || {
        let pods: Vec<String> = (0..12).map(|number| format!("p-{number}")).collect();
        pods.iter()
            .flat_map(|pod| events_of(&sandbox, pod))
            .filter(|(_, reason, ..)| reason == "ExtenderSuspended")
            .count()
    };
    until("the event", || told() == 1).await;
    shell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_that_the_extender_does_not_answer_is_looked_at() {
    let sandbox = sandbox(1).await;
    let objects = sandbox.objects();
    // It binds the pod `bound`, and answers neither about this pod nor about the other.
    let server = Server::start(move |_, body| {
        if body["PodName"] == "bound" {
            let bound = objects.bind("default", "bound", body["PodUID"].as_str()?, body["Node"].as_str()?);
            bound.expect("it can be bound");
        }
        None
    })
    .await;
    let binder = Extender { filter_verb: String::new(), bind_verb: "bind".to_owned(), ..extender(&server) };
    let shell = start(&sandbox, vec![binder]).await;
    for name in ["bound", "lost"] {
        create(&sandbox, name);
    }
    until("the event", || {
        events_of(&sandbox, "lost").iter().any(|(_, reason, note, _)| {
            reason == "FailedScheduling" && note.contains("context deadline exceeded")
        })
    })
    .await;
    until("the other event", || {
        events_of(&sandbox, "bound").iter().any(|(_, reason, ..)| reason == "Scheduled")
    })
    .await;
    assert_eq!(bound(&sandbox), 1);
    assert_eq!(sandbox.history().bound_twice(), Vec::<String>::new());
    shell.stop().await;
}

/// Attempts take as long as the extender makes them wait: what happens in the meantime is taken in after each one, including the end of the
/// process.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_extender_does_not_hold_up_what_is_heard_between_attempts() {
    let sandbox = sandbox(3).await;
    let server = Server::start(|_, _| None).await;
    let slow = Extender { http_timeout: Some(Duration::from_millis(300)), ..extender(&server) };
    let shell = start(&sandbox, vec![slow]).await;
    for number in 0..40 {
        create(&sandbox, &format!("p-{number}"));
    }
    until("it is asked", || server.verbs().len() >= 2).await;
    let asked = server.verbs().len();
    shell.stop().await;
    let more = server.verbs().len() - asked;
    assert!(more <= 2, "{more} more pods were tried while the process was to end");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_that_keep_the_question_are_followed_and_credentials_are_sent_and_not_shown() {
    let sandbox = sandbox(3).await;
    let server = Server::start(|verb, body| match verb {
        "filter" => Some((307, String::new())),
        _ => all_pass(body),
    })
    .await;
    let url = server.url.replacen("//", "//me:se%20cret@", 1);
    let asked = Extender { url_prefix: url.clone(), ..extender(&server) };
    let refusing = Server::start(|_, _| Some((401, String::new()))).await;
    let shell = start(&sandbox, vec![asked]).await;
    create(&sandbox, "p");
    until_bound(&sandbox, 1).await;
    assert_eq!(server.verbs(), ["filter", "elsewhere?from=http://here"]);
    let sent = server.headers.lock().expect("nobody panics with it").clone();
    assert_eq!(sent, ["authorization: Basic bWU6c2UgY3JldA=="; 2]);
    shell.stop().await;

    let url = refusing.url.replacen("//", "//me:se%20cret@", 1);
    let shell = start(&sandbox, vec![Extender { url_prefix: url, ..extender(&refusing) }]).await;
    create(&sandbox, "q");
    let said = format!("failed filter with extender at URL {}/filter, code 401", refusing.url);
    until(&said, || events_of(&sandbox, "q").iter().any(|(_, _, note, _)| *note == said)).await;
    shell.stop().await;
}

/// A certificate that is a FIFO that nobody writes to: startup waits for it, and can be cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_for_a_certificate_can_be_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("tls.crt");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo is there");
    assert!(made.success());
    let file = fifo.to_str().expect("a text").to_owned();
    let tls = ExtenderTls { cert_file: file.clone(), key_file: file, ..ExtenderTls::default() };
    let waits = Extender {
        url_prefix: "https://127.0.0.1:1".to_owned(),
        filter_verb: "filter".to_owned(),
        tls_config: Some(tls),
        ..Extender::default()
    };
    let sandbox = sandbox(1).await;
    let options = secondmate_shell::Options { extenders: vec![waits], ..options(&sandbox) };
    let start = tokio::spawn(Shell::start(options));
    // It can be opened for writing without blocking only while something reads it.
    let open = || rustix::fs::open(&fifo, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok();
    let mut writer = None;
    until("the start reads the certificate", || {
        writer = open();
        writer.is_some()
    })
    .await;
    start.abort();
    let end = tokio::time::timeout(Duration::from_secs(60), start).await.expect("it is given up");
    assert!(end.is_err_and(|end| end.is_cancelled()));
    // Only now is there an end to read.
    drop(writer);
}
