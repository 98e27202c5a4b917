//! The whole configuration: read, defaulted, validated, resolved.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::args::PluginArgs;
use crate::document::{self, Node};
use crate::extender::{self, Extender};
use crate::object::to_duration;
use crate::own::{self, SecondmateConfiguration, Victims};
use crate::plugins::PluginCatalogue;
use crate::problem::{ConfigError, Path, Problem, ProblemKind, Problems, quoted};
use crate::profiles;
use crate::remarks::{Notice, Remarks, Unsupported};
use crate::resolve::ResolvedPlugins;
use crate::tenants::{self, Tenant};
use crate::v1::{self, GivenClientConnection, GivenConfiguration, GivenLeaderElection, GivenProfile};
use secondmate_model::duration;

/// The scheduler name of pods that do not name one: kube-scheduler's.
pub const DEFAULT_SCHEDULER_NAME: &str = "default-scheduler";

/// Everything that can be configured, with every default applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// At least one; the names are unique.
    pub profiles: Vec<Profile>,
    /// How one of several processes is elected to schedule.
    pub leader_election: LeaderElection,
    /// How to reach the API server.
    pub client_connection: ClientConnection,
    /// kube-scheduler's number of goroutines; at least 1. Default 16.
    pub parallelism: u32,
    /// Backoff of a pod after its first failure. Default 1 s.
    pub pod_initial_backoff: Duration,
    /// Longest backoff of a pod. Default 10 s.
    pub pod_max_backoff: Duration,
    /// HTTP extenders, in the order in which they are called.
    pub extenders: Vec<Extender>,
    /// Whether the caches are filled only once the process is the leader. Default false.
    pub delay_cache_until_active: bool,
    /// Whether CPU profiles are served below `/debug/pprof/`. Default true.
    pub enable_profiling: bool,
    /// secondmate's own additions.
    pub own: SecondmateConfiguration,
    name_given: NameGiven,
    unsupported: Vec<Unsupported>,
    notices: Vec<Notice>,
}

/// Where the scheduler name of a single profile comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameGiven {
    /// It is given.
    Yes,
    /// The profile gives none.
    NotInProfile,
    /// There is no profile.
    NoProfile,
}

/// A scheduler name and what scheduling under that name means.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Pods with this `spec.schedulerName` are scheduled by this profile.
    pub scheduler_name: String,
    /// Percentage of the nodes after which the search for feasible nodes may end, as configured for the profile or else
    /// for all; `None`: not configured. Zero means kube-scheduler's adaptive percentage.
    pub percentage_of_nodes_to_score: Option<u8>,
    /// The plugins that run at each extension point, in order.
    pub plugins: ResolvedPlugins,
    /// Arguments by plugin, for all plugins that have any.
    pub plugin_args: BTreeMap<String, PluginArgs>,
}

/// How one of several processes is elected to schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElection {
    /// Whether there is an election at all. Default true.
    pub leader_elect: bool,
    /// How long a standby waits after the last observed renewal. Default 15 s.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it stops. Default 10 s.
    pub renew_deadline: Duration,
    /// Time between attempts. Default 2 s.
    pub retry_period: Duration,
    /// Name of the Lease; `None`: derived from the scheduler names (kube-scheduler's default, `kube-scheduler`, would
    /// take over the default scheduler's Lease).
    pub resource_name: Option<String>,
    /// Namespace of the Lease; `None`: where the scheduler runs, else `kube-system`.
    pub resource_namespace: Option<String>,
}

impl Default for LeaderElection {
    fn default() -> Self {
        Self {
            leader_elect: true,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            resource_name: None,
            resource_namespace: None,
        }
    }
}

/// How to reach the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConnection {
    /// Path of a kubeconfig file; `None`: found as usual (`KUBECONFIG`, the pod's service account).
    pub kubeconfig: Option<String>,
    /// Requests per second, on average; negative: unlimited, as in client-go. Default 50.
    pub qps: f64,
    /// Burst of requests above the average. Default 100.
    pub burst: u32,
    /// Whether `qps` or `burst` is given in the file. Only then does secondmate limit itself: the API server's priority and
    /// fairness does it better.
    pub limited: bool,
}

impl Default for ClientConnection {
    fn default() -> Self {
        Self { kubeconfig: None, qps: 50.0, burst: 100, limited: false }
    }
}

impl std::str::FromStr for Configuration {
    type Err = ConfigError;

    /// Reads a configuration that names in-tree plugins only.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::parse(text, &PluginCatalogue::in_tree())
    }
}

