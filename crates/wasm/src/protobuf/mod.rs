//! Pods and nodes as protobuf, as defined by the API: what guests read.
//!
//! A guest gets the whole object, so the message is produced from the object's JSON text
//! ([`PodContent::json`](secondmate_model::PodContent::json)), using a table of all messages; if the text of an object was not kept, the
//! message contains what the compiled form knows. Go writes every field that is not a pointer, even if it is empty, and guests rely on
//! that.

mod encode;
mod schema;

pub(crate) use encode::encode;
use schema::schema;
use secondmate_model::{Node, Pod};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `k8s.io.api.core.v1.Pod`. One that is assumed on a node is on that node, as in upstream's cache.
pub(crate) fn pod(pod: &Pod) -> Arc<[u8]> {
    let whole = pod.whole().and_then(|text| encode("Pod", &text).ok());
    whole.unwrap_or_else(|| encode("Pod", &known_of_pod(pod).to_string()).unwrap_or_default()).into()
}

/// `k8s.io.api.core.v1.Node`.
pub(crate) fn node(node: &Node) -> Arc<[u8]> {
    let whole = node.json.as_deref().and_then(|text| encode("Node", text).ok());
    whole.unwrap_or_else(|| encode("Node", &known_of_node(node).to_string()).unwrap_or_default()).into()
}

/// `k8s.io.api.core.v1.NodeList` of encoded nodes.
pub(crate) fn node_list<'a>(nodes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut list = Vec::new();
    encode::message(&mut list, 1, schema().empty("ListMeta"));
    for node in nodes {
        encode::message(&mut list, 2, node);
    }
    list
}

fn labels(labels: &secondmate_model::Labels) -> Map<String, Value> {
    labels.iter().map(|(key, value)| (key.to_string(), value.as_str().into())).collect()
}

fn known_of_pod(pod: &Pod) -> Value {
    json!({
        "metadata": {
            "name": pod.name,
            "namespace": pod.namespace.as_str(),
            "uid": pod.uid.as_str(),
            "resourceVersion": pod.resource_version,
            "labels": labels(&pod.labels),
        },
        "spec": {
            "nodeName": pod.node_name.as_ref().map(|name| name.as_str()),
            "schedulerName": pod.scheduler_name.as_str(),
            "priority": pod.priority,
        },
        "status": {"nominatedNodeName": pod.nominated_node_name.as_ref().map(|name| name.as_str())},
    })
}

fn known_of_node(node: &Node) -> Value {
    json!({
        "metadata": {
            "name": node.name.as_str(),
            "uid": node.uid,
            "resourceVersion": node.resource_version,
            "labels": labels(&node.labels),
        },
        "spec": {"unschedulable": node.unschedulable},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_model::{Atom, wire};

    fn compiled(text: &str) -> Pod {
        Pod::new(&serde_json::from_str::<wire::Pod>(text).expect("a pod")).expect("it compiles")
    }

    #[test]
    fn a_pod_without_its_text_is_written_as_far_as_it_is_known() {
        let text = r#"{"metadata":{"name":"a","namespace":"n","uid":"u","labels":{"k":"v"}},"spec":{"nodeName":"x"}}"#;
        let bytes = pod(&compiled(text));
        let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(has(b"\x0a\x01k\x12\x01v") && has(b"\x52\x01x"), "{bytes:?}");
    }

    #[test]
    fn a_text_that_is_no_pod_is_not_written() {
        let broken = compiled("{}").with_json(r#"{"spec": 7}"#);
        assert_eq!(pod(&broken), pod(&compiled("{}")));
    }

    #[test]
    fn a_pod_that_is_assumed_is_on_its_node() {
        let text = |spec: &str| {
            format!(r#"{{"metadata":{{"name":"a","labels":{{"nodeName":"z"}}}},"spec":{spec}}}"#)
        };
        let waiting = compiled("{}").with_json(&text(r#"{"priority":3}"#));
        let bound = compiled("{}").with_json(&text(r#"{"priority":3,"nodeName":"x"}"#));
        assert_ne!(pod(&waiting), pod(&bound));
        // By number and not by place: what is there comes first in the order of the text, and then what is not.
        let (assumed, bound) = (pod(&waiting.on_node(&Atom::new("x"))), pod(&bound));
        let sorted = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes.sort_unstable();
            bytes
        };
        assert_eq!(sorted(&assumed), sorted(&bound));
        assert!(assumed.windows(3).any(|field| field == b"\x52\x01x"), "{assumed:?}");
    }

    #[test]
    fn a_list_of_nodes_has_metadata_even_where_it_is_empty() {
        assert_eq!(node_list(std::iter::empty())[..2], [0x0a, 6]);
        assert_eq!(node_list([&b"ab"[..]].into_iter())[8..], [0x12, 2, b'a', b'b']);
    }
}

#[cfg(test)]
mod oracle;
