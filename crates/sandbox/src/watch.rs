//! Watches: each pulls from the event log at its own pace and selects what its client requested.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{ApiError, FieldError};
use crate::faults::{Faults, WatchEnd, WatchPlan};
use crate::list::{Selection, parse_version};
use crate::object::Object;
use crate::random::Random;
use crate::request::Query;
use crate::resource::{ResourceType, StoreId};
use crate::server::until_down;
use crate::store::{Change, Event, Store, TooOld};
use crate::view::View;

/// Maximum number of events taken from the log at once: bounds the time under the lock and the size of one chunk.
const BATCH_EVENTS_MAX: usize = 512;
/// Size of a chunk, in bytes, beyond which no further event is added to it.
const CHUNK_BYTES: usize = 64 * 1024;
/// The duration of a watch without `timeoutSeconds`: 30 minutes, and up to as much again, as upstream.
const DEFAULT_TIMEOUT_S: u64 = 1800;
/// A longer `timeoutSeconds` is reduced to this.
const TIMEOUT_MAX_S: u64 = 7 * 24 * 3600;

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// With the current objects as ADDED events.
    State,
    /// Like `State`, with a bookmark that says that they are complete.
    StateWithBookmark,
    /// After this version.
    After(u64),
}

/// A watch that has been accepted.
pub(crate) struct Watch {
    store: Arc<Store>,
    id: StoreId,
    view: View,
    selection: Selection,
    cursor: u64,
    /// Objects of the initial state that have not been sent yet.
    initial: VecDeque<Arc<Object>>,
    /// The version after which the watch was to begin is too old; reported in the stream, as upstream.
    too_old: Option<TooOld>,
    bookmark_after_initial: bool,
    bookmarks: Option<Duration>,
    next_bookmark: Instant,
    deadline: Instant,
    changed: watch::Receiver<u64>,
    cut: watch::Receiver<u64>,
    shutdown: watch::Receiver<bool>,
    quiesced: watch::Receiver<u64>,
    plan: WatchPlan,
    sent: u32,
    columns_sent: bool,
    ended: bool,
}

/// What a watch needs in addition to its request.
pub(crate) struct WatchContext<'a> {
    pub store: &'a Arc<Store>,
    pub faults: &'a Faults,
    pub shutdown: watch::Receiver<bool>,
    pub bookmark_interval: Duration,
}

impl Watch {
    pub(crate) fn open(
        context: WatchContext<'_>,
        resource: &'static ResourceType,
        query: &Query,
        selection: Selection,
        view: View,
        plan: WatchPlan,
    ) -> Result<Watch, ApiError> {
        let start = parse_start(resource, query)?;
        let timeout_s = match query.filled("timeoutSeconds") {
            Some(text) => text
                .parse::<u64>()
                .map_err(|_| ApiError::bad_request(format!("timeoutSeconds is not a number: \"{text}\"")))?
                .min(TIMEOUT_MAX_S),
            None => 0,
        };
        let store = Arc::clone(context.store);
        // Subscribed before the state is read, so that nothing is missed.
        let changed = store.subscribe(resource.store);
        let (cursor, initial, too_old, spread) = store.write(|tx| {
            let spread = tx.random().below(DEFAULT_TIMEOUT_S);
            match start {
                Start::After(version) => {
                    (version, VecDeque::new(), tx.check_start(resource.store, version).err(), spread)
                }
                Start::State | Start::StateWithBookmark => {
                    let snapshot =
                        tx.snapshot(resource.store, selection.namespace(), |o| selection.matches(o));
                    (snapshot.version, snapshot.objects.into(), None, spread)
                }
            }
        });
        let timeout =
            Duration::from_secs(if timeout_s == 0 { DEFAULT_TIMEOUT_S + spread } else { timeout_s });
        let wants_bookmarks = query.flag("allowWatchBookmarks") && !plan.no_bookmarks;
        let now = Instant::now();
        Ok(Watch {
            id: resource.store,
            view,
            selection,
            cursor,
            initial,
            too_old,
            bookmark_after_initial: start == Start::StateWithBookmark && wants_bookmarks,
            bookmarks: wants_bookmarks.then_some(context.bookmark_interval),
            next_bookmark: now + context.bookmark_interval,
            deadline: now + timeout,
            changed,
            cut: context.faults.subscribe_cut(),
            shutdown: context.shutdown,
            quiesced: context.faults.subscribe_quiesced(),
            plan,
            sent: 0,
            columns_sent: false,
            ended: false,
            store,
        })
    }

