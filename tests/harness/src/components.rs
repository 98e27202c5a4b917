//! The programs of a cluster, and the flags with which each is started.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::binaries::Program;
use crate::cluster::Cluster;
use crate::process::Process;

/// A part of the control plane that can be stopped, killed and started again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// etcd. Its data outlives it.
    Etcd,
    /// kube-apiserver. It keeps its port.
    KubeApiserver,
    /// kube-controller-manager.
    KubeControllerManager,
    /// kube-scheduler.
    KubeScheduler,
    /// kwok.
    Kwok,
}

impl Component {
    /// The program that it runs.
    #[must_use]
    pub const fn program(self) -> Program {
        match self {
            Self::Etcd => Program::Etcd,
            Self::KubeApiserver => Program::KubeApiserver,
            Self::KubeControllerManager => Program::KubeControllerManager,
            Self::KubeScheduler => Program::KubeScheduler,
            Self::Kwok => Program::Kwok,
        }
    }

    /// Its name, which is also that of its program, its user and its log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.program().name()
    }
}

/// How kube-scheduler is started.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerOptions {
    /// Calls per second to the API server (upstream's default is 50).
    pub qps: f64,
    /// Burst of calls (upstream's default is 100).
    pub burst: u32,
    /// Whether it takes part in leader election.
    pub leader_elect: bool,
    /// Further fields of its KubeSchedulerConfiguration: `profiles`, `percentageOfNodesToScore`, … A field given here
    /// overrides those above.
    pub configuration: Map<String, Value>,
    /// Further flags.
    pub flags: Vec<String>,
}

impl Default for SchedulerOptions {
    /// The default profile, upstream's limits, no leader election.
    fn default() -> Self {
        Self { qps: 50.0, burst: 100, leader_elect: false, configuration: Map::new(), flags: Vec::new() }
    }
}

impl SchedulerOptions {
    /// With client limits that no load reaches, as used for comparison in benchmarks.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { qps: 10_000.0, burst: 10_000, ..Self::default() }
    }

    fn document(&self, kubeconfig: &std::path::Path) -> Value {
        let mut document = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": { "kubeconfig": kubeconfig, "qps": self.qps, "burst": self.burst },
            "leaderElection": { "leaderElect": self.leader_elect },
        });
        if let Some(fields) = document.as_object_mut() {
            fields.extend(self.configuration.clone());
        }
        document
    }
}

