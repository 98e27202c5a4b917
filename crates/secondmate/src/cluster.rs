//! How commands that query a cluster and then exit find it, and how long they wait for it.

use anyhow::{Context, Result, bail};
use clap::Args;
use secondmate_shell::ClusterConfig;
use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

/// How a cluster is found, and how long to wait for its answers.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file [default: KUBECONFIG, ~/.kube/config, the pod's service account].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Kubeconfig context [default: the current context].
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Give up if the cluster has not answered all requests after this time; 0s means never.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "5m")]
    pub timeout: Duration,
}

impl ClusterArgs {
    /// Finds the cluster and queries it, on a runtime of its own.
    ///
    /// # Errors
    /// There is no cluster, `work` failed, or it timed out.
    pub fn ask<T>(&self, work: impl AsyncFnOnce(ClusterConfig) -> Result<T>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        let server = RefCell::new("the cluster".to_owned());
        let asked = runtime.block_on(self.in_time(&server, async {
            let cluster =
                secondmate_shell::cluster_in(self.kubeconfig.as_deref(), self.context.as_deref()).await?;
            server.replace(format!("the API server at {}", cluster.cluster_url));
            work(cluster).await
        }));
        // A blocking read may still be waiting for a file that is never written.
        runtime.shutdown_background();
        asked
    }

    async fn in_time<T>(&self, server: &RefCell<String>, work: impl Future<Output = Result<T>>) -> Result<T> {
        if self.timeout.is_zero() {
            return work.await;
        }
        match tokio::time::timeout(self.timeout, work).await {
            Ok(done) => done,
            Err(_) => bail!(
                "{} did not answer everything within {}: check that it is reachable and not overloaded, or give it more time by --timeout",
                server.borrow(),
                humantime::format_duration(self.timeout)
            ),
        }
    }
}
