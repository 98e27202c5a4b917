//! What extenders influence, and the consequences of their failures.

use crate::fixture::{Cluster, node, pod};
use crate::scripted::Script;
use secondmate_core::port::{BindOutcome, Input, PodWatch, Verified};
use secondmate_framework::{
    AwaitScores, CallExtender, Extender, ExtenderError, ExtenderVerbs, ExtenderVerdict, ExtenderVictims,
    Extenders, Parity, PassedNodes, PreemptionCandidate, Status,
};
use secondmate_model::objects::ObjectKind;
use secondmate_model::{Atom, NodeInfo, Pod};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// The answers of an extender. Default answers: all nodes pass, no scores, the candidates are unchanged.
#[derive(Default)]
struct Answers {
    filter: Option<Result<ExtenderVerdict, String>>,
    scores: Option<Result<Vec<(String, i64)>, String>>,
    preempt: Option<Result<BTreeMap<String, ExtenderVictims>, String>>,
    calls: Vec<String>,
}

#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Answers>>);

impl Scripted {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().expect("nobody panics with it")
    }

    /// The calls since the last check. The audit calls the filter once more for every choice.
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.answers().calls)
    }

    fn called(&self, verb: &str, pod: &Pod, about: &[String]) {
        self.answers().calls.push(format!("{verb} {} {}", pod.name, about.join(" ")));
    }
}

fn names(nodes: &[Arc<NodeInfo>]) -> Vec<String> {
    nodes.iter().map(|node| node.name().to_string()).collect()
}

impl CallExtender for Scripted {
    fn filter(&self, pod: &Arc<Pod>, nodes: &[Arc<NodeInfo>]) -> Result<ExtenderVerdict, ExtenderError> {
        self.called("filter", pod, &names(nodes));
        let all =
            || ExtenderVerdict { passed: PassedNodes::Names(names(nodes)), ..ExtenderVerdict::default() };
        self.answers().filter.clone().unwrap_or_else(|| Ok(all())).map_err(ExtenderError)
    }

    fn prioritize<'a>(&'a self, pod: &'a Arc<Pod>, nodes: &'a [Arc<NodeInfo>]) -> AwaitScores<'a> {
        self.called("prioritize", pod, &names(nodes));
        let answer = self.answers().scores.clone().unwrap_or_else(|| Ok(Vec::new()));
        Box::new(move || answer.map_err(ExtenderError))
    }

    fn preempt(
        &self,
        pod: &Arc<Pod>,
        candidates: &[PreemptionCandidate],
    ) -> Result<BTreeMap<String, ExtenderVictims>, ExtenderError> {
        let victims = |candidate: &PreemptionCandidate| ExtenderVictims {
            uids: candidate.victims.iter().map(|victim| victim.uid.to_string()).collect(),
            budget_violations: candidate.budget_violations,
        };
        let all: BTreeMap<_, _> = candidates.iter().map(|c| (c.node.to_string(), victims(c))).collect();
        let about: Vec<String> = all.iter().map(|(node, v)| format!("{node}:{}", v.uids.join(","))).collect();
        self.called("preempt", pod, &about);
        self.answers().preempt.clone().unwrap_or(Ok(all)).map_err(ExtenderError)
    }
}

const ALL_VERBS: ExtenderVerbs = ExtenderVerbs { filter: true, prioritize: true, preempt: true, bind: false };

fn extender(name: &str, verbs: ExtenderVerbs) -> (Extender, Scripted) {
    let script = Scripted::default();
    let extender = Extender {
        name: name.into(),
        ignorable: false,
        weight: 1,
        managed_resources: std::collections::BTreeSet::new(),
        verbs,
        wants_objects: false,
        calls: Arc::new(script.clone()),
    };
    (extender, script)
}

fn cluster(more: &[&str], extenders: Vec<Extender>) -> Cluster {
    Cluster::extended(more, Script::default(), Parity::Strict, Extenders::new(extenders))
}