impl Configuration {
    /// Reads a configuration file: YAML or JSON, with the main document and optionally secondmate's own.
    ///
    /// # Errors
    /// All problems that can be found in one pass, with path, line and remedy. [`Self::unsupported`] settings are reported with them, but are
    /// not an error by themselves.
    pub fn parse(text: &str, catalogue: &PluginCatalogue) -> Result<Self, ConfigError> {
        let documents = document::parse(text)?;
        let problems = Problems::default();
        let (main, own) =
            tell_apart(&documents).map_err(|problem| ConfigError { problems: vec![problem] })?;
        let own_problems = Problems::default();
        let own = own.map(|node| {
            document::note_lines(node, &Path::default(), &own_problems);
            own::read(node, &own_problems)
        });
        let given = match main {
            Some(node) => {
                document::note_lines(node, &Path::default(), &problems);
                v1::read(node, &problems).unwrap_or_default()
            }
            None => GivenConfiguration::default(),
        };
        let configuration = resolve_all(given, own.unwrap_or_default(), catalogue, &problems);
        // If names could not be read, it is unknown whether they have a tenant.
        if !problems.undecodable("profiles") {
            tenants::validate(
                &configuration.own.tenants,
                &configuration.scheduler_names(),
                &Path::default().child("tenants"),
                &own_problems,
            );
        }
        if problems.count() + own_problems.count() > 0 {
            for unsupported in &configuration.unsupported {
                let message = format!("{} is not supported yet; {}", unsupported.feature, unsupported.remedy);
                problems.report(ProblemKind::Unsupported, &unsupported.path.as_str().into(), message);
            }
        }
        problems.check([&own_problems])?;
        Ok(configuration)
    }

    /// The configuration without a file: one profile with kube-scheduler's default plugins for each name.
    ///
    /// # Errors
    /// When no name is given, a name is empty, or a name is given twice.
    pub fn for_scheduler_names<N: AsRef<str>>(names: &[N]) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        if names.is_empty() {
            problems.required(&Path::default().child("profiles"), "give at least one scheduler name");
            problems.check([])?;
        }
        let given = GivenConfiguration {
            profiles: names
                .iter()
                .map(|name| GivenProfile {
                    scheduler_name: Some(name.as_ref().to_owned()),
                    ..GivenProfile::default()
                })
                .collect(),
            ..GivenConfiguration::default()
        };
        let own = SecondmateConfiguration::default();
        let configuration = resolve_all(given, own, &PluginCatalogue::in_tree(), &problems);
        problems.check([])?;
        Ok(configuration)
    }

    /// What is configured but does not exist in secondmate yet. A scheduler must not start unless this is empty.
    pub fn unsupported(&self) -> &[Unsupported] {
        &self.unsupported
    }

    /// What is accepted although its effect differs from kube-scheduler's; to be logged at startup.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The scheduler names, in the order of the profiles.
    pub fn scheduler_names(&self) -> Vec<&str> {
        self.profiles.iter().map(|profile| profile.scheduler_name.as_str()).collect()
    }

    /// The profile for pods of a scheduler name.
    pub fn profile(&self, scheduler_name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.scheduler_name == scheduler_name)
    }

    /// Whose pods may be evicted for pods of a scheduler name: as configured for its tenant, or else for all. By default, a tenant evicts only
    /// its own pods, any other additional scheduler evicts no pods of other schedulers, and a scheduler with kube-scheduler's name behaves
    /// like kube-scheduler.
    pub fn victims(&self, scheduler_name: &str) -> Victims {
        let tenant = self.tenant(scheduler_name);
        let configured = tenant.and_then(|tenant| tenant.evicts).or(self.own.preemption.victims);
        configured.unwrap_or_else(|| match tenant {
            Some(_) => Victims::Tenant,
            None if self.profile(DEFAULT_SCHEDULER_NAME).is_some() => Victims::All,
            None => Victims::Own,
        })
    }

    /// The tenant of a scheduler name.
    pub fn tenant(&self, scheduler_name: &str) -> Option<&Tenant> {
        self.own.tenants.iter().find(|tenant| tenant.scheduler_name == scheduler_name)
    }

    /// Rejects the name `default-scheduler`, unless kube-scheduler is to be replaced.
    ///
    /// # Errors
    /// Names the profile and what to do.
    pub fn check_default_scheduler(&self, replace: bool) -> Result<(), ConfigError> {
        let taken = self.profiles.iter().position(|profile| profile.scheduler_name == DEFAULT_SCHEDULER_NAME);
        let Some(index) = taken.filter(|_| !replace) else { return Ok(()) };
        let profiles = Path::default().child("profiles");
        let name = profiles.index(index).child("schedulerName");
        let served = format!("{}, which kube-scheduler serves", quoted(DEFAULT_SCHEDULER_NAME));
        let or_replace = "or stop kube-scheduler and start with --i-replace-the-default-scheduler";
        let (path, message) = match self.name_given {
            NameGiven::Yes => (
                name,
                format!(
                    "{} is the name that kube-scheduler serves, and both would schedule the same pods; choose another name, {or_replace}",
                    quoted(DEFAULT_SCHEDULER_NAME)
                ),
            ),
            NameGiven::NotInProfile => (
                name,
                format!(
                    "Required value: without it the scheduler name is {served}; add `schedulerName: NAME` to the profile, give --scheduler-name NAME, {or_replace}"
                ),
            ),
            NameGiven::NoProfile => (
                profiles,
                format!(
                    "Required value: without a profile the scheduler name is {served}; add `profiles: [{{schedulerName: NAME}}]`, give --scheduler-name NAME, {or_replace}"
                ),
            ),
        };
        let path = path.as_str().to_owned();
        let problem = Problem { kind: ProblemKind::Validation, path, line: None, message };
        Err(ConfigError { problems: vec![problem] })
    }
}

