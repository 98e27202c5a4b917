//! The answers of extenders. Upstream's types (`k8s.io/kube-scheduler/extender/v1`) have no JSON tags, so Go matches field names regardless
//! of case and treats `null` like an absent field; so does this module. Errors are worded as in Go.

use super::error::AskError;
use super::go_json::{JsonError, first_value};
use secondmate_framework::{ExtenderVerdict, ExtenderVictims, PassedNodes};
use secondmate_model::objects::Source;
use secondmate_model::{Node, NodeError};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Why an answer cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// It is not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It turns out not to be JSON after all, for example because a string contains half a surrogate pair.
    #[error(transparent)]
    Value(#[from] serde_json::Error),
    /// A value has the wrong type.
    #[error("json: cannot unmarshal {kind} into {into}")]
    Type { kind: Cow<'static, str>, into: String },
    /// Upstream's scheduler crashes on this.
    #[error("the extender answered null for the victims on node {0:?}")]
    NullVictims(String),
    /// A node does not have the form of a node.
    #[error("a node that the extender sent back cannot be understood: {0}")]
    Node(#[source] serde_json::Error),
    /// A node's values make no sense.
    #[error(transparent)]
    NodeMeaning(#[from] NodeError),
}

pub(crate) type Read<T> = Result<T, AnswerError>;

/// The answer to filter: `ExtenderFilterResult`. With an extender that caches nodes itself, nodes are given by name.
pub(crate) fn filtered(answer: &[u8], by_name: bool) -> Result<ExtenderVerdict, AskError> {
    let fields = Fields::read(raw(&text_of(answer)?)?, "ExtenderFilterResult")?;
    let error = fields.get("Error").map_or(Ok(String::new()), text)?;
    let names = fields.get("NodeNames").map_or(Ok(None), texts)?;
    let nodes = fields.get("Nodes").map_or(Ok(None), nodes)?;
    let failed = fields.get("FailedNodes").map_or(Ok(BTreeMap::new()), text_map)?;
    let unresolvable = fields.get("FailedAndUnresolvableNodes").map_or(Ok(BTreeMap::new()), text_map)?;
    if !error.is_empty() {
        return Err(AskError::Said(error));
    }
    let passed = match (names.filter(|_| by_name), nodes) {
        (Some(names), _) => PassedNodes::Names(names),
        (None, Some(nodes)) => PassedNodes::Nodes(nodes),
        (None, None) => PassedNodes::default(),
    };
    Ok(ExtenderVerdict { passed, failed, unresolvable })
}

/// The answer to prioritize: `HostPriorityList`.
pub(crate) fn priorities(answer: &[u8]) -> Read<Vec<(String, i64)>> {
    let entry = |entry: &RawValue| {
        let fields = Fields::read(entry, "HostPriority")?;
        let host = fields.get("Host").map_or(Ok(String::new()), text)?;
        Ok((host, fields.get("Score").map_or(Ok(0), int64)?))
    };
    let of_type = || "Go value of type v1.HostPriorityList".to_owned();
    list(raw(&text_of(answer)?)?, of_type)?.unwrap_or_default().iter().map(|raw| entry(raw)).collect()
}

/// The answer to preempt: `ExtenderPreemptionResult`.
pub(crate) fn preempted(answer: &[u8]) -> Read<BTreeMap<String, ExtenderVictims>> {
    let fields = Fields::read(raw(&text_of(answer)?)?, "ExtenderPreemptionResult")?;
    let Some(field) = fields.get("NodeNameToMetaVictims") else { return Ok(BTreeMap::new()) };
    let uid = |pod: &RawValue| {
        let fields = Fields::read(pod, "MetaPod")?;
        fields.get("UID").map_or(Ok(String::new()), text)
    };
    let victims = |(node, raw): &(String, Box<RawValue>)| {
        if kind(raw) == "null" {
            return Err(AnswerError::NullVictims(node.clone()));
        }
        let fields = Fields::read(raw, "MetaVictims")?;
        let pods = fields
            .get("Pods")
            .map_or(Ok(None), |field| list(field.raw, || field.of_type("[]*v1.MetaPod")))?;
        let victims = ExtenderVictims {
            uids: pods.unwrap_or_default().iter().map(|pod| uid(pod)).collect::<Read<_>>()?,
            budget_violations: fields.get("NumPDBViolations").map_or(Ok(0), int64)?,
        };
        Ok((node.clone(), victims))
    };
    members(field.raw, || field.of_type("map[string]*v1.MetaVictims"))?.iter().map(victims).collect()
}

/// The answer to bind: `ExtenderBindingResult`.
pub(crate) fn bound(answer: &[u8]) -> Result<(), AskError> {
    let fields = Fields::read(raw(&text_of(answer)?)?, "ExtenderBindingResult")?;
    let error = fields.get("Error").map_or(Ok(String::new()), text)?;
    if error.is_empty() { Ok(()) } else { Err(AskError::Said(error)) }
}

/// The text of an answer's first value. As in Go, bytes that are not valid UTF-8 do not make it unreadable.
fn text_of(answer: &[u8]) -> Read<Cow<'_, str>> {
    Ok(first_value(answer).map(String::from_utf8_lossy)?)
}

fn raw(text: &str) -> Read<&RawValue> {
    Ok(serde_json::from_str(text)?)
}

/// The members of an object, in order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// An object of one of upstream's types.
struct Fields {
    of: &'static str,
    members: Vec<(String, Box<RawValue>)>,
}

/// A field of such an object.
struct Field<'a> {
    of: &'static str,
    name: &'static str,
    raw: &'a RawValue,
}

impl Fields {
    fn read(raw: &RawValue, of: &'static str) -> Read<Self> {
        let members = members(raw, || format!("Go value of type v1.{of}"))?;
        Ok(Self { of, members })
    }

    /// The last field of this name, regardless of case.
    fn get(&self, name: &'static str) -> Option<Field<'_>> {
        let (_, raw) = self.members.iter().rev().find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        Some(Field { of: self.of, name, raw })
    }
}

impl Field<'_> {
    fn of_type(&self, of_type: &str) -> String {
        format!("Go struct field {}.{} of type {of_type}", self.of, self.name)
    }
}

/// The kind of a value, as Go calls it.
fn kind(raw: &RawValue) -> &'static str {
    match raw.get().bytes().next() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        Some(b'n') => "null",
        _ => "number",
    }
}

