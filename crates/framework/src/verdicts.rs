//! Verdicts of the filters over the nodes of a snapshot.

use crate::snapshot::NodeIndex;
use crate::status::{Code, Status};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Verdicts on nodes that are kept in another form than node by node.
pub trait KeptVerdicts: Debug + Send + Sync {
    /// Number of nodes that have one: those at positions below this.
    fn len(&self) -> usize;
    /// Whether no node has one.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Verdict on a node at a position below [`KeptVerdicts::len`].
    fn get(&self, node: NodeIndex) -> &Status;
    /// The verdicts, each with the number of nodes that have it; the same verdict may occur several times.
    fn tally(&self) -> Vec<(&Status, usize)>;
    /// The nodes whose verdict has this code, ascending.
    fn with_code(&self, code: Code) -> Vec<NodeIndex> {
        (0..).map(NodeIndex).take(self.len()).filter(|at| self.get(*at).code() == code).collect()
    }
}

/// Verdicts of the filters over the nodes of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct NodeStatuses {
    /// Verdicts on the nodes that were considered and rejected.
    explicit: Explicit,
    /// Verdict on all others.
    absent: Status,
}

#[derive(Clone, Debug)]
enum Explicit {
    /// By position.
    Each(BTreeMap<NodeIndex, Status>),
    Kept(Arc<dyn KeptVerdicts>),
}

impl Default for Explicit {
    fn default() -> Self {
        Self::Each(BTreeMap::new())
    }
}

impl NodeStatuses {
    /// No verdicts yet; nodes that were not considered count as `absent`.
    #[must_use]
    pub fn new(absent: Status) -> Self {
        Self { explicit: Explicit::default(), absent }
    }

    /// Verdicts that are kept elsewhere; other nodes count as `absent`.
    #[must_use]
    pub fn kept(verdicts: Arc<dyn KeptVerdicts>, absent: Status) -> Self {
        Self { explicit: Explicit::Kept(verdicts), absent }
    }

    /// Records a verdict.
    pub fn set(&mut self, node: NodeIndex, status: Status) {
        if let Explicit::Kept(_) = self.explicit {
            self.explicit = Explicit::Each(self.iter().map(|(at, status)| (at, status.clone())).collect());
        }
        if let Explicit::Each(each) = &mut self.explicit {
            each.insert(node, status);
        }
    }

    /// Changes the verdict on the nodes that were not considered.
    pub fn set_absent(&mut self, status: Status) {
        self.absent = status;
    }

    /// Verdict on a node.
    #[must_use]
    pub fn get(&self, node: NodeIndex) -> &Status {
        self.explicit(node).unwrap_or(&self.absent)
    }

    /// Verdict on a node, if it was considered.
    #[must_use]
    pub fn explicit(&self, node: NodeIndex) -> Option<&Status> {
        match &self.explicit {
            Explicit::Each(each) => each.get(&node),
            Explicit::Kept(kept) => (node.get() < kept.len()).then(|| kept.get(node)),
        }
    }

    /// Verdict on the nodes that were not considered.
    #[must_use]
    pub fn absent(&self) -> &Status {
        &self.absent
    }

    /// Recorded verdicts in node order.
    pub fn iter(&self) -> impl Iterator<Item = (NodeIndex, &Status)> {
        let (each, kept) = match &self.explicit {
            Explicit::Each(each) => (Some(each), None),
            Explicit::Kept(kept) => (None, Some(kept)),
        };
        let each = each.into_iter().flatten().map(|(at, status)| (*at, status));
        let kept = kept
            .into_iter()
            .flat_map(|kept| (0..).map(NodeIndex).take(kept.len()).map(|at| (at, kept.get(at))));
        each.chain(kept)
    }

    /// Nodes with a recorded verdict of this code, ascending.
    #[must_use]
    pub fn with_code(&self, code: Code) -> Vec<NodeIndex> {
        match &self.explicit {
            Explicit::Each(each) => {
                each.iter().filter(|(_, status)| status.code() == code).map(|(at, _)| *at).collect()
            }
            Explicit::Kept(kept) => kept.with_code(code),
        }
    }

    /// Recorded verdicts, each with the number of nodes that have it; the same verdict may occur several times. If they are kept
    /// in another form than node by node, this is cheaper than [`NodeStatuses::iter`].
    pub fn tally(&self) -> impl Iterator<Item = (&Status, usize)> {
        let (each, kept) = match &self.explicit {
            Explicit::Each(each) => (Some(each), Vec::new()),
            Explicit::Kept(kept) => (None, kept.tally()),
        };
        each.into_iter().flat_map(BTreeMap::values).map(|status| (status, 1)).chain(kept)
    }

    /// Number of recorded verdicts.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.explicit {
            Explicit::Each(each) => each.len(),
            Explicit::Kept(kept) => kept.len(),
        }
    }

    /// Whether no verdict is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Alternating([Status; 2], usize);

    impl KeptVerdicts for Alternating {
        fn len(&self) -> usize {
            self.1
        }
        fn get(&self, node: NodeIndex) -> &Status {
            &self.0[node.get() % 2]
        }
        fn tally(&self) -> Vec<(&Status, usize)> {
            vec![(&self.0[0], self.1.div_ceil(2)), (&self.0[1], self.1 / 2)]
        }
    }

    #[test]
    fn kept_verdicts_read_as_if_each_had_been_recorded() {
        let both = [Status::unschedulable("even"), Status::unresolvable("odd")];
        let absent = Status::unschedulable("others");
        let mut each = NodeStatuses::new(absent.clone());
        (0..5).for_each(|at| each.set(NodeIndex(at), both[at as usize % 2].clone()));
        let mut kept = NodeStatuses::kept(Arc::new(Alternating(both, 5)), absent);
        let read = |statuses: &NodeStatuses| -> Vec<_> {
            let all = (0..7)
                .map(|at| (statuses.get(NodeIndex(at)).clone(), statuses.explicit(NodeIndex(at)).cloned()));
            all.collect()
        };
        let listed = |statuses: &NodeStatuses| -> Vec<_> {
            statuses.iter().map(|(at, status)| (at, status.clone())).collect()
        };
        for _ in 0..2 {
            assert_eq!((read(&kept), listed(&kept), kept.len()), (read(&each), listed(&each), each.len()));
            assert_eq!(kept.tally().map(|(_, nodes)| nodes).sum::<usize>(), kept.len());
            // From here on, each has its own copy.
            for statuses in [&mut each, &mut kept] {
                statuses.set(NodeIndex(1), Status::unschedulable("new"));
            }
        }
    }
}
