//! Reads the bodies of requests, within one bound for all connections together: anyone who can reach the port may start any number of
//! requests and finish none.

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A Binding has a name and a few annotations, whose total size the API server limits to 256 KiB; the review repeats them once.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Bound on everything held at once: some 10,000 reviews of binds, which have about 2 KiB each.
const BYTES_MAX: usize = 64 << 20;
/// What a request takes besides its body, mainly its headers.
const REQUEST_BYTES: u32 = 4 << 10;
/// No client that waits for an answer takes this long to send its request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads bodies. Clones share the bound.
#[derive(Clone)]
pub(super) struct Bodies {
    room: Arc<Semaphore>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self::within(BYTES_MAX)
    }
}

/// A body. Its room is released when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    pub bytes: Vec<u8>,
    room: OwnedSemaphorePermit,
}

/// Why a body was not read completely.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// All bodies together have reached the bound.
    #[error("too many requests are being read")]
    Full,
    #[error("the body has more than {BODY_BYTES_MAX} bytes")]
    TooLong,
    #[error("the body took too long")]
    TooSlow,
    #[error("cannot read the body: {0}")]
    Broken(String),
}

impl Bodies {
    fn within(bytes: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(bytes)) }
    }

    /// Reads a complete body.
    ///
    /// # Errors
    /// It does not end in time, is too long, breaks off, or there is no room.
    pub async fn read(&self, body: impl Body<Data = Bytes, Error: Display>) -> Result<Held, BodyError> {
        timeout(TIMEOUT, self.collect(body)).await.unwrap_or(Err(BodyError::TooSlow))
    }

    async fn collect(&self, body: impl Body<Data = Bytes, Error: Display>) -> Result<Held, BodyError> {
        let mut body = pin!(body);
        let mut held = Held { bytes: Vec::new(), room: self.take(REQUEST_BYTES)? };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let Some(data) = frame.data_ref() else { continue };
            if held.bytes.len() + data.len() > BODY_BYTES_MAX {
                return Err(BodyError::TooLong);
            }
            let count = u32::try_from(data.len()).map_err(|_| BodyError::TooLong)?;
            held.room.merge(self.take(count)?);
            held.bytes.extend_from_slice(data);
        }
        Ok(held)
    }

    fn take(&self, bytes: u32) -> Result<OwnedSemaphorePermit, BodyError> {
        Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| BodyError::Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use std::convert::Infallible;
    use std::future::pending;

    fn of(count: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b' '; count]))
    }

    /// Some bytes, and then nothing, for ever.
    fn without_end(count: usize) -> impl Body<Data = Bytes, Error = Infallible> {
        let first = Frame::data(Bytes::from(vec![b' '; count]));
        StreamBody::new(stream::unfold(Some(first), |first| async {
            match first {
                Some(frame) => Some((Ok(frame), None)),
                None => pending().await,
            }
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_without_an_end_take_no_more_than_the_bound_and_give_it_back() {
        let request = REQUEST_BYTES as usize;
        let bodies = Bodies::within(1_000 + 3 * request);
        let unended = |count| tokio::spawn(read_without_end(bodies.clone(), count));
        let (first, second) = (unended(600), unended(300));
        tokio::task::yield_now().await;
        assert_eq!(bodies.read(of(101)).await.err(), Some(BodyError::Full));
        assert_eq!(bodies.read(of(100)).await.expect("there is room").bytes.len(), 100);
        assert_eq!(first.await.expect("no panic"), Some(BodyError::TooSlow));
        assert_eq!(second.await.expect("no panic"), Some(BodyError::TooSlow));
        let all = 1_000 + 2 * request;
        assert_eq!(bodies.read(of(all)).await.expect("all of it").bytes.len(), all);
    }

    async fn read_without_end(bodies: Bodies, count: usize) -> Option<BodyError> {
        bodies.read(without_end(count)).await.err()
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_not_read() {
        let bodies = Bodies::default();
        assert_eq!(bodies.read(of(BODY_BYTES_MAX + 1)).await.err(), Some(BodyError::TooLong));
        assert_eq!(bodies.read(of(BODY_BYTES_MAX)).await.expect("it is read").bytes.len(), BODY_BYTES_MAX);
    }
}