/// Finds the main document and secondmate's own, by their kinds.
fn tell_apart(documents: &[Node]) -> Result<(Option<&Node>, Option<&Node>), Problem> {
    let refusal = |node: Option<&Node>, message: String| Problem {
        kind: ProblemKind::Syntax,
        path: String::new(),
        line: node.map(|node| node.line).filter(|line| *line > 0),
        message,
    };
    let (mut main, mut own) = (None, None);
    for node in documents {
        let text = |name| match node.field(name).map(|node| &node.kind) {
            Some(document::Kind::Text(text)) => text.as_str(),
            _ => "",
        };
        let (version, kind) = (text("apiVersion"), text("kind"));
        let slot = match (version, kind) {
            (crate::API_VERSION, crate::KIND) => &mut main,
            (crate::OWN_API_VERSION, crate::OWN_KIND) => &mut own,
            ("", _) | (_, "") => {
                let missing = if kind.is_empty() { "kind" } else { "apiVersion" };
                return Err(refusal(
                    Some(node),
                    format!(
                        "{missing} is missing; a configuration begins with `apiVersion: {}` and `kind: {}`",
                        crate::API_VERSION,
                        crate::KIND
                    ),
                ));
            }
            _ => {
                return Err(refusal(
                    Some(node),
                    format!(
                        "no kind {} is registered for version {}; this scheduler reads {} of {} and {} of {}",
                        quoted(kind),
                        quoted(version),
                        crate::KIND,
                        crate::API_VERSION,
                        crate::OWN_KIND,
                        crate::OWN_API_VERSION
                    ),
                ));
            }
        };
        if slot.replace(node).is_some() {
            return Err(refusal(Some(node), format!("there are two documents of kind {kind}; keep one")));
        }
    }
    if documents.is_empty() {
        return Err(refusal(
            None,
            format!(
                "the configuration is empty; expected a document of kind {} ({})",
                crate::KIND,
                crate::API_VERSION
            ),
        ));
    }
    Ok((main, own))
}

/// Applies defaults, checks the rules, expands plugins.
fn resolve_all(
    given: GivenConfiguration,
    own: SecondmateConfiguration,
    catalogue: &PluginCatalogue,
    problems: &Problems,
) -> Configuration {
    let root = Path::default();
    let client_connection =
        client_connection(&given.client_connection, &root.child("clientConnection"), problems);
    let leader_election = leader_election(&given.leader_election, &root.child("leaderElection"), problems);

    let parallelism = given.parallelism.unwrap_or(16);
    if parallelism <= 0 {
        problems.invalid(
            &root.child("parallelism"),
            parallelism,
            "should be an integer value greater than zero",
        );
    }
    let percentage = percentage(given.percentage_of_nodes_to_score, &root, problems);
    let initial = given.pod_initial_backoff_seconds.unwrap_or(1);
    let max = given.pod_max_backoff_seconds.unwrap_or(10);
    if initial <= 0 {
        problems.invalid(&root.child("podInitialBackoffSeconds"), initial, "must be greater than 0");
    }
    if max < initial {
        problems.invalid(
            &root.child("podMaxBackoffSeconds"),
            max,
            "must be greater than or equal to PodInitialBackoffSeconds",
        );
        problems.depends_on(&root.child("podInitialBackoffSeconds"));
    }
    extender::validate(&given.extenders, &root.child("extenders"), problems);

    let mut remarks = Remarks::default();
    remarks.about(&given);
    let name_given = match given.profiles.as_slice() {
        [] => NameGiven::NoProfile,
        [only] if only.scheduler_name.is_none() => NameGiven::NotInProfile,
        _ => NameGiven::Yes,
    };
    let profiles = profiles::resolve_profiles(&given, percentage, catalogue, problems, &mut remarks);
    Configuration {
        profiles,
        leader_election,
        client_connection,
        parallelism: u32::try_from(parallelism).unwrap_or(1),
        pod_initial_backoff: Duration::from_secs(u64::try_from(initial).unwrap_or(1)),
        pod_max_backoff: Duration::from_secs(u64::try_from(max).unwrap_or(1)),
        extenders: given.extenders,
        delay_cache_until_active: given.delay_cache_until_active,
        enable_profiling: given.enable_profiling.unwrap_or(true),
        own,
        name_given,
        unsupported: remarks.unsupported,
        notices: remarks.notices,
    }
}

