//! Taints and tolerations.

use crate::{Atom, wire};
use std::fmt;

/// Effect of a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// New pods are kept off.
    NoSchedule,
    /// New pods go there only if no other node is feasible.
    PreferNoSchedule,
    /// New pods are kept off and running ones are evicted.
    NoExecute,
    /// An effect unknown to this version: no plugin acts on it.
    Other,
}

impl Effect {
    fn parse(text: &str) -> Self {
        match text {
            "NoSchedule" => Self::NoSchedule,
            "PreferNoSchedule" => Self::PreferNoSchedule,
            "NoExecute" => Self::NoExecute,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
            Self::Other => "(an unknown effect)",
        })
    }
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taint {
    /// Key.
    pub key: Atom,
    /// Value.
    pub value: Atom,
    /// Effect.
    pub effect: Effect,
}

impl Taint {
    /// Compiles a taint.
    #[must_use]
    pub fn new(taint: &wire::Taint) -> Self {
        Self {
            key: Atom::new(&taint.key),
            value: Atom::new(&taint.value),
            effect: Effect::parse(&taint.effect),
        }
    }

    /// Whether the taint keeps off pods that do not tolerate it.
    #[must_use]
    pub fn repels(&self) -> bool {
        matches!(self.effect, Effect::NoSchedule | Effect::NoExecute)
    }
}

/// As kubectl writes it: `key=value:effect`, or `key:effect`.
impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.as_str().is_empty() {
            write!(f, "{}:{}", self.key, self.effect)
        } else {
            write!(f, "{}={}:{}", self.key, self.value, self.effect)
        }
    }
}

/// How a toleration compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TolerationOperator {
    /// The values are equal.
    Equal,
    /// Any value.
    Exists,
    /// An unknown operator, or one that is off by default: tolerates nothing.
    Other,
}

/// A toleration of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Toleration {
    /// Key; `None` means all.
    pub key: Option<Atom>,
    /// Operator.
    pub operator: TolerationOperator,
    /// Value.
    pub value: Atom,
    /// Effect; `None` means all.
    pub effect: Option<Effect>,
}

impl Toleration {
    /// Compiles a toleration.
    #[must_use]
    pub fn new(toleration: &wire::Toleration) -> Self {
        Self {
            key: (!toleration.key.is_empty()).then(|| Atom::new(&toleration.key)),
            operator: match &*toleration.operator {
                "" | "Equal" => TolerationOperator::Equal,
                "Exists" => TolerationOperator::Exists,
                _ => TolerationOperator::Other,
            },
            value: Atom::new(&toleration.value),
            effect: (!toleration.effect.is_empty()).then(|| Effect::parse(&toleration.effect)),
        }
    }

    /// Whether the taint is tolerated (`ToleratesTaint` upstream).
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        if self.effect.is_some_and(|e| e != taint.effect)
            || self.key.as_ref().is_some_and(|k| *k != taint.key)
        {
            return false;
        }
        match self.operator {
            TolerationOperator::Exists => true,
            TolerationOperator::Equal => self.value == taint.value,
            TolerationOperator::Other => false,
        }
    }
}
