//! Pods that request more than any machine has, which an API server stores nevertheless.

use crate::fixture::Cluster;
use secondmate_framework::Parity;

const PLUGINS: &[&str] = &["NodeResourcesBalancedAllocation", "VolumeBinding", "ImageLocality"];

#[test]
fn what_pods_on_a_node_ask_for_fails_nobody_elses_attempt() {
    let mut cluster = Cluster::with_parity(PLUGINS, Parity::Sensible);
    cluster.node("n1 cpu=8");
    cluster.node("n2 cpu=8");
    for name in ["a", "b", "c"] {
        // 2^62 thousandths of a core.
        cluster.assigned(&format!("{name} node=n1 cpu=4611686018427387.904"));
    }
    cluster.pending("p cpu=1");
    assert_eq!(cluster.step(), "p -> n2");
    // The sums are those of the remaining pods.
    for name in ["a", "b", "c"] {
        cluster.gone(secondmate_core::port::PodWatch::Assigned, name);
    }
    cluster.pending("q cpu=8");
    assert_eq!(cluster.step(), "q -> n1");
}

#[test]
fn a_pod_that_asks_for_more_than_can_be_counted_fits_nowhere() {
    let place = |parity| {
        let mut cluster = Cluster::with_parity(PLUGINS, parity);
        cluster.node("n1 cpu=8");
        cluster.pending("p cpu=8E");
        cluster.step()
    };
    assert_eq!(place(Parity::Sensible), "p: unschedulable");
    assert_eq!(place(Parity::Strict), "p -> n1", "as upstream");
}
