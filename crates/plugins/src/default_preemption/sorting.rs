//! A sort that leaves ties as Go's `sort.Slice` does.
//!
//! Which of several equally important pods is evicted is visible to users, and upstream leaves it to its sort, which is not stable: a
//! pattern-defeating quicksort (Orson Peters) with insertion sort for short slices, heap sort as the fallback, and a fixed pseudo-random
//! scatter. It is deterministic, so the same steps with the same constants give the same order.

/// Slices up to this length are sorted by insertion.
const SHORT: usize = 12;
/// From this length on, the pivot is the median of three medians.
const LONG: usize = 50;
/// Number of swaps in the choice of the pivot if the slice is in descending order.
const ALL_SWAPPED: usize = 4 * 3;
/// A slice that looks sorted is given up on after this many elements out of place.
const MAX_MISPLACED: usize = 5;

/// Sorts by a comparison function.
pub(super) fn sort<T>(row: &mut [T], is_before: impl Fn(&T, &T) -> bool) {
    let end = row.len();
    // As many bad pivots are allowed as the length has bits.
    let bad_pivots = usize::BITS - end.leading_zeros();
    Sort { row, is_before }.quick(0, end, bad_pivots);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Looks {
    Ascending,
    Descending,
    Mixed,
}

struct Sort<'a, T, F> {
    row: &'a mut [T],
    is_before: F,
}

