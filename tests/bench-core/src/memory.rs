//! Bytes that a node, a pod and a class take.

use crate::cluster::{self, Cluster, NOW};
use crate::measure::{Measurement, resident_bytes};
use crate::options::{Evaluation, Shape};
use anyhow::Result;
use secondmate_core::EvaluationSettings;
use secondmate_core::port::{Input, PodWatch};
use secondmate_cycle::StandingSettings;
use serde::Serialize;
use std::time::Duration;

/// So many that the rest of the process does not count.
const OBJECTS: usize = 200_000;
/// Nodes and pods with which classes are measured: two pods of each of a hundred kinds.
const CLASS_NODES: usize = 5000;
const CLASS_PODS: usize = 200;

/// Bytes, each with all that the core keeps for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Nodes, and as many pods, with which the first two were measured.
    pub objects: usize,
    /// A node without pods.
    pub bytes_a_node: usize,
    /// A pod on a node.
    pub bytes_a_pod: usize,
    /// Nodes with which the next was measured.
    pub class_nodes: usize,
    /// A class of the standing evaluation.
    pub bytes_a_class: usize,
}

/// Measures by the memory of the process: nothing else may have been measured in it before, whose memory would be used again.
///
/// # Errors
/// None in practice.
pub fn measure() -> Result<Memory> {
    let standing = || EvaluationSettings::Standing(StandingSettings::default());
    let empty = resident_bytes();
    let mut cluster = Cluster::new(Shape::Basic, OBJECTS, 0, standing(), false)?;
    let with_nodes = resident_bytes();
    for number in 0..OBJECTS {
        let mut document = Shape::Basic.document(number, OBJECTS);
        document["spec"]["nodeName"] = cluster::node_name(number).into();
        cluster.scheduler.apply(Input::Pod(PodWatch::Assigned, cluster::pod(document)), NOW);
        cluster.scheduler.take_effects();
    }
    let with_pods = resident_bytes();
    drop(cluster);
    let classes = Measurement {
        shape: Shape::ManyClasses,
        nodes: CLASS_NODES,
        pods: CLASS_PODS,
        at_most: Duration::from_secs(60),
        warm_up: 0,
    };
    let (_, own) = classes.run(Evaluation::Standing)?;
    Ok(Memory {
        objects: OBJECTS,
        bytes_a_node: with_nodes.saturating_sub(empty) / OBJECTS,
        bytes_a_pod: with_pods.saturating_sub(with_nodes) / OBJECTS,
        class_nodes: CLASS_NODES,
        bytes_a_class: own.class_bytes / own.classes.max(1),
    })
}
