//! The generator's own random numbers: the same on every machine and in every release.

use secondmate_cycle as cycle;

/// The core's generator, with what makes cases.
#[derive(Clone, Debug)]
pub struct Random(cycle::Random);

impl Random {
    /// From a seed and the number of the case: neighbouring cases have nothing in common.
    #[must_use]
    pub fn new(seed: u64, index: u64) -> Self {
        let mixed = cycle::Random::new(seed ^ 0x5851_f42d_4c95_7f2d).next_u64();
        let mut random = cycle::Random::new(mixed ^ index.wrapping_mul(0xd134_2543_de82_ef95));
        random.next_u64();
        Self(random)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }

    /// A number of the range, both ends included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(usize::try_from(high - low + 1).expect("a range that is not empty")) as i64
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent as usize
    }

    /// One of several.
    pub fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// One element.
    pub fn element<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
