//! Calls cargo from programs that cargo runs.

use std::ffi::OsStr;
use std::process::Command;

/// The prefixes of the variables by which cargo tells a program which package it belongs to.
const OF_A_PACKAGE: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

/// A cargo command: the cargo that runs this program.
///
/// It is not told which package this program belongs to. The build script of ring reads those variables and makes cargo rerun
/// it when they change, so a build started by a test and the next one from a terminal would each recompile ring
/// and everything that depends on it.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if tells_of_a_package(&name) {
            cargo.env_remove(name);
        }
    }
    cargo
}

fn tells_of_a_package(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| OF_A_PACKAGE.iter().any(|start| name.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_tells_a_program_of_its_package_is_not_handed_on() {
        // Cargo has set them for this test.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        let cargo = cargo();
        let changed: Vec<_> = cargo.get_envs().collect();
        for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION_PRE", "CARGO_MANIFEST_DIR"] {
            assert!(changed.contains(&(OsStr::new(name), None)), "{name} is handed on: {changed:?}");
        }
        for name in
            ["CARGO", "CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_TERM_COLOR", "CARGO_INCREMENTAL", "PATH"]
        {
            assert!(!tells_of_a_package(OsStr::new(name)), "{name}");
        }
    }
}
