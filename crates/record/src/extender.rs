//! The answers of extenders.

use crate::{Answers, Recorder, digest};
use secondmate_framework::{
    AwaitScores, CallExtender, ExtenderError, ExtenderVerdict, ExtenderVictims, Extenders, PassedNodes,
    PreemptionCandidate,
};
use secondmate_model::objects::Source;
use secondmate_model::{Node, NodeInfo, Pod};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The kinds of lines that belong to extenders.
const EXTENDER: &str = "extender";
const ASKED: &str = "extenderAsked";

#[derive(Serialize, Deserialize)]
struct Described {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Asked {
    #[serde(flatten)]
    about: Question,
    answer: Answer,
}

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Question {
    extender: String,
    verb: Verb,
    /// Namespace and name of the pod being scheduled.
    pod: String,
    uid: String,
    /// Digest of the nodes, or of the victims by node.
    about: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Verb {
    Filter,
    Prioritize,
    Preempt,
}

impl Question {
    fn new(extender: &str, verb: Verb, pod: &Pod, about: String) -> Self {
        Self { extender: extender.to_owned(), verb, pod: pod.full_name(), uid: pod.uid.to_string(), about }
    }

    fn about_nodes(extender: &str, verb: Verb, pod: &Pod, nodes: &[Arc<NodeInfo>]) -> Self {
        Self::new(extender, verb, pod, digest(nodes.iter().map(|node| node.name().as_str())))
    }

    fn about_victims(extender: &str, pod: &Pod, candidates: &[PreemptionCandidate]) -> Self {
        let parts = candidates.iter().flat_map(|candidate| {
            let uids = candidate.victims.iter().map(|victim| victim.uid.as_str());
            // Node names do not begin like this, so lists of victims can be told apart.
            ["/", candidate.node.as_str()].into_iter().chain(uids)
        });
        Self::new(extender, Verb::Preempt, pod, digest(parts))
    }

    fn missing(&self) -> ExtenderError {
        let verb = match self.verb {
            Verb::Filter => "filter",
            Verb::Prioritize => "prioritize",
            Verb::Preempt => "preempt",
        };
        ExtenderError(format!(
            "the record has no (further) answer of extender {} to {verb} for pod {}: it was made with another cluster or configuration, or ended earlier",
            self.extender, self.pod
        ))
    }
}

/// The result of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    Filtered(Filtered),
    Scores(Vec<(String, i64)>),
    Victims(BTreeMap<String, Victims>),
    Failed(String),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Filtered {
    passed: Passed,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    failed: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unresolvable: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Passed {
    Names(Vec<String>),
    Nodes(Vec<WholeNode>),
}

impl Default for Passed {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

/// A node that was returned as a complete object, as an object in the record.
#[derive(Clone, Debug)]
struct WholeNode(Arc<Node>);

impl Serialize for WholeNode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = self.0.json.as_ref().and_then(|json| RawValue::from_string(json.to_string()).ok());
        match raw {
            Some(raw) => raw.serialize(serializer),
            None => serde_json::json!({ "metadata": { "name": self.0.name.as_str() } }).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for WholeNode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let wire = Source::Tree(&value).node().map_err(D::Error::custom)?;
        let node = Node::new(&wire).map_err(D::Error::custom)?;
        Ok(Self(Arc::new(node.with_json(&value.to_string()))))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Victims {
    uids: Vec<String>,
    #[serde(default)]
    violations: i64,
}

impl From<Result<ExtenderVerdict, ExtenderError>> for Answer {
    fn from(answer: Result<ExtenderVerdict, ExtenderError>) -> Self {
        match answer {
            Ok(ExtenderVerdict { passed, failed, unresolvable }) => {
                let passed = match passed {
                    PassedNodes::Names(names) => Passed::Names(names),
                    PassedNodes::Nodes(nodes) => Passed::Nodes(nodes.into_iter().map(WholeNode).collect()),
                };
                Self::Filtered(Filtered { passed, failed, unresolvable })
            }
            Err(ExtenderError(text)) => Self::Failed(text),
        }
    }
}

impl From<Filtered> for ExtenderVerdict {
    fn from(Filtered { passed, failed, unresolvable }: Filtered) -> Self {
        let passed = match passed {
            Passed::Names(names) => PassedNodes::Names(names),
            Passed::Nodes(nodes) => PassedNodes::Nodes(nodes.into_iter().map(|node| node.0).collect()),
        };
        Self { passed, failed, unresolvable }
    }
}

impl Recorder {
    /// The same extenders, all of whose answers are recorded.
    #[must_use]
    pub fn extenders(self: &Arc<Self>, extenders: &Extenders) -> Extenders {
        for extender in extenders.iter() {
            self.line(EXTENDER, &Described { name: extender.name.to_string() });
        }
        extenders.called_by(|extender| {
            Arc::new(Recorded {
                name: Arc::clone(&extender.name),
                calls: Arc::clone(&extender.calls),
                recorder: Arc::clone(self),
            })
        })
    }
}

/// An extender whose answers are recorded.
struct Recorded {
    name: Arc<str>,
    calls: Arc<dyn CallExtender>,
    recorder: Arc<Recorder>,
}

impl Recorded {
    fn note(&self, about: Question, answer: Answer) {
        self.recorder.line(ASKED, &Asked { about, answer });
    }
}

impl CallExtender for Recorded {
    fn filter(&self, pod: &Arc<Pod>, nodes: &[Arc<NodeInfo>]) -> Result<ExtenderVerdict, ExtenderError> {
        let answer = self.calls.filter(pod, nodes);
        let about = Question::about_nodes(&self.name, Verb::Filter, pod, nodes);
        self.note(about, answer.clone().into());
        answer
    }

    fn prioritize<'a>(&'a self, pod: &'a Arc<Pod>, nodes: &'a [Arc<NodeInfo>]) -> AwaitScores<'a> {
        let answer = self.calls.prioritize(pod, nodes);
        Box::new(move || {
            let answer = answer();
            let about = Question::about_nodes(&self.name, Verb::Prioritize, pod, nodes);
            let noted = match &answer {
                Ok(scores) => Answer::Scores(scores.clone()),
                Err(ExtenderError(text)) => Answer::Failed(text.clone()),
            };
            self.note(about, noted);
            answer
        })
    }

    fn preempt(
        &self,
        pod: &Arc<Pod>,
        candidates: &[PreemptionCandidate],
    ) -> Result<BTreeMap<String, ExtenderVictims>, ExtenderError> {
        let answer = self.calls.preempt(pod, candidates);
        let noted = match &answer {
            Ok(victims) => Answer::Victims(
                victims
                    .iter()
                    .map(|(node, ExtenderVictims { uids, budget_violations })| {
                        (node.clone(), Victims { uids: uids.clone(), violations: *budget_violations })
                    })
                    .collect(),
            ),
            Err(ExtenderError(text)) => Answer::Failed(text.clone()),
        };
        self.note(Question::about_victims(&self.name, pod, candidates), noted);
        answer
    }
}

/// What a record contains about extenders.
#[derive(Debug, Default)]
pub struct ExtenderAnswers {
    names: BTreeSet<String>,
    answers: Answers<Question, Answer>,
}

impl ExtenderAnswers {
    /// Takes a line of a record; returns `false` if it does not belong to an extender.
    ///
    /// # Errors
    /// If the line is malformed.
    pub fn take(&mut self, kind: &str, content: &RawValue) -> Result<bool, serde_json::Error> {
        match kind {
            EXTENDER => {
                let Described { name } = serde_json::from_str(content.get())?;
                self.names.insert(name);
            }
            ASKED => {
                let Asked { about, answer } = serde_json::from_str(content.get())?;
                self.answers.add(about, answer);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The extender with this name, as recorded: it gives the recorded answers, and nothing is called.
    ///
    /// # Errors
    /// If it is not in the record.
    pub fn replay(self: &Arc<Self>, name: &str) -> Result<Arc<dyn CallExtender>, String> {
        if !self.names.contains(name) {
            return Err(format!(
                "extender {name} is not in the record: give the configuration with which the answers were recorded"
            ));
        }
        Ok(Arc::new(Replayed { name: name.to_owned(), record: Arc::clone(self) }))
    }
}

/// An extender that gives recorded answers.
struct Replayed {
    name: String,
    record: Arc<ExtenderAnswers>,
}

impl Replayed {
    /// The next answer to a question, if it is of the kind that the question asks for.
    fn answer<T>(
        &self,
        about: &Question,
        of_kind: impl FnOnce(Answer) -> Option<T>,
    ) -> Result<T, ExtenderError> {
        match self.record.answers.next(about) {
            Some(Answer::Failed(text)) => Err(ExtenderError(text)),
            answer => answer.and_then(of_kind).ok_or_else(|| about.missing()),
        }
    }
}

impl CallExtender for Replayed {
    fn filter(&self, pod: &Arc<Pod>, nodes: &[Arc<NodeInfo>]) -> Result<ExtenderVerdict, ExtenderError> {
        let about = Question::about_nodes(&self.name, Verb::Filter, pod, nodes);
        self.answer(&about, |answer| match answer {
            Answer::Filtered(filtered) => Some(filtered.into()),
            _ => None,
        })
    }

    fn prioritize<'a>(&'a self, pod: &'a Arc<Pod>, nodes: &'a [Arc<NodeInfo>]) -> AwaitScores<'a> {
        let about = Question::about_nodes(&self.name, Verb::Prioritize, pod, nodes);
        Box::new(move || {
            self.answer(&about, |answer| match answer {
                Answer::Scores(scores) => Some(scores),
                _ => None,
            })
        })
    }

    fn preempt(
        &self,
        pod: &Arc<Pod>,
        candidates: &[PreemptionCandidate],
    ) -> Result<BTreeMap<String, ExtenderVictims>, ExtenderError> {
        let about = Question::about_victims(&self.name, pod, candidates);
        self.answer(&about, |answer| match answer {
            Answer::Victims(victims) => Some(
                victims
                    .into_iter()
                    .map(|(node, Victims { uids, violations })| {
                        (node, ExtenderVictims { uids, budget_violations: violations })
                    })
                    .collect(),
            ),
            _ => None,
        })
    }
}
