//! The endpoints below `/debug/` on the debug address.

use crate::compare::Comparer;
use crate::inbox::Inbox;
use crate::watch::UnfitObjects;
use secondmate_core::Scheduler;
use secondmate_cycle::{StandingCounts, Why};
use secondmate_model::{Atom, Timestamp};
use secondmate_telemetry::{Admin, DebugResponse};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of pods in one dump of the queue.
const DUMPED_MAX: usize = 10_000;
/// Minimum interval between two requested comparisons: each lists all nodes and pods of the cluster.
const COMPARE_PAUSE: Duration = Duration::from_secs(30);

pub(crate) fn mount(admin: &Admin, inbox: &Inbox, comparer: &Comparer, unfit: &Arc<UnfitObjects>) {
    let (of_queue, of_cache, unfit) = (inbox.clone(), inbox.clone(), Arc::clone(unfit));
    admin.mount("queue", "the pods that wait, and where and why", move |_| {
        let inbox = of_queue.clone();
        async move { shown(inbox.look(queue).await) }
    });
    admin.mount(
        "cache",
        "sizes of cache and queue, and the nodes that are over their allocatable",
        move |_| {
            let inbox = of_cache.clone();
            async move { shown(inbox.look(cache).await) }
        },
    );
    let comparer = comparer.clone();
    let help = "compares the cache with fresh lists of nodes and pods; lists the differences";
    admin.mount_costly("cache-compare", help, COMPARE_PAUSE, move |_| {
        let comparer = comparer.clone();
        async move {
            match comparer.compare().await {
                Ok(differences) => {
                    let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
                    DebugResponse::json(&json!({ "equal": list.is_empty(), "differences": list }))
                }
                Err(error) => DebugResponse::error(503, error.to_string()),
            }
        }
    });
    admin.mount("rejected", "objects that cannot be understood, and why", move |_| {
        let entry = |(kind, name, reason)| json!({ "kind": kind, "name": name, "reason": reason });
        let list: Vec<Value> = unfit.list().into_iter().map(entry).collect();
        async move { DebugResponse::json(&json!({ "rejected": list })) }
    });
}

fn shown(value: Option<Value>) -> DebugResponse {
    value.map_or_else(
        || DebugResponse::error(503, "the scheduler has stopped"),
        |value| DebugResponse::json(&value),
    )
}

fn queue(scheduler: &Scheduler, now: Timestamp) -> Value {
    let entries = scheduler.queue().entries_sorted();
    let names = |set: &std::collections::BTreeSet<secondmate_model::Atom>| -> Vec<String> {
        set.iter().map(ToString::to_string).collect()
    };
    let pods: Vec<Value> = entries
        .iter()
        .take(DUMPED_MAX)
        .map(|entry| {
            let pod = &entry.queued.pod;
            json!({
                "pod": pod.full_name(),
                "uid": pod.uid.as_str(),
                "schedulerName": pod.scheduler_name.as_str(),
                "priority": pod.priority,
                "place": format!("{:?}", entry.place),
                "attempts": entry.queued.attempts,
                "waitingSeconds": now.since(entry.added).as_secs_f64(),
                "rejectedBy": names(&entry.rejected_by),
                "pendingBy": names(&entry.pending_by),
                "gatedBy": entry.gated_by.as_ref().map(ToString::to_string),
                "nominatedNode": pod.nominated_node_name.as_ref().map(ToString::to_string),
            })
        })
        .collect();
    json!({ "count": entries.len(), "listed": pods.len(), "pods": pods })
}

fn standing(counts: &StandingCounts) -> Value {
    let plain = |(why, pods): (&Why, &u64)| json!({ "reason": why.reason(), "plugin": why.plugin().map(Atom::as_str), "pods": pods });
    json!({
        "classes": counts.classes,
        "bytes": counts.bytes,
        "hits": counts.hits,
        "firstSights": counts.first_sights,
        "made": counts.made,
        "rebuilt": counts.rebuilds,
        "dropped": counts.dropped,
        "nodesEvaluated": counts.nodes_evaluated,
        "groupsVisited": counts.groups_visited,
        "trialsMade": counts.trials.made,
        "trialsKnown": counts.trials.known,
        "asked": counts.asked.iter().map(|(plugin, pods)| (plugin.to_string(), *pods)).collect::<BTreeMap<_, _>>(),
        "plain": counts.plain.iter().map(plain).collect::<Vec<_>>(),
    })
}

fn cache(scheduler: &Scheduler, _: Timestamp) -> Value {
    let sizes = scheduler.sizes();
    let own = scheduler.objects().own_counts();
    let own: BTreeMap<String, usize> =
        own.into_iter().map(|(kind, count)| (format!("{kind:?}"), count)).collect();
    let over: Vec<Value> = scheduler
        .overcommitted()
        .into_iter()
        .map(|(node, ours)| {
            let ours: Vec<String> = ours.iter().map(ToString::to_string).collect();
            json!({ "node": node.as_str(), "ourPods": ours })
        })
        .collect();
    json!({
        "nodes": sizes.cache.nodes,
        "pods": sizes.cache.pods,
        "assumedPods": sizes.cache.assumed_pods,
        "bindings": sizes.bindings,
        "nominations": sizes.nominations,
        "podsOfOthersWaiting": sizes.others_waiting,
        "preemptions": sizes.preemptions,
        "inFlightEvents": sizes.in_flight_events,
        "inFlightEventsDropped": sizes.in_flight_events_dropped,
        "permitCommandsRefused": sizes.commands_refused,
        "ownKinds": own,
        "standing": scheduler.standing().map(standing),
        "queue": {
            "active": sizes.queue.active,
            "backoff": sizes.queue.backoff,
            "unschedulable": sizes.queue.unschedulable,
            "gated": sizes.queue.gated,
            "inFlight": sizes.queue.in_flight,
        },
        "overcommitted": over,
    })
}
