//! Objects, and their quantities, durations and selectors.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use secondmate_model::objects::{Object, ObjectKind, Source};
use secondmate_model::{Atom, LabelSelector, Labels, Node, NodeSelector, Pod, Quantity, duration, wire};
use secondmate_shell::fuzzing::{LineError, watch_line as read_line};
use serde::Deserialize;
use serde_json::Value;

use super::{ensure, ensure_told, text};

/// The same object as text and as a tree gives the same, whether it is understood or not.
fn both_ways<T: PartialEq + std::fmt::Debug>(
    input: &str,
    compile: impl Fn(&str) -> Result<T, String>,
    compile_tree: impl Fn(Value) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let compiled = compile(input);
    // A tree cannot hold every text: a name that stands twice, numbers of more digits than a float has.
    if let Ok(tree) = serde_json::from_str::<Value>(input) {
        let again = compile(&tree.to_string());
        let of_tree = compile_tree(tree);
        ensure(again.is_ok() == of_tree.is_ok(), "text and tree are refused alike", || {
            format!("{:?} {:?}", again.as_ref().err(), of_tree.as_ref().err())
        })?;
        if let (Ok(text), Ok(tree)) = (&again, &of_tree) {
            ensure(text == tree, "text and tree give the same", || format!("{text:?}\n{tree:?}"))?;
        }
    }
    match compiled {
        Ok(compiled) => {
            let again = compile(input)?;
            ensure(compiled == again, "read again it is the same", || format!("{compiled:?}\n{again:?}"))?;
            Ok(Some(compiled))
        }
        Err(message) => {
            ensure_told(&message)?;
            Ok(None)
        }
    }
}

pub(super) fn pod(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let compile = |pod: wire::Pod| match Pod::new(&pod) {
        Ok(compiled) => Ok(Ok(compiled)),
        Err(error) => Ok(Err(error.to_string())),
    };
    let read = both_ways(
        input,
        |text| Source::Text(text).pod().map_err(|e| e.to_string()).and_then(compile),
        |tree| Source::Tree(&tree).pod().map_err(|e| e.to_string()).and_then(compile),
    )?;
    match read {
        None => Ok(false),
        Some(Err(message)) => {
            let named: wire::MetadataOnly = Source::Text(input).decode().unwrap_or_default();
            ensure(message.contains(&*named.metadata.name), "an unfit pod is named", || message.clone())?;
            ensure_told(&message).map(|()| false)
        }
        Some(Ok(pod)) => {
            use_pod(&pod);
            Ok(true)
        }
    }
}

/// Everything of a pod that is asked in a cycle.
fn use_pod(pod: &Pod) {
    let node = Atom::new("a");
    let placed = pod.on_node(&node);
    std::hint::black_box((placed.full_name(), pod.has_pod_affinity(), pod.has_required_anti_affinity()));
    for volume in &pod.volumes {
        std::hint::black_box(pod.claim_name(volume));
    }
}

