//! The classes that are kept, within a budget of memory.

use super::class::Class;
use super::key::Key;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Hashes of keys that are remembered to know a class that has been seen before: a power of two.
const SEEN: usize = 4096;

/// Pods of a class that cannot be kept that take the plain pass before it is tried again.
const PASS: u32 = 100;

/// A key that was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    hash: u64,
    to_pass: u32,
}

/// Classes by key.
#[derive(Debug, Default)]
pub(super) struct Classes {
    /// By the hash of the key; different keys with the same hash stand in a row.
    by_hash: FxHashMap<u64, SmallVec<[Box<Class>; 1]>>,
    count: usize,
    bytes: usize,
    /// Counts the uses.
    clock: u64,
    /// Hashes seen lately, each at its place.
    seen: Vec<Sight>,
}

impl Classes {
    /// Number of classes.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Memory that they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a class out; [`Classes::put`] brings it back.
    pub(super) fn take(&mut self, key: &Key) -> Option<Box<Class>> {
        let row = self.by_hash.get_mut(&key.hash())?;
        let at = row.iter().position(|class| class.key == *key)?;
        let class = row.swap_remove(at);
        if row.is_empty() {
            self.by_hash.remove(&key.hash());
        }
        self.count -= 1;
        self.bytes -= class.bytes;
        Some(class)
    }

    /// Keeps a class that was just used. Where there is not enough memory for all, those go that were not used for the longest
    /// time; says how many.
    pub(super) fn put(&mut self, mut class: Box<Class>, bytes_max: usize) -> usize {
        self.clock += 1;
        class.used = self.clock;
        self.count += 1;
        self.bytes += class.bytes;
        self.by_hash.entry(class.key.hash()).or_default().push(class);
        let mut dropped = 0;
        while self.bytes > bytes_max && self.count > 0 {
            self.drop_oldest();
            dropped += 1;
        }
        dropped
    }

    fn drop_oldest(&mut self) {
        // The order does not show: every class was used at another time.
        let all = self.by_hash.iter().flat_map(|(hash, row)| row.iter().map(|class| (class.used, *hash)));
        let Some((used, hash)) = all.min() else { return };
        let Some(row) = self.by_hash.get_mut(&hash) else { return };
        row.retain(|class| {
            let stays = class.used != used;
            if !stays {
                self.count -= 1;
                self.bytes -= class.bytes;
            }
            stays
        });
        if row.is_empty() {
            self.by_hash.remove(&hash);
        }
    }

    /// Whether a class is worth making: a pod of it was seen lately. From now on one was.
    pub(super) fn see(&mut self, key: &Key) -> bool {
        let sight = self.sight(key.hash());
        if sight.hash != key.hash() {
            *sight = Sight { hash: key.hash(), to_pass: 0 };
            return false;
        }
        let worth = sight.to_pass == 0;
        sight.to_pass = sight.to_pass.saturating_sub(1);
        worth
    }

    /// A class with this hash turned out to be of no use: the next pods of it take the plain pass without another try.
    pub(super) fn give_up(&mut self, hash: u64) {
        *self.sight(hash) = Sight { hash, to_pass: PASS };
    }

    fn sight(&mut self, hash: u64) -> &mut Sight {
        if self.seen.is_empty() {
            self.seen.resize(SEEN, Sight::default());
        }
        // The high bits are those that the hash mixes best.
        &mut self.seen[(hash >> 32) as usize % SEEN]
    }
}
