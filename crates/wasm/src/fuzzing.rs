//! The reader of objects that guests are handed, for fuzzing: no part of the crate's interface.

use crate::protobuf::encode;

/// The protobuf of an object, a `Pod` or a `Node`, from its JSON text.
///
/// # Errors
/// The text is no such object.
///
/// # Panics
/// The kind is another one.
pub fn object(kind: &str, text: &str) -> Result<Vec<u8>, String> {
    encode(kind, text).map_err(|error| error.to_string())
}
