//! ImageNode: annotations on a namespace keep nodes for images.
//!
//! | annotation | meaning |
//! |---|---|
//! | `image-node.secondmate.dev/images` | images, as pods name them; without a tag or digest any will do |
//! | `image-node.secondmate.dev/nodes` | the nodes that are kept for them |
//! | `image-node.secondmate.dev/namespaces` | namespaces of the pods that are meant; by default the annotated one |
//!
//! Each is a list, separated by commas; `*` in an entry stands for any text. A pod that is meant (one of its containers has such an
//! image) goes to the nodes of its rules and nowhere else; others stay off these nodes, in whatever namespace they are. Pods of
//! DaemonSets are left alone. Over the nodes of a rule, pods are spread evenly; which of several equally full nodes is next is settled by
//! a noise that follows from the seed in the arguments, the node's name and the number of pods there.
//!
//! Whoever may annotate a namespace decides over these nodes: that is for administrators, as labels and taints of nodes are.

mod rule;

pub use rule::{NamespaceRule, Rule};

use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Filter, Hint, NodeInfo,
    NodeParts, Normalization, ObjectChange, ObjectKind, Plugin, PluginError, Pod, PodParts, PreFilter,
    PreFilterOutcome, PreScore, Score, Status, serde_json,
};
use serde::Deserialize;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "ImageNode";

/// What one pod on a node counts; the noise is less than that, so that it settles ties and nothing else.
const POD: i64 = 100;

/// The plugin.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageNode {
    seed: u64,
    noise_percent: u8,
}

impl Default for ImageNode {
    fn default() -> Self {
        Self { seed: 0, noise_percent: 50 }
    }
}

impl ImageNode {
    /// From the `args` of its `pluginConfig`: `seed`, and `noisePercent` (0 to 99).
    ///
    /// # Errors
    /// An argument that it does not have, or one that is out of range.
    pub fn new(args: &serde_json::Value) -> Result<Self, PluginError> {
        let wrong = |reason: String| PluginError::Arguments { plugin: NAME.to_owned(), reason };
        if args.is_null() {
            return Ok(Self::default());
        }
        let this = Self::deserialize(args).map_err(|error| wrong(error.to_string()))?;
        if i64::from(this.noise_percent) >= POD {
            return Err(wrong(format!("noisePercent: {} is not 0 to 99", this.noise_percent)));
        }
        Ok(this)
    }

    /// 0 to `noise_percent`, from seed, node and number of pods: the same wherever and whenever it is asked.
    fn noise(&self, node: &str, pods: i64) -> i64 {
        // FNV-1a.
        let bytes = self.seed.to_le_bytes().into_iter().chain(pods.to_le_bytes()).chain(node.bytes());
        let hash = bytes.fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        let noise = (hash ^ (hash >> 32)) % (u64::from(self.noise_percent) + 1);
        i64::try_from(noise).expect("at most 99")
    }
}

/// The rules of the cycle.
#[derive(Clone, Debug)]
struct Rules {
    /// Those that mean the pod.
    own: Vec<Arc<Rule>>,
    others: Vec<Arc<Rule>>,
}

/// DaemonSets choose their nodes themselves.
fn is_of_daemon_set(pod: &Pod) -> bool {
    pod.controller.as_ref().is_some_and(|owner| {
        owner.kind.as_str() == "DaemonSet" && owner.api_version.as_str().starts_with("apps/")
    })
}

impl Plugin for ImageNode {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        // The score counts the pods on the node that the same rules mean.
        Declaration::of(
            PodParts::LABELS | PodParts::IMAGES | PodParts::OWNER,
            NodeParts::NAME | NodeParts::PODS,
        )
        .with_objects(&[ObjectKind::own::<NamespaceRule>()])
    }

    fn events(&self) -> Vec<EventRegistration> {
        vec![
            EventRegistration::new(EventResource::own::<NamespaceRule>(), ActionType::ALL),
            EventRegistration::new(EventResource::Node, ActionType::ADD),
        ]
    }

    fn hint(&self, _: &Pod, change: &ObjectChange) -> Hint {
        // Namespaces change for many reasons; here the rule counts.
        let (old, new) = change.own::<NamespaceRule>();
        let rule = |of: Option<&NamespaceRule>| of.and_then(|namespace| namespace.rule.clone());
        let is_node = old.is_none() && new.is_none();
        if is_node || rule(old) != rule(new) { Hint::Queue } else { Hint::Skip }
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }
    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }
    fn as_pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScore>> {
        Some(self)
    }
    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }
}

impl PreFilter for ImageNode {
    fn pre_filter(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        let all = cx.snapshot.objects().own::<NamespaceRule>();
        let all = all.iter().filter_map(|(_, namespace)| namespace.rule.clone());
        let (own, others): (Vec<_>, Vec<_>) = all.partition(|rule| rule.means(pod));
        if (own.is_empty() && others.is_empty()) || is_of_daemon_set(pod) {
            return Status::skip().into();
        }
        state.write(Rules { own, others });
        PreFilterOutcome::default()
    }
}

impl Filter for ImageNode {
    fn filter(&self, _: &Context<'_>, state: &CycleState, _: &Arc<Pod>, node: &NodeInfo) -> Status {
        let Some(rules) = state.read::<Rules>() else { return Status::SUCCESS };
        let node = node.name().as_str();
        let keeps = |rules: &[Arc<Rule>]| rules.iter().any(|rule| rule.keeps(node));
        if rules.own.is_empty() {
            if keeps(&rules.others) {
                return Status::unresolvable("node(s) were kept for other images");
            }
        } else if !keeps(&rules.own) {
            return Status::unresolvable("node(s) were not those of the pod's image");
        }
        Status::SUCCESS
    }
}

impl PreScore for ImageNode {
    fn pre_score(
        &self,
        _: &Context<'_>,
        state: &mut CycleState,
        _: &Arc<Pod>,
        _: &[Arc<NodeInfo>],
    ) -> Status {
        match state.read::<Rules>() {
            Some(rules) if !rules.own.is_empty() => Status::SUCCESS,
            _ => Status::skip(),
        }
    }
}

impl Score for ImageNode {
    fn score(
        &self,
        _: &Context<'_>,
        state: &CycleState,
        _: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status> {
        let Some(rules) = state.read::<Rules>() else { return Ok(0) };
        let meant = node.pods().iter().filter(|pod| rules.own.iter().any(|rule| rule.means(pod))).count();
        let pods = i64::try_from(meant).unwrap_or(i64::MAX / POD - 1);
        Ok(pods * POD + self.noise(node.name().as_str(), pods))
    }

    fn normalization(&self) -> Normalization {
        // The emptiest node is the best.
        Normalization::Reversed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked() {
        let error = |args: serde_json::Value| ImageNode::new(&args).expect_err("wrong").to_string();
        assert!(error(serde_json::json!({"noisePercent": 100})).contains("100 is not 0 to 99"));
        assert!(error(serde_json::json!({"sed": 1})).contains("sed"));
        assert!(ImageNode::new(&serde_json::Value::Null).is_ok());
    }

    #[test]
    fn the_noise_is_bounded_and_follows_from_the_seed() {
        let noises = |seed: u64| -> Vec<i64> {
            let plugin = ImageNode { seed, noise_percent: 30 };
            (0..50).map(|pods| plugin.noise("gpu-1", pods)).collect()
        };
        assert_eq!(noises(1), noises(1));
        assert_ne!(noises(1), noises(2));
        assert!(noises(1).iter().all(|noise| (0..=30).contains(noise)));
        assert!(noises(1).iter().collect::<std::collections::BTreeSet<_>>().len() > 10);
    }
}
