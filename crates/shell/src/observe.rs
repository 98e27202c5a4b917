//! Turns what the scheduling thread sees into metrics and log lines.

use crate::decisions::Decisions;
use secondmate_core::port::Observation;
use secondmate_core::{CycleReport, Scheduler, Sizes};
use secondmate_cycle::{StandingCounts, Why};
use secondmate_model::Atom;
use secondmate_telemetry::{
    AttemptResult, Counter, Gauge, HealthFlag, Metrics, ProfileMetrics, Queue, StatusLabel,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::{debug, info};

/// Counters by queue and event, with the count that each currently shows.
type Incoming = BTreeMap<(&'static str, &'static str), (Counter, u64)>;

/// Advances counters to what the core has counted.
fn take_over(
    shown: &mut Incoming,
    counted: &BTreeMap<(&'static str, &'static str), u64>,
    counter: impl Fn(Queue, &str) -> Counter,
) {
    for ((queue, event), count) in counted {
        let (counter, shown) = shown.entry((queue, event)).or_insert_with(|| {
            let queue = match *queue {
                "active" => Queue::Active,
                "backoff" => Queue::Backoff,
                _ => Queue::Unschedulable,
            };
            (counter(queue, event), 0)
        });
        counter.inc_by(count - *shown);
        *shown = *count;
    }
}

/// Handles to the metrics that the scheduling thread writes, looked up once.
pub(crate) struct Observer {
    metrics: Metrics,
    profiles: BTreeMap<Atom, ProfileMetrics>,
    handlers_synced: HealthFlag,
    /// How long the most recent attempt took; used when an attempt fails, since the failure is reported at its end.
    last_attempt: Duration,
    /// Counters of pods that entered a queue, with the count that each currently shows.
    incoming: Incoming,
    /// The same for entities.
    incoming_entities: Incoming,
    /// Gauges of unschedulable pods by plugin and profile.
    rejected: BTreeMap<(Atom, Atom), Gauge>,
    /// Gauges of events kept for pods in flight.
    in_flight: BTreeMap<&'static str, Gauge>,
    /// Counters of pods for which a plugin was called for each feasible node, with the count that each currently shows.
    asked: BTreeMap<Atom, (Counter, u64)>,
    /// Counters of pods that took the plain pass, with the count that each currently shows.
    plain: BTreeMap<Why, (Counter, u64)>,
}

impl Observer {
    pub fn new(metrics: Metrics, profiles: impl Iterator<Item = Atom>, handlers_synced: HealthFlag) -> Self {
        let profiles = profiles.map(|name| (name.clone(), metrics.profile(name.as_str()))).collect();
        Self {
            metrics,
            profiles,
            handlers_synced,
            last_attempt: Duration::ZERO,
            incoming: BTreeMap::new(),
            incoming_entities: BTreeMap::new(),
            rejected: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            asked: BTreeMap::new(),
            plain: BTreeMap::new(),
        }
    }

    /// All caches are synced.
    pub fn synced(&self) {
        info!("caches synced");
        self.handlers_synced.pass();
    }

    pub fn attempt(&mut self, report: &CycleReport, took: Duration) {
        self.metrics.scheduling_algorithm_duration.observe(took.as_secs_f64());
        self.last_attempt = took;
        match &report.node {
            Some(node) => debug!(pod = report.pod.full_name(), node = node.as_str(), "chose a node"),
            None => debug!(pod = report.pod.full_name(), result = report.result, "found no node"),
        }
    }

    /// Copies the numbers that the core keeps itself.
    pub fn numbers(&mut self, scheduler: &Scheduler, sizes: &Sizes) {
        let set = |gauge: &Gauge, value: usize| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let (pending, queue) = (&self.metrics.pending_pods, &sizes.queue);
        for gauges in [pending, &self.metrics.queued_entities] {
            gauges.set(queue.active, queue.backoff, queue.unschedulable, queue.gated);
        }
        let cache = &sizes.cache;
        self.metrics.cache_size.set(cache.nodes, cache.pods, cache.assumed_pods);
        let metrics = &self.metrics;
        take_over(&mut self.incoming, scheduler.queue().incoming(), |queue, event| {
            metrics.queue_incoming_pods(queue, event)
        });
        take_over(&mut self.incoming_entities, scheduler.queue().incoming_entities(), |queue, event| {
            metrics.queue_incoming_entities(queue, event)
        });
        for ((plugin, profile), count) in scheduler.queue().rejected_gauge() {
            let Some(metrics) = self.profiles.get(profile) else { continue };
            let key = (plugin.clone(), profile.clone());
            let gauge =
                self.rejected.entry(key).or_insert_with(|| metrics.unschedulable_pods(plugin.as_str()));
            gauge.set(*count);
        }
        for (event, count) in scheduler.queue().in_flight_by_label() {
            set(self.in_flight.entry(event).or_insert_with(|| self.metrics.inflight_events(event)), count);
        }
        let repeated = &self.metrics.attempts_repeated;
        repeated.inc_by(scheduler.attempts_repeated() - repeated.get());
        let not_kept = &self.metrics.rejections_not_kept;
        not_kept.inc_by(scheduler.queue().rejections_not_kept() - not_kept.get());
        for (profile, plugin, count) in scheduler.guest_failures() {
            let Some(metrics) = self.profiles.get(profile) else { continue };
            let counter = metrics.guest_failures(plugin.as_str());
            counter.inc_by(count - counter.get());
        }
        if let Some(counts) = scheduler.standing() {
            self.standing(counts);
        }
    }

    fn standing(&mut self, counts: &StandingCounts) {
        let metrics = &self.metrics.standing;
        metrics.classes.set(i64::try_from(counts.classes).unwrap_or(i64::MAX));
        metrics.bytes.set(i64::try_from(counts.bytes).unwrap_or(i64::MAX));
        for (counter, count) in [
            (&metrics.hits, counts.hits),
            (&metrics.first_sights, counts.first_sights),
            (&metrics.nodes_evaluated, counts.nodes_evaluated),
            (&metrics.groups_visited, counts.groups_visited),
            (&metrics.made, counts.made),
            (&metrics.rebuilt, counts.rebuilds),
            (&metrics.dropped, counts.dropped),
            (&metrics.trials_made, counts.trials.made),
            (&metrics.trials_known, counts.trials.known),
        ] {
            counter.inc_by(count - counter.get());
        }
        for (plugin, count) in &counts.asked {
            let make = || (metrics.asked(plugin.as_str()), 0);
            let (counter, shown) = self.asked.entry(plugin.clone()).or_insert_with(make);
            counter.inc_by(count - *shown);
            *shown = *count;
        }
        for (why, count) in &counts.plain {
            let make = || (metrics.plain(why.reason(), why.plugin().map_or("", |plugin| plugin.as_str())), 0);
            let (counter, shown) = self.plain.entry(why.clone()).or_insert_with(make);
            counter.inc_by(count - *shown);
            *shown = *count;
        }
    }

    pub fn observe(&self, observation: Observation) {
        let metrics = &self.metrics;
        match observation {
            Observation::Scheduled {
                pod,
                node,
                profile,
                attempts,
                since_first_attempt,
                since_popped,
                after_flush,
            } => {
                Decisions::bound(&pod, node.as_str(), attempts, since_first_attempt);
                if let Some(profile) = self.profiles.get(&profile) {
                    profile.observe_attempt(AttemptResult::Scheduled, since_popped);
                }
                if after_flush {
                    metrics.pod_scheduled_after_flush.inc();
                }
                metrics.pod_scheduling_attempts.observe(f64::from(attempts));
                metrics.observe_pod_scheduling_sli(attempts, since_first_attempt);
            }
            Observation::Unschedulable { profile } => {
                if let Some(profile) = self.profiles.get(&profile) {
                    profile.observe_attempt(AttemptResult::Unschedulable, self.last_attempt);
                }
            }
            Observation::Error { profile } => {
                if let Some(profile) = self.profiles.get(&profile) {
                    profile.observe_attempt(AttemptResult::Error, self.last_attempt);
                }
            }
            Observation::Preemption { victims, budget_violations } => {
                metrics.preemption.attempts.inc();
                if victims > 0 {
                    metrics.preemption.victims.observe(f64::from(u32::try_from(victims).unwrap_or(u32::MAX)));
                }
                metrics.preemption.violates_budgets(budget_violations);
            }
            Observation::PreemptionCarriedOut { took, succeeded } => {
                metrics.preemption.carried_out(succeeded, took);
            }
            Observation::PreemptionPutOff { reason } => {
                metrics.preemptions_put_off(reason).inc();
            }
            Observation::PermitWait { waited, result } => {
                let label =
                    if result == "allowed" { StatusLabel::Success } else { StatusLabel::Unschedulable };
                metrics.permit_wait_duration(label).observe(waited.as_secs_f64());
            }
            Observation::BindRefused { code } => {
                metrics.bind_conflicts(&format!("refused_{code}")).inc();
            }
            Observation::BindUnknown => {
                metrics.bind_conflicts("no_answer").inc();
            }
            Observation::NodeRead { result, averted } => {
                metrics.node_reads(result).inc();
                metrics.binds_averted.inc_by(u64::try_from(averted).unwrap_or(u64::MAX));
            }
            Observation::Yielded { waited, result } => {
                metrics.last_room_wait_duration(result).observe(waited.as_secs_f64());
            }
            Observation::RoomTaken { .. } => {
                metrics.bind_conflicts("room_taken").inc();
            }
            Observation::NodeChanged { .. } => {
                metrics.bind_conflicts("node_changed").inc();
            }
            Observation::BoundElsewhere => {
                metrics.bind_conflicts("bound_elsewhere").inc();
            }
        }
    }
}
