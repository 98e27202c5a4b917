//! Answers that programs outside the scheduler (WebAssembly guests and HTTP extenders) give during a cycle: recorded while they
//! are called, and replayed where they are not available.
//!
//! A record consists of lines of JSON: its format, then one line for each program (everything that has to be known about it in
//! its absence) and one for each call: what it was about, and its result. The programs may keep state, so equal questions are
//! answered in the order in which they were asked: a scheduler that gets the inputs of the recorded one arrives at the same
//! effects. The order of questions about different pods does not matter, so single pods can be asked about as well.
//!
//! State: while recording, only the writer; while replaying, the answers that have not been requested yet. Bounded by the maximum
//! length of a record. This crate defines the form of a record and the lines of extenders; guests read and write their own lines,
//! since only they know their contents. It must never know what is behind an extender, nor about files.

mod extender;
mod read;
mod write;

pub use extender::ExtenderAnswers;
pub use read::{Answers, read};
pub use write::Recorder;

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The format that is written, and the only one that can be read.
const FORMAT: u32 = 1;
/// The first line of a record contains the format under this name.
const HEAD: &str = "secondmateAnswers";
/// Maximum length of a record, in bytes.
const BYTES_MAX: u64 = 1 << 30;

/// A short text that represents these: long contents that can be obtained again need not be in the record.
#[must_use]
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    digest.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
