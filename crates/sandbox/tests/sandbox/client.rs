//! A small HTTP client that sees everything: codes, headers, closed connections, each line of a watch.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use secondmate_sandbox::{KubeletOptions, NodeShape, Options, Sandbox};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Nothing in these tests takes longer; a longer wait would never end.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A sandbox without kubelets: nothing happens except what the test does.
pub async fn still() -> Sandbox {
    with(|options| options.kubelets.enabled = false).await
}

/// A sandbox with quick kubelets.
pub async fn alive() -> Sandbox {
    with(|options| {
        options.kubelets = KubeletOptions {
            start_delay: Duration::ZERO,
            stop_delay: Duration::ZERO,
            ..KubeletOptions::default()
        };
    })
    .await
}

/// A sandbox with other options.
pub async fn with(change: impl FnOnce(&mut Options)) -> Sandbox {
    let mut options = Options::default();
    change(&mut options);
    Sandbox::start(options).await.unwrap()
}

/// Adds nodes of 4 CPUs.
pub fn add_small_nodes(sandbox: &Sandbox, count: usize) {
    let shape = NodeShape { cpu: "4".into(), memory: "8Gi".into(), pods: 110, zones: 3 };
    sandbox.add_nodes(0, count, &shape);
}

/// A pod that requests some CPU.
pub fn pod(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "containers": [{
            "name": "c", "image": "nginx:1", "resources": { "requests": { "cpu": cpu } } }] },
    })
}

/// A Binding.
pub fn binding(name: &str, uid: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": { "name": name, "namespace": "default", "uid": uid },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    })
}

/// Repeats the question until the answer is yes.
pub async fn until(what: &str, mut yes: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !yes() {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A response.
#[derive(Debug)]
pub struct Reply {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Reply {
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    pub fn uid(&self) -> &str {
        self.body["metadata"]["uid"].as_str().unwrap_or_default()
    }

    pub fn version(&self) -> &str {
        self.body["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }
}

/// Talks to one sandbox, with a new connection for each request.
pub struct Client {
    address: std::net::SocketAddr,
}

impl Client {
    pub fn of(sandbox: &Sandbox) -> Client {
        Client { address: sandbox.address() }
    }

    async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<http::Response<Incoming>> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut request = Request::builder().method(method).uri(path).header("host", "sandbox");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(sender.send_request(request.body(Full::new(body))?).await?)
    }

    pub async fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Reply> {
        let work = async {
            let response = self.open(method, path, headers, body).await?;
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await?.to_bytes();
            let body = serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
            Ok(Reply { code: parts.status.as_u16(), headers: parts.headers, body })
        };
        tokio::time::timeout(PATIENCE, work).await.map_err(|_| anyhow!("no answer to {method} {path}"))?
    }

    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Result<Reply> {
        let headers = [("content-type", "application/json")];
        self.send_with(method, path, &headers, Bytes::from(body.to_string())).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send_with("GET", path, &[], Bytes::new()).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, body).await.unwrap()
    }

    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, body).await.unwrap()
    }

    pub async fn delete(&self, path: &str, options: &Value) -> Reply {
        self.send("DELETE", path, options).await.unwrap()
    }

    /// `kind` is `json`, `merge` or `strategic-merge`.
    pub async fn patch(&self, kind: &str, path: &str, body: &Value) -> Reply {
        let content_type = format!("application/{kind}-patch+json");
        let headers = [("content-type", content_type.as_str())];
        self.send_with("PATCH", path, &headers, Bytes::from(body.to_string())).await.unwrap()
    }

    pub async fn create_pod(&self, pod: &Value) -> Reply {
        let reply = self.post("/api/v1/namespaces/default/pods", pod).await;
        assert_eq!(reply.code, 201, "{}", reply.body);
        reply
    }

    pub async fn bind(&self, name: &str, uid: &str, node: &str) -> Result<Reply> {
        let path = format!("/api/v1/namespaces/default/pods/{name}/binding");
        self.send("POST", &path, &binding(name, uid, node)).await
    }

    pub async fn watch(&self, path: &str) -> Watch {
        self.watch_as(path, "application/json").await.unwrap()
    }

    pub async fn watch_as(&self, path: &str, accept: &str) -> Result<Watch> {
        let response = self.open("GET", path, &[("accept", accept)], Bytes::new()).await?;
        if response.status() != 200 {
            bail!("watch refused with {}", response.status());
        }
        Ok(Watch { body: response.into_body(), buffer: Vec::new(), lines: VecDeque::new() })
    }
}

/// A running watch.
pub struct Watch {
    body: Incoming,
    buffer: Vec<u8>,
    lines: VecDeque<Value>,
}

impl Watch {
    /// The next event; `None` at a clean end, an error at a broken connection.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.context("a silent watch")?;
            let Some(frame) = frame else { return Ok(None) };
            let Ok(data) = frame?.into_data() else { continue };
            self.buffer.extend_from_slice(&data);
            while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                self.lines.push_back(serde_json::from_slice(&line)?);
            }
        }
    }

    /// The next event as `TYPE name`.
    pub async fn brief(&mut self) -> String {
        match self.next().await {
            Ok(Some(event)) => brief(&event),
            Ok(None) => "end".to_owned(),
            Err(_) => "broken".to_owned(),
        }
    }

    /// The next events, up to this number, in brief.
    pub async fn briefs(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.brief().await);
        }
        all
    }
}

pub fn brief(event: &Value) -> String {
    let kind = event["type"].as_str().unwrap_or_default();
    match kind {
        "ERROR" => format!("ERROR {}", event["object"]["code"]),
        "BOOKMARK" if event["object"]["metadata"]["annotations"].is_object() => "BOOKMARK initial".to_owned(),
        "BOOKMARK" => "BOOKMARK".to_owned(),
        _ => format!("{kind} {}", event["object"]["metadata"]["name"].as_str().unwrap_or_default()),
    }
}
