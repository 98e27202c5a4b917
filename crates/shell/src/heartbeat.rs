//! Whether the scheduling thread still turns: it sleeps a second at most, so silence means that it is stuck.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Longest silence of a thread that is alive. A turn takes milliseconds; a look at a huge cache a second or two.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The sign of life. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    start: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    pub fn new() -> Self {
        Self { start: Instant::now(), last_ms: Arc::default() }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The thread is alive.
    pub fn beat(&self) {
        self.last_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// # Errors
    /// The thread has been silent for too long.
    pub fn check(&self) -> Result<(), String> {
        let silence =
            Duration::from_millis(self.now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed)));
        if silence > SILENCE_MAX {
            return Err(format!("the scheduling thread has not turned for {silence:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_is_silent_for_too_long_is_stuck() {
        let heartbeat = Heartbeat::new();
        heartbeat.beat();
        tokio::time::advance(SILENCE_MAX).await;
        assert_eq!(heartbeat.check(), Ok(()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(heartbeat.check(), Err("the scheduling thread has not turned for 60.001s".to_owned()));
        heartbeat.beat();
        assert_eq!(heartbeat.check(), Ok(()));
    }
}