fn pass(names: &[&str]) -> ExtenderVerdict {
    let passed = PassedNodes::Names(names.iter().map(|name| (*name).to_owned()).collect());
    ExtenderVerdict { passed, ..ExtenderVerdict::default() }
}

fn reasons(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(node, reason)| ((*node).to_owned(), (*reason).to_owned())).collect()
}

#[test]
fn each_extender_is_asked_about_what_the_one_before_left_and_those_that_may_be_ignored_come_last() {
    let (mut first, first_script) = extender("http://first", ALL_VERBS);
    let (second, second_script) = extender("http://second", ALL_VERBS);
    first.ignorable = true;
    let mut cluster = cluster(&[], vec![first, second]);
    for node in ["n1", "n2", "n3"] {
        cluster.node(node);
    }
    second_script.answers().filter = Some(Ok(pass(&["n3", "n1"])));
    second_script.answers().scores = Some(Ok(vec![("n1".to_owned(), 5), ("n7".to_owned(), 10)]));
    cluster.pending("p");
    assert_eq!(cluster.step(), "p -> n1");
    let second_calls = second_script.calls();
    assert_eq!(second_calls[..2], ["filter p n1 n2 n3", "prioritize p n3 n1"]);
    assert_eq!(first_script.calls()[..2], ["filter p n3 n1", "prioritize p n3 n1"]);
}

/// The kinds are those that kube-scheduler registers for extenders.
#[test]
fn a_pod_that_an_extender_rejected_hears_of_storage_and_not_of_attachments() {
    let (extender, script) = extender("http://e", ALL_VERBS);
    let mut cluster = cluster(&[], vec![extender]);
    cluster.node("n1");
    script.answers().filter = Some(Ok(pass(&[])));
    cluster.pending("p");
    assert_eq!(cluster.step(), "p: unschedulable");
    let attachment = serde_json::json!({"metadata": {"name": "a"},
        "spec": {"attacher": "d", "nodeName": "n1", "source": {"persistentVolumeName": "v"}}});
    let class = serde_json::json!({"metadata": {"name": "c"}, "provisioner": "d"});
    for (kind, object, place) in [
        (ObjectKind::VolumeAttachment, attachment, "Unschedulable"),
        (ObjectKind::StorageClass, class, "Backoff"),
    ] {
        cluster.apply(Input::Object(kind.compile(&object).expect("an object").0));
        assert_eq!(cluster.place("p"), place, "{kind:?}");
    }
}

#[test]
fn it_is_asked_about_each_pod_of_a_kind() {
    let (extender, script) = extender("http://e", ALL_VERBS);
    let mut cluster = cluster(&[], vec![extender]);
    cluster.node("n1");
    cluster.node("n2");
    for number in 0..5 {
        let name = format!("p{number}");
        cluster.pending(&format!("{name} cpu=10m"));
        assert!(cluster.step().starts_with(&format!("{name} -> ")));
        let asked = [format!("filter {name} n1 n2"), format!("prioritize {name} n1 n2")];
        // By the scheduler, and once more by the audit.
        assert_eq!(script.calls(), [asked.clone(), asked].concat());
    }
}

#[test]
fn a_pod_that_concerns_no_extender_is_placed_without_a_call() {
    let (mut gpu, script) = extender("http://gpu", ExtenderVerbs { bind: true, ..ALL_VERBS });
    gpu.managed_resources.insert(Atom::new("example.com/gpu"));
    let mut cluster = cluster(&[], vec![gpu]);
    cluster.node("n1 gpu=4");
    cluster.node("n2 gpu=4");
    cluster.pending("plain");
    assert!(cluster.step().starts_with("plain -> "));
    assert_eq!(script.calls(), Vec::<String>::new());
    assert!(cluster.effects().iter().any(|effect| effect.starts_with("bind plain to ")));
    cluster.pending("wants gpu=0");
    assert!(cluster.step().starts_with("wants -> "), "an amount of 0 names the resource");
    assert!(script.calls()[0].starts_with("filter wants "));
    assert!(cluster.effects().iter().any(|effect| effect.starts_with("have wants bound to ")));
}

