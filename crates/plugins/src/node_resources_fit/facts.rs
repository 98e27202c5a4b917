//! What is missing on a node, in numbers.

use super::{Needs, Shortage};
use crate::facts::{bytes, cpu, lacks};
use secondmate_framework::Fact;
use secondmate_model::NodeInfo;

impl Needs {
    /// One fact for each of the filter's reasons to reject the node.
    pub(super) fn facts(&self, node: &NodeInfo) -> Vec<Fact> {
        let (allocatable, requested) = (&node.node().allocatable, node.requested());
        let (has, pods) = (&allocatable.resources, node.pods().len());
        let mut facts = Vec::new();
        if self.has_too_many_pods(allocatable, pods) {
            let text = format!("holds {pods} of at most {} pods", allocatable.pods);
            let help = format!("one pod fewer on {}", node.name());
            facts.push(Fact { text, help: Some(help), lacks: 1000 });
        }
        let mut amount = |name: &str, need: i64, has: i64, taken: i64, show: fn(i64) -> String| {
            let mut shortage = Shortage::default();
            shortage.check(need, has, taken, || name.to_owned().into());
            if shortage.reasons.is_empty() {
                return;
            }
            let free = has.saturating_sub(taken).max(0);
            let asked = show(need);
            let (text, help) = if has <= 0 {
                (format!("asks {asked} {name}, the node has none"), format!("a node with {name}"))
            } else if shortage.unresolvable {
                let all = show(has);
                let text =
                    format!("asks {asked} {name}, {} of {all} free: too much for the node", show(free));
                (text, format!("a node with {asked} {name} or more"))
            } else {
                let text = format!("asks {asked} {name}, {} of {} free", show(free), show(has));
                let missing = show(need.saturating_sub(free));
                (
                    text,
                    format!(
                        "{missing} more {name} free on {}, or a request of {} or less",
                        node.name(),
                        show(free)
                    ),
                )
            };
            facts.push(Fact { text, help: Some(help), lacks: lacks(need, free) });
        };
        let plain = |number: i64| number.to_string();
        amount("cpu", self.milli_cpu, has.milli_cpu, requested.milli_cpu, cpu);
        amount("memory", self.memory, has.memory, requested.memory, bytes);
        let storage = "ephemeral-storage";
        amount(storage, self.ephemeral_storage, has.ephemeral_storage, requested.ephemeral_storage, bytes);
        for need in self.scalars_judged(has) {
            let of = |amounts: &secondmate_model::Resources| amounts.scalar(&need.name).unwrap_or(0);
            let name = need.name.as_str();
            let show = if name.starts_with("hugepages-") { bytes } else { plain };
            amount(name, need.amount, of(has), of(requested), show);
        }
        facts
    }
}
