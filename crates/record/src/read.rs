//! Reads an existing record.

use crate::{BYTES_MAX, FORMAT, HEAD};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead};
use std::sync::{Mutex, PoisonError};

/// Reads a record: each line is passed to `take` with its kind; `take` returns whether it knows lines of that kind.
///
/// # Errors
/// In words: if it cannot be read, is not a record, has unknown or malformed lines, or is too long.
pub fn read(
    from: impl BufRead,
    mut take: impl FnMut(&str, &RawValue) -> Result<bool, serde_json::Error>,
) -> Result<(), String> {
    let mut first = true;
    for (at, line) in lines(from).enumerate() {
        let at = at + 1;
        let wrong = |what: String| format!("line {at} is no line of a record of answers: {what}");
        let line = line.map_err(|error| format!("line {at}: {error}"))?;
        let line: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        let Some((kind, content)) = line.iter().next().filter(|_| line.len() == 1) else {
            return Err(wrong("it must have one field".to_owned()));
        };
        match (kind.as_str(), first) {
            (HEAD, true) => {
                let format: u32 =
                    serde_json::from_str(content.get()).map_err(|error| wrong(error.to_string()))?;
                if format != FORMAT {
                    return Err(format!(
                        "it has format {format}, and this program reads format {FORMAT}: use the secondmate that wrote it"
                    ));
                }
            }
            (_, true) => return Err("it does not begin as a record of answers does".to_owned()),
            (HEAD, false) => return Err(format!("line {at} is out of place")),
            (kind, false) => {
                if !take(kind, content).map_err(|error| wrong(error.to_string()))? {
                    return Err(wrong(format!("nothing is known of {kind:?}")));
                }
            }
        }
        first = false;
    }
    if first { Err("it is empty".to_owned()) } else { Ok(()) }
}

/// The lines, limited in total to the maximum length of a record.
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

/// The answers of a record by question, each list in the order in which the answers were given.
#[derive(Debug)]
pub struct Answers<Question, Answer>(Mutex<BTreeMap<Question, VecDeque<Answer>>>);

impl<Question, Answer> Default for Answers<Question, Answer> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Question: Ord, Answer> Answers<Question, Answer> {
    /// Adds an answer.
    pub fn add(&mut self, about: Question, answer: Answer) {
        let answers = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        answers.entry(about).or_default().push_back(answer);
    }

    /// The next answer to a question; `None` if there is none (left).
    pub fn next(&self, about: &Question) -> Option<Answer> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get_mut(about).and_then(VecDeque::pop_front)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_told() {
        for (text, part) in [
            ("", "it is empty"),
            ("{}", "line 1 is no line of a record of answers: it must have one field"),
            ("{\"secondmateAnswers\":2}\n", "it has format 2"),
            ("{\"secondmateAnswers\":\"1\"}\n", "line 1 is no line"),
            ("{\"known\":1}\n", "does not begin"),
            ("{\"secondmateAnswers\":1}\n{\"secondmateAnswers\":1}\n", "line 2 is out of place"),
            (
                "{\"secondmateAnswers\":1}\n{\"known\":true}\n",
                "line 2 is no line of a record of answers: invalid type",
            ),
            ("{\"secondmateAnswers\":1}\n{\"other\":1}\n", "nothing is known of \"other\""),
            ("{\"secondmateAnswers\":1}\n{\"known\":1,\"other\":1}\n", "one field"),
            ("{\"secondmateAnswers\":1}\n{\"known\"", "line 2"),
        ] {
            let error = numbers(text).expect_err("no record");
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(numbers("{\"secondmateAnswers\":1}\n{\"known\":7}\n{\"known\":8}"), Ok(vec![7, 8]));
    }

    fn numbers(text: &str) -> Result<Vec<u8>, String> {
        let mut numbers = Vec::new();
        read(text.as_bytes(), |kind, content| {
            if kind == "known" {
                numbers.push(serde_json::from_str(content.get())?);
            }
            Ok(kind == "known")
        })?;
        Ok(numbers)
    }

    #[test]
    fn questions_that_are_alike_are_answered_in_their_order() {
        let mut answers = Answers::default();
        for (question, answer) in [("a", 1), ("b", 2), ("a", 3)] {
            answers.add(question, answer);
        }
        let given = ["a", "b", "a", "a"].map(|question| answers.next(&question));
        assert_eq!(given, [Some(1), Some(2), Some(3), None]);
    }
}
