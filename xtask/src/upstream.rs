//! `cargo xtask upstream VERSION`: moves the reference to another release of Kubernetes and shows what that changes.
//!
//! `tests/controlplane/README.md` says what is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use secondmate_harness::{Program, binaries_of, parity_oracle};

use crate::go_mod::{Upstream, changes, minor, required};
use crate::runner::{check, stream};
use crate::workspace::{cargo, root};

/// Number of releases that are pinned: the newest, and those that are still supported or in use.
const RELEASES: usize = 4;

#[derive(Debug, Args)]
pub(crate) struct UpstreamArgs {
    /// Kubernetes release, for example 1.38.0.
    #[arg(value_name = "VERSION")]
    version: String,
    /// Print what would be changed, without changing anything.
    #[arg(long)]
    dry_run: bool,
    /// Number of random cases for the differential test.
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    cases: u32,
    /// Seed of the cases.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
}

/// A change of a file.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Write(PathBuf, String),
    Copy(PathBuf, PathBuf),
    Remove(PathBuf),
}

pub(crate) fn upstream(arguments: &UpstreamArgs) -> Result<()> {
    let version = format!("v{}", arguments.version.trim_start_matches('v'));
    minor(&version)?;
    let modules = ["controlplane", "parity", "extender"].map(|name| root().join("tests").join(name));
    let upstream = Upstream::read(&version, &go_mod_of(&version, &modules[0])?)?;
    let changes = plan(&upstream, &modules)?;
    changes.iter().try_for_each(|change| change.show())?;
    if changes.is_empty() {
        eprintln!("every pin is at {version} already");
    }
    if arguments.dry_run {
        return Ok(());
    }
    changes.iter().try_for_each(Change::make)?;
    for module in &modules {
        check(go(module, &["mod", "tidy"]))?;
    }
    binaries_of(None, &Program::ALL).context("the control plane of the new release")?;
    parity_oracle().context("the oracle of the new release")?;
    let mut differences = Differences::default();
    let (cases, seed) = (arguments.cases.to_string(), arguments.seed.to_string());
    let mut run = cargo(&[
        "run",
        "--release",
        "--quiet",
        "--package",
        "secondmate-differential",
        "--bin",
        "parity",
        "--",
    ]);
    // Every difference is counted, and none ends the run.
    run.args(["--cases", &cases, "--seed", &seed, "--no-coverage", "--differences", &cases]);
    let status = stream(run, |line| differences.read(line))?;
    println!("\n{}", differences.table(&version, arguments.cases));
    if !status.success() && differences.places.is_empty() {
        bail!("the differential test failed ({status})");
    }
    Ok(())
}

/// The go.mod of `k8s.io/kubernetes` itself, from the module proxy.
fn go_mod_of(version: &str, module: &Path) -> Result<String> {
    let mut list = go(module, &["list", "-m", "-f", "{{.GoMod}}", &format!("k8s.io/kubernetes@{version}")]);
    let output = list.output().context("cannot start go: this chore needs it")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("there is no Kubernetes {version} to be had: {}", errors.trim());
    }
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

fn go(module: &Path, arguments: &[&str]) -> Command {
    let mut go = Command::new("go");
    go.current_dir(module)
        .args(arguments)
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=mod")
        .env("GOWORK", "off");
    go
}

