//! Scheduler names that nobody serves, and pods that no scheduler has tried.

use super::{Doctor, Severity, check, named, pods, some_of};
use crate::dump::AtMost;
use crate::holders::{Holder, Observed};
use crate::unserved::{Waiting, older_than, regarded_by, unserved};
use std::collections::{BTreeMap, BTreeSet};

/// A live scheduler has tried a pod after this multiple of the time after which pods are judged, unless its queue is very long.
const UNTRIED_AFTER: u32 = 5;
/// Nothing that is read here tells such a scheduler from none: it writes its first event and takes its Lease after it has its lists.
const MAY_BE_WAITING: &str = "; if one is running, it may still be waiting for its first lists, and takes no Lease before it has them: see /readyz?verbose of its pods";

impl Doctor {
    /// Scheduler names in pending pods that nobody serves. Returns the names that no live Lease names, but in which events were written.
    pub(super) async fn names(
        &mut self,
        seen: &Observed,
        waiting: &BTreeMap<String, Vec<Waiting>>,
    ) -> BTreeSet<String> {
        let live: BTreeSet<&Holder> = seen.live.keys().collect();
        let (age, limits) = (self.options.pending_for, self.options.limits);
        let judged = match unserved(&self.caller, waiting, &live, (age, self.now()), limits).await {
            Ok(judged) => judged,
            Err(error) => {
                self.unknown(check::NAMES, "events", &error);
                return BTreeSet::new();
            }
        };
        if !judged.unknown.is_empty() {
            let names: Vec<String> = judged.unknown.iter().map(|name| format!("{name:?}")).collect();
            let not_judged = format!("whether anybody serves {} is not known", some_of(&names));
            self.cut(check::NAMES, "events", AtMost::keep(limits.events), &not_judged);
        }
        let served = match served(seen) {
            names if names.is_empty() => String::new(),
            names => format!(" (served are {})", names.join(", ")),
        };
        let remedy = format!(
            "correct spec.schedulerName where the pods are made{served}, or run a scheduler of this name{MAY_BE_WAITING}"
        );
        for (name, of_name) in judged.by_name {
            let wait = if of_name.len() == 1 { "waits" } else { "wait" };
            let problem = format!(
                "nobody serves it (no live Lease names it, and no event was written in its name): {} {wait}, the first since {}: {}",
                pods(of_name.len()),
                of_name[0].since,
                named(&of_name)
            );
            let object = format!("scheduler name {name:?}");
            self.found(Severity::Fault, check::NAMES, object, problem, remedy.clone()).about(&of_name);
        }
        judged.have_written
    }

    /// Pods whose scheduler name is served, but on which no scheduler has reported anything. `have_written` are the names that no live Lease
    /// names, but in which events were written.
    pub(super) async fn untried(
        &mut self,
        seen: &Observed,
        have_written: &BTreeSet<String>,
        waiting: &BTreeMap<String, Vec<Waiting>>,
    ) {
        for (name, of_name) in waiting {
            let holder = seen.live.keys().find(|holder| holder.serves(name));
            if holder.is_none() && !have_written.contains(name) {
                continue;
            }
            let old = older_than(of_name, self.options.pending_for * UNTRIED_AFTER, self.now());
            let mut untried: Vec<Waiting> = old.iter().filter(|pod| !pod.tried).cloned().collect();
            if untried.is_empty() {
                continue;
            }
            let at_most = AtMost::keep(self.options.limits.events);
            match regarded_by(&self.caller, name, at_most).await {
                Ok(told) => {
                    let uids: BTreeSet<&String> = told.kept.iter().collect();
                    untried.retain(|pod| !uids.contains(&pod.uid));
                    if told.cut && !untried.is_empty() {
                        let not_judged =
                            format!("whether {} of it were tried is not known", pods(untried.len()));
                        self.cut(check::PODS, format!("events of {name}"), at_most, &not_judged);
                        continue;
                    }
                }
                Err(error) => {
                    self.unknown(check::PODS, format!("events of {name}"), &error);
                    continue;
                }
            }
            if untried.is_empty() {
                continue;
            }
            let problem = format!(
                "{} of it, the first since {}, have neither a condition PodScheduled nor an event of it: {}",
                pods(untried.len()),
                untried[0].since,
                named(&untried)
            );
            let remedy = match holder {
                Some(holder) => format!(
                    "see the log of {}, which holds the Lease {}, and whether its queue has them (/debug/queue)",
                    holder.identity, holder.lease
                ),
                None => "see whether the scheduler of this name still runs (no live Lease names it, and there are only events of it), and its log".to_owned(),
            };
            let object = format!("scheduler name {name:?}");
            self.found(Severity::Fault, check::PODS, object, problem, remedy).about(&untried);
        }
    }
}

/// The names that live Leases announce.
fn served(seen: &Observed) -> Vec<String> {
    let default = "default-scheduler";
    let mut names: BTreeSet<String> = seen.live.keys().flat_map(|holder| holder.names.clone()).collect();
    if seen.live.keys().any(|holder| holder.serves(default)) {
        names.insert(default.to_owned());
    }
    names.into_iter().collect()
}
