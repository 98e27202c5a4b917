//! How the allocated share of a node's resources becomes a score.

use crate::allocation::{Allocation, quotient};
use crate::shape::{PointArgs, Shape};
use secondmate_framework::MAX_NODE_SCORE;
use serde::Deserialize;

/// A scoring strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// The emptier the better.
    LeastAllocated,
    /// The fuller the better.
    MostAllocated,
    /// By a function of the utilisation that is linear between points.
    RequestedToCapacityRatio(Shape),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RatioArgs {
    #[serde(default)]
    shape: Option<Vec<PointArgs>>,
}

impl Strategy {
    /// Compiles a strategy.
    ///
    /// # Errors
    /// What is wrong, starting with the path of the field.
    pub(super) fn new(kind: &str, ratio: Option<RatioArgs>) -> Result<Self, String> {
        let ratio_wanted = kind == "RequestedToCapacityRatio";
        if ratio.is_some() && !ratio_wanted {
            return Err(format!(
                "requestedToCapacityRatio: leave it out, or make the type RequestedToCapacityRatio (it is {kind:?})"
            ));
        }
        match kind {
            "LeastAllocated" => Ok(Self::LeastAllocated),
            "MostAllocated" => Ok(Self::MostAllocated),
            "RequestedToCapacityRatio" => {
                let points = ratio.and_then(|ratio| ratio.shape).unwrap_or_default();
                Shape::new(&points)
                    .map(Self::RequestedToCapacityRatio)
                    .map_err(|wrong| format!("requestedToCapacityRatio.shape: {wrong}"))
            }
            other => Err(format!(
                "type: {other:?} is none of LeastAllocated, MostAllocated, RequestedToCapacityRatio"
            )),
        }
    }

    /// The score of a node from the allocations of its resources, each with its weight; 0 if none counts.
    ///
    /// The integers are upstream's, overflow included.
    pub(super) fn score(&self, allocations: impl Iterator<Item = (Allocation, i64)>) -> i64 {
        let (mut sum, mut weights) = (0_i64, 0_i64);
        for (allocation, weight) in allocations {
            let score = match self {
                Self::LeastAllocated => least(&allocation),
                Self::MostAllocated => most(&allocation),
                Self::RequestedToCapacityRatio(shape) => {
                    match shape.score(allocation.requested, allocation.allocatable) {
                        ..=0 => continue,
                        score => score,
                    }
                }
            };
            sum = sum.wrapping_add(score.wrapping_mul(weight));
            weights += weight;
        }
        match self {
            _ if weights == 0 => 0,
            Self::RequestedToCapacityRatio(_) => (sum as f64 / weights as f64).round() as i64,
            _ => quotient(sum, weights),
        }
    }
}

fn least(allocation: &Allocation) -> i64 {
    if allocation.requested > allocation.allocatable {
        return 0;
    }
    let free = allocation.allocatable.wrapping_sub(allocation.requested);
    quotient(free.wrapping_mul(MAX_NODE_SCORE), allocation.allocatable)
}

fn most(allocation: &Allocation) -> i64 {
    // With the defaults for containers that request nothing, the sum may exceed the allocatable amount.
    let requested = allocation.requested.min(allocation.allocatable);
    quotient(requested.wrapping_mul(MAX_NODE_SCORE), allocation.allocatable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(points: &[(i64, i64)]) -> Strategy {
        let shape =
            points.iter().map(|(utilization, score)| PointArgs { utilization: *utilization, score: *score });
        Strategy::new("RequestedToCapacityRatio", Some(RatioArgs { shape: Some(shape.collect()) }))
            .expect("a shape")
    }

    /// Score of resources given as (requested, allocatable, weight).
    fn score(strategy: &Strategy, resources: &[(i64, i64, i64)]) -> i64 {
        strategy.score(resources.iter().map(|(requested, allocatable, weight)| {
            (Allocation { allocatable: *allocatable, allocated: 0, requested: *requested }, *weight)
        }))
    }

    #[test]
    fn least_and_most_allocated_weigh_and_cut() {
        for (resources, least, most) in [
            (&[][..], 0, 0),
            (&[(0, 10, 1)], 100, 0),
            (&[(10, 10, 1)], 0, 100),
            // More than there is.
            (&[(11, 10, 1)], 0, 100),
            // 66.6 and 33.3, truncated.
            (&[(1, 3, 1)], 66, 33),
            // (75 + 2 * 20) / 3 = 38.3 and (25 + 2 * 80) / 3 = 61.6
            (&[(1, 4, 1), (8, 10, 2)], 38, 61),
            // (66 + 50) / 2 and (33 + 50) / 2 = 41.5: each resource is truncated before the sum is.
            (&[(1, 3, 1), (1, 2, 1)], 58, 41),
            // The largest amounts that do not overflow.
            (&[(0, i64::MAX / 100, 1)], 100, 0),
        ] {
            assert_eq!(score(&Strategy::LeastAllocated, resources), least, "least {resources:?}");
            assert_eq!(score(&Strategy::MostAllocated, resources), most, "most {resources:?}");
        }
    }

    #[test]
    fn the_ratio_follows_the_shape_and_rounds() {
        let rising = shape(&[(0, 0), (100, 10)]);
        let peak = shape(&[(20, 2), (50, 10), (80, 4)]);
        for (strategy, resources, expected) in [
            (&rising, &[(25, 100, 1)][..], 25),
            (&rising, &[(150, 100, 1)], 100),
            // A resource that scores 0 does not count, not even with its weight.
            (&rising, &[(0, 100, 5), (40, 100, 1)], 40),
            (&rising, &[(0, 100, 5)], 0),
            // (25 + 50) / 2 = 37.5, rounded up.
            (&rising, &[(25, 100, 1), (50, 100, 1)], 38),
            // (25 + 2 * 50) / 3 = 41.7
            (&rising, &[(25, 100, 1), (50, 100, 2)], 42),
            (&peak, &[(0, 100, 1)], 20),
            (&peak, &[(20, 100, 1)], 20),
            // 20 + 80 * 10 / 30 = 46.7, truncated
            (&peak, &[(30, 100, 1)], 46),
            (&peak, &[(50, 100, 1)], 100),
            // 100 + -60 * 10 / 30 = 80
            (&peak, &[(60, 100, 1)], 80),
            (&peak, &[(90, 100, 1)], 40),
            // Falling, truncated towards zero: 100 + (-60 * 1 / 30 = -2) = 98
            (&peak, &[(51, 100, 1)], 98),
        ] {
            assert_eq!(score(strategy, resources), expected, "{strategy:?} {resources:?}");
        }
    }
}