/// The changes to make before `go mod tidy`.
fn plan(upstream: &Upstream, modules: &[PathBuf]) -> Result<Vec<Change>> {
    let controlplane = modules.first().context("no module of Go is named")?;
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let newest = read(&controlplane.join("go.mod"))?;
    let newest = required(&newest).context("tests/controlplane/go.mod requires no k8s.io/kubernetes")?;
    let mut plan = Vec::new();

    let (old, new) = (minor(newest)?, minor(&upstream.version)?);
    let versions = controlplane.join("versions");
    let pins = |minor: &str, ending: &str| versions.join(format!("{minor}.{ending}"));
    let mut older = Vec::new();
    for entry in
        std::fs::read_dir(&versions).with_context(|| format!("cannot list {}", versions.display()))?
    {
        let path = entry.with_context(|| format!("cannot list {}", versions.display()))?.path();
        if path.extension().is_some_and(|ending| ending == "mod")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            older.push(name.to_owned());
        }
    }
    if number(old) < number(new) {
        for ending in ["mod", "sum"] {
            plan.push(Change::Copy(controlplane.join(format!("go.{ending}")), pins(old, ending)));
        }
        older.push(old.to_owned());
    }
    older.sort_by_key(|minor| number(minor));
    // The release itself is now the newest, and only the wanted number of older ones is kept.
    let (kept, mut gone): (Vec<_>, Vec<_>) = older.into_iter().partition(|minor| number(minor) < number(new));
    let excess = (kept.len() + 1).saturating_sub(RELEASES);
    gone.extend(kept.into_iter().take(excess));
    plan.extend(
        gone.iter().flat_map(|minor| ["mod", "sum"].map(|ending| Change::Remove(pins(minor, ending)))),
    );

    for module in modules {
        let path = module.join("go.mod");
        let text = read(&path)?;
        let pinned = upstream.pin(&text).with_context(|| path.display().to_string())?;
        if pinned != text {
            plan.push(Change::Write(path, pinned));
        }
    }
    Ok(plan)
}

