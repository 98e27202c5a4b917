//! The status of a plugin's answer.

use secondmate_model::Atom;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;
use std::fmt;

/// The text of a reason; most are constants.
pub type Reason = Cow<'static, str>;

/// Status codes, with upstream's names and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum Code {
    /// The plugin agrees.
    Success = 0,
    /// Something failed that does not say whether the pod fits.
    Error = 1,
    /// Rejected; preemption may help.
    Unschedulable = 2,
    /// Rejected; preemption cannot help.
    UnschedulableAndUnresolvable = 3,
    /// Permit: wait.
    Wait = 4,
    /// The plugin has nothing to do in this cycle.
    Skip = 5,
    /// Rejected until something happens that the plugin waits for.
    Pending = 6,
}

impl Code {
    /// Upstream's name of the code.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Error => "Error",
            Self::Unschedulable => "Unschedulable",
            Self::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
            Self::Wait => "Wait",
            Self::Skip => "Skip",
            Self::Pending => "Pending",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    code: Code,
    reasons: SmallVec<[Reason; 1]>,
    /// The rejecting plugin, filled in by the framework.
    plugin: Option<Atom>,
}

/// A plugin's answer. Success is a null pointer and so costs nothing, even for thousands of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status(Option<Box<Inner>>);

impl Status {
    /// Heap memory that it uses, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let text = |reason: &Reason| match reason {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => text.capacity(),
        };
        self.0.as_ref().map_or(0, |inner| size_of::<Inner>() + inner.reasons.iter().map(text).sum::<usize>())
    }

    /// Success.
    pub const SUCCESS: Self = Self(None);

    /// A status with one reason.
    #[must_use]
    pub fn new(code: Code, reason: impl Into<Reason>) -> Self {
        Self(Some(Box::new(Inner { code, reasons: smallvec![reason.into()], plugin: None })))
    }

    /// A status with any number of reasons.
    #[must_use]
    pub fn with_reasons(code: Code, reasons: impl IntoIterator<Item = Reason>) -> Self {
        if code == Code::Success {
            return Self::SUCCESS;
        }
        Self(Some(Box::new(Inner { code, reasons: reasons.into_iter().collect(), plugin: None })))
    }

    /// Rejected; preemption may help.
    #[must_use]
    pub fn unschedulable(reason: impl Into<Reason>) -> Self {
        Self::new(Code::Unschedulable, reason)
    }

    /// Rejected; preemption cannot help.
    #[must_use]
    pub fn unresolvable(reason: impl Into<Reason>) -> Self {
        Self::new(Code::UnschedulableAndUnresolvable, reason)
    }

    /// Failed.
    #[must_use]
    pub fn error(reason: impl Into<Reason>) -> Self {
        Self::new(Code::Error, reason)
    }

    /// Nothing to do in this cycle.
    #[must_use]
    pub fn skip() -> Self {
        Self::with_reasons(Code::Skip, [])
    }

    /// Permit: wait.
    #[must_use]
    pub fn wait(reason: impl Into<Reason>) -> Self {
        Self::new(Code::Wait, reason)
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.as_ref().map_or(Code::Success, |i| i.code)
    }

    /// Success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.0.is_none()
    }

    /// Skip.
    #[must_use]
    pub fn is_skip(&self) -> bool {
        self.code() == Code::Skip
    }

    /// Rejected, with any of the three codes.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        matches!(self.code(), Code::Unschedulable | Code::UnschedulableAndUnresolvable | Code::Pending)
    }

    /// The reasons.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        self.0.as_ref().map_or(&[], |i| &i.reasons)
    }

    /// The plugin that answered, if the framework has filled it in.
    #[must_use]
    pub fn plugin(&self) -> Option<&Atom> {
        self.0.as_ref().and_then(|i| i.plugin.as_ref())
    }

    /// Sets the plugin.
    #[must_use]
    pub fn by(mut self, plugin: &Atom) -> Self {
        if let Some(inner) = &mut self.0 {
            inner.plugin = Some(plugin.clone());
        }
        self
    }

    /// The same reasons with another code.
    #[must_use]
    pub fn recoded(mut self, code: Code) -> Self {
        if let Some(inner) = &mut self.0 {
            inner.code = code;
        }
        self
    }

    /// The reasons joined by `, `: upstream's `Message`.
    #[must_use]
    pub fn message(&self) -> String {
        self.reasons().join(", ")
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code().name(), self.message())
    }
}
