//! A panic of a plugin fails the attempt in which it happens, and nothing else.

use crate::fixture::{Cluster, OURS, node, pod};
use secondmate_core::port::{BindOutcome, Input, PodWatch};
use secondmate_core::{EvaluationSettings, Scheduler, SchedulerConfig};
use secondmate_cycle::panics::PluginPanic;
use secondmate_cycle::probe::Probe;
use secondmate_cycle::{Profile, ProfileSpec, StandingSettings, multi_point};
use secondmate_framework::{
    Alike, Bind, BindStep, Context, CycleState, Declaration, EventRegistration, Filter, Handle, Hint,
    NodeInfo, NodeParts, NodeRows, NodeStatuses, Normalization, ObjectChange, Parity, Permit, Plugin, Pod,
    PodParts, PostBind, PostFilter, PostFilterOutcome, PreBind, PreBindStep, PreEnqueue, PreFilter,
    PreFilterOutcome, PreScore, QueueSort, QueuedPod, Reach, Reading, Reserve, RowFilter, RowScore,
    RunFilters, Score, Status,
};
use secondmate_model::{Atom, Timestamp};
use std::any::Any;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the plugin panics, and what was reported.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    panics_at: &'static str,
    in_post_filter: bool,
    told: Vec<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe for Shared {
    fn plugin_panicked(&self, panic: &PluginPanic, pod: &Pod) {
        self.state().told.push(format!("{panic} ({})", pod.name));
    }
}

/// Panics at one point for pods called `bad`.
struct Panics(Shared);

impl Panics {
    fn at(&self, point: &str, pod: &Pod) {
        let panics = self.0.state().panics_at == point && *pod.name == *"bad";
        assert!(!panics, "oh, {point}");
    }
}

macro_rules! acts_at {
    ($($accessor:ident $point:ident),*) => {
        $(fn $accessor(self: Arc<Self>) -> Option<Arc<dyn $point>> { Some(self) })*
    };
}

impl Plugin for Panics {
    fn name(&self) -> &'static str {
        "Panics"
    }
    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::ALL, NodeParts::ALL).reaching(Reach::Node)
    }
    fn score_reach(&self, _: &Context<'_>, _: &Arc<Pod>) -> Option<Reach> {
        Some(Reach::Node)
    }
    fn hint(&self, pod: &Pod, _: &ObjectChange) -> Hint {
        self.at("QueueingHint", pod);
        Hint::Skip
    }
    fn events(&self) -> Vec<EventRegistration> {
        vec![EventRegistration::new(
            secondmate_framework::EventResource::Node,
            secondmate_framework::ActionType::ALL,
        )]
    }
    acts_at!(
        as_pre_enqueue PreEnqueue, as_queue_sort QueueSort, as_pre_filter PreFilter, as_filter Filter,
        as_post_filter PostFilter, as_pre_score PreScore, as_score Score, as_reserve Reserve, as_permit Permit,
        as_pre_bind PreBind, as_bind Bind, as_post_bind PostBind
    );
}

