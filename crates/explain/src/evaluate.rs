//! One pod against the cluster: the scheduler's own evaluation, looking at every node and keeping all details.
//!
//! This module only converts the answer into the form that is shown. It decides nothing: a verdict, score or message that
//! differed from the scheduler's could only come from a different question.

use crate::answer::{Explanation, NodeAnswer, PostFilterAnswer, PreFilterRejection, ScoreAnswer, Verdict};
use crate::cluster::Cluster;
use crate::extenders::ExtenderNotes;
use crate::facts::Facts;
use secondmate_cycle::note::failure_note;
use secondmate_cycle::{
    Answer, Details, Evaluate, Outcome, Plain, Profile, Question, Random, Rejection, Scope,
};
use secondmate_framework::{Context, NodeIndex, Nomination, Status};
use secondmate_model::{Atom, NodeInfo, Pod, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Answers for pods of one cluster.
pub struct Explainer<'a> {
    cluster: &'a Cluster,
    profiles: &'a [Profile],
    notes: Option<&'a ExtenderNotes>,
    /// The time of all cycles.
    now: Timestamp,
}

impl<'a> Explainer<'a> {
    /// An explainer of a cluster that was loaded for these profiles, at the time at which its last pod has been started.
    #[must_use]
    pub fn new(cluster: &'a Cluster, profiles: &'a [Profile]) -> Self {
        let pods = cluster.snapshot.nodes().iter().flat_map(|node| node.pods());
        // A pod without a start time counts as started now: after all that have one.
        let now = pods.filter_map(|pod| pod.start_time).max().map(just_after).unwrap_or_default();
        Self { cluster, profiles, notes: None, now }
    }

    /// The same at this time, if it is not before the last pod was started.
    #[must_use]
    pub fn at(self, time: Timestamp) -> Self {
        Self { now: self.now.max(time), ..self }
    }

    /// Adds the calls to extenders, recorded in these notes, to the explanations.
    #[must_use]
    pub fn with_notes(self, notes: &'a ExtenderNotes) -> Self {
        Self { notes: Some(notes), ..self }
    }

    /// Whether extenders are asked, which is done for one pod after the other, as in the scheduler.
    pub(crate) fn asks_extenders(&self) -> bool {
        self.profiles.iter().any(|profile| !profile.extenders().is_empty())
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// The profile of a pod.
    ///
    /// # Panics
    /// If the pod is not one of the cluster's pending pods.
    pub(crate) fn profile(&self, pod: &Pod) -> &'a Profile {
        let profile = self.profiles.iter().find(|p| *p.name() == pod.scheduler_name);
        profile.expect("a pending pod of the cluster waits for one of its profiles")
    }

    /// What the scheduler would decide about a pending pod.
    #[must_use]
    pub fn explain(&self, pod: &Arc<Pod>) -> Explanation {
        self.answer(pod, false)
    }

    /// Like [`Self::explain`], with the facts behind the rejections.
    #[must_use]
    pub fn explain_to_people(&self, pod: &Arc<Pod>) -> Explanation {
        self.answer(pod, true)
    }

    fn answer(&self, pod: &Arc<Pod>, to_people: bool) -> Explanation {
        let profile = self.profile(pod);
        let mut answer = Explanation::new(pod.full_name(), profile.name().clone(), Verdict::Schedulable);
        if let Some(status) = profile.holds_back(pod) {
            answer.result = Verdict::Gated;
            answer.facts.held_back_by = Some(status);
            return answer;
        }
        let Answer { outcome, details, .. } = self.ask(profile, pod, Scope::Every);
        let asked = self.notes.map(|notes| notes.take(pod)).unwrap_or_default();
        let details = details.unwrap_or_default();
        let note = |message: &str| Some(failure_note(message, profile.handle().parity));
        match outcome {
            Outcome::Placed { .. } => {
                answer.nodes = self.verdicts(&details);
                answer.best = details.best().map(|node| node.name().clone()).collect();
                answer.best.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
            }
            Outcome::Rejected(rejection) => {
                answer.result = Verdict::Unschedulable;
                answer.message = note(&rejection.message);
                answer.post_filter = nomination(rejection);
                match &details.pre_filter {
                    Some(status) => answer.pre_filter = Some(pre_filter_rejection(status)),
                    None => answer.nodes = self.verdicts(&details),
                }
            }
            Outcome::Failed(failure) => {
                answer.result = Verdict::Error;
                answer.message = note(&failure.message);
            }
        }
        if to_people {
            answer.facts = Facts::of(profile, &self.context(), pod, &details, asked);
        }
        answer
    }

