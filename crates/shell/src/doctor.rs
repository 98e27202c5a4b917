//! `secondmate doctor`: what is wrong with the schedulers of a cluster, seen from outside. It only reads, and needs no running scheduler.
//!
//! Each check says what it found and what to do about it. It also says what it could not determine, because it lacks permission or gets no
//! answer: a check that was not made is not good news.

pub(crate) mod guard;
mod leases;
mod names;
mod rights;
mod server;
#[cfg(test)]
mod stub;
mod tenants;

use crate::call::{CallError, Caller};
use crate::connect::{self, ConnectError};
use crate::dump::AtMost;
use crate::holders::{self, Holder, Listed, Observed};
use crate::lease::LeaseName;
use crate::unserved::{self, LookLimits, Waiting};
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use kube_client::Config;
use secondmate_config::Tenant;
use secondmate_cycle::Profile;
use secondmate_telemetry::Metrics;
use serde::Serialize;
use server::Dated;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Maximum wait for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of pods or nodes that a text names.
const NAMED_MAX: usize = 3;
/// Maximum number of pods or nodes that a finding lists in machine-readable output.
const LISTED_MAX: usize = 1000;

/// What findings about all of them call the pods that wait for a scheduler.
const WAITING_PODS: &str = "pods that wait";

/// What is examined.
#[derive(Debug)]
pub struct DoctorOptions {
    /// The cluster.
    pub cluster: Config,
    /// The profiles whose plugins determine which permissions are checked.
    pub profiles: Vec<Profile>,
    /// The Lease for which permissions are checked; `None`: not checked for any Lease.
    pub lease: Option<LeaseName>,
    /// Namespace and name of the service account whose permissions are checked; `None`: those of the current user.
    pub service_account: Option<(String, String)>,
    /// Namespace and name of the bind guard's service account; `None`: `secondmate-guard` in the namespace of the guard's Service. Its
    /// permissions are checked if the guard is registered.
    pub guard_account: Option<(String, String)>,
    /// Pods that have been waiting for less than this are not judged; whether any scheduler has tried them is judged after five times as
    /// long.
    pub pending_for: Duration,
    /// How much is read.
    pub limits: LookLimits,
    /// The tenants whose nodes are checked; if empty, there is nothing to check.
    pub tenants: Vec<Tenant>,
    /// Name of the bind guard's ValidatingWebhookConfiguration.
    pub webhook: String,
    /// Name of the Secret in which the bind guard keeps its certificate.
    pub secret: String,
    /// The bind guard's Service, in case the API server is configured to reach the guard by a URL, or is not configured to reach one.
    pub guard: GuardsService,
}

/// The Service in front of the bind guard; the guard's Secret is in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardsService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Pods are not scheduled, or are scheduled twice, or soon will be.
    Fault,
    /// A check could not be made.
    Unknown,
    /// Nothing is failing at present.
    Warning,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which check found it.
    pub check: &'static str,
    /// What it is about, by kind and name.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
    /// The affected pods (`NAMESPACE/NAME`), longest-waiting first; at most a thousand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
    /// The affected nodes; at most a thousand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// Since when the longest-waiting of them has been waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// URL of the API server.
    pub server: String,
    /// Its version, as it reports it.
    pub kubernetes: Option<String>,
    /// The checks, in the order in which they were made.
    pub checks: Vec<&'static str>,
    /// What they found, most severe first.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// The number of findings of this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// The names of the checks.
mod check {
    pub const VERSION: &str = "version";
    pub const CLOCKS: &str = "clocks";
    pub const RIGHTS: &str = "rights";
    pub const LEASES: &str = "leases";
    pub const NAMES: &str = "names";
    pub const PODS: &str = "pods";
    pub const GUARD: &str = "guard";
    /// Made only if the configuration has tenants.
    pub const TENANTS: &str = "tenants";
    pub const ALWAYS: [&str; 7] = [VERSION, CLOCKS, RIGHTS, LEASES, NAMES, PODS, GUARD];
}

/// Examines a cluster. This takes as long as the Leases of processes that have ended take to expire, which is 15 s by default.
///
/// # Errors
/// The API server cannot be reached.
pub fn examine(options: DoctorOptions) -> BoxFuture<'static, Result<Examination, ConnectError>> {
    examination(options).boxed()
}

async fn examination(options: DoctorOptions) -> Result<Examination, ConnectError> {
    // Metrics are counted but never exposed: the command ends with the examination.
    let client = connect::client(&options.cluster, &Metrics::new(), None).await?;
    let dated = Dated::default();
    let client = dated.observe(client);
    let caller = Caller::new(client, None, CALL_TIMEOUT);
    let server = options.cluster.cluster_url.to_string();
    connect::check(&caller, &server).await?;
    let mut doctor = Doctor { options, caller, dated, ahead: Default::default(), findings: Vec::new() };
    let version = doctor.server().await;
    doctor.rights().await;
    let guard = doctor.guard_before().await;
    if let Some(registered) = &guard {
        doctor.rights_of_guard(registered).await;
    }
    let waiting = doctor.waiting().await;
    let seen = doctor.holders(waiting.as_ref()).await;
    doctor.programs(version.as_ref(), seen.as_ref());
    if let Some(seen) = &seen {
        doctor.leases(seen, waiting.as_ref()).await;
    }
    let (names, tried) = ("whether anybody serves their scheduler names", "whether anybody has tried them");
    match (&seen, &waiting) {
        (Some(seen), Some(waiting)) => {
            let have_written = doctor.names(seen, waiting).await;
            doctor.untried(seen, &have_written, waiting).await;
        }
        (None, Some(_)) => {
            doctor.not_judged(check::NAMES, WAITING_PODS, names, "the Leases");
            doctor.not_judged(check::PODS, WAITING_PODS, tried, "the Leases");
        }
        // For the names, that has been told.
        (_, None) => doctor.not_judged(check::PODS, WAITING_PODS, tried, "the pods"),
    }
    doctor.guard(guard, seen.as_ref()).await;
    doctor.tenants().await;
    let mut checks = check::ALWAYS.to_vec();
    if !doctor.options.tenants.is_empty() {
        checks.push(check::TENANTS);
    }
    let mut findings = doctor.findings;
    findings.sort_by_key(|finding| finding.severity);
    Ok(Examination { server, kubernetes: version.map(|version| version.git_version), checks, findings })
}

