//! Complete preemptions against tables worked out by hand, with CPU, anti-affinity and spreading as filters.

use super::*;
use crate::{fixture, inter_pod_affinity, pod_topology_spread};
use secondmate_framework::{KeptTrials, Nominations, PreemptionCandidate, RunFilters, Snapshot};
use secondmate_model::{Atom, NodeInfo, Timestamp};
use serde_json::{Value, json};

/// Checks CPU, and asks the plugins with state.
struct Filters {
    plugins: Vec<Arc<dyn Plugin>>,
    /// Nodes that no eviction can help.
    closed: Vec<&'static str>,
    /// Schedulers whose pods may be evicted.
    victims_of: Option<Arc<[Atom]>>,
    /// What extenders do with the candidates.
    confirm: fn(Vec<PreemptionCandidate>) -> Result<Vec<PreemptionCandidate>, Status>,
}

impl Default for Filters {
    fn default() -> Self {
        Self { plugins: Vec::new(), closed: Vec::new(), victims_of: None, confirm: Ok }
    }
}

impl RunFilters for Filters {
    fn run(&self, cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        if self.closed.contains(&node.name().as_str()) {
            return Status::unschedulable("closed");
        }
        let nominated = cx.nominations.on_node(node.name()).iter().filter(|n| n.priority >= pod.priority);
        let promised: i64 = nominated.map(|n| n.requests.on_node.milli_cpu).sum();
        let free = node.node().allocatable.resources.milli_cpu - node.requested().milli_cpu - promised;
        if pod.requests.on_node.milli_cpu > free {
            return Status::unschedulable("Insufficient cpu");
        }
        let verdict = |plugin: &Arc<dyn Plugin>| {
            plugin.clone().as_filter().expect("filters").filter(cx, state, pod, node)
        };
        self.plugins.iter().map(verdict).find(|status| !status.is_success()).unwrap_or_default()
    }

    fn add_pod(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        added: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        let hooks = self.plugins.iter().filter_map(|plugin| plugin.clone().as_pre_filter());
        hooks
            .map(|hook| hook.add_pod(cx, state, pod, added, node))
            .find(|s| !s.is_success())
            .unwrap_or_default()
    }

    fn remove_pod(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        removed: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        let hooks = self.plugins.iter().filter_map(|plugin| plugin.clone().as_pre_filter());
        hooks
            .map(|h| h.remove_pod(cx, state, pod, removed, node))
            .find(|s| !s.is_success())
            .unwrap_or_default()
    }

    fn confirm_preemption(
        &self,
        _cx: &Context<'_>,
        _pod: &Arc<Pod>,
        candidates: Vec<PreemptionCandidate>,
    ) -> Result<Vec<PreemptionCandidate>, Status> {
        (self.confirm)(candidates)
    }
}

#[derive(Default)]
struct Nominated(Vec<(Atom, Vec<Arc<Pod>>)>);

impl Nominations for Nominated {
    fn on_node(&self, node: &Atom) -> &[Arc<Pod>] {
        self.0.iter().find(|(name, _)| name == node).map_or(&[], |(_, pods)| pods)
    }

    fn nodes(&self) -> Vec<&Atom> {
        self.0.iter().map(|(name, _)| name).collect()
    }
}

fn node(name: &str, cpu: u32) -> Value {
    json!({"kind": "Node", "metadata": {"name": name, "labels": {"host": name}},
        "status": {"allocatable": {"cpu": cpu.to_string(), "pods": "110"}}})
}

fn nodes(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| node(name, 4)).collect()
}

/// A pod on a node; started at this second after the epoch's minute, or not at all if that is negative.
fn on(node: &str, name: &str, priority: i32, cpu: u32, second: i32) -> Value {
    let mut pod = json!({"kind": "Pod", "metadata": {"name": name, "labels": {"app": name[..1]}},
        "spec": {"nodeName": node, "priority": priority,
            "containers": [{"resources": {"requests": {"cpu": cpu.to_string()}}}]}});
    if second >= 0 {
        pod["status"] = json!({"startTime": format!("2026-01-01T00:00:{second:02}Z")});
    }
    pod
}

fn preemptor(cpu: u32) -> Value {
    json!({"metadata": {"name": "p", "labels": {"app": "p"}}, "spec": {"priority": 100,
        "containers": [{"resources": {"requests": {"cpu": cpu.to_string()}}}]}})
}

fn context<'a>(snapshot: &'a Snapshot, nominations: &'a Nominated) -> Context<'a> {
    let now = Timestamp::parse("2026-01-02T00:00:00Z").expect("a time");
    Context { snapshot, now, nominations }
}

