//! What is told of nodes about which an extender was asked.

use secondmate_config::{Configuration, make_profiles};
use secondmate_explain::{Cluster, Explainer, Keep, NodeAnswer, read};
use secondmate_framework::{
    AwaitScores, CallExtender, Extender, ExtenderError, ExtenderVerbs, ExtenderVerdict, ExtenderVictims,
    Extenders, PassedNodes, PreemptionCandidate,
};
use secondmate_model::{NodeInfo, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Lets two nodes pass, in another order than that in which it was asked, and prefers the first that it names.
struct LastFirst;

impl CallExtender for LastFirst {
    fn filter(&self, _: &Arc<Pod>, _: &[Arc<NodeInfo>]) -> Result<ExtenderVerdict, ExtenderError> {
        let passed = PassedNodes::Names(vec!["n3".to_owned(), "n1".to_owned()]);
        Ok(ExtenderVerdict { passed, ..ExtenderVerdict::default() })
    }

    fn prioritize<'a>(&'a self, _: &'a Arc<Pod>, _: &'a [Arc<NodeInfo>]) -> AwaitScores<'a> {
        Box::new(|| Ok(vec![("n1".to_owned(), 3), ("n3".to_owned(), 7)]))
    }

    fn preempt(
        &self,
        _: &Arc<Pod>,
        _: &[PreemptionCandidate],
    ) -> Result<BTreeMap<String, ExtenderVictims>, ExtenderError> {
        Ok(BTreeMap::new())
    }
}

#[test]
fn a_node_that_passed_is_told_as_such_in_whatever_order_the_extender_named_it() {
    let cluster = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: n1}, status: {allocatable: {cpu: 4, memory: 8Gi, pods: 3}}}
- {apiVersion: v1, kind: Node, metadata: {name: n2}, status: {allocatable: {cpu: 4, memory: 8Gi, pods: 3}}}
- {apiVersion: v1, kind: Node, metadata: {name: n3}, status: {allocatable: {cpu: 4, memory: 8Gi, pods: 3}}}
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: shop, uid: web}
  spec: {schedulerName: mine, containers: [{name: c}]}
";
    let registry = secondmate_plugins::registry().expect("no name twice");
    let configuration = Configuration::for_scheduler_names(&["mine"]).expect("a name");
    let extenders = Extenders::new(vec![Extender {
        name: "http://last-first".into(),
        ignorable: false,
        weight: 1,
        managed_resources: BTreeSet::new(),
        verbs: ExtenderVerbs { filter: true, prioritize: true, preempt: false, bind: false },
        wants_objects: false,
        calls: Arc::new(LastFirst),
    }]);
    let profiles = make_profiles(&configuration, &registry).expect("the default profile");
    let profiles: Vec<_> = profiles.into_iter().map(|p| p.with_extenders(extenders.clone())).collect();
    let reading = read(cluster, "test", Keep::for_profiles(&profiles)).expect("a cluster");
    let cluster = Cluster::load(reading.items, &profiles);
    let answer = Explainer::new(&cluster, &profiles).explain(&cluster.pending()[0]);

    let totals: Vec<(&str, Option<i64>)> = answer
        .nodes
        .iter()
        .map(|(node, answer)| match answer {
            NodeAnswer::Feasible { total, .. } => (node.as_str(), Some(*total)),
            NodeAnswer::Rejected { .. } => (node.as_str(), None),
        })
        .collect();
    let [("n1", Some(first)), ("n2", None), ("n3", Some(third))] = totals[..] else {
        panic!("n1 and n3 passed: {totals:?}")
    };
    assert_eq!(third - first, 40, "each node has its own score");
    assert_eq!(answer.best, ["n3"]);
}