pub(super) fn node(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let compile = |node: wire::Node| match Node::new(&node) {
        Ok(compiled) => Ok(Ok(compiled)),
        Err(error) => Ok(Err(error.to_string())),
    };
    let read = both_ways(
        input,
        |text| Source::Text(text).node().map_err(|e| e.to_string()).and_then(compile),
        |tree| Source::Tree(&tree).node().map_err(|e| e.to_string()).and_then(compile),
    )?;
    match read {
        None => Ok(false),
        Some(Err(message)) => ensure_told(&message).map(|()| false),
        Some(Ok(node)) => {
            std::hint::black_box(node.zone_key());
            Ok(true)
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Header {
    api_version: String,
    kind: String,
}

pub(super) fn object(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let header: Header = serde_json::from_str(input).unwrap_or_default();
    // What names no kind is read as all: a watch of one gets what the API server sends.
    let named = ObjectKind::of(&header.api_version, &header.kind);
    let kinds = named.as_ref().map_or(ObjectKind::ALL, std::slice::from_ref);
    let mut taken = false;
    for kind in kinds {
        let compiled = |object: (Object, wire::ObjectMeta)| object.0;
        let read = both_ways(
            input,
            |text| kind.compile(text).map(compiled).map_err(|e| e.to_string()),
            |tree| kind.compile(&tree).map(compiled).map_err(|e| e.to_string()),
        )?;
        if let Some(object) = read {
            ensure(object.kind() == *kind, "an object keeps its kind", || format!("{kind:?} {object:?}"))?;
            std::hint::black_box(object.name());
            taken = true;
        }
    }
    Ok(taken)
}

pub(super) fn watch_line(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    match read_line(input) {
        Ok(fit) => Ok(fit.contains(&true)),
        Err(LineError::NoEvent(message)) => ensure_told(&message).map(|()| false),
        Err(LineError::Broken(rule)) => Err(format!("a line is read alike by all: {rule}")),
    }
}

/// Above this the two readers differ on purpose: one saturates, the other does as upstream where numbers leave 64 bits. What is negative
/// admission refuses, and rounds up; upstream rounds it away from zero.
const ALIKE_BELOW: i64 = 1 << 40;

pub(super) fn quantity(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let (first, second) = input.split_once('\n').unwrap_or((input, "1"));
    let (first, second) = (first.trim_end_matches('\r'), second.trim_end());
    let read = Quantity::parse(first);
    let admitted = secondmate_admission::Quantity::parse(first);
    ensure(admitted.is_some() == read.is_ok(), "scheduler and admission take the same texts", || {
        format!("{first:?}: {read:?} {admitted:?}")
    })?;
    if let (Ok(read), Some(admitted)) = (read, admitted)
        && !admitted.is_negative()
        && (0..ALIKE_BELOW).contains(&admitted.units())
    {
        ensure(read.value() == admitted.units(), "scheduler and admission read the same amount", || {
            format!("{first:?}: {} {}", read.value(), admitted.units())
        })?;
    }
    let a = match read {
        Ok(a) => a,
        Err(error) => return ensure_told(&error.to_string()).map(|()| false),
    };
    ensure(Quantity::parse(first) == Ok(a), "read again it is the same", || first.to_owned())?;
    let b = Quantity::parse(second).unwrap_or(Quantity::ZERO);
    ensure(a.cmp(&b) == b.cmp(&a).reverse(), "the order has two directions", || format!("{a:?} {b:?}"))?;
    ensure(a.max(b) >= a && a.max(b) >= b, "the greater is not less", || format!("{a:?} {b:?}"))?;
    if a == b {
        let hash = |quantity: Quantity| {
            let mut hasher = DefaultHasher::new();
            quantity.hash(&mut hasher);
            hasher.finish()
        };
        ensure(hash(a) == hash(b), "equal quantities have equal hashes", || format!("{a:?} {b:?}"))?;
    }
    for quantity in [a, b, a.saturating_add(b), a.saturating_sub(b)] {
        std::hint::black_box((quantity.value(), quantity.milli_value(), quantity.is_zero()));
    }
    Ok(true)
}

pub(super) fn duration(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let Some(nanoseconds) = duration::parse(input) else { return Ok(false) };
    let shown = duration::format_signed(nanoseconds);
    ensure(duration::parse(&shown) == Some(nanoseconds), "shown and read again it is the same", || {
        format!("{nanoseconds} {shown}")
    })?;
    Ok(true)
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Selectors {
    label_selector: Option<wire::LabelSelector>,
    node_selector: Option<wire::NodeSelector>,
    labels: wire::StringMap,
    name: String,
}

pub(super) fn selector(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let given: Selectors = match serde_json::from_str(input) {
        Ok(given) => given,
        Err(error) => return ensure_told(&error.to_string()).map(|()| false),
    };
    let (labels, name) = (Labels::new(&given.labels), Atom::new(&given.name));
    let mut taken = true;
    match LabelSelector::optional(given.label_selector.as_ref()) {
        Ok(selector) => {
            let matches = selector.matches(&labels);
            let each = selector.requirements().iter().all(|requirement| requirement.matches(&labels));
            ensure(matches == (each && !selector.is_nothing()), "all requirements have to match", || {
                format!("{selector:?}")
            })?;
            ensure(!selector.is_everything() || matches, "everything matches", || format!("{selector:?}"))?;
        }
        Err(error) => {
            ensure_told(&error.to_string())?;
            taken = false;
        }
    }
    if let Some(selector) = &given.node_selector {
        let selector = NodeSelector::new(selector);
        std::hint::black_box((selector.matches(&name, &labels), selector.matches_labels(&labels)));
        for (_, error) in selector.errors() {
            ensure_told(&error.to_string())?;
            taken = false;
        }
    }
    Ok(taken)
}
