//! Standard error, written by a dedicated thread.
//!
//! ```text
//! any thread ── push ──▶ waiting lines (bounded) ──▶ thread "log" ──▶ standard error
//!                 └ full: dropped and counted          └ fails: dropped and counted
//! ```
//!
//! Code that logs never waits and never fails: a reader that is stuck, slow or gone, or a full disk, costs log lines and nothing else.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

/// Maximum number of bytes waiting to be written: some 20,000 lines. The writer thread may hold as much again.
pub(super) const WAITING_BYTES_MAX: usize = 4 << 20;
/// A buffer that grew beyond this in a burst is freed.
const KEPT_BYTES_MAX: usize = 256 << 10;
/// How long the thread waits for more lines after one has arrived: waking it for each line costs more than writing the line.
const LINGER: Duration = Duration::from_millis(20);
/// It does not wait any longer once this much has arrived.
const LINGER_BYTES_MAX: usize = 32 << 10;
/// Pause before the next attempt if standard error was made non-blocking by another process that shares it.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(10);

/// Lost lines, by reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Dropped {
    /// Too many were waiting.
    pub full: Counter,
    /// They could not be written.
    pub error: Counter,
}

impl Dropped {
    fn total(&self) -> u64 {
        self.full.get() + self.error.get()
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Total number of lines accepted for writing.
    taken: u64,
    /// How many of those have been written, or lost to an error.
    settled: u64,
    /// How many callers are waiting until everything accepted has been settled.
    flushes: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    settled: Condvar,
    dropped: Dropped,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts lines. Clones share the queue; the thread behind it lives as long as the process.
#[derive(Clone, Debug)]
pub(super) struct Output {
    shared: Arc<Shared>,
}

impl Output {
    /// Standard error. It is written to through a second file descriptor, so that the lock of [`io::stderr`] is never held while a write is
    /// stuck.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn stderr(dropped: Dropped) -> io::Result<Self> {
        match io::stderr().as_fd().try_clone_to_owned() {
            Ok(descriptor) => Self::start(File::from(descriptor), dropped),
            Err(_) => Self::start(io::stderr(), dropped),
        }
    }

    /// Starts the thread that writes to `sink`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(sink: impl Write + Send + 'static, dropped: Dropped) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            settled: Condvar::new(),
            dropped,
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_for_ever(&of_thread, sink))?;
        Ok(Self { shared })
    }

    /// Accepts whole lines, or drops them if too much is waiting. Never waits for them to be written.
    pub fn push(&self, text: &[u8]) {
        let mut state = self.shared.lock();
        if state.waiting.len() + text.len() > WAITING_BYTES_MAX {
            drop(state);
            self.shared.dropped.full.inc_by(lines(text));
            return;
        }
        let before = state.waiting.len();
        state.waiting.extend_from_slice(text);
        state.taken += lines(text);
        let is_enough = (before..state.waiting.len()).contains(&LINGER_BYTES_MAX);
        drop(state);
        if before == 0 || is_enough {
            self.shared.filled.notify_one();
        }
    }

    /// Waits until everything accepted so far has been written or lost; returns whether that happened within the limit.
    pub fn flush(&self, limit: Duration) -> bool {
        let mut state = self.shared.lock();
        let until = state.taken;
        state.flushes += 1;
        self.shared.filled.notify_one();
        let (mut state, waited) = self
            .shared
            .settled
            .wait_timeout_while(state, limit, |state| state.settled < until)
            .unwrap_or_else(PoisonError::into_inner);
        state.flushes -= 1;
        !waited.timed_out()
    }
}

