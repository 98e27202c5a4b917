//! The Kubernetes releases of which the control plane is available.
//!
//! The pins are in one place, `tests/controlplane`: `go.mod` is the newest release, and each file `versions/v1.N.mod` an
//! older one. All of them build the same main packages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::binaries::Program;

/// The programs that are built from an older release. The rest are the newest's: the same etcd, kwok and kubectl work with every
/// release, and kube-scheduler, with which tests compare decisions and texts, is the newest's by definition.
const OF_AN_OLDER_RELEASE: [Program; 2] = [Program::KubeApiserver, Program::KubeControllerManager];

/// A pinned Kubernetes release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// In its usual form: `1.37.2`.
    pub version: String,
    /// `versions/v1.36.mod`, relative to the module; `None` for the newest, whose file is `go.mod`.
    pub(crate) mod_file: Option<PathBuf>,
}

impl Release {
    /// Whether it is the newest pinned one.
    #[must_use]
    pub const fn is_newest(&self) -> bool {
        self.mod_file.is_none()
    }

    /// The programs of the control plane that are this release's own.
    pub(crate) const fn programs(&self) -> &'static [Program] {
        if self.is_newest() { &Program::ALL } else { &OF_AN_OLDER_RELEASE }
    }
}

/// All pinned releases, oldest first.
///
/// # Errors
///
/// When a file with pins cannot be read or names no release.
pub fn releases() -> Result<Vec<Release>> {
    pinned_in(&modules_dir())
}

/// The release with this version (`1.36.3` or `v1.36.3`).
///
/// # Errors
///
/// When it is not pinned; the message lists those that are.
pub fn release_of(version: &str) -> Result<Release> {
    find(releases()?, version)
}

fn find(known: Vec<Release>, version: &str) -> Result<Release> {
    let wanted = version.trim_start_matches('v');
    let names: Vec<String> = known.iter().map(|release| release.version.clone()).collect();
    match known.into_iter().find(|release| release.version == wanted) {
        Some(release) => Ok(release),
        None => bail!(
            "Kubernetes {wanted} is not pinned in tests/controlplane: take one of {}, or move a pin there",
            names.join(", ")
        ),
    }
}

pub(crate) fn pinned_in(modules: &Path) -> Result<Vec<Release>> {
    let mut found = Vec::new();
    let folder = modules.join("versions");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.extension().is_some_and(|ending| ending == "mod") {
            let name = path.strip_prefix(modules).unwrap_or(&path).to_owned();
            found.push(Release { version: kubernetes_version(&path)?, mod_file: Some(name) });
        }
    }
    found.sort_by_key(|release| numbers(&release.version));
    found.push(Release { version: kubernetes_version(&modules.join("go.mod"))?, mod_file: None });
    Ok(found)
}

/// The release that a module requires, without the `v`; this is the only source for it.
fn kubernetes_version(go_mod: &Path) -> Result<String> {
    let text =
        std::fs::read_to_string(go_mod).with_context(|| format!("cannot read {}", go_mod.display()))?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"))
        .map(|version| version.trim().to_owned())
        .with_context(|| format!("{} does not require k8s.io/kubernetes", go_mod.display()))
}

/// The parts of a version as comparable numbers.
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(u32::MAX)).collect()
}

/// The module with the main packages and the pins.
#[must_use]
pub fn modules_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_say_which_releases_there_are() {
        let modules = tempfile::tempdir().unwrap();
        std::fs::create_dir(modules.path().join("versions")).unwrap();
        let write = |file: &str, version: &str| {
            let text =
                format!("module a\n\nrequire (\n\tk8s.io/api v0.1.2\n\tk8s.io/kubernetes {version}\n)\n");
            std::fs::write(modules.path().join(file), text).unwrap();
        };
        write("go.mod", "v1.11.0");
        write("versions/v1.10.mod", "v1.10.1");
        write("versions/v1.9.mod", "v1.9.12");
        std::fs::write(modules.path().join("versions/v1.9.sum"), "no pin").unwrap();
        let found = pinned_in(modules.path()).unwrap();
        let versions: Vec<_> = found.iter().map(|r| (r.version.as_str(), r.is_newest())).collect();
        assert_eq!(versions, [("1.9.12", false), ("1.10.1", false), ("1.11.0", true)]);
        assert_eq!(found[0].mod_file.as_deref(), Some(Path::new("versions/v1.9.mod")));

        assert_eq!(find(found.clone(), "v1.10.1").unwrap(), found[1]);
        let error = find(found, "1.10.2").unwrap_err().to_string();
        assert!(
            error.contains("1.10.2 is not pinned") && error.contains("1.9.12, 1.10.1, 1.11.0"),
            "{error}"
        );
    }

    #[test]
    fn every_minor_is_pinned_once_and_none_is_left_out() {
        let minors: Vec<u32> =
            releases().unwrap().iter().map(|release| numbers(&release.version)[1]).collect();
        assert!(minors.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{minors:?}");
    }
}
