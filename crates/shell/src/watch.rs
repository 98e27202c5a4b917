//! Watches: each lists once, follows the changes, and feeds the scheduling thread.
//!
//! kube-runtime's watcher does the protocol (paged list, watch, bookmarks, resumption). What it does not do is done here: an
//! idle watch is renewed well before a silent connection is noticed, a 410 on the request itself starts over, a list that
//! hangs is given up, errors back off, and after a new list what vanished meanwhile is told as gone. A kind that is not served has no
//! objects; one that was served keeps them when lists are answered with 404, unless it is a plugin's own and that lasts for minutes.

pub(crate) mod compiled;
mod currency;
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