/// Lets a subscriber write to it.
impl Write for Output {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

fn write_for_ever(shared: &Shared, mut sink: impl Write) {
    let mut batch = Vec::new();
    let mut told = shared.dropped.total();
    loop {
        {
            let mut state = shared.lock();
            while state.waiting.is_empty() {
                state = shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let may_linger =
                |state: &mut State| state.flushes == 0 && state.waiting.len() <= LINGER_BYTES_MAX;
            let lingered = shared.filled.wait_timeout_while(state, LINGER, may_linger);
            state = lingered.unwrap_or_else(PoisonError::into_inner).0;
            std::mem::swap(&mut state.waiting, &mut batch);
        }
        let lost = lines(unwritten(&mut sink, &batch));
        shared.dropped.error.inc_by(lost);
        let mut state = shared.lock();
        state.settled += lines(&batch);
        let is_awaited = state.flushes > 0;
        drop(state);
        if is_awaited {
            shared.settled.notify_all();
        }
        batch.clear();
        batch.shrink_to(KEPT_BYTES_MAX);
        let dropped = shared.dropped.total();
        if lost == 0 && dropped > told {
            // Writing works again, so that the reader of the log learns of the gap.
            tracing::warn!(
                lines = dropped - told,
                "log lines were dropped: standard error was not read, or could not be written"
            );
            told = dropped;
        }
    }
}

/// Writes all of it, however long that takes; returns what could not be written.
fn unwritten<'a>(sink: &mut impl Write, mut text: &'a [u8]) -> &'a [u8] {
    while !text.is_empty() {
        match sink.write(text) {
            Ok(0) => break,
            Ok(written) => text = &text[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(WOULD_BLOCK_PAUSE),
            Err(_) => break,
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Generous: only a hang takes this long.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Answers each write as scripted, and passes on what was written.
    struct Scripted {
        answers: Receiver<io::Result<usize>>,
        written: SyncSender<Vec<u8>>,
    }

    impl Write for Scripted {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            // The test has ended.
            let Ok(answer) = self.answers.recv() else { return Ok(text.len()) };
            let count = answer?.min(text.len());
            let _ = self.written.send(text[..count].to_vec());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Script {
        output: Output,
        dropped: Dropped,
        answers: SyncSender<io::Result<usize>>,
        written: Receiver<Vec<u8>>,
    }

    impl Script {
        fn start() -> Self {
            let (answers, taken) = sync_channel(1000);
            let (sender, written) = sync_channel(1000);
            let dropped = Dropped::default();
            let sink = Scripted { answers: taken, written: sender };
            let output = Output::start(sink, dropped.clone()).expect("a thread");
            Self { output, dropped, answers, written }
        }

        fn answer(&self, answer: io::Result<usize>) {
            self.answers.send(answer).expect("the thread lives");
        }

        fn written(&self) -> String {
            String::from_utf8(self.written.recv_timeout(PATIENCE).expect("written")).expect("text")
        }
    }

    #[test]
    fn writes_go_on_after_interruptions_short_writes_and_errors() {
        let script = Script::start();
        script.output.push(b"one line\n");
        script.answer(Err(ErrorKind::Interrupted.into()));
        script.answer(Err(ErrorKind::WouldBlock.into()));
        script.answer(Ok(4));
        script.answer(Ok(100));
        assert_eq!((script.written(), script.written()), ("one ".to_owned(), "line\n".to_owned()));
        assert!(script.output.flush(PATIENCE));
        assert_eq!(script.dropped.total(), 0);
        script.answer(Err(ErrorKind::StorageFull.into()));
        script.output.push(b"lost\n");
        assert!(script.output.flush(PATIENCE), "an error settles what was taken");
        assert_eq!((script.dropped.full.get(), script.dropped.error.get()), (0, 1));
        script.answer(Ok(100));
        script.output.push(b"two\n");
        assert_eq!(script.written(), "two\n");
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_no_wait() {
        let script = Script::start();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        // The thread takes the first one, at the latest when the queue is full, and is stuck with it.
        let total = 3 * WAITING_BYTES_MAX / line.len();
        for _ in 0..total {
            script.output.push(&line);
        }
        assert!(!script.output.flush(Duration::from_millis(1)), "nothing is written yet");
        let dropped = usize::try_from(script.dropped.full.get()).expect("a small number");
        assert!((total / 3..total).contains(&dropped), "{dropped} of {total}");
        // The reader is back.
        for _ in 0..8 {
            script.answer(Ok(usize::MAX));
        }
        assert!(script.output.flush(PATIENCE));
        let written: usize = script.written.try_iter().map(|text| text.len() / line.len()).sum();
        assert_eq!(written + dropped, total);
        assert_eq!(script.dropped.error.get(), 0);
    }
}
