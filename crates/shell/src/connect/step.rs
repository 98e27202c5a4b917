//! A step of startup: it says what it is waiting for, and its duration is bounded.

use super::ConnectError;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tracing::info;

/// A step says what it is waiting for after this time, and then at this interval.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// A step took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Waits for a step of startup, for no longer than this. Dropping the future ends the wait at once.
///
/// # Errors
/// It took longer.
pub(crate) async fn step<T>(
    what: &str,
    at_most: Duration,
    work: impl Future<Output = T>,
) -> Result<T, TooLong> {
    let mut work = pin!(work);
    let began = Instant::now();
    let mut next = began + SAY_EVERY.min(at_most);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return Ok(result),
            () = sleep_until(next) => {
                let waited = next - began;
                if waited >= at_most {
                    return Err(TooLong);
                }
                info!("starting: waiting for {what} since {waited:?}, for {at_most:?} at most");
                next += SAY_EVERY.min(at_most - waited);
            }
        }
    }
}

/// Runs something that may hang, such as reading a file, as a step of startup: on a thread that nobody waits for once the future has been
/// dropped. A panic is propagated to the caller.
///
/// # Errors
/// It took longer.
pub async fn in_time<T: Send + 'static>(
    what: String,
    at_most: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ConnectError> {
    match step(&what, at_most, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => resume_unwind(error.into_panic()),
        Err(TooLong) => Err(ConnectError::TooLong { what, at_most }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_ends_with_its_work_or_at_its_deadline() {
        assert_eq!(step("it", Duration::from_secs(12), async { 7 }).await, Ok(7));
        let began = Instant::now();
        let never = step("it", Duration::from_secs(12), std::future::pending::<()>()).await;
        assert_eq!((never, began.elapsed()), (Err(TooLong), Duration::from_secs(12)));
    }
}
