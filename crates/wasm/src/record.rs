//! What guests answer, written down while they are asked; and answers from such a record, for whoever has not got the guests.
//!
//! A record is lines of JSON: its format, then a line for each plugin that is made of a guest (all that is to be known of it without
//! its file), and one for each call: what it was about, what came back, and what the guest did meanwhile. What a guest answers may
//! depend on all that it has been asked before, so questions that are alike are answered in the order in which they were asked: a
//! scheduler that gets the inputs of the recorded one comes to the same effects. It does not depend on the order of questions about
//! different pods, so single pods can be asked about as well.

use crate::exports::{Export, Exports};
use crate::fetch::sha256;
use crate::guest::Imports;
use crate::host::{About, Done};
use crate::instance::Reply;
use crate::pool::lock;
use secondmate_model::Atom;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, Write};
use std::sync::Mutex;

/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;
/// Longest record, in bytes.
const BYTES_MAX: u64 = 1 << 30;

/// A line of a record.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    SecondmateGuests(u32),
    Guest(Described),
    Call(Box<Called>),
}

/// A guest as one plugin of one profile, without its code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Described {
    pub profile: String,
    pub name: String,
    /// As the configuration has them.
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
    /// Namespace and name of the pod that is scheduled.
    pod: String,
    uid: String,
    /// UID of the pod that is added or removed.
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
            lists: (lists != [""; 3]).then(|| sha256(lists.join("\0").as_bytes())),
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

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What the guest did beside it.
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

/// Writes a record.
pub struct Recorder {
    inner: Mutex<Writing>,
}

struct Writing {
    to: Box<dyn Write + Send>,
    bytes_left: u64,
    /// Why the record is not whole: nothing is written any more.
    broken: Option<String>,
}

impl Recorder {
    /// A record that is written to this.
    #[must_use]
    pub fn new(to: Box<dyn Write + Send>) -> Self {
        Self::with_limit(to, BYTES_MAX)
    }

    pub(crate) fn with_limit(to: Box<dyn Write + Send>, bytes_max: u64) -> Self {
        let recorder = Self { inner: Mutex::new(Writing { to, bytes_left: bytes_max, broken: None }) };
        recorder.line(&Line::SecondmateGuests(FORMAT));
        recorder
    }

    /// Writes what is still to be written.
    ///
    /// # Errors
    /// The record could not be written, or would have become too long, so that it is not whole.
    pub fn end(&self) -> Result<(), String> {
        let mut inner = lock(&self.inner);
        if inner.broken.is_none()
            && let Err(error) = inner.to.flush()
        {
            inner.broken = Some(error.to_string());
        }
        inner.broken.clone().map_or(Ok(()), Err)
    }

    pub(crate) fn guest(&self, described: Described) {
        self.line(&Line::Guest(described));
    }

    pub(crate) fn call(&self, about: Question, answer: Answer) {
        self.line(&Line::Call(Box::new(Called { about, answer })));
    }

    fn line(&self, line: &Line) {
        let text = serde_json::to_string(line).expect("texts, numbers, and maps with texts as keys");
        let mut inner = lock(&self.inner);
        if inner.broken.is_some() {
            return;
        }
        let bytes = text.len() as u64 + 1;
        if bytes > inner.bytes_left {
            inner.broken = Some("it has become too long: record fewer pods at once".to_owned());
            return;
        }
        inner.bytes_left -= bytes;
        if let Err(error) = writeln!(inner.to, "{text}") {
            inner.broken = Some(error.to_string());
        }
    }
}

