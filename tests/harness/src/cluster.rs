//! A running control plane.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::api::Api;
use crate::binaries::{Binaries, Program};
use crate::certificates::{Authority, Pair};
use crate::components::{Component, SchedulerOptions};
use crate::directory::Directory;
use crate::kubeconfig::{self, Credential};
use crate::nodes::{self, NodeShape};
use crate::ports::Port;
use crate::process::{Process, Usage, run};
use crate::scheduler_under_test::secondmate_binary;
use crate::wait::wait_until;

/// Each component is ready within seconds on two idle cores; this allows for a machine that builds at the same time.
const READY_DEADLINE: Duration = Duration::from_secs(180);

/// For each additional node: kwok makes about a hundred of them Ready per second.
const NODE_DEADLINE: Duration = Duration::from_millis(100);

/// kube-apiserver drains its calls before it exits.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// For one kubectl command.
const KUBECTL_DEADLINE: Duration = Duration::from_secs(120);

/// Another program may take a port between the check and its use.
const START_ATTEMPTS: usize = 3;

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder for data, certificates, kubeconfigs and logs; it is left behind. By default, a new one among the
    /// temporary files, where later runs prune all but the last few. Its path is printed to standard error, which the
    /// test runner shows if a test fails.
    pub directory: Option<PathBuf>,
    /// Whether kube-controller-manager runs: deployments, service accounts, garbage collection.
    pub controller_manager: bool,
    /// How kube-scheduler runs, or `None` for a cluster without it.
    pub scheduler: Option<SchedulerOptions>,
    /// Whether kwok runs: it keeps nodes Ready, lets bound pods run and completes deletions.
    pub kwok: bool,
    /// API priority and fairness off and many concurrent calls, for load. Leave this off if 429 is wanted.
    pub for_load: bool,
    /// Further flags of kube-apiserver.
    pub apiserver_flags: Vec<String>,
}

impl Default for Options {
    /// Everything on, as in a small production cluster.
    fn default() -> Self {
        Self {
            directory: None,
            controller_manager: true,
            scheduler: Some(SchedulerOptions::default()),
            kwok: true,
            for_load: false,
            apiserver_flags: Vec::new(),
        }
    }
}

/// A running control plane. Dropping it kills its processes; when this process is killed, they are too.
///
/// All methods take `&self` and may be called from several threads.
#[derive(Debug)]
pub struct Cluster {
    // The fields are in the order in which they are dropped: processes first, then ports, then the folder.
    state: Mutex<State>,
    api: Api,
    admin: PathBuf,
    authority: Authority,
    ports: Ports,
    pub(crate) binaries: Binaries,
    pub(crate) options: Options,
    pub(crate) directory: Directory,
}

