//! Writes a new record.

use crate::{BYTES_MAX, FORMAT, HEAD};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// Writes a record.
pub struct Recorder {
    inner: Mutex<Writing>,
}

struct Writing {
    to: Box<dyn Write + Send>,
    bytes_left: u64,
    /// Why the record is incomplete; nothing more is written then.
    broken: Option<String>,
}

impl Recorder {
    /// A recorder that writes to this.
    #[must_use]
    pub fn new(to: Box<dyn Write + Send>) -> Self {
        Self::with_limit(to, BYTES_MAX)
    }

    fn with_limit(to: Box<dyn Write + Send>, bytes_max: u64) -> Self {
        let recorder = Self { inner: Mutex::new(Writing { to, bytes_left: bytes_max, broken: None }) };
        recorder.line(HEAD, &FORMAT);
        recorder
    }

    /// Writes a line of this kind.
    ///
    /// # Panics
    /// If the content cannot be JSON: one of its maps has keys that are not strings.
    pub fn line(&self, kind: &str, content: &impl Serialize) {
        let text = serde_json::to_string(&BTreeMap::from([(kind, content)]));
        let text = text.expect("texts, numbers, and maps with texts as keys");
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Writes everything that has not been written yet.
    ///
    /// # Errors
    /// If the record is incomplete because it could not be written or would have become too long.
    pub fn end(&self) -> Result<(), String> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.broken.is_none()
            && let Err(error) = inner.to.flush()
        {
            inner.broken = Some(error.to_string());
        }
        inner.broken.clone().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_record_that_gets_too_long_says_at_its_end_that_it_is_not_whole() {
        let recorder = Recorder::with_limit(Box::new(io::sink()), 100);
        assert_eq!(recorder.end(), Ok(()));
        for _ in 0..10 {
            recorder.line("call", &"a question and its answer");
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
