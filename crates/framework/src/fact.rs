//! What a plugin tells people about a rejection.

/// Something behind a rejection, with its numbers and names: why this pod does not fit on this node.
///
/// Events and conditions keep to the reasons of the [`Status`](crate::Status), which are upstream's and the same for all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// What is so, without the names of the pod and the node: `asks 2 cpu, 1 of 4 free`.
    pub text: String,
    /// What somebody could do about it, where that is known: `free 1 cpu on n1`.
    pub help: Option<String>,
    /// How far it is from fitting, to put the nearest node first: the missing part of what is asked for, in thousandths. 0 where it
    /// is no matter of amounts.
    pub lacks: u32,
}

impl Fact {
    /// A fact that is no matter of amounts.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// With what somebody could do about it.
    #[must_use]
    pub fn helped_by(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
