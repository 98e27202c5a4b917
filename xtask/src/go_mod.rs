//! Edits of `go.mod` files that move their pins of Kubernetes to another release.
//!
//! `k8s.io/kubernetes` v1.X.Y requires its staging modules (`k8s.io/api`, `k8s.io/client-go`, …) at v0.0.0; a module that
//! builds on it pins each of them to v0.X.Y by a `replace`. The go.mod of `k8s.io/kubernetes` itself says which modules those are,
//! and which etcd belongs to the release.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

const KUBERNETES: &str = "k8s.io/kubernetes";
const ETCD_SERVER: &str = "go.etcd.io/etcd/server/v3";

/// A Kubernetes release, as described by its own go.mod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// `v1.38.0`.
    pub(crate) version: String,
    /// The modules that are published with it.
    staging: BTreeSet<String>,
    /// The version of etcd that it is built against.
    etcd: String,
    /// The release of Go that it needs.
    go: String,
}

impl Upstream {
    /// Reads the go.mod of `k8s.io/kubernetes`.
    pub(crate) fn read(version: &str, go_mod: &str) -> Result<Self> {
        let mut staging = BTreeSet::new();
        let (mut etcd, mut go) = (None, None);
        for (name, version) in go_mod.lines().filter_map(requirement) {
            match (name, version) {
                (name, "v0.0.0") => {
                    staging.insert(name.to_owned());
                }
                ("go.etcd.io/etcd/api/v3", version) => etcd = Some(version.to_owned()),
                ("go", version) => go = Some(version.to_owned()),
                _ => {}
            }
        }
        if !staging.contains("k8s.io/api") {
            bail!(
                "the go.mod of {KUBERNETES} {version} requires no staging modules at v0.0.0, as it did so far"
            );
        }
        Ok(Self {
            version: version.to_owned(),
            staging,
            etcd: etcd.with_context(|| format!("{KUBERNETES} {version} requires no etcd"))?,
            go: go.with_context(|| format!("the go.mod of {KUBERNETES} {version} names no release of Go"))?,
        })
    }

    /// The version of the staging modules: `v0.38.0` of `v1.38.0`.
    fn staging_version(&self) -> Result<String> {
        let rest =
            self.version.strip_prefix("v1.").with_context(|| format!("{} is no v1.X.Y", self.version))?;
        Ok(format!("v0.{rest}"))
    }

    /// The text of a go.mod with its pins moved to this release; the rest is left to `go mod tidy`.
    ///
    /// This moves the requirements of Kubernetes, of the staging modules and of etcd's server, the block of replacements as a
    /// whole, and the `go` line if it is older than what the release needs.
    pub(crate) fn pin(&self, go_mod: &str) -> Result<String> {
        let staging = self.staging_version()?;
        let mut lines = Vec::new();
        let mut replaces = false;
        let mut in_replace = false;
        for line in go_mod.lines() {
            if line == "replace (" {
                replaces = true;
                in_replace = true;
                lines.push(line.to_owned());
                lines.extend(self.staging.iter().map(|name| format!("\t{name} => {name} {staging}")));
                continue;
            }
            if in_replace {
                match line.trim().split_once(" => ") {
                    _ if line == ")" => in_replace = false,
                    // Belongs to another project: left as it is.
                    Some((name, _)) if !name.starts_with("k8s.io/") => {}
                    _ => continue,
                }
                lines.push(line.to_owned());
                continue;
            }
            lines.push(match requirement(line) {
                Some((KUBERNETES, old)) => line.replace(old, &self.version),
                Some((ETCD_SERVER, old)) => line.replace(old, &self.etcd),
                Some(("go", old)) if numbers(old) < numbers(&self.go) => line.replace(old, &self.go),
                Some((name, old)) if self.staging.contains(name) && old != "v0.0.0" => {
                    line.replace(old, &staging)
                }
                _ => line.to_owned(),
            });
        }
        if !replaces {
            bail!("there is no block `replace (`");
        }
        Ok(lines.join("\n") + "\n")
    }
}

/// The release of Kubernetes that a go.mod requires.
pub(crate) fn required(go_mod: &str) -> Option<&str> {
    go_mod.lines().filter_map(requirement).find(|(name, _)| *name == KUBERNETES).map(|(_, version)| version)
}

/// The lines that are in only one of the texts, marked `-` and `+`, in the order of the texts.
pub(crate) fn changes(old: &str, new: &str) -> Vec<String> {
    let (before, after): (BTreeSet<&str>, BTreeSet<&str>) = (old.lines().collect(), new.lines().collect());
    let gone = old.lines().filter(|line| !after.contains(line)).map(|line| format!("- {}", line.trim()));
    let come = new.lines().filter(|line| !before.contains(line)).map(|line| format!("+ {}", line.trim()));
    gone.chain(come).collect()
}

