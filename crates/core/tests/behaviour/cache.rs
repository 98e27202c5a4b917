//! The cache: states of pods, ghosts, images, the order of nodes, and snapshots whose cost depends on what changed.

use crate::fixture::{atom, node, pod, uid};
use secondmate_core::cache::{Added, Cache, CacheError, CacheSize};
use secondmate_cycle::Random;
use secondmate_framework::{NodeIndex, Snapshot};
use secondmate_model::NodeInfo;
use secondmate_model::objects::Objects;
use std::collections::BTreeSet;
use std::sync::Arc;

fn size(nodes: usize, pods: usize, assumed_pods: usize) -> CacheSize {
    CacheSize { nodes, pods, assumed_pods }
}

#[test]
fn a_pod_is_assumed_then_added_then_removed() {
    let mut cache = Cache::new();
    cache.set_node(node("n1"));
    assert_eq!(cache.assume(pod("p node=n1 cpu=300m")), Ok(()));
    assert!(cache.is_assumed(&uid("p")) && !cache.is_added(&uid("p")));
    assert_eq!(cache.assume(pod("p node=n1")), Err(CacheError::Known(uid("p"))));
    assert_eq!(cache.add(pod("p node=n1 cpu=300m")), Added::Confirmed);
    assert!(cache.is_added(&uid("p")) && !cache.is_assumed(&uid("p")));
    assert_eq!(cache.assume(pod("p node=n1")), Err(CacheError::Known(uid("p"))));
    assert_eq!(cache.forget(&uid("p")), Err(CacheError::NotAssumed(uid("p"))));
    assert_eq!(cache.add(pod("p node=n1 cpu=200m")), Added::Updated);
    assert_eq!(cache.node_info(&atom("n1")).expect("it is there").requested().milli_cpu, 200);
    assert_eq!(cache.remove(&uid("p")).map(|p| p.requests.on_node.milli_cpu), Ok(200));
    assert_eq!(cache.remove(&uid("p")), Err(CacheError::Unknown(uid("p"))));
    assert_eq!(cache.size(), size(1, 0, 0));
    assert_eq!(cache.node_info(&atom("n1")).expect("it is there").requested().milli_cpu, 0);
}

#[test]
fn a_forgotten_pod_frees_its_room_and_forgetting_twice_is_no_error() {
    let mut cache = Cache::new();
    cache.set_node(node("n1"));
    cache.assume(pod("p node=n1 cpu=300m")).expect("unknown so far");
    assert_eq!(cache.size(), size(1, 1, 1));
    assert!(cache.forget(&uid("p")).expect("assumed").is_some());
    assert_eq!(cache.forget(&uid("p")), Ok(None));
    assert_eq!(cache.size(), size(1, 0, 0));
}

#[test]
fn a_pod_that_was_bound_elsewhere_moves() {
    let mut cache = Cache::new();
    cache.set_node(node("n1"));
    cache.set_node(node("n2"));
    cache.assume(pod("p node=n1 cpu=300m")).expect("unknown so far");
    assert_eq!(cache.add(pod("p node=n2 cpu=300m")), Added::Elsewhere);
    let used = |name| cache.node_info(&atom(name)).expect("it is there").requested().milli_cpu;
    assert_eq!((used("n1"), used("n2")), (0, 300));
    assert_eq!(cache.size(), size(2, 1, 0));
}

#[test]
fn pods_are_told_apart_by_when_they_came_to_their_node() {
    let mut cache = Cache::new();
    cache.set_node(node("n1"));
    cache.assume(pod("assumed node=n1")).expect("unknown so far");
    for name in ["first", "second", "third"] {
        cache.add(pod(&format!("{name} node=n1")));
    }
    let arrivals = |cache: &Cache| {
        let mut pods = ["third", "assumed", "first", "second"];
        pods.sort_by_key(|name| cache.arrival(&uid(name)));
        pods
    };
    assert_eq!(arrivals(&cache), ["assumed", "first", "second", "third"]);
    // What happens to a pod on its node changes nothing, nor does one that leaves.
    cache.add(pod("first node=n1 label=b"));
    cache.add(pod("assumed node=n1"));
    cache.add(pod("other node=n1"));
    cache.remove(&uid("other")).expect("it is there");
    assert_eq!(arrivals(&cache), ["assumed", "first", "second", "third"]);
    cache.add(pod("first node=n2"));
    assert_eq!(arrivals(&cache), ["assumed", "second", "third", "first"]);
    assert_eq!(cache.arrival(&uid("other")), None);
}

