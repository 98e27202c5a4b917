//! The nodes of the snapshot, for guests that ask for nodes: a guest's imports cannot borrow the snapshot itself.

use crate::protobuf;
use rustc_hash::FxHashMap;
use secondmate_framework::Snapshot;
use secondmate_model::{Atom, Node, NodeInfo};
use std::sync::Arc;

/// A copy of the list of nodes, which shares the nodes. Bringing it up to date costs a pointer comparison per node; a node is encoded once
/// as long as its object remains the same.
#[derive(Default)]
pub(crate) struct Mirror {
    nodes: Vec<Mirrored>,
    positions: FxHashMap<Atom, usize>,
    list: Option<Arc<[u8]>>,
}

struct Mirrored {
    info: Arc<NodeInfo>,
    encoded: Option<(Arc<Node>, Arc<[u8]>)>,
}

impl Mirrored {
    fn encoded(&mut self) -> Arc<[u8]> {
        let node = self.info.node();
        if let Some((of, bytes)) = &self.encoded
            && Arc::ptr_eq(of, node)
        {
            return Arc::clone(bytes);
        }
        let bytes = protobuf::node(node);
        self.encoded = Some((Arc::clone(node), Arc::clone(&bytes)));
        bytes
    }
}

impl Mirror {
    /// Brings the copy up to date with the snapshot.
    pub fn follow(&mut self, snapshot: &Snapshot) {
        let nodes = snapshot.nodes();
        let same_order = nodes.len() == self.nodes.len()
            && nodes
                .iter()
                .zip(&self.nodes)
                .all(|(new, old)| Arc::ptr_eq(new, &old.info) || new.name() == old.info.name());
        if !same_order {
            let mut encoded: FxHashMap<Atom, _> =
                self.nodes.drain(..).map(|old| (old.info.name().clone(), old.encoded)).collect();
            self.nodes = nodes
                .iter()
                .map(|info| Mirrored {
                    info: Arc::clone(info),
                    encoded: encoded.remove(info.name()).flatten(),
                })
                .collect();
            self.positions = nodes.iter().enumerate().map(|(at, info)| (info.name().clone(), at)).collect();
            self.list = None;
            return;
        }
        for (new, old) in nodes.iter().zip(&mut self.nodes) {
            if Arc::ptr_eq(new, &old.info) {
                continue;
            }
            if !Arc::ptr_eq(new.node(), old.info.node()) {
                self.list = None;
            }
            old.info = Arc::clone(new);
        }
    }

    /// The node as protobuf; empty if there is none with that name.
    pub fn node(&mut self, name: &str) -> Arc<[u8]> {
        match self.positions.get(&Atom::new(name)) {
            Some(at) => self.nodes[*at].encoded(),
            None => Arc::new([]),
        }
    }

    /// All nodes as protobuf.
    pub fn list(&mut self) -> Arc<[u8]> {
        if let Some(list) = &self.list {
            return Arc::clone(list);
        }
        let nodes: Vec<Arc<[u8]>> = self.nodes.iter_mut().map(Mirrored::encoded).collect();
        let list: Arc<[u8]> = protobuf::node_list(nodes.iter().map(|bytes| &**bytes)).into();
        self.list = Some(Arc::clone(&list));
        list
    }

    /// The images of a node as JSON; `null` if there is no node with that name. The field names are Go's.
    pub fn images(&self, name: &str) -> String {
        let Some(at) = self.positions.get(&Atom::new(name)) else { return "null".to_owned() };
        let states = self.nodes[*at].info.images().map(|(name, state)| {
            let state =
                serde_json::json!({"Size": state.size_bytes, "NumNodes": state.node_count, "Nodes": null});
            (name.to_string(), state)
        });
        serde_json::Value::Object(states.collect()).to_string()
    }
}
