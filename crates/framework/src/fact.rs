//! Explanations of a rejection by a plugin, for people.

/// A detail behind a rejection, with numbers and names: why this pod does not fit on this node.
///
/// Events and conditions use only the reasons of the [`Status`](crate::Status), which are upstream's and the same for all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// The finding, without the names of the pod and the node: `asks 2 cpu, 1 of 4 free`.
    pub text: String,
    /// What could be done about it, if known: `free 1 cpu on n1`.
    pub help: Option<String>,
    /// How far the pod is from fitting, used to list the nearest node first: the missing share of the request, in thousandths. 0
    /// if no amounts are involved.
    pub lacks: u32,
}

impl Fact {
    /// A fact without amounts.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Adds what could be done about it.
    #[must_use]
    pub fn helped_by(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
