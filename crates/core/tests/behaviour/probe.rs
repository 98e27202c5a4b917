//! What is reported to the probes: how often each plugin ran, and with which result. No times.

use crate::fixture::{Cluster, atom, profile, uid};
use crate::scripted::Script;
use secondmate_core::port::{BindOutcome, Input, PodWatch};
use secondmate_core::{Scheduler, SchedulerConfig};
use secondmate_cycle::PluginRef;
use secondmate_cycle::probe::{Moment, Point, Probe};
use secondmate_framework::{ClusterEvent, Code, Hint, PreBindStep, Status};
use secondmate_model::Timestamp;
use secondmate_model::objects::ObjectKind;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Records the reports, and times every cycle. Its clock advances by a second each time it is read.
#[derive(Default)]
struct Recorder {
    reads: AtomicU64,
    lines: Mutex<BTreeMap<String, u64>>,
}

impl Recorder {
    fn tell(&self, line: String, times: u64) {
        *self.lines.lock().expect("nobody panics").entry(line).or_insert(0) += times;
    }

    /// Reports of this kind since the last call: `what: times`.
    fn told(&self, kind: &str) -> Vec<String> {
        let lines = std::mem::take(&mut *self.lines.lock().expect("nobody panics"));
        let of_kind = |(line, times): (&String, &u64)| {
            line.strip_prefix(kind).map(|what| format!("{}: {times}", what.trim_start()))
        };
        let told = lines.iter().filter_map(of_kind).collect();
        let others = lines.into_iter().filter(|(line, _)| !line.starts_with(kind));
        self.lines.lock().expect("nobody panics").extend(others);
        told
    }
}

impl Probe for Recorder {
    fn now(&self) -> Moment {
        Moment(self.reads.fetch_add(1, Ordering::Relaxed) * 1_000_000_000)
    }
    fn times_cycle(&self) -> bool {
        true
    }
    fn point_done(&self, point: Point, status: Code, _: Duration) {
        self.tell(format!("point {} {}", point.name(), status.name()), 1);
    }
    fn plugin_called(&self, plugin: &PluginRef, point: Point, status: Code, took: Duration) {
        let across_inputs = matches!(point, Point::PreBind | Point::Bind);
        // The core's own time if the call waits for the API server; otherwise the probe's clock, which is read once per call.
        let took = if across_inputs { format!(" after {} ms", took.as_millis()) } else { String::new() };
        self.tell(format!("called {} {} {}{took}", plugin.name, point.name(), status.name()), 1);
    }
    fn preemption_evaluated(&self, status: Code, _: Duration) {
        self.tell(format!("preemption {}", status.name()), 1);
    }
    fn plugin_evaluated(&self, plugin: &PluginRef, point: Point, calls: u64) {
        self.tell(format!("evaluated {} {}", plugin.name, point.name()), calls);
    }
    fn hint_given(&self, plugin: &PluginRef, event: &ClusterEvent, hint: Hint, _: Duration) {
        self.tell(format!("hint {} {event} {hint:?}", plugin.name), 1);
    }
    fn event_handled(&self, event: &'static str, _: Duration) {
        self.tell(format!("event {event}"), 1);
    }
}

fn measured(plugins: &[&str], script: &Script) -> (Cluster, Arc<Recorder>) {
    let probe = Arc::new(Recorder::default());
    let profile = profile(plugins, script).with_probe(probe.clone());
    let core = Scheduler::new(SchedulerConfig::default(), vec![profile]).with_probe(probe.clone());
    (Cluster { core, script: script.clone(), now: Timestamp::from_secs(1000) }, probe)
}

const TWO: &[&str] = &["PrioritySort", "A", "B", "DefaultBinder"];