/// A record that was read.
#[derive(Debug)]
pub struct Record {
    guests: Vec<Described>,
    answers: Mutex<BTreeMap<Question, VecDeque<Answer>>>,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// It cannot be read, is none, or is too long, in words.
    pub fn read(from: impl BufRead) -> Result<Self, String> {
        let mut guests = Vec::new();
        let mut answers: BTreeMap<Question, VecDeque<Answer>> = BTreeMap::new();
        let mut first = true;
        for (at, line) in lines(from).enumerate() {
            let line = line.map_err(|error| format!("line {}: {error}", at + 1))?;
            let line: Line = serde_json::from_str(&line)
                .map_err(|error| format!("line {} is no line of a record of guests: {error}", at + 1))?;
            match line {
                Line::SecondmateGuests(FORMAT) if first => {}
                Line::SecondmateGuests(other) if first => {
                    return Err(format!(
                        "it has format {other}, and this program reads format {FORMAT}: use the secondmate that wrote it"
                    ));
                }
                _ if first => return Err("it does not begin as a record of guests does".to_owned()),
                Line::SecondmateGuests(_) => return Err(format!("line {} is out of place", at + 1)),
                Line::Guest(guest) => guests.push(guest),
                Line::Call(called) => answers.entry(called.about).or_default().push_back(called.answer),
            }
            first = false;
        }
        if first {
            return Err("it is empty".to_owned());
        }
        Ok(Self { guests, answers: Mutex::new(answers) })
    }

    /// The guest of this name and these arguments, in this profile where one is named.
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
            format!("{why}: give the configuration with which the guests were recorded")
        })
    }

    /// The next answer to a question.
    pub(crate) fn answer(&self, about: &Question) -> Answer {
        let next = lock(&self.answers).get_mut(about).and_then(VecDeque::pop_front);
        next.unwrap_or_else(|| Answer { outcome: Outcome::Failed(about.missing()), done: Vec::new() })
    }
}

/// Lines, none of which makes the whole longer than a record may be.
fn lines(from: impl BufRead) -> impl Iterator<Item = io::Result<String>> {
    let mut from = from.take(BYTES_MAX + 1);
    std::iter::from_fn(move || {
        let mut line = String::new();
        match from.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) if from.limit() == 0 => Some(Err(io::Error::other("the record is too long"))),
            Ok(_) => Some(Ok(line)),
            Err(error) => Some(Err(error)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Record, String> {
        Record::read(text.as_bytes())
    }

    #[test]
    fn what_is_no_record_is_told() {
        for (text, part) in [
            ("", "it is empty"),
            ("{}", "line 1 is no line of a record"),
            ("{\"secondmateGuests\":2}\n", "it has format 2"),
            (
                "{\"guest\":{\"profile\":\"p\",\"name\":\"g\",\"args\":{},\"exports\":[],\"imports\":{\"nodes\":false,\"feasible\":false,\"objects\":false},\"events\":[]}}\n",
                "does not begin",
            ),
            (
                "{\"secondmateGuests\":1}\n{\"guest\":{\"profile\":\"p\",\"name\":\"g\",\"args\":{},\"exports\":[\"dance\"],\"imports\":{\"nodes\":false,\"feasible\":false,\"objects\":false},\"events\":[]}}\n",
                "dance",
            ),
            ("{\"secondmateGuests\":1}\n{\"call\"", "line 2"),
        ] {
            let error = read(text).expect_err("no record");
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(read("{\"secondmateGuests\":1}\n").is_ok());
    }

    #[test]
    fn a_record_that_gets_too_long_says_at_its_end_that_it_is_not_whole() {
        let question = Question::new(&Atom::new("p"), &Atom::new("g"), Export::Filter, &About::default());
        let answer = Answer { outcome: Outcome::Failed("why".to_owned()), done: Vec::new() };
        let recorder = Recorder::with_limit(Box::new(io::sink()), 100);
        assert_eq!(recorder.end(), Ok(()));
        for _ in 0..10 {
            recorder.call(question.clone(), answer.clone());
        }
        assert!(recorder.end().expect_err("too long").contains("too long"));
    }

    #[test]
    fn what_cannot_be_written_is_told_at_the_end() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("no space left"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = Recorder::new(Box::new(Full)).end().expect_err("nothing can be written");
        assert!(error.contains("no space left"), "{error}");
    }
}
