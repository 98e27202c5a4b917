//! What the scheduling thread is told, and the one channel by which it is told.

use secondmate_core::Scheduler;
use secondmate_core::port::Input;
use secondmate_model::Timestamp;
use tokio::sync::mpsc;

/// Messages that wait for the scheduling thread. A compiled pod is some 2 KB, so that a full channel holds about 8 MB. At the
/// bound the senders wait: the watches read no further, which the API server sees as a slow client, and nothing is lost.
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

pub(crate) type Inbox = mpsc::Sender<Message>;
