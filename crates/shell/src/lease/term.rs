//! The right to write, and when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

const FOREVER: u64 = u64::MAX;

/// A period of leadership. All clones share one end, which the election extends with each renewal.
#[derive(Clone, Debug)]
pub struct Term {
    acquired: Instant,
    transitions: i32,
    /// The end of the term, in nanoseconds after `acquired`.
    end: Arc<AtomicU64>,
}

impl Term {
    /// A term that begins at `acquired` (a moment before the request was sent) and has no duration yet: see [`Self::extend`].
    pub(super) fn begin(acquired: Instant, transitions: i32) -> Self {
        Self { acquired, transitions, end: Arc::new(AtomicU64::new(0)) }
    }

    /// The term of a process that runs without an election: it never ends.
    pub fn unlimited() -> Self {
        Self { acquired: Instant::now(), transitions: 0, end: Arc::new(AtomicU64::new(FOREVER)) }
    }

    /// When the term began: a moment before the acquiring request was sent.
    pub fn acquired(&self) -> Instant {
        self.acquired
    }

    /// How often the Lease had changed hands before.
    pub fn transitions(&self) -> i32 {
        self.transitions
    }

    /// Whether this process may write now. Check before every write: it turns false on time even if nothing was able to report the end.
    pub fn is_valid(&self) -> bool {
        self.ends_at().is_none_or(|end| Instant::now() < end)
    }

    /// When it ends unless it is extended; `None`: never.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        match self.end.load(Ordering::Acquire) {
            FOREVER => None,
            end => Some(self.acquired + Duration::from_nanos(end)),
        }
    }

    pub(super) fn extend(&self, until: Instant) {
        let end = until.saturating_duration_since(self.acquired).as_nanos();
        self.end.store(u64::try_from(end).unwrap_or(FOREVER - 1), Ordering::Release);
    }

    pub(super) fn withdraw(&self) {
        self.end.store(0, Ordering::Release);
    }
}