#[derive(Debug)]
struct State {
    running: BTreeMap<Component, Process>,
    scheduler: SchedulerOptions,
    /// The number of nodes with each prefix.
    numbered: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Ports {
    etcd: Port,
    etcd_peer: Port,
    apiserver: Port,
    controller_manager: Port,
    scheduler: Port,
    kwok: Port,
}

impl Ports {
    fn claim() -> Result<Self> {
        Ok(Self {
            etcd: Port::claim()?,
            etcd_peer: Port::claim()?,
            apiserver: Port::claim()?,
            controller_manager: Port::claim()?,
            scheduler: Port::claim()?,
            kwok: Port::claim()?,
        })
    }
}

/// # Starting and stopping
impl Cluster {
    /// Starts a control plane and waits until it is ready to take objects.
    ///
    /// # Errors
    ///
    /// When a program is missing, exits at once, or is not ready in time: the message has the end of its log.
    pub fn start(binaries: &Binaries, options: Options) -> Result<Self> {
        for attempt in 1.. {
            let cluster = Self::prepare(binaries, options.clone())?;
            match cluster.start_components() {
                Ok(()) => return Ok(cluster),
                Err(error) if attempt < START_ATTEMPTS && cluster.lost_a_port() => {
                    eprintln!("starting the control plane again on other ports: {error:#}");
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last attempt returns")
    }

    fn prepare(binaries: &Binaries, options: Options) -> Result<Self> {
        let directory = Directory::open(options.directory.as_deref())?;
        eprintln!("the logs of this cluster are in {}", directory.path().join("logs").display());
        let ports = Ports::claim()?;
        let authority = Authority::create(&directory.path().join("certificates"))?;
        let client = authority.client("admin", "admin", &["system:masters"], false)?;
        let server = format!("https://127.0.0.1:{}", ports.apiserver.number());
        let admin = directory.path().join("admin.kubeconfig");
        kubeconfig::write(&admin, &server, &authority.certificate_path(), Credential::Certificate(&client))?;
        let api = Api::new(&server, &authority.certificate_path(), &client)?;
        let state = State {
            running: BTreeMap::new(),
            scheduler: options.scheduler.clone().unwrap_or_default(),
            numbered: BTreeMap::new(),
        };
        let binaries = binaries.clone();
        Ok(Self { state: Mutex::new(state), api, admin, authority, ports, binaries, options, directory })
    }

    fn start_components(&self) -> Result<()> {
        self.start_component(Component::Etcd)?;
        self.start_component(Component::KubeApiserver)?;
        let mut rest = Vec::new();
        if self.options.controller_manager {
            rest.push(Component::KubeControllerManager);
        }
        if self.options.kwok {
            rest.push(Component::Kwok);
        }
        if self.options.scheduler.is_some() {
            rest.push(Component::KubeScheduler);
        }
        for component in &rest {
            self.spawn_component(*component)?;
        }
        for component in &rest {
            self.wait_ready(*component)?;
        }
        self.wait_for_namespace("default")
    }

    fn lost_a_port(&self) -> bool {
        let state = self.state();
        state.running.values().any(|process| process.tail(20).contains("address already in use"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn port(&self, component: Component) -> u16 {
        match component {
            Component::Etcd => self.ports.etcd.number(),
            Component::KubeApiserver => self.ports.apiserver.number(),
            Component::KubeControllerManager => self.ports.controller_manager.number(),
            Component::KubeScheduler => self.ports.scheduler.number(),
            Component::Kwok => self.ports.kwok.number(),
        }
    }

    pub(crate) const fn etcd_peer_port(&self) -> u16 {
        self.ports.etcd_peer.number()
    }

    pub(crate) fn scheduler_options(&self) -> SchedulerOptions {
        self.state().scheduler.clone()
    }

    pub(crate) fn certificates_dir(&self) -> PathBuf {
        self.directory.path().join("certificates")
    }
}

/// # The components
impl Cluster {
    /// Starts a component that is not running, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it is already running, its program is missing, it exits at once or is not ready in time.
    pub fn start_component(&self, component: Component) -> Result<()> {
        self.spawn_component(component)?;
        self.wait_ready(component)
    }

    /// Starts kube-scheduler with options other than those with which the cluster was started. They also apply to later
    /// starts.
    ///
    /// # Errors
    ///
    /// As [`Self::start_component`].
    pub fn start_scheduler(&self, options: SchedulerOptions) -> Result<()> {
        self.state().scheduler = options;
        self.start_component(Component::KubeScheduler)
    }

    /// Stops a component with SIGTERM.
    ///
    /// # Errors
    ///
    /// When it is not running, or had to be killed because it did not exit in time.
    pub fn stop_component(&self, component: Component) -> Result<()> {
        self.take(component)?.terminate(STOP_DEADLINE).map(drop)
    }

    /// Kills a component with SIGKILL.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn kill_component(&self, component: Component) -> Result<()> {
        self.take(component)?.kill()
    }

    /// Sends a signal, given by name, to a component: `STOP` freezes it, `CONT` lets it continue.
    ///
    /// # Errors
    ///
    /// When it is not running, or the system refuses.
    pub fn signal_component(&self, component: Component, signal: &str) -> Result<()> {
        let mut state = self.state();
        let process = state.running.get_mut(&component);
        process.with_context(|| format!("{} does not run", component.name()))?.signal(signal)
    }

    /// Stops a component, starts it again with the same data and port, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// As [`Self::stop_component`] and [`Self::start_component`].
    pub fn restart_component(&self, component: Component) -> Result<()> {
        self.stop_component(component)?;
        self.start_component(component)
    }

    /// What a component has used since it was started.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn usage(&self, component: Component) -> Result<Usage> {
        let state = self.state();
        state.running.get(&component).with_context(|| format!("{} does not run", component.name()))?.usage()
    }

    fn take(&self, component: Component) -> Result<Process> {
        self.state().running.remove(&component).with_context(|| format!("{} does not run", component.name()))
    }

    fn spawn_component(&self, component: Component) -> Result<()> {
        if self.state().running.contains_key(&component) {
            bail!("{} runs already", component.name());
        }
        let command = self.command(component)?;
        let process = Process::spawn(component.name(), command, &self.directory.log(component.name()))?;
        self.state().running.insert(component, process);
        Ok(())
    }

    fn wait_ready(&self, component: Component) -> Result<()> {
        let probe = self.api.at(&self.readiness(component));
        let start = Instant::now();
        loop {
            let last = match probe.is_ready() {
                Ok(true) => return Ok(()),
                Ok(false) => anyhow!("it answers that it is not ready"),
                Err(error) => error,
            };
            let mut state = self.state();
            let process = state
                .running
                .get_mut(&component)
                .with_context(|| format!("{} was stopped while it started", component.name()))?;
            if let Some(status) = process.try_wait()? {
                bail!("{} ended at its start ({status}):\n{}", component.name(), process.tail(15));
            }
            if start.elapsed() >= READY_DEADLINE {
                bail!(
                    "{} is not ready after {READY_DEADLINE:?} ({last:#}):\n{}",
                    component.name(),
                    process.tail(15)
                );
            }
            drop(state);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// # Users
impl Cluster {
    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.admin
    }

    pub(crate) const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The URL of the API server.
    #[must_use]
    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.port(Component::KubeApiserver))
    }

    /// A kubeconfig with a client certificate for a user in at most two groups.
    ///
    /// # Errors
    ///
    /// When the groups are too many or the files cannot be written.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        self.certified(user, user, groups, false)
    }

    /// A kubeconfig whose client certificate expired years ago.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn kubeconfig_with_expired_certificate(&self, user: &str) -> Result<PathBuf> {
        self.certified(&format!("expired-{user}"), user, &[], true)
    }

    /// A kubeconfig with a bearer token, for example from [`Self::service_account_token`].
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn kubeconfig_for_token(&self, name: &str, token: &str) -> Result<PathBuf> {
        self.write_kubeconfig(&format!("token-{}", file_name(name)), Credential::Token(token))
    }

    /// A new token of a service account.
    ///
    /// # Errors
    ///
    /// When the service account does not exist.
    pub fn service_account_token(&self, namespace: &str, name: &str) -> Result<String> {
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": { "expirationSeconds": 3600 },
        });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let answer = self.api.create(&path, &request)?;
        answer["status"]["token"].as_str().map(str::to_owned).context("the answer has no token")
    }