/// The minor release of `v1.38.0`: `v1.38`.
pub(crate) fn minor(version: &str) -> Result<&str> {
    let end = version.match_indices('.').nth(1).map(|(at, _)| at);
    let minor = end.and_then(|end| version.get(..end)).filter(|minor| minor.starts_with("v1."));
    minor.with_context(|| format!("{version} is no release: write it as 1.38.0"))
}

/// Name and version in a line of a go.mod that requires a module, or in the `go` line.
fn requirement(line: &str) -> Option<(&str, &str)> {
    let mut words = line.trim().trim_start_matches("require ").split_whitespace();
    let (name, version) = (words.next()?, words.next()?);
    let is_version = version.starts_with(['v', '1']) && version.contains('.');
    (is_version && !line.contains("=>") && !name.starts_with("//")).then_some((name, version))
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(u32::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPSTREAM: &str = "// Generated.\nmodule k8s.io/kubernetes\n\ngo 1.27.0\n\nrequire (\n\
        \tgithub.com/one/thing v0.0.0-20200101-abc\n\tgo.etcd.io/etcd/api/v3 v3.7.4\n\tk8s.io/api v0.0.0\n\
        \tk8s.io/new v0.0.0 // indirect\n\tk8s.io/utils v0.0.0-20260101-abc\n)\n";

    const OURS: &str = "module a\n\ngo 1.26.0\n\nrequire (\n\tgo.etcd.io/etcd/server/v3 v3.7.0\n\
        \tk8s.io/api v0.37.2\n\tk8s.io/kubernetes v1.37.2\n)\n\nrequire (\n\tk8s.io/old v0.37.2 // indirect\n\
        \tk8s.io/utils v0.0.0-20250101-abc // indirect\n\tk8s.io/new v0.0.0 // indirect\n)\n\n\
        // Why.\nreplace (\n\texample.com/x => example.com/y v0.1.0\n\tk8s.io/api => k8s.io/api v0.37.2\n\
        \tk8s.io/old => k8s.io/old v0.37.2\n)\n";

    fn upstream() -> Upstream {
        Upstream::read("v1.38.1", UPSTREAM).unwrap()
    }

    #[test]
    fn pins_move_and_the_rest_stays() {
        let pinned = upstream().pin(OURS).unwrap();
        let expected = [
            "- go 1.26.0",
            "- go.etcd.io/etcd/server/v3 v3.7.0",
            "- k8s.io/api v0.37.2",
            "- k8s.io/kubernetes v1.37.2",
            "- k8s.io/api => k8s.io/api v0.37.2",
            "- k8s.io/old => k8s.io/old v0.37.2",
            "+ go 1.27.0",
            "+ go.etcd.io/etcd/server/v3 v3.7.4",
            "+ k8s.io/api v0.38.1",
            "+ k8s.io/kubernetes v1.38.1",
            "+ k8s.io/api => k8s.io/api v0.38.1",
            "+ k8s.io/new => k8s.io/new v0.38.1",
        ];
        assert_eq!(changes(OURS, &pinned), expected);
        assert!(pinned.contains("// Why.\nreplace (\n"), "{pinned}");
        assert!(pinned.contains("\texample.com/x => example.com/y v0.1.0\n)\n"), "{pinned}");
        assert_eq!(required(&pinned), Some("v1.38.1"));
    }

    #[test]
    fn a_second_time_changes_nothing() {
        let pinned = upstream().pin(OURS).unwrap();
        assert_eq!(upstream().pin(&pinned).unwrap(), pinned);
    }

    #[test]
    fn a_newer_go_is_not_taken_back() {
        let ours = OURS.replace("go 1.26.0", "go 1.28");
        assert!(upstream().pin(&ours).unwrap().contains("\ngo 1.28\n"));
    }

    #[test]
    fn what_is_no_module_of_kubernetes_is_refused() {
        assert!(Upstream::read("v1.38.1", "module k8s.io/kubernetes\n\ngo 1.27\n").is_err());
        assert!(upstream().pin("module a\n").is_err());
        assert_eq!(minor("v1.38.1").unwrap(), "v1.38");
        assert!(minor("v1.38").unwrap_err().to_string().contains("write it as"));
        assert!(minor("v2.1.0").is_err());
    }

    #[test]
    fn the_pins_of_this_project_are_what_the_chore_makes() {
        // Moving the real files to the release they are already at changes nothing.
        let folder = secondmate_harness::modules_dir();
        let text = std::fs::read_to_string(folder.join("go.mod")).unwrap();
        let version = required(&text).unwrap().to_owned();
        let staging =
            text.lines().filter_map(|line| line.trim().split_once(" => ")).map(|(name, _)| name.to_owned());
        let etcd =
            text.lines().filter_map(requirement).find(|(name, _)| *name == ETCD_SERVER).unwrap().1.to_owned();
        let here = Upstream { version, staging: staging.collect(), etcd, go: "1.26.0".to_owned() };
        assert_eq!(changes(&text, &here.pin(&text).unwrap()), Vec::<String>::new());
    }
}
