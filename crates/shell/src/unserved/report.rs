//! Informs the owners of pods whose scheduler name nobody serves, once for each pod.
//!
//! One process does this for the whole cluster: the one whose Lease comes first among those of all live secondmates that have the
//! permissions. What another process has already reported, before a change of leader or of that order, is found among the events. Without
//! permission to list Leases and events, a process leaves it to the others, and its Lease says so.

use super::{LookLimits, TRIED_WITHIN, Waiting, regarded, unserved, waiting};
use crate::access::{self, Subject};
use crate::call::{CallError, Caller};
use crate::dump::AtMost;
use crate::holders::{self, Holder, Listed};
use crate::lease::LeaseName;
use crate::watch::Permission;
use crate::write::{EventNote, EventSink, Leading};
use jiff::Timestamp;
use secondmate_core::port::EventType;
use secondmate_model::Atom;
use secondmate_telemetry::Gauge;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// Interval between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// From the beginning of leadership to the first look: other schedulers may be starting at the same time.
const FIRST_LOOK: Duration = TRIED_WITHIN;
/// Reason of the event on the pod.
pub(crate) const REASON: &str = "SchedulerNameNotServed";
/// Maximum number of pods reported by one look; the next looks report the others.
const TOLD_MAX: usize = 100;

/// The permissions it needs; a scheduler runs without them.
pub(crate) fn rights() -> BTreeSet<Permission> {
    let list = |group, resource| Permission::on("list", group, resource, "", "");
    BTreeSet::from([list("", "events"), list("coordination.k8s.io", "leases")])
}

/// What the task needs.
pub(crate) struct Report {
    pub caller: Caller,
    pub leading: Leading,
    pub events: EventSink,
    /// Our own Lease, if we use one.
    pub own: Option<LeaseName>,
    /// What our Lease says about our permissions.
    pub may_not_list: Arc<AtomicBool>,
    /// The names we serve.
    pub names: BTreeSet<String>,
    /// In whose name events are written.
    pub controller: Atom,
    /// The number of pods whose scheduler name nobody serves.
    pub gauge: Gauge,
    /// When it looks.
    pub pace: Pace,
}

/// When a scheduler looks for pods whose scheduler name nobody serves.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the beginning of leadership to the first look.
    pub first: Duration,
    /// Interval between two looks.
    pub every: Duration,
    /// Pods that have been waiting for less than this are not judged.
    pub pending_for: Duration,
    /// How much it reads.
    pub limits: LookLimits,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: FIRST_LOOK,
            every: LOOK_EVERY,
            pending_for: TRIED_WITHIN,
            limits: LookLimits::default(),
        }
    }
}

/// What earlier looks have left behind.
#[derive(Default)]
struct Looks {
    /// The pods that have been reported, by UID, with their scheduler names.
    told: BTreeMap<String, String>,
    /// Lists that were not read to their end, each of which is logged once.
    cut: BTreeSet<&'static str>,
}

impl Looks {
    fn cut(&mut self, what: &'static str, at_most: AtMost) {
        if self.cut.insert(what) {
            warn!(
                "not all {what} are looked at ({at_most}): pods whose scheduler name nobody serves may not be told"
            );
        }
    }
}

impl Report {
    /// Looks periodically; ends if the permissions are missing.
    pub async fn run(mut self) {
        loop {
            while !self.leading.may_write() {
                self.gauge.set(0);
                self.leading.changed().await;
            }
            sleep(self.pace.first).await;
            match access::missing(&self.caller, &Subject::Own, &rights()).await {
                Ok(missing) if missing.is_empty() => break,
                Ok(missing) => {
                    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
                    self.may_not_list.store(true, Ordering::Relaxed);
                    return info!(
                        "this process does not tell of pods whose scheduler name nobody serves: its user may not {}",
                        missing.join(", ")
                    );
                }
                Err(error) => debug!("whether events and Leases may be listed is not known: {error}"),
            }
        }
        let mut looks = Looks::default();
        loop {
            if self.leading.may_write() {
                if let Err(error) = self.look(&mut looks).await {
                    debug!("which scheduler names nobody serves is not known: {error}");
                }
            } else {
                self.gauge.set(0);
            }
            sleep(self.pace.every).await;
        }
    }

