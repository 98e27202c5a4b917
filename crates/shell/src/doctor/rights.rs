//! What the scheduler and the bind guard may do, as the API server says when it is asked.

use super::guard::Before;
use super::{Doctor, Severity, check};
use crate::access::{self, Subject};
use crate::call::{Call, CallError};
use crate::dump::percent_encoded;
use crate::guard;
use crate::unserved::report;
use crate::watch::{self, Permission};
use std::collections::BTreeSet;

/// The guard's service account in the manifests and in the chart.
const GUARDS_ACCOUNT: &str = "secondmate-guard";

impl Doctor {
    /// The permissions that the scheduler needs.
    pub(super) async fn rights(&mut self) {
        let profiles = &self.options.profiles;
        let needed = access::needed(profiles, &watch::watches(profiles, true), self.options.lease.as_ref());
        // The current user need not be the scheduler.
        let (subject, whose, severity, remedy) = match self.options.service_account.clone() {
            Some((namespace, name)) => {
                let whose = format!("service account {namespace}/{name}");
                if self.is_missing(&namespace, &name).await {
                    let problem = "it does not exist: no pod can run as it, and there are no rights to check";
                    let remedy = "correct --service-account, or apply the manifests of this version";
                    self.found(Severity::Fault, check::RIGHTS, whose, problem, remedy);
                    return;
                }
                (
                    Subject::ServiceAccount { namespace, name },
                    whose,
                    Severity::Fault,
                    "grant it by RBAC: apply the manifests of this version, or add it to the ClusterRole",
                )
            }
            None => (
                Subject::Own,
                "user of this kubeconfig".to_owned(),
                Severity::Warning,
                "ask about the scheduler's own rights by --service-account NAMESPACE/NAME; or grant it by RBAC",
            ),
        };
        // The scheduler runs without these.
        let optional: BTreeSet<_> = report::rights().difference(&needed).cloned().collect();
        for (severity, rights, without, remedy) in [
            (severity, needed, "a scheduler that runs as this user does not start", remedy),
            (
                Severity::Warning,
                optional,
                "owners of pods whose scheduler name nobody serves are not told",
                "grant it by RBAC, or ask secondmate doctor instead",
            ),
        ] {
            self.lacks(&subject, &whose, severity, &rights, (without, remedy)).await;
        }
    }

    /// The permissions that a registered guard needs. Only those to decide are needed by every guard: whether it is elected, makes its Service
    /// lead to it and keeps a certificate of its own depends on its options, which are not known here.
    pub(super) async fn rights_of_guard(&mut self, registered: &Before) {
        let service = registered.service();
        let home =
            service.as_ref().map_or(&self.options.guard.namespace, |service| &service.namespace).clone();
        let given = self.options.guard_account.clone();
        let is_given = given.is_some();
        let (namespace, name) = given.unwrap_or_else(|| (home.clone(), GUARDS_ACCOUNT.to_owned()));
        let whose = format!("service account {namespace}/{name}");
        if self.is_missing(&namespace, &name).await {
            let problem = "it does not exist, so the rights of the bind guard are not checked";
            let (severity, remedy) = if is_given {
                (Severity::Fault, "correct --guard-service-account, or apply the guard's manifests")
            } else {
                (Severity::Warning, "name the account that the guard runs as by --guard-service-account")
            };
            self.found(severity, check::RIGHTS, whose, problem, remedy);
            return;
        }
        let to_lead =
            service.map(|service| BTreeSet::from(guard::to_lead_service(&service.namespace, &service.name)));
        let certificate = guard::to_keep_certificate(&home, &self.options.secret, &self.options.webhook);
        let subject = Subject::ServiceAccount { namespace, name };
        let remedy = "grant it by RBAC: apply the guard's manifests of this version";
        for (severity, rights, without) in [
            (
                Severity::Fault,
                guard::to_decide(&watch::guard_watches()),
                "a guard that runs as this user does not start",
            ),
            (
                Severity::Warning,
                BTreeSet::from(access::to_elect(&guard::lease())),
                "a guard that runs as this user starts only with --leader-elect=false",
            ),
            (
                Severity::Warning,
                to_lead.unwrap_or_default(),
                "a guard that runs as this user starts only without --guard-address (POD_IP)",
            ),
            (
                Severity::Warning,
                BTreeSet::from(certificate),
                "a guard that runs as this user starts only if its certificate comes from files",
            ),
        ] {
            self.lacks(&subject, &whose, severity, &rights, (without, remedy)).await;
        }
    }