#[test]
fn a_rejection_names_the_reasons_and_any_event_brings_the_pod_back() {
    let (extender, script) = extender("http://e", ALL_VERBS);
    let mut cluster = cluster(&[], vec![extender]);
    for node in ["n1", "n2", "n3"] {
        cluster.node(node);
    }
    script.answers().filter = Some(Ok(ExtenderVerdict {
        failed: reasons(&[("n1", "no device"), ("n2", "no device"), ("elsewhere", "unknown")]),
        unresolvable: reasons(&[("n2", "wrong model")]),
        ..ExtenderVerdict::default()
    }));
    cluster.pending("p");
    assert_eq!(cluster.step(), "p: unschedulable");
    // A node that the answer does not mention counts as not looked at, for which there is no reason.
    let message = "0/3 nodes are available: 1 no device, 1 wrong model.";
    assert_eq!(cluster.effects()[0], format!("event p FailedScheduling: {message}"));
    assert_eq!(cluster.place("p"), "Unschedulable");
    script.answers().filter = None;
    cluster.assigned("other node=n1 cpu=100m");
    cluster.wait(1.0);
    assert!(cluster.step().starts_with("p -> "));
}

#[test]
fn a_failure_is_that_of_the_attempt_unless_the_extender_may_be_ignored() {
    for ignorable in [false, true] {
        let (mut extender, script) = extender("http://e", ALL_VERBS);
        extender.ignorable = ignorable;
        let mut cluster = cluster(&[], vec![extender]);
        cluster.node("n1");
        cluster.node("n2");
        let text = "failed filter with extender at URL http://e/filter, code 500";
        script.answers().filter = Some(Err(text.to_owned()));
        // Missing scores are tolerated, whether it is ignorable or not.
        script.answers().scores = Some(Err("EOF".to_owned()));
        cluster.pending("p");
        if ignorable {
            assert!(cluster.step().starts_with("p -> "));
        } else {
            assert_eq!(cluster.step(), "p: error");
            assert_eq!(cluster.effects()[0], format!("event p FailedScheduling: {text}"));
            assert_eq!(cluster.place("p"), "ErrorBackoff");
            script.answers().filter = None;
            cluster.wait(2.0);
            assert!(cluster.step().starts_with("p -> "), "others' failures of scoring count for nothing");
        }
    }
}

#[test]
fn a_node_that_was_not_asked_about_fails_the_attempt() {
    let (extender, script) = extender("http://e", ALL_VERBS);
    let mut cluster = cluster(&[], vec![extender]);
    cluster.node("n1");
    let text = "event p FailedScheduling: extender \"http://e\" claims a filtered node \"n9\" which is not found in the input node list";
    script.answers().filter = Some(Ok(pass(&["n1", "n9"])));
    cluster.pending("p");
    assert_eq!(cluster.step(), "p: error");
    assert_eq!(cluster.effects()[0], text);
    let passed = PassedNodes::Nodes(vec![node("n9")]);
    script.answers().filter = Some(Ok(ExtenderVerdict { passed, ..ExtenderVerdict::default() }));
    cluster.wait(2.0);
    assert_eq!(cluster.step(), "p: error");
    assert_eq!(cluster.effects()[0], text);
}

#[test]
fn what_is_scored_of_a_node_that_came_back_whole_is_what_came_back() {
    // n1 is nearly full, but the returned object is as empty as any; taking the pods on it into account, the emptier n2 is
    // better.
    for (parity, expected) in [(Parity::Strict, "p -> n1"), (Parity::Sensible, "p -> n2")] {
        let (extender, script) =
            extender("http://e", ExtenderVerbs { filter: true, ..ExtenderVerbs::default() });
        let extenders = Extenders::new(vec![extender]);
        let mut cluster = Cluster::extended(&[], Script::default(), parity, extenders);
        cluster.node("n1 cpu=8");
        cluster.node("n2 cpu=4");
        cluster.assigned("full node=n1 cpu=7");
        let passed = PassedNodes::Nodes(vec![node("n1 cpu=8"), node("n2 cpu=4")]);
        script.answers().filter = Some(Ok(ExtenderVerdict { passed, ..ExtenderVerdict::default() }));
        cluster.pending("p cpu=500m");
        assert_eq!(cluster.step(), expected, "{parity:?}");
    }
}

