//! The two strategies, as in Trimaran (`pkg/trimaran` of the scheduler plugins).

use crate::args::{LoadAwareArgs, Strategy};
use crate::load::{Load, Share};
use secondmate_framework::MAX_NODE_SCORE;

impl Strategy {
    /// The score of a node with this load, 0 to 100.
    pub(crate) fn score(self, args: &LoadAwareArgs, load: &Load) -> i64 {
        let score = match self {
            Self::TargetLoadPacking => packing(f64::from(args.target_utilization), load.cpu.used * 100.0),
            Self::LoadVariationRiskBalancing => {
                let cpu = balancing(args, load.cpu);
                load.memory.map_or(cpu, |memory| cpu.min(balancing(args, memory)))
            }
        };
        // Whatever was measured, the result is within the range.
        (score.round() as i64).clamp(0, MAX_NODE_SCORE)
    }
}

/// Rises from the target's value for an idle node to 100 at the target; above that it falls from the target's value to 0 at 100 % usage.
fn packing(target: f64, used: f64) -> f64 {
    if used > 100.0 {
        0.0
    } else if used > target {
        target * (100.0 - used) / (100.0 - target)
    } else {
        (100.0 - target) * used.max(0.0) / target + target
    }
}

/// The risk consists of the mean and the deviation, in equal parts.
fn balancing(args: &LoadAwareArgs, share: Share) -> f64 {
    let mean = share.used.clamp(0.0, 1.0);
    let deviation = share.deviation.clamp(0.0, 1.0).powf(1.0 / args.safe_variance_sensitivity);
    let deviation = (deviation * args.safe_variance_margin).clamp(0.0, 1.0);
    (1.0 - (mean + deviation) / 2.0) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(cpu: f64, deviation: f64, memory: Option<f64>) -> Load {
        let memory = memory.map(|used| Share { used, deviation: 0.0 });
        Load { cpu: Share { used: cpu, deviation }, memory }
    }

    #[test]
    fn nodes_are_packed_up_to_the_target() {
        let args = LoadAwareArgs::default();
        let scores: Vec<i64> = [0.0, 0.2, 0.4, 0.401, 0.7, 1.0, 1.1, -0.5]
            .map(|cpu| Strategy::TargetLoadPacking.score(&args, &load(cpu, 0.0, None)))
            .to_vec();
        assert_eq!(scores, [40, 70, 100, 40, 20, 0, 0, 40]);
    }

    #[test]
    fn risk_is_mean_and_deviation_of_the_worse_resource() {
        let score = |args: &LoadAwareArgs, cpu: f64, deviation: f64, memory: Option<f64>| {
            Strategy::LoadVariationRiskBalancing.score(args, &load(cpu, deviation, memory))
        };
        let args = LoadAwareArgs::default();
        assert_eq!(score(&args, 0.0, 0.0, Some(0.0)), 100);
        assert_eq!(score(&args, 0.5, 0.0, None), 75);
        assert_eq!(score(&args, 0.5, 0.5, None), 50);
        assert_eq!(score(&args, 0.1, 0.0, Some(0.9)), 55);
        assert_eq!(score(&args, 9.0, 9.0, None), 0);
        let sensitive = LoadAwareArgs { safe_variance_sensitivity: 2.0, ..args.clone() };
        assert_eq!(score(&sensitive, 0.0, 0.25, None), 75);
        let daring = LoadAwareArgs { safe_variance_margin: 0.0, ..args };
        assert_eq!(score(&daring, 0.5, 0.5, None), 75);
    }

    #[test]
    fn what_is_no_number_is_the_worst_of_nodes() {
        let args = LoadAwareArgs::default();
        let nan = load(f64::NAN, f64::NAN, None);
        for strategy in [Strategy::TargetLoadPacking, Strategy::LoadVariationRiskBalancing] {
            assert!((0..=MAX_NODE_SCORE).contains(&strategy.score(&args, &nan)), "{strategy:?}");
        }
    }
}
