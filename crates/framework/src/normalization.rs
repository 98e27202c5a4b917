//! The usual ways to bring raw scores into range, as data: this separates what depends on the feasible nodes from what does not.

use crate::plugin::MAX_NODE_SCORE;

/// How a plugin's raw scores become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalization {
    /// Custom, or not at all: only [`Score::normalize`](crate::Score::normalize) knows.
    Own,
    /// Not at all: the raw scores are in range.
    Identity,
    /// Scaled so that the largest becomes 100; unchanged if none is above 0.
    ///
    /// Source: `DefaultNormalizeScore` in `plugins/helper`.
    ToMaximum,
    /// Scaled so that 0 becomes 100 and the largest becomes 0; if none is above 0, all become 100.
    ///
    /// Source: `DefaultNormalizeScore` in `plugins/helper`, reversed.
    Reversed,
}

impl Normalization {
    /// Normalises the scores of the feasible nodes.
    pub fn apply(self, scores: &mut [i64]) {
        if matches!(self, Self::Own | Self::Identity) {
            return;
        }
        let largest = scores.iter().copied().max().unwrap_or(0);
        for score in scores {
            *score = self.of(*score, largest);
        }
    }

    /// The normalised score of a node with this raw score; `largest` is the largest raw score of a feasible node.
    #[must_use]
    pub fn of(self, raw: i64, largest: i64) -> i64 {
        match self {
            Self::Own | Self::Identity => raw,
            Self::ToMaximum if largest > 0 => MAX_NODE_SCORE * raw / largest,
            Self::ToMaximum => raw,
            Self::Reversed if largest > 0 => MAX_NODE_SCORE - MAX_NODE_SCORE * raw / largest,
            Self::Reversed => MAX_NODE_SCORE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_scaled_to_the_largest() {
        for (raw, scaled, reversed) in [
            (&[][..], &[][..], &[][..]),
            (&[0, 0], &[0, 0], &[100, 100]),
            (&[7], &[100], &[0]),
            (&[0, 1], &[0, 100], &[100, 0]),
            // 100 * 1 / 3 = 33, truncated.
            (&[0, 1, 2, 3], &[0, 33, 66, 100], &[100, 67, 34, 0]),
        ] {
            for (way, expected) in [
                (Normalization::Own, raw),
                (Normalization::Identity, raw),
                (Normalization::ToMaximum, scaled),
                (Normalization::Reversed, reversed),
            ] {
                let mut scores = raw.to_vec();
                way.apply(&mut scores);
                assert_eq!(scores, expected, "{raw:?} {way:?}");
            }
        }
    }
}
