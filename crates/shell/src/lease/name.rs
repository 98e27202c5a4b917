//! Which Lease an election uses: derived from the scheduler names, and never kube-scheduler's by accident.

use std::fmt;

/// The Leases of the control plane itself, and of the bind guard.
const RESERVED: [&str; 4] =
    ["kube-scheduler", "kube-controller-manager", "cloud-controller-manager", crate::guard::LEASE.1];
const KUBE_SCHEDULER: &str = "kube-scheduler";
const DEFAULT_SCHEDULER: &str = "default-scheduler";
const KUBE_SYSTEM: &str = "kube-system";

/// Namespace and name of a Lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why there is no Lease to use for the election.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseNameError {
    /// The Lease is used for someone else's election.
    #[error(
        "the Lease {name:?} belongs to {owner}: this scheduler would wait for it for ever, or take it away; {remedy}"
    )]
    Reserved {
        /// The Lease.
        name: String,
        /// Who it belongs to.
        owner: String,
        /// What to do.
        remedy: String,
    },
    /// This cannot be the name of an object.
    #[error("leaderElection.{field}: {value:?} cannot be the name of a Kubernetes object: {reason}")]
    Invalid {
        /// `resourceName` or `resourceNamespace`.
        field: &'static str,
        /// What was given.
        value: String,
        /// Why not.
        reason: String,
    },
    /// There are no scheduler names to derive it from.
    #[error("there is no scheduler name to derive the Lease from; give --scheduler-name")]
    NoSchedulerName,
}

/// Where the parts of a [`LeaseName`] come from.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeaseNameSources<'a> {
    /// `leaderElection.resourceName` of the configuration.
    pub configured_name: Option<&'a str>,
    /// `leaderElection.resourceNamespace` of the configuration.
    pub configured_namespace: Option<&'a str>,
    /// Whether kube-scheduler is to be replaced.
    pub replace_default_scheduler: bool,
}

impl LeaseName {
    /// The Lease for a scheduler with these names.
    ///
    /// It depends only on the scheduler names, however the process is started and wherever it runs: the (alphabetically first) name in
    /// `kube-system`, so that two processes that share it compete for one Lease. A process that replaces kube-scheduler takes
    /// kube-scheduler's own Lease, so that the two exclude each other. Only the configuration's `resourceName` and `resourceNamespace`
    /// change that, and they have to be set for every process that serves the name.
    ///
    /// # Errors
    /// The Lease is reserved, or a name is not valid for an object.
    pub fn derive<N: AsRef<str>>(
        scheduler_names: &[N],
        sources: LeaseNameSources<'_>,
    ) -> Result<Self, LeaseNameError> {
        let first = scheduler_names
            .iter()
            .map(AsRef::as_ref)
            .filter(|name| !name.is_empty())
            .min()
            .ok_or(LeaseNameError::NoSchedulerName)?;
        let replaces = sources.replace_default_scheduler
            && scheduler_names.iter().any(|name| name.as_ref() == DEFAULT_SCHEDULER);
        let name = match sources.configured_name {
            Some(name) => {
                let reason = secondmate_config::is_subdomain(name).join("; ");
                if !reason.is_empty() {
                    return Err(LeaseNameError::Invalid {
                        field: "resourceName",
                        value: name.to_owned(),
                        reason,
                    });
                }
                name.to_owned()
            }
            None if replaces => KUBE_SCHEDULER.to_owned(),
            None => object_name(first),
        };
        if RESERVED.contains(&name.as_str()) && !(name == KUBE_SCHEDULER && replaces) {
            let remedy = match (sources.configured_name, name.as_str()) {
                (Some(_), KUBE_SCHEDULER) => {
                    "remove leaderElection.resourceName (it is then derived from the scheduler name), or stop kube-scheduler and start with --i-replace-the-default-scheduler"
                }
                (Some(_), _) => "choose another leaderElection.resourceName",
                (None, _) => {
                    "set leaderElection.resourceName in the configuration, or choose another scheduler name"
                }
            };
            return Err(LeaseNameError::Reserved { owner: name.clone(), name, remedy: remedy.to_owned() });
        }
        let namespace = match sources.configured_namespace {
            Some(namespace) => {
                let mut reason = secondmate_config::is_subdomain(namespace).join("; ");
                if reason.is_empty() && (namespace.contains('.') || namespace.len() > 63) {
                    "a namespace has no dots and at most 63 bytes".clone_into(&mut reason);
                }
                if !reason.is_empty() {
                    let value = namespace.to_owned();
                    return Err(LeaseNameError::Invalid { field: "resourceNamespace", value, reason });
                }
                namespace
            }
            None => KUBE_SYSTEM,
        };
        Ok(Self { namespace: namespace.to_owned(), name })
    }
}

