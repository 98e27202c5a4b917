//! The Helm chart in `manifests/chart`, rendered by Helm's own packages; its tests hold it against `manifests`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Program, require_chart_renderer_or_skip, require_programs_or_skip, run};
use serde_json::{Value, json};

/// Longest run of the renderer or kubectl.
const DEADLINE: Duration = Duration::from_secs(120);

/// Objects by `KIND NAMESPACE/NAME`.
pub type Objects = BTreeMap<String, Value>;

/// `manifests`.
#[must_use]
pub fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests")
}

/// The renderer of charts, and kubectl.
pub struct Tools {
    renderer: PathBuf,
    kubectl: PathBuf,
}

impl Tools {
    /// The tools; `None` after the skip was reported.
    ///
    /// # Panics
    ///
    /// In CI where they cannot be had, and when a build failed.
    #[must_use]
    pub fn require_or_skip(test: &str) -> Option<Self> {
        let kubectl = require_programs_or_skip(test, &[Program::Kubectl])?.path(Program::Kubectl).ok()?;
        let renderer = require_chart_renderer_or_skip(test)?;
        Some(Self { renderer: renderer.to_owned(), kubectl: kubectl.to_owned() })
    }

    /// Asks the renderer about the chart; `values` go over those of the chart.
    fn ask(&self, name: &str, namespace: &str, values: &Value, lint: bool) -> Result<String> {
        let request = json!({
            "chart": manifests().join("chart"),
            "name": name,
            "namespace": namespace,
            "kubernetes": "v1.37.0",
            "values": values,
            "lint": lint,
        });
        told(run(Command::new(&self.renderer), request.to_string().as_bytes(), DEADLINE)?)
    }

    /// The objects of a release called `name` in the namespace `namespace`.
    ///
    /// # Errors
    ///
    /// The chart refuses the values, or what it makes is no YAML.
    pub fn render(&self, name: &str, namespace: &str, values: &Value) -> Result<Objects> {
        objects(&self.ask(name, namespace, values, false)?)
    }

    /// What Helm's lint says, a message a line.
    ///
    /// # Errors
    ///
    /// The renderer does not run.
    pub fn lint(&self) -> Result<String> {
        self.ask("secondmate", "secondmate", &json!({}), true)
    }

    /// Runs kubectl.
    ///
    /// # Errors
    ///
    /// It fails: with what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl.args(arguments).env_remove("KUBECONFIG");
        told(run(kubectl, b"", DEADLINE)?).with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// The objects of a kustomization in `manifests`.
    ///
    /// # Errors
    ///
    /// It cannot be built.
    pub fn kustomize(&self, folder: &str) -> Result<Objects> {
        self.build(&manifests().join(folder))
    }

    /// The objects of a kustomization of somebody else's, beside a clone of this repository that is called `secondmate`.
    ///
    /// # Errors
    ///
    /// It cannot be built.
    pub fn kustomize_beside_clone(&self, kustomization: &str) -> Result<Objects> {
        let folder = tempfile::tempdir()?;
        std::os::unix::fs::symlink(manifests().join("..").canonicalize()?, folder.path().join("secondmate"))?;
        std::fs::write(folder.path().join("kustomization.yaml"), kustomization)?;
        self.build(folder.path())
    }

    fn build(&self, folder: &Path) -> Result<Objects> {
        objects(&self.kubectl(&["kustomize", folder.to_str().context("a path that is a text")?])?)
    }
}

/// What a program that succeeded wrote.
fn told(output: Output) -> Result<String> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    String::from_utf8(output.stdout).context("not a text")
}

/// The objects of a text with YAML documents.
///
/// # Errors
///
/// It is no YAML, or has an object twice.
pub fn objects(text: &str) -> Result<Objects> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("documents of YAML")?;
    let mut objects = Objects::new();
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        let part = |path: &str| document.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = format!("{} {}/{}", part("/kind"), part("/metadata/namespace"), part("/metadata/name"));
        ensure!(objects.insert(name.clone(), document).is_none(), "{name} is there twice");
    }
    Ok(objects)
}
