//! Who holds a Lease, and what for: this lets two processes with the same name but different configurations report the conflict.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use k8s_openapi::api::coordination::v1::Lease;

use super::program::VERSION_ANNOTATION;
use super::{LeaseName, Program};

/// Annotation of the Lease: the scheduler names that its holder serves, sorted and separated by commas.
pub const SCHEDULER_NAMES_ANNOTATION: &str = "secondmate.dev/scheduler-names";
/// Annotation of the Lease: the fingerprint of its holder's configuration.
pub const CONFIGURATION_ANNOTATION: &str = "secondmate.dev/configuration";
/// Annotation of the Lease: the identity of the process that wrote the other annotations. If something other than a secondmate takes the
/// Lease afterwards, it leaves them unchanged.
pub const HOLDER_ANNOTATION: &str = "secondmate.dev/holder";
/// Annotation of the Lease: the identity of its holder, if the holder may not list what is needed to find scheduler names that nobody
/// serves.
pub const MAY_NOT_LIST_ANNOTATION: &str = "secondmate.dev/may-not-list";

/// Label (name and value) of every Lease that a secondmate holds: the others find it by this label.
pub const LEASE_LABEL: (&str, &str) = ("secondmate.dev/lease", "scheduler");

/// What a process wants the Lease for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The scheduler names it serves, sorted.
    scheduler_names: Vec<String>,
    /// Fingerprint of its configuration.
    configuration: String,
}

impl Claim {
    /// A claim to scheduler names, under a configuration with this fingerprint.
    pub fn new<N: AsRef<str>>(scheduler_names: &[N], configuration: impl Into<String>) -> Self {
        let mut scheduler_names: Vec<String> =
            scheduler_names.iter().map(|name| name.as_ref().to_owned()).collect();
        scheduler_names.sort_unstable();
        Self { scheduler_names, configuration: configuration.into() }
    }

    /// Writes this process's claim into a Lease that it is acquiring or renewing, and which program it is.
    pub(super) fn write(&self, lease: &mut Lease, identity: &str, may_not_list: bool) {
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(SCHEDULER_NAMES_ANNOTATION.to_owned(), self.scheduler_names.join(","));
        annotations.insert(CONFIGURATION_ANNOTATION.to_owned(), self.configuration.clone());
        annotations.insert(HOLDER_ANNOTATION.to_owned(), identity.to_owned());
        if may_not_list {
            annotations.insert(MAY_NOT_LIST_ANNOTATION.to_owned(), identity.to_owned());
        } else {
            annotations.remove(MAY_NOT_LIST_ANNOTATION);
        }
        Program::write(lease, identity);
        let (label, value) = LEASE_LABEL;
        lease.metadata.labels.get_or_insert_default().insert(label.to_owned(), value.to_owned());
    }

    /// Removes the claim from a Lease that is being released.
    pub(super) fn remove(lease: &mut Lease) {
        if let Some(annotations) = &mut lease.metadata.annotations {
            for name in [
                SCHEDULER_NAMES_ANNOTATION,
                CONFIGURATION_ANNOTATION,
                HOLDER_ANNOTATION,
                MAY_NOT_LIST_ANNOTATION,
                VERSION_ANNOTATION,
            ] {
                annotations.remove(name);
            }
        }
        if let Some(labels) = &mut lease.metadata.labels {
            labels.remove(LEASE_LABEL.0);
        }
    }

    /// The scheduler names, sorted.
    pub fn scheduler_names(&self) -> &[String] {
        &self.scheduler_names
    }

    /// The claim of the process that holds the Lease. Earlier versions do not write the holder annotation, and leave an existing one
    /// unchanged.
    pub(crate) fn read(lease: &Lease) -> Option<Self> {
        let annotations = lease.metadata.annotations.as_ref()?;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
        let is_anothers = annotations.get(HOLDER_ANNOTATION).is_some_and(|writer| Some(writer) != holder);
        if is_anothers && !holder.is_some_and(|holder| has_our_form(holder)) {
            return None;
        }
        let names = annotations.get(SCHEDULER_NAMES_ANNOTATION)?;
        let configuration = annotations.get(CONFIGURATION_ANNOTATION)?;
        Some(Self::new(&names.split(',').collect::<Vec<_>>(), configuration.clone()))
    }
}

/// The Lease as a candidate last saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The Lease.
    pub lease: LeaseName,
    /// Identity of the holder; empty after a release.
    pub holder: String,
    /// Whether the holder is this process.
    pub is_self: bool,
    /// What the holder wants the Lease for; `None` if the holder is not a secondmate.
    pub claim: Option<Claim>,
    /// How often the Lease changed hands.
    pub transitions: i32,
}

impl Observation {
    pub(crate) fn of(lease: &Lease, name: &LeaseName, identity: &str) -> Self {
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        Self {
            lease: name.clone(),
            is_self: holder == identity,
            claim: Claim::read(lease),
            transitions: spec.and_then(|spec| spec.lease_transitions).unwrap_or(0),
            holder,
        }
    }