#[test]
fn scores_count_ten_times_their_weight() {
    let (mut extender, script) = extender("http://e", ALL_VERBS);
    extender.weight = 2;
    let mut cluster = cluster(&["A"], vec![extender]);
    cluster.node("n1");
    cluster.node("n2");
    cluster.script.lines().scores.insert("n1".to_owned(), 100);
    let one = |node: &str, score| Some(Ok(vec![(node.to_owned(), score)]));
    script.answers().scores = one("n2", 4);
    cluster.pending("a");
    assert_eq!(cluster.step(), "a -> n1", "80 against 100");
    script.answers().scores = one("n2", 6);
    cluster.pending("b");
    assert_eq!(cluster.step(), "b -> n2", "120 against 100");
}

#[test]
fn the_nominated_node_must_pass_the_extenders_too() {
    let (extender, script) = extender("http://e", ALL_VERBS);
    let mut cluster = cluster(&[], vec![extender]);
    cluster.node("n1");
    cluster.node("n2");
    script.answers().filter = Some(Ok(pass(&["n1"])));
    cluster.pending("p nominated=n2");
    // The answer about n2 alone is an error, and the search continues.
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(script.calls()[..2], ["filter p n2", "filter p n1 n2"]);
}

/// A pod that can be placed on n1 or n2 if what runs there is evicted.
fn preempting(ignorable: bool) -> (Cluster, Scripted) {
    let (mut extender, script) = extender("http://e", ALL_VERBS);
    extender.ignorable = ignorable;
    let mut cluster = cluster(&["DefaultPreemption"], vec![extender]);
    cluster.node("n1");
    cluster.node("n2");
    cluster.assigned("v1 node=n1 cpu=1 priority=1");
    cluster.assigned("v2 node=n2 cpu=1 priority=2");
    cluster.assigned("w2 node=n2 priority=3");
    (cluster, script)
}

fn victims(entries: &[(&str, &[&str])]) -> Option<Result<BTreeMap<String, ExtenderVictims>, String>> {
    let uids = |uids: &[&str]| ExtenderVictims {
        uids: uids.iter().map(|uid| (*uid).to_owned()).collect(),
        budget_violations: 0,
    };
    Some(Ok(entries.iter().map(|(node, pods)| ((*node).to_owned(), uids(pods))).collect()))
}

#[test]
fn an_extender_chooses_among_candidates_and_victims() {
    let (mut cluster, script) = preempting(false);
    script.answers().preempt = victims(&[("n2", &["w2", "v2"])]);
    cluster.pending("p cpu=1 priority=9");
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(script.calls(), ["preempt p n1:v1 n2:v2"]);
    let effects = cluster.effects();
    assert!(effects.contains(&"evict w2 for p".to_owned()), "{effects:?}");
    assert!(effects.iter().any(|effect| effect.contains("nominated=n2")), "{effects:?}");
}

#[test]
fn an_answer_about_victims_that_cannot_be_right_fails_the_preemption_or_the_extender_is_ignored() {
    for (answer, text) in [
        (victims(&[("n9", &["v1"])]), "nodeinfo not found for node name \"n9\""),
        (
            victims(&[("n1", &["v2"])]),
            "extender: http://e claims to preempt pod (UID: &{v2}) on node: n1, but the pod is not found on that node",
        ),
        (victims(&[("n1", &[])]), "expected at least one victim pod on node \"n1\""),
        (Some(Err("EOF".to_owned())), "EOF"),
    ] {
        let (mut cluster, script) = preempting(false);
        script.answers().preempt = answer.clone();
        cluster.pending("p cpu=1 priority=9");
        cluster.step();
        let event = format!(
            "event p FailedScheduling: 0/2 nodes are available: 2 Insufficient cpu. preemption: {text}"
        );
        assert_eq!(cluster.effects()[0], event);

        let (mut cluster, script) = preempting(true);
        script.answers().preempt = answer;
        cluster.pending("p cpu=1 priority=9");
        cluster.step();
        let effects = cluster.effects().join("\n");
        let left = if text.starts_with("expected") { "no candidate node" } else { "evict v1 for p" };
        assert!(effects.contains(left), "{text}: {effects}");
    }
}

