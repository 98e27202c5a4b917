//! The real control plane, for tests and benchmarks: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and
//! kwok as child processes on free loopback ports, with throwaway certificates, in a directory of their own.
//!
//! What it holds: child processes, their directory and their ports, for as long as a [`Cluster`] lives. Who writes it:
//! the test that started it. What bounds it: every wait has a deadline, every child dies with the process that started
//! it (see [`Process`]), and directories left behind by killed runs are pruned. What it must never know: the scheduler under test
//! is a program here, not a crate, so that this crate builds in seconds and `xtask` can depend on it.
//!
//! The programs are found by [`binaries`]: in `KUBEBUILDER_ASSETS` first, otherwise built once per machine from
//! `tests/controlplane/`. A machine that has neither them nor Go skips these tests and runs the others:
//!
//! ```no_run
//! use std::time::Duration;
//! use secondmate_harness::{Cluster, NodeShape, Options, require_or_skip, wait_until};
//!
//! // #[test]
//! fn pods_of_a_deployment_run() -> anyhow::Result<()> {
//!     let Some(binaries) = require_or_skip("pods_of_a_deployment_run") else { return Ok(()) };
//!     let cluster = Cluster::start(binaries, Options::default())?;
//!     cluster.create_nodes(5, &NodeShape::default())?;
//!     cluster.kubectl(&["create", "deployment", "web", "--image=web", "--replicas=3"])?;
//!
//!     // The scheduler under test, beside kube-scheduler, with its own user; killed with the test.
//!     let kubeconfig = cluster.kubeconfig_for("mate", &["system:masters"])?;
//!     let scheduler = cluster.start_secondmate("mate", &kubeconfig, &["--scheduler-name", "my-scheduler"])?;
//!
//!     wait_until(Duration::from_secs(60), "three pods to run", || {
//!         let pods = cluster.list("/api/v1/namespaces/default/pods?labelSelector=app%3Dweb")?;
//!         Ok((pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count() == 3).then_some(()))
//!     })?;
//!     println!("{:?}", scheduler.usage()?);
//!     Ok(())
//! }
//! ```
//!
//! One cluster keeps two cores busy while it starts, so let the tests of one file share a cluster (with a `static`
//! [`std::sync::OnceLock`]; its processes end with the test process) and give each test its own namespace, created
//! with [`Cluster::create_namespace`].
//!
//! For load, start a cluster `for_load` without kwok and without the controller manager: nodes are then created Ready
//! at once (kwok takes two minutes for 5,000), and only the scheduler writes. [`Api::create_all`] creates about
//! 500 pods per second beside it; [`Cluster::usage`] and [`Process::usage`] measure.

mod api;
mod binaries;
mod cargo;
mod certificates;
mod cluster;
mod components;
mod directory;
mod go_build;
mod guard;
mod guests;
mod kubeconfig;
mod lines;
mod measured;
mod nodes;
mod oracle;
mod ports;
mod process;
mod releases;
mod scheduler_under_test;
mod skip;
mod unverified;
mod wait;
mod watchdog;

pub use api::{Api, Response};
pub use binaries::{
    Binaries, BinariesError, KUBERNETES_VARIABLE, Program, Unavailable, binaries, binaries_of,
};
pub use cargo::cargo;
pub use cluster::{Cluster, Options};
pub use components::{Component, SchedulerOptions};
pub use directory::holds_running_cluster;
pub use guard::{Guard, GuardCertificate, sum};
pub use guests::{guest_folder, guest_in_go_or_skip, guest_in_rust_or_skip, guest_of_every_point_or_skip};
pub use lines::Lines;
pub use measured::MeasuredScheduler;
pub use nodes::NodeShape;
pub use oracle::{chart_renderer, extender_program, oracle_tests, parity_oracle, promtool};
pub use process::{Process, Usage, run};
pub use releases::{Release, modules_dir, release_of, releases};
pub use scheduler_under_test::{example_binary, secondmate_binary};
pub use skip::{
    LACKS_VARIABLE, SKIP_REPORT_VARIABLE, in_ci, require_chart_renderer_or_skip, require_or_skip,
    require_oracle_or_skip, require_programs_or_skip, require_promtool_or_skip, skip, skip_unless_ci,
};
pub use unverified::{Asker, get_trusting, get_unverified};
pub use wait::wait_until;