impl PreEnqueue for Panics {
    fn pre_enqueue(&self, pod: &Pod) -> Status {
        self.at("PreEnqueue", pod);
        Status::SUCCESS
    }
}
impl QueueSort for Panics {
    fn compare(&self, a: &QueuedPod, b: &QueuedPod) -> Ordering {
        self.at("QueueSort", &a.pod);
        self.at("QueueSort", &b.pod);
        Ordering::Equal
    }
}
impl PreFilter for Panics {
    fn pre_filter(&self, _: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        self.at("PreFilter", pod);
        PreFilterOutcome::default()
    }
}
impl Filter for Panics {
    fn filter(&self, _: &Context<'_>, _: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        if self.0.state().in_post_filter {
            self.at("Filter in PostFilter", pod);
        }
        if node.name().as_str() == "n2" {
            self.at("Filter", pod);
        }
        if self.0.state().panics_at == "QueueingHint" && *pod.name == *"bad" {
            return Status::unschedulable("not before a node changes");
        }
        Status::SUCCESS
    }
}
impl PostFilter for Panics {
    fn post_filter(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        _: &NodeStatuses,
        filters: &dyn RunFilters,
    ) -> PostFilterOutcome {
        self.at("PostFilter", pod);
        self.0.state().in_post_filter = true;
        filters.run(cx, state, pod, &cx.snapshot.nodes()[0]).into()
    }
}
impl PreScore for Panics {
    fn pre_score(&self, _: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>, _: &[Arc<NodeInfo>]) -> Status {
        self.at("PreScore", pod);
        Status::SUCCESS
    }
}
impl Score for Panics {
    fn score(&self, _: &Context<'_>, _: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Result<i64, Status> {
        if node.name().as_str() == "n2" {
            self.at("Score", pod);
        }
        Ok(0)
    }
    fn normalization(&self) -> Normalization {
        Normalization::Identity
    }
    fn normalize(
        &self,
        _: &Context<'_>,
        _: &CycleState,
        pod: &Arc<Pod>,
        _: &[Arc<NodeInfo>],
        _: &mut [i64],
    ) -> Status {
        self.at("ScoreExtensionNormalize", pod);
        Status::SUCCESS
    }
}
impl Reserve for Panics {
    fn reserve(&self, _: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>, _: &Atom) -> Status {
        self.at("Reserve", pod);
        Status::SUCCESS
    }
    fn unreserve(&self, _: &mut CycleState, pod: &Arc<Pod>, _: &Atom) {
        self.at("Unreserve", pod);
    }
}
impl Permit for Panics {
    fn permit(&self, _: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>, _: &Atom) -> (Status, Duration) {
        self.at("Permit", pod);
        // Causes the reservation to be reverted.
        if self.0.state().panics_at == "Unreserve" && *pod.name == *"bad" {
            return (Status::unschedulable("not now"), Duration::ZERO);
        }
        (Status::SUCCESS, Duration::ZERO)
    }
}
impl PreBind for Panics {
    fn pre_flight(&self, _: &CycleState, pod: &Arc<Pod>, _: &Atom) -> bool {
        self.at("PreBindPreFlight", pod);
        false
    }
    fn pre_bind(&self, _: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>, _: &Atom) -> PreBindStep {
        self.at("PreBind", pod);
        PreBindStep::Done
    }
}
impl Bind for Panics {
    fn bind(&self, _: &CycleState, pod: &Arc<Pod>, _: &Atom) -> BindStep {
        self.at("Bind", pod);
        BindStep::Binding { annotations: BTreeMap::new() }
    }
}
impl PostBind for Panics {
    fn post_bind(&self, _: &CycleState, pod: &Arc<Pod>, _: &Atom) {
        self.at("PostBind", pod);
    }
}

fn cluster(panics_at: &'static str, evaluation: EvaluationSettings) -> (Cluster, Shared) {
    let shared = Shared::default();
    shared.state().panics_at = panics_at;
    let plugins = [("Panics", 1), ("NodeResourcesFit", 1)];
    (cluster_with(Arc::new(Panics(shared.clone())), &plugins, &shared, evaluation), shared)
}

/// With a plugin that is called `Panics`.
fn cluster_with(
    plugin: Arc<dyn Plugin>,
    plugins: &[(&str, i64)],
    shared: &Shared,
    evaluation: EvaluationSettings,
) -> Cluster {
    let mut registry = secondmate_plugins::registry().expect("in-tree plugins");
    registry.register("Panics", move |_, _: &Handle| Ok(Arc::clone(&plugin))).expect("a new name");
    let spec = ProfileSpec {
        scheduler_name: OURS.to_owned(),
        percentage_of_nodes_to_score: 100,
        plugins: multi_point(plugins, &registry, &BTreeMap::new()).expect("plugins that are registered"),
        ..ProfileSpec::default()
    };
    let profile = Profile::new(&spec, &registry, Parity::Strict).expect("a valid profile");
    let profile = profile.with_probe(Arc::new(shared.clone()));
    let config = SchedulerConfig { evaluation, ..SchedulerConfig::default() };
    let core = Scheduler::new(config, vec![profile]);
    let mut cluster = Cluster { core, script: Default::default(), now: Timestamp::from_secs(1000) };
    cluster.node("n1");
    cluster.node("n2");
    cluster
}

