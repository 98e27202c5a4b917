//! The harness itself, on a real control plane.

use std::time::Duration;

use anyhow::{Context, Result};
use secondmate_harness::{
    Cluster, Component, NodeShape, Options, Process, Program, require_or_skip, require_programs_or_skip,
    wait_until,
};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(180);

/// The running pods of the Deployment `web`, with their nodes.
fn running(cluster: &Cluster) -> Result<Vec<String>> {
    let pods = cluster.list("/api/v1/namespaces/default/pods?labelSelector=app%3Dweb")?;
    let runs =
        |pod: &&Value| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
    Ok(pods
        .iter()
        .filter(runs)
        .filter_map(|pod| pod["spec"]["nodeName"].as_str().map(str::to_owned))
        .collect())
}

fn wait_running(cluster: &Cluster, count: usize) -> Result<Vec<String>> {
    wait_until(DEADLINE, &format!("{count} pods to run"), || {
        let nodes = running(cluster)?;
        Ok((nodes.len() == count).then_some(nodes))
    })
}

#[test]
fn a_deployment_runs_over_a_restart_of_the_api_server_and_of_the_scheduler() -> Result<()> {
    let Some(binaries) =
        require_or_skip("a_deployment_runs_over_a_restart_of_the_api_server_and_of_the_scheduler")
    else {
        return Ok(());
    };
    let cluster = Cluster::start(binaries, Options::default())?;
    let nodes = cluster.create_nodes(5, &NodeShape::default())?;
    assert_eq!(nodes, ["node-0000", "node-0001", "node-0002", "node-0003", "node-0004"]);

    cluster.kubectl(&["create", "deployment", "web", "--image=web", "--replicas=10"])?;
    for node in wait_running(&cluster, 10)? {
        assert!(nodes.contains(&node), "{node}");
    }

    // After a kill -9 of the API server and a restart, the data, the port and the certificates are unchanged.
    let usage = cluster.usage(Component::KubeApiserver)?;
    assert!(usage.cpu_seconds > 0.0 && usage.peak_memory_bytes > 10 << 20, "{usage:?}");
    cluster.kill_component(Component::KubeApiserver)?;
    cluster.api().get("/readyz").unwrap_err();
    cluster.start_component(Component::KubeApiserver)?;
    cluster.restart_component(Component::KubeApiserver)?;
    assert_eq!(running(&cluster)?.len(), 10);

    // Without a scheduler, pods stay pending; it comes back and places them on a node that joins.
    cluster.kill_component(Component::KubeScheduler)?;
    cluster.kubectl(&["scale", "deployment", "web", "--replicas=12"])?;
    wait_until(DEADLINE, "two pods without a node", || {
        let waiting = cluster.list("/api/v1/namespaces/default/pods?fieldSelector=spec.nodeName%3D")?;
        Ok((waiting.len() == 2).then_some(()))
    })?;
    assert_eq!(cluster.create_nodes(1, &NodeShape::default())?, ["node-0005"]);
    cluster.start_component(Component::KubeScheduler)?;
    wait_running(&cluster, 12)?;

    // kwok completes graceful deletions.
    cluster.kubectl(&["delete", "deployment", "web", "--wait=true"])?;
    wait_until(DEADLINE, "the pods to go", || {
        Ok(cluster.list("/api/v1/namespaces/default/pods")?.is_empty().then_some(()))
    })
}

#[test]
fn users_have_the_rights_that_rbac_gives_them() -> Result<()> {
    let programs = [Program::Etcd, Program::KubeApiserver, Program::Kubectl];
    let Some(binaries) = require_programs_or_skip("users_have_the_rights_that_rbac_gives_them", &programs)
    else {
        return Ok(());
    };
    let options = Options { controller_manager: false, scheduler: None, kwok: false, ..Options::default() };
    let cluster = Cluster::start(binaries, options)?;
    // Nothing simulates the nodes here, so they are created Ready.
    cluster.create_nodes(1, &NodeShape::default())?;

    let try_as = |kubeconfig: &std::path::Path, what: &str| {
        let kubeconfig = kubeconfig.to_str().context("a path that is text")?;
        cluster.kubectl(&["--kubeconfig", kubeconfig, "get", what, "-o", "name"])
    };
    let nobody = cluster.kubeconfig_for("nobody", &[])?;
    let refused = try_as(&nobody, "nodes").unwrap_err().to_string();
    assert!(refused.contains(r#"User "nobody" cannot list resource "nodes""#), "{refused}");
    let both = cluster.kubeconfig_for("both", &["readers", "system:masters"])?;
    assert_eq!(try_as(&both, "nodes")?, "node/node-0000\n");
    let expired = cluster.kubeconfig_with_expired_certificate("admin")?;
    try_as(&expired, "nodes").unwrap_err();

    cluster.create_namespace("team")?;
    cluster.apply(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: robot, namespace: team}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: pod-reader}\n\
         rules: [{apiGroups: [''], resources: [pods], verbs: [get, list]}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: robot}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: pod-reader}\n\
         subjects: [{kind: ServiceAccount, name: robot, namespace: team}]\n",
    )?;
    let token = cluster.service_account_token("team", "robot")?;
    let robot = cluster.kubeconfig_for_token("robot", &token)?;
    assert_eq!(try_as(&robot, "pods")?, "");
    try_as(&robot, "nodes").unwrap_err();
    Ok(())
}

#[test]
fn a_killed_owner_takes_its_cluster_with_it() -> Result<()> {
    let test = "a_killed_owner_takes_its_cluster_with_it";
    // This program again, as the owner to be killed: it starts a cluster and waits.
    if std::env::var_os("OWNER_TO_BE_KILLED").is_some() {
        let binaries = require_programs_or_skip(test, &[Program::Etcd]).context("the parent has them")?;
        let options =
            Options { controller_manager: false, scheduler: None, kwok: false, ..Options::default() };
        let cluster = Cluster::start(binaries, options)?;
        println!("{}", json!({ "server": cluster.server() }));
        loop {
            std::thread::park();
        }
    }
    let programs = [Program::Etcd, Program::KubeApiserver, Program::Kubectl];
    if require_programs_or_skip(test, &programs).is_none() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["--exact", test, "--nocapture"]).env("OWNER_TO_BE_KILLED", "1");
    let mut owner = Process::spawn("owner", command, &dir.path().join("log"))?;
    let port = wait_until(DEADLINE, "the owner's cluster", || {
        let log = owner.log()?;
        let server = log.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let port = server.and_then(|line| line["server"].as_str()?.rsplit(':').next()?.parse::<u16>().ok());
        Ok(port)
    })?;
    std::net::TcpStream::connect(("127.0.0.1", port))?;
    owner.kill()?;
    wait_until(DEADLINE, "the owner's API server to be gone", || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()))
    })
}
