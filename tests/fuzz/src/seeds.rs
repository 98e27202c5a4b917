//! The seeds of a target: the files of its folder, in the order of their names.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// The folder of a target's seeds; an input that broke a rule once stays there.
pub(crate) fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target)
}

/// Reads them.
pub(crate) fn read(target: &str) -> Result<Vec<Vec<u8>>> {
    let folder = folder(target);
    let shown = || folder.display().to_string();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(shown)? {
        files.push(entry.with_context(shown)?.path());
    }
    files.sort();
    ensure!(!files.is_empty(), "{}: there are no seeds", shown());
    files.iter().map(|file| std::fs::read(file).with_context(|| file.display().to_string())).collect()
}