fn wrong(kind: impl Into<Cow<'static, str>>, into: String) -> AnswerError {
    AnswerError::Type { kind: kind.into(), into }
}

/// The members of an object; none if it is `null`.
fn members(raw: &RawValue, into: impl FnOnce() -> String) -> Read<Vec<(String, Box<RawValue>)>> {
    match kind(raw) {
        "null" => Ok(Vec::new()),
        "object" => Ok(serde_json::from_str::<Members>(raw.get())?.0),
        other => Err(wrong(other, into())),
    }
}

/// The elements of a list; `None` if it is `null`.
fn list(raw: &RawValue, into: impl FnOnce() -> String) -> Read<Option<Vec<Box<RawValue>>>> {
    match kind(raw) {
        "null" => Ok(None),
        "array" => Ok(Some(serde_json::from_str(raw.get())?)),
        other => Err(wrong(other, into())),
    }
}

fn a_text(raw: &RawValue, field: &Field<'_>) -> Read<String> {
    match kind(raw) {
        "null" => Ok(String::new()),
        "string" => Ok(serde_json::from_str(raw.get())?),
        other => Err(wrong(other, field.of_type("string"))),
    }
}

fn text(field: Field<'_>) -> Read<String> {
    a_text(field.raw, &field)
}

fn texts(field: Field<'_>) -> Read<Option<Vec<String>>> {
    let elements = list(field.raw, || field.of_type("[]string"))?;
    elements.map(|elements| elements.iter().map(|raw| a_text(raw, &field)).collect()).transpose()
}

fn text_map(field: Field<'_>) -> Read<BTreeMap<String, String>> {
    let members = members(field.raw, || field.of_type("map[string]string"))?;
    members.into_iter().map(|(name, raw)| Ok((name, a_text(&raw, &field)?))).collect()
}

fn int64(field: Field<'_>) -> Read<i64> {
    match kind(field.raw) {
        "null" => Ok(0),
        "number" => field
            .raw
            .get()
            .parse()
            .map_err(|_| wrong(format!("number {}", field.raw.get()), field.of_type("int64"))),
        other => Err(wrong(other, field.of_type("int64"))),
    }
}

