//! Leases whose holder is gone, names that two live processes serve, and the clocks of Lease holders.

use super::{Doctor, Severity, check, pods, some_of};
use crate::call::{Call, CallError};
use crate::dump::{percent_encoded, selector_value};
use crate::holders::{Holder, Observed};
use crate::rivals::REMEDY;
use crate::unserved::{Waiting, older_than};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Smaller clock differences are not reported: Leases are read once a second, and an answer may be slow.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

impl Doctor {
    pub(super) async fn leases(&mut self, seen: &Observed, waiting: Option<&BTreeMap<String, Vec<Waiting>>>) {
        self.two_of_a_name(seen, waiting);
        for holder in &seen.dead {
            // The check of the guard reports on the guard's Lease.
            if !super::guard::is_guards(&holder.lease) {
                self.points_nowhere(holder, seen, waiting).await;
            }
        }
        for (holder, (renewed, seen)) in &seen.live {
            let seen = seen.checked_add(self.ahead).unwrap_or(*seen);
            if let Some(by) = differs(*renewed, seen) {
                let way = if by.is_positive() { "ahead of" } else { "behind" };
                self.found(
                    Severity::Warning,
                    check::CLOCKS,
                    format!("{}, holder of the Lease {}", holder.identity, holder.lease),
                    format!(
                        "its clock is {} s {way} that of the API server: times in events, conditions and metrics are wrong by that",
                        by.abs().as_secs()
                    ),
                    "synchronise the clock of its machine (NTP)",
                );
            }
        }
    }

    fn two_of_a_name(&mut self, seen: &Observed, waiting: Option<&BTreeMap<String, Vec<Waiting>>>) {
        let claimed = seen.live.keys().flat_map(|holder| holder.names.clone());
        let awaited = waiting.into_iter().flat_map(|waiting| waiting.keys().cloned());
        let names: BTreeSet<String> = claimed.chain(awaited).collect();
        for name in names {
            let serving: Vec<String> = seen
                .live
                .keys()
                .filter(|holder| holder.serves(&name))
                .map(|holder| format!("{} holds the Lease {}", holder.identity, holder.lease))
                .collect();
            if serving.len() > 1 {
                self.found(
                    Severity::Fault,
                    check::LEASES,
                    format!("scheduler name {name:?}"),
                    format!(
                        "{} live processes serve it, and all of them bind: {}",
                        serving.len(),
                        serving.join("; ")
                    ),
                    REMEDY,
                );
            }
        }
    }

    /// The holder of a Lease has not renewed it for the length of its duration.
    async fn points_nowhere(
        &mut self,
        holder: &Holder,
        seen: &Observed,
        waiting: Option<&BTreeMap<String, Vec<Waiting>>>,
    ) {
        let Holder { lease, identity, .. } = holder;
        let where_it_is = self.pod_of(identity).await;
        let now = self.now();
        // After a restart with more or fewer names, a scheduler has another Lease than before.
        let is_served = |name: &str| seen.live.keys().any(|other| other.serves(name));
        let names = waiting.into_iter().flatten().filter(|(name, _)| holder.serves(name) && !is_served(name));
        let count: usize = names.map(|(_, pods)| older_than(pods, self.options.pending_for, now).len()).sum();
        let (served, unserved): (Vec<String>, Vec<String>) =
            holder.scheduler_names().into_iter().partition(|name| is_served(name));
        let problem = format!("its holder {identity} does not renew it{where_it_is}");
        let object = format!("Lease {lease}");
        let delete = format!("kubectl delete lease -n {} {}", lease.namespace, lease.name);
        let start = match served.as_slice() {
            [] => "start the scheduler again".to_owned(),
            names => {
                format!("start the scheduler again, without the names that others serve ({})", some_of(names))
            }
        };
        if count > 0 {
            let problem = format!("{problem}, and {} of its names wait", pods(count));
            let remedy = format!("{start}, or see why it does not run");
            self.found(Severity::Fault, check::LEASES, object, problem, remedy);
        } else if unserved.is_empty() {
            let problem = format!("{problem}; others serve its names ({})", some_of(&served));
            self.found(Severity::Warning, check::LEASES, object, problem, delete);
        } else {
            let remedy = format!("{start}, or, if it is not to come back, {delete}");
            self.found(Severity::Warning, check::LEASES, object, problem, remedy);
        }
    }

    /// What is known about a process's pod. The first part of its identity is its host name, which is usually the name of its pod.
    async fn pod_of(&self, identity: &str) -> String {
        let Some((host, _)) = identity.rsplit_once('_') else { return String::new() };
        let fields = percent_encoded(&format!("metadata.name={}", selector_value(host)));
        let path = format!("/api/v1/pods?fieldSelector={fields}");
        let Ok(body) = self.caller.read(&Call::get(path)).await else { return String::new() };
        let list: Value = serde_json::from_slice(&body).unwrap_or_default();
        let Some(pod) = list["items"].as_array().and_then(|items| items.first()) else {
            // On the host network, a process has the node's name.
            let node = self.caller.read(&Call::get(format!("/api/v1/nodes/{}", percent_encoded(host)))).await;
            return match node {
                Err(CallError::Answered { code: 404, .. }) => format!(", and there is no pod {host}"),
                _ => String::new(),
            };
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!(
            "; pod {}/{host} is there ({})",
            text(&pod["metadata"]["namespace"]),
            text(&pod["status"]["phase"])
        )
    }
}

/// How far the clock that wrote a renewal time is ahead, given when (by the API server's clock) the renewal was seen; `None` if the clocks
/// may agree.
fn differs(renewed: Timestamp, seen: Timestamp) -> Option<SignedDuration> {
    let ahead = renewed.duration_since(seen);
    (ahead.abs() > CLOCK_TOLERANCE).then_some(ahead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_holders() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let seen = at("2026-01-01T00:01:00Z");
        let seconds = |renewed: &str| differs(at(renewed), seen).map(|by| by.as_secs());
        assert_eq!(seconds("2026-01-01T00:00:58Z"), None, "it was renewed two seconds ago");
        assert_eq!(seconds("2026-01-01T00:01:30Z"), Some(30));
        assert_eq!(seconds("2025-12-31T23:01:00Z"), Some(-3600));
    }
}
