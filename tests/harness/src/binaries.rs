//! Finds the programs of the control plane, and builds those that are missing.
//!
//! In this order: `KUBEBUILDER_ASSETS`, as usual for controller tests; then the cache; then a build with Go into the
//! cache. See `go_build` for the cache, and `releases` for what can be built.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::go_build::{STAGES_FILE, cached_build, go_command, release};
use crate::process::run;
use crate::releases::{Release, modules_dir, release_of, releases};

/// Names the Kubernetes release that [`binaries`] returns; if unset or empty, the newest.
pub const KUBERNETES_VARIABLE: &str = "SECONDMATE_KUBERNETES";

/// A program of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The store.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Deployments, service accounts, node life cycle and the other controllers.
    KubeControllerManager,
    /// The default scheduler.
    KubeScheduler,
    /// The command line client.
    Kubectl,
    /// Simulated nodes.
    Kwok,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubectl,
        Self::Kwok,
    ];

    /// The file name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Kwok => "kwok",
        }
    }
}

/// The control plane, or a part of it, is not available on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unavailable {
    /// What is missing and what would help.
    pub reason: String,
}

/// Why the programs are missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BinariesError {
    /// They were not found and cannot be built: a test that needs them is skipped.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The build failed: a test that needs them fails.
    #[error("{0}")]
    Failed(String),
}

/// The locations of the programs of the control plane.
#[derive(Debug, Clone)]
pub struct Binaries {
    paths: BTreeMap<Program, PathBuf>,
    stages: Option<PathBuf>,
    /// Why some are not in `paths`.
    missing: String,
}

impl Binaries {
    /// The path of one program.
    ///
    /// # Errors
    ///
    /// When this machine does not have it.
    pub fn path(&self, program: Program) -> Result<&Path, Unavailable> {
        self.paths.get(&program).map(PathBuf::as_path).ok_or_else(|| Unavailable {
            reason: format!("there is no {}: {}", program.name(), self.missing),
        })
    }

    /// The Stage documents for kwok's `--config`.
    ///
    /// # Errors
    ///
    /// When they could not be built: they come from kwok's module.
    pub(crate) fn kwok_stages(&self) -> Result<&Path, Unavailable> {
        self.stages
            .as_deref()
            .ok_or_else(|| Unavailable { reason: format!("there are no stages for kwok: {}", self.missing) })
    }
}

/// Finds the programs, or builds them; the first call in a process does the work, and at most one process builds at a
/// time. [`KUBERNETES_VARIABLE`] names the release.
///
/// # Errors
///
/// [`BinariesError::Unavailable`] when `KUBEBUILDER_ASSETS` lacks even etcd, kube-apiserver and kubectl and there is
/// no Go to build them with; [`BinariesError::Failed`] when a build failed, or the release is not pinned.
pub fn binaries() -> Result<&'static Binaries, BinariesError> {
    static FOUND: OnceLock<Result<Binaries, BinariesError>> = OnceLock::new();
    let find = || {
        let named = std::env::var(KUBERNETES_VARIABLE).ok().filter(|version| !version.is_empty());
        let release = named.map(|version| release_of(&version)).transpose();
        let release = release.with_context(|| KUBERNETES_VARIABLE.to_owned()).map_err(failed)?;
        find_or_build(assets().as_deref(), release.as_ref(), &Program::ALL)
    };
    FOUND.get_or_init(find).as_ref().map_err(Clone::clone)
}

/// Some of the programs, of a given release or else of whatever is available. Only requested programs are built.
///
/// # Errors
///
/// As [`binaries`].
pub fn binaries_of(release: Option<&Release>, programs: &[Program]) -> Result<Binaries, BinariesError> {
    find_or_build(assets().as_deref(), release, programs)
}

fn assets() -> Option<OsString> {
    std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty())
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn failed(error: anyhow::Error) -> BinariesError {
    BinariesError::Failed(format!("{error:#}"))
}

/// Without a given release, those in `KUBEBUILDER_ASSETS` come first, and the rest are those of the newest release.
fn find_or_build(
    assets: Option<&OsStr>,
    release: Option<&Release>,
    programs: &[Program],
) -> Result<Binaries, BinariesError> {
    let (mut paths, stages) = from_assets(assets).map_err(failed)?;
    let from_assets = !paths.is_empty();
    if release.is_some() {
        // The release of those is unknown.
        paths.retain(|program, _| {
            !matches!(
                program,
                Program::KubeApiserver | Program::KubeControllerManager | Program::KubeScheduler
            )
        });
    }
    let missing: Vec<Program> =
        programs.iter().copied().filter(|program| !paths.contains_key(program)).collect();
    if missing.is_empty() && (stages.is_some() || !programs.contains(&Program::Kwok)) {
        return Ok(Binaries { paths, stages, missing: String::new() });
    }
    let go = match go_toolchain(&modules_dir()).map_err(failed)? {
        Ok(go) => go,
        Err(reason) => {
            let binaries = Binaries { paths, stages, missing: reason };
            for program in [Program::Etcd, Program::KubeApiserver, Program::Kubectl] {
                binaries.path(program)?;
            }
            return Ok(binaries);
        }
    };
    let root = cache_root().map_err(failed)?;
    let why = if from_assets { ", as KUBEBUILDER_ASSETS does not have it" } else { "" };
    let newest = releases().map_err(failed)?.pop();
    let newest = newest.ok_or_else(|| BinariesError::Failed("no release is pinned".to_owned()))?;
    if let Some(older) = release.filter(|release| !release.is_newest()) {
        // Always all programs that are the release's own, so that requests for fewer and for more programs share a build.
        let build = cached_build(&root, &go, older, older.programs(), "").map_err(failed)?;
        paths.extend(older.programs().iter().map(|program| (*program, build.join(program.name()))));
    }
    let mut of_newest: Vec<Program> =
        missing.into_iter().filter(|program| !paths.contains_key(program)).collect();
    if !from_assets {
        // The whole control plane is one build in the cache, whatever is requested.
        of_newest = Program::ALL.to_vec();
    }
    let build = cached_build(&root, &go, &newest, &of_newest, why).map_err(failed)?;
    for program in of_newest {
        paths.entry(program).or_insert_with(|| build.join(program.name()));
    }
    Ok(Binaries { paths, stages: Some(build.join(STAGES_FILE)), missing: String::new() })
}

