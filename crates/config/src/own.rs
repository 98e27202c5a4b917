//! The second document: what only secondmate has.

use secondmate_model::duration;
use serde::{Serialize, Serializer};
use std::time::Duration;

use crate::document::Node;
use crate::object::{Object, to_duration};
use crate::problem::{Path, Problems, quoted};
use crate::tenants::{self, Tenant};

const YIELD_LAST_ROOM: Duration = Duration::from_secs(30);

/// What to do about kube-scheduler's quirks that hurt users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Parity {
    /// The same as kube-scheduler. The default.
    #[default]
    Strict,
    /// Behave as a user would expect.
    Sensible,
}

/// How pods that other schedulers have nominated to a node count there. A nominated pod reserves the room that a preemption made for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NominationsOfOthers {
    /// Those of equal or higher priority count as if they were already there. The default.
    #[default]
    Honour,
    /// They do not count, since kube-scheduler does not see them either.
    Ignore,
}

/// Whose pods preemption may evict; all others are not even candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Victims {
    /// Pods of all scheduler names that the process serves.
    Own,
    /// Pods with the same scheduler name as the pod that needs room.
    Tenant,
    /// Pods of any scheduler, as kube-scheduler does.
    All,
}

/// Preemption beside other schedulers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preemption {
    /// Whose pods may be evicted. Default: `own`, or `all` in a process that runs in kube-scheduler's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub victims: Option<Victims>,
    /// Whether a pod preempts again only after a growing delay if the pods evicted for it were evicted in vain, because others took the room.
    /// Default true.
    pub break_loops: bool,
}

impl Default for Preemption {
    fn default() -> Self {
        Self { victims: None, break_loops: true }
    }
}

/// The second document: settings that only secondmate has.
///
/// ```yaml
/// apiVersion: secondmate.dev/v1alpha1
/// kind: SecondmateConfiguration
/// parity: strict
/// preemption: {victims: own, breakLoops: true}
/// nominationsOfOthers: honour
/// readBeforeBind: true
/// yieldLastRoom: 30s
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecondmateConfiguration {
    /// `strict` (the default) or `sensible`.
    pub parity: Parity,
    /// Preemption beside other schedulers.
    pub preemption: Preemption,
    /// `honour` (the default) or `ignore`.
    pub nominations_of_others: NominationsOfOthers,
    /// Whether the pods of a nearly full node are read before a pod is bound there, while other schedulers bind pods too. Default
    /// true.
    pub read_before_bind: bool,
    /// Maximum time that a pod waits for the last room of a node that other schedulers may be about to fill. Default 30 s; 0: not at
    /// all.
    #[serde(serialize_with = "serialize_duration")]
    pub yield_last_room: Duration,
    /// Who may use which scheduler name, and for what. If there are any, they include each name that the process serves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<Tenant>,
}

impl Default for SecondmateConfiguration {
    fn default() -> Self {
        Self {
            parity: Parity::default(),
            preemption: Preemption::default(),
            nominations_of_others: NominationsOfOthers::default(),
            read_before_bind: true,
            yield_last_room: YIELD_LAST_ROOM,
            tenants: Vec::new(),
        }
    }
}

fn serialize_duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration::format(*value))
}

pub(crate) fn read(node: &Node, problems: &Problems) -> SecondmateConfiguration {
    let Some(object) = Object::open(node, &Path::default(), problems) else {
        return SecondmateConfiguration::default();
    };
    object.string("apiVersion");
    object.string("kind");
    let parity = match object.string("parity").as_deref() {
        None | Some("strict") => Parity::Strict,
        Some("sensible") => Parity::Sensible,
        Some(other) => {
            problems.not_supported(&object.path.child("parity"), other, &["strict", "sensible"]);
            Parity::Strict
        }
    };
    let mut preemption = object.object("preemption").map_or_else(Preemption::default, |object| {
        let victims = victims(&object, "victims", problems);
        let break_loops = object.boolean("breakLoops").unwrap_or(true);
        object.close();
        Preemption { victims, break_loops }
    });
    // The older field that says whose pods may be evicted.
    if let Some(others) = object.boolean("preemptOtherSchedulers") {
        let path = object.path.child("preemptOtherSchedulers");
        if preemption.victims.is_some() {
            problems.forbidden(&path, "`preemption.victims` says whose pods may be evicted; remove this");
        }
        preemption.victims.get_or_insert(if others { Victims::All } else { Victims::Own });
    }
    let nominations_of_others = match object.string("nominationsOfOthers").as_deref() {
        None | Some("honour") => NominationsOfOthers::Honour,
        Some("ignore") => NominationsOfOthers::Ignore,
        Some(other) => {
            problems.not_supported(&object.path.child("nominationsOfOthers"), other, &["honour", "ignore"]);
            NominationsOfOthers::Honour
        }
    };
    let read_before_bind = object.boolean("readBeforeBind").unwrap_or(true);
    let yield_last_room = object.duration("yieldLastRoom").map_or(YIELD_LAST_ROOM, |nanoseconds| {
        if !(0..=60_000_000_000).contains(&nanoseconds) {
            let given = duration::format_signed(nanoseconds);
            problems.invalid(&object.path.child("yieldLastRoom"), quoted(given), "must be between 0s and 1m");
        }
        to_duration(nanoseconds)
    });
    let tenants =
        object.list("tenants", |node, path| tenants::read(node, path, problems)).unwrap_or_default();
    object.close();
    SecondmateConfiguration {
        parity,
        preemption,
        nominations_of_others,
        read_before_bind,
        yield_last_room,
        tenants,
    }
}

pub(crate) fn victims(object: &Object<'_>, field: &'static str, problems: &Problems) -> Option<Victims> {
    match object.string(field)?.as_str() {
        "own" => Some(Victims::Own),
        "tenant" => Some(Victims::Tenant),
        "all" => Some(Victims::All),
        other => {
            problems.not_supported(&object.path.child(field), other, &["own", "tenant", "all"]);
            None
        }
    }
}
