use crate::abi;
use crate::export::json;
use crate::protobuf::Message;
use alloc::string::String;
use alloc::vec::Vec;

const METADATA: u32 = 1;
const SPEC: u32 = 2;
const STATUS: u32 = 3;

/// What pods and nodes have in common.
macro_rules! metadata {
    ($kind:ident) => {
        impl $kind {
            /// The object as protobuf, for what has no method here.
            #[must_use]
            pub fn message(&self) -> Message<'_> {
                Message(&self.0)
            }

            fn metadata(&self) -> Message<'_> {
                self.message().message(METADATA)
            }

            /// `metadata.name`.
            #[must_use]
            pub fn name(&self) -> &str {
                self.metadata().text(1)
            }

            /// `metadata.uid`.
            #[must_use]
            pub fn uid(&self) -> &str {
                self.metadata().text(5)
            }

            /// Labels.
            pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
                self.metadata().map(11)
            }

            /// A label.
            #[must_use]
            pub fn label(&self, key: &str) -> Option<&str> {
                self.labels().find(|(k, _)| *k == key).map(|(_, value)| value)
            }

            /// Annotations.
            pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
                self.metadata().map(12)
            }

            /// An annotation.
            #[must_use]
            pub fn annotation(&self, key: &str) -> Option<&str> {
                self.annotations().find(|(k, _)| *k == key).map(|(_, value)| value)
            }
        }
    };
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod(pub Vec<u8>);

metadata!(Pod);

impl Pod {
    /// `metadata.namespace`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata().text(3)
    }

    fn spec(&self) -> Message<'_> {
        self.message().message(SPEC)
    }

    /// `spec.nodeName`; empty where it has none.
    #[must_use]
    pub fn node_name(&self) -> &str {
        self.spec().text(10)
    }

    /// `spec.schedulerName`.
    #[must_use]
    pub fn scheduler_name(&self) -> &str {
        self.spec().text(19)
    }

    /// `spec.priority`.
    #[must_use]
    pub fn priority(&self) -> i64 {
        self.spec().number(25)
    }

    /// Images of the app containers.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.spec().messages(2).map(|container| container.text(2))
    }
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node(pub Vec<u8>);

metadata!(Node);

impl Node {
    /// `spec.unschedulable`.
    #[must_use]
    pub fn is_unschedulable(&self) -> bool {
        self.message().message(SPEC).number(4) != 0
    }

    /// A quantity of `status.allocatable`, as it is written.
    #[must_use]
    pub fn allocatable(&self, resource: &str) -> Option<&str> {
        let entries = self.message().message(STATUS).messages(2);
        entries.filter(|entry| entry.text(1) == resource).map(|entry| entry.message(2).text(1)).last()
    }
}

/// A node of the cycle's snapshot; `None` where there is none of the name.
#[must_use]
pub fn node(name: &str) -> Option<Node> {
    let bytes = abi::node(name);
    if bytes.is_empty() { None } else { Some(Node(bytes)) }
}

/// All nodes of the cycle's snapshot.
#[must_use]
pub fn node_list() -> Vec<Node> {
    let list = abi::node_list();
    Message(&list).messages(2).map(|node| Node(node.0.to_vec())).collect()
}

/// An image that a node has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageState {
    /// One of its names.
    pub name: String,
    /// Its size in bytes.
    pub size: i64,
    /// How many nodes have it.
    pub nodes: i64,
}

/// The images of a node of the cycle's snapshot, each under each of its names; none where there is no such node.
#[must_use]
pub fn image_states(node: &str) -> Vec<ImageState> {
    let states = json::objects(&abi::images(node)).into_iter();
    states
        .map(|(name, fields)| {
            let field = |key| fields.iter().find(|(name, _)| name == key).map_or(0, |(_, number)| *number);
            ImageState { name, size: field("Size"), nodes: field("NumNodes") }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_read_from_its_bytes() {
        let metadata = b"\x0a\x01p\x1a\x01n\x2a\x01u\x5a\x06\x0a\x01k\x12\x01v";
        let spec = b"\x12\x06\x0a\x01c\x12\x01i\x52\x01x\xc8\x01\x07";
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).expect("short");
        let pod = [&[0x0a, length(metadata)], &metadata[..], &[0x12, length(spec)], &spec[..]].concat();
        let pod = Pod(pod);
        assert_eq!((pod.name(), pod.namespace(), pod.uid(), pod.node_name()), ("p", "n", "u", "x"));
        assert_eq!((pod.label("k"), pod.label("x"), pod.priority()), (Some("v"), None, 7));
        assert!(pod.images().eq(["i"]));
    }
}