/// Runs PreFilter of the plugins and the filters on all nodes, and then the preemption.
fn run(
    args: &Value,
    objects: Vec<Value>,
    filters: &Filters,
    nominated: &Nominated,
    pod: Value,
) -> PostFilterOutcome {
    let snapshot = fixture::snapshot(objects);
    let cx = context(&snapshot, nominated);
    let pod = fixture::pod(pod);
    let mut state = CycleState::new();
    for plugin in &filters.plugins {
        let outcome = plugin.clone().as_pre_filter().expect("implemented").pre_filter(&cx, &mut state, &pod);
        assert!(outcome.status.is_success(), "{}", outcome.status);
    }
    let absent = Status::with_reasons(Code::UnschedulableAndUnresolvable, []);
    let mut statuses = NodeStatuses::new(absent);
    for (at, node) in (0..).zip(snapshot.nodes()) {
        let status = filters.run(&cx, &state, &pod, node);
        assert!(!status.is_success(), "the pod fits on {}", node.name());
        statuses.set(NodeIndex(at), status);
    }
    let mut handle = Handle::default();
    handle.victims_of.clone_from(&filters.victims_of);
    let plugin = new(args, &handle).expect("valid arguments");
    plugin
        .clone()
        .as_post_filter()
        .expect("implemented")
        .post_filter(&cx, &mut state, &pod, &statuses, filters)
}

/// `node: victims`, or the message.
fn shown(outcome: &PostFilterOutcome) -> String {
    match &outcome.nomination {
        Some(Nomination::Node(node)) => {
            assert!(outcome.status.is_success());
            let victims: Vec<&str> = outcome.victims.iter().map(|victim| &*victim.name).collect();
            let count = victims.len();
            let found =
                format!("found a potential placement for pod on node {node}, preempting {count} victims");
            assert_eq!(outcome.message(), format!("preemption: {found}"));
            format!("{node}: {}", victims.join(" "))
        }
        _ => {
            assert!(outcome.victims.is_empty() && outcome.nominations_to_clear.is_empty());
            outcome.status.message()
        }
    }
}

fn preempt(objects: Vec<Value>, cpu: u32) -> String {
    shown(&run(&Value::Null, objects, &Filters::default(), &Nominated::default(), preemptor(cpu)))
}

fn with(mut objects: Vec<Value>, more: Vec<Value>) -> Vec<Value> {
    objects.extend(more);
    objects
}

#[test]
fn the_most_important_pods_are_taken_back_first() {
    let full = || {
        with(
            nodes(&["a"]),
            vec![on("a", "w", 1, 1, 0), on("a", "x", 3, 1, 0), on("a", "y", 2, 1, 5), on("a", "z", 2, 1, 1)],
        )
    };
    assert_eq!(preempt(full(), 1), "a: w");
    // y was started after z.
    assert_eq!(preempt(full(), 2), "a: y w");
    assert_eq!(preempt(full(), 3), "a: z y w");
    assert_eq!(preempt(full(), 4), "a: x z y w");
    // A small pod that still fits is put back even after a big one had to stay away.
    let sizes = with(nodes(&["a"]), vec![on("a", "big", 9, 3, 0), on("a", "small", 1, 1, 0)]);
    assert_eq!(preempt(sizes, 2), "a: big");
}

#[test]
fn pods_of_the_same_or_a_higher_priority_stay() {
    let objects = with(nodes(&["a", "b"]), vec![on("a", "x", 100, 4, 0), on("b", "y", 99, 4, 0)]);
    assert_eq!(preempt(objects, 1), "b: y");
}

#[test]
fn pods_of_other_schedulers_stay_unless_it_is_told_otherwise() {
    let mut foreign = on("n1", "foreign", 0, 2, 0);
    foreign["spec"]["schedulerName"] = "default-scheduler".into();
    let mut own = on("n2", "own", 50, 2, 0);
    own["spec"]["schedulerName"] = "my-scheduler".into();
    let objects = with(vec![node("n1", 2), node("n2", 2)], vec![foreign, own]);
    let victims = |victims_of: Option<&str>| {
        let victims_of = victims_of.map(|name| Arc::from([Atom::new(name)]));
        let filters = Filters { victims_of, ..Filters::default() };
        shown(&run(&Value::Null, objects.clone(), &filters, &Nominated::default(), preemptor(2)))
    };
    assert_eq!(victims(None), "n1: foreign");
    assert_eq!(victims(Some("my-scheduler")), "n2: own");
}

