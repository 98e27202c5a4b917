//! How the answers of several PostFilter plugins are combined.

use crate::fixture::{OURS, pod};
use secondmate_core::Nominator;
use secondmate_cycle::evaluation::{FilterRunner, post_filter};
use secondmate_cycle::{Profile, ProfileSpec, multi_point};
use secondmate_framework::{
    Code, Context, CycleState, Handle, NodeStatuses, Nomination, Parity, Plugin, PostFilter,
    PostFilterOutcome, RunFilters, Snapshot, Status,
};
use secondmate_model::{Pod, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Gives a fixed answer.
struct Answers(PostFilterOutcome);

impl Plugin for Answers {
    fn name(&self) -> &'static str {
        "Answers"
    }

    fn as_post_filter(self: Arc<Self>) -> Option<Arc<dyn PostFilter>> {
        Some(self)
    }
}

impl PostFilter for Answers {
    fn post_filter(
        &self,
        _: &Context<'_>,
        _: &mut CycleState,
        _: &Arc<Pod>,
        _: &NodeStatuses,
        _: &dyn RunFilters,
    ) -> PostFilterOutcome {
        self.0.clone()
    }
}

/// Runs plugins that give these answers, one after the other; returns `code reasons by plugin: nomination`.
fn run(answers: &[(Status, Option<Nomination>)]) -> String {
    let mut registry = secondmate_plugins::registry().expect("in-tree plugins");
    let names: Vec<String> = (1..=answers.len()).map(|number| format!("P{number}")).collect();
    for (name, (status, nomination)) in names.iter().zip(answers) {
        let outcome =
            PostFilterOutcome { nomination: nomination.clone(), ..PostFilterOutcome::from(status.clone()) };
        let make = move |_: &serde_json::Value, _: &Handle| {
            Ok(Arc::new(Answers(outcome.clone())) as Arc<dyn Plugin>)
        };
        registry.register(name, make).expect("a new name");
    }
    let mut plugins = vec![("PrioritySort", 0), ("DefaultBinder", 0)];
    plugins.extend(names.iter().map(|name| (name.as_str(), 0)));
    let spec = ProfileSpec {
        scheduler_name: OURS.to_owned(),
        plugins: multi_point(&plugins, &registry, &BTreeMap::new()).expect("registered"),
        ..ProfileSpec::default()
    };
    let profile = Profile::new(&spec, &registry, Parity::Strict).expect("a valid profile");
    let (snapshot, nominations) = (Snapshot::default(), Nominator::default());
    let filters = FilterRunner::new(&profile, &CycleState::new());
    let cx = Context { snapshot: &snapshot, now: Timestamp::default(), nominations: &nominations };
    let statuses = NodeStatuses::new(Status::with_reasons(Code::Unschedulable, []));
    let outcome = post_filter(&profile, &cx, &mut CycleState::new(), &pod("p"), &statuses, &filters);
    let plugin = outcome.status.plugin().map_or("nobody", |name| name.as_str());
    format!("{:?} {} by {plugin}: {:?}", outcome.status.code(), outcome.status.message(), outcome.nomination)
}

#[test]
fn the_first_plugin_that_makes_room_or_rules_it_out_has_the_last_word() {
    let no = || (Status::unschedulable("no"), None);
    let yes = (Status::SUCCESS, Some(Nomination::Node("n".into())));
    let never = (Status::unresolvable("never"), None);
    assert_eq!(run(&[no(), yes.clone(), never.clone()]), "Success  by nobody: Some(Node(\"n\"))");
    assert_eq!(run(&[no(), never, yes]), "UnschedulableAndUnresolvable never by P2: None");
    let error = (Status::error("broken"), None);
    assert_eq!(run(&[no(), error, no()]), "Error broken by P2: None");
}

#[test]
fn rejections_add_up_and_a_nomination_that_stays_overrules_nothing() {
    let no = |reason: &str, nomination| (Status::unschedulable(reason.to_owned()), nomination);
    assert_eq!(run(&[no("a", None), no("b", None)]), "Unschedulable a, b by P1: None");
    let (clear, keep) = (Some(Nomination::Clear), Some(Nomination::Keep));
    for (first, second, expected) in [
        (clear.clone(), keep.clone(), "Some(Clear)"),
        (keep.clone(), clear.clone(), "Some(Clear)"),
        (clear.clone(), None, "Some(Clear)"),
        (keep, None, "None"),
        (clear, Some(Nomination::Node("n".into())), "Some(Node(\"n\"))"),
    ] {
        let said = run(&[no("a", first.clone()), no("b", second.clone())]);
        assert_eq!(said, format!("Unschedulable a, b by P1: {expected}"), "{first:?} and then {second:?}");
    }
}
