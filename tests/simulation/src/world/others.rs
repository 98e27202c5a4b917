//! Two other schedulers. They behave like kube-scheduler in everything that matters to a neighbour: each decides by what it has seen, which
//! lags, plus its own decisions; they ignore everybody else's nominations. The second one evicts pods freely.

use super::objects::StoredNode;
use super::server::{OnNodes, put_on, take_off};
use super::*;
use std::collections::BTreeSet;

/// Maximum number of pods that each of them tries in a turn.
const TRIES: usize = 3;

/// One of them.
pub(super) struct Other {
    name: &'static str,
    /// Pods on nodes as it has seen or decided, and their needs.
    view: OnNodes,
    /// Those that it has decided about since it last looked.
    decided: BTreeSet<Name>,
    /// The version of the cluster that it has seen.
    seen: u64,
    /// The version that it had seen when it last found nothing to do.
    idle_at: Option<u64>,
}

impl Other {
    pub fn new(name: &'static str) -> Self {
        Self { name, view: OnNodes::new(), decided: BTreeSet::new(), seen: 0, idle_at: None }
    }

    fn look(&mut self, truth: &Truth) {
        self.view = truth.on_nodes.clone();
        self.decided.clear();
        self.seen = truth.version;
    }

    fn there(&self, node: &str) -> &[(Name, Needs)] {
        self.view.get(node).map_or(&[], |pods| pods)
    }

    /// The nodes on which the pod fits, as it sees them.
    fn nodes_for(&self, truth: &Truth, pod: &Needs) -> Vec<Name> {
        let open = truth.nodes.iter().filter(|(_, node)| !node.is_cordoned());
        let fits =
            open.filter(|(name, node)| node.room.takes(pod, self.there(name).iter().map(|(_, needs)| needs)));
        fits.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// The pods to evict from the node for the pod: the least important, as few as possible. `None` if that does not help.
    fn victims(&self, name: &str, node: &StoredNode, pod: &Needs) -> Option<Vec<Name>> {
        let mut there: Vec<&(Name, Needs)> = self.there(name).iter().collect();
        there.sort_by_key(|(_, needs)| needs.priority);
        let below = there.iter().filter(|(_, needs)| needs.priority < pod.priority).count();
        (1..=below)
            .find(|count| node.room.takes(pod, there[*count..].iter().map(|(_, needs)| needs)))
            .map(|count| there[..count].iter().map(|(name, _)| Arc::clone(name)).collect())
    }
}

impl World {
    pub(super) fn others_are_quiet(&self) -> bool {
        self.others.iter().all(|other| other.idle_at == Some(self.truth.version))
    }

    pub(super) fn others_act(&mut self) {
        if self.calm {
            return;
        }
        let mut others = std::mem::take(&mut self.others);
        for (at, other) in others.iter_mut().enumerate() {
            if other.idle_at == Some(self.truth.version) {
                continue;
            }
            let hasty = self.options.hasty_others;
            if hasty || self.one_in(2) {
                other.look(&self.truth);
            }
            if hasty || self.one_in(2) {
                self.other_tries(other, at == 1);
            }
        }
        self.others = others;
    }

    fn other_tries(&mut self, other: &mut Other, preempts: bool) {
        let under_way = &self.under_way;
        let waits =
            |name: &&Name| !other.decided.contains(*name) && under_way.iter().all(|bind| bind.pod != **name);
        let truth = &self.truth;
        let mut waiting: Vec<(Name, Needs)> = truth
            .registers
            .waiting(other.name)
            .filter(waits)
            .map(|name| (Arc::clone(name), truth.pods[name].needs))
            .collect();
        waiting.sort_by_key(|(_, needs)| std::cmp::Reverse(needs.priority));
        let (seen, mut acted) = (other.seen, !self.under_way.is_empty());
        let mut tries = 0;
        for (name, needs) in waiting {
            if tries == TRIES {
                break;
            }
            let nodes = other.nodes_for(&self.truth, &needs);
            if let Some(node) = self.pick(&nodes) {
                (tries, acted) = (tries + 1, true);
                let hasty = self.options.hasty_others;
                let asked =
                    if hasty { self.ask_bind(&name, &node) } else { self.ask_bind_slowly(&name, &node) };
                match asked {
                    Ok(()) => {
                        put_on(&mut other.view, &node, &name, needs);
                        other.decided.insert(name);
                    }
                    // It puts the pod back, and retries with a fresher view.
                    Err(_) => other.look(&self.truth),
                }
            } else if preempts && self.one_in(2) && self.other_preempts(other, &name, &needs) {
                (tries, acted) = (tries + 1, true);
            } else {
                acted |= preempts && self.could_preempt(other, &needs);
            }
        }
        other.idle_at = (!acted).then_some(seen);
    }

    fn open_nodes(&self) -> impl Iterator<Item = (&Name, &StoredNode)> {
        self.truth.nodes.iter().filter(|(_, node)| !node.is_cordoned())
    }

    fn could_preempt(&self, other: &Other, needs: &Needs) -> bool {
        self.open_nodes().any(|(name, node)| other.victims(name, node, needs).is_some())
    }

    /// It evicts pods, and nominates its own.
    fn other_preempts(&mut self, other: &mut Other, name: &Name, needs: &Needs) -> bool {
        let found: Vec<(Name, Vec<Name>)> = self
            .open_nodes()
            .filter_map(|(at, node)| Some((Arc::clone(at), other.victims(at, node, needs)?)))
            .collect();
        if found.is_empty() {
            return false;
        }
        let (node, victims) = found[self.random.below(found.len())].clone();
        for victim in victims {
            take_off(&mut other.view, &node, &victim);
            let stays = self.truth.pods.get(&victim).is_some_and(|stored| !stored.pod.deleting);
            if stays {
                self.counts.add("pods evicted by others", 1);
                self.delete(&victim);
            }
        }
        self.change(name, |pod| pod.nominated_node_name = Some(Atom::new(&node)));
        true
    }
}
