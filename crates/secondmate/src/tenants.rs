//! `secondmate tenants`: manifests with a scheduler for each tenant of a configuration.

use crate::output::print;
use crate::{App, profiles};
use anyhow::{Context, anyhow, ensure};
use clap::{Args, Subcommand};
use secondmate_config::{Configuration, KIND, OWN_KIND, is_subdomain};
use secondmate_documents::documents;
use secondmate_framework::Right;
use secondmate_shell::rights;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) const EXAMPLES: &str = "\
Examples:
  secondmate tenants render -f tenants.yaml --dir manifests/overlays/tenants
  kubectl kustomize manifests/overlays/tenants";

/// Maximum length of a tenant's name: with its prefix, it has to fit into the name of a Service and the value of a label.
const NAME_LENGTH_MAX: usize = 50;

/// A tenant of this name would have the names of the bind guard's objects: `secondmate-guard`.
const NAME_OF_GUARD: &str = "guard";

/// Options of `tenants`.
#[derive(Debug, Args)]
pub(crate) struct TenantsArgs {
    #[command(subcommand)]
    command: TenantsCommand,
}

#[derive(Debug, Subcommand)]
enum TenantsCommand {
    /// Write a kustomize overlay with a scheduler for each profile of a configuration: a Deployment, a Lease, permissions, labels and
    /// a configuration each. A tenant is named after its scheduler, without `-scheduler`.
    #[command(after_help = EXAMPLES)]
    Render {
        /// Configuration file: a KubeSchedulerConfiguration with a profile for each tenant, and a SecondmateConfiguration with
        /// `tenants` if they differ in their permissions.
        #[arg(short, long, alias = "file", value_name = "FILE")]
        filename: PathBuf,
        /// Directory of the overlay. Files with the same names are replaced.
        #[arg(long, alias = "output", short_alias = 'o', value_name = "DIR")]
        dir: PathBuf,
        /// Directory of the manifests that all tenants share: a relative path from the overlay, or a repository as kustomize takes it,
        /// such as `https://github.com/org/repo//manifests/base?ref=v1` or `git@host:org/repo//manifests/base`.
        #[arg(long, value_name = "PATH", default_value = "../../base")]
        base: String,
        /// Component that changes each tenant's scheduler, such as `../../components/https`: a path or repository, as for --base. May
        /// be repeated.
        #[arg(long = "component", value_name = "PATH")]
        components: Vec<String>,
    },
}

pub(crate) fn tenants(app: &App, args: &TenantsArgs) -> anyhow::Result<ExitCode> {
    let TenantsCommand::Render { filename, dir, base, components } = &args.command;
    let text = std::fs::read_to_string(filename).map_err(|why| {
        anyhow!("cannot read {}: {why}; give a readable file by --filename", filename.display())
    })?;
    let shared = Shared {
        base: of_tenant("base", base)?,
        components: components.iter().map(|path| of_tenant("component", path)).collect::<Result<_, _>>()?,
    };
    let files = render(app, &text, &shared).with_context(|| filename.display().to_string())?;
    write(dir, &files)?;
    let mut said: String = files.keys().map(|name| format!("{}\n", dir.join(name).display())).collect();
    for stale in left_over(dir, &files)? {
        said.push_str(&format!("note: {} is of no tenant: remove it\n", stale.display()));
    }
    print(said.as_bytes())
}

