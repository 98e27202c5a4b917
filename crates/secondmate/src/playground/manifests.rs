//! The user's manifests: from files to objects that know their position.

use anyhow::{Context, anyhow, bail};
use secondmate_documents::{documents, mistake};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Maximum size of a file; a million pods fit.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// An object as given in a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manifest {
    /// File, document and item.
    pub place: String,
    pub api_version: String,
    pub kind: String,
    pub object: Value,
}

impl Manifest {
    /// `web.yaml: document 2: Pod default/web`.
    pub fn title(&self) -> String {
        let metadata = &self.object["metadata"];
        let text = |field: &str| metadata[field].as_str().filter(|text| !text.is_empty());
        let name = match (text("name"), text("generateName")) {
            (Some(name), _) => name.to_owned(),
            (None, Some(prefix)) => format!("{prefix}*"),
            (None, None) => "without a name".to_owned(),
        };
        let namespace = text("namespace").map(|namespace| format!("{namespace}/")).unwrap_or_default();
        format!("{}: {} {namespace}{name}", self.place, self.kind)
    }

    /// The number of pods that it leads to. Those of a DaemonSet depend on the nodes.
    pub fn pods(&self) -> u64 {
        match (self.api_version.as_str(), self.kind.as_str()) {
            ("v1", "Pod") => 1,
            ("apps/v1", "Deployment" | "ReplicaSet" | "StatefulSet") => self.object["spec"]["replicas"]
                .as_i64()
                .map_or(1, |replicas| replicas.try_into().unwrap_or(0)),
            ("batch/v1", "Job") => {
                let number = |field: &str| self.object["spec"][field].as_u64();
                let parallelism = number("parallelism").unwrap_or(1);
                number("completions").map_or(parallelism, |completions| completions.min(parallelism))
            }
            _ => 0,
        }
    }
}

/// Reads all objects of the files, in order. `-` is standard input; a directory stands for its `.yaml`, `.yml` and `.json` files.
///
/// # Errors
/// A file cannot be read, is neither YAML nor JSON, or contains something that is not a Kubernetes object.
pub(super) fn read(files: &[PathBuf], mut stdin: impl Read) -> anyhow::Result<Vec<Manifest>> {
    let dashes = files.iter().filter(|file| file.as_os_str() == "-").count();
    if dashes > 1 {
        bail!("-f - is given {dashes} times, and standard input can be read once: keep one");
    }
    let mut manifests = Vec::new();
    for file in files {
        if file.as_os_str() == "-" {
            let text = read_text(&mut stdin).context("cannot read manifests from standard input")?;
            manifests.extend(parse("standard input", &text)?);
        } else {
            for path in expand(file)? {
                let name = path.display().to_string();
                let open = std::fs::File::open(&path).map_err(anyhow::Error::from);
                let text = open.and_then(read_text).map_err(|why| {
                    anyhow!(
                        "cannot read manifests from {name}: {why:#}; give a readable YAML or JSON file by -f"
                    )
                })?;
                manifests.extend(parse(&name, &text)?);
            }
        }
    }
    Ok(manifests)
}

fn read_text(reader: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    reader.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    if text.len() as u64 >= FILE_BYTES_MAX {
        bail!("it is larger than {FILE_BYTES_MAX} bytes");
    }
    Ok(text)
}

/// The files that a path stands for.
fn expand(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let shown = path.display();
    let entries = std::fs::read_dir(path)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("cannot read the directory {shown}"))?;
    let is_manifest = |path: &PathBuf| {
        path.extension().and_then(|e| e.to_str()).is_some_and(|e| ["yaml", "yml", "json"].contains(&e))
    };
    let mut files: Vec<PathBuf> = entries.into_iter().filter(is_manifest).collect();
    if files.is_empty() {
        bail!("there is no .yaml, .yml or .json file in the directory {shown}: name the files by -f");
    }
    files.sort();
    Ok(files)
}

/// Splits a text into consecutive JSON values or YAML documents; lists are replaced by their items.
fn parse(source: &str, text: &str) -> anyhow::Result<Vec<Manifest>> {
    let mut found = Vec::new();
    for (at, document) in documents(text).iter().enumerate() {
        let place = format!("{source}: document {}", at + 1);
        let value = document.value().map_err(|error| match mistake(text) {
            Some(mistake) => anyhow!("{source}: {mistake}"),
            None => anyhow!(
                "{place} is {error}{}; write Kubernetes objects as `kubectl get -o yaml` or `-o json` does",
                error.line.map(|line| format!(" (line {line})")).unwrap_or_default()
            ),
        })?;
        flatten(value, &place, &mut found)?;
    }
    Ok(found)
}

