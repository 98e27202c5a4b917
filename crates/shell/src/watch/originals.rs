//! Which pods and nodes are kept in full besides their compiled form: those that a plugin reads in full, or that may be sent to an
//! extender.

use secondmate_core::port::PodWatch;
use secondmate_framework::Extenders;
use secondmate_model::{Node, Pod, trimmed};

/// Plugins and extenders determine what is kept; without them, nothing is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Originals {
    extenders: Extenders,
    /// Keep everything, because a plugin reads it.
    all: bool,
}

impl Originals {
    /// Keeps what these extenders are sent.
    pub fn for_extenders(extenders: Extenders) -> Self {
        Self { extenders, all: false }
    }

    /// The same, but keeps everything if `all` is set.
    pub fn or_all(self, all: bool) -> Self {
        Self { all: all || self.all, ..self }
    }

    /// The pod, with its object if that is needed: for waiting pods, if an extender is interested in them; for assigned pods, if an
    /// extender is sent complete victims.
    pub fn keep_pod(&self, watch: PodWatch, pod: Pod, text: &str) -> Pod {
        let for_extenders = match watch {
            PodWatch::Pending => self.extenders.interested(&pod).next().is_some(),
            PodWatch::Assigned => self.extenders.iter().any(|e| e.verbs.preempt && e.wants_objects),
            PodWatch::ForeignNominated | PodWatch::ForeignWaiting => false,
        };
        match (self.all || for_extenders).then(|| trimmed(text)).flatten() {
            Some(json) => pod.with_json(&json),
            None => pod,
        }
    }

    /// The node, with its object if an extender is sent complete nodes.
    pub fn keep_node(&self, node: Node, text: &str) -> Node {
        let sent =
            |e: &secondmate_framework::Extender| e.wants_objects && (e.verbs.filter || e.verbs.prioritize);
        match (self.all || self.extenders.iter().any(sent)).then(|| trimmed(text)).flatten() {
            Some(json) => node.with_json(&json),
            None => node,
        }
    }
}
