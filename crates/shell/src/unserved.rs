//! Scheduler names in pending pods that nobody serves: no live Lease names them, and no event has been written in their name.
//!
//! Such a pod waits for ever, and its owner is not informed: a scheduler looks only at the pods of its own names. `secondmate doctor`
//! checks once, and a scheduler that leads checks periodically (module [`report`]).

pub(crate) mod report;

use crate::call::{CallError, Caller};
use crate::dump::{AtMost, Kept, PAGE_OBJECTS, paged, percent_encoded, selector_value};
use crate::holders::Holder;
use jiff::Timestamp;
use secondmate_model::{Atom, Uid};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Younger pods may be about to be tried.
pub const TRIED_WITHIN: Duration = Duration::from_secs(60);

/// Maximum number of objects that are read.
#[derive(Clone, Copy, Debug)]
pub struct LookLimits {
    /// Pods that a scheduler is expected to try.
    pub pods: usize,
    /// Events per list.
    pub events: usize,
    /// Scheduler names whose events are listed name by name: for each, the API server reads all events. If there are more names, all events
    /// are listed once.
    pub names: usize,
    /// Nodes. Kubernetes is designed for 5,000.
    pub nodes: usize,
}

impl Default for LookLimits {
    fn default() -> Self {
        Self { pods: 20_000, events: 50_000, names: 10, nodes: 100_000 }
    }
}

/// A pod that waits for a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub scheduler_name: String,
    pub since: Timestamp,
    /// A scheduler has reported the result of an attempt.
    pub tried: bool,
}

impl Waiting {
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub fn reference(&self) -> crate::write::PodRef {
        crate::write::PodRef {
            namespace: Atom::new(&self.namespace),
            name: self.name.as_str().into(),
            uid: Uid::from(&*self.uid),
            resource_version: self.resource_version.as_str().into(),
        }
    }

