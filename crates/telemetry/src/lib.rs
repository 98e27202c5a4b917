//! What an operator can see of the scheduler from outside: metrics, health, logs and debug endpoints.
//!
//! [`Metrics`] holds the handles that the rest of the program increments. Names, labels and buckets are kube-scheduler's (prefix
//! `scheduler_`), so that its dashboards and alerts work; metrics that only secondmate has are prefixed with `secondmate_`. [`Health`]
//! holds named checks that the parts of the program register at run time. [`Admin`] serves both over HTTP, together with the effective
//! configuration and whatever is mounted below `/debug/`. [`logging`] sets up logs.
//!
//! This crate knows nothing about Kubernetes or scheduling: it is given numbers and names. Its queues and waits are bounded: connections
//! ([`admin::MAX_CONNECTIONS`], [`admin::MAX_CONNECTIONS_PER_PEER`]) and their lifetime, debug requests (one at a time,
//! [`admin::DEBUG_TIMEOUT`]), and log lines waiting to be written.

pub mod admin;
pub mod health;
pub mod logging;
pub mod metrics;
mod slis;

pub use admin::{Admin, AdminError, Asked, DebugRequest, DebugResponse, Gate, Refusal, Security};
pub use health::{Health, HealthFlag, Probe};
pub use logging::{LogFormat, LogOptions, LoggingError};
pub use metrics::{
    AttemptResult, ExtensionPointMetrics, Metrics, PluginMetrics, ProfileMetrics, Queue, StandingMetrics,
    StatusLabel,
};
/// The kinds of metrics, for code that keeps handles.
pub use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
