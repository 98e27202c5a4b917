//! One attempt: which nodes are looked at, in which order, what is chosen and what is reported.

use crate::fixture::{Cluster, OURS, atom, node, pod, profile, secs};
use crate::scripted::Script;
use secondmate_core::Nominator;
use secondmate_cycle::evaluation::{FilterRunner, node_count_to_find};
use secondmate_cycle::{Evaluate, Outcome, Plain, Profile, Question, Random, Scope};
use secondmate_framework::{Code, Context, CycleState, RunFilters, Snapshot, Status};
use secondmate_model::NodeInfo;
use secondmate_model::objects::Objects;
use std::sync::Arc;

fn snapshot(texts: &[&str]) -> Snapshot {
    let nodes = texts.iter().map(|text| Arc::new(NodeInfo::new(node(text)))).collect();
    Snapshot::new(nodes, Objects::default())
}

/// Tries a pod as the scheduler does, starting at `start`, which is advanced; returns the chosen node, or the message.
fn attempt(
    profile: &Profile,
    snapshot: &Snapshot,
    nominations: &Nominator,
    text: &str,
    start: &mut usize,
) -> Result<String, String> {
    let pod = pod(text);
    let scope = Scope::Sample { start: *start };
    let question = Question { profile, snapshot, nominations, now: secs(0.0), pod: &pod, scope };
    let answer = Plain.evaluate(&question, &mut Random::new(1));
    *start = (*start + answer.looked_at) % snapshot.nodes().len();
    match answer.outcome {
        Outcome::Placed { node, .. } => Ok(node.name().to_string()),
        Outcome::Rejected(rejection) => Err(rejection.message),
        Outcome::Failed(failure) => Err(failure.message),
    }
}

/// Tries a pod; returns the chosen node, or the message.
fn try_pod(script: &Script, plugins: &[&str], snapshot: &Snapshot, text: &str, start: &mut usize) -> String {
    attempt(&profile(plugins, script), snapshot, &Nominator::default(), text, start)
        .unwrap_or_else(|message| message)
}

const PLAIN: &[&str] = &["PrioritySort", "A", "DefaultBinder"];

#[test]
fn one_feasible_node_is_taken_without_a_score() {
    let script = Script::default();
    script.lines().filter.insert("A/p@n1".to_owned(), Status::unschedulable("no"));
    let chosen = try_pod(&script, PLAIN, &snapshot(&["n1", "n2"]), "p", &mut 0);
    assert_eq!(chosen, "n2");
    assert_eq!(script.calls(), ["filter A/p", "filter A/p"]);
    script.lines().filter.clear();
    script.lines().scores.insert("n1".to_owned(), 7);
    assert_eq!(try_pod(&script, PLAIN, &snapshot(&["n1", "n2"]), "p", &mut 0), "n1");
    assert_eq!(script.calls(), ["filter A/p", "filter A/p", "score A/p", "score A/p"]);
}

/// `RunScorePlugins`: node by node, all plugins; and all of Score before any weighing.
#[test]
fn of_several_failures_to_score_the_one_is_told_that_upstream_meets_first() {
    let script = Script::default();
    let nodes = snapshot(&["n1", "n2", "n3"]);
    let say =
        |script: &Script| try_pod(script, &["PrioritySort", "A", "B", "DefaultBinder"], &nodes, "p", &mut 0);
    script.lines().scores.insert("A@n2".to_owned(), 101);
    script.lines().scores.insert("A@n3".to_owned(), -1);
    let invalid = |plugin: &str, score: i64| {
        format!(
            "applying score defaultWeights on Score plugins: plugin \"{plugin}\" returns an invalid score {score}, it should in the range of [0, 100] after normalizing"
        )
    };
    assert_eq!(say(&script), invalid("A", 101));
    script.lines().scores.insert("B@n2".to_owned(), 102);
    assert_eq!(say(&script), invalid("A", 101), "at one node the first plugin");
    script.lines().scores.insert("B@n1".to_owned(), 103);
    assert_eq!(say(&script), invalid("B", 103), "the first node, whichever the plugin");
    let refused = |plugin: &str, node: &str| {
        format!("running Score plugins: plugin \"{plugin}\" failed with: not {node}")
    };
    script.lines().refuses_to_score.insert("B@n3".to_owned());
    assert_eq!(say(&script), refused("B", "n3"), "nothing is weighed before all is scored");
    script.lines().refuses_to_score.insert("A@n3".to_owned());
    assert_eq!(say(&script), refused("A", "n3"));
    script.lines().refuses_to_score.insert("B@n2".to_owned());
    assert_eq!(say(&script), refused("B", "n2"));
}

