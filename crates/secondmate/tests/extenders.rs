//! HTTP extenders in `explain`: called as the scheduler calls them, recorded, and replayed.

mod support;

use anyhow::{Context, Result, ensure};
use secondmate_sandbox::{NodeShape, Options, Sandbox};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use support::{Killed, free_address, until};

/// An extender with configurable answers. It remembers its calls.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Server {
    fn start(answer: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let server = Self { url, asked: Arc::default() };
        let (asked, answer) = (Arc::clone(&server.asked), Arc::new(answer));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let _ = converse(stream, |verb, body| {
                        asked.lock().expect("nobody panics with it").push((verb.to_owned(), body.clone()));
                        answer(verb, &body)
                    });
                });
            }
        });
        server
    }

    fn take_asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.asked.lock().expect("nobody panics with it"))
    }
}

/// Answers one request, and closes the connection.
fn converse(mut stream: TcpStream, answer: impl Fn(&str, Value) -> Value) -> Result<()> {
    let mut bytes = Vec::new();
    let (verb, body) = loop {
        let mut more = [0; 65_536];
        let read = stream.read(&mut more)?;
        ensure!(read > 0, "the request broke off");
        bytes.extend_from_slice(&more[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.context("a length")?.parse()? {
            let verb = head.split(' ').nth(1).context("a path")?.trim_start_matches('/').to_owned();
            break (verb, serde_json::from_str(body)?);
        }
    };
    let answer = answer(&verb, body).to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    stream.write_all(format!("{head}{answer}").as_bytes())?;
    Ok(())
}

const VERBS: &str = "filterVerb: filter, prioritizeVerb: prioritize, weight: 2, preemptVerb: preempt, bindVerb: bind, nodeCacheCapable: true";

fn configuration(url: &str, more: &str) -> String {
    format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{{schedulerName: mine}}]\nextenders: [{{urlPrefix: \"{url}\", {more}}}]\n"
    )
}

const CLUSTER: &str = r#"
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {allocatable: {cpu: 2, memory: 4Gi, pods: 110}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {allocatable: {cpu: 2, memory: 4Gi, pods: 110}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n3}, status: {allocatable: {cpu: 2, memory: 4Gi, pods: 110}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n4}, status: {allocatable: {cpu: 2, memory: 4Gi, pods: 110}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: small, uid: s, annotations: {example.com/wish: n4}}, spec: {schedulerName: mine, containers: [{name: c}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: big, uid: b}, spec: {schedulerName: mine, priority: 5, containers: [{name: c, resources: {requests: {cpu: 2}}}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: u, uid: u}, spec: {nodeName: n1, schedulerName: mine, containers: [{name: c, resources: {requests: {cpu: 1}}}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: v, uid: v}, spec: {nodeName: n2, schedulerName: mine, containers: [{name: c, resources: {requests: {cpu: 1}}}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: w, uid: w}, spec: {nodeName: n3, schedulerName: mine, containers: [{name: c, resources: {requests: {cpu: 1}}}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: x, uid: x}, spec: {nodeName: n4, schedulerName: mine, containers: [{name: c, resources: {requests: {cpu: 1}}}]}}
"#;

/// Rejects n1 with a reason and n2 without one, scores the node that the pod wants, and leaves n3 for preemption.
fn choosy(verb: &str, body: &Value) -> Value {
    match verb {
        "filter" => json!({ "NodeNames": ["n3", "n4"], "FailedNodes": {"n1": "no such device"} }),
        "prioritize" => {
            json!([{ "Host": body["Pod"]["metadata"]["annotations"]["example.com/wish"], "Score": 9 }])
        }
        "preempt" => {
            json!({ "NodeNameToMetaVictims": {"n3": body["NodeNameToMetaVictims"]["n3"]} })
        }
        other => panic!("{other} is never asked"),
    }
}

fn explain(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secondmate"))
        .args(["explain", "--config", "config.yaml"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn extenders_are_asked_and_their_answers_replayed_without_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let server = Server::start(choosy);
    std::fs::write(path("cluster.yaml"), CLUSTER).expect("ours");
    std::fs::write(path("config.yaml"), configuration(&server.url, VERBS)).expect("ours");
    let from_file = |more: &[&str]| explain(folder.path(), &[&["-f", "cluster.yaml"], more].concat());

    let (table, remarks) = said(&from_file(&["--record-answers", "answers.jsonl"]));
    let verbs: Vec<String> = server.take_asked().into_iter().map(|(verb, _)| verb).collect();
    assert_eq!(
        verbs,
        ["filter", "prioritize", "preempt"],
        "of each pod what the scheduler asks, in its order"
    );
    let announced = format!(
        "extender {} is asked (filter, prioritize, preempt) about 2 pods; --without-extenders leaves extenders out",
        server.url
    );
    assert!(remarks.contains(&announced) && !remarks.contains("failed"), "{remarks}");
    let flat = table.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "goes to n4",
        // 9 points, weighted by 2, on a scale of 100.
        "Extender 180 0",
        "1 node (Extender): no such device: n1",
        "1 node (Extender): Unschedulable: n2",
        &format!("extender {}: lets 2 of 4 nodes pass", server.url),
        &format!("extender {}: scores 1 node", server.url),
        &format!("extender {}: leaves 1 of 4 nodes for preemption", server.url),
        "preemption: would evict 1 pod from node n3: default/w",
    ] {
        assert!(flat.contains(part), "{part}\n{table}");
    }
    let (as_json, _) = said(&from_file(&["-o", "json"]));
    assert_eq!(server.take_asked().len(), 3);

    let (replayed, remarks) = said(&from_file(&["--replay-answers", "answers.jsonl"]));
    assert_eq!(replayed, table);
    assert!(!remarks.contains("extender"), "{remarks}");
    let (replayed, _) = said(&from_file(&["--replay-answers", "answers.jsonl", "-o", "json"]));
    assert_eq!(replayed, as_json);
    let (left_out, remarks) = said(&from_file(&["--without-extenders"]));
    assert!(remarks.contains("extenders are not asked") && left_out.contains("fits on 4 of 4"), "{left_out}");
    assert_eq!(server.take_asked(), [], "nobody was asked");

    std::fs::write(path("config.yaml"), configuration("http://127.0.0.1:1", VERBS)).expect("ours");
    let other = from_file(&["--replay-answers", "answers.jsonl"]);
    let errors = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success(), "{errors}");
    assert!(errors.contains("extender http://127.0.0.1:1 is not in the record"), "{errors}");
}

#[test]
fn a_pod_that_is_placed_is_sent_as_if_it_were_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let server = Server::start(|_, _| json!({ "NodeNames": ["n2"] }));
    std::fs::write(path("cluster.yaml"), CLUSTER).expect("ours");
    let verbs = "filterVerb: filter, nodeCacheCapable: true";
    std::fs::write(path("config.yaml"), configuration(&server.url, verbs)).expect("ours");
    let (table, remarks) = said(&explain(folder.path(), &["-f", "cluster.yaml", "u"]));
    assert!(remarks.contains("pod default/u is on node n1") && table.contains("goes to n2"), "{table}");
    let asked = server.take_asked();
    let [(_, body)] = asked.as_slice() else { panic!("one question: {asked:?}") };
    assert_eq!(
        (&body["Pod"]["metadata"]["name"], &body["Pod"]["spec"]["nodeName"]),
        (&json!("u"), &Value::Null)
    );
}

#[test]
fn an_extender_that_cannot_be_reached_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("cluster.yaml"), CLUSTER).expect("ours");
    let nobody = format!("http://{}", free_address().expect("a free port"));
    let ask = |more: &str, arguments: &[&str]| {
        std::fs::write(path("config.yaml"), configuration(&nobody, more)).expect("ours");
        said(&explain(folder.path(), &[&["-f", "cluster.yaml", "small"], arguments].concat()))
    };
    let refused = format!("Post \"{nobody}/filter\": dial tcp {}: connect: connection refused", &nobody[7..]);
    let (table, remarks) = ask("filterVerb: filter", &[]);
    let flat = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(&format!("cannot be tried: an extender failed error: {refused}")), "{table}");
    let told =
        format!("extender {nobody}: 1 of 1 calls failed, first: {refused}; explain where it can be reached");
    assert!(remarks.contains(&told), "{remarks}");
    let (answer, _) = ask("filterVerb: filter", &["-o", "json"]);
    let answer: Value = serde_json::from_str(&answer).expect("one pod");
    assert_eq!(answer["result"], "Error");
    // The scheduler would go on without its answer.
    let (table, remarks) = ask("filterVerb: filter, ignorable: true", &[]);
    let flat = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("fits on 4 of 4 nodes"), "{table}");
    assert!(
        flat.contains(&format!("extender {nobody}: filter failed, which is ignored: {refused}")),
        "{table}"
    );
    assert!(remarks.contains("1 of 1 calls failed"), "{remarks}");
    // A pod that the extender is not interested in is explained without a call.
    let (_, remarks) = ask("filterVerb: filter, managedResources: [{name: example.com/gpu}]", &[]);
    assert!(!remarks.contains("extender"), "{remarks}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_is_the_schedulers_and_so_are_the_questions() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let server =
        Server::start(|_, _| json!({ "NodeNames": [], "FailedNodes": {"node-0": "no such device"} }));
    std::fs::write(path("config.yaml"), configuration(&server.url, "filterVerb: filter"))?;
    let sandbox = Sandbox::start(Options::default()).await?;
    sandbox.add_nodes(0, 3, &NodeShape::default());
    std::fs::write(path("kubeconfig"), sandbox.kubeconfig())?;
    let scheduler = Command::new(env!("CARGO_BIN_EXE_secondmate"))
        .args(["run", "--listen", &free_address()?, "--config", "config.yaml", "--kubeconfig", "kubeconfig"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(path("log"))?)
        .spawn()?;
    let scheduler = Killed(scheduler);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "annotations": {"example.com/device": "two"}},
        "spec": {"schedulerName": "mine", "containers": [{"name": "c", "image": "nginx", "env": [{"name": "A", "value": "b"}]}]},
    });
    sandbox.objects().create(pod).expect("a valid pod");
    let message = || {
        sandbox.objects().list("events").iter().find_map(|event| {
            (event["reason"] == "FailedScheduling").then(|| event["message"].as_str().map(str::to_owned))?
        })
    };
    until("the pod has its event", || Ok(message().is_some()))
        .await
        .with_context(|| std::fs::read_to_string(path("log")).unwrap_or_default())?;
    // It does not call the extender any more.
    drop(scheduler);
    let by_scheduler = server.take_asked();
    let output = explain(folder.path(), &["--kubeconfig", "kubeconfig", "-o", "json"]);
    let (answer, _) = said(&output);
    let answer: Value = serde_json::from_str(&answer)?;
    assert_eq!(answer["message"].as_str().map(str::to_owned), message());
    let by_explain = server.take_asked();
    ensure!(by_explain.len() == 1 && !by_scheduler.is_empty(), "{by_explain:?} {by_scheduler:?}");
    // Since then, the scheduler has reported why the pod is pending.
    let question = |(verb, body): &(String, Value)| {
        let mut body = body.clone();
        body["Pod"]["status"] = Value::Null;
        body["Pod"]["metadata"]["resourceVersion"] = Value::Null;
        for node in body["Nodes"]["items"].as_array_mut().into_iter().flatten() {
            node["metadata"]["resourceVersion"] = Value::Null;
            node["status"]["conditions"] = Value::Null;
        }
        (verb.clone(), body)
    };
    assert_eq!(question(&by_explain[0]), question(&by_scheduler[0]));
    Ok(())
}
