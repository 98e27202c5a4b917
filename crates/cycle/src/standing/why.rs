//! Why a pod took the plain pass.

use secondmate_model::Atom;

/// Why a pod took the plain pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The profile asks for a share of the nodes only.
    Share,
    /// No plugin scores: the first node that passes is taken.
    NoScores,
    /// An extender has a say on which node it is.
    Extender,
    /// There are more plugins at one point than a class tells apart.
    TooManyPlugins,
    /// PreFilter rejected the pod, or left a few nodes by name: there is little to look at.
    FewNodes,
    /// The pod has volumes of which this plugin does not tell what counts of them: which one is taken for a claim is looked for node by node,
    /// say.
    Volumes(Atom),
    /// This filter looks further than the node, or at everything of the pod.
    Filter(Atom),
    /// No such pod has been seen lately.
    FirstSight,
    /// A plugin failed, or gave a score out of range: the plain pass says what comes of it.
    Failed,
    /// The nodes that pass fall into too many groups.
    TooManyGroups,
    /// The nodes that do not pass have too many different verdicts.
    TooManyVerdicts,
    /// One class needs more memory than all may take.
    TooLarge,
}

impl Why {
    /// The reason, as the metric has it.
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

    /// The plugin on whose account, if it was one's.
    #[must_use]
    pub fn plugin(&self) -> Option<&Atom> {
        match self {
            Self::Filter(plugin) | Self::Volumes(plugin) => Some(plugin),
            _ => None,
        }
    }
}
