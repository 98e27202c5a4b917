//! The answers of guests in a record (`secondmate_record`): one line for each plugin that is made from a guest (everything that has to be
//! known about it without its file), and one for each call: what it was about, what it returned, and what the guest did meanwhile.

use crate::exports::{Export, Exports};
use crate::guest::Imports;
use crate::host::{About, Done};
use crate::instance::Reply;
use secondmate_model::Atom;
use secondmate_record::{Answers, Recorder, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The kinds of lines for guests.
const GUEST: &str = "guest";
const CALL: &str = "call";

/// A guest as one plugin of one profile, without its code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Described {
    pub profile: String,
    pub name: String,
    /// As in the configuration.
    pub args: Value,
    pub exports: Exports,
    pub imports: Imports,
    /// Resource and action of each event that it registers.
    pub events: Vec<(u32, u32)>,
}

#[derive(Serialize, Deserialize)]
struct Called {
    #[serde(flatten)]
    about: Question,
    #[serde(flatten)]
    answer: Answer,
}

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Question {
    profile: String,
    guest: String,
    export: String,
    /// Namespace and name of the pod being scheduled.
    pod: String,
    uid: String,
    /// UID of the pod being added or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Digest of the lists that the guest may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lists: Option<String>,
}

impl Question {
    pub fn new(profile: &Atom, guest: &Atom, export: Export, of: &About<'_>) -> Self {
        let pod = of.pod;
        let lists = [of.feasible.map(|names| &**names), of.statuses, of.scores].map(|l| l.unwrap_or(""));
        Self {
            profile: profile.to_string(),
            guest: guest.to_string(),
            export: export.name().to_owned(),
            pod: pod.map(|pod| pod.full_name()).unwrap_or_default(),
            uid: pod.map(|pod| pod.uid.to_string()).unwrap_or_default(),
            target: of.target.map(|pod| pod.uid.to_string()),
            node: of.node.map(Atom::to_string),
            lists: (lists != [""; 3]).then(|| digest(lists)),
        }
    }

    fn missing(&self) -> String {
        let node = self.node.as_ref().map(|node| format!(" and node {node}")).unwrap_or_default();
        format!(
            "wasm: the record has no (further) answer of {} for pod {}{node}: it was made with another cluster or configuration, or ended earlier",
            self.export, self.pod
        )
    }
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What the guest did besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<Done>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    Returned(Reply),
    Failed(String),
}

/// Writes the line for a guest.
pub(crate) fn describe(recorder: &Recorder, guest: &Described) {
    recorder.line(GUEST, guest);
}

/// Writes the line for a call.
pub(crate) fn note(recorder: &Recorder, about: Question, answer: Answer) {
    recorder.line(CALL, &Called { about, answer });
}

/// The guests' lines in a record.
#[derive(Debug, Default)]
pub struct GuestAnswers {
    guests: Vec<Described>,
    answers: Answers<Question, Answer>,
}

impl GuestAnswers {
    /// Takes a line of a record; `false` if it is not about a guest.
    ///
    /// # Errors
    /// It is malformed.
    pub fn take(&mut self, kind: &str, content: &RawValue) -> Result<bool, serde_json::Error> {
        match kind {
            GUEST => self.guests.push(serde_json::from_str(content.get())?),
            CALL => {
                let Called { about, answer } = serde_json::from_str(content.get())?;
                self.answers.add(about, answer);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The guest with this name and these arguments, in this profile if one is given.
    pub(crate) fn guest(
        &self,
        name: &str,
        args: &Value,
        profile: Option<&Atom>,
    ) -> Result<&Described, String> {
        let of_name = || self.guests.iter().filter(|guest| guest.name == name);
        let same = |guest: &&Described| {
            guest.args == *args && profile.is_none_or(|profile| guest.profile == profile.as_str())
        };
        of_name().find(same).ok_or_else(|| {
            let why = match (of_name().next(), of_name().find(|guest| guest.args == *args)) {
                (None, _) => "it is not in the record",
                (_, None) => "the record was made with other arguments",
                _ => "the record was made with other profiles",
            };
            format!("{why}: give the configuration with which the answers were recorded")
        })
    }

    /// The next answer to a question.
    pub(crate) fn answer(&self, about: &Question) -> Answer {
        let none = || Answer { outcome: Outcome::Failed(about.missing()), done: Vec::new() };
        self.answers.next(about).unwrap_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_others_are_left_to_them_and_damaged_ones_refused() {
        let mut answers = GuestAnswers::default();
        let mut take = |kind: &str, text: &str| {
            let content = RawValue::from_string(text.to_owned()).expect("JSON");
            answers.take(kind, &content).map_err(|error| error.to_string())
        };
        let guest = |export: &str| {
            format!(
                r#"{{"profile":"p","name":"g","args":{{}},"exports":[{export:?}],"imports":{{"nodes":false,"feasible":false,"objects":false}},"events":[]}}"#
            )
        };
        assert_eq!(take("extender", "{}"), Ok(false));
        assert_eq!(take("guest", &guest("filter")), Ok(true));
        assert!(take("guest", &guest("dance")).expect_err("no such export").contains("dance"));
        assert!(take("call", "{}").is_err());
    }
}
