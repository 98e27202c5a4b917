//! The folders of the workspace, and how cargo is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The top folder of the project.
pub(crate) fn root() -> &'static Path {
    // xtask is a folder in the top folder.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The folder into which cargo puts the programs of the profile that built xtask itself (`target/debug`).
pub(crate) fn programs_dir() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the own program")?;
    Ok(own.parent().context("the own program is in no folder")?.to_owned())
}

/// The target folder.
pub(crate) fn target_dir() -> Result<PathBuf> {
    Ok(programs_dir()?.parent().context("the own program is in no target folder")?.to_owned())
}

/// A cargo command in the top folder: the cargo that runs xtask.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = secondmate_harness::cargo();
    cargo.current_dir(root()).args(arguments);
    cargo
}