impl<T, F: Fn(&T, &T) -> bool> Sort<'_, T, F> {
    fn before(&self, a: usize, b: usize) -> bool {
        (self.is_before)(&self.row[a], &self.row[b])
    }

    fn quick(&mut self, mut start: usize, mut end: usize, mut bad_pivots: u32) {
        let (mut balanced, mut was_partitioned) = (true, true);
        loop {
            let length = end - start;
            if length <= SHORT {
                return self.insertion(start, end);
            }
            if bad_pivots == 0 {
                return self.heap(start, end);
            }
            if !balanced {
                self.scatter(start, end);
                bad_pivots -= 1;
            }
            let (mut pivot, mut looks) = self.choose_pivot(start, end);
            if looks == Looks::Descending {
                self.row[start..end].reverse();
                pivot = end - 1 - (pivot - start);
                looks = Looks::Ascending;
            }
            if balanced && was_partitioned && looks == Looks::Ascending && self.nearly_sorted(start, end) {
                return;
            }
            if start > 0 && !self.before(start - 1, pivot) {
                // The pivot equals the greatest element to the left: elements equal to it move to the front and are done.
                start = self.part_equal(start, end, pivot);
                continue;
            }
            let (middle, partitioned) = self.part(start, end, pivot);
            was_partitioned = partitioned;
            let (left, right) = (middle - start, end - middle);
            if left < right {
                balanced = left >= length / 8;
                self.quick(start, middle, bad_pivots);
                start = middle + 1;
            } else {
                balanced = right >= length / 8;
                self.quick(middle + 1, end, bad_pivots);
                end = middle;
            }
        }
    }

    fn insertion(&mut self, start: usize, end: usize) {
        for next in start + 1..end {
            let mut at = next;
            while at > start && self.before(at, at - 1) {
                self.row.swap(at, at - 1);
                at -= 1;
            }
        }
    }

    fn heap(&mut self, start: usize, end: usize) {
        let length = end - start;
        for root in (0..=(length - 1) / 2).rev() {
            self.sift(root, length, start);
        }
        for last in (0..length).rev() {
            self.row.swap(start, start + last);
            self.sift(0, last, start);
        }
    }

    fn sift(&mut self, mut root: usize, length: usize, start: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= length {
                return;
            }
            if child + 1 < length && self.before(start + child, start + child + 1) {
                child += 1;
            }
            if !self.before(start + root, start + child) {
                return;
            }
            self.row.swap(start + root, start + child);
            root = child;
        }
    }

    /// Breaks a pattern that led to a bad pivot: swaps three elements in the middle with others.
    fn scatter(&mut self, start: usize, end: usize) {
        let length = end - start;
        if length < 8 {
            return;
        }
        let mut random = length as u64;
        // A power of two that is greater than the length, and at most twice as great.
        let mask = (1_u64 << (usize::BITS - length.leading_zeros())) - 1;
        let middle = start + length / 4 * 2;
        for at in middle - 1..=middle + 1 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Less than twice the length.
            let mut other = (random & mask) as usize;
            if other >= length {
                other -= length;
            }
            self.row.swap(at, start + other);
        }
    }

    /// The position of the pivot, and how the elements that were compared are ordered.
    fn choose_pivot(&self, start: usize, end: usize) -> (usize, Looks) {
        let length = end - start;
        let mut swaps = 0;
        let [mut low, mut middle, mut high] = [1, 2, 3].map(|quarter| start + length / 4 * quarter);
        if length >= 8 {
            if length >= LONG {
                for place in [&mut low, &mut middle, &mut high] {
                    *place = self.median(*place - 1, *place, *place + 1, &mut swaps);
                }
            }
            middle = self.median(low, middle, high, &mut swaps);
        }
        let looks = match swaps {
            0 => Looks::Ascending,
            ALL_SWAPPED => Looks::Descending,
            _ => Looks::Mixed,
        };
        (middle, looks)
    }

    fn median(&self, a: usize, b: usize, c: usize, swaps: &mut usize) -> usize {
        let mut ordered = |a: usize, b: usize| {
            if self.before(b, a) {
                *swaps += 1;
                (b, a)
            } else {
                (a, b)
            }
        };
        let (a, b) = ordered(a, b);
        let (b, _) = ordered(b, c);
        ordered(a, b).1
    }

    /// Whether the slice is sorted, possibly after putting a few elements in place.
    fn nearly_sorted(&mut self, start: usize, end: usize) -> bool {
        let mut at = start + 1;
        for _ in 0..MAX_MISPLACED {
            while at < end && !self.before(at, at - 1) {
                at += 1;
            }
            if at == end {
                return true;
            }
            if end - start < LONG {
                return false;
            }
            self.row.swap(at, at - 1);
            if at - start >= 2 {
                let mut left = at - 1;
                while left >= 1 && self.before(left, left - 1) {
                    self.row.swap(left, left - 1);
                    left -= 1;
                }
            }
            if end - at >= 2 {
                let mut right = at + 1;
                while right < end && self.before(right, right - 1) {
                    self.row.swap(right, right - 1);
                    right += 1;
                }
            }
        }
        false
    }

    /// Partitions the slice at the pivot: returns its new position, and whether nothing had to be moved.
    fn part(&mut self, start: usize, end: usize, pivot: usize) -> (usize, bool) {
        self.row.swap(start, pivot);
        let (mut low, mut high) = (start + 1, end - 1);
        let mut moved = false;
        loop {
            while low <= high && self.before(low, start) {
                low += 1;
            }
            while low <= high && !self.before(high, start) {
                high -= 1;
            }
            if low > high {
                break;
            }
            self.row.swap(low, high);
            low += 1;
            high -= 1;
            moved = true;
        }
        self.row.swap(high, start);
        (high, !moved)
    }

    /// Moves the elements that equal the pivot to the front, given that none is less; returns the position after them.
    fn part_equal(&mut self, start: usize, end: usize, pivot: usize) -> usize {
        self.row.swap(start, pivot);
        let (mut low, mut high) = (start + 1, end - 1);
        loop {
            while low <= high && !self.before(start, low) {
                low += 1;
            }
            while low <= high && self.before(start, high) {
                high -= 1;
            }
            if low > high {
                return low;
            }
            self.row.swap(low, high);
            low += 1;
            high -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sort;

    const OFFSET: u64 = 14_695_981_039_346_656_037;
    const PRIME: u64 = 1_099_511_628_211;

    /// Slices of up to 400 elements with keys in ever more different patterns; the checksum (FNV-1a) over the elements' original positions
    /// is that of Go 1.26's `sort.Slice` on the same slices.
    #[test]
    fn ties_come_out_as_in_go() {
        let mut random = 1_u64;
        let mut hash = OFFSET;
        for length in 0..400_u64 {
            for pattern in 0..12 {
                let mut row: Vec<(u64, u64)> = (0..length)
                    .map(|place| {
                        random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let key = match pattern {
                            0 => 0,
                            1 => place,
                            2 => length - place,
                            3 => place / 7,
                            4 => (length - place) / 7,
                            5 => place % 5,
                            6 => (random >> 33) % 3,
                            7 => (random >> 33) % 20,
                            8 => random >> 33,
                            9 => place + if random >> 33 & 31 == 0 { 5 } else { 0 },
                            10 => (place * place) % 17,
                            _ => place ^ 1,
                        };
                        (key, place)
                    })
                    .collect();
                sort(&mut row, |a, b| a.0 < b.0);
                assert!(row.is_sorted_by_key(|e| e.0), "length {length} pattern {pattern}");
                for (_, place) in row {
                    hash = (hash ^ place).wrapping_mul(PRIME);
                }
            }
        }
        assert_eq!(hash, SORTED);
    }

    const SORTED: u64 = 0xf4cc_cc5c_506a_ff13;
}