/// The programs that `KUBEBUILDER_ASSETS` has.
fn from_assets(assets: Option<&OsStr>) -> Result<(BTreeMap<Program, PathBuf>, Option<PathBuf>)> {
    let Some(assets) = assets else { return Ok((BTreeMap::new(), None)) };
    let assets = std::path::absolute(PathBuf::from(assets)).context("KUBEBUILDER_ASSETS")?;
    if !assets.is_dir() {
        bail!("KUBEBUILDER_ASSETS names {}, which is no folder: correct it or unset it", assets.display());
    }
    let paths = Program::ALL.into_iter().map(|program| (program, assets.join(program.name())));
    let stages = assets.join(STAGES_FILE);
    Ok((paths.filter(|(_, path)| path.is_file()).collect(), stages.is_file().then_some(stages)))
}

/// The version of Go (`go1.26.8`), or why a module cannot be built with the one that is installed.
pub(crate) fn go_toolchain(modules: &Path) -> Result<Result<String, String>> {
    let mut go = go_command();
    go.args(["env", "GOVERSION"]).current_dir("/");
    let output = match run(go, b"", Duration::from_secs(60)) {
        Ok(output) if output.status.success() => output,
        Ok(output) => bail!("`go env GOVERSION` failed: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(_) => {
            return Ok(Err(
                "it is neither in KUBEBUILDER_ASSETS nor is there Go (1.26 or later) to build it with"
                    .to_owned(),
            ));
        }
    };
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let go_mod = modules.join("go.mod");
    let text =
        std::fs::read_to_string(&go_mod).with_context(|| format!("cannot read {}", go_mod.display()))?;
    let needed = text
        .lines()
        .find_map(|line| line.strip_prefix("go "))
        .with_context(|| format!("{} has no go line", go_mod.display()))?;
    if release(&version) < release(needed) {
        return Ok(Err(format!(
            "it is not in KUBEBUILDER_ASSETS, and Go {needed} is needed to build it where {version} is installed"
        )));
    }
    Ok(Ok(version))
}

/// The folder in which this project keeps what outlives a build folder.
pub(crate) fn cache_root() -> Result<PathBuf> {
    let from =
        |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = from("XDG_CACHE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".cache")))
        .context("there is no place for a cache: set HOME or XDG_CACHE_HOME")?;
    Ok(base.join("secondmate"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A folder with these programs, none of which works, and with the stages.
    fn folder(programs: &[Program], stages: bool) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let names = programs.iter().map(|program| program.name()).chain(stages.then_some(STAGES_FILE));
        for name in names {
            std::fs::write(folder.path().join(name), "").expect("a writable folder");
        }
        folder
    }

    /// What is found in it if nothing has to be built.
    fn found(folder: &tempfile::TempDir, programs: &[Program]) -> BTreeSet<Program> {
        let assets = folder.path().as_os_str();
        let binaries = find_or_build(Some(assets), None, programs).expect("all is there");
        assert_eq!(binaries.missing, "", "something was looked for elsewhere");
        assert!(binaries.stages.iter().chain(binaries.paths.values()).all(|path| path.starts_with(assets)));
        binaries.paths.into_keys().collect()
    }

    #[test]
    fn nothing_is_built_that_is_in_the_assets() {
        let all = folder(&Program::ALL, true);
        assert_eq!(found(&all, &Program::ALL), BTreeSet::from(Program::ALL));
        // What was not requested may be missing, including the stages.
        let few = [Program::Etcd, Program::KubeApiserver, Program::Kubectl];
        assert_eq!(found(&folder(&few, false), &few), BTreeSet::from(few));
    }

    #[test]
    fn assets_that_are_no_folder_are_refused() {
        let error = find_or_build(Some(OsStr::new("/nowhere")), None, &Program::ALL).expect_err("none");
        assert!(
            error.to_string().contains("KUBEBUILDER_ASSETS names /nowhere, which is no folder"),
            "{error}"
        );
    }
}
