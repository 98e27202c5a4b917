//! A kind that a plugin reads as its own type: in the snapshot, in events and hints, and as an endpoint's answer.

use crate::fixture::{Cluster, OURS, secs};
use crate::scripted::Script;
use secondmate_core::port::Input;
use secondmate_core::{Scheduler, SchedulerConfig};
use secondmate_cycle::{Profile, ProfileSpec, multi_point};
use secondmate_framework::{
    ActionType, ApiResource, Context, CycleState, Declaration, EventRegistration, EventResource, Filter,
    Hint, NodeParts, Normalization, ObjectChange, ObjectKind, ObjectName, OwnKind, Parity, Plugin,
    PluginObject, Pod, PodParts, Score, Status, Timestamp,
};
use secondmate_model::objects::Object;
use secondmate_model::{Atom, NodeInfo};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A rack with the same name as the node in it: pods go where it has power left.
#[derive(Deserialize)]
struct Rack {
    #[serde(rename = "freeWatts")]
    free_watts: u32,
}
impl PluginObject for Rack {
    const API: ApiResource =
        ApiResource { group: "acme.com", version: "v1", kind: "Rack", plural: "racks", namespaced: false };
}

/// The heat outside of the hall, by node.
#[derive(Deserialize)]
struct Heat(BTreeMap<String, i64>);
impl PluginObject for Heat {
    const API: ApiResource = ApiResource::polled("Heat");
}

struct Power {
    asked: Arc<AtomicUsize>,
}

impl Plugin for Power {
    fn name(&self) -> &str {
        "Power"
    }
    fn declaration(&self) -> Declaration {
        let kinds = [ObjectKind::own::<Rack>(), ObjectKind::own::<Heat>()];
        Declaration::of(PodParts::NONE, NodeParts::NAME).with_objects(&kinds)
    }
    fn events(&self) -> Vec<EventRegistration> {
        let actions = ActionType::ADD | ActionType::UPDATE;
        vec![EventRegistration::new(EventResource::own::<Rack>(), actions)]
    }
    fn hint(&self, _: &Pod, change: &ObjectChange) -> Hint {
        let (old, new) = change.own::<Rack>();
        let watts = |rack: Option<&Rack>| rack.map_or(0, |rack| rack.free_watts);
        if watts(new) > watts(old) { Hint::Queue } else { Hint::Skip }
    }
    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }
    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }
}

impl Filter for Power {
    fn filter(&self, cx: &Context<'_>, _: &CycleState, _: &Arc<Pod>, node: &NodeInfo) -> Status {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match cx.snapshot.objects().own::<Rack>().named(node.name().as_str()) {
            Some(rack) if rack.free_watts >= 100 => Status::SUCCESS,
            _ => Status::unschedulable("no power"),
        }
    }
}

impl Score for Power {
    fn score(&self, cx: &Context<'_>, _: &CycleState, _: &Arc<Pod>, node: &NodeInfo) -> Result<i64, Status> {
        let heat = cx.snapshot.objects().own::<Heat>();
        let degrees = heat.named("hall").and_then(|heat| heat.0.get(node.name().as_str()));
        Ok(degrees.map_or(0, |degrees| 100 - degrees))
    }
    fn normalization(&self) -> Normalization {
        Normalization::Identity
    }
}

/// A cluster whose profile has the plugin, and the number of calls to its filter.
fn cluster() -> (Cluster, Arc<AtomicUsize>) {
    let asked: Arc<AtomicUsize> = Arc::default();
    let mut registry = secondmate_plugins::registry().expect("in-tree plugins");
    let counter = Arc::clone(&asked);
    let make = move |_: &serde_json::Value, _: &secondmate_framework::Handle| {
        Ok(Arc::new(Power { asked: Arc::clone(&counter) }) as Arc<dyn Plugin>)
    };
    registry.register("Power", make).expect("a new name");
    let plugins = [("PrioritySort", 1), ("NodeResourcesFit", 1), ("Power", 1), ("DefaultBinder", 1)];
    let spec = ProfileSpec {
        scheduler_name: OURS.to_owned(),
        percentage_of_nodes_to_score: 100,
        plugins: multi_point(&plugins, &registry, &BTreeMap::new()).expect("registered"),
        ..ProfileSpec::default()
    };
    let profile = Profile::new(&spec, &registry, Parity::Strict).expect("a valid profile");
    let core = Scheduler::new(SchedulerConfig { seed: 1, ..SchedulerConfig::default() }, vec![profile]);
    let now = Timestamp::from_secs(1000);
    (Cluster { core, script: Script::default(), now }, asked)
}