    /// Looks once.
    async fn look(&self, looks: &mut Looks) -> Result<(), CallError> {
        let limits = self.pace.limits;
        let at_most = AtMost::keep(limits.pods);
        let waiting = waiting(&self.caller, &self.names, at_most).await?;
        if waiting.cut {
            looks.cut("pods that wait for other schedulers", at_most);
        }
        let waiting = waiting.by_name;
        let now = Timestamp::now();
        let concerns =
            |holder: &Holder| !holder.names.is_empty() || waiting.keys().any(|name| holder.serves(name));
        let seen = holders::observe(&self.caller, Listed::All, concerns).await?;
        let live: BTreeSet<&Holder> = seen.live.keys().collect();
        let may = |holder: &&&Holder| !holder.names.is_empty() && !holder.may_not_list;
        let first = live.iter().find(may).map(|holder| &holder.lease);
        if first.is_some() && first != self.own.as_ref() {
            // It is another process's turn.
            self.gauge.set(0);
            looks.told.clear();
            return Ok(());
        }
        let judged = unserved(&self.caller, &waiting, &live, (self.pace.pending_for, now), limits).await?;
        if !judged.unknown.is_empty() {
            looks.cut("events", AtMost::keep(limits.events));
        }
        let told = &mut looks.told;
        let unserved = judged.by_name;
        let count: usize = unserved.values().map(Vec::len).sum();
        self.gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        told.retain(|uid, name| {
            let is_of = |pods: &Vec<Waiting>| pods.iter().any(|pod| pod.uid == *uid);
            unserved.get(name).is_some_and(is_of)
                || (judged.unknown.contains(name) && waiting.get(name).is_some_and(is_of))
        });
        let is_told = |pod: &Waiting| told.contains_key(&pod.uid);
        if unserved.values().flatten().all(is_told) || !self.leading.may_write() {
            return Ok(());
        }
        let at_most = AtMost::keep(limits.events);
        let of_reason = super::events(&format!("reason={REASON}"));
        let told_by_others = regarded(&self.caller, &of_reason, at_most).await?;
        if told_by_others.cut {
            // Pods that were not found among them may have been reported.
            looks.cut("events of this reason", at_most);
            return Ok(());
        }
        let told = &mut looks.told;
        let told_by_others: BTreeSet<String> = told_by_others.kept.into_iter().collect();
        let mut left = TOLD_MAX;
        for (name, pods) in &unserved {
            if !told.values().any(|known| known == name) {
                let first = pods.first().map(Waiting::full_name).unwrap_or_default();
                warn!(
                    pods = pods.len(),
                    first, "nobody serves the scheduler name {name:?}: these pods wait for ever"
                );
            }
            for pod in pods {
                if told.contains_key(&pod.uid) || left == 0 {
                    continue;
                }
                told.insert(pod.uid.clone(), name.clone());
                if !told_by_others.contains(&pod.uid) {
                    left -= 1;
                    self.tell(pod);
                }
            }
        }
        Ok(())
    }

    fn tell(&self, pod: &Waiting) {
        self.events.submit(EventNote {
            regarding: pod.reference(),
            related: None,
            kind: EventType::Warning,
            reason: REASON.into(),
            action: "Scheduling".into(),
            note: format!(
                "nobody serves the scheduler name {:?}: no live Lease names it, and nobody has written an event in its name; correct spec.schedulerName where the pod is made, or run a scheduler of this name",
                pod.scheduler_name
            ),
            controller: self.controller.clone(),
            time: Timestamp::now(),
        });
    }
}
