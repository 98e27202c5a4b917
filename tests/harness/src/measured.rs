//! A scheduler of the program under test whose metrics are read.

use std::path::Path;

use anyhow::Result;

use crate::api::Api;
use crate::cluster::Cluster;
use crate::guard::sum;
use crate::ports::Port;
use crate::process::Process;
use crate::scheduler_under_test::secondmate_binary;

/// A running scheduler.
#[derive(Debug)]
pub struct MeasuredScheduler {
    /// Its process.
    pub process: Process,
    metrics: Api,
    _port: Port,
}

impl Cluster {
    /// Starts `secondmate run` as an administrator, with these arguments.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_measured_secondmate(&self, name: &str, arguments: &[&str]) -> Result<MeasuredScheduler> {
        self.start_measured(secondmate_binary()?, name, self.kubeconfig(), arguments)
    }

    /// The same, with another program that has secondmate's subcommands, or as another user.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_measured(
        &self,
        program: &Path,
        name: &str,
        kubeconfig: &Path,
        arguments: &[&str],
    ) -> Result<MeasuredScheduler> {
        let port = Port::claim()?;
        let listen = format!("127.0.0.1:{}", port.number());
        let arguments = [arguments, &["--listen", &listen, "--debug-listen", "off"]].concat();
        let process = self.start_program(program, name, kubeconfig, &arguments)?;
        Ok(MeasuredScheduler { process, metrics: self.api().at(&format!("http://{listen}")), _port: port })
    }
}

impl MeasuredScheduler {
    /// The sum of a metric's series whose line begins like this.
    ///
    /// # Errors
    ///
    /// When the scheduler does not respond.
    pub fn value(&self, series: &str) -> Result<f64> {
        let text = self.metrics.call("GET", "/metrics", "text/plain", b"")?.body;
        sum(&text, series)
    }
}