/// A scheduler name as an object name: unchanged if it is valid, otherwise a readable form with a hash.
fn object_name(scheduler_name: &str) -> String {
    if secondmate_config::is_subdomain(scheduler_name).is_empty() {
        return scheduler_name.to_owned();
    }
    let readable: String = scheduler_name
        .chars()
        .map(|character| character.to_ascii_lowercase())
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '-' })
        .take(200)
        .collect();
    let hash = scheduler_name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    match readable.trim_matches('-') {
        "" => format!("scheduler-{hash:08x}"),
        readable => format!("{readable}-{hash:08x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derive(names: &[&str], sources: LeaseNameSources<'_>) -> String {
        match LeaseName::derive(names, sources) {
            Ok(lease) => lease.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn the_lease_follows_from_the_scheduler_names() {
        let none = LeaseNameSources::default();
        let replace = LeaseNameSources { replace_default_scheduler: true, ..none };
        let table: &[(&[&str], LeaseNameSources<'_>, &str)] = &[
            (&["my-scheduler"], none, "kube-system/my-scheduler"),
            (&["b", "a"], none, "kube-system/a"),
            (&["a"], LeaseNameSources { configured_namespace: Some("other"), ..none }, "other/a"),
            (&["a"], LeaseNameSources { configured_name: Some("mine"), ..none }, "kube-system/mine"),
            (&["My Scheduler!"], none, "kube-system/my-scheduler-688baf6d"),
            (&["default-scheduler"], none, "kube-system/default-scheduler"),
            (&["default-scheduler"], replace, "kube-system/kube-scheduler"),
            (&["default-scheduler", "a"], replace, "kube-system/kube-scheduler"),
        ];
        for (names, sources, expected) in table {
            assert_eq!(derive(names, *sources), *expected, "{names:?} {sources:?}");
        }
    }

    #[test]
    fn the_leases_of_the_control_plane_and_of_the_bind_guard_are_refused() {
        let none = LeaseNameSources::default();
        let table: &[(&[&str], LeaseNameSources<'_>, &str)] = &[
            (
                &["a"],
                LeaseNameSources { configured_name: Some("kube-scheduler"), ..none },
                "error: the Lease \"kube-scheduler\" belongs to kube-scheduler: this scheduler would wait for it for ever, or take it away; remove leaderElection.resourceName (it is then derived from the scheduler name), or stop kube-scheduler and start with --i-replace-the-default-scheduler",
            ),
            // The flag alone does not help a scheduler that does not replace anything.
            (
                &["a"],
                LeaseNameSources {
                    configured_name: Some("kube-scheduler"),
                    replace_default_scheduler: true,
                    ..none
                },
                "error: the Lease \"kube-scheduler\" belongs to kube-scheduler",
            ),
            (&["kube-scheduler"], none, "error: the Lease \"kube-scheduler\" belongs to kube-scheduler"),
            (
                &["a"],
                LeaseNameSources { configured_name: Some("kube-controller-manager"), ..none },
                "error: the Lease \"kube-controller-manager\" belongs to kube-controller-manager",
            ),
            (
                &["secondmate-guard"],
                none,
                "error: the Lease \"secondmate-guard\" belongs to secondmate-guard: this scheduler would wait for it for ever, or take it away; set leaderElection.resourceName in the configuration, or choose another scheduler name",
            ),
            (
                &["a"],
                LeaseNameSources { configured_name: Some("Big"), ..none },
                "error: leaderElection.resourceName: \"Big\" cannot be the name of a Kubernetes object: a lowercase",
            ),
            (
                &["a"],
                LeaseNameSources { configured_namespace: Some("a.b"), ..none },
                "error: leaderElection.resourceNamespace: \"a.b\" cannot be the name of a Kubernetes object: a namespace",
            ),
            (&[], none, "error: there is no scheduler name to derive the Lease from"),
        ];
        for (names, sources, expected) in table {
            let found = derive(names, *sources);
            assert!(found.starts_with(expected), "{names:?}\nfound:    {found}\nexpected: {expected}");
        }
    }
}
