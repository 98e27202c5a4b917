//! The thin shell around the deterministic core: everything that talks to an API server.
//!
//! ```text
//!  API server ─▶ watch (a task each: list, follow, compile) ─▶ inbox ─▶ engine (one thread, owns the core) ─▶ write (bind,
//!                                                                ▲                                           status, events,
//!                                                                └──────────────── answers ◀──────────────── evict, look)
//! ```
//!
//! [`Shell`] starts and stops it. It watches its own pending pods, the assigned pods of all schedulers and other schedulers' nominated pods
//! (all in one watch), nodes, namespaces, and beyond that whatever the enabled plugins read. It holds no cluster state except the names
//! that each watch has shown, so that after a relist it can report what has vanished.
//!
//! Every task, and the thread, has an owner that waits for its end: see the module `tasks`. Anything that gets stuck without ending fails
//! `/livez`: see the module `heartbeat`.
//!
//! Bounds: the inbox (4,096 messages; the watches wait), bindings and other answered writes (two for each that may be in progress; the core
//! waits), changes of pods' status, and events (16,384 each; what does not fit is dropped and counted), every call (a timeout and a maximum
//! number of attempts). Only a process that leads writes: see [`lease`].

mod access;
mod call;
mod clock;
mod compare;
mod connect;
mod debug;
mod decisions;
mod departed;
mod doctor;
mod dump;
mod elect;
mod engine;
mod extender;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod heartbeat;
mod holders;
mod inbox;
mod kubelets;
pub mod lease;
mod limit;
mod observe;
mod options;
mod others;
mod outage;
mod owners;
mod patience;
mod poll;
mod probe;
mod requests;
mod resources;
mod retry;
mod rivals;
mod secure;
mod shadow;
mod shell;
mod state;
mod tasks;
mod unserved;
mod watch;
mod write;

pub use compare::CompareError;
pub use connect::{ConnectError, cluster, cluster_in, in_time};
pub use doctor::{DoctorOptions, Examination, Finding, GuardsService, Severity, examine};
pub use dump::{DumpError, Each, dump, kinds_to_dump};
pub use engine::Progress;
pub use extender::{ExtenderConfigError, extenders_called_by, extenders_to_ask};
pub use guard::{CertificateSource, Endpoint, GuardOptions, GuardService};
/// The client's configuration, for use without [`cluster`].
pub use kube_client::Config as ClusterConfig;
pub use options::{End, Options, StartError, WriteLimit};
pub use secure::{
    AuthenticationOptions, AuthorizationOptions, NamedCertificate, RequestHeaders, SecureOptions,
    SecureServing, ServingCertificate, TlsOptions, TlsVersion, own_certificate_in,
};
pub use shadow::{ShadowOptions, ShadowService};
pub use shell::Shell;
pub use tasks::Failure;
pub use unserved::LookLimits;
pub use unserved::report::Pace as UnservedPace;
pub use watch::needs::rights;
