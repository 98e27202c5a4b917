//! Watches: each lists once, follows the changes, and feeds the scheduling thread.
//!
//! kube-runtime's watcher does the protocol (paged list, watch, bookmarks, resumption). What it does not do is done here: an
//! idle watch is renewed well before a silent connection is noticed, a 410 on the request itself starts over, a list that
//! hangs is given up, errors back off, and after a new list what vanished meanwhile is told as gone. A kind that is not served has no
//! objects. A list that is answered with 404 does not prove that: discovery has to confirm it, and a kind that was served keeps its objects
//! for minutes. See `Source::is_absent` for what is believed without confirmation.

pub(crate) mod compiled;
mod currency;
mod discovery;
pub(crate) mod needs;
mod originals;
mod source;
#[cfg(test)]
mod tests;
mod unfit;
mod version;

pub(crate) use compiled::{Key, Unfit, Watched};
pub(crate) use currency::Currency;
pub(crate) use needs::{
    Permission, Watch, guard_watches, kinds, permissions, polls, reads_whole_objects, to_watch, watches,
};
pub(crate) use originals::Originals;
pub(crate) use source::{Context, must_list_anew, spawn};
pub(crate) use unfit::UnfitObjects;
