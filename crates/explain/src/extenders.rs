//! What extenders were asked while a pod was evaluated, and what they answered, so that people see which of them had an
//! influence.

use secondmate_framework::{
    AwaitScores, CallExtender, Extender, ExtenderError, ExtenderVerdict, ExtenderVictims, Extenders,
    PassedNodes, PreemptionCandidate,
};
use secondmate_model::{Atom, NodeInfo, Pod, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A call to an extender about one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct AskedExtender {
    /// Its name, which is its URL.
    pub extender: Arc<str>,
    /// Whether its failures are ignorable.
    pub ignorable: bool,
    /// The result of the call.
    pub answer: ExtenderAnswer,
}

impl AskedExtender {
    /// The nodes that it rejected.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = &Atom> {
        let dropped = match &self.answer {
            ExtenderAnswer::Filtered { dropped, .. } => Some(dropped),
            _ => None,
        };
        dropped.into_iter().flatten()
    }

    /// Whether it failed, and with it the attempt.
    pub(crate) fn ended_the_attempt(&self) -> bool {
        !self.ignorable && matches!(&self.answer, ExtenderAnswer::Failed { verb: "filter", .. })
    }
}

/// The result of a call to an extender.
#[derive(Clone, Debug, PartialEq)]
pub enum ExtenderAnswer {
    /// It filtered the nodes.
    Filtered {
        /// How many nodes it was asked about.
        asked: usize,
        /// Those of them that it rejected.
        dropped: BTreeSet<Atom>,
    },
    /// It scored this many nodes.
    Scored(usize),
    /// It confirmed some of the candidates for preemption.
    Preempted {
        /// How many candidates it was asked about.
        asked: usize,
        /// How many it kept.
        left: usize,
    },
    /// There was no answer.
    Failed {
        /// The verb of the call.
        verb: &'static str,
        /// The reason.
        error: String,
    },
}

/// How often an extender was called, and how often the call failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtenderCalls {
    /// Number of calls.
    pub calls: usize,
    /// Number of calls without an answer.
    pub failures: usize,
    /// The error of the first of those.
    pub first_error: String,
}

/// Records what extenders were asked.
#[derive(Debug, Default)]
pub struct ExtenderNotes(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// By pod, until they are taken.
    of_pod: BTreeMap<Uid, Vec<AskedExtender>>,
    totals: BTreeMap<Arc<str>, ExtenderCalls>,
}

impl ExtenderNotes {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same extenders, whose calls are recorded from now on.
    #[must_use]
    pub fn note(self: &Arc<Self>, extenders: &Extenders) -> Extenders {
        extenders
            .called_by(|extender| Arc::new(Observed { extender: extender.clone(), notes: Arc::clone(self) }))
    }

    /// How often each extender was called, by name.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<Arc<str>, ExtenderCalls> {
        self.lock().totals.clone()
    }

    /// Takes the calls about a pod.
    pub(crate) fn take(&self, pod: &Pod) -> Vec<AskedExtender> {
        self.lock().of_pod.remove(&pod.uid).unwrap_or_default()
    }

    fn add(&self, pod: &Pod, asked: AskedExtender) {
        let mut noted = self.lock();
        let total = noted.totals.entry(Arc::clone(&asked.extender)).or_default();
        total.calls += 1;
        if let ExtenderAnswer::Failed { error, .. } = &asked.answer {
            if total.failures == 0 {
                total.first_error.clone_from(error);
            }
            total.failures += 1;
        }
        noted.of_pod.entry(pod.uid.clone()).or_default().push(asked);
    }
}

/// An extender whose calls are recorded.
struct Observed {
    extender: Extender,
    notes: Arc<ExtenderNotes>,
}

impl Observed {
    fn add<T>(
        &self,
        pod: &Pod,
        verb: &'static str,
        answer: &Result<T, ExtenderError>,
        tell: impl FnOnce(&T) -> ExtenderAnswer,
    ) {
        let answer = match answer {
            Ok(answer) => tell(answer),
            Err(error) => ExtenderAnswer::Failed { verb, error: error.to_string() },
        };
        let (extender, ignorable) = (Arc::clone(&self.extender.name), self.extender.ignorable);
        self.notes.add(pod, AskedExtender { extender, ignorable, answer });
    }
}

impl CallExtender for Observed {
    fn filter(&self, pod: &Arc<Pod>, nodes: &[Arc<NodeInfo>]) -> Result<ExtenderVerdict, ExtenderError> {
        let answer = self.extender.calls.filter(pod, nodes);
        self.add(pod, "filter", &answer, |verdict| {
            let mut dropped: BTreeSet<Atom> = nodes.iter().map(|node| node.name().clone()).collect();
            match &verdict.passed {
                PassedNodes::Names(names) => names.iter().for_each(|name| {
                    dropped.remove(&Atom::new(name));
                }),
                PassedNodes::Nodes(nodes) => nodes.iter().for_each(|node| {
                    dropped.remove(&node.name);
                }),
            }
            ExtenderAnswer::Filtered { asked: nodes.len(), dropped }
        });
        answer
    }

    fn prioritize<'a>(&'a self, pod: &'a Arc<Pod>, nodes: &'a [Arc<NodeInfo>]) -> AwaitScores<'a> {
        let answer = self.extender.calls.prioritize(pod, nodes);
        Box::new(move || {
            let answer = answer();
            self.add(pod, "prioritize", &answer, |scores| ExtenderAnswer::Scored(scores.len()));
            answer
        })
    }

    fn preempt(
        &self,
        pod: &Arc<Pod>,
        candidates: &[PreemptionCandidate],
    ) -> Result<BTreeMap<String, ExtenderVictims>, ExtenderError> {
        let answer = self.extender.calls.preempt(pod, candidates);
        self.add(pod, "preempt", &answer, |left| ExtenderAnswer::Preempted {
            asked: candidates.len(),
            left: left.len(),
        });
        answer
    }
}
