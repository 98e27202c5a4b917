//! Rates one of their decisions against ours.

use secondmate_cycle::{Answer, Details, Outcome};
use secondmate_framework::NodeIndex;
use secondmate_model::{Atom, Pod};

/// How one of their decisions compares with ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Agreement {
    /// They chose the node that we would have chosen.
    Same,
    /// They chose another node with our highest score: the choice among those is random.
    EquallyGood,
    /// They chose a node with a lower score.
    Worse,
    /// They chose a node that we would have rejected, although others fit.
    Unfit,
    /// They placed a pod that we would have rejected on every node.
    UnschedulableHere,
    /// They rejected a pod that we would have placed.
    UnschedulableThere,
    /// Neither finds a node.
    BothUnschedulable,
    /// The state on which they decided is not known.
    NotCompared,
    /// A plugin of ours failed.
    Failed,
}

impl Agreement {
    /// All of them, agreements first.
    pub const ALL: [Self; 9] = [
        Self::Same,
        Self::EquallyGood,
        Self::BothUnschedulable,
        Self::Worse,
        Self::Unfit,
        Self::UnschedulableHere,
        Self::UnschedulableThere,
        Self::Failed,
        Self::NotCompared,
    ];

    /// The value of the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::EquallyGood => "equally_good",
            Self::Worse => "worse",
            Self::Unfit => "unfit",
            Self::UnschedulableHere => "unschedulable_here",
            Self::UnschedulableThere => "unschedulable_there",
            Self::BothUnschedulable => "both_unschedulable",
            Self::NotCompared => "not_compared",
            Self::Failed => "failed",
        }
    }

    /// Whether both did equally well.
    #[must_use]
    pub fn agrees(self) -> bool {
        matches!(self, Self::Same | Self::EquallyGood | Self::BothUnschedulable)
    }

    /// Whether anything was compared.
    #[must_use]
    pub fn is_compared(self) -> bool {
        self != Self::NotCompared
    }
}

/// One plugin's weighted scores of the two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginDifference {
    /// The plugin.
    pub plugin: Atom,
    /// Score of their node.
    pub theirs: i64,
    /// Score of our node.
    pub ours: i64,
}

impl PluginDifference {
    /// By how much the plugin prefers our node.
    #[must_use]
    pub fn difference(&self) -> i64 {
        self.ours - self.theirs
    }
}

/// One of their decisions, compared with ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The pod, as `NAMESPACE/NAME`.
    pub pod: String,
    /// The result.
    pub agreement: Agreement,
    /// Their node; `None` if they found none.
    pub theirs: Option<Atom>,
    /// The node that we would have chosen; `None` if we find none.
    pub ours: Option<Atom>,
    /// Number of nodes with our highest score.
    pub best: usize,
    /// How much higher our score of our node is than of theirs.
    pub difference: i64,
    /// The plugins that score the two nodes differently, sorted by how much they prefer ours.
    pub plugins: Vec<PluginDifference>,
    /// Why we would have rejected it, what they reported, or why nothing was compared.
    pub reason: String,
}

impl Comparison {
    fn new(pod: &Pod, agreement: Agreement) -> Self {
        Self {
            pod: pod.full_name(),
            agreement,
            theirs: None,
            ours: None,
            best: 0,
            difference: 0,
            plugins: Vec::new(),
            reason: String::new(),
        }
    }

    /// For a worse node: the plugin that prefers ours most.
    #[must_use]
    pub fn main_plugin(&self) -> Option<&Atom> {
        self.plugins.first().filter(|plugin| plugin.difference() > 0).map(|plugin| &plugin.plugin)
    }

    /// The state on which they decided is not known.
    pub(super) fn without(pod: &Pod, node: &Atom, reason: &str) -> Self {
        let comparison = Self::new(pod, Agreement::NotCompared);
        Self { theirs: Some(node.clone()), reason: reason.to_owned(), ..comparison }
    }
}

/// Rates their rejection of a pod, given our answer.
pub(super) fn of_rejection(pod: &Pod, said: String, answer: &Answer) -> Comparison {
    match &answer.outcome {
        Outcome::Placed { node, .. } => Comparison {
            ours: Some(node.name().clone()),
            best: answer.details.as_ref().map_or(0, |details| details.best().count()),
            reason: said,
            ..Comparison::new(pod, Agreement::UnschedulableThere)
        },
        Outcome::Rejected(_) => {
            Comparison { reason: said, ..Comparison::new(pod, Agreement::BothUnschedulable) }
        }
        Outcome::Failed(failure) => {
            Comparison { reason: failure.message.clone(), ..Comparison::new(pod, Agreement::Failed) }
        }
    }
}

/// Rates their choice of a node, given our answer.
pub(super) fn of_binding(pod: &Pod, theirs: &Atom, position: NodeIndex, answer: &Answer) -> Comparison {
    let comparison = match &answer.outcome {
        Outcome::Failed(failure) => {
            Comparison { reason: failure.message.clone(), ..Comparison::new(pod, Agreement::Failed) }
        }
        Outcome::Rejected(rejection) => Comparison {
            reason: rejection.message.clone(),
            ..Comparison::new(pod, Agreement::UnschedulableHere)
        },
        Outcome::Placed { node, .. } => {
            let details = answer.details.as_ref().expect("every node was looked at, and no plugin failed");
            let ours = node.name();
            let best = details.best().count();
            Comparison { ours: Some(ours.clone()), best, ..of_choice(pod, theirs, position, ours, details) }
        }
    };
    Comparison { theirs: Some(theirs.clone()), ..comparison }
}

fn of_choice(pod: &Pod, theirs: &Atom, position: NodeIndex, ours: &Atom, details: &Details) -> Comparison {
    let place = |name: &Atom| details.feasible.iter().position(|node| node.name() == name);
    let Some(their_place) = place(theirs) else {
        let status = details.statuses.get(position);
        let plugin = status.plugin().map(|plugin| format!("{plugin}: ")).unwrap_or_default();
        let reason = format!("{plugin}{}", status.reasons().join(", "));
        return Comparison { reason, ..Comparison::new(pod, Agreement::Unfit) };
    };
    if theirs == ours {
        return Comparison::new(pod, Agreement::Same);
    }
    let our_place = place(ours).expect("the node that was chosen passed");
    let total = |place: usize| details.scored.totals.get(place).copied().unwrap_or(0);
    let difference = total(our_place) - total(their_place);
    let mut plugins: Vec<PluginDifference> = details
        .scored
        .plugins
        .iter()
        .map(|scores| PluginDifference {
            plugin: scores.plugin.clone(),
            theirs: scores.normalized[their_place] * scores.weight,
            ours: scores.normalized[our_place] * scores.weight,
        })
        .filter(|plugin| plugin.difference() != 0)
        .collect();
    if difference == 0 {
        return Comparison::new(pod, Agreement::EquallyGood);
    }
    // By name if two prefer it equally: the order of the profile has no meaning here.
    plugins.sort_by(|a, b| {
        b.difference().cmp(&a.difference()).then_with(|| a.plugin.as_str().cmp(b.plugin.as_str()))
    });
    Comparison { difference, plugins, ..Comparison::new(pod, Agreement::Worse) }
}
