//! `cargo xtask cluster up` and `down`.
//!
//! `up` starts `xtask cluster hold` in the background, which owns the cluster: when it ends, for whatever reason, so do the
//! cluster's processes. The folder identifies it: `state.json` has the PID of the holder, and the holder keeps the
//! folder locked, so that `down` never kills a process that merely reuses the PID.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use secondmate_harness::{
    Binaries, Cluster, NodeShape, Options, Program, Release, binaries_of, holds_running_cluster, release_of,
    wait_until,
};
use serde::{Deserialize, Serialize};

use crate::workspace::programs_dir;

/// Long enough for thousands of nodes to become Ready on a busy machine.
const UP_DEADLINE: Duration = Duration::from_secs(15 * 60);

const DOWN_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Number of simulated nodes, with 4 CPUs, 16 GiB and 110 pods each, in three zones.
    #[arg(long, value_name = "N", default_value_t = 10)]
    nodes: usize,
    /// Do not start kube-scheduler; pods of the default scheduler stay pending.
    #[arg(long)]
    no_default_scheduler: bool,
    /// Kubernetes release of the API server and the controller manager, for example 1.36.3 [default: the newest one pinned in
    /// tests/controlplane, or the one in KUBEBUILDER_ASSETS].
    #[arg(long, value_name = "VERSION")]
    kubernetes: Option<String>,
}

impl UpArgs {
    /// The programs that are needed; nothing else is built.
    fn programs(&self) -> Vec<Program> {
        let left_out = self.no_default_scheduler.then_some(Program::KubeScheduler);
        Program::ALL.into_iter().filter(|program| Some(*program) != left_out).collect()
    }

    fn release(&self) -> Result<Option<Release>> {
        self.kubernetes.as_deref().map(release_of).transpose()
    }

    /// The options again, for the program that holds the cluster.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--nodes".to_owned(), self.nodes.to_string()];
        if self.no_default_scheduler {
            arguments.push("--no-default-scheduler".to_owned());
        }
        if let Some(version) = &self.kubernetes {
            arguments.extend(["--kubernetes".to_owned(), version.clone()]);
        }
        arguments
    }
}

/// Written by the holder when the cluster is ready.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    pid: u32,
    kubeconfig: PathBuf,
    server: String,
}

impl State {
    fn path(dir: &Path) -> PathBuf {
        dir.join("state.json")
    }

