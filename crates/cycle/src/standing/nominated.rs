//! The nominated pods that count in the verdicts of a class, and the nodes where other ones count for the next pod.

use secondmate_framework::{Context, NodeIndex, NominationsCursor};
use secondmate_model::{Atom, Pod};

/// Which nominated pods counted for the previous pod.
#[derive(Debug, Default)]
pub(super) struct Nominated {
    /// No pod was nominated at all.
    none: bool,
    /// The position in the changes of the nominations up to which it is current; `None` if they cannot be followed.
    cursor: Option<NominationsCursor>,
    /// Priority of the pod: nominated pods count unless their priority is lower.
    priority: i32,
}

impl Nominated {
    /// Moves on to this pod. Returns the nodes where the set of counting nominated pods differs from the previous pod's, apart from either
    /// pod's own nomination; `None` if unknown.
    pub(super) fn follow(&mut self, cx: &Context<'_>, pod: &Pod) -> Option<Vec<NodeIndex>> {
        let (nominations, priority) = (cx.nominations, pod.priority);
        let now = Self { none: nominations.is_empty(), cursor: nominations.cursor(), priority };
        let before = std::mem::replace(self, now);
        if before.none && self.none {
            return Some(Vec::new());
        }
        let mut nodes = nominations.changed_since(before.cursor.as_ref()?)?;
        if before.priority != priority {
            let between = before.priority.min(priority)..before.priority.max(priority);
            let counts_for_one =
                |node: &&Atom| nominations.on_node(node).iter().any(|pod| between.contains(&pod.priority));
            nodes.extend(nominations.nodes().into_iter().filter(counts_for_one));
        }
        Some(nodes.into_iter().filter_map(|name| cx.snapshot.position(name)).collect())
    }
}
