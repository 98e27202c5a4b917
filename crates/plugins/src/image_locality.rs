//! ImageLocality: prefers nodes that already have the pod's images, the more so the larger the images are and the more nodes have them.

use secondmate_framework::{
    Context, CycleState, Declaration, EventRegistration, Handle, MAX_NODE_SCORE, NodeParts, Normalization,
    Parity, Plugin, PluginError, PodParts, Score, Status,
};
use secondmate_model::{ImageState, NodeInfo, Pod};
use serde_json::Value;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "ImageLocality";

const MEGABYTE: i64 = 1024 * 1024;
/// Below this many bytes the score is 0.
const LEAST: i64 = 23 * MEGABYTE;
/// Above this many bytes per image of the pod, the score no longer grows.
const MOST_PER_IMAGE: i64 = 1000 * MEGABYTE;

/// The smallest number that is too large for an `i64`: 2^63.
const BEYOND_INTEGERS: f64 = 9_223_372_036_854_775_808.0;

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct ImageLocality {
    parity: Parity,
}

/// Creates the plugin. It takes no arguments.
///
/// # Errors
/// None.
pub fn new(_args: &Value, handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(ImageLocality { parity: handle.parity }))
}

impl Plugin for ImageLocality {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        // The number of nodes that have an image is part of what the snapshot knows about each node.
        Declaration::of(PodParts::IMAGES, NodeParts::IMAGES)
    }

    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        Vec::new()
    }
}

/// The image's size, reduced for an image that few nodes have: pods should not crowd there.
fn scaled(image: ImageState, nodes: usize, parity: Parity) -> i64 {
    let spread = image.node_count as f64 / nodes as f64;
    let bytes = image.size_bytes as f64 * spread;
    // Go leaves the result undefined for a number that does not fit an integer. On amd64 it is the smallest integer.
    if parity == Parity::Strict && bytes >= BEYOND_INTEGERS { i64::MIN } else { bytes as i64 }
}

/// The score for this many bytes of images, for a pod with this many images: those of its containers and its image volumes.
fn score_of(bytes: i64, images: usize) -> i64 {
    // No pod has so many images that this overflows.
    let most = MOST_PER_IMAGE.wrapping_mul(images as i64);
    let bytes = if bytes < LEAST { LEAST } else { bytes.min(most) };
    MAX_NODE_SCORE * (bytes - LEAST) / (most - LEAST)
}

impl Score for ImageLocality {
    fn score(
        &self,
        cx: &Context<'_>,
        _state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status> {
        let nodes = cx.snapshot.nodes().len();
        let images = pod.images.iter().filter_map(|name| node.image(name));
        let add = match self.parity {
            // Wraps around, as in Go.
            Parity::Strict => i64::wrapping_add,
            Parity::Sensible => i64::saturating_add,
        };
        let bytes = images.map(|image| scaled(image, nodes, self.parity)).fold(0, add);
        Ok(score_of(bytes, pod.images.len()))
    }

    fn normalization(&self) -> Normalization {
        Normalization::Identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{context, pod, snapshot};
    use secondmate_model::Atom;
    use serde_json::json;

    /// The score of a node with these images (name, bytes, number of nodes that have it), in a cluster of four nodes.
    fn score_as(parity: Parity, spec: Value, images: &[(&str, i64, usize)]) -> i64 {
        let snapshot = snapshot(
            (1..=4).map(|i| json!({"kind": "Node", "metadata": {"name": format!("n{i}")}})).collect(),
        );
        let mut node = (**snapshot.node(&Atom::new("n1")).expect("the node")).clone();
        let mut images: Vec<_> = images
            .iter()
            .map(|(name, bytes, nodes)| {
                (Atom::new(name), ImageState { size_bytes: *bytes, node_count: *nodes })
            })
            .collect();
        images.sort_by(|a, b| a.0.cmp(&b.0));
        node.set_images(images.into());
        let pod = pod(json!({ "spec": spec }));
        let plugin = ImageLocality { parity };
        plugin.score(&context(&snapshot), &CycleState::new(), &pod, &node).expect("a score")
    }

    fn score(spec: Value, images: &[(&str, i64, usize)]) -> i64 {
        let images: Vec<_> =
            images.iter().map(|(name, size, nodes)| (*name, size * MEGABYTE, *nodes)).collect();
        score_as(Parity::Strict, spec, &images)
    }

    fn containers(images: &[&str]) -> Value {
        json!({"containers": images.iter().map(|image| json!({"image": image})).collect::<Vec<_>>()})
    }

    #[test]
    fn the_score_grows_with_bytes_and_spread() {
        for (images, on_node, expected) in [
            (&["a"][..], &[][..], 0),
            // 100 * (500 - 23) / (1000 - 23) = 48.8
            (&["a:1"], &[("a:1", 500, 4)], 48),
            // If half of the nodes have it, it counts half: 100 * (250 - 23) / 977 = 23.2
            (&["a:1"], &[("a:1", 500, 2)], 23),
            (&["a:1"], &[("a:1", 23, 4)], 0),
            (&["a:1"], &[("a:1", 5000, 4)], 100),
            // Two containers, limit 2000: 100 * (800 - 23) / 1977 = 39.3
            (&["a:1", "b:1"], &[("a:1", 500, 4), ("b:1", 300, 4)], 39),
            // The same image twice counts twice: 100 * (1000 - 23) / 1977 = 49.4
            (&["a:1", "a:1"], &[("a:1", 500, 4)], 49),
            // Without a tag, `latest` is implied; a port is not a tag.
            (&["a"], &[("a:latest", 500, 4)], 48),
            (&["host:5000/a"], &[("host:5000/a:latest", 500, 4)], 48),
            (&["a@sha256:00"], &[("a@sha256:00", 500, 4)], 48),
        ] {
            assert_eq!(score(containers(images), on_node), expected, "{images:?} with {on_node:?}");
        }
    }

    #[test]
    fn init_containers_and_image_volumes_count() {
        // Limit 3000 for three images, whether the node has them or not: 100 * (900 - 23) / 2977 = 29.4
        let spec = json!({
            "containers": [{"image": "a:1"}],
            "initContainers": [{"image": "b:1"}],
            "volumes": [{"name": "v", "image": {"reference": "c:1"}}, {"name": "w"}],
        });
        assert_eq!(score(spec, &[("a:1", 300, 4), ("b:1", 400, 4), ("c:1", 200, 4)]), 29);
    }

    #[test]
    fn the_size_is_cut_to_whole_bytes() {
        // One byte short of the limit: 3 of 4 nodes, and a size that is not divisible by three.
        let state = ImageState { size_bytes: 10, node_count: 3 };
        assert_eq!(scaled(state, 4, Parity::Strict), 7);
    }

    #[test]
    fn sizes_beyond_integers_are_as_go_has_them_on_amd64_or_bounded() {
        for (images, strict, sensible) in [
            (&[("a:1", i64::MAX, 4)][..], 0, 100),
            (&[("a:1", i64::MAX, 3)], 100, 100),
            (&[("a:1", i64::MAX, 3), ("b:1", i64::MAX, 3)], 0, 100),
        ] {
            for (parity, expected) in [(Parity::Strict, strict), (Parity::Sensible, sensible)] {
                let spec = containers(&["a:1", "b:1"]);
                assert_eq!(score_as(parity, spec, images), expected, "{parity:?}, {images:?}");
            }
        }
    }
}
