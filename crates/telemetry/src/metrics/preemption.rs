//! Preemptions: how many there are, how long finding and carrying out one takes, and what it costs.
//!
//! Upstream's label `preemptor` says whether a pod or a pod group preempts; here it is always a pod.

use super::queues::POD;
use super::{Labelled, Named, StatusLabel, buckets};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Duration;

/// The metrics of preemptions.
#[derive(Clone, Debug)]
pub struct PreemptionMetrics {
    /// Attempts to make room by preemption.
    pub attempts: Counter,
    /// Victims of one preemption.
    pub victims: Histogram,
    budget_violations: Labelled<Counter, 1>,
    evaluation: Labelled<Histogram, 2>,
    execution: Labelled<Histogram, 2>,
    tasks: Labelled<Histogram, 1>,
    tasks_ended: Labelled<Counter, 1>,
}

impl PreemptionMetrics {
    /// Registers them among kube-scheduler's metrics.
    pub(super) fn register(registry: &mut Named<'_>) -> Self {
        let attempts = Counter::default();
        registry.register("preemption_attempts", "Number of preemption attempts", attempts.clone());
        let victims = buckets(1.0, 2.0, 7);
        registry.register("preemption_victims", "Number of victims of a preemption", victims.clone());
        let budget_violations = Labelled::counter(["preemptor"]);
        registry.register(
            "preemption_pdb_violations",
            "Number of preemption victims protected by a PodDisruptionBudget, by preemptor (here always a pod)",
            budget_violations.family(),
        );
        let of_each = || buckets(0.001, 2.0, 16);
        let evaluation = Labelled::histogram(["preemptor", "result"], of_each);
        registry.register(
            "preemption_evaluation_duration_seconds",
            "Latency in seconds of finding the victims of a preemption, or that there are none, by preemptor (here always a pod) and status",
            evaluation.family(),
        );
        let execution = Labelled::histogram(["preemptor", "result"], of_each);
        registry.register(
            "preemption_execution_duration_seconds",
            "Latency in seconds of evicting the victims of a preemption, by preemptor (here always a pod) and result: success, error",
            execution.family(),
        );
        let tasks = Labelled::histogram(["result"], || buckets(0.01, 2.0, 20));
        registry.register(
            "preemption_goroutines_duration_seconds",
            "Same as preemption_execution_duration_seconds, which replaces it in Kubernetes 1.37",
            tasks.family(),
        );
        let tasks_ended = Labelled::counter(["result"]);
        registry.register(
            "preemption_goroutines_execution",
            "Number of preemptions whose victims were all evicted (success) or not all evicted (error)",
            tasks_ended.family(),
        );
        Self { attempts, victims, budget_violations, evaluation, execution, tasks, tasks_ended }
    }

    /// Records how many victims of a preemption are protected by a budget.
    pub fn violates_budgets(&self, victims: usize) {
        if victims > 0 {
            self.budget_violations.get([POD]).inc_by(u64::try_from(victims).unwrap_or(u64::MAX));
        }
    }

    /// Records a search for victims.
    pub fn evaluated(&self, status: StatusLabel, took: Duration) {
        self.evaluation.get([POD, status.label()]).observe(took.as_secs_f64());
    }

    /// Records whether all victims of a preemption were evicted.
    pub fn carried_out(&self, succeeded: bool, took: Duration) {
        let (result, seconds) = (if succeeded { "success" } else { "error" }, took.as_secs_f64());
        self.execution.get([POD, result]).observe(seconds);
        self.tasks.get([result]).observe(seconds);
        self.tasks_ended.get([result]).inc();
    }
}
