//! How a scheduler is run, why it did not start, and how it ended.

use crate::connect::ConnectError;
use crate::extender::ExtenderConfigError;
use crate::lease::{ElectionConfig, ElectionConfigError};
use crate::tasks::Failure;
use crate::unserved::report::Pace as UnservedPace;
use secondmate_core::SchedulerConfig;
use secondmate_cycle::Profile;
use secondmate_telemetry::Admin;
use std::time::Duration;

/// A limit on the rate of writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WriteLimit {
    /// Writes per second, on average.
    pub per_second: f64,
    /// Additional writes allowed in a burst.
    pub burst: u32,
}

/// How to run a scheduler.
pub struct Options {
    /// The cluster.
    pub cluster: kube_client::Config,
    /// What is scheduled, and how.
    pub profiles: Vec<Profile>,
    /// HTTP extenders, in the order of the configuration.
    pub extenders: Vec<secondmate_config::Extender>,
    /// Timing and seed of the core.
    pub scheduler: SchedulerConfig,
    /// How one of several processes is elected; `None`: this one always schedules.
    pub election: Option<ElectionConfig>,
    /// Maximum concurrent bindings.
    pub bind_concurrency: usize,
    /// Longest wait for the answer to a binding. After it the pod is looked at, and if it is not bound its room is free. So it should be longer
    /// than an API server works on a request: 34 s (`requestTimeoutUpperBound` in `apiserver/pkg/endpoints/handlers/rest.go`), of which a
    /// webhook may take 30 s. Or a binding that was thought to have failed is carried out after the next one was decided.
    pub bind_timeout: Duration,
    /// Limit on writes; `None`: the API server's own limits are sufficient.
    pub write_limit: Option<WriteLimit>,
    /// Do not list and watch before this process leads: a standby then holds no cache, and needs longer to take over.
    pub delay_watches: bool,
    /// Interval between two comparisons of the cache with the cluster; `None`: only on request.
    pub compare_every: Option<Duration>,
    /// When to look for pods whose scheduler name nobody serves.
    pub unserved: UnservedPace,
    /// Metrics, health and debug endpoints.
    pub admin: Admin,
}

impl Options {
    /// The default values, without an election.
    #[must_use]
    pub fn new(cluster: kube_client::Config, profiles: Vec<Profile>, admin: Admin) -> Self {
        Self {
            cluster,
            profiles,
            extenders: Vec::new(),
            scheduler: SchedulerConfig::default(),
            election: None,
            bind_concurrency: 64,
            bind_timeout: Duration::from_secs(35),
            write_limit: None,
            delay_watches: false,
            compare_every: Some(Duration::from_secs(10 * 60)),
            unserved: UnservedPace::default(),
            admin,
        }
    }
}

/// Why a scheduler could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no cluster.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It lacks permissions that it will need.
    #[error(
        "the scheduler's user lacks required permissions; grant them by RBAC (see manifests/):{}",
        list(.missing)
    )]
    Access {
        /// What it is not allowed to do, each as `VERB RESOURCE in GROUP`.
        missing: Vec<String>,
    },
    /// Whether it has the permissions could not be determined.
    #[error("cannot ask the API server what this scheduler may do: {reason}")]
    AccessUnknown {
        /// What happened.
        reason: String,
        /// It may go away by itself.
        may_pass: bool,
    },
    /// The election's times contradict each other.
    #[error(transparent)]
    Election(#[from] ElectionConfigError),
    /// An extender cannot be called as configured.
    #[error("extenders[{number}] ({url}): {source}")]
    Extender {
        /// Its index in the configuration.
        number: usize,
        /// Its URL.
        url: String,
        /// What is wrong.
        source: ExtenderConfigError,
    },
    /// The client for the Lease cannot be built, or a thread cannot be started.
    #[error("{what}: {reason}")]
    Other {
        /// What failed.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| format!("\n  - {item}")).collect()
}

/// How a scheduler ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Stopped on request.
    Stopped,
    /// Leadership was lost: the process must exit.
    LeadershipLost {
        /// Why.
        reason: String,
    },
    /// A task or the scheduling thread ended, which is a bug: the process must exit.
    Failed(Failure),
}