fn flatten(value: Value, place: &str, found: &mut Vec<Manifest>) -> anyhow::Result<()> {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let items = match value {
        Value::Array(items) => items,
        Value::Object(mut object)
            if kind.ends_with("List") && object.get("items").is_some_and(Value::is_array) =>
        {
            let Some(Value::Array(items)) = object.remove("items") else { return Ok(()) };
            items
        }
        value => {
            let missing = match (api_version.as_str(), kind.as_str()) {
                (_, "") => "kind",
                ("", _) => "apiVersion",
                _ => {
                    found.push(Manifest { place: place.to_owned(), api_version, kind, object: value });
                    return Ok(());
                }
            };
            bail!("{place} is no Kubernetes object: {missing} is missing; begin it with apiVersion and kind");
        }
    };
    // The items of a PodList do not repeat their kind.
    let item_kind = kind.strip_suffix("List").unwrap_or_default();
    for (at, mut item) in items.into_iter().enumerate() {
        if let Value::Object(fields) = &mut item {
            for (field, from_list) in [("kind", item_kind), ("apiVersion", api_version.as_str())] {
                if !from_list.is_empty() && !item_kind.is_empty() && !fields.contains_key(field) {
                    fields.insert(field.to_owned(), Value::from(from_list));
                }
            }
        }
        flatten(item, &format!("{place}, item {}", at + 1), found)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> Vec<String> {
        parse("f", text).expect("manifests").iter().map(Manifest::title).collect()
    }

    fn refusal(text: &str) -> String {
        parse("f.yaml", text).expect_err("refused").to_string()
    }

    #[test]
    fn documents_and_lists_give_their_objects_in_order() {
        let yaml = "# first\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n---\n---\napiVersion: v1\nkind: List\nitems:\n\
                    - {apiVersion: v1, kind: Pod, metadata: {name: p}}\n\
                    - {apiVersion: v1, kind: Pod, metadata: {generateName: q-, namespace: x}}\n";
        assert_eq!(
            titles(yaml),
            ["f: document 1: Node n1", "f: document 2, item 1: Pod p", "f: document 2, item 2: Pod x/q-*"]
        );
        let json = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}
            {"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"p"}}]}"#;
        assert_eq!(titles(json), ["f: document 1: Node n1", "f: document 2, item 1: Pod p"]);
        assert_eq!(titles(""), Vec::<String>::new());
        assert_eq!(titles("# nothing\n"), Vec::<String>::new());
    }

    #[test]
    fn pods_are_foreseen() {
        let pods = |text: &str| parse("f", text).expect("manifests").iter().map(Manifest::pods).sum::<u64>();
        assert_eq!(
            pods(
                "{apiVersion: v1, kind: Pod}\n---\n{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 4}}\n"
            ),
            5
        );
        assert_eq!(pods("{\"apiVersion\": \"apps/v1\", \"kind\": \"ReplicaSet\"}"), 1);
        assert_eq!(pods("{\"apiVersion\": \"v1\", \"kind\": \"Node\"}"), 0);
    }

    #[test]
    fn errors_name_file_document_and_remedy() {
        assert_eq!(
            refusal("hello: world\n"),
            "f.yaml: document 1 is no Kubernetes object: kind is missing; begin it with apiVersion and kind"
        );
        assert_eq!(
            refusal("just words\n"),
            "f.yaml: document 1 is no Kubernetes object: kind is missing; begin it with apiVersion and kind"
        );
        let message = refusal("apiVersion: v1\nkind: Pod\n---\nspec: [\n");
        assert!(message.starts_with("f.yaml: document 2 is not valid YAML: "), "{message}");
        assert!(
            message.ends_with("; write Kubernetes objects as `kubectl get -o yaml` or `-o json` does"),
            "{message}"
        );
        let message = refusal("{\"a\": ");
        assert!(message.starts_with("f.yaml: document 1 is not valid JSON: "), "{message}");
        let twice = read(&["-".into(), "-".into()], std::io::empty()).expect_err("refused").to_string();
        assert_eq!(twice, "-f - is given 2 times, and standard input can be read once: keep one");
    }
}
