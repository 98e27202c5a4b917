//! A binary heap whose order is passed in with each call, since a plugin determines the order of the queue.

use std::cmp::Ordering;

/// A heap with its smallest element on top.
#[derive(Clone, Debug)]
pub struct Heap<T> {
    items: Vec<T>,
}

impl<T> Default for Heap<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T> Heap<T> {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The smallest element.
    #[must_use]
    pub fn peek(&self) -> Option<&T> {
        self.items.first()
    }

    /// All elements, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// Adds an element.
    pub fn push(&mut self, item: T, compare: impl Fn(&T, &T) -> Ordering) {
        self.items.push(item);
        let mut at = self.items.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if compare(&self.items[at], &self.items[parent]) != Ordering::Less {
                break;
            }
            self.items.swap(at, parent);
            at = parent;
        }
    }

    /// Removes and returns the smallest element.
    pub fn pop(&mut self, compare: impl Fn(&T, &T) -> Ordering) -> Option<T> {
        if self.items.is_empty() {
            return None;
        }
        let top = self.items.swap_remove(0);
        self.sift_down(0, &compare);
        Some(top)
    }

    /// Keeps the elements for which `keep` returns true, and restores the heap order.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool, compare: impl Fn(&T, &T) -> Ordering) {
        self.items.retain(keep);
        for at in (0..self.items.len() / 2).rev() {
            self.sift_down(at, &compare);
        }
    }

    fn sift_down(&mut self, mut at: usize, compare: &impl Fn(&T, &T) -> Ordering) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.items.len()
                    && compare(&self.items[child], &self.items[least]) == Ordering::Less
                {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.items.swap(at, least);
            at = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_cycle::Random;

    #[test]
    fn elements_leave_in_order() {
        let mut random = Random::new(7);
        for size in 0..40 {
            let mut heap = Heap::default();
            let mut sorted: Vec<u64> = (0..size).map(|_| random.next_u64() % 20).collect();
            for value in &sorted {
                heap.push(*value, Ord::cmp);
            }
            heap.retain(|v| v % 3 != 0, Ord::cmp);
            sorted.retain(|v| v % 3 != 0);
            sorted.sort_unstable();
            let popped: Vec<u64> = std::iter::from_fn(|| heap.pop(Ord::cmp)).collect();
            assert_eq!(popped, sorted);
        }
    }
}
