//! The server's connections: how many there are, how long each is kept, and how it ends.

use crate::write::Leading;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long a closing connection may take to finish its requests.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How many connections there may be, and for how long they may be idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Concurrent connections. An API server has one for each request in flight, and keeps 25.
    pub connections: usize,
    /// Longer than API servers keep an idle connection (90 s), so that they are the ones that close it and no request hits a connection
    /// that is being closed.
    pub idle: Duration,
    /// When all are taken, the one that has been idle longest makes room, but only if it has been idle for this long: in a burst, no client
    /// should lose a connection that it has just opened.
    pub makes_room_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 2048, idle: Duration::from_secs(120), makes_room_after: Duration::from_secs(1) }
    }
}

/// The open connections, by number.
type Open = Arc<Mutex<BTreeMap<u64, Arc<Held>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics in the middle of a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    open: Open,
    next: u64,
}

/// A place for one more connection.
#[derive(Debug)]
pub(super) struct Admitted {
    pub slot: Slot,
    /// An existing connection was displaced for it.
    pub displaces: bool,
}

impl Connections {
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: Open::default(), next: 0 }
    }

    /// A place for a new connection; `None` if all are taken and none has been idle for long enough.
    pub fn admit(&mut self) -> Option<Admitted> {
        let mut open = lock(&self.open);
        let displaces = open.len() >= self.limits.connections;
        if displaces && !displace(&mut open, self.limits) {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let held = Arc::new(Held::new(self.limits.idle));
        open.insert(number, Arc::clone(&held));
        Some(Admitted { slot: Slot { number, held, open: Arc::clone(&self.open) }, displaces })
    }

    /// Lets an existing connection make room although not all places are taken; returns whether there is one that can.
    pub fn make_room(&self) -> bool {
        displace(&mut lock(&self.open), self.limits)
    }
}

/// Displaces the connection that has been idle longest, if it has been for long enough; returns whether it has.
fn displace(open: &mut BTreeMap<u64, Arc<Held>>, limits: Limits) -> bool {
    let idle = open.iter().filter_map(|(number, held)| Some((held.idle_since()?, *number)));
    let Some((_, number)) = idle.min().filter(|(since, _)| since.elapsed() >= limits.makes_room_after) else {
        return false;
    };
    let displaced = open.remove(&number);
    displaced.iter().for_each(|held| held.displaced.cancel());
    displaced.is_some()
}

/// The place of a connection, which becomes free when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    number: u64,
    pub held: Arc<Held>,
    open: Open,
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.number);
    }
}

/// What is known about a connection besides its bytes.
#[derive(Debug)]
pub(super) struct Held {
    idle_max: Duration,
    activity: Mutex<Activity>,
    /// Cancelled when it has to make room.
    displaced: CancellationToken,
    /// Notified when the next request should go to another instance.
    elsewhere: Notify,
}

#[derive(Debug)]
struct Activity {
    requests: usize,
    /// When the last request was answered, or else when the connection was accepted.
    last: Instant,
}

/// A request in progress.
pub(super) struct Busy(Arc<Held>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut activity = lock(&self.0.activity);
        activity.requests -= 1;
        activity.last = Instant::now();
    }
}

impl Held {
    fn new(idle_max: Duration) -> Self {
        Self {
            idle_max,
            activity: Mutex::new(Activity { requests: 0, last: Instant::now() }),
            displaced: CancellationToken::new(),
            elsewhere: Notify::new(),
        }
    }

    /// A request has arrived.
    pub fn begin(self: &Arc<Self>) -> Busy {
        lock(&self.activity).requests += 1;
        Busy(Arc::clone(self))
    }

    /// Makes the client send its next request to another instance.
    pub fn elsewhere(&self) {
        self.elsewhere.notify_one();
    }

    /// Returns when the connection has to make room.
    pub async fn displaced(&self) {
        self.displaced.cancelled().await;
    }

    /// Since when the connection has been idle; `None` while a request is in progress.
    fn idle_since(&self) -> Option<Instant> {
        let activity = lock(&self.activity);
        (activity.requests == 0).then_some(activity.last)
    }

    /// Returns when the connection has been idle for too long.
    async fn idle_for_too_long(&self) {
        loop {
            let since = self.idle_since().unwrap_or_else(Instant::now);
            if since.elapsed() >= self.idle_max {
                return;
            }
            sleep_until(since + self.idle_max).await;
        }
    }
}

/// Serves a connection until the client closes it, it has been idle for too long, it has to make room, leadership ends, or another instance
/// should be asked: API servers keep their connections, and would go on asking an instance that no longer decides. `end` stops taking
/// requests, and tells the client so.
pub(super) async fn keep<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    end: impl Fn(Pin<&mut C>),
    mut leading: Leading,
    held: &Held,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    let mut idle = pin!(held.idle_for_too_long());
    let mut leads = leading.may_write();
    loop {
        tokio::select! {
            result = connection.as_mut() => return result,
            () = held.displaced() => return Ok(()),
            () = held.elsewhere.notified() => break,
            () = idle.as_mut() => break,
            () = leading.changed() => {
                let led = std::mem::replace(&mut leads, leading.may_write());
                if led && !leads {
                    break;
                }
            }
        }
    }
    end(connection.as_mut());
    timeout(END_WITHIN, connection).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn when_all_are_taken_the_one_that_has_been_idle_longest_makes_room() {
        let limits = Limits { connections: 3, ..Limits::default() };
        let mut connections = Connections::new(limits);
        let mut slots = Vec::new();
        for _ in 0..3 {
            let Admitted { slot, displaces } = connections.admit().expect("there is room");
            assert!(!displaces);
            slots.push(slot);
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        let [busy, ..] = &slots[..] else { panic!() };
        let busy = busy.held.begin();
        // The second one has been idle longest, but not for long enough.
        assert!(connections.admit().is_none());
        tokio::time::advance(limits.makes_room_after).await;
        drop(slots[1].held.begin());
        let admitted = connections.admit().expect("the third makes room");
        assert!(admitted.displaces);
        let displaced = |slot: &Slot| slot.held.displaced.is_cancelled();
        assert_eq!(slots.iter().map(displaced).collect::<Vec<_>>(), [false, false, true]);
        // When the displaced connection ends, no second place becomes free; when another one ends, a place does.
        slots.pop();
        assert!(connections.admit().is_none());
        slots.pop();
        assert!(!connections.admit().expect("a free place").displaces);
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn room_can_be_made_before_all_places_are_taken() {
        let limits = Limits::default();
        let mut connections = Connections::new(limits);
        let slots: Vec<Slot> = (0..2).map(|_| connections.admit().expect("there is room").slot).collect();
        assert!(!connections.make_room(), "they have just been opened");
        tokio::time::advance(limits.makes_room_after).await;
        let busy = slots[0].held.begin();
        assert!(connections.make_room());
        let displaced = |slot: &Slot| slot.held.displaced.is_cancelled();
        assert_eq!(slots.iter().map(displaced).collect::<Vec<_>>(), [false, true]);
        assert!(!connections.make_room(), "the other one is in use");
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_is_who_has_no_request_under_way() {
        let held = Arc::new(Held::new(Duration::from_secs(10)));
        let busy = held.begin();
        assert!(timeout(Duration::from_secs(60), held.idle_for_too_long()).await.is_err());
        drop(busy);
        assert!(timeout(Duration::from_secs(9), held.idle_for_too_long()).await.is_err());
        drop(held.begin());
        assert!(timeout(Duration::from_secs(9), held.idle_for_too_long()).await.is_err());
        assert!(timeout(Duration::from_secs(2), held.idle_for_too_long()).await.is_ok());
    }
}