#[test]
fn the_nominated_node_is_tried_first_and_the_others_only_where_it_does_not_pass() {
    let script = Script::default();
    let nodes = snapshot(&["n1", "n2", "n3"]);
    script.lines().scores.insert("n1".to_owned(), 100);
    let mut start = 0;
    assert_eq!(try_pod(&script, PLAIN, &nodes, "p nominated=n2", &mut start), "n2");
    assert_eq!((script.calls().len(), start), (1, 0));
    script.lines().filter.insert("A/p@n2".to_owned(), Status::unschedulable("no"));
    assert_eq!(try_pod(&script, PLAIN, &nodes, "p nominated=n2", &mut start), "n1");
    assert_eq!(try_pod(&script, PLAIN, &nodes, "p nominated=gone", &mut start), "n1");
    script.lines().filter.insert("A/p@n2".to_owned(), Status::error("broken"));
    script.lines().filter.insert("A/p@n1".to_owned(), Status::unschedulable("no"));
    let message = try_pod(&script, PLAIN, &nodes, "p nominated=n2", &mut start);
    assert_eq!(message, "running \"A\" filter plugin: broken", "the search meets the node again");
}

#[test]
fn the_search_begins_where_the_last_one_ended() {
    let script = Script::default();
    let names: Vec<String> = (0..150).map(|at| format!("n{at}")).collect();
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    let nodes = snapshot(&texts);
    script.lines().filter.insert("A/p".to_owned(), Status::SUCCESS);
    script.lines().filter.insert("A/p@n3".to_owned(), Status::unschedulable("no"));
    let mut start = 0;
    // Without scoring, one node is enough.
    let first = |start: &mut usize| {
        let profile = without_score(&script);
        attempt(&profile, &nodes, &Nominator::default(), "p", start).expect("nodes pass")
    };
    let chosen: Vec<String> = (0..5).map(|_| first(&mut start)).collect();
    assert_eq!(chosen, ["n0", "n1", "n2", "n4", "n5"]);
    assert_eq!(start, 6);
    start = 149;
    assert_eq!((first(&mut start), start), ("n149".to_owned(), 0));
}

/// A filters, and no plugin scores.
fn without_score(script: &Script) -> Profile {
    let registry = crate::scripted::registry(script);
    let strings = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), 1)).collect::<Vec<_>>();
    let spec = secondmate_cycle::ProfileSpec {
        scheduler_name: OURS.to_owned(),
        plugins: secondmate_cycle::PluginLists {
            queue_sort: strings(&["PrioritySort"]),
            filter: strings(&["A"]),
            bind: strings(&["DefaultBinder"]),
            ..secondmate_cycle::PluginLists::default()
        },
        ..secondmate_cycle::ProfileSpec::default()
    };
    Profile::new(&spec, &registry, secondmate_framework::Parity::Strict).expect("valid")
}

#[test]
fn the_share_of_nodes_adapts_to_the_size_of_the_cluster() {
    for (nodes, percentage, expected) in
        [(99, 5, 99), (100, 30, 100), (400, 30, 120), (1000, 0, 420), (5500, 0, 330), (10_000, 0, 500)]
    {
        assert_eq!(node_count_to_find(nodes, percentage), expected, "{nodes} nodes, {percentage} %");
    }
}

#[test]
fn nominated_pods_count_for_those_of_at_most_their_priority_and_twice() {
    let script = Script::default();
    let profile = profile(&["PrioritySort", "NodeResourcesFit", "NodePorts", "DefaultBinder"], &script);
    let nodes = snapshot(&["n1 cpu=1"]);
    for (nominated, tried, passes) in [
        ("v cpu=800m priority=5 nominated=n1", "p cpu=500m priority=5", false),
        ("v cpu=800m priority=5 nominated=n1", "p cpu=500m priority=6", true),
        ("v cpu=200m priority=9 nominated=n1", "p cpu=500m", true),
        ("v port=80 priority=9 nominated=n1", "p port=80", false),
        ("p cpu=800m nominated=n1", "p cpu=500m", true),
    ] {
        let mut nominator = Nominator::default();
        nominator.set(&pod(nominated), &atom("n1"));
        let attempt = attempt(&profile, &nodes, &nominator, tried, &mut 0);
        assert_eq!(attempt.is_ok(), passes, "{nominated}; {tried}");
    }
    // Both passes must succeed: one run of the filters for each.
    let with_a = crate::fixture::profile(PLAIN, &script);
    let runner = FilterRunner::new(&with_a, &CycleState::new());
    let mut nominator = Nominator::default();
    nominator.set(&pod("v"), &atom("n1"));
    let cx = Context { snapshot: &nodes, now: secs(0.0), nominations: &nominator };
    script.calls();
    assert_eq!(runner.run(&cx, &CycleState::new(), &pod("p"), &nodes.nodes()[0]).code(), Code::Success);
    assert_eq!(script.calls().len(), 2);
}