fn rack(name: &str, watts: u32) -> Input {
    let text = format!(r#"{{"metadata":{{"name":"{name}"}},"freeWatts":{watts}}}"#);
    Input::Object(ObjectKind::own::<Rack>().compile(text.as_str()).expect("a rack").0)
}

fn heat(json: &str) -> Input {
    let answer = OwnKind::of::<Heat>().answered("hall", json, Timestamp::default());
    Input::Object(Object::Own(answer.expect("a heat")))
}

#[test]
fn a_change_of_the_kind_wakes_the_pods_that_its_plugin_rejected_where_the_hint_says_so() {
    let (mut cluster, _) = cluster();
    cluster.node("n1");
    cluster.apply(rack("n1", 5));
    cluster.pending("p cpu=100m");
    assert_eq!(cluster.step(), "p: unschedulable");
    cluster.wait(20.0);
    cluster.apply(rack("n1", 4));
    let gone = ObjectName::new(&Atom::default(), "n1");
    cluster.apply(Input::ObjectGone(ObjectKind::own::<Rack>(), gone));
    assert_eq!((cluster.step().as_str(), cluster.place("p").as_str()), ("-", "Unschedulable"));
    cluster.apply(rack("n1", 500));
    assert_eq!(cluster.step(), "p -> n1");
}

#[test]
fn a_class_of_pods_is_asked_again_after_a_change_of_the_kind_and_not_before() {
    let (mut cluster, asked) = cluster();
    for name in ["n1", "n2", "n3"] {
        cluster.node(&format!("{name} cpu=100"));
        cluster.apply(rack(name, 500));
    }
    let place = |cluster: &mut Cluster, name: &str| {
        cluster.pending(&format!("{name} cpu=1m"));
        cluster.step()
    };
    // The first pod of a class takes the plain pass, the second one creates the class.
    for name in ["a", "b"] {
        place(&mut cluster, name);
    }
    let before = asked.load(Ordering::Relaxed);
    for name in ["c", "d", "e"] {
        place(&mut cluster, name);
    }
    // For each pod, the node of the previous one, and otherwise only the final check.
    assert!(asked.load(Ordering::Relaxed) - before <= 6, "{}", asked.load(Ordering::Relaxed) - before);
    cluster.apply(rack("n1", 0));
    cluster.apply(rack("n2", 0));
    assert_eq!(place(&mut cluster, "f"), "f -> n3");
    cluster.apply(rack("n3", 0));
    cluster.apply(rack("n2", 100));
    assert_eq!(place(&mut cluster, "g"), "g -> n2");
}

#[test]
fn what_an_endpoint_answered_is_among_the_objects_with_the_time_of_the_input_until_it_is_withdrawn() {
    let (mut cluster, _) = cluster();
    for name in ["n1", "n2"] {
        cluster.node(&format!("{name} cpu=100"));
        cluster.apply(rack(name, 500));
    }
    cluster.wait(5.0);
    let place = |cluster: &mut Cluster, name: &str| {
        cluster.pending(&format!("{name} cpu=1m"));
        cluster.step()
    };
    cluster.apply(heat(r#"{"n1": 80, "n2": 20}"#));
    for name in ["a", "b", "c"] {
        assert_eq!(place(&mut cluster, name), format!("{name} -> n2"));
    }
    cluster.apply(heat(r#"{"n1": 20, "n2": 80}"#));
    for name in ["d", "e"] {
        assert_eq!(place(&mut cluster, name), format!("{name} -> n1"));
    }
    assert_eq!(cluster.core.objects().own::<Heat>().told_at("hall"), Some(secs(1005.0)));
    let hall = ObjectName::new(&Atom::default(), "hall");
    cluster.apply(Input::ObjectGone(ObjectKind::own::<Heat>(), hall));
    assert!(cluster.core.objects().own::<Heat>().is_empty());
    assert!(place(&mut cluster, "f").starts_with("f -> "));
}