struct Doctor {
    options: DoctorOptions,
    caller: Caller,
    dated: Dated,
    /// How far the API server's clock is ahead of this machine's.
    ahead: jiff::SignedDuration,
    findings: Vec<Finding>,
}

impl Doctor {
    /// The time according to the API server's clock, which also provides the times in objects.
    fn now(&self) -> Timestamp {
        Timestamp::now().checked_add(self.ahead).unwrap_or_else(|_| Timestamp::now())
    }

    fn found(
        &mut self,
        severity: Severity,
        check: &'static str,
        object: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> &mut Finding {
        self.findings.push(Finding {
            severity,
            check,
            object: object.into(),
            problem: problem.into(),
            remedy: remedy.into(),
            pods: Vec::new(),
            nodes: Vec::new(),
            since: None,
        });
        self.findings.last_mut().expect("it was just put there")
    }

    /// Records that a check could not be made.
    fn unknown(&mut self, check: &'static str, object: impl Into<String>, error: &CallError) {
        let remedy = match error {
            CallError::Answered { code: 403, .. } => "ask with a user who may read it",
            CallError::Answered { code: 404, .. } => "ask an API server that serves it",
            _ => "ask again when the API server answers",
        };
        self.found(Severity::Unknown, check, object, format!("it cannot be read: {error}"), remedy);
    }

    /// Records that a question is open, as something cannot be read that another check has told of.
    fn not_judged(&mut self, check: &'static str, object: impl Into<String>, question: &str, unread: &str) {
        let problem = format!("{question} is not known, as {unread} cannot be read");
        self.found(Severity::Unknown, check, object, problem, format!("ask again when {unread} can be read"));
    }

    /// Records that a list was not read to its end.
    fn cut(&mut self, check: &'static str, object: impl Into<String>, at_most: AtMost, not_judged: &str) {
        let problem = format!("not all were looked at ({at_most}): {not_judged}");
        let remedy = match check {
            check::TENANTS => {
                "compare `tenants` with the labels of the others: kubectl get nodes --show-labels"
            }
            _ => "mend what was found, and ask again when there are fewer",
        };
        self.found(Severity::Unknown, check, object, problem, remedy);
    }

    /// Waiting pods, of all scheduler names.
    async fn waiting(&mut self) -> Option<BTreeMap<String, Vec<Waiting>>> {
        let at_most = AtMost::keep(self.options.limits.pods);
        match unserved::waiting(&self.caller, &BTreeSet::new(), at_most).await {
            Ok(waiting) => {
                if waiting.cut {
                    let not_judged = "the others, and the names of their schedulers, are not judged";
                    self.cut(check::NAMES, WAITING_PODS, at_most, not_judged);
                }
                Some(waiting.by_name)
            }
            Err(error) => {
                self.unknown(check::NAMES, "pods", &error);
                None
            }
        }
    }

    /// The holders of the Leases that are relevant here.
    async fn holders(&mut self, waiting: Option<&BTreeMap<String, Vec<Waiting>>>) -> Option<Observed> {
        let concerns = |holder: &Holder| {
            let awaited = || waiting.into_iter().flat_map(BTreeMap::keys).any(|name| holder.serves(name));
            !holder.names.is_empty()
                || guard::is_guards(&holder.lease)
                || holders::is_kube_schedulers(&holder.lease)
                || awaited()
        };
        match holders::observe(&self.caller, Listed::All, concerns).await {
            Ok(seen) => Some(seen),
            Err(error) => {
                self.unknown(check::LEASES, "leases", &error);
                None
            }
        }
    }
}

/// `3 pods`, `1 pod`.
fn pods(count: usize) -> String {
    format!("{count} pod{}", if count == 1 { "" } else { "s" })
}

/// Some of these pods' names, and how many more there are.
fn named(pods: &[Waiting]) -> String {
    let names: Vec<String> = pods.iter().take(NAMED_MAX).map(Waiting::full_name).collect();
    some_of_so_many(&names, pods.len())
}

/// Some of these names, and how many more there are.
fn some_of(names: &[String]) -> String {
    some_of_so_many(&names[..names.len().min(NAMED_MAX)], names.len())
}

fn some_of_so_many(some: &[String], count: usize) -> String {
    let mut text = some.join(", ");
    if count > some.len() {
        text += &format!(" and {} more", count - some.len());
    }
    text
}

impl Finding {
    fn about(&mut self, pods: &[Waiting]) {
        self.pods = pods.iter().take(LISTED_MAX).map(Waiting::full_name).collect();
        self.since = pods.first().map(|pod| pod.since);
    }
}
