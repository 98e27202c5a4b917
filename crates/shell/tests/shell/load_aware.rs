//! LoadAware with what the sandbox serves as `metrics.k8s.io`.

use crate::fixture::*;
use secondmate_config::{Configuration, EnabledPlugin, make_profiles};
use secondmate_cycle::Profile;
use secondmate_load_aware::{NAME as LOAD_AWARE, NodeUse};
use secondmate_shell::Options;
use serde_json::json;

fn profile() -> Profile {
    let mut registry = secondmate_plugins::registry().expect("in-tree names differ");
    let args = json!({"strategy": "LoadVariationRiskBalancing", "pollSeconds": 1});
    registry
        .register(LOAD_AWARE, move |_, handle| secondmate_load_aware::new(&args, handle))
        .expect("a new name");
    let mut configuration = Configuration::for_scheduler_names(&[NAME]).expect("a name");
    let plugins = &mut configuration.profiles[0].plugins;
    let enabled = |weight| EnabledPlugin { name: LOAD_AWARE.to_owned(), weight };
    plugins.pre_score.push(enabled(0));
    plugins.score.push(enabled(1000));
    make_profiles(&configuration, &registry).expect("a profile").remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_go_where_little_is_used() {
    let sandbox = sandbox(4).await;
    // Another scheduler's pods use much of two nodes; requests are the same everywhere.
    for (name, node) in [("busy-0", "node-00000"), ("busy-1", "node-00001")] {
        let mut busy = pod(name, "3");
        busy["spec"]["schedulerName"] = json!("another");
        let created = sandbox.objects().create(busy).expect("a valid pod");
        let uid = created["metadata"]["uid"].as_str().expect("a UID").to_owned();
        sandbox.objects().bind("default", name, &uid, node).expect("it is bound");
    }
    until("they run", || {
        let running = |pod: &serde_json::Value| pod["status"]["phase"] == "Running";
        sandbox.objects().list("pods").iter().filter(|pod| running(pod)).count() == 2
    })
    .await;
    let options = Options { profiles: vec![profile()], ..options(&sandbox) };
    let metrics = options.admin.metrics.clone();
    let shell = try_start(options).await.expect("the scheduler starts");
    until_core(&shell, "what the pods use is known", |core| {
        let used = core.objects().own::<NodeUse>();
        let used = used.named("metrics.k8s.io").and_then(|used| used.nodes.get("node-00000"));
        used.is_some_and(|used| used.milli_cpu > 500.0)
    })
    .await;
    create_pods(&sandbox, "p", 10, "10m");
    until("ten pods on nodes", || bound(&sandbox) == 12).await;
    let by_node = |node: &str| {
        let on_node =
            sandbox.objects().list("pods").into_iter().filter(|pod| pod["spec"]["nodeName"] == node);
        on_node.filter(|pod| pod["spec"]["schedulerName"] == NAME).count()
    };
    assert_eq!(["node-00000", "node-00001"].map(by_node), [0, 0]);
    assert_eq!(by_node("node-00002") + by_node("node-00003"), 10);
    let polls = |result: &str| metrics.polls.polls("NodeUse", "metrics.k8s.io", result).get();
    assert!(polls("ok") > 0 && metrics.polls.left_out("NodeUse", "metrics.k8s.io").get() == 0);
    check(&shell).await.expect("the invariants hold");
    shell.stop().await;
}
