//! Disruptions that we cause and that the status of a PodDisruptionBudget may not show yet.
//!
//! The disruption controller writes the status some time after a pod was evicted; until then, a second preemption would count on
//! disruptions that the first has used up. So each victim is charged to the budgets that protect it from the moment it is chosen,
//! and the last victim, which is evicted later, also to those that protect it at that time. In the snapshot, such a budget allows
//! correspondingly fewer disruptions and lists the victim among the disrupted pods, as the API server does for evictions that it
//! carries out itself.
//!
//! A charge ends when, after the victim was seen to leave, the budget's status is written with one disruption less than before,
//! and [`SETTLES_WITHIN`] after that in any case. A status that allows as many as before may be older than the eviction, written
//! because another pod had become ready, and ends no charge; one that allows none cannot decrease any further and ends the charge
//! too. A charge also ends if every preemption that chose the victim spares it before it leaves, unless an eviction of it is in
//! progress. While one is, the charge does not expire, however long the API server takes; and without an answer, the eviction
//! counts as carried out.
//!
//! Others disrupt pods too: kube-scheduler, users and kubelets delete them, and some finish. If the watch has shown such pods to
//! leave, a status that allows fewer disruptions is taken to show those first, so a charge stays too long rather than ends too
//! soon. What others evict through the API server is listed in the status, so it is known which status shows it. Both hold while
//! nothing is charged as well: what a status has shown by then is not set against a later charge.
//!
//! A preemption that would overdraw a budget while charges are open waits until they are settled, since it may turn out not to
//! overdraw it.

use secondmate_model::objects::{DisruptionBudget, Object, ObjectName, Objects};
use secondmate_model::{Pod, Timestamp, Uid};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The disruption controller has written a budget's status this long after a pod began to leave.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);
/// A victim that has not begun to leave this long after it was chosen is not waited for any longer, unless it is still to be
/// evicted.
const LEAVES_WITHIN: Duration = Duration::from_secs(60);
/// Maximum number of pods disrupted by others that are remembered. Beyond that, the oldest are forgotten, and a status that shows
/// one of those may end a charge.
const BY_OTHERS_MAX: usize = 4096;

/// A victim that is charged to a budget.
#[derive(Clone, Debug)]
struct Charge {
    /// The victim's name.
    name: Box<str>,
    /// When the charge ends by itself.
    until: Timestamp,
    /// Whether the victim was evicted, may have been, or was seen to leave.
    leaves: bool,
}

#[derive(Debug)]
struct Charged {
    /// The budget as stored in the API server.
    written: DisruptionBudget,
    charges: BTreeMap<Uid, Charge>,
}

impl Charged {
    /// The budget as preemption should see it.
    fn effective(&self) -> DisruptionBudget {
        let mut budget = self.written.clone();
        for charge in self.charges.values() {
            if budget.disrupted_pods.insert(charge.name.clone()) {
                budget.disruptions_allowed = budget.disruptions_allowed.saturating_sub(1);
            }
        }
        budget
    }

    /// Ends this many charges: among victims that leave, those that began to leave first.
    fn shown(&mut self, shown_of_ours: usize) {
        let leaving = self.charges.iter().filter(|(_, charge)| charge.leaves);
        let mut leaving: Vec<(Timestamp, Uid)> =
            leaving.map(|(uid, charge)| (charge.until, uid.clone())).collect();
        leaving.sort_unstable();
        for (_, uid) in leaving.into_iter().take(shown_of_ours) {
            self.charges.remove(&uid);
        }
    }
}

/// How many disruptions a budget's status shows that the status before it did not. Pods that are newly listed are left out: it is
/// known what disrupted them, evictions through the API server, which counts them at once.
fn newly_shown(before: &DisruptionBudget, new: &DisruptionBudget) -> usize {
    let fewer = before.disruptions_allowed.saturating_sub(new.disruptions_allowed);
    let listed = new.disrupted_pods.difference(&before.disrupted_pods).count();
    usize::try_from(fewer).unwrap_or(0).saturating_sub(listed)
}