pub(crate) fn percentage(given: Option<i32>, parent: &Path, problems: &Problems) -> Option<u8> {
    let given = given?;
    if !(0..=100).contains(&given) {
        problems.invalid(&parent.child("percentageOfNodesToScore"), given, "not in valid range [0-100]");
    }
    u8::try_from(given).ok()
}

fn client_connection(given: &GivenClientConnection, path: &Path, problems: &Problems) -> ClientConnection {
    if given.burst < 0 {
        problems.invalid(&path.child("burst"), given.burst, "must be non-negative");
    }
    if !given.qps.is_finite() {
        problems.invalid(&path.child("qps"), given.qps, "must be a finite number");
    }
    const CONTENT_TYPES: [&str; 2] = ["application/json", "application/vnd.kubernetes.protobuf"];
    if !given.content_type.is_empty() && !CONTENT_TYPES.contains(&given.content_type.as_str()) {
        problems.not_supported(&path.child("contentType"), &given.content_type, &CONTENT_TYPES);
    }
    let accepted =
        given.accept_content_types.split(',').map(str::trim).filter(|accepted| !accepted.is_empty());
    for accepted in accepted {
        let media_type = accepted.split(';').next().unwrap_or_default();
        if media_type != "*/*" && !CONTENT_TYPES.contains(&media_type) {
            problems.not_supported(&path.child("acceptContentTypes"), accepted, &CONTENT_TYPES);
        }
    }
    let default = ClientConnection::default();
    ClientConnection {
        kubeconfig: Some(given.kubeconfig.clone()).filter(|path| !path.is_empty()),
        qps: if given.qps == 0.0 { default.qps } else { given.qps },
        burst: if given.burst == 0 {
            default.burst
        } else {
            u32::try_from(given.burst).unwrap_or(default.burst)
        },
        limited: given.qps != 0.0 || given.burst != 0,
    }
}

fn leader_election(given: &GivenLeaderElection, path: &Path, problems: &Problems) -> LeaderElection {
    let or_seconds = |nanoseconds: i64, seconds: i64| match nanoseconds {
        0 => seconds * 1_000_000_000,
        given => given,
    };
    let lease = or_seconds(given.lease_duration, 15);
    let deadline = or_seconds(given.renew_deadline, 10);
    let retry = or_seconds(given.retry_period, 2);
    let leader_elect = given.leader_elect.unwrap_or(true);
    if leader_elect {
        let shown = |nanoseconds| quoted(duration::format_signed(nanoseconds));
        for (field, value) in [("leaseDuration", lease), ("renewDeadline", deadline), ("retryPeriod", retry)]
        {
            if value <= 0 {
                problems.invalid(&path.child(field), shown(value), "must be greater than zero");
            }
        }
        if lease <= deadline {
            problems.invalid(
                &path.child("leaseDuration"),
                shown(lease),
                "must be greater than `RenewDeadline`",
            );
            problems.depends_on(&path.child("renewDeadline"));
        }
        // client-go rejects this when the election begins: with jitter, the deadline could pass before the second attempt.
        if i128::from(deadline) * 10 <= i128::from(retry) * 12 {
            problems.invalid(
                &path.child("renewDeadline"),
                shown(deadline),
                "must be greater than 1.2 times `RetryPeriod`",
            );
            problems.depends_on(&path.child("retryPeriod"));
        }
        // A Lease stores whole seconds.
        if (1..1_000_000_000).contains(&lease) {
            problems.invalid(&path.child("leaseDuration"), shown(lease), "must be at least 1 second");
        }
        if !matches!(given.resource_lock.as_str(), "" | "leases") {
            problems.invalid(
                &path.child("resourceLock"),
                quoted(&given.resource_lock),
                "resourceLock value must be \"leases\"",
            );
        }
    }
    LeaderElection {
        leader_elect,
        lease_duration: to_duration(lease),
        renew_deadline: to_duration(deadline),
        retry_period: to_duration(retry),
        resource_name: Some(given.resource_name.clone()).filter(|name| !name.is_empty()),
        resource_namespace: Some(given.resource_namespace.clone()).filter(|name| !name.is_empty()),
    }
}
