//! The time that the core is given: the wall clock at startup, advanced by the monotonic clock, so that it never goes backwards.

use secondmate_model::{Timestamp, duration};
use std::time::Duration;
use tokio::time::Instant;

/// Where the wall clock differs by more, it was set after the start, or this machine was suspended.
const DRIFT_MAX: Duration = Duration::from_secs(60);

/// A clock. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Timestamp,
    at: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { began: wall_clock(), at: Instant::now() }
    }

    pub fn now(&self) -> Timestamp {
        self.began + self.at.elapsed()
    }

    /// How long it is until then; zero if that time has passed.
    pub fn until(&self, time: Timestamp) -> Duration {
        time.since(self.now())
    }

    /// What there is to say where the wall clock tells another time.
    pub fn drift(&self) -> Option<String> {
        drift(self.now(), wall_clock())
    }
}

fn wall_clock() -> Timestamp {
    Timestamp { nanos: i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0) }
}

fn drift(clock: Timestamp, wall: Timestamp) -> Option<String> {
    let (by, side) =
        if wall < clock { (clock.since(wall), "behind") } else { (wall.since(clock), "ahead of") };
    (by > DRIFT_MAX).then(|| {
        let by = duration::format(Duration::from_secs(by.as_secs()));
        format!(
            "this machine's clock is {by} {side} the time that the scheduler goes by (that of its start, and what has passed since then), so that it takes pods and measurements for older or younger than they are; restart it"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_was_set_is_told() {
        let at = Timestamp::from_secs;
        assert_eq!(drift(at(1_000), at(1_060)), None);
        assert_eq!(drift(at(1_060), at(1_000)), None);
        let said = drift(at(1_000), at(1_061)).expect("a minute and a second");
        assert!(said.starts_with("this machine's clock is 1m1s ahead of the time that"), "{said}");
        let said = drift(at(10_800), at(0)).expect("three hours");
        assert!(said.starts_with("this machine's clock is 3h0m0s behind the time that"), "{said}");
        assert_eq!(Clock::start().drift(), None);
    }
}
