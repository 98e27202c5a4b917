//! A function from utilisation to score, defined by points: `shape` in the arguments of plugins.
//!
//! Source: `BuildBrokenLinearFunction` in `pkg/scheduler/framework/plugins/helper`, and `validateFunctionShape` in
//! `pkg/scheduler/apis/config/validation`.

use secondmate_framework::MAX_NODE_SCORE;
use serde::Deserialize;

/// Maximum score of a point as configured.
const MAX_WRITTEN_SCORE: i64 = 10;

/// A point as configured.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub(crate) struct PointArgs {
    /// Percent, 0 to 100.
    pub(crate) utilization: i64,
    /// 0 to 10.
    pub(crate) score: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    utilization: i64,
    /// 0 to 100.
    score: i64,
}

/// The function. It has at least one point, and its values are between 0 and 100.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape(Box<[Point]>);

impl Shape {
    /// Compiles the points.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn new(points: &[PointArgs]) -> Result<Self, &'static str> {
        if points.is_empty() {
            return Err("at least one point is needed");
        }
        if points.windows(2).any(|pair| pair[0].utilization >= pair[1].utilization) {
            return Err("utilization must grow from point to point");
        }
        let in_range =
            |p: &PointArgs| (0..=100).contains(&p.utilization) && (0..=MAX_WRITTEN_SCORE).contains(&p.score);
        if !points.iter().all(in_range) {
            return Err("utilization goes from 0 to 100, score from 0 to 10");
        }
        let scale = MAX_NODE_SCORE / MAX_WRITTEN_SCORE;
        let point = |p: &PointArgs| Point { utilization: p.utilization, score: p.score * scale };
        Ok(Self(points.iter().map(point).collect()))
    }

    /// The score for this much being allocated of the total, by the percentage, which is truncated. If the total is 0, or less than what is
    /// allocated, it counts as fully allocated. The integers are upstream's, overflow included.
    pub(crate) fn score(&self, taken: i64, all: i64) -> i64 {
        let utilization =
            if all == 0 || taken > all { 100 } else { taken.wrapping_mul(100).wrapping_div(all) };
        self.at(utilization)
    }

    /// Constant before the first point and after the last, linear between two.
    fn at(&self, utilization: i64) -> i64 {
        let points = &self.0;
        let Some(next) = points.iter().position(|point| utilization <= point.utilization) else {
            return points.last().map_or(0, |last| last.score);
        };
        let to = points[next];
        let Some(from) = next.checked_sub(1).map(|at| points[at]) else { return to.score };
        from.score
            + (to.score - from.score) * (utilization - from.utilization) / (to.utilization - from.utilization)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(points: &[(i64, i64)]) -> Result<Shape, &'static str> {
        let points: Vec<_> = points
            .iter()
            .map(|(utilization, score)| PointArgs { utilization: *utilization, score: *score })
            .collect();
        Shape::new(&points)
    }

    #[test]
    fn the_function_goes_through_its_points() {
        let peak = shape(&[(20, 2), (50, 10), (80, 4)]).expect("a shape");
        for (taken, expected) in [
            (0, 20),
            (20, 20),
            // 20 + 80 * 10 / 30 = 46.7, truncated
            (30, 46),
            (50, 100),
            // 100 + (-60 * 1 / 30 = -2) = 98
            (51, 98),
            (80, 40),
            (100, 40),
            (101, 40),
        ] {
            assert_eq!(peak.score(taken, 100), expected, "{taken}");
        }
        // 2 of 3 are 66 %, truncated.
        let rising = shape(&[(0, 0), (100, 10)]).expect("a shape");
        assert_eq!([rising.score(2, 3), rising.score(0, 0), rising.score(4, 3)], [66, 100, 100]);
    }

    #[test]
    fn points_are_checked() {
        for points in [&[][..], &[(50, 1), (50, 2)], &[(0, 11)], &[(0, -1)], &[(-1, 0)], &[(101, 0)]] {
            assert!(shape(points).is_err(), "{points:?}");
        }
        assert!(shape(&[(0, 10)]).is_ok());
    }
}