#[test]
fn a_node_that_only_pods_name_is_in_no_snapshot() {
    let (mut cache, mut snapshot) = (Cache::new(), Snapshot::default());
    assert_eq!(cache.add(pod("early node=n1 cpu=300m")), Added::New);
    cache.refresh(&mut snapshot);
    assert!(snapshot.nodes().is_empty() && cache.node(&atom("n1")).is_none());
    cache.set_node(node("n1"));
    cache.refresh(&mut snapshot);
    assert_eq!(snapshot.nodes()[0].requested().milli_cpu, 300);
    // The node is removed before its pod, and comes back: the pod is still there.
    cache.remove_node(&atom("n1"));
    cache.refresh(&mut snapshot);
    assert!(snapshot.nodes().is_empty());
    assert_eq!(cache.size(), size(0, 1, 0));
    assert!(cache.remove_node(&atom("n1")).is_none(), "it is a ghost");
    cache.set_node(node("n1"));
    cache.refresh(&mut snapshot);
    assert_eq!(snapshot.nodes()[0].pods().len(), 1);
    // A ghost disappears with its last pod.
    cache.remove_node(&atom("n1"));
    cache.remove(&uid("early")).expect("it is there");
    cache.set_node(node("n1"));
    assert!(cache.node_info(&atom("n1")).expect("it is there").pods().is_empty());
}

fn image(snapshot: &Snapshot, on: &str, name: &str) -> Option<(i64, usize)> {
    let state = snapshot.node(&atom(on)).expect("it is there").image(&atom(name))?;
    Some((state.size_bytes, state.node_count))
}

#[test]
fn an_image_has_the_size_that_was_reported_first_until_it_disappears() {
    let (mut cache, mut snapshot) = (Cache::new(), Snapshot::default());
    cache.set_node(node("n1 image=i:100"));
    cache.set_node(node("n2 image=i:200"));
    cache.refresh(&mut snapshot);
    assert_eq!((image(&snapshot, "n1", "i"), image(&snapshot, "n2", "i")), (Some((100, 2)), Some((100, 2))));
    cache.set_node(node("n2 image=i:200 cpu=2"));
    cache.refresh(&mut snapshot);
    assert_eq!(image(&snapshot, "n2", "i"), Some((100, 2)), "n1 has it");
    cache.remove_node(&atom("n1"));
    cache.refresh(&mut snapshot);
    assert_eq!(image(&snapshot, "n2", "i"), Some((100, 2)), "n2 has not changed");
    // An update removes the node's images from the counts and adds them again, and no other node has this one.
    cache.set_node(node("n2 image=i:200 cpu=2"));
    cache.refresh(&mut snapshot);
    assert_eq!(image(&snapshot, "n2", "i"), Some((200, 1)));
}

#[test]
fn the_number_of_nodes_with_an_image_is_frozen_when_a_node_enters_the_snapshot() {
    let (mut cache, mut snapshot) = (Cache::new(), Snapshot::default());
    cache.set_node(node("n1 image=i:100"));
    cache.refresh(&mut snapshot);
    cache.set_node(node("n2 image=i:100"));
    cache.refresh(&mut snapshot);
    assert_eq!(image(&snapshot, "n1", "i"), Some((100, 1)), "n1 did not change");
    assert_eq!(image(&snapshot, "n2", "i"), Some((100, 2)));
    cache.add(pod("p node=n1"));
    cache.refresh(&mut snapshot);
    assert_eq!(image(&snapshot, "n1", "i"), Some((100, 2)), "any change of the node refreshes it");
}

#[test]
fn nodes_come_from_the_zones_in_turn() {
    let mut cache = Cache::new();
    for text in ["a1 zone=a", "a2 zone=a", "b1 zone=b", "c1", "a3 zone=a"] {
        cache.set_node(node(text));
    }
    let order =
        |cache: &Cache| cache.node_names().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(order(&cache), "a1 b1 c1 a2 a3");
    cache.set_node(node("b1 zone=a"));
    assert_eq!(order(&cache), "a1 c1 a2 a3 b1", "it is the last of its new zone, and its old one is gone");
    cache.set_node(node("b2 zone=b"));
    assert_eq!(order(&cache), "a1 c1 b2 a2 a3 b1", "a zone that comes back is the last");
}

#[test]
fn a_refresh_touches_the_nodes_that_changed_and_no_others() {
    let (mut cache, mut snapshot) = (Cache::new(), Snapshot::default());
    for at in 0..1000 {
        cache.set_node(node(&format!("n{at} zone=z{} image=i:1", at % 3)));
    }
    assert!(cache.refresh(&mut snapshot).is_none(), "the list is new");
    let before: Vec<Arc<NodeInfo>> = snapshot.nodes().to_vec();
    cache.assume(pod("p1 node=n7")).expect("unknown so far");
    cache.assume(pod("p2 node=n400")).expect("unknown so far");
    cache.forget(&uid("p1")).expect("assumed");
    cache.set_node(node("n900 zone=z0 image=i:1 cpu=2"));
    let changed = cache.refresh(&mut snapshot).expect("the list is the same");
    assert_eq!(changed, [atom("n7"), atom("n400"), atom("n900")]);
    let touched = before.iter().zip(snapshot.nodes()).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
    assert_eq!(touched, 3);
    assert_eq!(cache.refresh(&mut snapshot), Some(Vec::new()));
}