    /// `None`: no scheduler is expected to try it, because it is gated or being deleted.
    fn read(object: Value) -> Option<Self> {
        let pod = Pod::deserialize(object).ok()?;
        let Pod { metadata, spec, status } = pod;
        if metadata.deletion_timestamp.is_some()
            || spec.scheduling_gates.is_some_and(|gates| !gates.is_empty())
        {
            return None;
        }
        Some(Self {
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            scheduler_name: spec.scheduler_name,
            since: metadata.creation_timestamp.parse().ok()?,
            tried: status.conditions.iter().flatten().any(|condition| condition.kind == "PodScheduled"),
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    creation_timestamp: String,
    deletion_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    scheduler_name: String,
    scheduling_gates: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Option<Vec<Condition>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
}

/// Waiting pods by scheduler name, oldest first for each name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WaitingPods {
    pub by_name: BTreeMap<String, Vec<Waiting>>,
    /// There may be more.
    pub cut: bool,
}

/// The pods that wait for schedulers other than these.
///
/// # Errors
/// They cannot be listed.
pub(crate) async fn waiting(
    caller: &Caller,
    but_for: &BTreeSet<String>,
    at_most: AtMost,
) -> Result<WaitingPods, CallError> {
    let other = |name: &String| format!(",spec.schedulerName!={}", selector_value(name));
    let others: String = but_for.iter().map(other).collect();
    let fields = percent_encoded(&format!("spec.nodeName=,status.phase=Pending{others}"));
    let base = format!("/api/v1/pods?limit={PAGE_OBJECTS}&fieldSelector={fields}");
    let mut by_name: BTreeMap<String, Vec<Waiting>> = BTreeMap::new();
    let list = paged(caller, &base, at_most, Waiting::read).await?;
    for pod in list.kept {
        by_name.entry(pod.scheduler_name.clone()).or_default().push(pod);
    }
    for pods in by_name.values_mut() {
        pods.sort_unstable_by(|a, b| (a.since, &a.namespace, &a.name).cmp(&(b.since, &b.namespace, &b.name)));
    }
    Ok(WaitingPods { by_name, cut: list.cut })
}

/// Whether any event has been written in this scheduler's name, within the time for which the API server keeps events.
///
/// # Errors
/// Events cannot be listed.
pub(crate) async fn has_written(caller: &Caller, scheduler_name: &str) -> Result<bool, CallError> {
    let base = format!("{}&limit=1", events_by(scheduler_name));
    Ok(!paged(caller, &base, AtMost::keep(1), |_| Some(())).await?.kept.is_empty())
}

/// In whose names events were written: for each event, the value of the field `source` (`ToSelectableFields` in
/// `pkg/registry/core/event/strategy.go`).
///
/// # Errors
/// They cannot be listed.
async fn sources(caller: &Caller, at_most: AtMost) -> Result<Kept<String>, CallError> {
    let source = |event: Value| {
        let named = [&event["source"]["component"], &event["reportingComponent"]];
        let named = named.into_iter().filter_map(Value::as_str).find(|name| !name.is_empty());
        Some(named.unwrap_or_default().to_owned())
    };
    paged(caller, &format!("/api/v1/events?limit={PAGE_OBJECTS}"), at_most, source).await
}

/// The UIDs of the objects of all events that were written in this scheduler's name.
///
/// # Errors
/// They cannot be listed.
pub(crate) async fn regarded_by(
    caller: &Caller,
    scheduler_name: &str,
    at_most: AtMost,
) -> Result<Kept<String>, CallError> {
    regarded(caller, &events_by(scheduler_name), at_most).await
}

/// Selects by `source`, which is not possible in events.k8s.io: there, an event written as by client-go before 1.28, or by many clients not
/// written in Go, has no source.
fn events_by(scheduler_name: &str) -> String {
    events(&format!("source={}", selector_value(scheduler_name)))
}

fn events(fields: &str) -> String {
    format!("/api/v1/events?fieldSelector={}", percent_encoded(fields))
}

async fn regarded(caller: &Caller, path: &str, at_most: AtMost) -> Result<Kept<String>, CallError> {
    let uid = |event: Value| Some(event["involvedObject"]["uid"].as_str().unwrap_or_default().to_owned());
    paged(caller, &format!("{path}&limit={PAGE_OBJECTS}"), at_most, uid).await
}

/// The pods of a name that have been waiting for at least this long.
pub(crate) fn older_than(pods: &[Waiting], age: Duration, now: Timestamp) -> &[Waiting] {
    let old = pods.partition_point(|pod| {
        Duration::try_from(now.duration_since(pod.since)).is_ok_and(|waited| waited >= age)
    });
    &pods[..old]
}

/// Scheduler names that no live Lease announces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unserved {
    /// No event has been written in their names either; each with its pods that have waited long enough.
    pub by_name: BTreeMap<String, Vec<Waiting>>,
    /// Events have been written in their names, so somebody serves them, or did so until lately; and they have pods that have waited long
    /// enough.
    pub have_written: BTreeSet<String>,
    /// Whether any event has been written is not known, because not all events were read.
    pub unknown: BTreeSet<String>,
}

/// The names that nobody serves, among those whose pods have waited long enough.
///
/// # Errors
/// Events cannot be listed.
pub(crate) async fn unserved(
    caller: &Caller,
    waiting: &BTreeMap<String, Vec<Waiting>>,
    live: &BTreeSet<&Holder>,
    (age, now): (Duration, Timestamp),
    limits: LookLimits,
) -> Result<Unserved, CallError> {
    let mut by_name: BTreeMap<String, Vec<Waiting>> = waiting
        .iter()
        .map(|(name, pods)| (name, older_than(pods, age, now)))
        .filter(|(name, old)| !old.is_empty() && !live.iter().any(|holder| holder.serves(name)))
        .map(|(name, old)| (name.clone(), old.to_vec()))
        .collect();
    let mut have_written = BTreeSet::new();
    if by_name.len() <= limits.names {
        let names: Vec<String> = by_name.keys().cloned().collect();
        for name in names {
            if has_written(caller, &name).await? {
                by_name.remove(&name);
                have_written.insert(name);
            }
        }
        return Ok(Unserved { by_name, have_written, unknown: BTreeSet::new() });
    }
    let sources = sources(caller, AtMost::keep(limits.events)).await?;
    for name in sources.kept {
        if by_name.remove(&name).is_some() {
            have_written.insert(name);
        }
    }
    if sources.cut {
        let unknown = by_name.into_keys().collect();
        return Ok(Unserved { by_name: BTreeMap::new(), have_written, unknown });
    }
    Ok(Unserved { by_name, have_written, unknown: BTreeSet::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(more: Value) -> Value {
        let mut pod = json!({
            "metadata": { "namespace": "shop", "name": "web", "uid": "u", "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "schedulerName": "mate" },
        });
        for (field, value) in more.as_object().expect("an object") {
            for (name, value) in value.as_object().expect("an object") {
                pod[field][name] = value.clone();
            }
        }
        pod
    }

    #[test]
    fn pods_that_no_scheduler_would_try_are_left_out() {
        let read = |more: Value| Waiting::read(pod(more)).map(|waiting| (waiting.full_name(), waiting.tried));
        assert_eq!(read(json!({})), Some(("shop/web".to_owned(), false)));
        let condition =
            json!({ "status": { "conditions": [{ "type": "PodScheduled", "status": "False" }] } });
        assert_eq!(read(condition), Some(("shop/web".to_owned(), true)));
        assert_eq!(read(json!({ "spec": { "schedulingGates": [{ "name": "quota" }] } })), None);
        assert_eq!(read(json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:01Z" } })), None);
    }

    #[test]
    fn only_pods_that_have_waited_long_enough_count() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let waiting =
            |since: &str| Waiting { since: at(since), ..Waiting::read(pod(json!({}))).expect("it waits") };
        let pods = [
            waiting("2026-01-01T00:00:00Z"),
            waiting("2026-01-01T00:01:00Z"),
            waiting("2026-01-01T00:01:30Z"),
        ];
        let old = |now: &str| older_than(&pods, TRIED_WITHIN, at(now)).len();
        assert_eq!(
            [old("2026-01-01T00:00:59Z"), old("2026-01-01T00:02:00Z"), old("2026-01-01T01:00:00Z")],
            [0, 2, 3]
        );
        assert_eq!(old("2025-12-31T00:00:00Z"), 0, "a clock that is behind");
    }
}
