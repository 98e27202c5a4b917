//! Constraints counted node by node, so that verdicts and scores can be derived without going over all nodes.

use super::PodTopologySpread;
use super::constraints::{Constraint, Constraints, Inclusion, count};
use super::domains::NO_DOMAIN;
use super::filter::{Skew, own_counts, verdict};
use super::score::{Normalizer, score_of, weight};
use secondmate_framework::{
    COORDINATES_MAX, Context, Coordinate, Coordinates, DomainTotals, GroupFilter, GroupScore, NodeGroup,
    Place, Status, alike_by_key,
};
use secondmate_model::{Atom, NodeInfo, Pod, WhenUnsatisfiable};
use smallvec::SmallVec;
use std::hash::Hash;
use std::sync::Arc;

/// The score by a pod's soft constraints. The first coordinate says whether a node is left out, and then there is one for each constraint:
/// for the host name, the number of pods on the node; otherwise the domain, marked for nodes without the label.
#[derive(Debug)]
struct SoftSpread {
    constraints: Constraints,
    requires_all_keys: bool,
    /// A pod of the class, for its namespace and for which nodes take part.
    pod: Arc<Pod>,
    /// The value under which nodes without the label count.
    no_value: Atom,
}

/// A node without the host name label.
const NO_HOSTNAME: i64 = -1;

/// The filter by a pod's hard constraints. There is one coordinate for each: the domain, or a number for nodes without the label.
#[derive(Debug)]
struct HardSpread {
    constraints: Constraints,
    /// For each constraint, whether the pod itself counts.
    own: SmallVec<[i64; 2]>,
    /// A pod of the class, for its namespace and for which nodes take part.
    pod: Arc<Pod>,
}

impl PodTopologySpread {
    /// The filter by groups; `None` if the constraints cannot be read or are too many.
    pub(super) fn hard_spread(&self, cx: &Context<'_>, pod: &Arc<Pod>) -> Option<Box<dyn GroupFilter>> {
        if declared(pod, WhenUnsatisfiable::DoNotSchedule) > COORDINATES_MAX {
            return None;
        }
        let constraints =
            self.constraints(pod, cx.snapshot.objects(), WhenUnsatisfiable::DoNotSchedule).ok()?;
        let own = own_counts(&constraints, pod);
        Some(Box::new(HardSpread { constraints, own, pod: Arc::clone(pod) }))
    }

    /// The score by groups; `None` if the constraints cannot be read or are too many.
    pub(super) fn soft_spread(&self, cx: &Context<'_>, pod: &Arc<Pod>) -> Option<Box<dyn GroupScore>> {
        if 1 + declared(pod, WhenUnsatisfiable::ScheduleAnyway) > COORDINATES_MAX {
            return None;
        }
        let soft = self.constraints(pod, cx.snapshot.objects(), WhenUnsatisfiable::ScheduleAnyway).ok()?;
        (!soft.is_empty()).then(|| -> Box<dyn GroupScore> {
            Box::new(SoftSpread {
                constraints: soft,
                requires_all_keys: self.requires_all_keys(pod),
                pod: Arc::clone(pod),
                no_value: Atom::default(),
            })
        })
    }
}

/// How many constraints of a kind the pod declares.
fn declared(pod: &Pod, kind: WhenUnsatisfiable) -> usize {
    pod.spread_constraints.iter().filter(|constraint| constraint.when_unsatisfiable == kind).count()
}

/// Everything besides the constraints that decides which pods and nodes count.
fn taking_part(pod: &Pod) -> impl Hash + PartialEq + '_ {
    let required = pod.affinity.as_ref().and_then(|affinity| affinity.node_required.as_ref());
    (&pod.namespace, &pod.node_selector, required, &pod.tolerations)
}

impl HardSpread {
    fn key(&self) -> impl Hash + PartialEq + '_ {
        (&self.constraints, &self.own, taking_part(&self.pod))
    }
}

alike_by_key!(HardSpread);

