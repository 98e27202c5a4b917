//! The core's only source of randomness: seeded, so that a replay makes the same choices.

/// SplitMix64: one addition and a mix per number, any seed works, period 2^64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0. The bias of the multiplication is below 2^-32 for any list of nodes.
    pub fn below(&mut self, bound: usize) -> usize {
        debug_assert!(bound > 0, "nothing is below zero");
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }
}
