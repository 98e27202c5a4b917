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
use crate::releases::{Release, modules_dir};

/// Six minutes on two idle cores; a busy machine may need several times that.
const BUILD_DEADLINE: Duration = Duration::from_secs(40 * 60);

/// Cached builds that are kept: those of the releases (430 MB for the newest, 200 MB for each other) and of a few branches.
const CACHED_BUILDS_MAX: usize = 6;

/// The Stage documents that tell kwok what to simulate.
pub(crate) const STAGES_FILE: &str = "kwok-stages.yaml";

/// The folder of the cache that holds these programs of a release, built if it was not there; with the newest's also the
/// stages. `why` says for whom it is built, where that is not plain.
pub(crate) fn cached_build(
    cache_root: &Path,
    go: &str,
    release: &Release,
    programs: &[Program],
    why: &str,
) -> Result<PathBuf> {
    let root = cache_root.join("controlplane");
    let modules = modules_dir();
    let build = root.join(build_key(&modules, go, release, programs)?);
    if build.is_dir() {
        used(&build);
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
    eprintln!("{}{why}; into {}", announcement(release, programs), root.display());
    build_into(&modules, &unfinished, release, programs)?;
    std::fs::rename(&unfinished, &build).with_context(|| format!("cannot create {}", build.display()))?;
    Ok(build)
}

/// What is built, and how long that takes: only what is really built is said.
fn announcement(release: &Release, programs: &[Program]) -> String {
    if programs.is_empty() {
        return "building what kwok simulates (kwok-stages): seconds, once on this machine".to_owned();
    }
    let has = |program: Program| programs.contains(&program);
    // Seconds on two idle cores. The programs of Kubernetes have most of their packages in common.
    let of_kubernetes =
        [Program::KubeApiserver, Program::KubeControllerManager, Program::KubeScheduler, Program::Kubectl];
    let first = if of_kubernetes.into_iter().any(has) { 120 } else { 0 };
    let each: u32 = programs
        .iter()
        .map(|program| match program {
            Program::Etcd => 40,
            Program::KubeApiserver => 40,
            Program::KubeControllerManager | Program::KubeScheduler => 25,
            Program::Kubectl => 20,
            Program::Kwok => 55,
        })
        .sum();
    let minutes = match (first + each).div_ceil(60) {
        1 => "about a minute".to_owned(),
        minutes => format!("about {minutes} minutes"),
    };
    let names: Vec<&str> = programs.iter().map(|program| program.name()).collect();
    format!(
        "building {} for Kubernetes {}: {minutes} on two idle cores, once on this machine",
        names.join(", "),
        release.version
    )
}

fn build_into(modules: &Path, out: &Path, release: &Release, programs: &[Program]) -> Result<()> {
    let of_kubernetes: Vec<String> =
        programs.iter().filter(|p| **p != Program::Kwok).map(|p| format!("./{}", p.name())).collect();
    if !of_kubernetes.is_empty() {
        let flags = link_flags(&release.version);
        let pins = release.mod_file.as_deref().map(|file| modules.join(file));
        go_build(modules, pins.as_deref(), &flags, out, &of_kubernetes)?;
    }
    if !release.is_newest() {
        return Ok(());
    }
    let kwok = modules.join("kwok");
    let mut packages = vec!["./kwok-stages".to_owned()];
    if programs.contains(&Program::Kwok) {
        packages.push("sigs.k8s.io/kwok/cmd/kwok".to_owned());
    }
    go_build(&kwok, None, "-s -w", out, &packages)?;
    let stages = run(Command::new(out.join("kwok-stages")), b"", Duration::from_secs(60))?;
    if !stages.status.success() {
        bail!("kwok-stages failed: {}", String::from_utf8_lossy(&stages.stderr).trim());
    }
    std::fs::write(out.join(STAGES_FILE), stages.stdout).context("cannot write the stages of kwok")
}

/// Without these the programs call themselves v0.0.0-master+$Format:%H$, which clients cannot parse.
fn link_flags(version: &str) -> String {
    let (major, minor) = release(version);
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        flags += &format!(
            " -X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
             -X {package}.gitTreeState=clean"
        );
    }
    flags
}