impl GroupFilter for HardSpread {
    fn look<'a>(&'a self, node: &'a NodeInfo, to: &mut Coordinates<'a>) {
        let (info, node) = (node, node.node());
        let has_all_keys = self.constraints.keys_on(&node.labels);
        let mut inclusion = Inclusion::new(&self.pod, node);
        let mut counts = SmallVec::new();
        let look = |constraint: &Constraint| {
            let Some(value) = node.labels.get(&constraint.key) else { return Coordinate::Own(0) };
            // A node that does not count still has its domain, and the verdict is about that.
            let counts_here = has_all_keys && inclusion.admits(constraint);
            let pods = if counts_here {
                self.constraints.count(constraint, info, &self.pod.namespace, &mut counts)
            } else {
                0
            };
            Coordinate::Domain { name: value, mark: false, pods, counts: counts_here }
        };
        to.extend(self.constraints.list.iter().map(look));
    }

    fn filter(&self, places: &[Place], totals: &[DomainTotals]) -> Status {
        verdict(&self.constraints, |at, constraint| {
            let (Place::Domain { pods, .. } | Place::Alone { pods, .. }) = places[at] else { return None };
            let DomainTotals { domains, least, .. } = totals[at];
            let too_few = i64::try_from(domains).unwrap_or(i64::MAX) < i64::from(constraint.min_domains);
            let minimum = if too_few { 0 } else { least.unwrap_or(NO_DOMAIN).min(NO_DOMAIN) };
            Some(Skew { with_pod: pods + self.own[at], minimum })
        })
    }

    fn is_concerned_by(&self, nominated: &Pod) -> bool {
        let mut list = self.constraints.list.iter();
        nominated.namespace == self.pod.namespace
            && list.any(|constraint| self.constraints.selector(constraint).matches(&nominated.labels))
    }
}

impl SoftSpread {
    fn key(&self) -> impl Hash + PartialEq + '_ {
        (&self.constraints, self.requires_all_keys, taking_part(&self.pod))
    }
}

alike_by_key!(SoftSpread);

impl GroupScore for SoftSpread {
    fn look<'a>(&'a self, node: &'a NodeInfo, to: &mut Coordinates<'a>) {
        let (info, node) = (node, node.node());
        let list = &self.constraints.list;
        if self.requires_all_keys && !self.constraints.keys_on(&node.labels) {
            to.push(Coordinate::Own(1));
            to.extend(list.iter().map(|_| Coordinate::Own(0)));
            return;
        }
        let mut inclusion = Inclusion::new(&self.pod, node);
        let mut counts = SmallVec::new();
        to.push(Coordinate::Own(0));
        for constraint in list {
            let value = node.labels.get(&constraint.key);
            let coordinate = if constraint.is_hostname {
                let pods = || count(info, self.constraints.selector(constraint), &self.pod.namespace);
                Coordinate::Own(value.map_or(NO_HOSTNAME, |_| pods()))
            } else {
                let pods = if inclusion.admits(constraint) {
                    self.constraints.count(constraint, info, &self.pod.namespace, &mut counts)
                } else {
                    0
                };
                let name = value.unwrap_or(&self.no_value);
                Coordinate::Domain { name, mark: value.is_none(), pods, counts: true }
            };
            to.push(coordinate);
        }
    }

    fn score(&self, groups: &[NodeGroup<'_>]) -> Vec<i64> {
        let ignored = |group: &NodeGroup<'_>| group.places[0] == Place::Own(1);
        let taking_part: usize = groups.iter().filter(|g| !ignored(g)).map(|g| g.nodes).sum();
        let mut domains: Vec<u32> = Vec::new();
        let weights: SmallVec<[f64; 2]> = self
            .constraints
            .list
            .iter()
            .enumerate()
            .map(|(at, constraint)| {
                if constraint.is_hostname {
                    return weight(taking_part);
                }
                domains.clear();
                let mut alone = 0;
                for group in groups {
                    match group.places[at + 1] {
                        Place::Domain { domain, .. } => domains.push(domain),
                        Place::Alone { .. } => alone += group.nodes,
                        // A node that is ignored.
                        Place::Own(_) => {}
                    }
                }
                domains.sort_unstable();
                domains.dedup();
                weight(domains.len() + alone)
            })
            .collect();
        let raw = |group: &NodeGroup<'_>| {
            if ignored(group) {
                return 0;
            }
            score_of(&self.constraints, &weights, |at, _| match group.places[at + 1] {
                Place::Own(NO_HOSTNAME)
                | Place::Domain { mark: true, .. }
                | Place::Alone { mark: true, .. } => None,
                Place::Own(pods) | Place::Domain { pods, .. } | Place::Alone { pods, .. } => Some(pods),
            })
        };
        let raw: Vec<i64> = groups.iter().map(raw).collect();
        let taking_part = groups.iter().zip(&raw).filter(|(group, _)| !ignored(group));
        let normalizer = Normalizer::over(taking_part.map(|(_, score)| *score));
        groups
            .iter()
            .zip(&raw)
            .map(|(group, score)| if ignored(group) { 0 } else { normalizer.of(*score) })
            .collect()
    }
}
