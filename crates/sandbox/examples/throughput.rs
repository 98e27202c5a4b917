//! Measures the throughput of the sandbox: creates and binds pods over HTTP while watches follow.
//!
//! `cargo run --release -p secondmate-sandbox --example throughput -- 1000 10000` (nodes and pods)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use secondmate_sandbox::{NodeShape, Options, Sandbox};
use serde_json::{Value, json};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 16;

async fn connect(sandbox: &Sandbox) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(sandbox.address()).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Posts `count` bodies over a fixed number of connections.
async fn post_all(
    sandbox: &Sandbox,
    count: usize,
    make: impl Fn(usize) -> (String, Value) + Send + Sync + Clone + 'static,
) -> anyhow::Result<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut sender = connect(sandbox).await?;
        let (next, make) = (Arc::clone(&next), make.clone());
        workers.push(tokio::spawn(async move {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= count {
                    return anyhow::Ok(());
                }
                let (path, body) = make(i);
                let request = Request::post(path)
                    .header("host", "sandbox")
                    .header("content-type", "application/json")
                    .body(Full::new(Bytes::from(body.to_string())))?;
                let response = sender.send_request(request).await?;
                anyhow::ensure!(response.status() == 201, "status {}", response.status());
                response.into_body().collect().await?;
            }
        }));
    }
    for worker in workers {
        worker.await??;
    }
    Ok(began.elapsed())
}

async fn look_on(sandbox: &Sandbox, path: &str) -> anyhow::Result<Arc<AtomicUsize>> {
    let mut sender = connect(sandbox).await?;
    let request = Request::get(path).header("host", "sandbox").body(Full::default())?;
    let mut body = sender.send_request(request).await?.into_body();
    let lines = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&lines);
    tokio::spawn(async move {
        let _sender = sender;
        while let Some(Ok(frame)) = body.frame().await {
            let count = frame.data_ref().map_or(0, |d| d.iter().filter(|b| **b == b'\n').count());
            seen.fetch_add(count, Ordering::Relaxed);
        }
    });
    Ok(lines)
}

fn pod(i: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("pod-{i:07}"), "namespace": "default", "labels": { "app": "load" } },
        "spec": { "schedulerName": "my-scheduler", "containers": [{
            "name": "c", "image": "registry.k8s.io/pause:3.10",
            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } } }] },
    })
}

fn of_process(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|a| a.parse::<usize>());
    let nodes = numbers.next().transpose()?.unwrap_or(1000);
    let pods = numbers.next().transpose()?.unwrap_or(10_000);
    let sandbox = Sandbox::start(Options::default()).await?;
    sandbox.add_nodes(0, nodes, &NodeShape::default());
    println!("{nodes} nodes: {} MiB", of_process("VmRSS").unwrap_or(0) / 1024);
    let all = look_on(&sandbox, "/api/v1/pods?watch=1").await?;
    let pending = look_on(&sandbox, "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3D").await?;
    let rate = |what: &str, took: Duration| {
        println!("{what}: {:.0}/s", pods as f64 / took.as_secs_f64());
    };
    let path = "/api/v1/namespaces/default/pods";
    rate("create", post_all(&sandbox, pods, move |i| (path.to_owned(), pod(i))).await?);
    let bind = move |i: usize| {
        let name = format!("pod-{i:07}");
        let body = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name, "namespace": "default" },
            "target": { "kind": "Node", "name": format!("node-{:05}", i % nodes) } });
        (format!("{path}/{name}/binding"), body)
    };
    rate("bind", post_all(&sandbox, pods, bind).await?);
    let began = Instant::now();
    while sandbox.objects().count_where("pods", "status.phase=Running")? < pods {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("all running {:.0} ms later", began.elapsed().as_secs_f64() * 1e3);
    while all.load(Ordering::Relaxed) < 3 * pods || pending.load(Ordering::Relaxed) < 2 * pods {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("watchers saw everything {:.0} ms later", began.elapsed().as_secs_f64() * 1e3);
    let mut sender = connect(&sandbox).await?;
    let began = Instant::now();
    let request = Request::get("/api/v1/pods").header("host", "sandbox").body(Full::default())?;
    let bytes = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
    println!("list: {} MiB in {:.0} ms", bytes.len() >> 20, began.elapsed().as_secs_f64() * 1e3);
    let peak = of_process("VmHWM").context("no /proc on this system")?;
    println!("memory: {} MiB, at most {} MiB", of_process("VmRSS").unwrap_or(0) / 1024, peak / 1024);
    sandbox.shutdown().await;
    Ok(())
}
