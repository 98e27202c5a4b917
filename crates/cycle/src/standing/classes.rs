//! The classes that are kept, within a memory budget.

use super::class::Class;
use super::key::Key;
use super::why::Why;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Number of key hashes that are remembered, to recognise classes that were seen before: a power of two.
const SEEN: usize = 4096;

/// How many pods of a class that was given up take the plain pass before it is tried again.
const PASS: u32 = 100;

/// A key that was seen.
#[derive(Clone, Debug, Default)]
struct Sight {
    hash: u64,
    /// Pods that are to take the plain pass, and why.
    to_pass: u32,
    why: Option<Why>,
}

/// Whether pods of a class have been seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// No pod of it was seen recently.
    Never,
    /// A pod of it was seen.
    Before,
    /// The class turned out to be unusable, for this reason.
    GivenUp(Why),
}

/// Classes by key.
#[derive(Debug, Default)]
pub(super) struct Classes {
    /// By hash of the key; different keys with the same hash share an entry.
    by_hash: FxHashMap<u64, SmallVec<[Box<Class>; 1]>>,
    /// The hashes in the order in which classes are dropped: unproven ones first, then by last use.
    order: BTreeMap<(bool, u64), u64>,
    bytes: usize,
    /// Counts the uses.
    clock: u64,
    /// Recently seen hashes, each in the slot that the hash selects.
    seen: Vec<Sight>,
}

impl Classes {
    /// Number of classes.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Memory used, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a class out; [`Classes::put`] puts it back.
    pub(super) fn take(&mut self, key: &Key) -> Option<Box<Class>> {
        let row = self.by_hash.get_mut(&key.hash())?;
        let at = row.iter().position(|class| class.key == *key)?;
        let class = row.swap_remove(at);
        if row.is_empty() {
            self.by_hash.remove(&key.hash());
        }
        self.order.remove(&(class.proven, class.used));
        self.bytes -= class.bytes;
        Some(class)
    }

    /// Keeps a class that was just used. If there is not enough memory for all, classes with only one pod so far are dropped
    /// first, then the least recently used ones. Returns how many were dropped.
    pub(super) fn put(&mut self, mut class: Box<Class>, bytes_max: usize) -> usize {
        self.clock += 1;
        class.used = self.clock;
        self.bytes += class.bytes;
        self.order.insert((class.proven, class.used), class.key.hash());
        self.by_hash.entry(class.key.hash()).or_default().push(class);
        let mut dropped = 0;
        while self.bytes > bytes_max && self.drop_first() {
            dropped += 1;
        }
        dropped
    }

    fn drop_first(&mut self) -> bool {
        let Some(((_, used), hash)) = self.order.pop_first() else { return false };
        let Some(row) = self.by_hash.get_mut(&hash) else { return false };
        if let Some(at) = row.iter().position(|class| class.used == used) {
            self.bytes -= row.swap_remove(at).bytes;
        }
        if row.is_empty() {
            self.by_hash.remove(&hash);
        }
        true
    }

    /// Whether the class has been seen before; also records that a pod of it was seen now.
    pub(super) fn see(&mut self, key: &Key) -> Seen {
        let sight = self.sight(key.hash());
        if sight.hash != key.hash() {
            *sight = Sight { hash: key.hash(), to_pass: 0, why: None };
            return Seen::Never;
        }
        match &sight.why {
            Some(why) if sight.to_pass > 0 => {
                sight.to_pass -= 1;
                Seen::GivenUp(why.clone())
            }
            _ => Seen::Before,
        }
    }

    /// A class with this hash turned out to be unusable: its next pods take the plain pass without another try.
    pub(super) fn give_up(&mut self, hash: u64, why: Why) {
        *self.sight(hash) = Sight { hash, to_pass: PASS, why: Some(why) };
    }

    fn sight(&mut self, hash: u64) -> &mut Sight {
        if self.seen.is_empty() {
            self.seen.resize(SEEN, Sight::default());
        }
        // The high bits of the hash are the best mixed ones.
        &mut self.seen[(hash >> 32) as usize % SEEN]
    }
}
