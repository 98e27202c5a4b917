//! A step of the start: it says what it waits for, and it has an end.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tracing::info;

/// After this, and then each time again, a step says what it waits for.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// A step took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Waits for a step of the start, at most so long. Dropping the future ends the wait at once.
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
