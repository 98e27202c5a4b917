//! Why a pod took the plain pass.

use secondmate_model::Atom;

/// Why a pod took the plain pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The profile looks only at a share of the nodes.
    Share,
    /// No plugin scores: the first feasible node is taken.
    NoScores,
    /// An extender influences the choice of the node.
    Extender,
    /// There are more plugins at one point than a class can distinguish.
    TooManyPlugins,
    /// PreFilter rejected the pod or left only a few nodes by name, so there is little to evaluate.
    FewNodes,
    /// The pod has volumes, and this plugin does not report what matters about them, for example because the volume for a claim
    /// is searched for node by node.
    Volumes(Atom),
    /// This filter looks further than the node, reads everything of the pod, or has more coordinates than a class distinguishes
    /// ([`COORDINATES_MAX`](secondmate_framework::COORDINATES_MAX)).
    Filter(Atom),
    /// No such pod was seen recently.
    FirstSight,
    /// A plugin failed or returned a score out of range: the plain pass determines the consequence.
    Failed,
    /// The passing nodes fall into too many groups.
    TooManyGroups,
    /// The rejected nodes have too many distinct verdicts.
    TooManyVerdicts,
    /// A single class would need more than the whole memory budget.
    TooLarge,
}

impl Why {
    /// The reason, as named in the metric.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Share => "percentage_of_nodes",
            Self::NoScores => "no_scores",
            Self::Extender => "extender",
            Self::TooManyPlugins => "too_many_plugins",
            Self::FewNodes => "few_nodes",
            Self::Volumes(_) => "volumes",
            Self::Filter(_) => "filter",
            Self::FirstSight => "first_sight",
            Self::Failed => "failed",
            Self::TooManyGroups => "too_many_groups",
            Self::TooManyVerdicts => "too_many_verdicts",
            Self::TooLarge => "too_large",
        }
    }

    /// The plugin responsible, if there is one.
    #[must_use]
    pub fn plugin(&self) -> Option<&Atom> {
        match self {
            Self::Filter(plugin) | Self::Volumes(plugin) => Some(plugin),
            _ => None,
        }
    }
}