/// What is reported about a pod `bad`, and what becomes of it and of a later one.
fn run(panics_at: &'static str, evaluation: EvaluationSettings) -> Vec<String> {
    let (mut cluster, shared) = cluster(panics_at, evaluation);
    // PostFilter runs if a pod fits nowhere.
    let wants = if ["PostFilter", "Filter in PostFilter"].contains(&panics_at) { " cpu=9" } else { "" };
    cluster.pending(&format!("bad{wants}"));
    cluster.pending("good");
    let mut lines = vec![cluster.step(), cluster.step()];
    cluster.answer("bad", BindOutcome::Bound);
    if panics_at == "QueueingHint" {
        cluster.node("n1 cpu=2");
    }
    lines.extend(cluster.effects().into_iter().filter(|line| line.starts_with("event bad")));
    lines.extend(shared.state().told.drain(..).map(|told| format!("told: {told}")));
    lines.push(format!("bad: {}", cluster.place("bad")));
    lines
}

fn standing() -> EvaluationSettings {
    EvaluationSettings::Standing(StandingSettings { first_sight: true, ..StandingSettings::default() })
}

#[test]
fn the_attempt_fails_and_others_go_on() {
    for (point, text, on) in [
        ("PreFilter", "PreFilter", ""),
        ("Filter", "Filter", " on node n2"),
        ("PostFilter", "PostFilter", ""),
        ("PreScore", "PreScore", ""),
        ("Score", "Score", " on node n2"),
        ("Reserve", "Reserve", ""),
        ("Permit", "Permit", ""),
        ("PreBindPreFlight", "PreBindPreFlight", ""),
    ] {
        let expected = format!("running {text} plugin \"Panics\": panicked{on}: oh, {point}");
        for evaluation in [EvaluationSettings::Plain, standing()] {
            let lines = run(point, evaluation);
            assert_eq!(lines[0], "bad: error", "{point}");
            assert!(lines[1].starts_with("good -> n"), "{point}: {lines:?}");
            let told = format!("told: {expected} (bad)");
            let event = format!("event bad FailedScheduling: {expected}");
            assert_eq!(lines[2..], [event, told, "bad: ErrorBackoff".to_owned()], "{point}");
        }
    }
}

#[test]
fn a_binding_that_began_is_given_up() {
    for point in ["PreBind", "Bind"] {
        let expected = format!("running {point} plugin \"Panics\": panicked: oh, {point}");
        let lines = run(point, standing());
        assert!(lines[0].starts_with("bad -> n"), "a node was chosen: {lines:?}");
        assert!(lines[1].starts_with("good -> n"), "{lines:?}");
        let (event, told) =
            (format!("event bad FailedScheduling: {expected}"), format!("told: {expected} (bad)"));
        assert_eq!(lines[2..], [event, told, "bad: ErrorBackoff".to_owned()], "{point}");
    }
}

#[test]
fn where_there_is_no_attempt_to_fail_the_careful_thing_is_done() {
    let told = |point: &str| format!("told: running {point} plugin \"Panics\": panicked: oh, {point} (bad)");
    // Held back by the plugin.
    let lines = run("PreEnqueue", standing());
    assert!(lines[0].starts_with("good -> n") && lines[1] == "-", "{lines:?}");
    assert_eq!(lines[2..], [told("PreEnqueue"), "bad: Gated".to_owned()]);
    // By order of arrival.
    let lines = run("QueueSort", standing());
    assert!(lines[0].starts_with("bad -> n") && lines[1].starts_with("good -> n"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("told: running QueueSort plugin")), "{lines:?}");
    // Bound nevertheless.
    let lines = run("PostBind", standing());
    assert!(lines.contains(&told("PostBind")), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("bad: -"));
    // Rejected nevertheless.
    let lines = run("Unreserve", standing());
    assert_eq!(lines[0], "bad: unschedulable");
    assert!(lines.contains(&told("Unreserve")), "{lines:?}");
    // One attempt too many.
    let lines = run("QueueingHint", standing());
    assert!(lines.contains(&told("QueueingHint")), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("bad: Backoff"));
}