#[test]
fn every_call_of_a_filter_is_counted_up_to_the_one_that_ends_the_run() {
    let script = Script::default();
    let (mut cluster, probe) = measured(TWO, &script);
    for name in ["n1", "n2", "n3", "n4", "n5", "n6"] {
        cluster.node(name);
    }
    script.lines().filter.insert("A/p@n1".to_owned(), Status::unschedulable("no"));
    script.lines().filter.insert("A/p@n2".to_owned(), Status::unschedulable("no"));
    script.lines().filter.insert("B/p@n3".to_owned(), Status::unschedulable("no"));
    cluster.pending("p");
    cluster.pending("q");
    cluster.step();
    assert_eq!(probe.told("evaluated"), ["A Filter: 6", "A Score: 3", "B Filter: 4", "B Score: 3"]);
    cluster.step();
    assert_eq!(probe.told("evaluated"), ["A Filter: 6", "A Score: 6", "B Filter: 6", "B Score: 6"]);
    // Timed individually: only the first nodes of each cycle.
    assert_eq!(
        probe.told("called A"),
        [
            "Filter Success: 6",
            "Filter Unschedulable: 2",
            "Permit Success: 2",
            "PreBind Success after 0 ms: 2",
            "Reserve Success: 2",
            "Score Success: 7",
            "ScoreExtensionNormalize Success: 2",
        ]
    );
}

#[test]
fn only_plugins_that_evict_pods_evaluate_preemptions() {
    let plugins = ["PrioritySort", "NodeResourcesFit", "A", "DefaultPreemption", "DefaultBinder"];
    let (mut cluster, probe) = measured(&plugins, &Script::default());
    cluster.node("n1 cpu=1");
    cluster.assigned("v cpu=600m node=n1 priority=1");
    cluster.pending("p cpu=600m priority=9");
    cluster.pending("q cpu=2");
    cluster.step();
    cluster.step();
    assert_eq!(probe.told("preemption"), ["Success: 1", "Unschedulable: 1"]);

    let (mut cluster, probe) = measured(TWO, &Script::default());
    cluster.node("n1");
    cluster.script.lines().filter.insert("A/p@n1".to_owned(), Status::unschedulable("no"));
    cluster.pending("p");
    cluster.step();
    assert_eq!(probe.told("preemption"), Vec::<String>::new());
}

#[test]
fn plugins_that_skip_a_pod_are_not_evaluated() {
    let (mut cluster, probe) = measured(
        &["PrioritySort", "NodePorts", "NodeResourcesFit", "TaintToleration", "DefaultBinder"],
        &Script::default(),
    );
    cluster.node("n1");
    cluster.node("n2");
    cluster.pending("p cpu=100m");
    cluster.step();
    assert_eq!(
        probe.told("evaluated"),
        [
            "NodeResourcesFit Filter: 2",
            "NodeResourcesFit PreFilter: 1",
            "NodeResourcesFit PreScore: 1",
            "NodeResourcesFit Score: 2",
            "TaintToleration Filter: 2",
            "TaintToleration PreFilter: 1",
            "TaintToleration PreScore: 1",
            "TaintToleration Score: 2",
        ]
    );
    assert_eq!(probe.told("called NodePorts"), ["PreFilter Skip: 1"]);
    cluster.pending("q port=80");
    cluster.step();
    assert_eq!(probe.told("evaluated NodePorts"), ["Filter: 2", "PreFilter: 1"]);
}

#[test]
fn a_nominated_node_and_the_others_are_two_searches() {
    let script = Script::default();
    let (mut cluster, probe) = measured(&["PrioritySort", "A", "DefaultBinder"], &script);
    cluster.node("n1");
    cluster.node("n2");
    cluster.pending("p nominated=n1");
    script.lines().filter.insert("A/p@n1".to_owned(), Status::unschedulable("no"));
    assert_eq!(cluster.step(), "p -> n2");
    assert_eq!(probe.told("evaluated A"), ["Filter: 3"]);
    assert_eq!(probe.told("point Filter"), ["Success: 2"]);
}

#[test]
fn the_points_of_a_pods_way_are_told_once_each() {
    let script = Script::default();
    let (mut cluster, probe) = measured(TWO, &script);
    cluster.node("n1");
    cluster.node("n2");
    script.lines().scores.insert("n1".to_owned(), 1);
    cluster.pending("p");
    assert_eq!(cluster.step(), "p -> n1");
    let placed = ["Filter Success: 1", "Permit Success: 1", "PreBind Success: 1", "PreEnqueue Success: 1"];
    let scored = ["PreFilter Success: 1", "PreScore Success: 1", "Reserve Success: 1", "Score Success: 1"];
    assert_eq!(probe.told("point"), [placed, scored].concat());
    cluster.wait(1.5);
    cluster.answer("p", BindOutcome::Bound);
    assert_eq!(probe.told("point"), ["Bind Success: 1", "PostBind Success: 1"]);
    assert_eq!(probe.told("called DefaultBinder"), ["Bind Success after 1500 ms: 1"]);
    // None of it is reported again when the watch shows the pod.
    cluster.assigned("p node=n1");
    assert_eq!(probe.told("point"), Vec::<String>::new());
}