/// The number of a minor release: 38 of `v1.38`.
fn number(minor: &str) -> u32 {
    minor.rsplit('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Change {
    fn show(&self) -> Result<()> {
        let short = |path: &Path| path.strip_prefix(root()).unwrap_or(path).display().to_string();
        match self {
            Self::Write(path, text) => {
                println!("{}:", short(path));
                let old = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                for line in changes(&old, text) {
                    println!("  {line}");
                }
            }
            Self::Copy(from, to) => println!("{} is kept as {}", short(from), short(to)),
            Self::Remove(path) => println!("{} is removed", short(path)),
        }
        Ok(())
    }

    fn make(&self) -> Result<()> {
        match self {
            Self::Write(path, text) => {
                std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
            }
            Self::Copy(from, to) => {
                std::fs::copy(from, to).map(drop).with_context(|| format!("cannot write {}", to.display()))
            }
            Self::Remove(path) => {
                std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
            }
        }
    }
}

/// Pods about which both sides differ, by the place of their first difference.
#[derive(Debug, Default)]
struct Differences {
    places: BTreeMap<String, u32>,
}

impl Differences {
    /// Reads a line of the differential test: `case 7 differs: pod n/p at nodes/n1/scores/ImageLocality/raw`.
    fn read(&mut self, line: &str) {
        let Some((case, difference)) = line.split_once(" differs: pod ") else { return };
        if !case.starts_with("case ") {
            return;
        }
        if let Some((_, path)) = difference.split_once(" at ") {
            let mut parts: Vec<&str> = path.trim().split('/').collect();
            if parts.first() == Some(&"nodes") && parts.len() > 1 {
                // The name of a random node is meaningless.
                parts[1] = "*";
            }
            *self.places.entry(parts.join("/")).or_default() += 1;
        }
    }

    fn table(&self, version: &str, cases: u32) -> String {
        let all: u32 = self.places.values().sum();
        let mut text = format!("against kube-scheduler {version}: {all} pods differ in {cases} cases\n");
        let mut places: Vec<_> = self.places.iter().collect();
        places.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        if !places.is_empty() {
            text += &format!("\n{:>6}  {:32}  place\n", "pods", "plugin");
        }
        for (place, count) in places {
            text += &format!("{count:>6}  {:32}  {place}\n", plugin(place));
        }
        text
    }
}

/// The plugin of a place: the part of the path that is named like one.
fn plugin(place: &str) -> &str {
    place.split('/').find(|part| part.starts_with(|first: char| first.is_ascii_uppercase())).unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPSTREAM: &str = "module k8s.io/kubernetes\n\ngo 1.26.0\n\nrequire (\n\tgo.etcd.io/etcd/api/v3 v3.9.1\n\tk8s.io/api v0.0.0\n)\n";

    /// A project at 1.37.2 with three older releases.
    fn project() -> (tempfile::TempDir, [PathBuf; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let modules = ["controlplane", "parity"].map(|name| folder.path().join(name));
        std::fs::create_dir_all(modules[0].join("versions")).unwrap();
        std::fs::create_dir(&modules[1]).unwrap();
        let text = |version: &str| {
            format!(
                "module a\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v1.{version}\n\nreplace (\n\tk8s.io/api => k8s.io/api v0.{version}\n)\n"
            )
        };
        for module in &modules {
            std::fs::write(module.join("go.mod"), text("37.2")).unwrap();
        }
        for minor in [34, 35, 36] {
            std::fs::write(modules[0].join(format!("versions/v1.{minor}.mod")), text(&format!("{minor}.0")))
                .unwrap();
        }
        (folder, modules)
    }

    fn planned(version: &str) -> Vec<String> {
        let (folder, modules) = project();
        let upstream = Upstream::read(version, UPSTREAM).unwrap();
        let plan = plan(&upstream, &modules).unwrap();
        let short = |path: &Path| path.strip_prefix(folder.path()).unwrap().display().to_string();
        plan.iter()
            .map(|change| match change {
                Change::Write(path, text) => format!("write {} {}", short(path), required(text).unwrap()),
                Change::Copy(from, to) => format!("copy {} {}", short(from), short(to)),
                Change::Remove(path) => format!("remove {}", short(path)),
            })
            .collect()
    }

    #[test]
    fn the_next_minor_keeps_the_last_and_drops_the_oldest() {
        assert_eq!(
            planned("v1.38.0"),
            [
                "copy controlplane/go.mod controlplane/versions/v1.37.mod",
                "copy controlplane/go.sum controlplane/versions/v1.37.sum",
                "remove controlplane/versions/v1.34.mod",
                "remove controlplane/versions/v1.34.sum",
                "write controlplane/go.mod v1.38.0",
                "write parity/go.mod v1.38.0",
            ]
        );
    }

    #[test]
    fn a_patch_changes_the_pins_alone() {
        assert_eq!(planned("v1.37.3"), ["write controlplane/go.mod v1.37.3", "write parity/go.mod v1.37.3"]);
        assert_eq!(planned("v1.37.2"), Vec::<String>::new());
    }

    #[test]
    fn a_release_that_becomes_the_newest_is_no_older_one() {
        assert_eq!(
            planned("v1.36.3"),
            [
                "remove controlplane/versions/v1.36.mod",
                "remove controlplane/versions/v1.36.sum",
                "write controlplane/go.mod v1.36.3",
                "write parity/go.mod v1.36.3",
            ]
        );
    }

    #[test]
    fn differences_are_counted_by_place_and_plugin() {
        let mut differences = Differences::default();
        for line in [
            "case 7 differs: pod n/p at nodes/n1/scores/ImageLocality/raw",
            "  kube-scheduler: 3",
            "case 8 differs: pod n/q at nodes/n2/scores/ImageLocality/raw",
            "case 9 differs: pod n/q at message",
            "made small, x.json: pod n/q at message",
        ] {
            differences.read(line);
        }
        let table = differences.table("v1.38.0", 100);
        assert!(table.starts_with("against kube-scheduler v1.38.0: 3 pods differ in 100 cases\n"), "{table}");
        assert!(
            table.contains("     2  ImageLocality                     nodes/*/scores/ImageLocality/raw\n"),
            "{table}"
        );
        assert!(table.ends_with("     1  -                                 message\n"), "{table}");
    }
}
