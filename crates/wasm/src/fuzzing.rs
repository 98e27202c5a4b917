//! The parser of the objects passed to guests, for fuzzing. Not part of the crate's interface.

use crate::protobuf::encode;

/// Encodes an object, a `Pod` or a `Node`, from its JSON text to protobuf.
///
/// # Errors
/// The text is not such an object.
///
/// # Panics
/// If the kind is a different one.
pub fn object(kind: &str, text: &str) -> Result<Vec<u8>, String> {
    encode(kind, text).map_err(|error| error.to_string())
}
