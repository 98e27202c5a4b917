//! Building the control plane with Go into a cache outside the build folder.
//!
//! The cache is keyed by everything that a build depends on, this file included, so that a machine pays once. It is
//! written under a file lock and by a rename, so that nobody sees a build that is half done.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::binaries::Program;
use crate::process::{last_lines, run};

/// Six minutes on two idle cores; a busy machine may need several times that.
const BUILD_DEADLINE: Duration = Duration::from_secs(40 * 60);

/// Cached builds that are kept: the one in use and those of a few branches (about 430 MB each).
const CACHED_BUILDS_MAX: usize = 3;

/// The Stage documents that tell kwok what to simulate.
pub(crate) const STAGES_FILE: &str = "kwok-stages.yaml";

/// The folder of the cache that holds `programs` and the stages, built if it was not there.
pub(crate) fn cached_build(cache_root: &Path, go: &str, programs: &[Program]) -> Result<PathBuf> {
    let root = cache_root.join("controlplane");
    let modules = modules_dir();
    let build = root.join(build_key(&modules, go, programs)?);
    if build.is_dir() {
        return Ok(build);
    }
    std::fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    let lock_path = root.join("lock");
    let lock = File::options()
        .create(true)
        .append(true)
        .open(&lock_path)
        .with_context(|| format!("cannot open {}", lock_path.display()))?;
    // Bounded by the builder's own deadline: it lets go of the lock when it ends, whichever way.
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
    if build.is_dir() {
        return Ok(build);
    }
    prune(&root)?;
    // Under the lock nobody else builds: what carries this ending was left by a build that was killed.
    let unfinished = root.join("unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    std::fs::create_dir(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
    let names: Vec<&str> = programs.iter().map(|program| program.name()).collect();
    eprintln!(
        "building the real control plane ({}) into {}: about six minutes on two cores, once on this machine",
        names.join(", "),
        root.display()
    );
    build_into(&modules, &unfinished, programs)?;
    std::fs::rename(&unfinished, &build).with_context(|| format!("cannot create {}", build.display()))?;
    Ok(build)
}

fn build_into(modules: &Path, out: &Path, programs: &[Program]) -> Result<()> {
    let version = kubernetes_version(modules)?;
    let (major, minor) = release(version.trim_start_matches('v'));
    let mut flags = "-s -w".to_owned();
    // Without these the programs call themselves v0.0.0-master+$Format:%H$, which clients cannot parse.
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        flags += &format!(
            " -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
             -X {package}.gitTreeState=clean"
        );
    }
    let of_kubernetes: Vec<String> =
        programs.iter().filter(|p| **p != Program::Kwok).map(|p| format!("./{}", p.name())).collect();
    if !of_kubernetes.is_empty() {
        go_build(modules, &flags, out, &of_kubernetes)?;
    }
    let kwok = modules.join("kwok");
    let mut packages = vec!["./kwok-stages".to_owned()];
    if programs.contains(&Program::Kwok) {
        packages.push("sigs.k8s.io/kwok/cmd/kwok".to_owned());
    }
    go_build(&kwok, "-s -w", out, &packages)?;
    let stages = run(Command::new(out.join("kwok-stages")), b"", Duration::from_secs(60))?;
    if !stages.status.success() {
        bail!("kwok-stages failed: {}", String::from_utf8_lossy(&stages.stderr).trim());
    }
    std::fs::write(out.join(STAGES_FILE), stages.stdout).context("cannot write the stages of kwok")
}

pub(crate) fn go_build(module: &Path, link_flags: &str, out: &Path, packages: &[String]) -> Result<()> {
    let mut go = go_command();
    // The trailing slash has the programs named after their packages.
    let out = format!("{}/", out.display());
    go.current_dir(module)
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", link_flags, "-o", &out])
        .args(packages);
    let output = run(go, b"", BUILD_DEADLINE)?;
    if !output.status.success() {
        bail!(
            "`go build {}` in {} failed ({}):\n{}",
            packages.join(" "),
            module.display(),
            output.status,
            last_lines(&String::from_utf8_lossy(&output.stderr), 30)
        );
    }
    Ok(())
}

/// The pinned release of Kubernetes (`v1.36.3`): `go.mod` is the only place that says it.
fn kubernetes_version(modules: &Path) -> Result<String> {
    let go_mod = modules.join("go.mod");
    let text =
        std::fs::read_to_string(&go_mod).with_context(|| format!("cannot read {}", go_mod.display()))?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .map(|version| version.trim().to_owned())
        .with_context(|| format!("{} does not require k8s.io/kubernetes", go_mod.display()))
}

