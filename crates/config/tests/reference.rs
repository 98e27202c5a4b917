//! `docs/configuration.md` documents what the reader accepts: fields, types, defaults and refusals come from the reader itself, so the
//! document cannot differ from it. After a change: `UPDATE_EXPECT=1 cargo test -p secondmate-config --test reference`. The meaning of each
//! field is written in `meanings/mod.rs`.

mod meanings;
mod probe;

use expect_test::expect_file;
use meanings::meaning;
use probe::{Document, Type};
use secondmate_config::{Configuration, ExtensionPoint, PluginArgs, PluginCatalogue};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;

const HEAD: &str = "\
# Configuration

`--config FILE` takes a `KubeSchedulerConfiguration` (`kubescheduler.config.k8s.io/v1`), the file that kube-scheduler reads, as YAML or
JSON. A second document in the file, of kind `SecondmateConfiguration`, holds the settings that only secondmate has. Nothing is ignored:
an unknown field or a wrong type or value ends the program with a message that gives the line and the remedy, and anything that is not
supported is refused by name.

```yaml
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
  - schedulerName: my-scheduler
---
apiVersion: secondmate.dev/v1alpha1
kind: SecondmateConfiguration
parity: sensible
```

Durations are written as in Go (`15s`, `1m30s`). `[]` in a field name stands for each entry of a list. A default that is not shown is empty.
The column *refused* lists the values that are refused, in the words of the error message.

Generated from the code, and compared with it by a test.
";

/// Shapes that are shown once for several fields: every extension point has the fields of `multiPoint`.
const POINT: &str = "profiles[].plugins.multiPoint";
/// Parts of core/v1 objects, which the API reference of Kubernetes describes.
const OF_KUBERNETES: [&str; 2] = ["addedAffinity", "selector"];

fn table(text: &mut String, document: Document<'_>, used: &mut BTreeSet<String>) {
    text.push_str("\n| field | type | default | refused | meaning |\n|---|---|---|---|---|\n");
    rows(text, document, &mut Vec::new(), used);
}

fn rows(
    text: &mut String,
    document: Document<'_>,
    path: &mut Vec<&'static str>,
    used: &mut BTreeSet<String>,
) {
    for field in document.fields(path) {
        // Names live as long as the test, since a path is a list of borrowed names.
        path.push(String::leak(field.clone()));
        let name = document.name(path);
        let kind = document.kind(path);
        if name.starts_with("profiles[].plugins.") && !name.starts_with(POINT) {
            let here = document.shape(path);
            let there = document.shape(&["profiles", "[]", "plugins", "multiPoint"]);
            assert_eq!(here, there, "{name} has other fields than {POINT}");
        }
        let key = document.key(path);
        let said = meaning(&key).unwrap_or_else(|| panic!("meanings/mod.rs does not say what {key} means"));
        used.insert(key);
        let default = document.default(path).map_or_else(String::new, |value| format!("`{value}`"));
        let refused = document.refused(path).join("; ");
        let remarks: String = document.remarks(path).iter().map(|text| format!(". {text}")).collect();
        writeln!(
            text,
            "| `{name}` | {} | {default} | {} | {said}{remarks} |",
            kind.text(),
            escaped(&refused)
        )
        .expect("writing to a String does not fail");
        let elsewhere = name.starts_with("profiles[].plugins.") && !name.starts_with(POINT);
        if !elsewhere && !OF_KUBERNETES.contains(&field.as_str()) {
            match kind {
                Type::Object => rows(text, document, path, used),
                Type::ListOfObjects => {
                    path.push("[]");
                    rows(text, document, path, used);
                    path.pop();
                }
                _ => {}
            }
        }
        path.pop();
    }
}

/// A text with the characters escaped that would end a cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn plugins(text: &mut String, used: &mut BTreeSet<String>) {
    let default = Configuration::for_scheduler_names(&["my-scheduler"]).expect("a valid name");
    let enabled = &default.profiles[0].plugins;
    let catalogue = PluginCatalogue::in_tree();
    text.push_str("\n## Plugins\n\nThe in-tree plugins, the extension points of each, and the weight of its scores in the default profile.\n");
    text.push_str("\n| plugin | extension points | default | weight | arguments |\n|---|---|---|---|---|\n");
    let mut with_arguments = Vec::new();
    for name in catalogue.names() {
        let points = catalogue.points(name).expect("it is in the catalogue");
        let shown: Vec<String> = points.iter().map(|point| format!("`{}`", point.field())).collect();
        let main = Document::Main;
        let set = json!([{ "name": name }]);
        let refused = main.unsupported(&["profiles", "[]", "plugins", "multiPoint", "enabled"], &set);
        let runs =
            ExtensionPoint::ALL.iter().any(|point| enabled.at(*point).iter().any(|one| one.name == name));
        let state = match (refused.first(), runs) {
            (Some(refused), _) => refused.clone(),
            (None, true) => "enabled".to_owned(),
            (None, false) => "not enabled".to_owned(),
        };
        let weight = enabled.score.iter().find(|plugin| plugin.name == name);
        let weight = weight.map_or_else(String::new, |plugin| plugin.weight.to_string());
        let arguments = match PluginArgs::default_for(name) {
            Some(_) => {
                with_arguments.push(name.to_owned());
                format!("[below](#{})", name.to_lowercase())
            }
            None => "none".to_owned(),
        };
        writeln!(text, "| `{name}` | {} | {state} | {weight} | {arguments} |", shown.join(", "))
            .expect("writing to a String does not fail");
    }
    text.push_str(
        "\n## Arguments of plugins\n\n`profiles[].pluginConfig[].args`, with the plugin's name in `name`. `apiVersion` and `kind` (`…Args`) \
         are optional, but must be right if given. The arguments of `LoadAware` and of WebAssembly guests are in [extending](extending.md).\n",
    );
    for name in with_arguments {
        write!(text, "\n### {name}\n").expect("writing to a String does not fail");
        table(text, Document::Args(&name), used);
    }
}

#[test]
fn the_reference_is_what_the_reader_accepts() {
    let mut used = BTreeSet::new();
    let mut text = HEAD.to_owned();
    text.push_str("\n## KubeSchedulerConfiguration\n");
    table(&mut text, Document::Main, &mut used);
    text.push_str("\n## SecondmateConfiguration\n");
    table(&mut text, Document::Own, &mut used);
    plugins(&mut text, &mut used);
    let unused: Vec<&str> = meanings::keys().filter(|key| !used.contains(*key)).collect();
    assert!(unused.is_empty(), "meanings/mod.rs explains what the reader does not know: {unused:?}");
    expect_file!["../../../docs/configuration.md"].assert_eq(&text);
}

#[test]
fn the_probe_sees_what_the_reader_does() {
    let main = Document::Main;
    assert!(main.fields(&[]).iter().any(|field| field == "leaderElection"));
    assert_eq!(main.kind(&["parallelism"]).text(), "int32");
    assert_eq!(main.kind(&["profiles"]).text(), "list");
    assert_eq!(main.default(&["leaderElection", "leaseDuration"]), Some(Value::from("15s")));
    assert_eq!(main.refused(&["parallelism"]), ["should be an integer value greater than zero"]);
    let args = Document::Args("NodeResourcesFit");
    assert_eq!(args.default(&["scoringStrategy", "type"]), Some(Value::from("LeastAllocated")));
    assert_eq!(args.kind(&["ignoredResources"]).text(), "list of strings");
}
