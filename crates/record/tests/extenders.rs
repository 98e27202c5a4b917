//! Answers of extenders are replayed from a record.

use secondmate_framework::{
    AwaitScores, CallExtender, Extender, ExtenderError, ExtenderVerbs, ExtenderVerdict, ExtenderVictims,
    Extenders, PassedNodes, PreemptionCandidate,
};
use secondmate_model::{Atom, Node, NodeInfo, Pod, wire};
use secondmate_record::{ExtenderAnswers, Recorder};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// An extender that answers differently each time, and fails every third time.
#[derive(Default)]
struct Moody(AtomicUsize);

impl Moody {
    fn time(&self) -> Result<usize, ExtenderError> {
        let time = self.0.fetch_add(1, Ordering::Relaxed);
        if time % 3 == 2 { Err(ExtenderError(format!("EOF at {time}"))) } else { Ok(time) }
    }
}

impl CallExtender for Moody {
    fn filter(&self, _: &Arc<Pod>, nodes: &[Arc<NodeInfo>]) -> Result<ExtenderVerdict, ExtenderError> {
        let time = self.time()?;
        let passed = if time % 2 == 0 {
            PassedNodes::Names(nodes.iter().map(|node| node.name().to_string()).collect())
        } else {
            PassedNodes::Nodes(nodes.iter().map(|node| Arc::clone(node.node())).collect())
        };
        let reason = |reason: &str| BTreeMap::from([("n9".to_owned(), format!("{reason} {time}"))]);
        Ok(ExtenderVerdict { passed, failed: reason("full"), unresolvable: reason("never") })
    }

    fn prioritize<'a>(&'a self, _: &'a Arc<Pod>, nodes: &'a [Arc<NodeInfo>]) -> AwaitScores<'a> {
        Box::new(move || {
            let time = i64::try_from(self.time()?).expect("small");
            Ok(nodes.iter().map(|node| (node.name().to_string(), time)).collect())
        })
    }

    fn preempt(
        &self,
        _: &Arc<Pod>,
        candidates: &[PreemptionCandidate],
    ) -> Result<BTreeMap<String, ExtenderVictims>, ExtenderError> {
        let time = self.time()?;
        let victims = |candidate: &PreemptionCandidate| ExtenderVictims {
            uids: candidate.victims.iter().map(|victim| victim.uid.to_string()).collect(),
            budget_violations: i64::try_from(time).expect("small"),
        };
        Ok(candidates.iter().map(|c| (c.node.to_string(), victims(c))).collect())
    }
}

fn named(name: &str, calls: Arc<dyn CallExtender>) -> Extenders {
    Extenders::new(vec![Extender {
        name: name.into(),
        ignorable: false,
        weight: 1,
        managed_resources: BTreeSet::new(),
        verbs: ExtenderVerbs::default(),
        wants_objects: true,
        calls,
    }])
}

fn pod(name: &str) -> Arc<Pod> {
    let wire: wire::Pod =
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "d", "uid": name}}))
            .expect("a pod");
    Arc::new(Pod::new(&wire).expect("it compiles"))
}

fn node(name: &str) -> Arc<NodeInfo> {
    let object = json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "2"}}});
    let wire: wire::Node = serde_json::from_value(object.clone()).expect("a node");
    let node = Node::new(&wire).expect("it compiles").with_json(&object.to_string());
    Arc::new(NodeInfo::new(Arc::new(node)))
}

/// All calls, as text.
fn ask(extenders: &Extenders) -> Vec<String> {
    let calls = &extenders.iter().next().expect("one").calls;
    let nodes = [node("a"), node("b")];
    let candidates = |victim: &str| {
        [PreemptionCandidate { node: Atom::new("a"), victims: vec![pod(victim)], budget_violations: 0 }]
    };
    let mut said = Vec::new();
    // Pods are asked about alternately, and the same question is asked more than once.
    for _ in 0..3 {
        for name in ["p", "q"] {
            let pod = pod(name);
            said.push(format!("{:?}", calls.filter(&pod, &nodes)));
            said.push(format!("{:?}", calls.filter(&pod, &nodes[..1])));
            said.push(format!("{:?}", calls.prioritize(&pod, &nodes)()));
            said.push(format!("{:?}", calls.preempt(&pod, &candidates("v"))));
            said.push(format!("{:?}", calls.preempt(&pod, &candidates("w"))));
        }
    }
    said
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with it").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The answers, and their record.
fn recorded() -> (Vec<String>, Vec<u8>) {
    let written = Shared::default();
    let recorder = Arc::new(Recorder::new(Box::new(written.clone())));
    let said = ask(&recorder.extenders(&named("http://x", Arc::new(Moody::default()))));
    assert_eq!(recorder.end(), Ok(()));
    let record = written.0.lock().expect("nobody panics with it").clone();
    (said, record)
}

fn read(record: &[u8]) -> Arc<ExtenderAnswers> {
    let mut answers = ExtenderAnswers::default();
    secondmate_record::read(record, |kind, content| answers.take(kind, content)).expect("a record");
    Arc::new(answers)
}

#[test]
fn the_same_questions_have_the_same_answers() {
    let (said, record) = recorded();
    let replayed = named("http://x", read(&record).replay("http://x").expect("in the record"));
    assert_eq!(ask(&replayed), said);
    // The extender gave all kinds of answers.
    let all = said.join("\n");
    for part in ["Names([\"a\"", "Nodes([", "EOF at ", "full ", "never ", "(\"b\", ", "budget_violations"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    // There are no further answers.
    let missing = "Err(ExtenderError(\"the record has no (further) answer of extender http://x to ";
    let again = ask(&replayed);
    assert!(again.iter().all(|said| said.starts_with(missing)), "{again:#?}");
}

#[test]
fn an_extender_that_was_not_recorded_is_told() {
    let (_, record) = recorded();
    let error = read(&record).replay("http://y").err().expect("it is another one");
    assert!(error.starts_with("extender http://y is not in the record: give the configuration"), "{error}");
}
