//! The time that the core is given: the wall clock at startup, advanced by the monotonic clock, so that it never goes backwards.

use secondmate_model::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// A clock. Copies agree with each other.
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

    /// How long it is until then; zero if that time has passed.
    pub fn until(&self, time: Timestamp) -> Duration {
        time.since(self.now())
    }
}
