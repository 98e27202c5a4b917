//! The folder of a cluster: data, certificates, kubeconfigs and logs.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

/// Number of folders of former clusters that are kept for their logs.
const LEFTOVERS_MAX: usize = 8;

/// A folder that is ours while this value lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Created by us, and therefore pruned by us.
    temporary: bool,
    _claim: File,
}

impl Directory {
    /// The folder given, or a new one under the system's folder for temporary files.
    pub(crate) fn open(given: Option<&Path>) -> Result<Self> {
        let path = match given {
            Some(path) => {
                std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
                path.canonicalize().with_context(|| format!("cannot use {}", path.display()))?
            }
            None => {
                let user = std::env::var("USER").unwrap_or_else(|_| "user".to_owned());
                let parent = std::env::temp_dir().join(format!("secondmate-clusters-{user}"));
                std::fs::create_dir_all(&parent)
                    .with_context(|| format!("cannot create {}", parent.display()))?;
                // It holds keys, even if only to clusters that nobody else needs to reach.
                std::fs::set_permissions(&parent, std::fs::Permissions::from_mode(0o700))
                    .with_context(|| format!("{} is not ours", parent.display()))?;
                prune(&parent);
                tempfile::Builder::new()
                    .prefix("cluster-")
                    .tempdir_in(&parent)
                    .with_context(|| format!("cannot create a folder in {}", parent.display()))?
                    .keep()
            }
        };
        let claim = claim_file(&path)?;
        if claim.try_lock().is_err() {
            bail!("{} is in use by another running cluster", path.display());
        }
        std::fs::create_dir_all(path.join("logs"))
            .with_context(|| format!("cannot write to {}", path.display()))?;
        Ok(Self { path, temporary: given.is_none(), _claim: claim })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The data is bulky and useless without its cluster. The logs are kept, since a test that returned an error cannot be
        // told from one that passed. What cannot be removed now is pruned with the folder.
        if self.temporary {
            let _ = std::fs::remove_dir_all(self.path.join("etcd"));
        }
    }
}

/// Whether a running cluster, of this process or another, has its data in `dir`.
pub fn holds_running_cluster(dir: &Path) -> bool {
    dir.is_dir() && claim_file(dir).is_ok_and(|claim| claim.try_lock().is_err())
}

fn claim_file(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Removes the oldest folders that no running cluster holds. Best effort: another process may do the same.
fn prune(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    let mut leftovers: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .filter(|(_, path)| claim_file(path).is_ok_and(|claim| claim.try_lock().is_ok()))
        .collect();
    leftovers.sort();
    let excess = leftovers.len().saturating_sub(LEFTOVERS_MAX);
    for (_, path) in leftovers.into_iter().take(excess) {
        let _ = std::fs::remove_dir_all(path);
    }
}