impl Cluster {
    /// The command that starts a component; writes the files that it reads.
    pub(crate) fn command(&self, component: Component) -> Result<Command> {
        let mut command = Command::new(self.binaries.path(component.program())?);
        // Nothing of the user's own: neither configuration in the home folder nor proxies for loopback.
        command.env("HOME", self.directory.path()).current_dir(self.directory.path());
        for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(variable);
        }
        command.args(match component {
            Component::Etcd => self.etcd_flags(),
            Component::KubeApiserver => self.apiserver_flags(),
            Component::KubeControllerManager => self.controller_manager_flags()?,
            Component::KubeScheduler => self.scheduler_flags()?,
            Component::Kwok => self.kwok_flags()?,
        });
        Ok(command)
    }

    /// The URL at which a component reports readiness.
    pub(crate) fn readiness(&self, component: Component) -> String {
        let port = self.port(component);
        match component {
            Component::Etcd => format!("http://127.0.0.1:{port}/readyz"),
            Component::KubeApiserver | Component::KubeScheduler => format!("https://127.0.0.1:{port}/readyz"),
            Component::KubeControllerManager => format!("https://127.0.0.1:{port}/healthz"),
            Component::Kwok => format!("http://127.0.0.1:{port}/healthz"),
        }
    }

    fn etcd_flags(&self) -> Vec<String> {
        let client = format!("http://127.0.0.1:{}", self.port(Component::Etcd));
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port());
        vec![
            format!("--data-dir={}", self.directory.path().join("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            // Nothing here has to survive a power failure.
            "--unsafe-no-fsync".to_owned(),
            // A hundred thousand objects, rewritten many times before a compaction.
            format!("--quota-backend-bytes={}", 8_u64 << 30),
            "--log-level=warn".to_owned(),
        ]
    }

    fn apiserver_flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.port(Component::Etcd)),
            format!("--secure-port={}", self.port(Component::KubeApiserver)),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            // A loopback address cannot be the endpoint of the `kubernetes` service.
            "--endpoint-reconciler-type=none".to_owned(),
            self.file_flag("tls-cert-file", "server.crt"),
            self.file_flag("tls-private-key-file", "server.key"),
            self.file_flag("client-ca-file", "ca.crt"),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            self.file_flag("service-account-key-file", "service-account.pub"),
            self.file_flag("service-account-signing-key-file", "service-account.key"),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
            // On SIGTERM it should end its watches; by default, it waits a minute for them to end by themselves.
            "--shutdown-watch-termination-grace-period=5s".to_owned(),
        ];
        if !self.options.controller_manager {
            // Nobody creates service accounts or removes the taint from new nodes.
            flags.push("--disable-admission-plugins=ServiceAccount,TaintNodesByCondition".to_owned());
        }
        if self.options.for_load {
            flags.extend(
                [
                    "--enable-priority-and-fairness=false",
                    "--max-requests-inflight=8000",
                    "--max-mutating-requests-inflight=4000",
                ]
                .map(str::to_owned),
            );
        }
        flags.extend(self.options.apiserver_flags.clone());
        flags
    }

    fn controller_manager_flags(&self) -> Result<Vec<String>> {
        let mut flags = self.delegated_flags(Component::KubeControllerManager)?;
        flags.extend([
            format!("--kubeconfig={}", self.component_kubeconfig(Component::KubeControllerManager)?),
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            self.file_flag("service-account-private-key-file", "service-account.key"),
            self.file_flag("root-ca-file", "ca.crt"),
            // With upstream's 20 calls per second, tests would wait for ReplicaSets and not for schedulers.
            "--kube-api-qps=2000".to_owned(),
            "--kube-api-burst=4000".to_owned(),
        ]);
        Ok(flags)
    }

    /// Starts one more kube-scheduler, which serves this scheduler name and no port.
    ///
    /// # Errors
    ///
    /// When its program is missing, or cannot be started.
    pub fn start_another_kube_scheduler(
        &self,
        scheduler_name: &str,
        mut options: SchedulerOptions,
    ) -> Result<Process> {
        let kubeconfig = self.component_kubeconfig(Component::KubeScheduler)?;
        options.configuration.insert("profiles".to_owned(), json!([{ "schedulerName": scheduler_name }]));
        let path = self.directory.path().join(format!("{scheduler_name}-configuration.json"));
        std::fs::write(&path, options.document(kubeconfig.as_ref()).to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = Command::new(self.binaries.path(Component::KubeScheduler.program())?);
        command.env("HOME", self.directory.path()).current_dir(self.directory.path());
        command.args(self.delegated_flags(Component::KubeScheduler)?);
        command.arg("--secure-port=0").arg(format!("--config={}", path.display()));
        self.spawn(scheduler_name, command)
    }

    /// Starts a program in kube-scheduler's place: under its name, with the command line that kubeadm writes into its static pod, followed by
    /// these flags. It serves on kube-scheduler's port, whose URL is returned.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_as_kube_scheduler(&self, program: &Path, flags: &[&str]) -> Result<(Process, String)> {
        let place = self.directory.path().join(Component::KubeScheduler.name());
        if place.is_symlink() {
            // Of the previous program in this place.
            std::fs::remove_file(&place).with_context(|| format!("cannot remove {}", place.display()))?;
        }
        std::os::unix::fs::symlink(program, &place)
            .with_context(|| format!("cannot link {}", place.display()))?;
        let kubeconfig = self.component_kubeconfig(Component::KubeScheduler)?;
        let port = self.port(Component::KubeScheduler);
        let mut command = Command::new(place);
        command.env("HOME", self.directory.path()).current_dir(self.directory.path());
        command.env_remove("KUBECONFIG");
        command.args([
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--kubeconfig={kubeconfig}"),
            "--leader-elect=true".to_owned(),
            // Its default port is taken if somebody else runs a control plane on this machine.
            format!("--secure-port={port}"),
        ]);
        command.args(flags);
        let process = self.spawn("in-place-of-kube-scheduler", command)?;
        Ok((process, format!("https://127.0.0.1:{port}")))
    }

    fn scheduler_flags(&self) -> Result<Vec<String>> {
        let kubeconfig = self.component_kubeconfig(Component::KubeScheduler)?;
        let options = self.scheduler_options();
        let configuration = self.directory.path().join("kube-scheduler-configuration.json");
        let document = options.document(kubeconfig.as_ref());
        std::fs::write(&configuration, format!("{document:#}\n"))
            .with_context(|| format!("cannot write {}", configuration.display()))?;
        let mut flags = self.delegated_flags(Component::KubeScheduler)?;
        flags.push(format!("--config={}", configuration.display()));
        // If the API server is older than this scheduler, the scheduler would wait forever for the list of a kind that is not served.
        if !self.api().serves("resource.k8s.io/v1", "devicetaintrules")? {
            flags.push("--feature-gates=DRADeviceTaintRules=false".to_owned());
        }
        flags.extend(options.flags);
        Ok(flags)
    }

    fn kwok_flags(&self) -> Result<Vec<String>> {
        let kubeconfig = self.kubeconfig_for("kwok", &["system:masters"])?;
        Ok(vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--config={}", self.binaries.kwok_stages()?.display()),
            "--manage-all-nodes=true".to_owned(),
            "--node-lease-duration-seconds=40".to_owned(),
            format!("--server-address=127.0.0.1:{}", self.port(Component::Kwok)),
        ])
    }

    /// What the controller manager and the scheduler have in common: their own server, and its authentication.
    fn delegated_flags(&self, component: Component) -> Result<Vec<String>> {
        let kubeconfig = self.component_kubeconfig(component)?;
        Ok(vec![
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port(component)),
            self.file_flag("tls-cert-file", "server.crt"),
            self.file_flag("tls-private-key-file", "server.key"),
        ])
    }

    fn component_kubeconfig(&self, component: Component) -> Result<String> {
        let path = self.kubeconfig_for(&format!("system:{}", component.name()), &[])?;
        Ok(path.display().to_string())
    }

    fn file_flag(&self, flag: &str, file: &str) -> String {
        format!("--{flag}={}", self.certificates_dir().join(file).display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_fields_of_the_configuration_win() {
        let mut options = SchedulerOptions::unlimited();
        options.configuration.insert("percentageOfNodesToScore".to_owned(), json!(100));
        options.configuration.insert("leaderElection".to_owned(), json!({ "leaderElect": true }));
        let document = options.document("/k".as_ref());
        assert_eq!(
            document["clientConnection"],
            json!({ "kubeconfig": "/k", "qps": 10_000.0, "burst": 10_000 })
        );
        assert_eq!(document["leaderElection"]["leaderElect"], true);
        assert_eq!(document["percentageOfNodesToScore"], 100);
    }
}
