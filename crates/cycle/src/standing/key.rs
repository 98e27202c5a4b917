//! What makes two pods equivalent: everything that the plugins acting on them read of them. A filter or a score by group itself
//! contains what it reads, so labels matter only through what they select; and some plugins report what they read for the pod at
//! hand, so volumes matter only through where they can be used.

use super::plan::{Plan, Reads};
use crate::panics::run;
use crate::probe::Point;
use crate::profile::{PluginRef, Profile};
use rustc_hash::FxHasher;
use secondmate_framework::{Alike, Identity, PodParts};
use secondmate_model::{Atom, Pod};
use smallvec::SmallVec;
use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a plugin considers in a pod, with the plugin's name: its methods may panic like those of the plugin itself.
#[derive(Clone, Debug)]
pub(super) struct Told {
    plugin: Atom,
    point: Point,
    what: Arc<dyn Alike>,
}

impl Told {
    pub(super) fn new(plugin: &PluginRef, point: Point, what: Arc<dyn Alike>) -> Self {
        Self { plugin: plugin.name.clone(), point, what }
    }

    fn ask<T>(&self, ask: impl FnOnce(&dyn Alike) -> T) -> T {
        run(&self.plugin, self.point.name(), None, || ask(&*self.what))
    }

    fn hash(&self) -> u64 {
        self.ask(|what| what.hash())
    }

    fn bytes(&self) -> usize {
        self.ask(|what| what.bytes())
    }
}

impl PartialEq for Told {
    fn eq(&self, other: &Self) -> bool {
        self.ask(|what| what.is_same(&*other.what as &dyn Any))
    }
}

/// The key of a class.
#[derive(Debug)]
pub(super) struct Key {
    profile: Identity,
    filters: u64,
    scores: u64,
    parts: PodParts,
    readings: SmallVec<[Option<Told>; 4]>,
    group_filters: SmallVec<[Told; 1]>,
    group_scores: SmallVec<[Told; 1]>,
    /// A pod of the class.
    pod: Arc<Pod>,
    hash: u64,
}

impl Key {
    /// The key of a pod for which there is a plan.
    pub(super) fn new(profile: &Profile, plan: &Plan<'_>, pod: &Arc<Pod>) -> Self {
        let filters = plan.group_filters.iter();
        let filters = filters.map(|(filter, by_group)| Told::new(filter, Point::Filter, by_group.clone()));
        let scores = plan
            .scorers
            .iter()
            .filter_map(|scorer| Some(Told::new(scorer.plugin, Point::Score, scorer.by_group.clone()?)));
        Self::with_groups(profile, &plan.reads, filters.collect(), scores.collect(), pod)
    }

    /// The key of a pod, limited to what these plugins read of it.
    pub(super) fn of(profile: &Profile, reads: &Reads, pod: &Arc<Pod>) -> Self {
        Self::with_groups(profile, reads, SmallVec::new(), SmallVec::new(), pod)
    }

    fn with_groups(
        profile: &Profile,
        reads: &Reads,
        group_filters: SmallVec<[Told; 1]>,
        group_scores: SmallVec<[Told; 1]>,
        pod: &Arc<Pod>,
    ) -> Self {
        let mut hasher = FxHasher::default();
        (reads.filters, reads.scores, reads.parts).hash(&mut hasher);
        profile.name().hash(&mut hasher);
        reads.keys.iter().for_each(|key| key.as_ref().map(Told::hash).hash(&mut hasher));
        group_filters.iter().for_each(|filter| filter.hash().hash(&mut hasher));
        group_scores.iter().for_each(|score| score.hash().hash(&mut hasher));
        hash_parts(pod, reads.parts, &mut hasher);
        Self {
            profile: profile.identity().same(),
            filters: reads.filters,
            scores: reads.scores,
            parts: reads.parts,
            readings: reads.keys.clone(),
            group_filters,
            group_scores,
            pod: Arc::clone(pod),
            hash: hasher.finish(),
        }
    }

    /// Memory used beyond that of every key, in bytes. The pod may no longer be referenced anywhere else.
    pub(super) fn bytes(&self) -> usize {
        let told = self.readings.iter().flatten().chain(&self.group_filters).chain(&self.group_scores);
        self.pod.bytes() + told.map(Told::bytes).sum::<usize>()
    }