fn write(output: &Path, files: &BTreeMap<PathBuf, String>) -> anyhow::Result<()> {
    for (name, content) in files {
        let path = output.join(name);
        let folder = path.parent().unwrap_or(output);
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// What is in the overlay's folder but was not written this time.
fn left_over(folder: &Path, files: &BTreeMap<PathBuf, String>) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut stale = Vec::new();
    for entry in entries {
        let name = PathBuf::from(entry?.file_name());
        if !files.keys().any(|file| file.starts_with(&name)) {
            stale.push(folder.join(name));
        }
    }
    stale.sort();
    Ok(stale)
}

/// The namespace of the Lease for which the manifests have a Role.
const LEASE_NAMESPACE: &str = "kube-system";

/// What all tenants are made from, as each tenant's kustomization names it.
struct Shared {
    base: String,
    components: Vec<String>,
}

/// The files of the overlay by their paths in its folder.
fn render(app: &App, text: &str, shared: &Shared) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let configuration = Configuration::parse(text, &app.catalogue_for(text)?)?;
    configuration.check_default_scheduler(false)?;
    check_election(&configuration)?;
    let profiles = profiles(app, &configuration)?;
    let granted = granted(app)?;
    let mut main = Value::Null;
    let mut own = None;
    for document in documents(text) {
        let value = document.value()?;
        match value["kind"].as_str() {
            Some(KIND) => main = value,
            Some(OWN_KIND) => own = Some(value),
            _ => {}
        }
    }
    let names = names(&configuration)?;
    let mut files = BTreeMap::new();
    for (at, name) in names.iter().enumerate() {
        let scheduler = &configuration.profiles[at].scheduler_name;
        let mut config = main.clone();
        config["profiles"] = json!([main["profiles"][at]]);
        let mut text = yaml(&config)?;
        if let Some(own) = &own {
            text.push_str("---\n");
            text.push_str(&yaml(own)?);
        }
        let folder = Path::new(name);
        let needed = rights(std::slice::from_ref(&profiles[at]));
        let further: Vec<Right> = needed.difference(&granted).copied().collect();
        files.insert(folder.join("config.yaml"), text);
        files.insert(folder.join("kustomization.yaml"), tenant(name, scheduler, shared, &further));
    }
    files.insert("kustomization.yaml".into(), overlay(&names));
    files.insert("namespace.yaml".into(), NAMESPACE.to_owned());
    Ok(files)
}

/// Checks for election settings that the manifests do not support.
fn check_election(configuration: &Configuration) -> anyhow::Result<()> {
    let election = &configuration.leader_election;
    ensure!(
        election.resource_name.is_none(),
        "leaderElection.resourceName: the tenants would share that Lease, and only one of them would schedule: remove it"
    );
    ensure!(
        election.leader_elect,
        "leaderElection.leaderElect: the manifests have two replicas a tenant, and both would schedule: remove it"
    );
    ensure!(
        election.resource_namespace.as_deref().is_none_or(|namespace| namespace == LEASE_NAMESPACE),
        "leaderElection.resourceNamespace: the manifests allow the Lease in {LEASE_NAMESPACE}: remove it"
    );
    Ok(())
}

/// The permissions that the manifests grant: those that the default plugins need.
fn granted(app: &App) -> anyhow::Result<BTreeSet<Right>> {
    let defaults = Configuration::for_scheduler_names(&["any"])?;
    Ok(rights(&profiles(app, &defaults)?))
}

/// The name of each profile's tenant.
fn names(configuration: &Configuration) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for scheduler in configuration.scheduler_names() {
        let name = scheduler.strip_suffix("-scheduler").unwrap_or(scheduler);
        ensure!(
            name.len() <= NAME_LENGTH_MAX && !name.contains('.') && is_subdomain(name).is_empty(),
            "scheduler name {scheduler:?}: the tenant's objects are named {name:?}, which must consist of lower case letters, digits and '-', begin and end with a letter or digit, and have no more than {NAME_LENGTH_MAX} characters: choose another name"
        );
        ensure!(
            name != NAME_OF_GUARD,
            "scheduler name {scheduler:?}: the tenant's objects would be named \"secondmate-guard\", as the bind guard's are: choose another name"
        );
        ensure!(
            !names.iter().any(|known| known == name),
            "scheduler name {scheduler:?}: another tenant is called {name:?} as well: rename one of the two"
        );
        names.push(name.to_owned());
    }
    Ok(names)
}

/// The path, given by this option, as each tenant's kustomization names it, which is one folder below the overlay.
fn of_tenant(option: &str, path: &str) -> anyhow::Result<String> {
    ensure!(
        !Path::new(path).is_absolute(),
        "--{option} {path}: kustomize accepts no absolute path: give the path from the overlay's directory, such as ../../base"
    );
    Ok(if is_remote(path) { path.to_owned() } else { format!("../{path}") })
}