fn binding(ignorable: bool) -> Cluster {
    let (mut extender, _) = extender("http://e", ExtenderVerbs { bind: true, ..ExtenderVerbs::default() });
    extender.ignorable = ignorable;
    let mut cluster = cluster(&[], vec![extender]);
    cluster.node("n1");
    cluster.pending("p");
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(cluster.effects(), ["have p bound to n1 by the extender"]);
    cluster
}

fn failed(ignorable: bool) -> BindOutcome {
    BindOutcome::ExtenderFailed { message: "no device left".to_owned(), ignorable }
}

#[test]
fn a_pod_that_the_extender_bound_is_told_like_any_other() {
    let mut cluster = binding(false);
    cluster.answer("p", BindOutcome::Bound);
    assert_eq!(cluster.effects(), ["event p Scheduled: Successfully assigned default/p to n1"]);
    cluster.assigned("p node=n1");
}

#[test]
fn a_failure_to_bind_is_told_once_a_look_has_shown_that_the_pod_is_not_bound() {
    let mut cluster = binding(false);
    cluster.answer("p", failed(false));
    assert_eq!(cluster.effects(), ["verify p"]);
    cluster.apply(Input::Verified(crate::fixture::uid("p"), Verified::Found(pod("p"))));
    assert_eq!(cluster.effects()[0], "event p FailedScheduling: no device left");
    assert_eq!(cluster.place("p"), "ErrorBackoff");
}

#[test]
fn a_pod_that_was_bound_though_the_extender_says_otherwise_is_bound_once() {
    let mut cluster = binding(true);
    cluster.answer("p", failed(true));
    assert_eq!(cluster.effects(), ["verify p"]);
    cluster.apply(Input::Verified(crate::fixture::uid("p"), Verified::Found(pod("p node=n1"))));
    assert_eq!(cluster.effects(), ["event p Scheduled: Successfully assigned default/p to n1"]);
    cluster.gone(PodWatch::Pending, "p");
    assert_eq!(cluster.step(), "-");
}

#[test]
fn where_an_extender_that_may_be_ignored_does_not_bind_the_plugins_do() {
    let mut cluster = binding(true);
    cluster.answer("p", failed(true));
    assert_eq!(cluster.effects(), ["verify p"]);
    cluster.apply(Input::Verified(crate::fixture::uid("p"), Verified::Found(pod("p"))));
    assert_eq!(cluster.effects(), ["bind p to n1"]);
    cluster.answer("p", BindOutcome::Bound);
    assert_eq!(cluster.effects(), ["event p Scheduled: Successfully assigned default/p to n1"]);
}

#[test]
fn the_same_answers_lead_to_the_same_effects() {
    let history = || {
        let (extender, script) = extender("http://e", ExtenderVerbs { bind: true, ..ALL_VERBS });
        let mut cluster = cluster(&["A"], vec![extender]);
        cluster.script.lines().filter.insert("A/p3".to_owned(), Status::unschedulable("no"));
        for number in 0..5 {
            cluster.node(&format!("n{number}"));
        }
        let mut lines = Vec::new();
        for number in 0..6 {
            script.answers().filter = (number == 2).then(|| Err("EOF".to_owned()));
            cluster.pending(&format!("p{number} cpu=200m"));
            lines.push(cluster.step());
            lines.extend(cluster.all_effects());
        }
        lines
    };
    assert_eq!(history(), history());
}
