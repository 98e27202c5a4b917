//! What the scheduling thread is told, and the one channel by which it is told.

use secondmate_core::Scheduler;
use secondmate_core::port::Input;
use secondmate_model::Timestamp;
use secondmate_telemetry::{Metrics, metrics::BoundedQueue};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// Messages that wait for the scheduling thread. A compiled pod is some 2 KB, so that a full channel holds about 8 MB. At the
/// bound the senders wait, which is counted: the watches read no further, which the API server sees as a slow client, and nothing
/// is lost.
pub(crate) const INBOX_MESSAGES_MAX: usize = 4096;

/// A look at the core, taken by the scheduling thread between two cycles.
pub(crate) type Look = Box<dyn FnOnce(&Scheduler, Timestamp) + Send>;

/// Something that the scheduling thread is told.
pub(crate) enum Message {
    /// A watch shows a change.
    Watched(Input),
    /// The answer to an effect that is answered.
    Answered(Input),
    /// The first list of the watch with this number is in.
    Synced(usize),
    /// Somebody wants to look at the core.
    Look(Look),
    /// Leadership began or ended, or the shell stops: look at those again.
    Wake,
}

/// The scheduling thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Where the scheduling thread is told things. Clones share the channel.
#[derive(Clone)]
pub(crate) struct Inbox {
    messages: mpsc::Sender<Message>,
    metrics: BoundedQueue,
}

impl Inbox {
    /// An empty inbox, and the end that the scheduling thread reads.
    pub fn new(metrics: &Metrics) -> (Self, mpsc::Receiver<Message>) {
        let (messages, receiver) = mpsc::channel(INBOX_MESSAGES_MAX);
        (Self { messages, metrics: metrics.bounded_queue("inbox", INBOX_MESSAGES_MAX) }, receiver)
    }

    /// Tells it; waits while the inbox is full.
    ///
    /// # Errors
    /// The scheduling thread has ended.
    pub async fn send(&self, message: Message) -> Result<(), Closed> {
        match self.messages.try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(Closed),
            Err(TrySendError::Full(message)) => {
                self.metrics.full.inc();
                self.messages.send(message).await.map_err(|_| Closed)
            }
        }
    }

    /// Wakes the scheduling thread. Where the inbox is full it is awake anyway.
    pub fn wake(&self) {
        let _ = self.messages.try_send(Message::Wake);
    }

    /// Whether the scheduling thread has ended.
    pub fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }

    /// Lets the scheduling thread look at the core, between two cycles; `None` where it has ended.
    pub async fn look<T: Send + 'static>(
        &self,
        at: impl FnOnce(&Scheduler, Timestamp) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let look = move |scheduler: &Scheduler, now: Timestamp| {
            // Whoever asked may have gone.
            let _ = answer.send(at(scheduler, now));
        };
        self.send(Message::Look(Box::new(look))).await.ok()?;
        answered.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_inbox_makes_the_sender_wait_and_counts_it() {
        let metrics = Metrics::new();
        let (inbox, mut messages) = Inbox::new(&metrics);
        for _ in 0..INBOX_MESSAGES_MAX {
            assert_eq!(inbox.send(Message::Wake).await, Ok(()));
        }
        let full = metrics.bounded_queue("inbox", INBOX_MESSAGES_MAX).full;
        assert_eq!(full.get(), 0);
        let sender = inbox.clone();
        let waits = tokio::spawn(async move { sender.send(Message::Synced(7)).await });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        assert_eq!(full.get(), 1);
        // Nothing is lost.
        let mut last = None;
        for _ in 0..=INBOX_MESSAGES_MAX {
            last = messages.recv().await;
        }
        assert!(matches!(last, Some(Message::Synced(7))));
        assert_eq!(waits.await.expect("no panic"), Ok(()));
        drop(messages);
        assert_eq!(inbox.send(Message::Wake).await, Err(Closed));
    }
}
