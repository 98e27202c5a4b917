//! What the annotations of a namespace say.

use secondmate_framework::{ApiResource, PluginObject, Pod, serde_json};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::sync::Arc;

const IMAGES: &str = "image-node.secondmate.dev/images";
const NODES: &str = "image-node.secondmate.dev/nodes";
const NAMESPACES: &str = "image-node.secondmate.dev/namespaces";

/// Nodes that are kept for images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    images: Vec<String>,
    nodes: Vec<String>,
    namespaces: Vec<String>,
}

impl Rule {
    /// Whether the pod is one of those for which the nodes are kept.
    #[must_use]
    pub fn means(&self, pod: &Pod) -> bool {
        let has = |pattern: &String| pod.images.iter().any(|image| is_image(pattern, image.as_str()));
        any_matches(&self.namespaces, pod.namespace.as_str()) && self.images.iter().any(has)
    }

    /// Whether the node is one of those that are kept.
    #[must_use]
    pub fn keeps(&self, node: &str) -> bool {
        any_matches(&self.nodes, node)
    }
}

/// A namespace, and its rule if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceRule {
    /// The rule.
    pub rule: Option<Arc<Rule>>,
}

impl PluginObject for NamespaceRule {
    const API: ApiResource =
        ApiResource { group: "", version: "v1", kind: "Namespace", plural: "namespaces", namespaced: false };
}

impl<'de> Deserialize<'de> for NamespaceRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Namespace {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            name: String,
            #[serde(default)]
            annotations: Option<BTreeMap<String, serde_json::Value>>,
        }
        let Namespace { metadata } = Namespace::deserialize(deserializer)?;
        let annotations = metadata.annotations.unwrap_or_default();
        let list = |key: &str| -> Vec<String> {
            let text = annotations.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
            text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
        };
        let (images, nodes, mut namespaces) = (list(IMAGES), list(NODES), list(NAMESPACES));
        let rule = match (images.is_empty(), nodes.is_empty()) {
            (true, true) => None,
            (false, true) => {
                return Err(D::Error::custom(format!("{IMAGES} is there, and {NODES} names no node")));
            }
            (true, false) => {
                return Err(D::Error::custom(format!("{NODES} is there, and {IMAGES} names no image")));
            }
            (false, false) => {
                if namespaces.is_empty() {
                    namespaces.push(metadata.name);
                }
                Some(Arc::new(Rule { images, nodes, namespaces }))
            }
        };
        Ok(Self { rule })
    }
}

/// Whether an entry names the image. Without a tag or digest it names all of them.
fn is_image(pattern: &str, image: &str) -> bool {
    matches(pattern, image) || (is_bare(pattern) && matches(pattern, bare(image)))
}

/// The image without tag and digest.
fn bare(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(image, _)| image);
    // A colon before the last slash is that of a registry's port.
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

fn is_bare(pattern: &str) -> bool {
    bare(pattern) == pattern
}

fn any_matches(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, text))
}

/// Whether the text is that of the pattern, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("gpu-1", "gpu-1", true),
            ("gpu-1", "gpu-12", false),
            ("gpu-*", "gpu-12", true),
            ("*", "", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("*-east", "rack-east", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn an_image_is_meant_with_any_tag_where_none_is_named() {
        for (pattern, image, expected) in [
            ("nginx", "nginx:latest", true),
            ("nginx", "nginx@sha256:12", true),
            ("nginx:1.27", "nginx:1.28", false),
            ("nginx:1.*", "nginx:1.28", true),
            ("host:5000/a", "host:5000/a:v1", true),
            ("host:5000/a", "host:5000/b:v1", false),
            ("registry.acme.com/renderer/*", "registry.acme.com/renderer/x/y:3", true),
        ] {
            assert_eq!(is_image(pattern, image), expected, "{pattern} {image}");
        }
    }

    fn namespace(annotations: serde_json::Value) -> Result<NamespaceRule, String> {
        let namespace = serde_json::json!({"metadata": {"name": "render", "annotations": annotations}});
        NamespaceRule::decode(&namespace.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_rule_needs_images_and_nodes_and_means_its_own_namespace_if_none_is_named() {
        assert_eq!(namespace(serde_json::json!({"a": "b"})), Ok(NamespaceRule { rule: None }));
        let rule = namespace(serde_json::json!({IMAGES: "a, b,", NODES: "n"})).expect("a rule").rule;
        let rule = rule.expect("there is one");
        assert_eq!((rule.images.len(), &*rule.namespaces), (2, &["render".to_owned()][..]));
        let error = namespace(serde_json::json!({IMAGES: "a"})).expect_err("no nodes");
        assert!(error.contains("names no node"), "{error}");
        let error = namespace(serde_json::json!({NODES: "a"})).expect_err("no images");
        assert!(error.contains("names no image"), "{error}");
    }
}
