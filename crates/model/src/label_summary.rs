//! A compact summary of the labels that a node's pods may have: it can rule out that a selector matches any of them without
//! looking at the pods.
//!
//! Most selectors select the pods of one workload, and most nodes have none of those. The summary is a bit set with one bit for
//! the hash of each label (a Bloom filter with one hash): a clear bit means that no pod has the label, a set bit may be due to
//! another label.

use crate::{LabelSelector, Labels, Requirement};

/// Size of the set in bits. The pods of a node, about a hundred at most, seldom have that many different labels.
const BITS: usize = 256;
const WORDS: usize = BITS / u64::BITS as usize;

/// The labels of a node's pods, and of some that have left recently.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LabelSummary {
    words: [u64; WORDS],
    /// Pods that have left since the bits were last rebuilt.
    gone: u32,
}

/// Two nodes with the same pods may have different bits, depending on the pods that have left, so the summary never makes them
/// unequal.
impl PartialEq for LabelSummary {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl LabelSummary {
    /// Adds the labels of a pod that arrived.
    pub fn add(&mut self, labels: &Labels) {
        for (key, value) in labels.iter() {
            let (word, bit) = place(key.text_hash(), value.text_hash());
            self.words[word] |= bit;
        }
    }

    /// A pod has left, and `left` remain. The bits are rebuilt once more pods have left than remain, which amortises the cost.
    pub fn remove<'a>(&mut self, left: impl ExactSizeIterator<Item = &'a Labels>) {
        self.gone += 1;
        if self.gone as usize > left.len() {
            *self = Self::default();
            left.for_each(|labels| self.add(labels));
        }
    }

    /// Whether the selector may match one of the pods.
    #[inline]
    pub fn may_match(&self, selector: &LabelSelector) -> bool {
        selector.requirements().iter().all(|requirement| match requirement {
            Requirement::In(key, values) => values.iter().any(|value| {
                let (word, bit) = place(key.text_hash(), value.text_hash());
                self.words[word] & bit != 0
            }),
            _ => true,
        })
    }
}

/// Word index and bit of a label.
fn place(key: u64, value: u64) -> (usize, u64) {
    // The hashes are fast but weak, so they are mixed once more; the upper bits of a product depend on all bits of its factors.
    let mixed = (key.rotate_left(26) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let at = (mixed >> (u64::BITS - BITS.ilog2())) as usize;
    (at / u64::BITS as usize, 1 << (at % u64::BITS as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;
    use serde_json::json;

    fn labels(text: &str) -> Labels {
        text.split(',').map(|pair| pair.split_once('=').expect("key=value")).collect()
    }

    fn selector(selector: serde_json::Value) -> LabelSelector {
        let wire: wire::LabelSelector = serde_json::from_value(selector).expect("a selector");
        LabelSelector::new(&wire).expect("valid")
    }

    #[test]
    fn whatever_a_selector_matches_it_may_match() {
        let mut summary = LabelSummary::default();
        let pods: Vec<Labels> = (0..500).map(|n| labels(&format!("app=web-{n},tier={}", n % 3))).collect();
        for (at, pod) in pods.iter().enumerate() {
            summary.add(pod);
            for selected in [
                json!({"matchLabels": {"app": format!("web-{at}")}}),
                json!({"matchLabels": {"app": format!("web-{at}"), "tier": (at % 3).to_string()}}),
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["none", format!("web-{at}")]}]}),
                json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["none"]}]}),
                json!({"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}),
                json!({}),
            ] {
                let selector = selector(selected);
                assert!(selector.matches(pod) && summary.may_match(&selector), "{selector}");
            }
        }
    }

    #[test]
    fn few_selectors_of_other_pods_may_match_and_what_went_is_forgotten() {
        let mut summary = LabelSummary::default();
        for n in 0..10 {
            summary.add(&labels(&format!("app=web-{n},tier=front")));
        }
        let may_match = |summary: &LabelSummary| {
            let may =
                |n: &u32| summary.may_match(&selector(json!({"matchLabels": {"app": format!("other-{n}")}})));
            (0..1000).filter(may).count()
        };
        let others = may_match(&summary);
        assert!((10..100).contains(&others), "{others} of 1000: 11 of 256 bits are set");
        let left = [labels("app=web-0,tier=front")];
        summary.remove(left.iter());
        assert_eq!(may_match(&summary), others, "not at once");
        summary.remove(left.iter());
        assert!(
            may_match(&summary) < 20
                && summary.may_match(&selector(json!({"matchLabels": {"app": "web-0"}})))
        );
        summary.remove(std::iter::empty());
        assert_eq!(may_match(&summary), 0);
    }
}