/// Budgets with open charges.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    by_name: BTreeMap<ObjectName, Charged>,
    /// Pods that have begun to leave within [`SETTLES_WITHIN`] and are not charged, so others have disrupted them; oldest first.
    by_others: VecDeque<(Timestamp, Arc<Pod>)>,
}

impl Budgets {
    /// When the next charge ends by itself.
    pub fn next(&self) -> Option<Timestamp> {
        self.by_name.values().flat_map(|charged| charged.charges.values()).map(|charge| charge.until).min()
    }

    /// A budget with open charges that these victims would overdraw, if there is one.
    pub fn overdrawn_by(&self, objects: &Objects, victims: &[Arc<Pod>]) -> Option<&ObjectName> {
        self.by_name.keys().find(|name| {
            objects.disruption_budgets.get(*name).is_some_and(|budget| {
                let counted = victims.iter().filter(|victim| budget.is_charged_for(&name.namespace, victim));
                let counted = i32::try_from(counted.count()).unwrap_or(i32::MAX);
                counted > 0 && counted > budget.disruptions_allowed
            })
        })
    }

    /// The budgets that evicting a charged victim overdraws according to their current status.
    pub fn overdrawn_for(&self, victim: &Uid) -> impl Iterator<Item = &ObjectName> {
        let charged = self.by_name.iter().filter(|(_, charged)| charged.charges.contains_key(victim));
        charged.filter(|(_, charged)| charged.effective().disruptions_allowed < 0).map(|(name, _)| name)
    }

    /// Charges the victims to the budgets that protect them.
    pub fn charge(&mut self, objects: &mut Objects, victims: &[Arc<Pod>], now: Timestamp) {
        let mut changed = Vec::new();
        for (name, budget) in &objects.disruption_budgets {
            let victims: Vec<_> =
                victims.iter().filter(|victim| budget.is_charged_for(&name.namespace, victim)).collect();
            if victims.is_empty() {
                continue;
            }
            let charged = self
                .by_name
                .entry(name.clone())
                .or_insert_with(|| Charged { written: budget.clone(), charges: BTreeMap::new() });
            for victim in victims {
                let until = now + LEAVES_WITHIN;
                let charge = Charge { name: victim.name.clone(), until, leaves: false };
                let charge = charged.charges.entry(victim.uid.clone()).or_insert(charge);
                // Another preemption may have chosen it before. If it is already leaving, the next status shows it anyway.
                if !charge.leaves {
                    charge.until = until;
                }
            }
            changed.push((name.clone(), charged.effective()));
        }
        for (name, budget) in changed {
            objects.apply(Object::DisruptionBudget(name, budget));
        }
    }

    /// A victim begins to leave, or was evicted or may have been: the next status of its budgets will show it. What comes last counts: an
    /// eviction without an answer may not have been carried out, and the next one was.
    pub fn leaves(&mut self, victim: &Uid, now: Timestamp) {
        let settles = now + SETTLES_WITHIN;
        for charged in self.by_name.values_mut() {
            if let Some(charge) = charged.charges.get_mut(victim) {
                charge.until = settles;
                charge.leaves = true;
            }
        }
    }

    /// A pod begins to leave its node, whoever has disrupted it.
    pub fn disrupted(&mut self, objects: &Objects, pod: &Arc<Pod>, now: Timestamp) {
        let is_charged = || self.by_name.values().any(|charged| charged.charges.contains_key(&pod.uid));
        // No budget protects a pod without labels.
        if pod.labels.is_empty() || is_charged() || self.is_listed(objects, pod) {
            return;
        }
        self.forget_settled(now);
        if self.by_others.len() >= BY_OTHERS_MAX {
            self.by_others.pop_front();
        }
        self.by_others.push_back((now, Arc::clone(pod)));
    }

    /// Whether the status of a budget lists the pod: it was evicted through the API server, and that is counted.
    fn is_listed(&self, objects: &Objects, pod: &Pod) -> bool {
        let from = ObjectName::new(&pod.namespace, "");
        let budgets = objects.disruption_budgets.range(from..);
        budgets.take_while(|(name, _)| name.namespace == pod.namespace).any(|(name, budget)| {
            // In the snapshot, a budget with open charges lists their victims too.
            let written = self.by_name.get(name).map_or(budget, |charged| &charged.written);
            written.disrupted_pods.contains(&pod.name)
        })
    }

