//! What a scheduler says that cannot start.

use crate::fixture::*;
use secondmate_shell::{ClusterConfig, ConnectError, Options, StartError};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_where_nobody_listens_is_told() {
    let sandbox = sandbox(0).await;
    let mut options = options(&sandbox);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    options.cluster = ClusterConfig::new(format!("http://{address}").parse().expect("a URL"));
    let error = try_start(options).await.expect_err("nobody listens");
    assert!(matches!(error, StartError::Connect(ConnectError::Unreachable { .. })), "{error}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot reach the API server at http://{address}/:")), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
}
