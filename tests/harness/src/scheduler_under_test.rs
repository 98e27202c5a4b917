//! The `secondmate` binary that tests run, and the example schedulers with their own plugins.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::cargo::cargo;
use crate::process::{last_lines, run};

/// A cold build of the whole workspace, on a busy machine.
const BUILD_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// The path of the `secondmate` binary: `SECONDMATE_BIN` if it is set (`cargo xtask test` sets it), otherwise built
/// once by this process, with the profile with which the caller itself was built, so that a test never runs a stale one.
///
/// # Errors
///
/// When `SECONDMATE_BIN` does not name a file, or the build fails.
pub fn secondmate_binary() -> Result<&'static Path> {
    static BINARY: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    BINARY
        .get_or_init(|| find_or_build().map_err(|error| format!("{error:#}")))
        .as_deref()
        .map_err(|error| anyhow!("{error}"))
}

fn find_or_build() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SECONDMATE_BIN").map(PathBuf::from) {
        if !path.is_file() {
            bail!("SECONDMATE_BIN names {}, which is no file: correct it or unset it", path.display());
        }
        return Ok(path);
    }
    build("secondmate")
}

/// The path of the program of an example (given by its package name), built with the caller's profile.
///
/// # Errors
///
/// When the build fails.
pub fn example_binary(package: &str) -> Result<PathBuf> {
    build(package)
}

fn build(package: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the own program")?;
    let (folder, profile) = profile_of(&own)
        .with_context(|| format!("{} is not in a target folder: set SECONDMATE_BIN", own.display()))?;
    let target = folder.parent().context("the target folder has no parent")?;
    let mut cargo = cargo();
    cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .args(["build", "--quiet", "--package", package, "--profile", profile])
        .arg("--target-dir")
        .arg(target);
    let output = run(cargo, b"", BUILD_DEADLINE)?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`cargo build --package {package}` failed:\n{}", last_lines(&errors, 40));
    }
    Ok(folder.join(package))
}

/// The folder of built programs (`target/debug`) that holds `program`, and the profile that fills it.
fn profile_of(program: &Path) -> Option<(&Path, &str)> {
    let mut folder = program.parent()?;
    if matches!(folder.file_name()?.to_str()?, "deps" | "examples") {
        folder = folder.parent()?;
    }
    let profile = match folder.file_name()?.to_str()? {
        "debug" => "dev",
        other => other,
    };
    Some((folder, profile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_that_of_the_caller() {
        let of = |path| profile_of(Path::new(path)).unwrap();
        assert_eq!(of("/p/target/debug/deps/suite-12"), (Path::new("/p/target/debug"), "dev"));
        assert_eq!(of("/p/target/release/xtask"), (Path::new("/p/target/release"), "release"));
    }
}