/// A `NodeList`, compiled.
fn nodes(field: Field<'_>) -> Read<Option<Vec<Arc<Node>>>> {
    if kind(field.raw) == "null" {
        return Ok(None);
    }
    let list_of_nodes = members(field.raw, || field.of_type("v1.NodeList"))?;
    let Some((_, items)) = list_of_nodes.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case("items"))
    else {
        return Ok(Some(Vec::new()));
    };
    let node = |raw: &RawValue| {
        let node = Node::new(&Source::Text(raw.get()).node().map_err(AnswerError::Node)?)?;
        // The next extender is sent what this one sent back.
        Ok(Arc::new(node.with_json(raw.get())))
    };
    let items = list(items, || field.of_type("[]v1.Node"))?.unwrap_or_default();
    items.iter().map(|item| node(item)).collect::<Read<_>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(answer: &str, by_name: bool) -> Result<ExtenderVerdict, AskError> {
        filtered(answer.as_bytes(), by_name)
    }

    fn names(verdict: Result<ExtenderVerdict, AskError>) -> Vec<String> {
        match verdict.expect("understood").passed {
            PassedNodes::Names(names) => names,
            PassedNodes::Nodes(nodes) => nodes.iter().map(|node| format!("{}!", node.name)).collect(),
        }
    }

    #[test]
    fn a_field_is_taken_however_its_name_is_written() {
        let answer = r#"{"nodenames":["a"],"failedNodes":{"b":"full"},"FAILEDANDUNRESOLVABLENODES":{"c":"no"},"error":""}"#;
        let verdict = verdict(answer, true).expect("understood");
        assert_eq!(verdict.passed, PassedNodes::Names(vec!["a".to_owned()]));
        assert_eq!((&*verdict.failed["b"], &*verdict.unresolvable["c"]), ("full", "no"));
        let scores = priorities(br#"[{"host":"a","score":7},{"Host":"b"}]"#).expect("understood");
        assert_eq!(scores, [("a".to_owned(), 7), ("b".to_owned(), 0)]);
    }

    #[test]
    fn nodes_come_back_whole_or_by_name() {
        let both = r#"{"NodeNames":["a"],"Nodes":{"metadata":{},"items":[{"metadata":{"name":"b"}}]}}"#;
        assert_eq!(names(verdict(both, true)), ["a"]);
        assert_eq!(names(verdict(both, false)), ["b!"]);
        let PassedNodes::Nodes(whole) = verdict(both, false).expect("understood").passed else { panic!() };
        assert_eq!(whole[0].json.as_deref(), Some(r#"{"metadata":{"name":"b"}}"#), "for the next extender");
        assert_eq!(
            names(verdict(r#"{"NodeNames":null,"nodes":{"Items":[{"metadata":{"name":"b"}}]}}"#, true)),
            ["b!"]
        );
        for nothing in
            [r#"{"NodeNames":["a"]}"#, "null", "{}", r#"{"Nodes":{"items":null}}"#, r#"{"Nodes":null}"#]
        {
            assert_eq!(names(verdict(nothing, false)), Vec::<String>::new(), "{nothing}");
        }
    }

    #[test]
    fn an_error_in_the_answer_is_its_text() {
        let answer = br#"{"NodeNames":["a"],"Error":"no devices"}"#;
        let said = |error: AskError| {
            assert!(!error.is_failure(), "{error:?}");
            error.to_string()
        };
        assert_eq!(said(filtered(answer, true).expect_err("an error")), "no devices");
        assert_eq!(said(bound(br#"{"Error":"in use"}"#).expect_err("an error")), "in use");
        assert!(bound(br#"{"Error":""}"#).is_ok() && bound(b"{}").is_ok());
        let error = bound(b"done").expect_err("no JSON");
        assert_eq!(error.to_string(), "invalid character 'd' looking for beginning of value");
        assert!(error.is_failure());
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let error = bound(b"{\"Error\":\"caf\xe9 full\"}").expect_err("an error");
        assert_eq!(error.to_string(), "caf\u{fffd} full");
    }

    #[test]
    fn what_is_of_another_type_is_told_in_the_words_of_go() {
        for (answer, expected) in [
            (
                r#"{"NodeNames":"x"}"#,
                "string into Go struct field ExtenderFilterResult.NodeNames of type []string",
            ),
            (
                r#"{"NodeNames":[1]}"#,
                "number into Go struct field ExtenderFilterResult.NodeNames of type string",
            ),
            (r#"{"Error":3}"#, "number into Go struct field ExtenderFilterResult.Error of type string"),
            ("[]", "array into Go value of type v1.ExtenderFilterResult"),
            (
                r#"{"FailedNodes":{"a":1}}"#,
                "number into Go struct field ExtenderFilterResult.FailedNodes of type string",
            ),
            (
                r#"{"FailedNodes":[]}"#,
                "array into Go struct field ExtenderFilterResult.FailedNodes of type map[string]string",
            ),
        ] {
            let error = verdict(answer, true).expect_err(answer);
            assert_eq!(error.to_string(), format!("json: cannot unmarshal {expected}"), "{answer}");
        }
        for (answer, expected) in [
            (r#"[{"Host":1}]"#, "number into Go struct field HostPriority.Host of type string"),
            (r#"[{"Score":1.5}]"#, "number 1.5 into Go struct field HostPriority.Score of type int64"),
            (r#"[{"Score":"a"}]"#, "string into Go struct field HostPriority.Score of type int64"),
            ("{}", "object into Go value of type v1.HostPriorityList"),
            ("[1]", "number into Go value of type v1.HostPriority"),
        ] {
            let error = priorities(answer.as_bytes()).expect_err(answer);
            assert_eq!(error.to_string(), format!("json: cannot unmarshal {expected}"), "{answer}");
        }
    }

    #[test]
    fn victims_are_told_by_node_and_uid() {
        let answer = br#"{"NodeNameToMetaVictims":{"n":{"Pods":[{"UID":"u"},{"uid":"v"}],"NumPDBViolations":2},"m":{"Pods":null}}}"#;
        let victims = preempted(answer).expect("understood");
        assert_eq!(
            (&*victims["n"].uids, victims["n"].budget_violations),
            (&["u".to_owned(), "v".to_owned()][..], 2)
        );
        assert_eq!(victims["m"], ExtenderVictims::default());
        assert!(preempted(b"{}").expect("understood").is_empty());
        assert!(preempted(br#"{"NodeNameToMetaVictims":{"n":null}}"#).is_err());
    }
}