#[test]
fn the_least_harm_is_chosen() {
    let three = || nodes(&["a", "b", "c"]);
    for (name, pods, expected) in [
        (
            "lowest priority",
            vec![on("a", "x", 5, 4, 0), on("b", "y", 3, 4, 0), on("c", "z", 4, 4, 0)],
            "b: y",
        ),
        (
            "sum",
            vec![
                on("a", "x", 5, 2, 0),
                on("a", "w", 5, 2, 0),
                on("b", "y", 5, 2, 0),
                on("b", "v", 3, 2, 0),
                on("c", "z", 5, 2, 0),
                on("c", "u", 4, 2, 0),
            ],
            "b: y v",
        ),
        ("latest start", vec![on("a", "x", 5, 4, 1), on("b", "y", 5, 4, 3), on("c", "z", 5, 4, 2)], "b: y"),
        (
            "not started is latest",
            vec![on("a", "x", 5, 4, 1), on("b", "y", 5, 4, 3), on("c", "z", 5, 4, -1)],
            "c: z",
        ),
        ("first in order", vec![on("a", "x", 5, 4, 1), on("b", "y", 5, 4, 1), on("c", "z", 5, 4, 1)], "a: x"),
    ] {
        assert_eq!(preempt(with(three(), pods), 4), expected, "{name}");
    }
}

#[test]
fn budgets_are_spared_where_that_can_be() {
    let budget = |app: &str, allowed: i32| {
        json!({"kind": "PodDisruptionBudget", "metadata": {"name": app, "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": app}}}, "status": {"disruptionsAllowed": allowed}})
    };
    // Between nodes, the violation counts more than priorities.
    let two = with(nodes(&["a", "b"]), vec![on("a", "x", 1, 4, 0), on("b", "y", 9, 4, 0)]);
    assert_eq!(preempt(two.clone(), 4), "a: x");
    assert_eq!(preempt(with(two.clone(), vec![budget("x", 1)]), 4), "a: x");
    assert_eq!(preempt(with(two.clone(), vec![budget("x", 0)]), 4), "b: y");
    assert_eq!(preempt(with(two, vec![budget("x", 0), budget("y", 0)]), 4), "a: x");
    // On a single node, the protected pod is put back first, although it is less important.
    let one = with(nodes(&["a"]), vec![on("a", "x", 1, 2, 0), on("a", "y", 9, 2, 0)]);
    assert_eq!(preempt(one.clone(), 2), "a: x");
    assert_eq!(preempt(with(one.clone(), vec![budget("x", 0)]), 2), "a: y");
    // If both have to go, they are still ordered by importance.
    assert_eq!(preempt(with(one, vec![budget("x", 0)]), 4), "a: y x");
}

#[test]
fn where_nothing_helps_the_message_says_why_and_the_nomination_is_taken_back() {
    let filters = Filters { closed: vec!["c"], ..Filters::default() };
    let objects = with(
        vec![node("a", 4), node("b", 2), node("c", 4), node("d", 4)],
        vec![on("a", "x", 100, 4, 0), on("b", "y", 1, 2, 0), on("c", "z", 1, 4, 0), on("d", "w", 200, 4, 0)],
    );
    let outcome = run(&Value::Null, objects, &filters, &Nominated::default(), preemptor(3));
    assert_eq!(outcome.nomination, Some(Nomination::Clear));
    assert_eq!(
        outcome.status.to_string(),
        "Unschedulable: preemption: 0/4 nodes are available: 1 Insufficient cpu, 1 closed, \
         2 No preemption victims found for incoming pod."
    );
}

