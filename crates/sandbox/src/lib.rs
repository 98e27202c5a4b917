//! An in-memory Kubernetes API server and simulated kubelets, with faults on demand.
//!
//! A [`Sandbox`] holds one cluster's objects and serves them over HTTP on loopback to any client: kubectl, kube,
//! and the scheduler, which has no shortcut. Simulated kubelets admit or reject bound pods as real ones do
//! and report them running; small controllers handle Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs,
//! CronJobs, disruption budgets and `spec.unschedulable`.
//! [`Faults`] makes it fail in ways in which a real API server fails once a year; [`History`] records every binding, so that a
//! test can assert that none happened twice.
//!
//! ```text
//!  clients ──HTTP──▶ http ─▶ request ─▶ faults ─▶ handlers ─▶ api (one critical section per write)
//!                                                    │                  │
//!                                     list, watch ◀──┴── store: objects, one version, bounded event logs
//!                                                                       │
//!                                                  kubelet, workloads ◀─┘ (follow the logs, write through api)
//! ```
//!
//! The state has one lock and is bounded everywhere: the event logs by [`Window`], stored Events by their age and number,
//! and paged lists and the history by limits of their own. [`Held`] says how much there is of each. Nothing here knows the scheduler. A
//! kind that no controller acts on is not served at all, or is read-only if the scheduler reads it; discovery says so.
//!
//! The usage of pods and nodes (`metrics.k8s.io`) is derived from their requests.
//!
//! Validating webhooks are called for bindings, over TLS as by an API server, and for nothing else.
//!
//! Not simulated: garbage collection (except of what workloads own), eviction by NoExecute taints, quotas, server-side apply.

mod access;
mod api;
mod decode;
mod discovery;
mod disruption;
mod error;
mod events;
mod eviction;
mod faults;
#[doc(hidden)]
pub mod fuzzing;
mod handlers;
mod history;
mod http;
mod kubelet;
mod list;
mod metrics;
mod nodes;
mod object;
mod objects;
mod openapi;
mod patch;
mod pods;
mod random;
mod reply;
mod request;
mod resource;
mod sandbox;
mod selectors;
mod server;
mod store;
mod table;
mod time;
mod view;
mod volumes;
mod watch;
mod webhooks;
mod wire;
mod workloads;

pub use access::Access;
pub use error::ApiError;
pub use faults::{Fault, Faults, RuleId, Strike, Target, When};
pub use history::{BindRecord, History, Outcomes};
pub use kubelet::{KubeletOptions, Kubelets};
pub use nodes::{NodeShape, node_manifest, node_manifest_of};
pub use objects::Objects;
pub use request::{RequestClass, Verb};
pub use sandbox::{Options, Sandbox, SandboxError};
pub use store::{Held, Window};

/// The version of Kubernetes that the sandbox reports.
pub const VERSION: &str = "v1.37.2";
