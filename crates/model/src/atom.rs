//! Interned strings: equal texts share one allocation, so that comparing two of them compares two pointers.
//!
//! Labels, taints, namespaces, node names and resource names repeat by the thousand; they are atoms. Names and UIDs of pods do
//! not repeat and are plain boxed strings.
//!
//! The table is shared by all threads, because objects are compiled where they are decoded, and it is sharded to keep contention
//! low. Atoms that nobody holds any more are removed: whenever the table has doubled in size, unused entries are swept out, so
//! its size is at most twice the number of atoms in use at the last sweep (and at least [`SWEEP_AT_LEAST`]).

use dashmap::DashMap;
use rustc_hash::{FxBuildHasher, FxHasher};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

/// No sweep takes place below this number of entries.
pub const SWEEP_AT_LEAST: usize = 16 * 1024;

struct Inner {
    /// Hash of the text. Unlike the address, it is the same in every run.
    hash: u64,
    text: Box<str>,
}

struct Table {
    atoms: DashMap<Box<str>, Arc<Inner>, FxBuildHasher>,
    sweep_at: AtomicUsize,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table {
    atoms: DashMap::with_hasher_and_shard_amount(FxBuildHasher, 16),
    sweep_at: AtomicUsize::new(SWEEP_AT_LEAST),
});

/// An interned string. Equality is by identity, order is by text, the hash is that of the text.
#[derive(Clone)]
pub struct Atom(Arc<Inner>);

impl Atom {
    /// Interns a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        if let Some(found) = TABLE.atoms.get(text) {
            return Self(Arc::clone(&found));
        }
        let atom = {
            let entry = TABLE.atoms.entry(text.into()).or_insert_with(|| {
                let mut hasher = FxHasher::default();
                text.hash(&mut hasher);
                Arc::new(Inner { hash: hasher.finish(), text: text.into() })
            });
            Self(Arc::clone(&entry))
        };
        if TABLE.atoms.len() > TABLE.sweep_at.load(Ordering::Relaxed) {
            sweep();
        }
        atom
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Hash of the text.
    #[inline]
    pub(crate) fn text_hash(&self) -> u64 {
        self.0.hash
    }

    /// Whether the text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.text.is_empty()
    }
}

/// Drops the atoms that only the table holds. Each shard is locked while it is swept, and atoms are handed out only under that
/// lock, so an atom that is found unused cannot be taken at the same moment.
fn sweep() {
    TABLE.atoms.retain(|_, inner| Arc::strong_count(inner) > 1);
    TABLE.sweep_at.store((TABLE.atoms.len() * 2).max(SWEEP_AT_LEAST), Ordering::Relaxed);
}

impl PartialEq for Atom {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
impl Eq for Atom {}

impl Hash for Atom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl PartialOrd for Atom {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Atom {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        if self == other { std::cmp::Ordering::Equal } else { self.as_str().cmp(other.as_str()) }
    }
}

/// Needed so often that it is not looked up each time.
static EMPTY: LazyLock<Atom> = LazyLock::new(|| Atom::new(""));

impl Default for Atom {
    fn default() -> Self {
        EMPTY.clone()
    }
}

impl From<&str> for Atom {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl PartialEq<str> for Atom {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}
impl PartialEq<&str> for Atom {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_atom_and_unequal_ones_are_not() {
        assert_eq!(Atom::new("zone"), Atom::new("zone"));
        assert_ne!(Atom::new("zone"), Atom::new("Zone"));
        assert!(Atom::new("a") < Atom::new("b"));
    }

    #[test]
    fn atoms_in_use_survive_a_sweep_and_unused_ones_go() {
        let kept = Atom::new("kept-through-the-sweep");
        drop(Atom::new("dropped-before-the-sweep"));
        sweep();
        assert_eq!(kept, Atom::new("kept-through-the-sweep"));
        assert!(TABLE.atoms.get("dropped-before-the-sweep").is_none());
    }
}
