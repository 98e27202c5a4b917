//! What a scheduler that cannot start reports.

use crate::fixture::*;
use futures::FutureExt;
use secondmate_shell::{ClusterConfig, Options, StartError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_missing_permission_is_named() {
    let sandbox = sandbox(1).await;
    sandbox.access().deny("create", "", "pods", "binding");
    sandbox.access().deny("watch", "storage.k8s.io", "csinodes", "");
    sandbox.access().deny("patch", "events.k8s.io", "events", "");
    let error = try_start(options(&sandbox)).await.expect_err("it may not bind");
    let StartError::Access { missing } = &error else { panic!("{error}") };
    assert_eq!(
        *missing,
        ["create pods/binding", "patch events in events.k8s.io", "watch csinodes in storage.k8s.io"]
    );
    assert_eq!(
        error.to_string(),
        "the scheduler's user lacks required permissions; grant them by RBAC (see manifests/):\n  - create pods/binding\n  - patch events in events.k8s.io\n  - watch csinodes in storage.k8s.io"
    );
    sandbox.access().allow_all();
    try_start(options(&sandbox)).await.expect("now it may");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_kube_schedulers_place_its_rights_are_enough() {
    let sandbox = sandbox(1).await;
    sandbox.access().deny("list", "coordination.k8s.io", "leases", "");
    let error = try_start(options(&sandbox)).await.expect_err("it looks for others that serve its name");
    assert!(error.to_string().ends_with("\n  - list leases in coordination.k8s.io"), "{error}");
    let in_place = Options { profiles: vec![profile("default-scheduler")], ..options(&sandbox) };
    try_start(in_place).await.expect("kube-scheduler may not list Leases either");
}

/// Stands in front of a server: rejects connections until it is opened, and counts them.
struct Gate {
    address: std::net::SocketAddr,
    turned_away: Arc<AtomicUsize>,
    open: Arc<AtomicBool>,
}

impl Gate {
    async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let gate = Self { address, turned_away: Arc::default(), open: Arc::default() };
        let (turned_away, open) = (Arc::clone(&gate.turned_away), Arc::clone(&gate.open));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if !open.load(Ordering::Relaxed) {
                    turned_away.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let server = server.clone();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await.expect("the server listens");
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        gate
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_comes_later_is_waited_for() {
    let sandbox = sandbox(1).await;
    let mut options = options(&sandbox);
    let server = options.cluster.cluster_url.authority().expect("an address").to_string();
    let gate = Gate::before(server).await;
    options.cluster = ClusterConfig::new(format!("http://{}", gate.address).parse().expect("a URL"));
    let mut starting = tokio::spawn(try_start(options));
    until("it has asked twice", || gate.turned_away.load(Ordering::Relaxed) >= 2).await;
    assert!((&mut starting).now_or_never().is_none(), "it waits");
    gate.open.store(true, Ordering::Relaxed);
    let shell = starting.await.expect("no panic").expect("it starts");
    create_pods(&sandbox, "p", 1, "10m");
    until_bound(&sandbox, 1).await;
    shell.stop().await;
}