    /// A kubeconfig for the service account of `manifests/FOLDER`, which is created with the permissions that the manifests give it. So
    /// the API server treats its requests as those of a program that was installed with them: it authorizes them, and priority and
    /// fairness counts them, which it does not for administrators.
    ///
    /// # Errors
    ///
    /// When the manifests cannot be applied, or the file cannot be written.
    pub fn kubeconfig_of_manifests(&self, folder: &str) -> Result<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests").join(folder);
        let account = folder.join("serviceaccount.yaml").display().to_string();
        for file in ["namespace.yaml", "serviceaccount.yaml", "rbac.yaml"] {
            self.kubectl(&["apply", "-f", &folder.join(file).display().to_string()])?;
        }
        let fields = "jsonpath={.metadata.namespace} {.metadata.name}";
        let account = self.kubectl(&["get", "-f", &account, "-o", fields])?;
        let (namespace, name) = account.split_once(' ').context("a namespace and a name")?;
        self.kubeconfig_for_token(name, &self.service_account_token(namespace, name)?)
    }

    fn certified(&self, name: &str, user: &str, groups: &[&str], expired: bool) -> Result<PathBuf> {
        let name = file_name(name);
        let pair: Pair = self.authority.client(&name, user, groups, expired)?;
        self.write_kubeconfig(&name, Credential::Certificate(&pair))
    }

    fn write_kubeconfig(&self, name: &str, credential: Credential<'_>) -> Result<PathBuf> {
        let path = self.directory.path().join(format!("{name}.kubeconfig"));
        kubeconfig::write(&path, &self.server(), &self.authority.certificate_path(), credential)?;
        Ok(path)
    }
}

/// # Objects
impl Cluster {
    /// A client with the administrator's permissions.
    #[must_use]
    pub const fn api(&self) -> &Api {
        &self.api
    }

