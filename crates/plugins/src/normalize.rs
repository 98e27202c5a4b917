//! The usual way to bring raw scores into the range of scores.

use secondmate_framework::MAX_NODE_SCORE;

/// Scales the scores so that the largest becomes 100. Without any score above 0 they stay 0.
///
/// Source: `DefaultNormalizeScore` in `plugins/helper`.
pub(crate) fn to_maximum(scores: &mut [i64]) {
    let largest = scores.iter().copied().max().unwrap_or(0);
    if largest > 0 {
        for score in scores {
            *score = MAX_NODE_SCORE * *score / largest;
        }
    }
}

/// Scales the scores so that 0 becomes 100 and the largest becomes 0. Without any score above 0 all become 100.
///
/// Source: `DefaultNormalizeScore` in `plugins/helper`, reversed.
pub(crate) fn reversed(scores: &mut [i64]) {
    let largest = scores.iter().copied().max().unwrap_or(0).max(0);
    for score in scores {
        *score =
            if largest == 0 { MAX_NODE_SCORE } else { MAX_NODE_SCORE - MAX_NODE_SCORE * *score / largest };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn scores_are_scaled_to_the_largest() {
        for (raw, scaled, reversed) in [
            (&[][..], &[][..], &[][..]),
            (&[0, 0], &[0, 0], &[100, 100]),
            (&[7], &[100], &[0]),
            (&[0, 1], &[0, 100], &[100, 0]),
            // 100 * 1 / 3 = 33, cut.
            (&[0, 1, 2, 3], &[0, 33, 66, 100], &[100, 67, 34, 0]),
        ] {
            let mut scores = raw.to_vec();
            super::to_maximum(&mut scores);
            assert_eq!(scores, scaled, "{raw:?}");
            let mut scores = raw.to_vec();
            super::reversed(&mut scores);
            assert_eq!(scores, reversed, "{raw:?} reversed");
        }
    }
}