    fn context(&self) -> Context<'_> {
        Context { snapshot: &self.cluster.snapshot, now: self.now, nominations: &self.cluster.nominator }
    }

    fn ask(&self, profile: &Profile, pod: &Arc<Pod>, scope: Scope) -> Answer {
        let question = Question {
            profile,
            snapshot: &self.cluster.snapshot,
            nominations: &self.cluster.nominator,
            now: self.now,
            pod,
            scope,
        };
        // It does not matter which of the best nodes is taken: all of them are reported.
        Plain.evaluate(&question, &mut Random::new(0))
    }

    /// Each node's verdict, in the snapshot's order.
    fn verdicts(&self, details: &Details) -> Vec<(Atom, NodeAnswer)> {
        let feasible: HashMap<&Atom, usize> =
            details.feasible.iter().enumerate().map(|(nth, node)| (node.name(), nth)).collect();
        let verdict = |(at, node): (usize, &Arc<NodeInfo>)| {
            let answer = match feasible.get(node.name()) {
                Some(nth) => scores(details, *nth),
                None => rejected(details.statuses.get(index(at))),
            };
            (node.name().clone(), answer)
        };
        self.cluster.snapshot.nodes().iter().enumerate().map(verdict).collect()
    }
}

/// A second later: objects tell their times in seconds.
pub(crate) fn just_after(time: Timestamp) -> Timestamp {
    time + Duration::from_secs(1)
}

fn index(at: usize) -> NodeIndex {
    NodeIndex(u32::try_from(at).expect("fewer than 2^32 nodes"))
}

fn texts(status: &Status) -> Vec<String> {
    status.reasons().iter().map(|reason| reason.clone().into_owned()).collect()
}

fn pre_filter_rejection(status: &Status) -> PreFilterRejection {
    PreFilterRejection {
        plugin: status.plugin().cloned(),
        code: status.code().name(),
        reasons: texts(status),
    }
}

fn rejected(status: &Status) -> NodeAnswer {
    NodeAnswer::Rejected { code: status.code(), plugin: status.plugin().cloned(), reasons: texts(status) }
}

/// The scores of the `nth` feasible node; none if it is the only one, which is taken without scoring.
fn scores(details: &Details, nth: usize) -> NodeAnswer {
    let scores = details.scored.plugins.iter().map(|plugin| {
        let (raw, normalized) = (plugin.raw[nth], plugin.normalized[nth]);
        (plugin.plugin.clone(), ScoreAnswer { raw, normalized, weighted: normalized * plugin.weight })
    });
    let total = details.scored.totals.get(nth).copied().unwrap_or(0);
    NodeAnswer::Feasible { scores: scores.collect(), total }
}

fn nomination(rejection: Rejection) -> Option<PostFilterAnswer> {
    match rejection.post_filter.nomination {
        Some(Nomination::Node(nominated_node)) => {
            let victims = rejection.post_filter.victims.iter().map(|victim| victim.full_name()).collect();
            Some(PostFilterAnswer { nominated_node, victims })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Keep, read};

    #[test]
    fn the_time_is_the_given_one_and_never_before_a_pod_was_started() {
        let file = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}
            {"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","uid":"u"},"spec":{"nodeName":"n","containers":[]},
                "status":{"startTime":"2026-01-01T00:00:00Z"}}"#;
        let cluster = Cluster::load(read(file, "f", Keep::COMPILED).expect("objects").items, &[]);
        let time = |text| Timestamp::parse(text).expect("a time");
        let now = |explainer: Explainer<'_>| explainer.context().now;
        let explainer = || Explainer::new(&cluster, &[]);
        assert_eq!(now(explainer()), time("2026-01-01T00:00:01Z"));
        assert_eq!(now(explainer().at(time("2025-12-31T00:00:00Z"))), time("2026-01-01T00:00:01Z"));
        assert_eq!(now(explainer().at(time("2026-02-01T00:00:00Z"))), time("2026-02-01T00:00:00Z"));
        let empty = Cluster::load(Vec::new(), &[]);
        assert_eq!(now(Explainer::new(&empty, &[])), Timestamp::default());
    }
}
