//! Which decisions of another scheduler a shadow compares.

use crate::fixture::{node, pod, profile, secs, uid};
use crate::scripted::Script;
use secondmate_core::port::{Input, PodWatch};
use secondmate_core::shadow::{Agreement, CONFIRM_AFTER, Shadow};
use secondmate_model::objects::ObjectKind;
use serde_json::{Value, json};

/// A shadow, and what it said about each pod that it saw on a node.
struct Shadowed {
    shadow: Shadow,
    said: Vec<(Agreement, String)>,
}

impl Shadowed {
    /// With one node, whose initial lists are not complete yet.
    fn new() -> Self {
        let profile = profile(&["PrioritySort", "NodeResourcesFit", "DefaultBinder"], &Script::default());
        let mut shadowed = Self { shadow: Shadow::new(profile, 7, CONFIRM_AFTER), said: Vec::new() };
        shadowed.tell(Input::Node(node("n1")));
        shadowed
    }

    fn synced(&mut self) {
        self.shadow.synced(secs(1000.0));
    }

    fn tell(&mut self, input: Input) {
        let comparison = self.shadow.apply(input, secs(1000.0));
        self.said.extend(comparison.map(|comparison| (comparison.agreement, comparison.reason)));
    }

    fn pending(&mut self, text: &str) {
        self.tell(Input::Pod(PodWatch::Pending, pod(text)));
    }

    fn assigned(&mut self, text: &str) {
        self.tell(Input::Pod(PodWatch::Assigned, pod(text)));
    }

    fn object(&mut self, kind: ObjectKind, object: &Value) {
        self.tell(Input::Object(kind.compile(object).expect("an object").0));
    }

    /// The class of the claim.
    fn class(&mut self, mode: &str) {
        let class = json!({"metadata": {"name": "s"}, "provisioner": "d", "volumeBindingMode": mode});
        self.object(ObjectKind::StorageClass, &class);
    }

    /// The claim `c`, bound to this volume; to none if it is empty.
    fn claim(&mut self, volume: &str) {
        let claim = json!({
            "metadata": {"name": "c", "namespace": "default"},
            "spec": {"storageClassName": "s", "volumeName": volume},
        });
        self.object(ObjectKind::PersistentVolumeClaim, &claim);
    }
}

fn same() -> (Agreement, String) {
    (Agreement::Same, String::new())
}

fn not_compared(why: &str) -> (Agreement, String) {
    (Agreement::NotCompared, why.to_owned())
}

#[test]
fn a_pod_whose_claim_was_created_with_it_is_compared_unless_the_claim_was_bound_for_its_node() {
    let for_this_node = || not_compared("its claims were bound for this node");
    let unknown = not_compared("its claims are not known to be bound yet");
    for (mode, is_bound, expected) in [
        ("Immediate", true, same()),
        ("Immediate", false, unknown),
        ("WaitForFirstConsumer", true, for_this_node()),
        ("WaitForFirstConsumer", false, for_this_node()),
    ] {
        let mut shadowed = Shadowed::new();
        shadowed.class(mode);
        shadowed.synced();
        shadowed.pending("p claim=c");
        shadowed.claim("");
        if is_bound {
            shadowed.claim("v");
        }
        shadowed.assigned("p claim=c node=n1 scheduled");
        assert_eq!(shadowed.said, [expected], "{mode} {is_bound}");
    }
}

#[test]
fn a_pod_that_was_never_seen_waiting_is_compared_if_none_of_its_claims_waits_for_a_consumer() {
    for (mode, expected) in
        [("Immediate", same()), ("WaitForFirstConsumer", not_compared("its claims were bound for this node"))]
    {
        let mut shadowed = Shadowed::new();
        shadowed.class(mode);
        shadowed.synced();
        shadowed.claim("v");
        shadowed.assigned("p claim=c node=n1 scheduled");
        assert_eq!(shadowed.said, [expected], "{mode}");
    }
}

#[test]
fn at_the_start_the_claims_may_be_listed_after_the_pods() {
    let mut shadowed = Shadowed::new();
    shadowed.pending("p claim=c");
    shadowed.class("WaitForFirstConsumer");
    shadowed.claim("v");
    shadowed.synced();
    shadowed.assigned("p claim=c node=n1 scheduled");
    assert_eq!(shadowed.said, [same()]);
}

#[test]
fn what_is_shown_while_the_pods_are_listed_anew_is_not_compared() {
    let mut shadowed = Shadowed::new();
    shadowed.synced();
    // It is gone by now, and the list will only show that at its end.
    shadowed.assigned("old cpu=1 node=n1 scheduled");
    shadowed.shadow.listing_pods(true);
    shadowed.assigned("p cpu=1 node=n1 scheduled");
    shadowed.pending("q cpu=1 condition=Unschedulable:0/1_nodes");
    assert!(!shadowed.shadow.is_due(secs(1000.0)));
    shadowed.tell(Input::PodGone(PodWatch::Assigned, uid("old")));
    shadowed.shadow.listing_pods(false);
    let interrupted = not_compared("it was bound while the watch of the pods was interrupted");
    assert_eq!(shadowed.said, [same(), interrupted]);
    // The room is that of p now.
    let compared = shadowed.shadow.ask_due(secs(1000.0));
    let agreements: Vec<Agreement> = compared.iter().map(|comparison| comparison.agreement).collect();
    assert_eq!(agreements, [Agreement::BothUnschedulable]);
}