    /// The chunks of the response body.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, io::Error>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let chunk = watch.next_chunk().await?;
            Some((chunk, watch))
        })
    }

    async fn next_chunk(&mut self) -> Option<Result<Bytes, io::Error>> {
        if self.ended {
            return None;
        }
        if let Some(too_old) = self.too_old {
            self.ended = true;
            return Some(Ok(expired_line(too_old.asked, too_old.floor)));
        }
        loop {
            if let Some(end) = self.due_end() {
                return self.end(end).await;
            }
            let mut out = Vec::new();
            self.write_initial(&mut out);
            if out.is_empty() {
                self.delay_if_told().await;
                if let Err(too_old) = self.write_events(&mut out) {
                    self.ended = true;
                    return Some(Ok(expired_line(too_old.asked, too_old.floor)));
                }
            }
            if !out.is_empty() {
                return Some(Ok(Bytes::from(out)));
            }
            if self.due_end().is_some() {
                continue;
            }
            match self.wait().await {
                Wake::Changed => {}
                Wake::Bookmark => {
                    self.write_bookmark(&mut out, false);
                    return Some(Ok(Bytes::from(out)));
                }
                Wake::Timeout => return self.end(WatchEnd::Close).await,
                Wake::Cut => return self.end(WatchEnd::Break).await,
            }
        }
    }

    fn due_end(&self) -> Option<WatchEnd> {
        self.plan.end.filter(|(_, after)| self.sent >= *after).map(|(end, _)| end)
    }

    async fn end(&mut self, end: WatchEnd) -> Option<Result<Bytes, io::Error>> {
        self.ended = true;
        match end {
            WatchEnd::Close => None,
            WatchEnd::Break => {
                // The connection writes what it has while the body is not ready.
                tokio::task::yield_now().await;
                Some(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the watch was broken by a fault")))
            }
            WatchEnd::Expire => {
                // The events that the client has not seen are really gone: it cannot resume where it was.
                let floor = self.store.write(|tx| {
                    tx.compact(self.id);
                    tx.version()
                });
                Some(Ok(expired_line(self.cursor, floor)))
            }
        }
    }

    /// Delays late events, until the faults end.
    async fn delay_if_told(&mut self) {
        let Some((max, dice)) = &mut self.plan.delay else { return };
        let Some(first) = self.store.read(|tx| tx.next_event_at(self.id, self.cursor)) else { return };
        let wait = Duration::from_micros(Random::below(dice, max.as_micros() as u64 + 1));
        let until = Instant::from_std(first) + wait;
        tokio::select! {
            () = tokio::time::sleep_until(until.min(self.deadline)) => {}
            _ = self.quiesced.changed() => self.plan.delay = None,
            _ = self.cut.changed() => self.plan.end = Some((WatchEnd::Break, 0)),
        }
    }

    fn write_initial(&mut self, out: &mut Vec<u8>) {
        while let Some(object) = self.initial.pop_front() {
            self.write_event(out, "ADDED", &object.bytes);
            if out.len() >= CHUNK_BYTES || self.due_end().is_some() {
                return;
            }
        }
        if self.bookmark_after_initial {
            self.bookmark_after_initial = false;
            self.write_bookmark(out, true);
        }
    }

    fn write_events(&mut self, out: &mut Vec<u8>) -> Result<(), TooOld> {
        self.changed.borrow_and_update();
        loop {
            let cursor = self.cursor;
            let (events, next) =
                self.store.read(|tx| tx.events_after(self.id, cursor, BATCH_EVENTS_MAX, None))?;
            let caught_up = events.len() < BATCH_EVENTS_MAX;
            for event in &events {
                self.cursor = event.object.version;
                self.select_event(out, event);
                if out.len() >= CHUNK_BYTES || self.due_end().is_some() {
                    return Ok(());
                }
            }
            self.cursor = next;
            if caught_up {
                return Ok(());
            }
        }
    }

    /// What an event means to this watch: an object may enter or leave its selection.
    fn select_event(&mut self, out: &mut Vec<u8>, event: &Event) {
        let before = event.previous.as_ref().is_some_and(|o| self.selection.matches(o));
        let now = event.change != Change::Deleted && self.selection.matches(&event.object);
        match (before, now) {
            (false, false) => {}
            (false, true) => self.write_event(out, "ADDED", &event.object.bytes),
            (true, true) => self.write_event(out, "MODIFIED", &event.object.bytes),
            (true, false) if event.change == Change::Deleted => {
                self.write_event(out, "DELETED", &event.object.bytes);
            }
            (true, false) => {
                // The client sees the object as it last matched, with the version of the change.
                if let Some(previous) = &event.previous {
                    let bytes = previous.bytes_at_version(event.object.version);
                    self.write_event(out, "DELETED", &bytes);
                }
            }
        }
    }

    fn write_event(&mut self, out: &mut Vec<u8>, kind: &str, stored: &Bytes) {
        let shown = self.view.object(stored, !self.columns_sent);
        self.columns_sent = true;
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        out.extend_from_slice(&shown);
        out.extend_from_slice(b"}\n");
        self.sent += 1;
    }

    fn write_bookmark(&mut self, out: &mut Vec<u8>, initial_events_end: bool) {
        let line =
            json!({ "type": "BOOKMARK", "object": self.view.bookmark(self.cursor, initial_events_end) });
        out.extend_from_slice(line.to_string().as_bytes());
        out.push(b'\n');
        if let Some(interval) = self.bookmarks {
            self.next_bookmark = Instant::now() + interval;
        }
    }

    async fn wait(&mut self) -> Wake {
        let bookmark_at = if self.bookmarks.is_some() { self.next_bookmark } else { self.deadline };
        tokio::select! {
            changed = self.changed.changed() => if changed.is_ok() { Wake::Changed } else { Wake::Timeout },
            _ = self.cut.changed() => Wake::Cut,
            () = until_down(&mut self.shutdown) => Wake::Timeout,
            () = tokio::time::sleep_until(bookmark_at.min(self.deadline)) => {
                if bookmark_at < self.deadline {
                    // Nothing of the resource happened: the cursor may be at the newest version of anything.
                    Wake::Bookmark
                } else {
                    Wake::Timeout
                }
            }
        }
    }
}

