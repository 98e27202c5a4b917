//! What an operator sees of the scheduler from outside: metrics, health, logs and debug endpoints.
//!
//! [`Metrics`] holds the handles that the rest of the program increments. They are named, labelled and bucketed as
//! kube-scheduler's (prefix `scheduler_`), so that its dashboards and alerts work; what only secondmate has is prefixed
//! `secondmate_`. [`Health`] holds named checks that the parts of the program register while it runs. [`Admin`] serves
//! both over HTTP, with the effective configuration and whatever is mounted below `/debug/`. [`logging`] sets up logs.
//!
//! This crate knows nothing of Kubernetes or scheduling: it is told numbers and names. Its queues and waits are bounded:
//! connections ([`admin::MAX_CONNECTIONS`], [`admin::MAX_CONNECTIONS_PER_PEER`]) and their time, debug requests (one at a time,
//! [`admin::DEBUG_TIMEOUT`]), and lines of the log that wait to be written.

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