    /// What is wrong with the holder from the point of view of a process with another claim; `None` if nothing is: the Lease has no holder,
    /// or it is held by this process or by a replica with the same configuration.
    pub fn conflict(&self, own: &Claim) -> Option<Conflict> {
        if self.is_self || self.holder.is_empty() || self.claim.as_ref() == Some(own) {
            return None;
        }
        Some(Conflict {
            lease: self.lease.clone(),
            holder: self.holder.clone(),
            theirs: self.claim.clone(),
            ours: own.clone(),
        })
    }
}

/// Another live process holds the Lease for a different purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The Lease.
    pub lease: LeaseName,
    /// Identity of its holder.
    pub holder: String,
    /// What the holder wants the Lease for; `None` if it is not a secondmate.
    pub theirs: Option<Claim>,
    /// What this process wants the Lease for.
    pub ours: Claim,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lease, holder, theirs, ours } = self;
        match theirs {
            None => write!(f, "the Lease {lease} is held by {holder}, which is not a secondmate")?,
            Some(theirs) if theirs.scheduler_names == ours.scheduler_names => write!(
                f,
                "scheduler name {} is already served by {holder} (Lease {lease}) with another configuration ({}, here {})",
                ours.scheduler_names.join(","),
                theirs.configuration,
                ours.configuration
            )?,
            Some(theirs) => write!(
                f,
                "the Lease {lease} is held by {holder}, which serves {}, while this process serves {}",
                theirs.scheduler_names.join(","),
                ours.scheduler_names.join(",")
            )?,
        }
        f.write_str(
            "; this process stays a standby and takes over with its own configuration when the other ends: give both the same configuration, or this one another scheduler name",
        )
    }
}

/// An identity that is unique to this process: `<hostname>_<random>`.
pub fn identity() -> String {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned());
    // The standard library seeds its hashers from the operating system.
    let random = || RandomState::new().build_hasher().finish();
    format!("{hostname}_{:016x}{:016x}", random(), random())
}

/// Whether an identity has the form that [`identity`] generates; client-go's end in a UUID with dashes.
fn has_our_form(identity: &str) -> bool {
    let random = identity.rsplit_once('_').map_or("", |(_, random)| random);
    random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(holder: &str, claim: Option<Claim>) -> Observation {
        let lease = LeaseName { namespace: "ns".to_owned(), name: "a".to_owned() };
        Observation { lease, holder: holder.to_owned(), is_self: holder == "me", claim, transitions: 0 }
    }

    #[test]
    fn only_another_live_claim_is_a_conflict() {
        let ours = Claim::new(&["b", "a"], "01");
        for (seen, expected) in [
            (observation("", None), None),
            (observation("me", None), None),
            (observation("replica", Some(Claim::new(&["a", "b"], "01"))), None),
            (
                observation("x", None),
                Some("the Lease ns/a is held by x, which is not a secondmate; this process"),
            ),
            (
                observation("x", Some(Claim::new(&["a", "b"], "02"))),
                Some(
                    "scheduler name a,b is already served by x (Lease ns/a) with another configuration (02, here 01); this",
                ),
            ),
            (
                observation("x", Some(Claim::new(&["a"], "01"))),
                Some(
                    "the Lease ns/a is held by x, which serves a, while this process serves a,b; this process",
                ),
            ),
        ] {
            let found = seen.conflict(&ours).map(|conflict| conflict.to_string());
            match (&found, expected) {
                (None, None) => {}
                (Some(found), Some(expected)) => assert!(found.starts_with(expected), "{found}"),
                _ => panic!("{seen:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_claim_counts_as_long_as_its_process_holds_the_lease() {
        let lease = |holder: &str, more: serde_json::Value| -> Lease {
            let mut lease = serde_json::json!({
                "metadata": { "annotations": { "secondmate.dev/scheduler-names": "a,b", "secondmate.dev/configuration": "01" } },
                "spec": { "holderIdentity": holder },
            });
            lease["metadata"]["annotations"]
                .as_object_mut()
                .expect("an object")
                .extend(more.as_object().expect("an object").clone());
            serde_json::from_value(lease).expect("a Lease")
        };
        let claim = Some(Claim::new(&["a", "b"], "01"));
        let held = |holder: &str| serde_json::json!({ "secondmate.dev/holder": holder });
        assert_eq!(Claim::read(&lease("me", held("me"))), claim);
        // kube-scheduler leaves the annotations that it finds in place.
        assert_eq!(Claim::read(&lease("kube-scheduler", held("me"))), None);
        assert_eq!(Claim::read(&lease("", held("me"))), None);
        assert_eq!(Claim::read(&lease("me", serde_json::json!({}))), claim, "as earlier versions have it");
        // An earlier version took it over from one that had crashed.
        assert_eq!(Claim::read(&lease(&identity(), held("me"))), claim);
        let of_client_go = "host_7f1c2f6e-7a0e-4f0c-9a54-0d9b2a4f5d11";
        assert_eq!(Claim::read(&lease(of_client_go, held("me"))), None);
    }

    #[test]
    fn identities_differ() {
        assert_ne!(identity(), identity());
    }
}