    /// The objects of a collection (`/api/v1/pods`, also with `?labelSelector=…` or `?fieldSelector=…`).
    ///
    /// # Errors
    ///
    /// When the API server rejects the request or does not respond.
    pub fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut list = self.api.get(path)?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("{path} is not a list"),
        }
    }

    /// Creates a namespace and waits until pods can be created in it.
    ///
    /// # Errors
    ///
    /// When it exists already, or is not ready in time.
    pub fn create_namespace(&self, name: &str) -> Result<()> {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        self.api.create("/api/v1/namespaces", &namespace)?;
        self.wait_for_namespace(name)
    }

    fn wait_for_namespace(&self, name: &str) -> Result<()> {
        // If the admission plugin ServiceAccount is on, pods are rejected until the controller has created the account.
        let path = match self.options.controller_manager {
            true => format!("/api/v1/namespaces/{name}/serviceaccounts/default"),
            false => format!("/api/v1/namespaces/{name}"),
        };
        wait_until(READY_DEADLINE, &format!("namespace {name} to be ready"), || self.api.get(&path).map(Some))
            .map(drop)
    }

    /// Creates `count` nodes and waits until they are Ready; returns their names. The numbers continue from those that
    /// exist with the same prefix.
    ///
    /// # Errors
    ///
    /// When the API server rejects them, or they are not Ready in time.
    pub fn create_nodes(&self, count: usize, shape: &NodeShape) -> Result<Vec<String>> {
        let first = {
            let mut state = self.state();
            let numbered = state.numbered.entry(shape.prefix.clone()).or_default();
            std::mem::replace(numbered, *numbered + count)
        };
        let objects: Vec<Value> =
            (first..first + count).map(|number| shape.node(number, !self.options.kwok)).collect();
        self.api.create_all("/api/v1/nodes", &objects)?;
        let names: Vec<String> =
            objects.iter().filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned)).collect();
        let ready = || {
            let list = self.list("/api/v1/nodes")?;
            let ready: std::collections::BTreeSet<&str> = list
                .iter()
                .filter(|node| nodes::is_ready(node))
                .filter_map(|node| node["metadata"]["name"].as_str())
                .collect();
            Ok(names.iter().all(|name| ready.contains(name.as_str())).then_some(()))
        };
        let deadline = READY_DEADLINE + NODE_DEADLINE * u32::try_from(count).unwrap_or(u32::MAX);
        wait_until(deadline, &format!("{count} nodes to be Ready"), ready)?;
        Ok(names)
    }
}

/// # kubectl and the scheduler under test
impl Cluster {
    /// A kubectl command with the administrator's permissions and without the user's own configuration. The caller adds
    /// arguments and runs it.
    ///
    /// # Errors
    ///
    /// When there is no kubectl.
    pub fn kubectl_command(&self) -> Result<Command> {
        let mut command = Command::new(self.binaries.path(Program::Kubectl)?);
        command
            .env("HOME", self.directory.path())
            .env("KUBECONFIG", &self.admin)
            .env("KUBERC", "off")
            .env("NO_PROXY", "127.0.0.1");
        Ok(command)
    }

    /// Runs kubectl and returns its standard output.
    ///
    /// # Errors
    ///
    /// When it fails: the message contains its standard error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with_input(arguments, "")
    }

    /// Like [`Self::kubectl`], with text on its standard input.
    ///
    /// # Errors
    ///
    /// As [`Self::kubectl`].
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = self.kubectl_command()?;
        command.args(arguments);
        let output = run(command, input.as_bytes(), KUBECTL_DEADLINE)?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(anyhow!("kubectl {}: {}", arguments.join(" "), errors.trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Applies manifests (YAML or JSON, several documents).
    ///
    /// # Errors
    ///
    /// As [`Self::kubectl`].
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.kubectl_with_input(&["apply", "-f", "-"], manifests)
    }

    /// Starts a program with its output in the log `NAME.log` of this cluster. It does not end with the cluster, but
    /// when it is dropped.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Process::spawn(name, command, &self.directory.log(&file_name(name)))
    }

    /// Starts `secondmate run --kubeconfig KUBECONFIG ARGUMENTS…` from [`secondmate_binary`].
    ///
    /// # Errors
    ///
    /// When there is no binary or it cannot be started.
    pub fn start_secondmate(&self, name: &str, kubeconfig: &Path, arguments: &[&str]) -> Result<Process> {
        self.start_program(secondmate_binary()?, name, kubeconfig, arguments)
    }

    /// The same with another program that has secondmate's subcommands.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_program(
        &self,
        program: &Path,
        name: &str,
        kubeconfig: &Path,
        arguments: &[&str],
    ) -> Result<Process> {
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(arguments)
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .env_remove("KUBECONFIG");
        self.spawn(name, command)
    }

    /// The folder of data, certificates, kubeconfigs and `logs/`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The log of a component so far.
    ///
    /// # Errors
    ///
    /// When it was never started.
    pub fn log(&self, component: Component) -> Result<String> {
        let path = self.directory.log(component.name());
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// A user's name as a file name.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '_' }).collect()
}
