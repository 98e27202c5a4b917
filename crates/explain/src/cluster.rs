//! The cluster from the file, in the form of the scheduler's cache and snapshot.

use crate::objects::Item;
use secondmate_core::Nominator;
use secondmate_core::cache::Cache;
use secondmate_cycle::Profile;
use secondmate_framework::{Parity, Snapshot};
use secondmate_model::{Atom, Pod};
use std::sync::Arc;

/// Why a requested pod is not evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPending {
    /// The pod does not exist.
    #[error("pod {0} is not there; name it as NAMESPACE/NAME")]
    Unknown(String),
    /// The pod exists, but is not waiting for one of the profiles.
    #[error("pod {pod} does not wait for a node: {why}")]
    Settled {
        /// The pod.
        pod: String,
        /// Its actual state, and what to do about it.
        why: String,
    },
}

/// One frozen cluster.
pub struct Cluster {
    pub(crate) snapshot: Snapshot,
    pub(crate) nominator: Nominator,
    /// Pending pods of the profiles, in file order.
    pending: Vec<Arc<Pod>>,
    /// All other pods, for messages.
    settled: Vec<Arc<Pod>>,
}

impl Cluster {
    /// Loads the objects in file order: nodes within their zone, pods on their node.
    ///
    /// Pods of other schedulers that are nominated to a node count, as they do for a running scheduler, unless the profiles
    /// ignore them.
    #[must_use]
    pub fn load(items: Vec<Item>, profiles: &[Profile]) -> Self {
        let mut cache = Cache::new();
        let mut snapshot = Snapshot::default();
        let mut nominator = Nominator::default();
        let (mut pods, mut pending, mut settled) = (Vec::new(), Vec::new(), Vec::new());
        // Like the scheduler, which clamps amounts in its inputs.
        let bounds_amounts = profiles.iter().any(|profile| profile.handle().parity == Parity::Sensible);
        for item in items {
            match item {
                Item::Node(node) => {
                    cache.set_node(if bounds_amounts { node.bounded() } else { node });
                }
                Item::Pod(pod) => pods.push(if bounds_amounts { pod.bounded() } else { pod }),
                Item::Other(object) => {
                    snapshot.objects_mut().apply(object);
                }
            }
        }
        for pod in pods {
            let profile = profiles.iter().find(|p| *p.name() == pod.scheduler_name);
            match (&pod.node_name, profile) {
                // The scheduler's watch leaves out pods that have finished.
                _ if pod.terminal => settled.push(pod),
                (Some(_), _) => {
                    cache.add(Arc::clone(&pod));
                    settled.push(pod);
                }
                (None, None) => {
                    if let Some(node) = &pod.nominated_node_name
                        && !profiles.iter().any(Profile::ignores_nominations_of_others)
                    {
                        nominator.set(&pod, node);
                    }
                    settled.push(pod);
                }
                (None, Some(_)) => {
                    if let Some(node) = &pod.nominated_node_name {
                        nominator.set(&pod, node);
                    }
                    let list = if pod.deleting { &mut settled } else { &mut pending };
                    list.push(pod);
                }
            }
        }
        cache.refresh(&mut snapshot);
        Self { snapshot, nominator, pending, settled }
    }

    /// The pods that wait for one of the profiles, in file order.
    #[must_use]
    pub fn pending(&self) -> &[Arc<Pod>] {
        &self.pending
    }

    /// Nodes and other objects, as seen by a cycle.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Pods that are nominated to a node.
    #[must_use]
    pub fn nominations(&self) -> &Nominator {
        &self.nominator
    }

    /// The pending pods with these names (`NAMESPACE/NAME`), in file order; all of them if no names are given.
    ///
    /// # Errors
    /// If a name is not that of a pending pod.
    pub fn select(&self, names: &[String]) -> Result<Vec<Arc<Pod>>, NotPending> {
        if names.is_empty() {
            return Ok(self.pending.clone());
        }
        for name in names {
            if !self.pending.iter().any(|pod| pod.full_name() == *name) {
                return Err(self.not_pending(name));
            }
        }
        Ok(self.pending.iter().filter(|pod| names.contains(&pod.full_name())).cloned().collect())
    }

    fn not_pending(&self, name: &str) -> NotPending {
        let Some(pod) = self.settled.iter().find(|pod| pod.full_name() == name) else {
            return NotPending::Unknown(name.to_owned());
        };
        let why = match &pod.node_name {
            _ if pod.terminal => "it has ended".to_owned(),
            _ if pod.deleting => "it is being deleted".to_owned(),
            Some(node) => {
                format!("it is on node {node}; take spec.nodeName out to ask where it would go")
            }
            None => format!(
                "its scheduler is {}; ask with a configuration that has a profile of this name",
                pod.scheduler_name
            ),
        };
        NotPending::Settled { pod: name.to_owned(), why }
    }

    /// Scheduler names of pods that wait for another scheduler, each with the number of its pods.
    #[must_use]
    pub fn waiting_for_others(&self) -> Vec<(Atom, usize)> {
        let mut names: std::collections::BTreeMap<Atom, usize> = std::collections::BTreeMap::new();
        for pod in self.settled.iter().filter(|p| p.node_name.is_none() && !p.terminal && !p.deleting) {
            *names.entry(pod.scheduler_name.clone()).or_insert(0) += 1;
        }
        names.into_iter().collect()
    }
}