#[test]
fn failures_end_their_point() {
    let script = Script::default();
    let (mut cluster, probe) = measured(&["PrioritySort", "A", "DefaultBinder"], &script);
    cluster.node("n1");
    let points = |cluster: &mut Cluster, name: &str, answer: Option<BindOutcome>| {
        cluster.pending(name);
        cluster.step();
        if let Some(answer) = answer {
            cluster.answer(name, answer);
        }
        let told: Vec<String> = probe.told("point");
        cluster.gone(PodWatch::Pending, name);
        probe.told("point");
        told.into_iter().filter(|line| !line.contains("Success")).collect::<Vec<_>>()
    };
    script.lines().held.insert("A/held".to_owned(), true);
    assert_eq!(points(&mut cluster, "held", None), ["PreEnqueue Unschedulable: 1"]);
    script.lines().filter.insert("A/filter".to_owned(), Status::error("broken"));
    assert_eq!(points(&mut cluster, "filter", None), ["Filter Error: 1"]);
    script.lines().reserve.insert("A/reserve".to_owned(), Status::unschedulable("no"));
    assert_eq!(points(&mut cluster, "reserve", None), ["Reserve Unschedulable: 1"]);
    let permit = [("wait", Status::wait("")), ("no", Status::unschedulable("no"))];
    for (name, status) in permit {
        script.lines().permit.insert(format!("A/{name}"), (status, Duration::from_secs(1)));
    }
    assert_eq!(points(&mut cluster, "wait", None), ["Permit Wait: 1"]);
    assert_eq!(points(&mut cluster, "no", None), ["Permit Unschedulable: 1"]);
    let fails = PreBindStep::Fail(Status::error("broken"));
    script.lines().pre_bind.insert("A/prebind".to_owned(), [fails].into());
    assert_eq!(points(&mut cluster, "prebind", None), ["PreBind Error: 1"]);
    let refused = BindOutcome::Refused { code: 403, message: "no".to_owned() };
    assert_eq!(points(&mut cluster, "bind", Some(refused)), ["Bind Error: 1"]);
}

#[test]
fn a_plugin_that_waits_in_pre_bind_is_told_once_with_all_its_time() {
    let script = Script::default();
    let (mut cluster, probe) = measured(&["PrioritySort", "A", "B", "DefaultBinder"], &script);
    cluster.node("n1");
    let write = PreBindStep::Write(Vec::new());
    script.lines().pre_bind.insert("A/p".to_owned(), [write, PreBindStep::Done].into());
    cluster.pending("p");
    cluster.step();
    assert_eq!(probe.told("called A PreBind"), Vec::<String>::new());
    cluster.wait(2.0);
    cluster.apply(Input::WriteFinished(uid("p"), Ok(())));
    assert_eq!(probe.told("called A PreBind"), ["Success after 2000 ms: 1"]);
    assert_eq!(probe.told("called B PreBind"), ["Success after 0 ms: 1"]);
    assert_eq!(probe.told("point PreBind"), ["Success: 1"]);
}

#[test]
fn a_pod_whose_room_is_gone_has_passed_pre_bind_once_and_never_reached_bind() {
    let script = Script::default();
    let (mut cluster, probe) = measured(&["PrioritySort", "A", "DefaultBinder"], &script);
    cluster.node("n1");
    script.lines().permit.insert("A/p".to_owned(), (Status::wait(""), Duration::from_secs(10)));
    cluster.pending("p");
    cluster.step();
    cluster.apply(Input::NodeGone(atom("n1")));
    cluster.script.handle().allow(&uid("p"), "A");
    cluster.step();
    assert_eq!(probe.told("point PreBind"), ["Success: 1"]);
    assert_eq!(probe.told("point Bind"), Vec::<String>::new());
    assert_eq!(probe.told("point Unreserve"), ["Success: 1"]);
}