#[test]
fn a_heartbeat_leaves_the_image_states_alone() {
    let (mut cache, mut snapshot) = (Cache::new(), Snapshot::default());
    cache.set_node(node("n1 image=i:100"));
    cache.set_node(node("n2 image=i:100"));
    cache.refresh(&mut snapshot);
    cache.set_node(node("n2 image=i:100 cpu=2"));
    cache.refresh(&mut snapshot);
    assert_eq!(image(&snapshot, "n2", "i"), Some((100, 2)));
}

/// The visible contents of a snapshot. Generations and frozen image counts depend on the history, not on the state.
fn shown(snapshot: &Snapshot) -> Vec<String> {
    let names = |list: &mut dyn Iterator<Item = &Arc<NodeInfo>>| {
        list.map(|n| n.name().to_string()).collect::<Vec<_>>().join(" ")
    };
    let mut lines = vec![
        format!("affinity: {}", names(&mut snapshot.nodes_with_affinity())),
        format!("anti-affinity: {}", names(&mut snapshot.nodes_with_required_anti_affinity())),
    ];
    for claim in ["c0", "c1", "c2"] {
        lines.push(format!("{claim}: {}", snapshot.claim_in_use(&format!("default/{claim}"))));
    }
    for (at, info) in snapshot.nodes().iter().enumerate() {
        assert_eq!(snapshot.position(info.name()).map(NodeIndex::get), Some(at));
        let pods: BTreeSet<&str> = info.pods().iter().map(|p| p.uid.as_str()).collect();
        let claims: Vec<&str> = info.claims().collect();
        lines.push(format!(
            "{} {:?} {pods:?} {claims:?} {:?} {:?} {} {}",
            info.name(),
            info.node().labels,
            info.requested(),
            info.used_ports(),
            info.non_zero_milli_cpu(),
            info.pods_with_affinity().len(),
        ));
    }
    lines
}

/// A snapshot built only from the objects in the cache, in the cache's node order.
fn rebuilt(cache: &Cache) -> Snapshot {
    let names = cache.node_names();
    let nodes = names.iter().map(|name| {
        let mut info = NodeInfo::new(Arc::clone(cache.node(name).expect("it is listed")));
        for (pod, _) in cache.pods_sorted() {
            if pod.node_name.as_ref() == Some(name) {
                info.add_pod(Arc::clone(pod));
            }
        }
        Arc::new(info)
    });
    Snapshot::new(nodes.collect(), Objects::default())
}

#[test]
fn after_any_history_a_refreshed_snapshot_equals_one_made_from_scratch() {
    for seed in 0..60 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let (mut cache, mut snapshot) = (Cache::new(), Snapshot::default());
        for step in 0..120 {
            let name = format!("n{}", random.below(6));
            let zone = ["", "zone=a", "zone=b", "zone=c"][random.below(4)];
            let uid = uid(&format!("p{}", random.below(20)));
            // No ports: of two pods with the same port, the first to leave frees it, as upstream, so ports depend on the history.
            let extra = ["", "affinity", "anti", "affinity anti", "claim=c0", "claim=c1"][random.below(6)];
            let text = format!("{uid} node={name} cpu={}m {extra}", random.below(500));
            match random.below(8) {
                0 | 1 => {
                    cache.set_node(node(&format!("{name} {zone} cpu={}", 1 + random.below(4))));
                }
                2 => {
                    cache.remove_node(&atom(&name));
                }
                3 | 4 => {
                    cache.add(pod(&text));
                }
                5 => {
                    let known = cache.pod(&uid).is_some();
                    assert_eq!(cache.assume(pod(&text)).is_err(), known);
                }
                6 => {
                    let added = cache.is_added(&uid);
                    assert_eq!(cache.forget(&uid).is_err(), added);
                }
                _ => {
                    let known = cache.pod(&uid).is_some();
                    assert_eq!(cache.remove(&uid).is_ok(), known);
                }
            }
            if random.below(3) == 0 {
                cache.refresh(&mut snapshot);
                assert_eq!(shown(&snapshot), shown(&rebuilt(&cache)), "seed {seed}, step {step}");
            }
        }
    }
}
