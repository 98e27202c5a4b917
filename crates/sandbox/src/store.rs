//! All objects, one global resourceVersion, and for each store a bounded log of events.
//!
//! Written by the API handlers and the simulated controllers, each in one short critical section; read by lists
//! and watches, which take out `Arc`s and work on them outside of the lock. Watches *pull* from the log, so that
//! a slow watcher costs nothing: if the log has moved on without it, it gets a 410, as upstream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::watch;

use crate::object::Object;
use crate::random::Random;
use crate::resource::{self, EVENTS, STORE_COUNT, StoreId};
use crate::time::Clock;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One entry of the event log.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub change: Change,
    /// The object after the change; for a deletion, its last state under the version of the deletion.
    pub object: Arc<Object>,
    /// The version before, for modifications and deletions.
    pub previous: Option<Arc<Object>>,
    pub at: Instant,
    /// When it happened, by the sandbox's clock.
    logged: Timestamp,
}

/// Bounds of the event log of one store: a watch older than that is told 410.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Maximum number of events kept.
    pub events_max: usize,
    /// Maximum size of the object versions kept, in bytes.
    pub bytes_max: usize,
    /// Older events are dropped, as the compaction of a real cluster's etcd does.
    pub age_max: Duration,
}

/// How long Event objects are kept, and how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    /// Since each one was last written, like the lease that etcd has for it.
    pub age_max: Duration,
    pub count_max: usize,
}

/// An Event as it was written: it expires unless it is written again.
#[derive(Debug)]
struct WrittenEvent {
    at: Timestamp,
    version: u64,
    namespace: Box<str>,
    name: Box<str>,
}

/// Number of entries of [`Transaction::written_events`] in excess of one for each Event, at which those of older versions are dropped.
const STALE_WRITES_MAX: usize = 1024;

#[derive(Debug, Default)]
struct Table {
    objects: BTreeMap<Box<str>, BTreeMap<Box<str>, Arc<Object>>>,
    count: usize,
    log: VecDeque<Event>,
    log_bytes: usize,
    /// The version of the last event that left the log: a watch that has not seen it has missed it.
    floor: u64,
    /// No watch may begin before this version, even if it has missed nothing.
    compacted: u64,
}

/// The state behind the lock. All reads and writes of one critical section go through it.
#[derive(Debug)]
pub(crate) struct Transaction {
    version: u64,
    tables: Vec<Table>,
    window: Window,
    random: Random,
    dirty: u64,
    clock: Clock,
    retention: Retention,
    /// The writes of Events, in order; of each Event only the last one counts.
    written_events: VecDeque<WrittenEvent>,
}

/// The amounts that the store holds, which must not grow with what has come and gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Stored objects of all kinds.
    pub objects: usize,
    /// Their JSON.
    pub object_bytes: usize,
    /// Entries of the event logs.
    pub log_events: usize,
    /// Total size of the object versions that the logs keep.
    pub log_bytes: usize,
    /// Writes that the expiry of Events remembers.
    pub event_writes: usize,
    /// Bindings that the history remembers.
    pub bind_records: usize,
    /// Pods that the simulated kubelets know.
    pub kubelet_pods: usize,
}

/// The store: shared by everything in the sandbox.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<Transaction>,
    signals: Vec<watch::Sender<u64>>,
}

/// The requested version is no longer in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooOld {
    pub asked: u64,
    pub floor: u64,
}

/// A consistent view of some objects at one version.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub version: u64,
    pub objects: Vec<Arc<Object>>,
}

