//! Sets `SECONDMATE_COMMIT`, `SECONDMATE_TARGET` and `SECONDMATE_PROFILE` for the program's `version`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SECONDMATE_COMMIT");
    let variable = |name| std::env::var(name).unwrap_or_default();
    let profile = variable("PROFILE");
    let given = variable("SECONDMATE_COMMIT");
    // Given if there is no clone, as when building an image. A development build does not know its commit, since it would otherwise have to be
    // rebuilt for each one.
    let commit = match (given.as_str(), profile.as_str()) {
        ("", "release") => commit(&variable("CARGO_MANIFEST_DIR")),
        ("", _) => None,
        (given, _) => Some(given.to_owned()),
    };
    println!("cargo::rustc-env=SECONDMATE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=SECONDMATE_TARGET={}", variable("TARGET"));
    println!("cargo::rustc-env=SECONDMATE_PROFILE={profile}");
}

/// The commit that is checked out, if this crate is in its own repository and not, as a dependency, in another one.
fn commit(manifest_dir: &str) -> Option<String> {
    let root = Path::new(manifest_dir).parent()?.parent()?.canonicalize().ok()?;
    if Path::new(&git(&root, &["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != root {
        return None;
    }
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&root, &["rev-parse", "--path-format=absolute", "--git-path", file])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&root, &["rev-parse", "--short=12", "HEAD"])
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