/// Builds main packages of a module, by `pins` instead of its own go.mod where they are given.
pub(crate) fn go_build(
    module: &Path,
    pins: Option<&Path>,
    link_flags: &str,
    out: &Path,
    packages: &[String],
) -> Result<()> {
    let mut go = go_command();
    // The trailing slash has the programs named after their packages.
    let out = format!("{}/", out.display());
    go.current_dir(module).arg("build");
    if let Some(pins) = pins {
        go.arg(format!("-modfile={}", pins.display()));
    }
    go.args(["-trimpath", "-buildvcs=false", "-ldflags", link_flags, "-o", &out]).args(packages);
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

/// Names a build by all it depends on: the files with the pins and the main packages, Go, what is built, and this file with
/// its flags. The pins of another release are no part of it.
fn build_key(modules: &Path, go: &str, release: &Release, programs: &[Program]) -> Result<String> {
    let mut files = Vec::new();
    match &release.mod_file {
        None => {
            collect(modules, &mut files)?;
            files.retain(|file| !file.starts_with(modules.join("versions")));
        }
        Some(pins) => {
            files.extend([modules.join(pins), modules.join(pins).with_extension("sum")]);
            for program in programs {
                collect(&modules.join(program.name()), &mut files)?;
            }
        }
    }
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

/// Marks a build as used just now: those that nobody has used for longest make room first. Where it cannot be marked, a build
/// that is needed again is at worst made again.
fn used(build: &Path) {
    if let Ok(folder) = File::open(build) {
        let _ = folder.set_modified(SystemTime::now());
    }
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

    fn newest() -> Release {
        Release { version: "1.37.2".to_owned(), mod_file: None }
    }

    fn older() -> Release {
        Release { version: "1.36.3".to_owned(), mod_file: Some("versions/v1.36.mod".into()) }
    }

    #[test]
    fn every_input_of_a_build_changes_its_name() {
        let modules = tempfile::tempdir().unwrap();
        let path = modules.path();
        let write = |file: &str, text: &str| {
            std::fs::create_dir_all(path.join(file).parent().unwrap()).unwrap();
            std::fs::write(path.join(file), text).unwrap();
        };
        write("go.mod", "module a\n");
        write("etcd/main.go", "package main\n");
        write("versions/v1.36.mod", "module a\n");
        write("versions/v1.36.sum", "\n");
        write("versions/v1.35.mod", "module a\n");
        let key = |go: &str, programs: &[Program]| build_key(path, go, &newest(), programs).unwrap();
        let key_of_older = || build_key(path, "go1.26.8", &older(), &[Program::Etcd]).unwrap();

        let (first, first_older) = (key("go1.26.8", &[Program::Etcd]), key_of_older());
        assert_eq!(first, key("go1.26.8", &[Program::Etcd]));
        assert_ne!(first, first_older);
        assert_ne!(first, key("go1.26.9", &[Program::Etcd]));
        assert_ne!(first, key("go1.26.8", &[Program::Kwok]));
        write("README.md", "no part of the build");
        write("versions/v1.35.mod", "module a // another release\n");
        assert_eq!((&first, &first_older), (&key("go1.26.8", &[Program::Etcd]), &key_of_older()));

        write("versions/v1.36.sum", "changed\n");
        assert_ne!(first_older, key_of_older());
        write("versions/v1.36.sum", "\n");
        write("go.mod", "module a // changed\n");
        assert_eq!(first_older, key_of_older());
        assert_ne!(first, key("go1.26.8", &[Program::Etcd]));
        write("go.mod", "module a\n");
        write("etcd/main.go", "package main // changed\n");
        assert_ne!(first, key("go1.26.8", &[Program::Etcd]));
        assert_ne!(first_older, key_of_older());
    }

    #[test]
    fn what_is_said_is_what_is_built() {
        let all = announcement(&newest(), &Program::ALL);
        assert!(all.contains("etcd, kube-apiserver") && all.contains("about 6 minutes"), "{all}");
        let two = announcement(&older(), older().programs());
        assert!(two.contains("kube-apiserver, kube-controller-manager for Kubernetes 1.36.3"), "{two}");
        let kwok = announcement(&newest(), &[Program::Kwok]);
        assert!(kwok.contains("building kwok for") && kwok.contains("about a minute"), "{kwok}");
        let none = announcement(&newest(), &[]);
        assert!(none.contains("seconds") && !none.contains("minute"), "{none}");
    }

    #[test]
    fn programs_say_their_release() {
        let flags = link_flags("1.37.2");
        assert!(flags.contains("-X k8s.io/component-base/version.gitVersion=v1.37.2 "), "{flags}");
        assert!(flags.contains("gitMajor=1 ") && flags.contains("gitMinor=37 "), "{flags}");
    }

    #[test]
    fn the_oldest_builds_make_room() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c", "d", "e", "f", "g"] {
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
        assert_eq!(left, ["c", "d", "e", "f", "g"]);
    }
}
