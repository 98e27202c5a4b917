//! All objects, one global resourceVersion, and for each store a bounded log of events.
//!
//! Written by the API handlers and the simulated controllers, each in one short critical section; read by lists
//! and watches, which take `Arc`s out and work on them outside of the lock. Watches *pull* from the log, so that
//! a slow watcher costs nothing: when the log has moved on without it, it is told 410, as upstream does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::watch;

use crate::object::Object;
use crate::random::Random;
use crate::resource::{self, EVENTS, STORE_COUNT, StoreId};
use crate::time;

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
}

/// Bounds of the event log of one store: a watch older than that is told 410.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Most events kept.
    pub events_max: usize,
    /// Most bytes of object versions kept.
    pub bytes_max: usize,
}

#[derive(Debug, Default)]
struct Table {
    objects: BTreeMap<Box<str>, BTreeMap<Box<str>, Arc<Object>>>,
    count: usize,
    log: VecDeque<Event>,
    log_bytes: usize,
    /// The version of the last event that left the log: who has not seen it has missed it.
    floor: u64,
    /// Nobody may begin before this version, though he may have missed nothing.
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
    stored_events_max: usize,
    stored_events: VecDeque<(Box<str>, Box<str>)>,
}

/// The store: shared by everything in the sandbox.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<Transaction>,
    signals: Vec<watch::Sender<u64>>,
}

/// Asked for a version that the log does not reach any more.
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
    pub(crate) fn new(window: Window, stored_events_max: usize, seed: u64) -> Store {
        let state = Transaction {
            version: 1,
            tables: (0..STORE_COUNT).map(|_| Table::default()).collect(),
            window,
            random: Random::new(seed),
            dirty: 0,
            stored_events_max,
            stored_events: VecDeque::new(),
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

    /// Reads and writes in one critical section; watchers are woken after it.
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

    /// How many objects the store holds.
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

    /// Stores a new object or a new version of one: sets resourceVersion, logs the event.
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
        self.log(store, Event { change, object: Arc::clone(&object), previous, at: Instant::now() });
        if store == EVENTS && change == Change::Added {
            self.stored_events.push_back((object.namespace.clone(), object.name.clone()));
            self.expire_events();
        }
        object
    }

    /// Removes an object; gives its last state under the version of the deletion.
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
        self.log(
            store,
            Event {
                change: Change::Deleted,
                object: Arc::clone(&object),
                previous: Some(previous),
                at: Instant::now(),
            },
        );
        Some(object)
    }

    /// Stands in for the time to live of events in a real cluster: the oldest go first.
    fn expire_events(&mut self) {
        while self.stored_events.len() > self.stored_events_max {
            let Some((namespace, name)) = self.stored_events.pop_front() else { return };
            self.remove(EVENTS, &namespace, &name);
        }
    }

    fn log(&mut self, store: StoreId, event: Event) {
        self.dirty |= 1 << store.0;
        let window = self.window;
        let table = &mut self.tables[usize::from(store.0)];
        table.log_bytes += event.object.weight_bytes();
        table.log.push_back(event);
        while table.log.len() > window.events_max
            || (table.log_bytes > window.bytes_max && table.log.len() > 1)
        {
            let Some(gone) = table.log.pop_front() else { return };
            table.log_bytes -= gone.object.weight_bytes();
            table.floor = gone.object.version;
            table.compacted = table.compacted.max(table.floor);
        }
    }

    /// Forgets all events of a store, as etcd's compaction does. A version of its own makes sure that everything
    /// that a client has seen is too old to begin at; watches that have missed nothing go on.
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

    /// At most `max` events after `cursor` (and not after `until`, when given), and the cursor to go on from.
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

    /// The objects that pass `keep`, as they were at an older version: the log is rolled back.
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

    /// The version that the store had `events_back` of its events ago, as far as the log reaches.
    pub(crate) fn version_before(&self, store: StoreId, events_back: usize) -> u64 {
        let table = self.table(store);
        match table.log.len().checked_sub(events_back) {
            Some(index) if events_back > 0 => table.log[index].object.version - 1,
            Some(_) => self.version,
            None => table.compacted.max(1),
        }
    }

    /// Gives an object what the API server gives at creation: uid, creationTimestamp.
    pub(crate) fn stamp(&mut self, value: &mut Value) {
        let meta = &mut value["metadata"];
        meta["uid"] = Value::from(self.random.uuid());
        meta["creationTimestamp"] = Value::from(time::now_seconds());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::PODS;
    use serde_json::json;

    fn store(events_max: usize) -> Store {
        Store::new(Window { events_max, bytes_max: 1 << 20 }, 10, 1)
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

    #[test]
    fn events_beyond_the_bound_expire_oldest_first() {
        let store = store(100);
        for i in 0..12 {
            store.write(|tx| {
                tx.put(EVENTS, json!({"metadata": {"namespace": "default", "name": format!("e{i:02}")}}));
            });
        }
        store.read(|tx| {
            assert_eq!(tx.count(EVENTS), 10);
            assert!(tx.get(EVENTS, "default", "e01").is_none());
            assert!(tx.get(EVENTS, "default", "e02").is_some());
        });
    }
}