/// A filter that is called by a PostFilter plugin.
#[test]
fn the_innermost_plugin_is_named() {
    let expected = "running Filter plugin \"Panics\": panicked on node n1: oh, Filter in PostFilter";
    let lines = run("Filter in PostFilter", standing());
    let (event, told) =
        (format!("event bad FailedScheduling: {expected}"), format!("told: {expected} (bad)"));
    assert_eq!(lines[2..], [event, told, "bad: ErrorBackoff".to_owned()]);
}

#[test]
fn a_panic_outside_of_plugins_is_not_caught() {
    struct Broken;
    impl Probe for Broken {
        fn times_cycle(&self) -> bool {
            panic!("a defect of ours")
        }
    }
    let registry = secondmate_plugins::registry().expect("in-tree plugins");
    let plugins = [("PrioritySort", 1), ("DefaultBinder", 1)];
    let spec = ProfileSpec {
        scheduler_name: OURS.to_owned(),
        plugins: multi_point(&plugins, &registry, &BTreeMap::new()).expect("plugins that are registered"),
        ..ProfileSpec::default()
    };
    let profile = Profile::new(&spec, &registry, Parity::Strict).expect("a valid profile");
    let mut core = Scheduler::new(SchedulerConfig::default(), vec![profile.with_probe(Arc::new(Broken))]);
    let now = Timestamp::from_secs(1000);
    core.apply(Input::Node(node("n1")), now);
    core.apply(Input::Pod(PodWatch::Pending, pod("p")), now);
    let step = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| core.step(now)));
    assert!(step.is_err(), "it goes on up");
}

/// Panics for pods called `bad` in what only the standing evaluation asks.
struct Inside(Shared);

impl Inside {
    fn at(&self, point: &str, pod: &Pod) {
        let panics = self.0.state().panics_at == point && *pod.name == *"bad";
        assert!(!panics, "oh, {point}");
    }

    fn has_rows(&self) -> bool {
        ["RowFilter", "RowScore"].contains(&self.0.state().panics_at)
    }
}

impl Plugin for Inside {
    fn name(&self) -> &'static str {
        "Panics"
    }
    fn declaration(&self) -> Declaration {
        let declared = Declaration::of(PodParts::LABELS, NodeParts::ALL);
        if self.0.state().panics_at == "score_reach" {
            Declaration { score: Reach::Cluster, ..declared }
        } else {
            declared
        }
    }
    fn score_reach(&self, _: &Context<'_>, pod: &Arc<Pod>) -> Option<Reach> {
        self.at("score_reach", pod);
        Some(Reach::Node)
    }
    fn reading(&self, _: &Context<'_>, _: &CycleState, pod: &Arc<Pod>) -> Option<Reading> {
        let panics_at = self.0.state().panics_at;
        let key = Telltale { panics_at, is_bad: *pod.name == *"bad" };
        panics_at.starts_with("Alike").then(|| Reading::of(key))
    }
    acts_at!(as_filter Filter, as_score Score, as_post_filter PostFilter);
}

impl Filter for Inside {
    fn filter(&self, _: &Context<'_>, _: &CycleState, _: &Arc<Pod>, _: &NodeInfo) -> Status {
        Status::SUCCESS
    }
    fn by_row<'a>(&'a self, _: &'a CycleState, pod: &'a Arc<Pod>) -> Option<Box<dyn RowFilter + 'a>> {
        self.has_rows().then(|| -> Box<dyn RowFilter + 'a> { Box::new(Row(self, pod)) })
    }
}
impl Score for Inside {
    fn score(&self, _: &Context<'_>, _: &CycleState, _: &Arc<Pod>, _: &NodeInfo) -> Result<i64, Status> {
        Ok(0)
    }
    fn normalization(&self) -> Normalization {
        Normalization::Identity
    }
    fn by_row<'a>(&'a self, _: &'a CycleState, pod: &'a Arc<Pod>) -> Option<Box<dyn RowScore + 'a>> {
        self.has_rows().then(|| -> Box<dyn RowScore + 'a> { Box::new(Row(self, pod)) })
    }
}
impl PostFilter for Inside {
    fn post_filter(
        &self,
        _: &Context<'_>,
        _: &mut CycleState,
        _: &Arc<Pod>,
        _: &NodeStatuses,
        _: &dyn RunFilters,
    ) -> PostFilterOutcome {
        Status::unschedulable("nobody would go").into()
    }
    fn fails_alike(&self) -> bool {
        assert_ne!(self.0.state().panics_at, "fails_alike", "it is asked at the start");
        false
    }
}

