//! What is wrong with a file, and where.

use super::ItemLines;
use crate::objects::{Header, ObjectError, Place};
use secondmate_documents::{Mistake, SyntaxError};
use secondmate_model::{NodeError, PodError};
use serde_json::Value;
use std::fmt;

/// Maximum number of errors in a file that are reported at once.
const ERRORS_TOLD_MAX: usize = 20;

/// Something in a file that cannot be understood. It gives the location in the file, and the object's name if it has one.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each field is what the message shows")]
pub enum ReadError {
    /// The text is something else entirely, which was recognised.
    #[error("{0}")]
    Mistake(Mistake),
    /// The text is neither JSON nor YAML.
    #[error("{place}: {error}; write Kubernetes objects as `kubectl get -o yaml` or `-o json` does")]
    Syntax { place: Place, error: SyntaxError },
    /// A document is not an object.
    #[error("{place} is no Kubernetes object: {missing} is missing; begin it with apiVersion and kind")]
    NoObject { place: Place, missing: &'static str },
    /// An object has no name.
    #[error("{place}: a {kind} without metadata.name; give it one")]
    NoName { place: Place, kind: String },
    /// A field has the wrong type.
    #[error(
        "{place}: {title}: {cause}; correct the field (`kubectl apply --dry-run=server` shows what an API server says)"
    )]
    Decode { place: Place, title: String, cause: String },
    /// A quantity of a pod does not parse.
    #[error("{place}: {error}")]
    Pod { place: Place, error: PodError },
    /// A quantity of a node does not parse.
    #[error("{place}: {error}")]
    Node { place: Place, error: NodeError },
    /// An object occurs twice.
    #[error("{title} stands there twice, at {first} and at {place}; keep one")]
    Twice { title: String, first: Place, place: Place },
    /// Two pods have the same UID.
    #[error("{place}: {title} has the same metadata.uid as {other}; correct or remove it")]
    SameUid { place: Place, title: String, other: String },
}

/// Why a file is rejected: everything that is wrong with it, in file order.
#[derive(Debug, thiserror::Error)]
pub struct ReadErrors {
    /// The file.
    pub source_name: String,
    /// Never empty.
    pub errors: Vec<ReadError>,
}

impl fmt::Display for ReadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = self.errors.as_slice() {
            return write!(f, "{}: {one}", self.source_name);
        }
        write!(f, "{} has {} faults:", self.source_name, self.errors.len())?;
        self.errors.iter().take(ERRORS_TOLD_MAX).try_for_each(|error| write!(f, "\n  - {error}"))?;
        match self.errors.len().saturating_sub(ERRORS_TOLD_MAX) {
            0 => Ok(()),
            left => write!(f, "\n  - and {left} more"),
        }
    }
}

/// The title of an object whose kind and name cannot be read.
pub(super) const UNNAMED: &str = "object";

/// A field of the wrong type, with its own line if the text is available.
pub(super) fn decode_error(title: String, place: &Place, cause: &serde_json::Error) -> ReadError {
    let text = cause.to_string();
    let (text, line) = match (text.rfind(" at line "), cause.line()) {
        (Some(at), within) if within > 0 => (text[..at].to_owned(), place.line.map(|line| line + within - 1)),
        _ => (text, place.line),
    };
    ReadError::Decode { place: Place { line, ..place.clone() }, title, cause: text }
}

impl ObjectError {
    /// The error, at the object's location.
    pub(crate) fn at(self, header: &Header, place: &Place) -> ReadError {
        let here = place.clone();
        match self {
            Self::Decode(cause) => decode_error(header.title(), place, &cause),
            Self::Pod(error) => ReadError::Pod { place: here, error },
            Self::Node(error) => ReadError::Node { place: here, error },
            Self::NoName => ReadError::NoName { place: here, kind: header.kind.clone() },
        }
    }
}

impl ReadError {
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::Mistake(_) => None,
            Self::Syntax { place, .. }
            | Self::NoObject { place, .. }
            | Self::NoName { place, .. }
            | Self::Decode { place, .. }
            | Self::Pod { place, .. }
            | Self::Node { place, .. }
            | Self::Twice { place, .. }
            | Self::SameUid { place, .. } => Some(place),
        }
    }

    /// The error without a location, for an object that has none: kind, name and what is wrong.
    pub(super) fn of(&self, object: &Value) -> String {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|t| !t.is_empty());
        let namespace = text("/metadata/namespace").map(|n| format!("{n}/")).unwrap_or_default();
        let kind = text("/kind").unwrap_or(UNNAMED);
        let name = text("/metadata/name").unwrap_or("without a name");
        match self {
            Self::Pod { error, .. } => error.to_string(),
            Self::Node { error, .. } => error.to_string(),
            Self::Decode { cause, .. } => format!("{kind} {namespace}{name}: {cause}"),
            other => format!("{kind} {namespace}{name}: {other}"),
        }
    }

    pub(super) fn set_line_of_item(&mut self, document_line: usize, lines: &ItemLines) {
        let (Self::NoObject { place, .. }
        | Self::NoName { place, .. }
        | Self::Decode { place, .. }
        | Self::Pod { place, .. }
        | Self::Node { place, .. }) = self
        else {
            return;
        };
        let item = place.item.and_then(|item| lines.items.get(item - 1));
        if let Some(line) =
            item.and_then(|item| usize::try_from(item.referenced.line()).ok()).filter(|l| *l > 0)
        {
            place.line = Some(document_line + line - 1);
        }
    }
}