/// Whether kustomize takes it as a repository to clone and not as a path: it has a scheme or a user, or is on GitHub. That is the rule of
/// `NewRepoSpecFromURL` in kustomize's `api/internal/git/repospec.go`.
fn is_remote(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let path = path.strip_prefix("git::").unwrap_or(&path);
    let is_user = |user: &str| {
        user.starts_with(|first: char| first.is_ascii_alphabetic())
            && user.chars().all(|character| character.is_ascii_alphanumeric() || character == '-')
    };
    path.contains("://")
        || path.starts_with("github.com/")
        || path.starts_with("github.com:")
        || path.split_once('@').is_some_and(|(user, _)| is_user(user))
}

fn yaml(value: &Value) -> anyhow::Result<String> {
    serde_saphyr::to_string(value).context("cannot write the configuration")
}

fn overlay(names: &[String]) -> String {
    let folders: String = names.iter().map(|name| format!("  - \"{name}\"\n")).collect();
    format!(
        "\
# Written by `secondmate tenants render`: a separate scheduler for each tenant, each with its own name and Lease.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - namespace.yaml
{folders}"
    )
}

fn tenant(name: &str, scheduler: &str, shared: &Shared, further: &[Right]) -> String {
    let Shared { base, components } = shared;
    let components: String = components.iter().map(|path| format!("  - {path}\n")).collect();
    let components = if components.is_empty() { components } else { format!("components:\n{components}") };
    format!(
        "\
# The scheduler of tenant {name}: its own name, its own Lease, its own Deployment.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
nameSuffix: \"-{name}\"
labels:
  - pairs:
      secondmate.dev/tenant: \"{name}\"
    includeSelectors: true
resources:
  - {base}
{components}patches:
  # All tenants share the namespace, which is defined one level above.
  - target:
      kind: Namespace
      name: secondmate
    patch: |
      $patch: delete
      apiVersion: v1
      kind: Namespace
      metadata:
        name: secondmate
  - target:
      kind: Role
      name: secondmate-leader-election
    patch: |
      - op: replace
        path: /rules/1/resourceNames/0
        value: \"{scheduler}\"
{}configMapGenerator:
  - name: secondmate-config
    namespace: secondmate
    behavior: replace
    files:
      - config.yaml
",
        rules(further)
    )
}

/// The patch that adds these permissions; empty if there are none.
fn rules(rights: &[Right]) -> String {
    let mut verbs: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for Right { verb, group, resource } in rights {
        verbs.entry((group, resource)).or_default().push(verb);
    }
    if verbs.is_empty() {
        return String::new();
    }
    let mut patch = "  # What else its plugins read or write.
  - target:
      kind: ClusterRole
      name: secondmate
    patch: |
"
    .to_owned();
    for ((group, resource), verbs) in verbs {
        let group = if group.is_empty() { "\"\"" } else { group };
        patch.push_str(&format!(
            "      - op: add
        path: /rules/-
        value:
          apiGroups: [{group}]
          resources: [{resource}]
          verbs: [{}]
",
            verbs.join(", ")
        ));
    }
    patch
}

const NAMESPACE: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: secondmate
  labels:
    app.kubernetes.io/name: secondmate
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/audit: restricted
    pod-security.kubernetes.io/warn: restricted