#[test]
fn a_rejection_is_told_in_full_once_and_again_only_where_it_changed() {
    let mut cluster = Cluster::new(&[]);
    cluster.node("n1 cpu=1");
    cluster.pending("p cpu=2");
    assert_eq!(cluster.step(), "p: unschedulable");
    let message = "0/1 nodes are available: 1 Insufficient cpu.";
    let event = format!("event p FailedScheduling: {message}");
    assert_eq!(cluster.effects(), [event.clone(), format!("status p Unschedulable: {message}")]);
    assert_eq!(cluster.place("p"), "Unschedulable");
    cluster.pending(&format!("p cpu=2 rv=2 condition=Unschedulable:{}", message.replace(' ', "_")));
    cluster.node("n1 cpu=1500m");
    cluster.wait(5.0);
    assert_eq!(cluster.step(), "-", "what it asks for does not fit an empty node either");
    cluster.node("n2 cpu=1 taint=t");
    cluster.node("n2 cpu=2 taint=t");
    cluster.wait(5.0);
    assert_eq!(cluster.step(), "p: unschedulable");
    let message = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).";
    assert_eq!(
        cluster.effects(),
        [format!("event p FailedScheduling: {message}"), format!("status p Unschedulable: {message}")]
    );
    cluster.pending(&format!("p cpu=2 rv=3 condition=Unschedulable:{}", message.replace(' ', "_")));
    cluster.wait(400.0);
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(
        cluster.effects(),
        [format!("event p FailedScheduling: {message}")],
        "the status says so already"
    );
}

#[test]
fn without_nodes_a_pod_waits_like_one_that_failed_and_is_told_so() {
    let mut cluster = Cluster::new(&[]);
    cluster.pending("p");
    assert_eq!(cluster.step(), "p: unschedulable");
    assert_eq!(cluster.place("p"), "ErrorBackoff");
    assert!(cluster.core.is_idle());
    assert_eq!(cluster.step(), "-");
    assert_eq!(
        cluster.effects(),
        [
            "event p FailedScheduling: no nodes available to schedule pods",
            "status p Unschedulable: no nodes available to schedule pods"
        ]
    );
}

#[test]
fn without_nodes_none_is_looked_at() {
    let (profile, snapshot, pod) = (profile(PLAIN, &Script::default()), snapshot(&[]), pod("p"));
    let (nominations, scope) = (&Nominator::default(), Scope::Sample { start: 0 });
    let question =
        Question { profile: &profile, snapshot: &snapshot, nominations, now: secs(0.0), pod: &pod, scope };
    assert_eq!(Plain.evaluate(&question, &mut Random::new(1)).looked_at, 0);
}

#[test]
fn a_plugin_that_fails_fails_the_attempt() {
    let mut cluster = Cluster::new(&["A"]);
    cluster.node("n1");
    cluster.script.lines().filter.insert("A/p".to_owned(), Status::error("broken"));
    cluster.pending("p nominated=n9");
    assert_eq!(cluster.step(), "p: error");
    assert_eq!(
        cluster.effects(),
        [
            "event p FailedScheduling: running \"A\" filter plugin: broken",
            "status p SchedulerError: running \"A\" filter plugin: broken nominated=-"
        ]
    );
    assert_eq!(cluster.place("p"), "ErrorBackoff");
}

#[test]
fn a_pod_that_is_being_deleted_is_skipped_and_the_next_one_is_tried() {
    let mut cluster = Cluster::new(&[]);
    cluster.node("n1");
    cluster.pending("gone priority=9 deleting");
    cluster.pending("p");
    assert_eq!(cluster.step(), "p -> n1");
    assert_eq!(
        cluster.effects(),
        ["event gone FailedScheduling: skip schedule deleting pod: default/gone", "bind p to n1"]
    );
    assert_eq!(cluster.place("gone"), "Unschedulable");
}

#[test]
fn a_gated_pod_is_tried_when_its_last_gate_is_gone() {
    let mut cluster = Cluster::new(&[]);
    cluster.node("n1");
    cluster.pending("p gated");
    assert_eq!((cluster.step(), cluster.place("p")), ("-".to_owned(), "Gated".to_owned()));
    assert_eq!(cluster.effects(), Vec::<String>::new(), "the API server has written the condition");
    cluster.pending("p rv=2");
    assert_eq!(cluster.step(), "p -> n1");
}

#[test]
fn a_cycle_copies_the_nodes_that_changed_and_no_others() {
    let mut cluster = Cluster::new(&[]);
    for at in 0..1000 {
        cluster.core.apply(secondmate_core::port::Input::Node(node(&format!("n{at} cpu=64"))), cluster.now);
    }
    cluster.pending("p0 cpu=100m");
    cluster.step();
    let mut before = infos(&cluster);
    for turn in 1..20 {
        cluster.pending(&format!("p{turn} cpu=100m"));
        cluster.step();
        let after = infos(&cluster);
        let copied = before.iter().zip(&after).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!(copied, 1, "the node that the pod went to");
        before = after;
    }
}

fn infos(cluster: &Cluster) -> Vec<Arc<NodeInfo>> {
    let cache = cluster.core.cache();
    cache.node_names().iter().map(|n| Arc::clone(cache.node_info(n).expect("it is listed"))).collect()
}
