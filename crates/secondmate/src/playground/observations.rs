//! What a watch on all pods showed: when each was created and bound, and what became of it.

use serde::Deserialize;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

/// A pod, as far as the playground measures it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SeenPod {
    pub metadata: SeenMetadata,
    pub spec: SeenSpec,
    pub status: SeenStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SeenMetadata {
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub deletion_timestamp: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SeenSpec {
    pub node_name: Box<str>,
    pub scheduler_name: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SeenStatus {
    pub phase: Box<str>,
    pub conditions: Vec<SeenCondition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SeenCondition {
    #[serde(rename = "type")]
    pub kind: Box<str>,
    pub status: Box<str>,
    pub reason: Box<str>,
}

/// The state of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The scheduler has not come to a lasting verdict on it.
    Waiting,
    /// `PodScheduled` is false, with a reason that holds until something changes.
    Rejected,
    /// Its scheduler is not running here.
    Foreign,
    Bound(Box<str>),
    /// Succeeded or Failed.
    Ended,
}

#[derive(Clone, Debug)]
struct Track {
    /// When the watch showed it unbound for the first time.
    created: Option<Instant>,
    stage: Stage,
    terminating: bool,
}

/// The number of pods in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// All that were ever seen.
    pub seen: u64,
    pub waiting: u64,
    pub rejected: u64,
    pub foreign: u64,
    pub bound: u64,
    pub ended: u64,
    /// Those of the above that are being deleted.
    pub terminating: u64,
    /// Seen once and deleted.
    pub gone: u64,
}

impl Counts {
    fn of(&mut self, stage: &Stage) -> &mut u64 {
        match stage {
            Stage::Waiting => &mut self.waiting,
            Stage::Rejected => &mut self.rejected,
            Stage::Foreign => &mut self.foreign,
            Stage::Bound(_) => &mut self.bound,
            Stage::Ended => &mut self.ended,
        }
    }

    fn enter(&mut self, track: &Track) {
        *self.of(&track.stage) += 1;
        self.terminating += u64::from(track.terminating);
    }

    fn leave(&mut self, track: &Track) {
        *self.of(&track.stage) -= 1;
        self.terminating -= u64::from(track.terminating);
    }
}

/// Everything that the watch showed. It takes some 150 bytes of memory per pod.
#[derive(Debug)]
pub(super) struct Observations {
    scheduler_names: BTreeSet<String>,
    pods: HashMap<Box<str>, Track>,
    counts: Counts,
    latencies: Vec<Duration>,
    first_created: Option<Instant>,
    last_bound: Option<Instant>,
    last_change: Instant,
}

impl Observations {
    /// Nothing has been seen yet. Pods with scheduler names other than these are foreign.
    pub fn new(scheduler_names: impl IntoIterator<Item = String>, now: Instant) -> Self {
        Self {
            scheduler_names: scheduler_names.into_iter().collect(),
            pods: HashMap::new(),
            counts: Counts::default(),
            latencies: Vec::new(),
            first_created: None,
            last_bound: None,
            last_change: now,
        }
    }

    /// The watch showed a pod as it is now.
    pub fn applied(&mut self, pod: &SeenPod, now: Instant) {
        let stage = self.stage(pod);
        let terminating = pod.metadata.deletion_timestamp.is_some();
        let known = self.pods.get_mut(&pod.metadata.uid);
        let bound = matches!(stage, Stage::Bound(_));
        let Some(track) = known else {
            let created = (!bound).then_some(now);
            let track = Track { created, stage, terminating };
            if created.is_some() {
                self.first_created.get_or_insert(now);
            }
            self.counts.seen += 1;
            self.counts.enter(&track);
            self.pods.insert(pod.metadata.uid.clone(), track);
            self.last_change = now;
            return;
        };
        if track.stage == stage && track.terminating == terminating {
            return;
        }
        self.counts.leave(track);
        if bound && let Some(created) = track.created.take() {
            self.latencies.push(now.duration_since(created));
            self.last_bound = Some(now);
        }
        (track.stage, track.terminating) = (stage, terminating);
        self.counts.enter(track);
        self.last_change = now;
    }

    /// The watch showed that a pod is gone.
    pub fn deleted(&mut self, uid: &str, now: Instant) {
        if let Some(track) = self.pods.remove(uid) {
            self.counts.leave(&track);
            self.counts.gone += 1;
            self.last_change = now;
        }
    }

    /// The watch had to restart, and this is everything that exists. A binding that happened in the meantime has no latency.
    pub fn relisted(&mut self, pods: &[SeenPod], now: Instant) {
        let there: HashSet<&str> = pods.iter().map(|pod| &*pod.metadata.uid).collect();
        let gone: Vec<Box<str>> = self.pods.keys().filter(|uid| !there.contains(&***uid)).cloned().collect();
        for uid in gone {
            self.deleted(&uid, now);
        }
        for pod in pods {
            if !pod.spec.node_name.is_empty()
                && let Some(track) = self.pods.get_mut(&pod.metadata.uid)
            {
                track.created = None;
            }
            self.applied(pod, now);
        }
    }

    fn stage(&self, pod: &SeenPod) -> Stage {
        if matches!(&*pod.status.phase, "Succeeded" | "Failed") {
            return Stage::Ended;
        }
        if !pod.spec.node_name.is_empty() {
            return Stage::Bound(pod.spec.node_name.clone());
        }
        if !self.scheduler_names.contains(&*pod.spec.scheduler_name) {
            return Stage::Foreign;
        }
        let verdict = pod.status.conditions.iter().find(|condition| &*condition.kind == "PodScheduled");
        match verdict {
            // SchedulerError holds only until the next attempt.
            Some(condition) if matches!(&*condition.reason, "Unschedulable" | "SchedulingGated") => {
                Stage::Rejected
            }
            _ => Stage::Waiting,
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Time since the last change.
    pub fn quiet(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_change)
    }

    /// From creation to bound, of all pods that the watch showed unbound first; sorted.
    pub fn latencies(&self) -> Vec<Duration> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted
    }

    /// From the first creation to the last binding.
    pub fn span(&self) -> Option<Duration> {
        Some(self.last_bound?.duration_since(self.first_created?))
    }

    /// Bound pods by node.
    pub fn per_node(&self) -> HashMap<&str, u64> {
        let mut pods = HashMap::new();
        for track in self.pods.values() {
            if let Stage::Bound(node) = &track.stage {
                *pods.entry(&**node).or_insert(0) += 1;
            }
        }
        pods
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Fixture {
        observations: Observations,
        zero: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let zero = Instant::now();
            Self { observations: Observations::new(["mine".to_owned()], zero), zero }
        }

        fn at(&self, ms: u64) -> Instant {
            self.zero + Duration::from_millis(ms)
        }

        fn pod(uid: &str, node: &str, reason: &str, scheduler: &str) -> SeenPod {
            serde_json::from_value(json!({
                "metadata": {"uid": uid, "name": uid},
                "spec": {"nodeName": node, "schedulerName": scheduler},
                "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": reason}]},
            }))
            .expect("a pod")
        }

        fn see(&mut self, ms: u64, uid: &str, node: &str, reason: &str) {
            let now = self.at(ms);
            self.observations.applied(&Self::pod(uid, node, reason, "mine"), now);
        }
    }

    #[test]
    fn latency_runs_from_the_first_sight_to_the_binding() {
        let mut f = Fixture::new();
        f.see(10, "a", "", "");
        f.see(12, "b", "", "");
        f.see(15, "b", "", "Unschedulable");
        assert_eq!(f.observations.counts(), Counts { seen: 2, waiting: 1, rejected: 1, ..Counts::default() });
        f.see(40, "a", "n1", "");
        f.see(41, "a", "n1", "");
        f.see(112, "b", "n1", "");
        let latencies: Vec<u128> = f.observations.latencies().iter().map(Duration::as_millis).collect();
        assert_eq!(latencies, [30, 100]);
        assert_eq!(f.observations.span(), Some(Duration::from_millis(102)));
        assert_eq!(f.observations.per_node(), HashMap::from([("n1", 2)]));
        assert_eq!(f.observations.quiet(f.at(120)), Duration::from_millis(8));
    }

    #[test]
    fn pods_of_other_schedulers_and_pods_that_came_bound_are_no_measurement() {
        let mut f = Fixture::new();
        let now = f.at(5);
        f.observations.applied(&Fixture::pod("theirs", "", "", "default-scheduler"), now);
        f.see(6, "bound", "n1", "");
        assert_eq!(f.observations.counts(), Counts { seen: 2, foreign: 1, bound: 1, ..Counts::default() });
        assert!(f.observations.latencies().is_empty());
        assert_eq!(f.observations.span(), None);
    }

    #[test]
    fn a_new_list_forgets_what_vanished_and_measures_nothing_that_it_missed() {
        let mut f = Fixture::new();
        f.see(1, "a", "", "");
        f.see(1, "b", "", "");
        f.see(1, "c", "", "");
        let now = f.at(9);
        f.observations
            .relisted(&[Fixture::pod("a", "n1", "", "mine"), Fixture::pod("b", "", "", "mine")], now);
        let expected = Counts { seen: 3, waiting: 1, bound: 1, gone: 1, ..Counts::default() };
        assert_eq!(f.observations.counts(), expected);
        assert!(f.observations.latencies().is_empty());
    }

    #[test]
    fn victims_count_as_terminating_until_they_are_gone() {
        let mut f = Fixture::new();
        f.see(1, "a", "n1", "");
        let mut pod = Fixture::pod("a", "n1", "", "mine");
        pod.metadata.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
        let now = f.at(2);
        f.observations.applied(&pod, now);
        assert_eq!(
            f.observations.counts(),
            Counts { seen: 1, bound: 1, terminating: 1, ..Counts::default() }
        );
        f.observations.deleted("a", now);
        assert_eq!(f.observations.counts(), Counts { seen: 1, gone: 1, ..Counts::default() });
    }
}
