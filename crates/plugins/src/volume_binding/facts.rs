//! Which claim does not fit on a node, and why.

use super::claims::{PodClaims, SELECTED_NODE};
use super::matching::{Culprit, node_affinity};
use crate::facts::{bytes, lacks};
use crate::pod_claims;
use secondmate_framework::Fact;
use secondmate_model::objects::{Objects, PersistentVolume, PersistentVolumeClaim};
use secondmate_model::quantity::Quantity;
use secondmate_model::{Node, NodeSelector, Pod};

impl PodClaims {
    /// One fact for each claim that the node cannot serve.
    pub(super) fn facts(&self, objects: &Objects, pod: &Pod, node: &Node) -> Vec<Fact> {
        let Ok(placement) = self.on_node(objects, node) else { return Vec::new() };
        let mut facts: Vec<Fact> =
            placement.culprits.iter().map(|culprit| fact(*culprit, objects, node)).collect();
        if placement.conflicts.volume_missing {
            facts.extend(pod_claims::facts(objects, pod));
        }
        facts
    }
}

fn fact(culprit: Culprit<'_>, objects: &Objects, node: &Node) -> Fact {
    match culprit {
        Culprit::Volume(volume) => {
            let affinity = node_affinity(volume, objects.csi_nodes.get(&node.name)).ok().flatten();
            let wanted = affinity.map_or_else(|| "other nodes".to_owned(), nodes_of);
            let text = format!("{} is bound to volume {}, which is for {wanted}", owner(volume), volume.name);
            Fact::new(text).helped_by(format!("room on {wanted}"))
        }
        Culprit::ChosenElsewhere(claim) => {
            let chosen = claim.annotations.get(SELECTED_NODE).map_or("another one", AsRef::as_ref);
            Fact::new(format!("the volume of claim {} is being provisioned for node {chosen}", claim.name))
        }
        Culprit::NoVolume(claim) => {
            let text = format!("no volume for {} can be had on the node", asked(claim));
            Fact::new(text).helped_by(format!("a PersistentVolume for {} on {}", asked(claim), node.name))
        }
        Culprit::NoSpace(claim) => {
            let class = claim.storage_class.as_ref();
            let here =
                class.into_iter().flat_map(|class| objects.capacities_of_class(class)).filter(|capacity| {
                    let topology =
                        capacity.node_topology.as_ref().and_then(|topology| topology.as_ref().ok());
                    topology.is_some_and(|topology| topology.matches(&node.labels))
                });
            let largest = here.filter_map(|capacity| capacity.limit).map(Quantity::value).max();
            let text = match largest {
                Some(largest) => {
                    format!("the driver has room for {} there, {} needs more", bytes(largest), asked(claim))
                }
                None => format!("the driver tells of no room there for {}", asked(claim)),
            };
            let lacks = largest.map_or(1000, |largest| lacks(claim.request.value(), largest));
            Fact {
                lacks,
                ..Fact::new(text).helped_by(format!("storage for {} on {}", asked(claim), node.name))
            }
        }
    }
}

/// The claim of a bound volume.
fn owner(volume: &PersistentVolume) -> String {
    let name = |claim: &_| format!("claim {claim}");
    volume
        .claim_ref
        .as_ref()
        .map_or_else(|| "a claim".to_owned(), |claim| name(&format!("{}/{}", claim.namespace, claim.name)))
}

/// A claim with its size and class.
fn asked(claim: &PersistentVolumeClaim) -> String {
    let class = claim.storage_class.as_ref().map_or("", |class| class.as_str());
    format!("claim {} ({}, StorageClass {class:?})", claim.name, bytes(claim.request.value()))
}

/// The nodes that can use a volume.
fn nodes_of(affinity: &NodeSelector) -> String {
    let terms = affinity.terms.iter().map(|term| {
        let texts: Vec<String> = term.labels.iter().map(ToString::to_string).collect();
        texts.join(",")
    });
    format!("nodes with {}", terms.collect::<Vec<_>>().join(" or "))
}
