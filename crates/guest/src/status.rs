use alloc::string::String;

/// Status codes, with kube-scheduler's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// The plugin agrees.
    Success = 0,
    /// Something failed that has nothing to do with the pod's fitness.
    Error = 1,
    /// Rejected; preemption may help.
    Unschedulable = 2,
    /// Rejected; preemption cannot help.
    UnschedulableAndUnresolvable = 3,
    /// Permit: wait.
    Wait = 4,
    /// The plugin has nothing to say in this cycle.
    Skip = 5,
}

/// A plugin's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// Why; empty on success.
    pub reason: String,
}

impl Status {
    /// Success.
    #[must_use]
    pub fn success() -> Self {
        Self { code: Code::Success, reason: String::new() }
    }

    /// Another answer, with its reason.
    #[must_use]
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// Rejected; preemption may help.
    #[must_use]
    pub fn unschedulable(reason: impl Into<String>) -> Self {
        Self::new(Code::Unschedulable, reason)
    }

    /// Rejected; preemption cannot help.
    #[must_use]
    pub fn unresolvable(reason: impl Into<String>) -> Self {
        Self::new(Code::UnschedulableAndUnresolvable, reason)
    }

    /// Failed.
    #[must_use]
    pub fn error(reason: impl Into<String>) -> Self {
        Self::new(Code::Error, reason)
    }

    /// Nothing to do in this cycle.
    #[must_use]
    pub fn skip() -> Self {
        Self::new(Code::Skip, "")
    }
}
