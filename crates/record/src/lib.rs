//! What is answered in the middle of a cycle by programs that are not part of the scheduler, WebAssembly guests and HTTP extenders: written
//! down while they are asked, and given again by whoever has not got them.
//!
//! A record is lines of JSON: its format, then one line each for what answers (all that is to be known of it without it) and for each
//! call: what it was about, and what came of it. Whoever answers may remember, so questions that are alike are answered in the order in
//! which they were asked: a scheduler that gets the inputs of the recorded one comes to the same effects. It does not depend on the order
//! of questions about different pods, so single pods can be asked about as well.
//!
//! What it holds: while one is written nothing but the writer, then the answers that nobody has asked for yet. What bounds it: the length
//! of a record. Here stand the form of a record and the lines of extenders; guests read and write theirs themselves, since only they know
//! what they are. What it must never know: who stands behind an extender, and files.

mod extender;
mod read;
mod write;

pub use extender::ExtenderAnswers;
pub use read::{Answers, read};
pub use write::Recorder;

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;
/// The first line of a record holds the format under this name.
const HEAD: &str = "secondmateAnswers";
/// Longest record, in bytes.
const BYTES_MAX: u64 = 1 << 30;

/// A short text that stands for these: what is long and can be had again need not be in the record.
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
