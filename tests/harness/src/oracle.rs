//! The Go programs of the tests: the parity oracle in `tests/parity/`, the extender in `tests/extender/`, the renderer of Helm charts in
//! `tests/chart/render/` and promtool, which `tests/chart/promtool/` pins. They are built once per machine into the same cache as the
//! control plane.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::binaries::{BinariesError, Unavailable, cache_root, go_toolchain};
use crate::go_build::{Fnv, collect, go_build, go_command, prune};

/// A Go program of the tests.
struct GoProgram {
    /// Its module, and its folder in the cache.
    module: &'static str,
    name: &'static str,
    what: &'static str,
    takes: &'static str,
    /// The package to build, preceded by Go's flags for it.
    built: &'static [&'static str],
}

const ORACLE: GoProgram = GoProgram {
    module: "parity",
    name: "oracle",
    what: "the parity oracle",
    takes: "some minutes",
    built: &["."],
};
const EXTENDER: GoProgram = GoProgram {
    module: "extender",
    name: "extender",
    what: "the extender of the tests",
    takes: "a minute",
    built: &["."],
};

/// Helm's own packages.
const RENDERER: GoProgram = GoProgram {
    module: "chart/render",
    name: "render",
    what: "the renderer of Helm charts",
    takes: "some minutes",
    built: &["."],
};

/// Prometheus' own rule checker, without its many kinds of service discovery.
const PROMTOOL: GoProgram = GoProgram {
    module: "chart/promtool",
    name: "promtool",
    what: "promtool",
    takes: "some minutes",
    built: &["-tags=remove_all_sd", "github.com/prometheus/prometheus/cmd/promtool"],
};

/// The oracle's program, built if it does not exist; at most one process builds at a time.
///
/// # Errors
///
/// [`BinariesError::Unavailable`] when there is no Go to build it with; [`BinariesError::Failed`] when the build failed.
pub fn parity_oracle() -> Result<&'static Path, BinariesError> {
    static FOUND: OnceLock<Result<PathBuf, BinariesError>> = OnceLock::new();
    FOUND.get_or_init(|| ORACLE.find_or_build()).as_ref().map(PathBuf::as_path).map_err(Clone::clone)
}

/// An HTTP extender with upstream's types, built if it does not exist.
///
/// # Errors
///
/// As [`parity_oracle`].
pub fn extender_program() -> Result<&'static Path, BinariesError> {
    static FOUND: OnceLock<Result<PathBuf, BinariesError>> = OnceLock::new();
    FOUND.get_or_init(|| EXTENDER.find_or_build()).as_ref().map(PathBuf::as_path).map_err(Clone::clone)
}

/// The renderer of Helm charts, built if it does not exist.
///
/// # Errors
///
/// As [`parity_oracle`].
pub fn chart_renderer() -> Result<&'static Path, BinariesError> {
    static FOUND: OnceLock<Result<PathBuf, BinariesError>> = OnceLock::new();
    FOUND.get_or_init(|| RENDERER.find_or_build()).as_ref().map(PathBuf::as_path).map_err(Clone::clone)
}

/// Promtool, built if it does not exist.
///
/// # Errors
///
/// As [`parity_oracle`].
pub fn promtool() -> Result<&'static Path, BinariesError> {
    static FOUND: OnceLock<Result<PathBuf, BinariesError>> = OnceLock::new();
    FOUND.get_or_init(|| PROMTOOL.find_or_build()).as_ref().map(PathBuf::as_path).map_err(Clone::clone)
}

/// The command that compares the oracle with the real scheduler's own `SchedulePod` and whole cycles, on `cases` random cases.
///
/// # Errors
///
/// [`BinariesError::Unavailable`] when there is no Go.
pub fn oracle_tests(seed: u64, cases: u32) -> Result<Command, BinariesError> {
    let (module, _) = ORACLE.module_and_go()?;
    let mut go = go_command();
    // Built like the oracle itself, so that its packages are then cached.
    go.current_dir(module).args(["test", "-trimpath", "-buildvcs=false", "-count=1", "."]);
    go.args(["-seed", &seed.to_string(), "-cases", &cases.to_string()]);
    Ok(go)
}

impl GoProgram {
    fn find_or_build(&self) -> Result<PathBuf, BinariesError> {
        let (module, go) = self.module_and_go()?;
        self.build(&cache_root().map_err(failed)?.join(self.module), &module, &go).map_err(failed)
    }

    fn module_and_go(&self) -> Result<(PathBuf, String), BinariesError> {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(self.module);
        let go = go_toolchain(&module).map_err(failed)?.map_err(|_| Unavailable {
            reason: format!(
                "{} needs Go (the release that tests/{}/go.mod names, or a later one) to be built",
                self.what, self.module
            ),
        })?;
        Ok((module, go))
    }

    fn build(&self, root: &Path, module: &Path, go: &str) -> Result<PathBuf> {
        let folder = root.join(key(module, go)?);
        let program = folder.join(self.name);
        if program.is_file() {
            return Ok(program);
        }
        std::fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
        let lock_path = root.join("lock");
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&lock_path)
            .with_context(|| format!("cannot open {}", lock_path.display()))?;
        // Bounded by the builder's own deadline: it lets go of the lock when it ends, whichever way.
        lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
        if program.is_file() {
            return Ok(program);
        }
        prune(root)?;
        let unfinished = root.join("unfinished");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished)
                .with_context(|| format!("cannot remove {}", unfinished.display()))?;
        }
        std::fs::create_dir(&unfinished)
            .with_context(|| format!("cannot create {}", unfinished.display()))?;
        eprintln!("building {} into {}: {}, once on this machine", self.what, root.display(), self.takes);
        let built: Vec<String> = self.built.iter().map(|argument| (*argument).to_owned()).collect();
        go_build(module, None, "-s -w", &unfinished, &built)?;
        // Go names the program after the package's last element.
        for entry in std::fs::read_dir(&unfinished).context("cannot list the build")? {
            let built = entry.context("cannot list the build")?.path();
            std::fs::rename(&built, unfinished.join(self.name))
                .with_context(|| format!("cannot name {}", self.what))?;
        }
        std::fs::rename(&unfinished, &folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(program)
    }
}

fn failed(error: anyhow::Error) -> BinariesError {
    BinariesError::Failed(format!("{error:#}"))
}

fn key(module: &Path, go: &str) -> Result<String> {
    let mut files = Vec::new();
    collect(module, &mut files)?;
    files.sort();
    let mut key = Fnv::default();
    key.add(go.as_bytes());
    for file in files.iter().filter(|file| !file.to_string_lossy().ends_with("_test.go")) {
        key.add(file.strip_prefix(module).unwrap_or(file).as_os_str().as_encoded_bytes());
        key.add(&std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(key.name())
}