#[test]
fn what_the_watches_show_is_told_by_the_names_of_the_events() {
    let script = Script::default();
    let (mut cluster, probe) = measured(TWO, &script);
    cluster.node("n1");
    cluster.node("n1");
    cluster.node("n1 cpu=2 zone=a");
    cluster.assigned("other node=n1 rv=1");
    cluster.assigned("other node=n1 label=b rv=2");
    cluster.gone(PodWatch::Assigned, "other");
    cluster.gone(PodWatch::Assigned, "other");
    cluster.pending("p rv=1");
    cluster.pending("p rv=1");
    cluster.pending("p rv=2");
    cluster.gone(PodWatch::Pending, "p");
    cluster.apply(Input::NodeGone(atom("n1")));
    assert_eq!(
        probe.told("event"),
        [
            "AssignedPodAdd: 1",
            "AssignedPodDelete: 1",
            "AssignedPodUpdate: 1",
            "AssignedPodUpdatePodLabel: 1",
            "NodeAdd: 1",
            "NodeDelete: 1",
            "NodeUpdateNodeAllocatable: 1",
            "NodeUpdateNodeLabel: 1",
            "UnscheduledPodAdd: 1",
            "UnscheduledPodDelete: 1",
            "UnscheduledPodUpdate: 1",
        ]
    );
}

#[test]
fn hints_and_events_kept_for_pods_in_flight_are_counted_by_event() {
    let script = Script::default();
    let (mut cluster, probe) = measured(TWO, &script);
    cluster.node("n1");
    for plugin in ["A", "B"] {
        script.lines().filter.insert(format!("{plugin}/p"), Status::unschedulable("no"));
    }
    script.lines().hints.insert("A".to_owned(), Hint::Skip);
    cluster.pending("p");
    cluster.step();
    script.lines().permit.insert("A/q".to_owned(), (Status::wait(""), Duration::from_secs(1)));
    cluster.pending("q");
    cluster.step();
    let kept = |cluster: &Cluster| -> Vec<_> { cluster.core.queue().in_flight_by_label().collect() };
    assert_eq!(kept(&cluster), [("PodPopped", 1)]);
    cluster.assigned("other node=n1");
    cluster.gone(PodWatch::Assigned, "other");
    assert_eq!(probe.told("hint"), ["A AssignedPodDelete Skip: 1"]);
    assert_eq!(kept(&cluster), [("PodPopped", 1), ("AssignedPodDelete", 1)]);
    cluster.script.handle().allow(&uid("q"), "A");
    cluster.step();
    assert_eq!(kept(&cluster), [("PodPopped", 0), ("AssignedPodDelete", 0)]);
}

#[test]
fn an_object_that_is_written_and_stays_as_it_is_is_an_event_and_no_change() {
    let plugins = ["PrioritySort", "NodeResourcesFit", "VolumeBinding", "DefaultBinder"];
    let (mut cluster, probe) = measured(&plugins, &Script::default());
    let class = |provisioner: &str| {
        let object = serde_json::json!({"metadata": {"name": "c"}, "provisioner": provisioner});
        Input::Object(ObjectKind::StorageClass.compile(&object).expect("a class").0)
    };
    cluster.node("n1 cpu=1");
    cluster.apply(class("one"));
    for name in ["p", "q"] {
        cluster.pending(&format!("{name} cpu=2"));
        assert_eq!(cluster.step(), format!("{name}: unschedulable"));
    }
    probe.told("event");
    for (provisioner, repeated) in [("one", 2), ("two", 2)] {
        cluster.apply(class(provisioner));
        assert_eq!(probe.told("event"), ["storage.k8s.io/StorageClassUpdate: 1"]);
        cluster.pending(&format!("after-{provisioner} cpu=2"));
        assert_eq!(cluster.step(), format!("after-{provisioner}: unschedulable"));
        assert_eq!(cluster.core.attempts_repeated(), repeated, "what is known stays known: {provisioner}");
        probe.told("event");
    }
}
