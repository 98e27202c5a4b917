//! Heartbeats: of the scheduling thread, of each watch, and of the writers. One that stays silent for too long is stuck, and `/livez` says
//! so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Maximum silence of the scheduling thread: it sleeps for a second at most. A turn takes milliseconds; looking at a huge cache takes a
/// second or two.
const THREAD_SILENCE_MAX: Duration = Duration::from_secs(60);
/// Maximum silence of a watch. Each of its requests is answered or given up within 90 s; between two requests it pauses for a minute at
/// most.
pub(crate) const WATCH_SILENCE_MAX: Duration = Duration::from_secs(180);
/// Longest time in which a writer takes nothing from a queue that is not empty, and finishes nothing that it has taken. An event is tried for
/// two and a half minutes at most.
const WRITER_SILENCE_MAX: Duration = Duration::from_secs(300);

/// A heartbeat. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    start: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    /// A heartbeat that has just beaten.
    pub fn new() -> Self {
        Self { start: Instant::now(), last_ms: Arc::default() }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Records a sign of life.
    pub fn beat(&self) {
        self.last_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed)))
    }

    /// Checks the scheduling thread.
    ///
    /// # Errors
    /// It has been silent for too long.
    pub fn check_thread(&self) -> Result<(), String> {
        let silence = self.silence();
        if silence > THREAD_SILENCE_MAX {
            return Err(format!("the scheduling thread has not turned for {silence:?}"));
        }
        Ok(())
    }

    /// Checks a writer with this many items in its queue.
    ///
    /// # Errors
    /// It has taken none of them for too long.
    pub fn check_writer(&self, name: &str, waiting: i64) -> Result<(), String> {
        let silence = self.silence();
        if waiting > 0 && silence > WRITER_SILENCE_MAX {
            return Err(format!(
                "the writer of {name} has taken nothing for {silence:?}, and {waiting} wait for it"
            ));
        }
        Ok(())
    }
}

/// The heartbeats of all watches, and of the API server: if the API server answers nobody, that is not the watch's fault.
#[derive(Clone, Debug)]
pub(crate) struct WatchHeartbeats {
    /// Beats whenever the API server answers anything, including requests for the Lease.
    pub api: Heartbeat,
    watches: Arc<Mutex<Vec<(String, Heartbeat)>>>,
}

impl WatchHeartbeats {
    pub fn new() -> Self {
        Self { api: Heartbeat::new(), watches: Arc::default() }
    }

    /// Adds a watch.
    pub fn add(&self, name: String) -> Heartbeat {
        let heartbeat = Heartbeat::new();
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.push((name, heartbeat.clone()));
        heartbeat
    }

    /// Checks the watches.
    ///
    /// # Errors
    /// A watch has had no answer for too long, while other requests were answered.
    pub fn check(&self) -> Result<(), String> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let api = self.api.silence();
        for (name, heartbeat) in watches.iter() {
            let silence = heartbeat.silence();
            if silence > WATCH_SILENCE_MAX && api < WATCH_SILENCE_MAX / 2 {
                return Err(format!(
                    "the watch of {name} has had no answer for {silence:?}, though the API server answers others"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_is_silent_for_too_long_is_stuck() {
        let heartbeat = Heartbeat::new();
        heartbeat.beat();
        advance(THREAD_SILENCE_MAX).await;
        assert_eq!(heartbeat.check_thread(), Ok(()));
        advance(Duration::from_millis(1)).await;
        assert_eq!(
            heartbeat.check_thread(),
            Err("the scheduling thread has not turned for 60.001s".to_owned())
        );
        heartbeat.beat();
        assert_eq!(heartbeat.check_thread(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_is_stuck_only_while_something_waits_for_it() {
        let heartbeat = Heartbeat::new();
        advance(WRITER_SILENCE_MAX + Duration::from_secs(1)).await;
        assert_eq!(heartbeat.check_writer("events", 0), Ok(()));
        assert_eq!(
            heartbeat.check_writer("events", 3),
            Err("the writer of events has taken nothing for 301s, and 3 wait for it".to_owned())
        );
        heartbeat.beat();
        assert_eq!(heartbeat.check_writer("events", 3), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_alone_is_silent_is_dead_and_in_an_outage_none_is() {
        let watches = WatchHeartbeats::new();
        let (nodes, pods) = (watches.add("nodes".to_owned()), watches.add("pods".to_owned()));
        advance(WATCH_SILENCE_MAX + Duration::from_secs(1)).await;
        assert_eq!(watches.check(), Ok(()), "nobody is answered");
        watches.api.beat();
        pods.beat();
        assert_eq!(
            watches.check(),
            Err("the watch of nodes has had no answer for 181s, though the API server answers others"
                .to_owned())
        );
        nodes.beat();
        assert_eq!(watches.check(), Ok(()));
    }
}
