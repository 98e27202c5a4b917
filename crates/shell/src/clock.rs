//! The time that the core is told: the wall clock at the start, moved on by the monotonic clock, so that it never goes back.

use secondmate_model::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// A clock. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Timestamp,
    at: Instant,
}

impl Clock {
    pub fn start() -> Self {
        let nanos = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0);
        Self { began: Timestamp { nanos }, at: Instant::now() }
    }

    pub fn now(&self) -> Timestamp {
        self.began + self.at.elapsed()
    }

    /// How long it is until then; zero where it has passed.
    pub fn until(&self, time: Timestamp) -> Duration {
        time.since(self.now())
    }
}