impl Store {
    pub(crate) fn new(window: Window, retention: Retention, seed: u64) -> Store {
        let state = Transaction {
            version: 1,
            tables: (0..STORE_COUNT).map(|_| Table::default()).collect(),
            window,
            random: Random::new(seed),
            dirty: 0,
            clock: Clock::default(),
            retention,
            written_events: VecDeque::new(),
        };
        Store { state: Mutex::new(state), signals: (0..STORE_COUNT).map(|_| watch::Sender::new(1)).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, Transaction> {
        self.state.lock().expect("a panic while the store was locked leaves nothing to go on with")
    }

    /// Reads in one critical section.
    pub(crate) fn read<R>(&self, work: impl FnOnce(&Transaction) -> R) -> R {
        work(&self.lock())
    }

    /// Reads and writes in one critical section, after which watchers are woken.
    pub(crate) fn write<R>(&self, work: impl FnOnce(&mut Transaction) -> R) -> R {
        let mut state = self.lock();
        let result = work(&mut state);
        let dirty = std::mem::take(&mut state.dirty);
        let version = state.version;
        drop(state);
        if dirty != 0 {
            for (id, signal) in self.signals.iter().enumerate() {
                if dirty & (1 << id) != 0 {
                    signal.send_replace(version);
                }
            }
        }
        result
    }

    /// Fires after each write to the store.
    pub(crate) fn subscribe(&self, store: StoreId) -> watch::Receiver<u64> {
        self.signals[usize::from(store.0)].subscribe()
    }
}

impl Transaction {
    /// The newest version of anything.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn table(&self, store: StoreId) -> &Table {
        &self.tables[usize::from(store.0)]
    }

    /// The number of objects that the store holds.
    pub(crate) fn count(&self, store: StoreId) -> usize {
        self.table(store).count
    }

    /// The current version of an object. Cluster-scoped objects have an empty namespace.
    pub(crate) fn get(&self, store: StoreId, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.table(store).objects.get(namespace)?.get(name)
    }

    /// All objects of a store or of one namespace, by namespace and name.
    pub(crate) fn iter(&self, store: StoreId, namespace: Option<&str>) -> impl Iterator<Item = &Arc<Object>> {
        let table = self.table(store);
        let one = namespace.map(|n| table.objects.get(n));
        let all = if one.is_none() { Some(table.objects.values()) } else { None };
        one.flatten().into_iter().chain(all.into_iter().flatten()).flat_map(|names| names.values())
    }

    /// Stores a new object, or a new version of one: sets resourceVersion, and logs the event.
    pub(crate) fn put(&mut self, store: StoreId, mut value: Value) -> Arc<Object> {
        self.version += 1;
        let version = self.version;
        value["metadata"]["resourceVersion"] = Value::from(version.to_string());
        let object = Arc::new(Object::new(resource::stored_as(store), &value, version));
        let table = &mut self.tables[usize::from(store.0)];
        let previous = table
            .objects
            .entry(object.namespace.clone())
            .or_default()
            .insert(object.name.clone(), Arc::clone(&object));
        let change = if previous.is_some() { Change::Modified } else { Change::Added };
        if change == Change::Added {
            table.count += 1;
        }
        self.log(store, change, Arc::clone(&object), previous);
        if store == EVENTS {
            self.written_events.push_back(WrittenEvent {
                at: self.clock.now(),
                version,
                namespace: object.namespace.clone(),
                name: object.name.clone(),
            });
            self.expire_events();
        }
        object
    }

    /// Removes an object; returns its last state, with the version of the deletion.
    pub(crate) fn remove(&mut self, store: StoreId, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let table = &mut self.tables[usize::from(store.0)];
        let names = table.objects.get_mut(namespace)?;
        let previous = names.remove(name)?;
        if names.is_empty() {
            table.objects.remove(namespace);
        }
        table.count -= 1;
        self.version += 1;
        let object = Arc::new(previous.deleted_at(self.version));
        self.log(store, Change::Deleted, Arc::clone(&object), Some(previous));
        Some(object)
    }

    /// Deletes the Events that have expired, and the oldest if there are too many.
    fn expire_events(&mut self) {
        let Retention { age_max, count_max } = self.retention;
        let is_last = |state: &Transaction, written: &WrittenEvent| {
            state.get(EVENTS, &written.namespace, &written.name).is_some_and(|o| o.version == written.version)
        };
        let now = self.clock.now();
        while let Some(oldest) = self.written_events.front() {
            let expired = age(oldest.at, now) >= age_max || self.count(EVENTS) > count_max;
            let last = is_last(self, oldest);
            if last && !expired {
                break;
            }
            let Some(oldest) = self.written_events.pop_front() else { return };
            if last {
                self.remove(EVENTS, &oldest.namespace, &oldest.name);
            }
        }
        if self.written_events.len() > 2 * self.count(EVENTS) + STALE_WRITES_MAX {
            let mut writes = std::mem::take(&mut self.written_events);
            writes.retain(|written| is_last(self, written));
            self.written_events = writes;
        }
    }

    /// Drops what is too old by the clock: Events, and the entries of the logs.
    pub(crate) fn expire(&mut self) {
        self.expire_events();
        for index in 0..self.tables.len() {
            self.trim(index);
        }
    }

    /// The sandbox's clock.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Sets the clock forward.
    pub(crate) fn advance(&mut self, by: SignedDuration) {
        self.clock.advance(by);
        self.expire();
        // Tasks that depend on the clock check it again.
        self.dirty = u64::MAX;
    }

    /// The amounts that are held.
    pub(crate) fn held(&self) -> Held {
        let mut held = Held { event_writes: self.written_events.len(), ..Held::default() };
        for table in &self.tables {
            held.objects += table.count;
            held.object_bytes +=
                table.objects.values().flat_map(BTreeMap::values).map(|o| o.bytes.len()).sum::<usize>();
            held.log_events += table.log.len();
            held.log_bytes += table.log_bytes;
        }
        held
    }

    fn log(&mut self, store: StoreId, change: Change, object: Arc<Object>, previous: Option<Arc<Object>>) {
        self.dirty |= 1 << store.0;
        let event = Event { change, object, previous, at: Instant::now(), logged: self.clock.now() };
        let table = &mut self.tables[usize::from(store.0)];
        table.log_bytes += event.object.weight_bytes();
        table.log.push_back(event);
        self.trim(usize::from(store.0));
    }

    /// Drops everything outside of the window of a log.
    fn trim(&mut self, index: usize) {
        let (window, now) = (self.window, self.clock.now());
        let table = &mut self.tables[index];
        while let Some(oldest) = table.log.front() {
            let too_many = table.log.len() > window.events_max;
            let too_large = table.log_bytes > window.bytes_max && table.log.len() > 1;
            if !too_many && !too_large && age(oldest.logged, now) < window.age_max {
                return;
            }
            let Some(gone) = table.log.pop_front() else { return };
            table.log_bytes -= gone.object.weight_bytes();
            table.floor = gone.object.version;
            table.compacted = table.compacted.max(table.floor);
        }
    }

    /// Forgets all events of a store, as etcd's compaction does. A separate version ensures that everything
    /// that a client has seen is too old to begin at; watches that have missed nothing continue.
    pub(crate) fn compact(&mut self, store: StoreId) {
        self.version += 1;
        let version = self.version;
        let table = &mut self.tables[usize::from(store.0)];
        if let Some(last) = table.log.back() {
            table.floor = last.object.version;
        }
        table.log.clear();
        table.log_bytes = 0;
        table.compacted = version;
    }

    /// Whether a watch or an exact list may begin at this version.
    pub(crate) fn check_start(&self, store: StoreId, version: u64) -> Result<(), TooOld> {
        let floor = self.table(store).compacted;
        if version < floor { Err(TooOld { asked: version, floor }) } else { Ok(()) }
    }

    /// At most `max` events after `cursor` (and not after `until`, if given), and the cursor to continue from.
    pub(crate) fn events_after(
        &self,
        store: StoreId,
        cursor: u64,
        max: usize,
        until: Option<Instant>,
    ) -> Result<(Vec<Event>, u64), TooOld> {
        let table = self.table(store);
        if cursor < table.floor {
            return Err(TooOld { asked: cursor, floor: table.floor });
        }
        let start = table.log.partition_point(|e| e.object.version <= cursor);
        let mut events = Vec::new();
        for event in table.log.range(start..) {
            if events.len() == max || until.is_some_and(|until| event.at > until) {
                let cursor = events.last().map_or(cursor, |e: &Event| e.object.version);
                return Ok((events, cursor));
            }
            events.push(event.clone());
        }
        Ok((events, self.version.max(cursor)))
    }

    /// The time of the first event after `cursor`.
    pub(crate) fn next_event_at(&self, store: StoreId, cursor: u64) -> Option<Instant> {
        let log = &self.table(store).log;
        log.get(log.partition_point(|e| e.object.version <= cursor)).map(|e| e.at)
    }

    /// The objects that pass `keep`, now.
    pub(crate) fn snapshot(
        &self,
        store: StoreId,
        namespace: Option<&str>,
        keep: impl Fn(&Object) -> bool,
    ) -> Snapshot {
        let objects = self.iter(store, namespace).filter(|o| keep(o)).cloned().collect();
        Snapshot { version: self.version, objects }
    }

    /// The objects that passed `keep` at an older version, found by rolling back the log.
    pub(crate) fn snapshot_at(
        &self,
        store: StoreId,
        version: u64,
        namespace: Option<&str>,
        keep: impl Fn(&Object) -> bool,
    ) -> Result<Snapshot, TooOld> {
        self.check_start(store, version)?;
        let table = self.table(store);
        let mut undone: BTreeMap<(&str, &str), Option<&Arc<Object>>> = BTreeMap::new();
        for event in table.log.iter().rev().take_while(|e| e.object.version > version) {
            let before = if event.change == Change::Added { None } else { event.previous.as_ref() };
            undone.insert((&event.object.namespace, &event.object.name), before);
        }
        let mut objects: Vec<Arc<Object>> = self
            .iter(store, namespace)
            .filter(|o| !undone.contains_key(&(&*o.namespace, &*o.name)))
            .chain(
                undone
                    .iter()
                    .filter(|((ns, _), _)| namespace.is_none_or(|n| n == *ns))
                    .filter_map(|(_, before)| *before),
            )
            .filter(|o| keep(o))
            .cloned()
            .collect();
        objects.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Ok(Snapshot { version, objects })
    }

    /// The version of the store `events_back` of its events ago, as far as the log reaches.
    pub(crate) fn version_before(&self, store: StoreId, events_back: usize) -> u64 {
        let table = self.table(store);
        match table.log.len().checked_sub(events_back) {
            Some(index) if events_back > 0 => table.log[index].object.version - 1,
            Some(_) => self.version,
            None => table.compacted.max(1),
        }
    }

    /// Sets what the API server sets at creation: uid, creationTimestamp.
    pub(crate) fn stamp(&mut self, value: &mut Value) {
        let meta = &mut value["metadata"];
        meta["uid"] = Value::from(self.random.uuid());
        meta["creationTimestamp"] = Value::from(self.clock.now_seconds());
    }
}

/// How long ago something was, by the clock; zero if the clock was set back.
fn age(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::PODS;
    use serde_json::json;

    fn store(events_max: usize) -> Store {
        let window = Window { events_max, bytes_max: 1 << 20, age_max: Duration::from_secs(300) };
        Store::new(window, Retention { age_max: Duration::from_secs(3600), count_max: 10 }, 1)
    }

    fn pod(name: &str, node: &str) -> Value {
        json!({"metadata": {"namespace": "default", "name": name}, "spec": {"nodeName": node}})
    }

    fn names(snapshot: &Snapshot) -> Vec<(String, String)> {
        snapshot.objects.iter().map(|o| (o.name.to_string(), o.fields[0].to_string())).collect()
    }

    #[test]
    fn a_snapshot_of_an_older_version_rolls_every_kind_of_change_back() {
        let store = store(100);
        let at = store.write(|tx| {
            tx.put(PODS, pod("changed", ""));
            tx.put(PODS, pod("deleted", "n1"));
            tx.put(PODS, pod("kept", "n1"));
            tx.version()
        });
        store.write(|tx| {
            tx.put(PODS, pod("changed", "n2"));
            tx.remove(PODS, "default", "deleted");
            tx.put(PODS, pod("new", ""));
            tx.put(PODS, pod("changed", "n3"));
            tx.remove(PODS, "default", "new");
        });
        let old = store.read(|tx| tx.snapshot_at(PODS, at, None, |_| true)).unwrap();
        assert_eq!(old.version, at);
        let expected: Vec<(String, String)> = [("changed", ""), ("deleted", "n1"), ("kept", "n1")]
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        assert_eq!(names(&old), expected);
    }

    #[test]
    fn a_cursor_that_the_log_has_left_behind_is_too_old_and_one_at_its_floor_is_not() {
        let store = store(2);
        let versions: Vec<u64> =
            (0..4).map(|i| store.write(|tx| tx.put(PODS, pod(&format!("p{i}"), "")).version)).collect();
        store.read(|tx| {
            assert!(tx.events_after(PODS, versions[0], 10, None).is_err());
            let (events, cursor) = tx.events_after(PODS, versions[1], 10, None).unwrap();
            assert_eq!((events.len(), cursor), (2, versions[3]));
            let (events, cursor) = tx.events_after(PODS, versions[1], 1, None).unwrap();
            assert_eq!((events.len(), cursor), (1, versions[2]));
        });
    }

    fn event(name: &str) -> Value {
        json!({"metadata": {"namespace": "default", "name": name}})
    }

    fn stored_events(store: &Store) -> Vec<String> {
        store.read(|tx| tx.iter(EVENTS, None).map(|o| o.name.to_string()).collect())
    }

    #[test]
    fn events_beyond_the_bound_expire_oldest_first() {
        let store = store(100);
        for i in 0..12 {
            store.write(|tx| tx.put(EVENTS, event(&format!("e{i:02}"))));
        }
        let left = stored_events(&store);
        assert_eq!((left.len(), left[0].as_str()), (10, "e02"));
    }

    #[test]
    fn an_event_expires_an_hour_after_its_last_write() {
        let store = store(100);
        store.write(|tx| tx.put(EVENTS, event("once")));
        store.write(|tx| tx.put(EVENTS, event("again")));
        store.write(|tx| tx.advance(SignedDuration::from_mins(59)));
        store.write(|tx| tx.put(EVENTS, event("again")));
        assert_eq!(stored_events(&store), ["again", "once"]);
        store.write(|tx| tx.advance(SignedDuration::from_mins(2)));
        assert_eq!(stored_events(&store), ["again"]);
        store.write(|tx| tx.advance(SignedDuration::from_mins(60)));
        assert!(stored_events(&store).is_empty());
    }

    #[test]
    fn an_event_that_is_written_again_and_again_leaves_no_trace_of_it() {
        let store = store(100);
        for _ in 0..5 * STALE_WRITES_MAX {
            store.write(|tx| tx.put(EVENTS, event("counted")));
        }
        let held = store.read(Transaction::held);
        assert_eq!(held.objects, 1);
        assert!(held.event_writes <= STALE_WRITES_MAX + 2, "{held:?}");
    }

    #[test]
    fn a_log_forgets_what_is_older_than_its_window() {
        let store = store(100);
        let first = store.write(|tx| tx.put(PODS, pod("a", "")).version);
        store.write(|tx| tx.advance(SignedDuration::from_secs(299)));
        let second = store.write(|tx| tx.put(PODS, pod("b", "")).version);
        store.read(|tx| assert_eq!(tx.events_after(PODS, first - 1, 10, None).unwrap().0.len(), 2));
        store.write(|tx| tx.advance(SignedDuration::from_secs(2)));
        store.read(|tx| {
            let too_old = tx.events_after(PODS, first - 1, 10, None).unwrap_err();
            assert_eq!(too_old, TooOld { asked: first - 1, floor: first });
            assert_eq!(tx.events_after(PODS, first, 10, None).unwrap().0[0].object.version, second);
        });
    }
}