#[test]
fn nodes_beyond_help_are_not_tried() {
    let snapshot =
        fixture::snapshot(with(nodes(&["a", "b", "c"]), vec![on("a", "x", 1, 4, 0), on("b", "y", 1, 4, 0)]));
    let (filters, nominated) = (Filters::default(), Nominated::default());
    let cx = context(&snapshot, &nominated);
    let pod = fixture::pod(preemptor(4));
    let plugin = new(&Value::Null, &Handle::default()).expect("valid arguments");
    let plugin = plugin.clone().as_post_filter().expect("implemented");
    let hopeless = || Status::unresolvable("node(s) had untolerated taint(s)");
    let mut statuses = NodeStatuses::new(hopeless());
    let outcome = plugin.post_filter(&cx, &mut CycleState::new(), &pod, &statuses, &filters);
    assert_eq!(
        shown(&outcome),
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    statuses.set(NodeIndex(1), Status::unschedulable("Insufficient cpu"));
    assert_eq!(shown(&plugin.post_filter(&cx, &mut CycleState::new(), &pod, &statuses, &filters)), "b: y");
    // If the pod as a whole was rejected for a reason that evictions may cure, that applies to all nodes without a status of their own.
    let mut statuses = NodeStatuses::new(Status::unschedulable("x"));
    statuses.set(NodeIndex(0), hopeless());
    assert_eq!(shown(&plugin.post_filter(&cx, &mut CycleState::new(), &pod, &statuses, &filters)), "b: y");
}

#[test]
fn some_pods_may_not_preempt() {
    let objects = || with(nodes(&["a"]), vec![on("a", "x", 1, 4, 0)]);
    let message = |pod: Value, objects: Vec<Value>| {
        let outcome = run(&Value::Null, objects, &Filters::default(), &Nominated::default(), pod);
        if !outcome.status.is_success() {
            assert_eq!(outcome.nomination, None);
        }
        shown(&outcome)
    };
    let mut never = preemptor(4);
    never["spec"]["preemptionPolicy"] = json!("Never");
    assert_eq!(message(never, objects()), "preemption: not eligible due to preemptionPolicy=Never.");

    let mut waiting = preemptor(4);
    waiting["status"] = json!({"nominatedNodeName": "a"});
    let leaving = |priority: i32, reason: &str| {
        let mut pod = on("a", "x", priority, 4, 0);
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["status"]["conditions"] =
            json!([{"type": "DisruptionTarget", "status": "True", "reason": reason}]);
        with(nodes(&["a"]), vec![pod])
    };
    assert_eq!(
        message(waiting.clone(), leaving(1, "PreemptionByScheduler")),
        "preemption: not eligible due to a terminating pod on the nominated node."
    );
    assert_eq!(message(waiting.clone(), leaving(1, "DeletionByTaintManager")), "a: x");
    assert_eq!(message(waiting.clone(), objects()), "a: x");
    let mut elsewhere = waiting;
    elsewhere["status"] = json!({"nominatedNodeName": "gone"});
    assert_eq!(message(elsewhere, leaving(1, "PreemptionByScheduler")), "a: x");
}

#[test]
fn lesser_promises_on_the_node_are_taken_back_where_somebody_is_evicted() {
    let nominated = |priority: i32, name: &str| {
        fixture::pod(json!({"metadata": {"name": name}, "spec": {"priority": priority, "containers": []}}))
    };
    let promises = || Nominated(vec![("a".into(), vec![nominated(5, "low"), nominated(100, "same")])]);
    let cleared = |objects: Vec<Value>| -> Vec<String> {
        let outcome = run(&Value::Null, objects, &Filters::default(), &promises(), preemptor(4));
        assert_eq!(shown(&outcome), "a: x");
        outcome.nominations_to_clear.iter().map(|pod| pod.name.to_string()).collect()
    };
    let mut victim = on("a", "x", 1, 4, 0);
    assert_eq!(cleared(with(nodes(&["a"]), vec![victim.clone()])), ["low"]);
    victim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(cleared(with(nodes(&["a"]), vec![victim])), [""; 0]);
}

#[test]
fn the_state_of_plugins_follows_the_trial() {
    let registry = crate::registry().expect("no name twice");
    let plugin = |name: &str| registry.make(name, &Value::Null, &Handle::default()).expect("no arguments");
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let far = json!([{"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "x"}}}]);
    let mut pod = preemptor(1);
    pod["spec"]["affinity"] = json!({"podAntiAffinity": {required: far}});
    let filters = Filters { plugins: vec![plugin(inter_pod_affinity::NAME)], ..Filters::default() };
    // There is room, but x is unwanted; y may stay.
    let objects =
        with(nodes(&["a"]), vec![on("a", "x1", 9, 1, 0), on("a", "y", 1, 1, 0), on("a", "x2", 9, 1, 1)]);
    let outcome = run(&Value::Null, objects, &filters, &Nominated::default(), pod);
    assert_eq!(shown(&outcome), "a: x1 x2");

    let mut pod = preemptor(1);
    pod["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "host",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchExpressions": [
            {"key": "app", "operator": "In", "values": ["p", "x"]}]}}]);
    let filters = Filters { plugins: vec![plugin(pod_topology_spread::NAME)], ..Filters::default() };
    // b has no x but is full; on a, one x has to go for a skew of 1 + 1 - 1... the other may stay.
    let objects = with(
        nodes(&["a", "b"]),
        vec![on("a", "x1", 9, 1, 0), on("a", "x2", 9, 1, 1), on("b", "x3", 200, 4, 0)],
    );
    let outcome = run(&Value::Null, objects, &filters, &Nominated::default(), pod);
    assert_eq!(shown(&outcome), "a: x2");
}

#[test]
fn extenders_have_the_last_word_on_candidates() {
    let objects = || with(nodes(&["a", "b"]), vec![on("a", "x", 1, 4, 0), on("b", "y", 9, 4, 0)]);
    let outcome = |confirm| {
        let filters = Filters { confirm, ..Filters::default() };
        let outcome = run(&Value::Null, objects(), &filters, &Nominated::default(), preemptor(4));
        shown(&outcome)
    };
    assert_eq!(outcome(|mut candidates| Ok(candidates.split_off(1))), "b: y");
    assert_eq!(outcome(|_| Ok(vec![])), "preemption: no candidate node for preemption");
    assert_eq!(outcome(|_| Err(Status::error("extender failed"))), "preemption: extender failed");
}

#[test]
fn among_many_nodes_a_part_is_looked_at_from_a_place_that_the_pod_decides() {
    let names: Vec<String> = (0..300).map(|i| format!("n{i:03}")).collect();
    let objects: Vec<Value> =
        names.iter().flat_map(|name| [node(name, 4), on(name, &format!("x-{name}"), 5, 4, 0)]).collect();
    let args = json!({"minCandidateNodesPercentage": 10, "minCandidateNodesAbsolute": 20});
    let nominated = |uid: &str| {
        let mut pod = preemptor(4);
        pod["metadata"]["uid"] = json!(uid);
        shown(&run(&args, objects.clone(), &Filters::default(), &Nominated::default(), pod))
    };
    let places: std::collections::BTreeSet<String> =
        (0..20).map(|i| nominated(&format!("uid-{i}"))).collect();
    assert!(places.len() > 5, "{places:?}");
    assert_eq!(nominated("uid-1"), nominated("uid-1"));
}

#[test]
fn the_search_ends_when_it_has_enough_and_one_without_a_violated_budget() {
    let budget = json!({"kind": "PodDisruptionBudget", "metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "v"}}}, "status": {"disruptionsAllowed": 0}});
    let pods = [("a", "va"), ("b", "vb"), ("c", "xc"), ("d", "xd"), ("e", "ve")];
    let objects = with(
        nodes(&["a", "b", "c", "d", "e"]),
        pods.iter().map(|(node, pod)| on(node, pod, 1, 4, 0)).chain([budget]).collect(),
    );
    let snapshot = fixture::snapshot(objects);
    let (filters, nominated) = (Filters::default(), Nominated::default());
    let cx = context(&snapshot, &nominated);
    let pod = fixture::pod(preemptor(4));
    let importance = Importance { now: cx.now, parity: Parity::Strict };
    let plugin = DefaultPreemption { args: Args::default(), parity: Parity::Strict, victims_of: None };
    let all: Vec<NodeIndex> = (0..5).map(NodeIndex).collect();
    for (start, wanted, expected) in [
        (0, 1, "c a"),
        (0, 2, "c a b"),
        (0, 3, "c a b"),
        (0, 4, "c d a b"),
        (0, 5, "c d a b e"),
        (2, 1, "c"),
        (3, 2, "d e"),
        (4, 2, "c e a"),
    ] {
        let search = DryRun::new(&plugin, &cx, &filters, &pod, importance);
        let found = search.find(&CycleState::new(), &all, start, wanted, &mut None::<&mut KeptTrials>);
        let names: Vec<&str> =
            found.candidates.iter().map(|candidate| snapshot.at(candidate.at).name().as_str()).collect();
        assert_eq!(names.join(" "), expected, "from {start}, {wanted} wanted");
        assert!(found.errors.is_empty());
    }
}

#[test]
fn a_tenth_of_the_nodes_is_enough_and_a_hundred_at_least() {
    let plugin = DefaultPreemption { args: Args::default(), parity: Parity::Strict, victims_of: None };
    let wanted = [1, 100, 101, 1000, 1010, 5000].map(|potential| plugin.wanted(potential));
    assert_eq!(wanted, [1, 100, 100, 100, 101, 500]);
}

#[test]
fn arguments_that_kube_scheduler_refuses_are_refused() {
    for args in [
        json!({"minCandidateNodesPercentage": 101}),
        json!({"minCandidateNodesPercentage": -1}),
        json!({"minCandidateNodesAbsolute": -1}),
        json!({"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0}),
        json!({"minCandidates": 1}),
    ] {
        assert!(new(&args, &Handle::default()).is_err(), "{args}");
    }
    assert!(new(&json!({"minCandidateNodesPercentage": 0}), &Handle::default()).is_ok());
    assert!(new(&json!({"minCandidateNodesAbsolute": 0}), &Handle::default()).is_ok());
}