/// Names a build by all it depends on: the module's files, Go, what is built, and this file with its flags.
fn build_key(modules: &Path, go: &str, programs: &[Program]) -> Result<String> {
    let mut files = Vec::new();
    collect(modules, &mut files)?;
    files.sort();
    let mut key = Fnv::default();
    key.add(go.as_bytes());
    key.add(include_bytes!("go_build.rs"));
    for program in programs {
        key.add(program.name().as_bytes());
    }
    for file in files {
        let name = file.strip_prefix(modules).unwrap_or(&file);
        key.add(name.as_os_str().as_encoded_bytes());
        key.add(&std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(key.name())
}

pub(crate) fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", dir.display()))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "go" || ending == "mod" || ending == "sum")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Makes room for one more build. A build that a running cluster uses stays whole: its files are open.
pub(crate) fn prune(root: &Path) -> Result<()> {
    let entries = std::fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))?;
    let mut builds: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name() != "unfinished")
        .filter_map(|entry| {
            let data = entry.metadata().ok().filter(std::fs::Metadata::is_dir)?;
            Some((data.modified().ok()?, entry.path()))
        })
        .collect();
    builds.sort();
    let excess = (builds.len() + 1).saturating_sub(CACHED_BUILDS_MAX);
    for (_, build) in builds.into_iter().take(excess) {
        std::fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
    }
    Ok(())
}

/// FNV-1a over parts with their lengths: the same on every machine and release of Rust, which the standard library's
/// hasher does not promise. Nobody attacks the name of a cache folder.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(crate) fn add(&mut self, part: &[u8]) {
        for byte in (part.len() as u64).to_le_bytes().iter().chain(part) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The name of a folder.
    pub(crate) fn name(&self) -> String {
        format!("{:016x}", self.0)
    }
}

/// `go1.26.8` and `1.26.0` as numbers that compare; a development version counts as the newest.
pub(crate) fn release(version: &str) -> (u32, u32) {
    let mut parts =
        version.trim_start_matches("go").split(['.', '-', 'r', 'b']).map(|part| part.parse().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), minor) => (major, minor.unwrap_or(0)),
        _ => (u32::MAX, 0),
    }
}

/// `go`, free of what the surroundings would change about a build.
pub(crate) fn go_command() -> Command {
    let mut go = Command::new("go");
    go.env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .env("CGO_ENABLED", "0");
    go
}

pub(crate) fn modules_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_go_compare() {
        assert_eq!(release("go1.26.8"), (1, 26));
        assert_eq!(release("1.26.0"), (1, 26));
        assert_eq!(release("go1.27rc1"), (1, 27));
        assert_eq!(release("1.27"), (1, 27));
        assert!(release("go1.9") < release("go1.26"));
        assert!(release("devel go1.27-abc") > release("1.26.0"));
    }

    #[test]
    fn every_input_of_a_build_changes_its_name() {
        let modules = tempfile::tempdir().unwrap();
        let path = modules.path();
        std::fs::create_dir(path.join("etcd")).unwrap();
        std::fs::write(path.join("go.mod"), "module a\n").unwrap();
        std::fs::write(path.join("etcd/main.go"), "package main\n").unwrap();
        let key = |go: &str, programs: &[Program]| build_key(path, go, programs).unwrap();

        let first = key("go1.26.8", &[Program::Etcd]);
        assert_eq!(first, key("go1.26.8", &[Program::Etcd]));
        assert_ne!(first, key("go1.26.9", &[Program::Etcd]));
        assert_ne!(first, key("go1.26.8", &[Program::Kwok]));
        std::fs::write(path.join("README.md"), "no part of the build").unwrap();
        assert_eq!(first, key("go1.26.8", &[Program::Etcd]));
        std::fs::write(path.join("etcd/main.go"), "package main // changed\n").unwrap();
        assert_ne!(first, key("go1.26.8", &[Program::Etcd]));
    }

    #[test]
    fn the_oldest_builds_make_room() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c", "d"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
            let seconds = u64::from(name.as_bytes()[0]);
            File::open(root.path().join(name))
                .unwrap()
                .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
                .unwrap();
        }
        prune(root.path()).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["c", "d"]);
    }

    #[test]
    fn the_release_is_read_from_the_module() {
        assert!(kubernetes_version(&modules_dir()).unwrap().starts_with("v1."));
    }
}
