//! A limit on requests per second, as set by `clientConnection.qps` and `burst`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A token bucket, shared by everything that writes. It keeps a single number: the time at which the bucket will be full again.
#[derive(Debug)]
pub(crate) struct RateLimit {
    interval: Duration,
    burst: Duration,
    full_at: Mutex<Instant>,
}

impl RateLimit {
    /// A full bucket; `None` if there is no limit.
    pub fn new(per_second: f64, burst: u32) -> Option<Self> {
        if per_second <= 0.0 || !per_second.is_finite() {
            return None;
        }
        let interval = Duration::try_from_secs_f64(1.0 / per_second).ok()?;
        Some(Self { interval, burst: interval * burst.max(1), full_at: Mutex::new(Instant::now()) })
    }

    /// Takes a token, waiting until there is one; returns how long that took. First come, first served.
    pub async fn wait(&self) -> Duration {
        let wait = self.take(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        wait
    }

    fn take(&self, now: Instant) -> Duration {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        *full_at = (*full_at).max(now) + self.interval;
        full_at.saturating_duration_since(now).saturating_sub(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_through_and_the_rest_at_the_rate() {
        let limit = RateLimit::new(10.0, 3).expect("a limit");
        let now = Instant::now();
        let waits: Vec<u128> = (0..5).map(|_| limit.take(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        // After being idle for longer than a second the bucket is full again, but not fuller.
        let later = now + Duration::from_secs(10);
        let waits: Vec<u128> = (0..4).map(|_| limit.take(later).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100]);
    }

    #[test]
    fn a_negative_rate_is_no_limit() {
        assert!(RateLimit::new(-1.0, 5).is_none());
    }
}
