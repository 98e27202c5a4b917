//! Builds guests.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cargo::cargo;
use crate::process::{last_lines, run};
use crate::skip::{skip, skip_unless_ci};

const TARGET: &str = "wasm32-unknown-unknown";

/// Names the compiler for guests in Rust, if it is not one of those that are found automatically.
const RUSTC: &str = "SECONDMATE_GUEST_RUSTC";

/// The oldest compiler that can build `crates/guest`: its `rust-version`.
const RUSTC_OLDEST: (u32, u32) = (1, 85);

/// Debian's compiler, which may have the target if rustup's does not.
const RUSTC_OF_DEBIAN: &str = "/usr/bin/rustc";

/// Either takes seconds; a busy machine may need more.
const BUILD_DEADLINE: Duration = Duration::from_secs(10 * 60);

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder in which guests are built and kept.
#[must_use]
pub fn guest_folder() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join("guests")
}

/// NodeNumber from Rust; `None`, after the skip has been reported, if this machine has no Rust for WebAssembly.
///
/// # Errors
///
/// When it cannot be built.
pub fn guest_in_rust_or_skip(test: &str) -> Result<Option<PathBuf>> {
    from_rust_or_skip(test, "wasm-node-number")
}

/// A guest from Rust that implements every extension point, for tests of the host; otherwise like [`guest_in_rust_or_skip`].
///
/// # Errors
///
/// When it cannot be built.
pub fn guest_of_every_point_or_skip(test: &str) -> Result<Option<PathBuf>> {
    from_rust_or_skip(test, "wasm-every-point")
}

fn from_rust_or_skip(test: &str, package: &str) -> Result<Option<PathBuf>> {
    let Some(rustc) = rustc_for_guests()? else {
        skip(
            test,
            &format!(
                "no rustc has a library for {TARGET}: `rustup target add {TARGET}`, or Debian's rustc (1.85 or later), libstd-rust-dev-wasm32 and rust-llvm"
            ),
        );
        return Ok(None);
    };
    let mut cargo = cargo();
    cargo
        .env("RUSTC", rustc)
        .args(["build", "--quiet", "--locked", "--release", "--package", package])
        .args(["--target", TARGET, "--target-dir"])
        .arg(guest_folder())
        .current_dir(workspace());
    build(cargo)?;
    let file = format!("release/{}.wasm", package.replace('-', "_"));
    Ok(Some(guest_folder().join(TARGET).join(file)))
}

/// A compiler that has the target: the one that is named, else rustup's, else Debian's.
fn rustc_for_guests() -> Result<Option<OsString>> {
    if let Some(named) = std::env::var_os(RUSTC) {
        if !has_target(&named) {
            bail!("{RUSTC} is {named:?}, which is no rustc with a library for {TARGET}");
        }
        return Ok(Some(named));
    }
    let known = ["rustc", RUSTC_OF_DEBIAN].map(OsString::from);
    Ok(known.into_iter().find(|rustc| is_new_enough(rustc) && has_target(rustc)))
}

fn is_new_enough(rustc: &OsStr) -> bool {
    let Ok(said) = Command::new(rustc).arg("--version").output() else { return false };
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut numbers = said.trim_start_matches("rustc ").split('.').map_while(|number| number.parse().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= RUSTC_OLDEST)
}

fn has_target(rustc: &OsStr) -> bool {
    let library = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let Ok(library) = library else { return false };
    let library = Path::new(String::from_utf8_lossy(&library.stdout).trim()).to_owned();
    library.is_absolute() && library.read_dir().is_ok_and(|mut files| files.next().is_some())
}

/// NodeNumber from Go; `None`, after the skip has been reported, if this machine has no Go.
///
/// # Errors
///
/// When it cannot be built.
///
/// # Panics
///
/// In CI, where a skip is a failure.
pub fn guest_in_go_or_skip(test: &str) -> Result<Option<PathBuf>> {
    if Command::new("go").arg("version").output().is_err() {
        skip_unless_ci(test, "there is no go");
        return Ok(None);
    }
    std::fs::create_dir_all(guest_folder()).context("cannot create the folder of guests")?;
    let file = guest_folder().join("node-number-go.wasm");
    // Tests in several processes build it, and none may see an incomplete file.
    let unfinished = guest_folder().join(format!("node-number-go-{}.wasm", std::process::id()));
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o"])
        .arg(&unfinished)
        .arg(".")
        .envs([("GOOS", "wasip1"), ("GOARCH", "wasm")])
        .current_dir(workspace().join("examples/wasm-node-number/go"));
    build(go)?;
    std::fs::rename(&unfinished, &file).with_context(|| format!("cannot create {}", file.display()))?;
    Ok(Some(file))
}

fn build(command: Command) -> Result<()> {
    let what = format!("{command:?}");
    let output = run(command, b"", BUILD_DEADLINE)?;
    if !output.status.success() {
        bail!("{what} failed:\n{}", last_lines(&String::from_utf8_lossy(&output.stderr), 40));
    }
    Ok(())
}
