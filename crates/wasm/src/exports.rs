//! What a guest exports: which extension points it implements, and whether the functions have the right signatures.

use crate::LoadError;
use secondmate_framework::ExtensionPoint;
use serde::{Deserialize, Serialize};
use wasmtime::{ExternType, Module, ValType};

/// An exported function that the host calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the export of its name")]
pub(crate) enum Export {
    Enqueue,
    PreFilter,
    /// Our own: what verdicts and scores depend on, for one pod.
    Reading,
    AddPod,
    RemovePod,
    Filter,
    PostFilter,
    PreScore,
    Score,
    /// Our own: the scores of all feasible nodes in a single call.
    ScoreNodes,
    NormalizeScore,
    Reserve,
    Unreserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

impl Export {
    pub const ALL: [Self; 17] = [
        Self::Enqueue,
        Self::PreFilter,
        Self::Reading,
        Self::AddPod,
        Self::RemovePod,
        Self::Filter,
        Self::PostFilter,
        Self::PreScore,
        Self::Score,
        Self::ScoreNodes,
        Self::NormalizeScore,
        Self::Reserve,
        Self::Unreserve,
        Self::Permit,
        Self::PreBind,
        Self::Bind,
        Self::PostBind,
    ];

    /// The name under which it is exported.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::PreFilter => "prefilter",
            Self::Reading => "secondmate_reading",
            Self::AddPod => "addpod",
            Self::RemovePod => "removepod",
            Self::Filter => "filter",
            Self::PostFilter => "postfilter",
            Self::PreScore => "prescore",
            Self::Score => "score",
            Self::ScoreNodes => "secondmate_score_nodes",
            Self::NormalizeScore => "normalizescore",
            Self::Reserve => "reserve",
            Self::Unreserve => "unreserve",
            Self::Permit => "permit",
            Self::PreBind => "prebind",
            Self::Bind => "bind",
            Self::PostBind => "postbind",
        }
    }

    /// Its result, as written in the message about a wrong signature.
    fn result(self) -> &'static str {
        match self {
            Self::Enqueue | Self::Unreserve | Self::PostBind => "()",
            Self::PostFilter | Self::Score | Self::ScoreNodes | Self::Reading | Self::Permit => "(i64)",
            _ => "(i32)",
        }
    }
}

/// The set of a guest's exports. In a record it is a list of their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<String>", try_from = "Vec<String>")]
pub(crate) struct Exports(u32);

impl From<Exports> for Vec<String> {
    fn from(exports: Exports) -> Self {
        let there = Export::ALL.into_iter().filter(|export| exports.has(*export));
        there.map(|export| export.name().to_owned()).collect()
    }
}

impl TryFrom<Vec<String>> for Exports {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        let mut exports = Self::default();
        for name in names {
            let export = Export::ALL.into_iter().find(|export| export.name() == name);
            exports.0 |= 1 << export.ok_or_else(|| format!("no guest exports {name:?}"))? as u32;
        }
        Ok(exports)
    }
}

impl Exports {
    pub fn has(self, export: Export) -> bool {
        self.0 & 1 << export as u32 != 0
    }

    fn has_any(self, exports: &[Export]) -> bool {
        exports.iter().any(|export| self.has(*export))
    }

    /// Whether the guest is called after a node was chosen, so that its state has to outlive the cycle.
    pub fn outlive_the_cycle(self) -> bool {
        use Export::{Bind, Permit, PostBind, PreBind, Reserve, Unreserve};
        self.has_any(&[Reserve, Unreserve, Permit, PreBind, Bind, PostBind])
    }

    /// Whether an instance may serve one cycle after the other: pods that were tried out in it are forgotten in PreFilter, and only there.
    pub fn forget(self) -> bool {
        self.has(Export::PreFilter) || !self.has_any(&[Export::AddPod, Export::RemovePod])
    }

    /// Where it acts, in the order of the extension points.
    pub fn points(self) -> Vec<ExtensionPoint> {
        let acts = |point: &ExtensionPoint| match point {
            ExtensionPoint::PreEnqueue | ExtensionPoint::QueueSort => false,
            ExtensionPoint::PreFilter => {
                self.has_any(&[Export::PreFilter, Export::AddPod, Export::RemovePod])
            }
            ExtensionPoint::Filter => self.has(Export::Filter),
            ExtensionPoint::PostFilter => self.has(Export::PostFilter),
            ExtensionPoint::PreScore => self.has_any(&[Export::PreScore, Export::ScoreNodes]),
            ExtensionPoint::Score => self.has(Export::Score),
            ExtensionPoint::Reserve => self.has_any(&[Export::Reserve, Export::Unreserve]),
            ExtensionPoint::Permit => self.has(Export::Permit),
            ExtensionPoint::PreBind => self.has(Export::PreBind),
            ExtensionPoint::Bind => self.has(Export::Bind),
            ExtensionPoint::PostBind => self.has(Export::PostBind),
        };
        ExtensionPoint::ALL.into_iter().filter(acts).collect()
    }

    /// The exports of a module.
    ///
    /// # Errors
    /// It has no memory, a function has the wrong signature, or its exports do not make a plugin: the texts are upstream's. Upstream also
    /// rejects eight combinations by mistake (such as Reserve with Permit alone); they are accepted here.
    pub fn of(module: &Module) -> Result<Self, LoadError> {
        if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
            return Err(LoadError::NoMemory);
        }
        let mut exports = Self::default();
        for export in Export::ALL {
            match module.get_export(export.name()) {
                Some(ExternType::Func(of)) if of.params().len() == 0 && returns(of.results(), export) => {
                    exports.0 |= 1 << export as u32;
                }
                Some(ExternType::Func(_)) => {
                    return Err(LoadError::Signature { export: export.name(), result: export.result() });
                }
                _ => {}
            }
        }
        exports.check()?;
        Ok(exports)
    }

    fn check(self) -> Result<(), LoadError> {
        use Export::{
            AddPod, Bind, Filter, NormalizeScore, Permit, PostBind, PostFilter, PreBind, PreFilter, PreScore,
            RemovePod, Reserve, Score, ScoreNodes, Unreserve,
        };
        if self.0 == 0 {
            return Err(LoadError::NoPlugin);
        }
        let main = [Filter, Score, Reserve, Unreserve, Permit, Bind];
        // A guest may do all its work before the filters.
        let prefilter_alone = self.0 == 1 << PreFilter as u32;
        if !self.has_any(&main) && !prefilter_alone {
            return Err(LoadError::NoMainPoint);
        }
        for (exports, needed) in [
            (&[AddPod, RemovePod, PostFilter][..], Filter),
            (&[PreScore, NormalizeScore, ScoreNodes], Score),
            (&[PreBind, PostBind], Bind),
        ] {
            if let Some(export) = exports.iter().find(|export| self.has(**export))
                && !self.has(needed)
            {
                return Err(LoadError::Needs { export: export.name(), needed: needed.name() });
            }
        }
        Ok(())
    }
}

fn returns(mut results: impl ExactSizeIterator<Item = ValType>, export: Export) -> bool {
    match (export.result(), results.len(), results.next()) {
        ("()", 0, None) => true,
        ("(i32)", 1, Some(of)) => matches!(of, ValType::I32),
        ("(i64)", 1, Some(of)) => matches!(of, ValType::I64),
        _ => false,
    }
}
