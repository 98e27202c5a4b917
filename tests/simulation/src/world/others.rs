//! Two other schedulers. They decide as kube-scheduler does where it matters to a neighbour: each by what it has seen, which lags, with
//! what it has decided itself on top; nobody's nominations hold room for them. The second one evicts whom it likes.

use super::server::Facts;
use super::*;

/// Pods that one of them tries in a turn.
const TRIES: usize = 3;

/// One of them.
pub(super) struct Other {
    name: &'static str,
    /// Pods on nodes as it has seen or decided: where, and what they take.
    view: BTreeMap<String, (String, Needs)>,
    /// The version of the cluster that it has seen.
    seen: u64,
    /// The version that it had seen when it last found nothing to do.
    idle_at: Option<u64>,
}

impl Other {
    pub fn new(name: &'static str) -> Self {
        Self { name, view: BTreeMap::new(), seen: 0, idle_at: None }
    }

    fn look(&mut self, truth: &Truth) {
        let on_nodes = truth.facts.iter().filter(|(_, facts)| facts.is_on_node());
        let place =
            |(name, facts): (&String, &Facts)| Some((name.clone(), (facts.node()?.to_owned(), facts.needs)));
        self.view = on_nodes.filter_map(place).collect();
        self.seen = truth.version;
    }

    /// The nodes that take the pod, as it sees them.
    fn nodes_for(&self, truth: &Truth, pod: &Needs) -> Vec<String> {
        let open = truth.nodes.iter().filter(|(_, node)| node["spec"]["unschedulable"] != true);
        let fits = open.filter(|(name, node)| {
            let there = self.view.values().filter(|(on, _)| on == *name).map(|(_, needs)| needs);
            Room::of(node).takes(pod, there)
        });
        fits.map(|(name, _)| name.clone()).collect()
    }

    /// Whom to evict from the node for the pod: the least important, as few as will do. `None` where that does not help.
    fn victims(&self, node: (&str, &Value), pod: &Needs) -> Option<Vec<String>> {
        let mut there: Vec<(&String, &Needs)> = self
            .view
            .iter()
            .filter(|(_, (on, _))| on == node.0)
            .map(|(name, (_, needs))| (name, needs))
            .collect();
        there.sort_by_key(|(_, needs)| needs.priority);
        let below = there.iter().filter(|(_, needs)| needs.priority < pod.priority).count();
        (1..=below)
            .find(|count| Room::of(node.1).takes(pod, there[*count..].iter().map(|(_, needs)| *needs)))
            .map(|count| there[..count].iter().map(|(name, _)| (*name).clone()).collect())
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
            if self.one_in(2) {
                other.look(&self.truth);
            }
            if self.one_in(2) {
                self.other_tries(other, at == 1);
            }
        }
        self.others = others;
    }

    fn other_tries(&mut self, other: &mut Other, preempts: bool) {
        let under_way = &self.under_way;
        let waits = |(name, facts): &(&String, &Facts)| {
            facts.waits()
                && facts.pod.scheduler_name.as_str() == other.name
                && !facts.pod.deleting
                && !other.view.contains_key(*name)
                && under_way.iter().all(|bind| bind.pod != **name)
        };
        let mut waiting: Vec<(String, Needs)> =
            self.truth.facts.iter().filter(waits).map(|(name, facts)| (name.clone(), facts.needs)).collect();
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
                match self.ask_bind_slowly(&name, &node) {
                    Ok(()) => drop(other.view.insert(name, (node, needs))),
                    // It puts the pod back, and tries again with a fresher view.
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

    fn could_preempt(&self, other: &Other, needs: &Needs) -> bool {
        self.truth.nodes.iter().any(|(name, node)| other.victims((name, node), needs).is_some())
    }

    /// It evicts pods, and nominates its own one.
    fn other_preempts(&mut self, other: &mut Other, name: &str, needs: &Needs) -> bool {
        let open = self.truth.nodes.iter().filter(|(_, node)| node["spec"]["unschedulable"] != true);
        let found: Vec<(String, Vec<String>)> = open
            .filter_map(|(node_name, node)| {
                Some((node_name.clone(), other.victims((node_name, node), needs)?))
            })
            .collect();
        if found.is_empty() {
            return false;
        }
        let (node, victims) = found[self.random.below(found.len())].clone();
        for victim in victims {
            other.view.remove(&victim);
            let stays = self.truth.pods.get(&victim).is_some_and(|pod| !is_leaving(pod));
            if stays {
                self.counts.add("pods evicted by others", 1);
                self.delete(&victim);
            }
        }
        let mut pod = self.truth.pods[name].clone();
        pod["status"]["nominatedNodeName"] = json!(node);
        self.write_pod(name, pod);
        true
    }
}