    /// Equal keys have equal hashes.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && (self.filters, self.scores, self.parts) == (other.filters, other.scores, other.parts)
            && self.profile == other.profile
            && self.readings == other.readings
            && self.group_filters == other.group_filters
            && self.group_scores == other.group_scores
            && same_parts(&self.pod, &other.pod, self.parts)
    }
}

/// Hashes these parts of a pod, except volumes.
pub fn hash_parts(pod: &Pod, parts: PodParts, hasher: &mut FxHasher) {
    for part in PARTS.iter().filter(|part| parts.contains(part.part)) {
        (part.hash)(pod, hasher);
    }
}

/// Whether two pods are equal in these parts. Volumes are not compared: if they count, a pod that has any is equal to no other.
#[must_use]
pub fn same_parts(a: &Pod, b: &Pod, parts: PodParts) -> bool {
    let volumes = parts.contains(PodParts::VOLUMES) && !(a.volumes.is_empty() && b.volumes.is_empty());
    !volumes && PARTS.iter().filter(|part| parts.contains(part.part)).all(|part| (part.equal)(a, b))
}

/// A part of a pod, and how it is compared.
struct Part {
    part: PodParts,
    hash: fn(&Pod, &mut FxHasher),
    equal: fn(&Pod, &Pod) -> bool,
}

macro_rules! parts {
    ($($part:ident: |$pod:ident| $value:expr;)*) => {
        /// All parts except [`PodParts::VOLUMES`]: a pod has no class if it has volumes and a plugin acting on it reads them
        /// without reporting what matters about them.
        static PARTS: [Part; [$(PodParts::$part),*].len()] = [$(Part {
            part: PodParts::$part,
            hash: |$pod, hasher| $value.hash(hasher),
            equal: |a, b| {
                let value = { fn value($pod: &Pod) -> impl PartialEq + '_ { $value } value };
                value(a) == value(b)
            },
        },)*];
    };
}

parts! {
    NODE_NAME: |pod| &pod.node_name;
    LABELS: |pod| (&pod.namespace, &pod.labels);
    TOLERATIONS: |pod| &pod.tolerations;
    NODE_AFFINITY: |pod| (
        &pod.node_selector,
        pod.affinity.as_ref().map(|affinity| (&affinity.node_required, &affinity.node_preferred)),
    );
    POD_AFFINITY: |pod| pod.affinity.as_ref().map(|affinity| (
        affinity.declares_pod_affinity,
        affinity.declares_pod_anti_affinity,
        &affinity.required_affinity,
        &affinity.required_anti_affinity,
        &affinity.preferred_affinity,
        &affinity.preferred_anti_affinity,
        &affinity.errors,
    ));
    TOPOLOGY_SPREAD: |pod| &pod.spread_constraints;
    REQUESTS: |pod| &pod.requests;
    HOST_PORTS: |pod| &pod.host_ports;
    IMAGES: |pod| &pod.images;
    REQUIRED_FEATURES: |pod| &pod.required_features;
    PRIORITY: |pod| pod.priority;
    SCHEDULING_GATES: |pod| &pod.scheduling_gates;
    RESOURCE_CLAIMS: |pod| (pod.has_resource_claims, pod.claim_statuses_hash);
    OWNER: |pod| pod.controller.as_ref().map(|owner| (&owner.api_version, &owner.kind, &owner.name, &owner.uid));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_but_volumes_is_compared() {
        let all = PARTS.iter().fold(PodParts::VOLUMES, |all, part| all | part.part);
        assert_eq!(all, PodParts::ALL);
    }

    #[test]
    fn a_pod_whose_terms_cannot_be_parsed_is_not_like_one_without_terms() {
        let pod = |terms: serde_json::Value| {
            let pod = serde_json::json!({
                "metadata": {"name": "p", "namespace": "default", "uid": "u"},
                "spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}},
            });
            Pod::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod that compiles")
        };
        let near = serde_json::json!([{
            "topologyKey": "zone", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]},
        }]);
        let (broken, without) = (pod(near), pod(serde_json::json!([])));
        let equal = |a: &Pod, b: &Pod| PARTS.iter().all(|part| (part.equal)(a, b));
        assert!(equal(&broken, &broken));
        assert!(!equal(&broken, &without));
    }
}
