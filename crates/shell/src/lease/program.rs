//! Which program holds a Lease: other programs, such as `secondmate doctor`, compare it with the cluster and with themselves.

use std::fmt;

use k8s_openapi::api::coordination::v1::Lease;
use secondmate_config::KUBERNETES_VERSION;

/// Annotation of the Lease: version of the program that holds it, the Kubernetes release that it follows, and the identity of its process,
/// separated by spaces. A version that knows nothing of this annotation leaves it unchanged when it takes the Lease, and so does anything
/// other than a secondmate; hence the identity.
pub(super) const VERSION_ANNOTATION: &str = "secondmate.dev/version";

/// A build of secondmate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Program {
    /// Its version.
    pub version: String,
    /// The Kubernetes release whose kube-scheduler it follows, such as `1.37`.
    pub kubernetes: String,
}

impl Program {
    /// This program.
    pub fn own() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), kubernetes: KUBERNETES_VERSION.to_owned() }
    }

    /// Writes this program into a Lease that the process of this identity is acquiring or renewing.
    pub(super) fn write(lease: &mut Lease, identity: &str) {
        let Self { version, kubernetes } = Self::own();
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(VERSION_ANNOTATION.to_owned(), format!("{version} {kubernetes} {identity}"));
    }

    /// The program that holds the Lease; `None` if it does not say so itself.
    pub fn read(lease: &Lease) -> Option<Self> {
        let holder = lease.spec.as_ref()?.holder_identity.as_ref()?;
        let mut parts = lease.metadata.annotations.as_ref()?.get(VERSION_ANNOTATION)?.splitn(3, ' ');
        let (version, kubernetes, writer) = (parts.next()?, parts.next()?, parts.next()?);
        (writer == holder).then(|| Self { version: version.to_owned(), kubernetes: kubernetes.to_owned() })
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, kubernetes } = self;
        write!(f, "secondmate {version} (Kubernetes {kubernetes})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_process_says_of_itself_counts_while_it_holds_the_lease() {
        let mut lease = Lease::default();
        Program::write(&mut lease, "host_1");
        assert_eq!(Program::read(&lease), None, "nobody holds it");
        let held = |holder: &str| {
            let spec = serde_json::from_value(json!({ "holderIdentity": holder })).expect("a spec");
            Lease { spec: Some(spec), ..lease.clone() }
        };
        assert_eq!(Program::read(&held("host_1")), Some(Program::own()));
        // Something that leaves the annotation as it was has taken the Lease.
        assert_eq!(Program::read(&held("host_2")), None);
        assert_eq!(Program::read(&held("")), None);
        let said = |text: &str| {
            let mut lease = held("host_1");
            let annotations = lease.metadata.annotations.get_or_insert_default();
            annotations.insert(VERSION_ANNOTATION.to_owned(), text.to_owned());
            Program::read(&lease).map(|program| program.to_string())
        };
        assert_eq!(said("0.9.0 1.40 host_1").as_deref(), Some("secondmate 0.9.0 (Kubernetes 1.40)"));
        assert_eq!([said(""), said("0.9.0"), said("0.9.0 1.40")], [None, None, None]);
    }
}
