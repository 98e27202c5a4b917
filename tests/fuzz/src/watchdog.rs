//! Inputs that take too long, or too much memory. Neither can be stopped from outside of the parser, so the process ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What an input may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest time for one input, on the clock: the machine may be busy with other things.
    pub time: Duration,
    /// Most memory that the process has resident.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(60), memory_bytes: 2 << 30 }
    }
}

/// Between two looks: at a gigabyte a second, memory is seen to grow before it is gone.
const PAUSE: Duration = Duration::from_millis(50);
/// Linux counts resident memory in pages, which are of this size on x86-64 and, but for rare kernels, on arm64.
const PAGE_BYTES: u64 = 4096;
/// No input is under way.
const IDLE: u64 = u64::MAX;

/// Watches over a campaign from a thread of its own.
#[derive(Debug)]
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    number: AtomicU64,
    stopped: AtomicBool,
}

impl Watchdog {
    /// Starts it. `exceeded` is told the number of the input and what it exceeds, once, and is not expected to return.
    pub fn start(limits: Limits, exceeded: impl FnOnce(u64, String) + Send + 'static) -> Self {
        let shared = Arc::new(Shared { number: AtomicU64::new(IDLE), stopped: AtomicBool::new(false) });
        let watched = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let (mut number, mut since) = (IDLE, Instant::now());
            while !watched.stopped.load(Ordering::Relaxed) {
                let now = watched.number.load(Ordering::Relaxed);
                if now != number {
                    (number, since) = (now, Instant::now());
                }
                let trouble = if number == IDLE {
                    None
                } else if since.elapsed() > limits.time {
                    Some(format!("it has taken more than {:?}", limits.time))
                } else {
                    resident_bytes()
                        .filter(|bytes| *bytes > limits.memory_bytes)
                        .map(|bytes| format!("the process has {} MiB resident", bytes >> 20))
                };
                if let Some(trouble) = trouble {
                    return exceeded(number, trouble);
                }
                std::thread::sleep(PAUSE);
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// An input begins.
    pub fn begin(&self, number: u64) {
        self.shared.number.store(number, Ordering::Relaxed);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of its own has been printed.
            let _ = thread.join();
        }
    }
}

/// `None` where the system does not say.
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn an_input_that_does_not_end_or_takes_all_memory_is_told_with_its_number() {
        let told = |limits| {
            let (sender, receiver) = mpsc::channel();
            let watchdog = Watchdog::start(limits, move |number, trouble| {
                sender.send((number, trouble)).expect("the test waits");
            });
            watchdog.begin(7);
            receiver.recv().expect("told")
        };
        let (number, trouble) = told(Limits { time: Duration::ZERO, ..Limits::default() });
        assert_eq!((number, trouble.as_str()), (7, "it has taken more than 0ns"));
        if resident_bytes().is_some() {
            let (number, trouble) = told(Limits { memory_bytes: 1 << 10, ..Limits::default() });
            assert!(number == 7 && trouble.contains("MiB resident"), "{trouble}");
        }
    }
}
