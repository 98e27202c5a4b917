//! Reads the output of a process line by line, with a deadline.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The lines of a pipe, read on a separate thread: nobody waits for a silent process, and a process never blocks
/// because the pipe is full. After this is dropped, reading continues to the end of the pipe.
#[derive(Debug)]
pub struct Lines(Receiver<String>);

impl Lines {
    /// Starts reading.
    #[must_use]
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // The pipe of a killed child ends like any other.
            for line in BufReader::new(pipe).split(b'\n').map_while(std::io::Result::ok) {
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                let _ = sender.send(String::from_utf8_lossy(line).into_owned());
            }
        });
        Self(lines)
    }

    /// Reads up to the first line that matches; returns everything up to and including that line.
    ///
    /// # Errors
    ///
    /// When the pipe ends before that, or `deadline` has passed: names `what` was waited for, and what was read instead.
    pub fn until(&self, deadline: Duration, what: &str, mut is: impl FnMut(&str) -> bool) -> Result<String> {
        let end = Instant::now() + deadline;
        let mut said = String::new();
        loop {
            let line = match self.0.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => bail!("it ended before it said {what}:\n{said}"),
                Err(RecvTimeoutError::Timeout) => bail!("waited {deadline:?} for it to say {what}:\n{said}"),
            };
            said.push_str(&line);
            said.push('\n');
            if is(&line) {
                return Ok(said);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn neither_an_end_nor_silence_is_waited_for_in_vain() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let lines = Lines::of(reader);
        writer.write_all(b"one\ntwo\nthree\n").unwrap();
        let patience = Duration::from_secs(60);
        assert_eq!(lines.until(patience, "two", |line| line == "two").unwrap(), "one\ntwo\n");
        let silence = lines.until(Duration::from_millis(20), "four", |line| line == "four").unwrap_err();
        assert!(silence.to_string().starts_with("waited 20ms for it to say four:"), "{silence}");
        drop(writer);
        let end = lines.until(patience, "four", |line| line == "four").unwrap_err();
        assert!(end.to_string().starts_with("it ended before it said four:"), "{end}");
    }
}
