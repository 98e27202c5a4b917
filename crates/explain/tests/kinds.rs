//! Which pods are answered for together.

use secondmate_config::{Configuration, PluginCatalogue, make_profiles};
use secondmate_cycle::Profile;
use secondmate_explain::{Cluster, Explainer, Keep, Kinds, read, write_json};
use secondmate_framework::{
    Context, CycleState, Declaration, ExtensionPoint, MAX_NODE_SCORE, NodeInfo, NodeParts, Plugin, Pod,
    PodParts, Score, Status,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Prefers the node whose name ends as the pod's does. Where it says so, it reads nothing of pods, and so prefers no node.
struct SameEnd {
    reads_no_pods: bool,
}

impl Plugin for SameEnd {
    fn name(&self) -> &str {
        "SameEnd"
    }
    fn declaration(&self) -> Declaration {
        match self.reads_no_pods {
            true => Declaration::of(PodParts::NONE, NodeParts::NAME),
            false => Declaration::unknown(),
        }
    }
    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }
}

impl Score for SameEnd {
    fn score(&self, _: &Context<'_>, _: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Result<i64, Status> {
        let equal = pod.name.chars().next_back() == node.name().as_str().chars().next_back();
        Ok(if equal && !self.reads_no_pods { MAX_NODE_SCORE } else { 0 })
    }
}

/// The profile `mine`: the default one and the plugin.
fn profiles(reads_no_pods: bool) -> Vec<Profile> {
    let text = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
                profiles: [{schedulerName: mine, plugins: {score: {enabled: [{name: SameEnd}]}}}]\n";
    let mut catalogue = PluginCatalogue::in_tree();
    catalogue.register("SameEnd", [ExtensionPoint::Score]).expect("a free name");
    let mut registry = secondmate_plugins::registry().expect("no name twice");
    registry.register("SameEnd", move |_, _| Ok(Arc::new(SameEnd { reads_no_pods }))).expect("a free name");
    let configuration = Configuration::parse(text, &catalogue).expect("valid");
    make_profiles(&configuration, &registry).expect("made")
}

/// Two nodes, and two pods that differ in name and UID only.
const CLUSTER: &str = r#"
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: n1}, status: {allocatable: {cpu: "4", memory: 8Gi, pods: 3}}}
- {apiVersion: v1, kind: Node, metadata: {name: n2}, status: {allocatable: {cpu: "4", memory: 8Gi, pods: 3}}}
- apiVersion: v1
  kind: Pod
  metadata: {name: web-1, namespace: shop, uid: u1}
  spec: {schedulerName: mine, containers: [{name: c}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: web-2, namespace: shop, uid: u2}
  spec: {schedulerName: mine, containers: [{name: c}]}
"#;

/// The kinds, and the best nodes for each pod.
fn explained(profiles: &[Profile]) -> (Vec<Vec<usize>>, Vec<Value>) {
    let reading = read(CLUSTER, "test", Keep::for_profiles(profiles)).expect("a cluster");
    let cluster = Cluster::load(reading.items, profiles);
    let explainer = Explainer::new(&cluster, profiles);
    let mut written = Vec::new();
    write_json(&explainer, cluster.pending(), &mut written).expect("memory");
    let best = String::from_utf8(written)
        .expect("JSON is text")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("an object")["best"].clone())
        .collect();
    (Kinds::new(&explainer, cluster.pending()).members().to_vec(), best)
}

#[test]
fn each_pod_is_asked_about_where_a_plugin_may_go_by_its_name() {
    let (kinds, best) = explained(&profiles(false));
    assert_eq!(kinds, [[0], [1]]);
    assert_eq!(best, [json!(["n1"]), json!(["n2"])]);
}

#[test]
fn pods_that_no_plugin_can_tell_apart_are_asked_about_once() {
    let (kinds, best) = explained(&profiles(true));
    assert_eq!(kinds, [[0, 1]]);
    assert_eq!(best, [json!(["n1", "n2"]), json!(["n1", "n2"])]);
}