enum Wake {
    Changed,
    Bookmark,
    Timeout,
    Cut,
}

fn expired_line(asked: u64, floor: u64) -> Bytes {
    let status = ApiError::expired(format!("too old resource version: {asked} ({floor})")).status();
    let line = json!({ "type": "ERROR", "object": status });
    Bytes::from(format!("{line}\n"))
}

fn parse_start(resource: &ResourceType, query: &Query) -> Result<Start, ApiError> {
    let version = match query.filled("resourceVersion") {
        None => None,
        Some(text) => Some(parse_version(text)?),
    };
    let matching = query.filled("resourceVersionMatch");
    let invalid = |errors: Vec<FieldError>| Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &errors));
    if query.get("sendInitialEvents").is_some() {
        if matching != Some("NotOlderThan") {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return invalid(vec![FieldError::forbidden("resourceVersionMatch", why)]);
        }
        if query.flag("sendInitialEvents") {
            return Ok(Start::StateWithBookmark);
        }
        return Ok(version.map_or(Start::State, |v| if v == 0 { Start::State } else { Start::After(v) }));
    }
    if matching.is_some() {
        let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        return invalid(vec![FieldError::forbidden("resourceVersionMatch", why)]);
    }
    let _ = resource;
    Ok(match version {
        None | Some(0) => Start::State,
        Some(version) => Start::After(version),
    })
}