    fn read(dir: &Path) -> Result<Option<Self>> {
        let path = Self::path(dir);
        match std::fs::read(&path) {
            Ok(text) => {
                let state = serde_json::from_slice(&text);
                state.map(Some).with_context(|| format!("{} is not of this program", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes the whole file or nothing.
    fn write(&self, dir: &Path) -> Result<()> {
        let (path, draft) = (Self::path(dir), dir.join("state.json.draft"));
        let what = || format!("cannot write {}", path.display());
        std::fs::write(&draft, serde_json::to_vec_pretty(self).with_context(what)?).with_context(what)?;
        std::fs::rename(&draft, &path).with_context(what)
    }
}

pub(crate) fn up(dir: Option<PathBuf>, options: &UpArgs, foreground: bool) -> Result<()> {
    let dir = place(dir)?;
    // An unknown release is reported before anything is touched.
    options.release()?;
    make_room(&dir)?;
    // Built here rather than in the background, where nobody would see that it takes minutes.
    let binaries = programs(options)?;
    if foreground {
        let cluster = start(&binaries, &dir, options)?;
        announce(&binaries, cluster.kubeconfig())?;
        eprintln!("Ctrl-C ends the cluster as well");
        wait_for_the_end();
    }
    let log_path = dir.join("up.log");
    let log = File::create(&log_path).with_context(|| format!("cannot create {}", log_path.display()))?;
    let errors = log.try_clone().context("cannot share the log")?;
    // nohup: the cluster outlives the terminal as well.
    let mut holder = Command::new("nohup");
    holder.arg(std::env::current_exe().context("cannot find the own program")?);
    holder.args(["cluster", "hold", "--dir"]).arg(&dir).args(options.arguments());
    holder.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
    let mut holder = holder.spawn().context("cannot start the holder of the cluster")?;
    let state = wait_until(UP_DEADLINE, "the cluster", || {
        if let Some(status) = holder.try_wait()? {
            return Ok(Some(Err(status)));
        }
        Ok(State::read(&dir)?.map(Ok))
    });
    match state {
        Ok(Ok(state)) => announce(&binaries, &state.kubeconfig),
        Ok(Err(status)) => {
            let log = std::fs::read_to_string(&log_path).unwrap_or_default();
            bail!("the cluster did not start ({status}):\n{}", log.trim())
        }
        Err(error) => {
            holder.kill().context("cannot end the holder of the cluster")?;
            Err(error.context(format!("see {}", log_path.display())))
        }
    }
}

/// Owns the cluster until it is killed.
pub(crate) fn hold(dir: Option<PathBuf>, options: &UpArgs) -> Result<()> {
    let dir = place(dir)?;
    // Bound to a name: if dropped at once, the cluster would end at once.
    let _cluster = start(&programs(options)?, &dir, options)?;
    wait_for_the_end()
}

pub(crate) fn down(dir: Option<PathBuf>) -> Result<()> {
    let dir = place(dir)?;
    let Some(state) = State::read(&dir)? else {
        if holds_running_cluster(&dir) {
            bail!("the cluster in {} is still starting: try again when it is up", dir.display());
        }
        eprintln!("no cluster was started in {}", dir.display());
        return Ok(());
    };
    if holds_running_cluster(&dir) {
        let pid = state.pid.to_string();
        let status = Command::new("sh").args(["-c", r#"kill -s TERM "$1""#, "sh", &pid]).status();
        if !status.context("cannot start sh")?.success() {
            bail!("cannot end process {pid}, which holds the cluster in {}", dir.display());
        }
    }
    let port = state.server.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    let port = port.with_context(|| format!("{} has no port", state.server))?;
    wait_until(DOWN_DEADLINE, "the cluster to end", || {
        let answers = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        Ok((!answers && !holds_running_cluster(&dir)).then_some(()))
    })?;
    // A process that is ending may still write, so try again until the folder is gone.
    wait_until(DOWN_DEADLINE, "the folder to be removed", || Ok(Some(std::fs::remove_dir_all(&dir)?)))?;
    eprintln!("the cluster in {} has ended", dir.display());
    Ok(())
}

fn place(dir: Option<PathBuf>) -> Result<PathBuf> {
    let dir = match dir {
        Some(dir) => dir,
        None => {
            let programs = programs_dir()?;
            programs.parent().context("the target folder has no parent")?.join("cluster")
        }
    };
    std::path::absolute(&dir).with_context(|| format!("cannot use {}", dir.display()))
}

/// Refuses a folder that is in use or not ours; empties one that a killed cluster left behind.
fn make_room(dir: &Path) -> Result<()> {
    let state = State::read(dir)?;
    if holds_running_cluster(dir) {
        match state {
            Some(state) => bail!(
                "a cluster runs in {} already; its kubeconfig is {}; `cargo xtask cluster down` ends it",
                dir.display(),
                state.kubeconfig.display()
            ),
            None => bail!("another cluster is starting in {}", dir.display()),
        }
    }
    let ours = dir.join("certificates/ca.crt").is_file() || dir.join("up.log").is_file();
    if ours {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    } else if dir
        .read_dir()
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|e| e.file_name() != "lock")))
    {
        bail!("{} is not empty and not of a cluster: name another folder by --dir", dir.display());
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}

fn programs(options: &UpArgs) -> Result<Binaries> {
    let release = options.release()?;
    binaries_of(release.as_ref(), &options.programs()).context("there is no control plane on this machine")
}

/// Starts the cluster and records it in its folder.
fn start(binaries: &Binaries, dir: &Path, options: &UpArgs) -> Result<Cluster> {
    let mut cluster = Options { directory: Some(dir.to_owned()), ..Options::default() };
    if options.no_default_scheduler {
        cluster.scheduler = None;
    }
    let cluster = Cluster::start(binaries, cluster)?;
    cluster.create_nodes(options.nodes, &NodeShape::default())?;
    let state = State {
        pid: std::process::id(),
        kubeconfig: cluster.kubeconfig().to_owned(),
        server: cluster.server(),
    };
    state.write(dir)?;
    Ok(cluster)
}

/// Prints only the path to standard output, for `export KUBECONFIG=$(cargo xtask cluster up)`, and the rest to standard error.
fn announce(binaries: &Binaries, kubeconfig: &Path) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{}", kubeconfig.display()).context("cannot write to standard output")?;
    if std::io::stderr().is_terminal() {
        eprintln!("export KUBECONFIG={}", kubeconfig.display());
        eprintln!("kubectl of this version: {}", binaries.path(Program::Kubectl)?.display());
        eprintln!("`cargo xtask cluster down` ends it");
    }
    Ok(())
}

fn wait_for_the_end() -> ! {
    loop {
        std::thread::park();
    }
}
