//! The messages to the scheduling thread, and the single channel that carries them.

use secondmate_core::Scheduler;
use secondmate_core::port::Input;
use secondmate_model::Timestamp;
use secondmate_telemetry::{Metrics, metrics::BoundedQueue};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// Maximum number of messages waiting for the scheduling thread. A compiled pod takes some 2 KB, so a full channel holds about 8 MB. At the
/// bound, senders wait, which is counted: the watches stop reading, which to the API server looks like a slow client, and nothing is lost.
pub(crate) const INBOX_MESSAGES_MAX: usize = 4096;

/// A look at the core, executed by the scheduling thread between two cycles.
pub(crate) type Look = Box<dyn FnOnce(&Scheduler, Timestamp) + Send>;

/// A message to the scheduling thread.
pub(crate) enum Message {
    /// A watch reports a change.
    Watched(Input),
    /// The answer to an effect that expects one.
    Answered(Input),
    /// The first list of the watch with this number is complete.
    Synced(usize),
    /// The pods are being listed anew (`true`), or that list is complete (`false`). In between, pods come in the order of the list, whatever
    /// happened first, and those that are gone have not been reported yet.
    ListingPods(bool),
    /// A request to look at the core.
    Look(Look),
    /// Leadership began or ended, or the shell is stopping: check both again.
    Wake,
}

/// The scheduling thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Sends messages to the scheduling thread. Clones share the channel.
#[derive(Clone)]
pub(crate) struct Inbox {
    messages: mpsc::Sender<Message>,
    metrics: BoundedQueue,
}

impl Inbox {
    /// An empty inbox, and the receiving end for the scheduling thread.
    pub fn new(metrics: &Metrics) -> (Self, mpsc::Receiver<Message>) {
        let (messages, receiver) = mpsc::channel(INBOX_MESSAGES_MAX);
        (Self { messages, metrics: metrics.bounded_queue("inbox", INBOX_MESSAGES_MAX) }, receiver)
    }

    /// Sends a message; waits while the inbox is full.
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

    /// Wakes the scheduling thread. If the inbox is full, it is awake anyway.
    pub fn wake(&self) {
        let _ = self.messages.try_send(Message::Wake);
    }

    /// Whether the scheduling thread has ended.
    pub fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }

    /// Lets the scheduling thread look at the core between two cycles; `None` if the thread has ended.
    pub async fn look<T: Send + 'static>(
        &self,
        at: impl FnOnce(&Scheduler, Timestamp) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let look = move |scheduler: &Scheduler, now: Timestamp| {
            // The receiver may be gone.
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