    /// Reports which of these permissions are missing.
    async fn lacks(
        &mut self,
        subject: &Subject,
        whose: &str,
        severity: Severity,
        rights: &BTreeSet<Permission>,
        (without, remedy): (&str, &str),
    ) {
        match access::missing(&self.caller, subject, rights).await {
            Ok(missing) => {
                for right in missing {
                    let problem = format!("may not {right}: {without}");
                    self.found(severity, check::RIGHTS, whose, problem, remedy);
                }
            }
            Err(error) => self.unknown(check::RIGHTS, whose, &error),
        }
    }

    /// Whether it is known that there is no such service account. Not everybody may look; then its permissions are checked all the same.
    async fn is_missing(&self, namespace: &str, name: &str) -> bool {
        let (namespace, name) = (percent_encoded(namespace), percent_encoded(name));
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
        matches!(self.caller.read(&Call::get(path)).await, Err(CallError::Answered { code: 404, .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub;
    use super::*;
    use serde_json::{Value, json};

    /// An API server whose service accounts are read with this status, and whose reviews deny these permissions, as `verb resource`.
    fn doctor(accounts: u16, denied: &'static [&'static str]) -> Doctor {
        stub::doctor(move |path, review| {
            if path.contains("/serviceaccounts/") {
                return (accounts, String::new());
            }
            let attributes = &review["spec"]["resourceAttributes"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let right = format!("{} {}", text(&attributes["verb"]), text(&attributes["resource"]));
            let is_denied = denied.contains(&"*") || denied.contains(&right.as_str());
            (201, json!({ "status": { "allowed": !is_denied } }).to_string())
        })
    }

    fn told(doctor: &Doctor) -> Vec<String> {
        let findings = doctor.findings.iter();
        findings.map(|found| format!("{:?} {}: {}", found.severity, found.object, found.problem)).collect()
    }

    fn account(name: &str) -> Option<(String, String)> {
        Some(("ns".to_owned(), name.to_owned()))
    }

    #[tokio::test]
    async fn a_service_account_that_does_not_exist_is_told_once() {
        let of = async |accounts: u16| {
            let mut doctor = doctor(accounts, &["*"]);
            doctor.options.service_account = account("mistyped");
            doctor.rights().await;
            told(&doctor)
        };
        assert_eq!(
            of(404).await,
            [
                "Fault service account ns/mistyped: it does not exist: no pod can run as it, and there are no rights to check"
            ]
        );
        let each = "Fault service account ns/mistyped: may not create pods/binding: ";
        for accounts in [200, 403] {
            let found = of(accounts).await;
            assert!(found.len() > 1 && found.iter().any(|text| text.starts_with(each)), "{found:#?}");
        }
    }

    fn registered() -> Before {
        let service = json!({ "namespace": "elsewhere", "name": "guard" });
        let webhooks = json!({ "webhooks": [{ "name": "guard", "clientConfig": { "service": service } }] });
        Before::uncounted(serde_json::from_value(webhooks).expect("a configuration"))
    }

    #[tokio::test]
    async fn what_the_guard_may_not_do_is_told() {
        let mut doctor =
            doctor(200, &["watch nodes", "update secrets", "update endpointslices", "get leases"]);
        doctor.rights_of_guard(&registered()).await;
        let whose = "service account elsewhere/secondmate-guard";
        let starts_only = "a guard that runs as this user starts only";
        let mut found = told(&doctor);
        found.sort_unstable();
        assert_eq!(
            found,
            [
                format!("Fault {whose}: may not watch nodes: a guard that runs as this user does not start"),
                format!(
                    "Warning {whose}: may not get leases in coordination.k8s.io named \"secondmate-guard\" (namespace kube-system): {starts_only} with --leader-elect=false"
                ),
                format!(
                    "Warning {whose}: may not update endpointslices in discovery.k8s.io named \"guard\" (namespace elsewhere): {starts_only} without --guard-address (POD_IP)"
                ),
                format!(
                    "Warning {whose}: may not update secrets named \"secondmate-guard-tls\" (namespace elsewhere): {starts_only} if its certificate comes from files"
                ),
            ]
        );
    }

    #[tokio::test]
    async fn a_guard_with_another_service_account_is_asked_for() {
        let of = async |given: Option<(String, String)>| {
            let mut doctor = doctor(404, &["*"]);
            doctor.options.guard_account = given;
            doctor.rights_of_guard(&registered()).await;
            told(&doctor)
        };
        let problem = "it does not exist, so the rights of the bind guard are not checked";
        assert_eq!(
            of(None).await,
            [format!("Warning service account elsewhere/secondmate-guard: {problem}")]
        );
        assert_eq!(of(account("mistyped")).await, [format!("Fault service account ns/mistyped: {problem}")]);
    }
}
