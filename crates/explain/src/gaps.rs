//! What a file lacks: things that its objects refer to, and without which the answer may differ from the real cluster.

use crate::cluster::Cluster;
use secondmate_cycle::Profile;
use secondmate_framework::Snapshot;
use secondmate_model::objects::{ObjectKind, ObjectName, Objects, PersistentVolumeClaim, StorageClass};
use secondmate_model::{Atom, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

/// Provisioner of classes whose volumes are created manually.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// What the cluster lacks for these pods and profiles, one sentence each; kinds that no plugin reads are ignored.
#[must_use]
pub fn gaps(cluster: &Cluster, profiles: &[Profile], pods: &[Arc<Pod>]) -> Vec<String> {
    let kinds =
        profiles.iter().flat_map(Profile::plugins).flat_map(|p| p.plugin.declaration().objects).collect();
    let mut found = Gaps { snapshot: cluster.snapshot(), kinds, texts: Vec::new() };
    found.owners(pods);
    found.namespaces(pods);
    found.storage(pods);
    found.budgets(pods);
    found.texts
}

struct Gaps<'a> {
    snapshot: &'a Snapshot,
    /// Kinds that some plugin reads.
    kinds: BTreeSet<ObjectKind>,
    texts: Vec<String>,
}

impl Gaps<'_> {
    fn objects(&self) -> &Objects {
        self.snapshot.objects()
    }

    /// Pods without spread constraints of their own are spread by the selector of the workload that owns them.
    fn owners(&mut self, pods: &[Arc<Pod>]) {
        let objects = self.objects();
        let mut absent: BTreeMap<(&str, String), (usize, String)> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| pod.spread_constraints.is_empty()) {
            let Some(owner) = &pod.controller else { continue };
            let (kind, list) = match owner.kind.as_str() {
                "ReplicaSet" => (ObjectKind::ReplicaSet, &objects.replica_sets),
                "StatefulSet" => (ObjectKind::StatefulSet, &objects.stateful_sets),
                "ReplicationController" => {
                    (ObjectKind::ReplicationController, &objects.replication_controllers)
                }
                _ => continue,
            };
            let name = ObjectName::new(&pod.namespace, owner.name.as_str());
            if self.kinds.contains(&kind) && !list.contains_key(&name) {
                let entry = absent.entry((kind.api().kind, name.to_string()));
                entry.or_insert_with(|| (0, pod.full_name())).0 += 1;
            }
        }
        for ((kind, name), (count, pod)) in absent {
            let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            self.texts.push(format!(
                "{kind} {name} is not there, and owns {pod}{more}: they are not spread as in the cluster"
            ));
        }
    }

    fn namespaces(&mut self, pods: &[Arc<Pod>]) {
        if !self.objects().namespaces.is_empty() || !self.kinds.contains(&ObjectKind::Namespace) {
            return;
        }
        if let Some(pod) = pods.iter().find(|pod| selects_namespaces(pod)) {
            self.texts.push(format!(
                "no Namespace is there, and {} selects namespaces by label: none is selected",
                pod.full_name()
            ));
        }
    }

    fn storage(&mut self, pods: &[Arc<Pod>]) {
        let mut texts = BTreeSet::new();
        let mut uses_csi = false;
        let mut claims: BTreeMap<&ObjectName, &Arc<PersistentVolumeClaim>> = BTreeMap::new();
        for pod in pods {
            let names = pod.volumes.iter().filter_map(|volume| pod.claim_name(volume));
            let of_pod = names.filter_map(|name| self.objects().claim(&pod.namespace, &name));
            claims.extend(of_pod.map(|claim| (&claim.name, claim)));
        }
        for claim in claims.values() {
            let bound = self.objects().volumes.get(&claim.volume_name);
            uses_csi |= bound.is_some_and(|volume| volume.csi.is_some());
            if !claim.volume_name.is_empty() {
                if bound.is_none() && self.kinds.contains(&ObjectKind::PersistentVolume) {
                    texts.insert(format!(
                        "PersistentVolume {} is not there, and claim {} is bound to it",
                        claim.volume_name, claim.name
                    ));
                }
                continue;
            }
            let Some(name) = claim.storage_class.as_ref().filter(|name| !name.is_empty()) else { continue };
            match self.objects().storage_classes.get(name) {
                None if self.kinds.contains(&ObjectKind::StorageClass) => {
                    texts.insert(format!(
                        "StorageClass {name} is not there, and claim {} asks for it",
                        claim.name
                    ));
                }
                Some(class) if class.provisioner.as_str() != NO_PROVISIONER => {
                    uses_csi = true;
                    texts.extend(self.capacities(class));
                }
                _ => {}
            }
        }
        self.texts.extend(texts);
        if uses_csi && self.kinds.contains(&ObjectKind::CsiNode) {
            self.csi_nodes();
        }
    }

    /// What is not known about the room for new volumes of a class.
    fn capacities(&self, class: &StorageClass) -> Option<String> {
        if !self.kinds.contains(&ObjectKind::CsiDriver) || class.wait_for_first_consumer != Some(true) {
            return None;
        }
        let (name, driver) = (&class.name, &class.provisioner);
        match self.objects().csi_drivers.get(driver) {
            // A provisioner in the form of a driver's name; those that are part of Kubernetes have no CSIDriver object.
            None if !driver.as_str().starts_with("kubernetes.io/") => Some(format!(
                "CSIDriver {driver} is not there, and provisions StorageClass {name}: the room for its volumes is not looked at"
            )),
            Some(known)
                if known.publishes_capacity && self.objects().capacities_of_class(name).next().is_none() =>
            {
                Some(format!(
                    "no CSIStorageCapacity of StorageClass {name} is there, although driver {driver} publishes them: no node has room for its volumes"
                ))
            }
            _ => None,
        }
    }

    fn csi_nodes(&mut self) {
        const NAMES_TOLD: usize = 3;
        let known = &self.objects().csi_nodes;
        let without: Vec<&Atom> = self
            .snapshot
            .nodes()
            .iter()
            .map(|node| node.name())
            .filter(|name| !known.contains_key(*name))
            .collect();
        let Some((first, others)) = without.split_first() else { return };
        let mut names = first.to_string();
        for name in others.iter().take(NAMES_TOLD - 1) {
            let _ = write!(names, ", {name}");
        }
        if without.len() > NAMES_TOLD {
            names += ", …";
        }
        self.texts.push(format!(
            "no CSINode is there for {} of {} nodes ({names}): how many volumes they take is not known",
            without.len(),
            self.snapshot.nodes().len()
        ));
    }

    /// Without any budgets, preemption assumes that all pods can be evicted alike.
    fn budgets(&mut self, pods: &[Arc<Pod>]) {
        let none = self.objects().disruption_budgets.is_empty();
        if !none || !self.kinds.contains(&ObjectKind::DisruptionBudget) {
            return;
        }
        let highest = pods.iter().filter(|pod| !pod.never_preempts).map(|pod| pod.priority).max();
        let lower = |priority: i32| {
            self.snapshot.nodes().iter().flat_map(|node| node.pods()).any(|pod| pod.priority < priority)
        };
        if highest.is_some_and(lower) {
            self.texts.push(
                "no PodDisruptionBudget is there: whom preemption evicts is told as if the cluster had none"
                    .to_owned(),
            );
        }
    }
}

/// Whether a pod has an affinity term that selects namespaces by their labels.
fn selects_namespaces(pod: &Pod) -> bool {
    let Some(affinity) = &pod.affinity else { return false };
    let preferred =
        affinity.preferred_affinity.iter().chain(&affinity.preferred_anti_affinity).map(|w| &w.term);
    let mut terms =
        affinity.required_affinity.iter().chain(&affinity.required_anti_affinity).chain(preferred);
    terms.any(|term| !term.namespace_selector.is_nothing() && !term.namespace_selector.is_everything())
}