struct Row<'a>(&'a Inside, &'a Pod);

impl RowFilter for Row<'_> {
    fn filter(&self, _: NodeRows<'_>, _: &mut [bool]) {
        self.0.at("RowFilter", self.1);
    }
}
impl RowScore for Row<'_> {
    fn score(&self, _: NodeRows<'_>, _: &[bool], scores: &mut [i64]) {
        self.0.at("RowScore", self.1);
        scores.fill(0);
    }
}

/// What a pod is told by; all are alike.
#[derive(Debug)]
struct Telltale {
    panics_at: &'static str,
    is_bad: bool,
}

impl Telltale {
    fn at(&self, point: &str) {
        assert!(!self.is_bad || self.panics_at != point, "oh, {point}");
    }
}

impl Alike for Telltale {
    fn is_same(&self, other: &dyn Any) -> bool {
        let other = other.downcast_ref::<Self>();
        other.inspect(|other| other.at("Alike::is_same")).is_some()
    }
    fn hash(&self) -> u64 {
        self.at("Alike::hash");
        7
    }
    fn bytes(&self) -> usize {
        self.at("Alike::bytes");
        0
    }
}

/// A cluster with that plugin.
fn cluster_inside(panics_at: &'static str) -> (Cluster, Shared) {
    let shared = Shared::default();
    shared.state().panics_at = panics_at;
    let plugins = [("PrioritySort", 1), ("Panics", 1), ("NodeResourcesFit", 1), ("DefaultBinder", 1)];
    (cluster_with(Arc::new(Inside(shared.clone())), &plugins, &shared, standing()), shared)
}

#[test]
fn a_panic_in_what_only_the_standing_evaluation_asks_fails_the_attempt_and_others_go_on() {
    for (panics_at, point, names) in [
        ("RowFilter", "Filter", ["bad", "good", "other"]),
        ("RowScore", "Score", ["bad", "good", "other"]),
        ("score_reach", "Score", ["good", "bad", "other"]),
        ("Alike::hash", "Filter", ["good", "bad", "other"]),
        // Compared with the one that a class is known by.
        ("Alike::is_same", "Filter", ["good", "bad", "other"]),
        // A class counts the pod of which it was made.
        ("Alike::bytes", "Filter", ["bad", "good", "other"]),
    ] {
        let (mut cluster, shared) = cluster_inside(panics_at);
        for name in names {
            cluster.pending(name);
            let step = cluster.step();
            if name == "bad" {
                assert_eq!(step, "bad: error", "{panics_at}");
            } else {
                assert!(step.starts_with(&format!("{name} -> n")), "{panics_at}: {step}");
            }
        }
        let expected = format!("running {point} plugin \"Panics\": panicked: oh, {panics_at}");
        let events: Vec<String> =
            cluster.effects().into_iter().filter(|line| line.starts_with("event bad")).collect();
        assert_eq!(events, [format!("event bad FailedScheduling: {expected}")], "{panics_at}");
        assert_eq!(shared.state().told, [format!("{expected} (bad)")], "{panics_at}");
    }
}

#[test]
fn whether_rejections_are_alike_is_asked_at_the_start() {
    let (mut cluster, shared) = cluster_inside("");
    shared.state().panics_at = "fails_alike";
    for name in ["bad", "good"] {
        cluster.pending(&format!("{name} cpu=9"));
        assert_eq!(cluster.step(), format!("{name}: unschedulable"));
    }
    assert_eq!(shared.state().told, Vec::<String>::new());
}