    /// Forgets what others have disrupted so long ago that the status of every budget shows it.
    fn forget_settled(&mut self, now: Timestamp) {
        while self.by_others.front().is_some_and(|(at, _)| *at + SETTLES_WITHIN <= now) {
            self.by_others.pop_front();
        }
    }

    /// No preemption evicts the victim any more, so it stays unless it is already leaving. Returns whether a budget has no open
    /// charges any more.
    pub fn spared(&mut self, objects: &mut Objects, victim: &Uid) -> bool {
        self.end(objects, |uid, charge| uid == victim && !charge.leaves)
    }

    /// Ends the charges that have expired, except those of victims that are evicted and have yet to leave. Returns whether a
    /// budget has no open charges any more.
    pub fn tick(
        &mut self,
        objects: &mut Objects,
        has_yet_to_leave: impl Fn(&Uid) -> bool,
        now: Timestamp,
    ) -> bool {
        for (victim, charge) in self.by_name.values_mut().flat_map(|charged| charged.charges.iter_mut()) {
            if charge.until <= now && has_yet_to_leave(victim) {
                charge.until = now + LEAVES_WITHIN;
            }
        }
        self.forget_settled(now);
        self.end(objects, |_, charge| charge.until <= now)
    }

    /// The API server shows a budget: returns how it appears in the snapshot, and whether it has no open charges any more.
    pub fn written(
        &mut self,
        objects: &Objects,
        name: &ObjectName,
        budget: DisruptionBudget,
        now: Timestamp,
    ) -> (DisruptionBudget, bool) {
        self.forget_settled(now);
        let charged = self.by_name.get_mut(name);
        // Without open charges, the snapshot shows the budget as it was written last.
        let before = charged.as_ref().map(|charged| &charged.written);
        let before = before.or_else(|| objects.disruption_budgets.get(name));
        let shown = before.map_or(0, |before| newly_shown(before, &budget));
        let is_listed =
            |pod: &Pod| pod.namespace == name.namespace && budget.disrupted_pods.contains(&pod.name);
        self.by_others.retain(|(_, pod)| !is_listed(pod));
        let is_protected = |pod: &Pod| budget.is_charged_for(&name.namespace, pod);
        let by_others = self.by_others.iter().filter(|(_, pod)| is_protected(pod)).count();
        let shown_of_others = shown.min(by_others);
        let mut left = shown_of_others;
        // As a rule, a pod is protected by one budget, so it does not matter for the others.
        self.by_others.retain(|(_, pod)| {
            let is_shown = left > 0 && is_protected(pod);
            left -= usize::from(is_shown);
            !is_shown
        });
        let Some(charged) = charged else { return (budget, false) };
        charged.shown(match budget.disruptions_allowed {
            // It never allows fewer, so it cannot show any more disruptions.
            ..=0 if by_others == 0 => usize::MAX,
            _ => shown - shown_of_others,
        });
        charged.written = budget;
        let effective = charged.effective();
        let settled = charged.charges.is_empty();
        if settled {
            self.by_name.remove(name);
        }
        (effective, settled)
    }

    /// The budget was deleted. Returns whether it had open charges.
    pub fn gone(&mut self, name: &ObjectName) -> bool {
        self.by_name.remove(name).is_some()
    }

    fn end(&mut self, objects: &mut Objects, ends: impl Fn(&Uid, &Charge) -> bool) -> bool {
        let mut changed = Vec::new();
        for (name, charged) in &mut self.by_name {
            let before = charged.charges.len();
            charged.charges.retain(|uid, charge| !ends(uid, charge));
            if charged.charges.len() != before {
                changed.push((name.clone(), charged.effective()));
            }
        }
        for (name, budget) in changed {
            objects.apply(Object::DisruptionBudget(name, budget));
        }
        let budgets = self.by_name.len();
        self.by_name.retain(|_, charged| !charged.charges.is_empty());
        self.by_name.len() != budgets
    }
}