";

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

    fn rendered(text: &str) -> anyhow::Result<BTreeMap<PathBuf, String>> {
        let shared = Shared { base: "../../../base".to_owned(), components: Vec::new() };
        render(&App::new(), text, &shared)
    }

    /// After a change: `UPDATE_EXPECT=1 cargo test -p secondmate tenants`.
    #[test]
    fn the_overlay_of_the_manifests_is_what_is_rendered() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = std::fs::read_to_string(root.join("examples/tenants/config.yaml")).expect("the example");
        let files = rendered(&text).expect("rendered");
        let overlay = root.join("manifests/overlays/tenants");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            write(&overlay, &files).expect("written");
        }
        for (name, content) in &files {
            let there = std::fs::read_to_string(overlay.join(name)).unwrap_or_default();
            assert_eq!(there, *content, "{}", name.display());
        }
        assert_eq!(left_over(&overlay, &files).expect("a folder"), Vec::<PathBuf>::new());
    }

    #[test]
    fn each_tenant_has_its_profile_and_the_rules_of_all() {
        let files = rendered(&format!(
            "{HEAD}podMaxBackoffSeconds: 30\nprofiles:\n- schedulerName: red-scheduler\n  percentageOfNodesToScore: 50\n- schedulerName: batch\n\
             ---\napiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\ntenants:\n\
             - {{schedulerName: red-scheduler, namespaces: {{names: [red]}}}}\n- {{schedulerName: batch}}\n"
        ))
        .expect("rendered");
        let names: Vec<String> = files.keys().map(|name| name.display().to_string()).collect();
        let expected =
            ["batch/config.yaml", "batch/kustomization.yaml", "kustomization.yaml", "namespace.yaml"];
        assert_eq!(names[..4], expected);
        for (folder, scheduler, percentage) in [("red", "red-scheduler", Some(50)), ("batch", "batch", None)]
        {
            let text = &files[&Path::new(folder).join("config.yaml")];
            let configuration: Configuration = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(configuration.scheduler_names(), [scheduler]);
            assert_eq!(configuration.profiles[0].percentage_of_nodes_to_score, percentage);
            assert_eq!(configuration.pod_max_backoff.as_secs(), 30);
            assert_eq!(configuration.own.tenants.len(), 2);
            let kustomization = &files[&Path::new(folder).join("kustomization.yaml")];
            assert!(kustomization.contains(&format!("        value: \"{scheduler}\"\n")), "{kustomization}");
            assert!(kustomization.contains("  - ../../../base\n"), "{kustomization}");
        }
    }

    #[test]
    fn the_base_is_seen_from_a_tenants_folder_unless_it_is_a_repository() {
        for (base, expected) in [
            ("../../base", "../../../base"),
            ("base", "../base"),
            ("../team@work/base", "../../team@work/base"),
            // Without a scheme or a user, kustomize takes only GitHub for a host.
            ("example.com/org/repo", "../example.com/org/repo"),
        ] {
            assert_eq!(of_tenant("base", base).expect("a path"), expected);
        }
        for base in [
            "https://example.com/org/repo//base?ref=v1",
            "ssh://git@example.com/org/repo//base",
            "git@example.com:org/repo//base",
            "github.com/org/repo//manifests/base?ref=v1",
            "git::https://example.com/org/repo//base",
        ] {
            assert_eq!(of_tenant("base", base).expect("a repository"), base);
        }
        let error = of_tenant("base", "/manifests/base").expect_err("kustomize refuses it").to_string();
        assert!(error.contains("--base /manifests/base: kustomize accepts no absolute path"), "{error}");
    }

    #[test]
    fn components_are_those_of_every_tenant() {
        let shared =
            Shared { base: "../b".to_owned(), components: vec!["../https".to_owned(), "../more".to_owned()] };
        let text = format!("{HEAD}profiles: [{{schedulerName: red}}, {{schedulerName: blue}}]\n");
        let files = render(&App::new(), &text, &shared).expect("rendered");
        for tenant in ["red", "blue"] {
            let kustomization = documents(&files[&Path::new(tenant).join("kustomization.yaml")])[0].value();
            assert_eq!(
                kustomization.expect("YAML")["components"],
                json!(["../https", "../more"]),
                "{tenant}"
            );
        }
        let error = of_tenant("component", "/https").expect_err("kustomize refuses it").to_string();
        assert!(error.starts_with("--component /https: "), "{error}");
    }

    #[test]
    fn a_name_that_looks_like_a_number_stays_a_name() {
        let files = rendered(&format!("{HEAD}profiles: [{{schedulerName: '123'}}]\n")).expect("rendered");
        let read = |file: &str| {
            let text = &files[Path::new(file)];
            documents(text)[0].value().expect("YAML")
        };
        let kustomization = read("123/kustomization.yaml");
        assert_eq!(kustomization["nameSuffix"], "-123");
        assert_eq!(kustomization["labels"][0]["pairs"]["secondmate.dev/tenant"], "123");
        let patch = kustomization["patches"][1]["patch"].as_str().expect("a text");
        assert_eq!(documents(patch)[0].value().expect("YAML")[0]["value"], "123");
        assert_eq!(read("kustomization.yaml")["resources"][1], "123");
        assert_eq!(read("123/config.yaml")["profiles"][0]["schedulerName"], "123");
    }

    #[test]
    fn rights_that_only_a_tenants_plugins_need_are_its_own() {
        let files = rendered(&format!(
            "{HEAD}leaderElection: {{leaderElect: true, resourceNamespace: kube-system}}\nprofiles:\n- schedulerName: red\n\
             - schedulerName: blue\n  plugins: {{multiPoint: {{enabled: [{{name: LoadAware}}]}}}}\n"
        ))
        .expect("rendered");
        let of = |tenant: &str| &files[&Path::new(tenant).join("kustomization.yaml")];
        assert!(!of("red").contains("ClusterRole"), "{}", of("red"));
        let patch = "  # What else its plugins read or write.
  - target:
      kind: ClusterRole
      name: secondmate
    patch: |
      - op: add
        path: /rules/-
        value:
          apiGroups: [metrics.k8s.io]
          resources: [nodes]
          verbs: [list]
configMapGenerator:
";
        assert!(of("blue").contains(patch), "{}", of("blue"));
    }

    #[test]
    fn the_base_grants_what_the_default_plugins_need() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/base/rbac.yaml");
        let text = std::fs::read_to_string(file).expect("the base");
        let objects = documents(&text);
        let mut roles = objects.iter().map(|document| document.value().expect("YAML"));
        let role = roles.find(|object| object["kind"] == "ClusterRole").expect("a role");
        let rules = role["rules"].as_array().expect("rules");
        for right in granted(&App::new()).expect("the default plugins") {
            let has = |rule: &Value, field: &str, text: &str| {
                rule[field].as_array().is_some_and(|texts| texts.iter().any(|one| one == text))
            };
            let grants = |rule: &Value| {
                has(rule, "apiGroups", right.group)
                    && has(rule, "resources", right.resource)
                    && has(rule, "verbs", right.verb)
            };
            assert!(rules.iter().any(grants), "{right:?}");
        }
    }

    #[test]
    fn what_tenants_cannot_share_is_refused() {
        for (text, expected) in [
            (
                "profiles: [{schedulerName: a}]\nleaderElection: {resourceName: one}\n",
                "would share that Lease",
            ),
            (
                "profiles: [{schedulerName: a}]\nleaderElection: {leaderElect: false}\n",
                "leaderElection.leaderElect: the manifests have two replicas a tenant, and both would schedule: remove it",
            ),
            (
                "profiles: [{schedulerName: a}]\nleaderElection: {resourceNamespace: mine}\n",
                "leaderElection.resourceNamespace: the manifests allow the Lease in kube-system: remove it",
            ),
            (
                "profiles: [{schedulerName: a}, {schedulerName: a-scheduler}]\n",
                "another tenant is called \"a\"",
            ),
            ("profiles: [{schedulerName: a.b}]\n", "named \"a.b\", which must consist of lower case letters"),
            ("profiles: [{schedulerName: Red_Scheduler}]\n", "named \"Red_Scheduler\""),
            ("profiles: [{schedulerName: a/b}]\n", "named \"a/b\""),
            ("profiles: [{schedulerName: -scheduler}]\n", "named \"\""),
            ("profiles: [{schedulerName: default-scheduler}]\n", "choose another name"),
            (
                "profiles: [{schedulerName: guard-scheduler}]\n",
                "named \"secondmate-guard\", as the bind guard's",
            ),
            ("profiles: [{schedulerName: guard}]\n", "named \"secondmate-guard\", as the bind guard's"),
            ("profiles: []\n", "schedulerName"),
        ] {
            let error = rendered(&format!("{HEAD}{text}")).expect_err(text);
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
