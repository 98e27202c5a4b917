//! What the reader accepts at a path, found by probing it: an unknown field makes it list those that it knows, a wrong type makes it name
//! the right one, and boundary values make it state its rules.

use secondmate_config::{
    API_VERSION, ConfigError, Configuration, KIND, OWN_API_VERSION, OWN_KIND, PluginArgs, Problem,
    ProblemKind,
};
use serde_json::{Value, json};

/// A field that does not exist and resembles none.
const NOBODYS: &str = "qqqqqqqq";
/// The URL of the probed extender.
const EXTENDER_URL: &str = "http://extender";

/// The document of the probed field.
#[derive(Clone, Copy, Debug)]
pub enum Document<'a> {
    /// In the `KubeSchedulerConfiguration`.
    Main,
    /// In the `SecondmateConfiguration`.
    Own,
    /// In the arguments of this plugin.
    Args(&'a str),
}

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Scalar(String),
    Object,
    ListOfObjects,
    List(String),
    /// The reader keeps the value as it is.
    Anything,
}

impl Type {
    pub fn text(&self) -> String {
        match self {
            Self::Scalar(text) => text.clone(),
            Self::Object => "object".to_owned(),
            Self::ListOfObjects => "list".to_owned(),
            Self::List(of) => format!("list of {of}s"),
            Self::Anything => "any".to_owned(),
        }
    }
}

impl Document<'_> {
    /// A path as it is written in the document: `profiles[].schedulerName`.
    pub fn name(self, path: &[&str]) -> String {
        path.iter().fold(String::new(), |name, part| match *part {
            "[]" => name + "[]",
            part if name.is_empty() => part.to_owned(),
            part => name + "." + part,
        })
    }

    /// The path, unique over all documents.
    pub fn key(self, path: &[&str]) -> String {
        match self {
            Self::Args(plugin) => format!("{plugin}: {}", self.name(path)),
            _ => self.name(path),
        }
    }

    /// The path as given in problems.
    fn problem_path(self, path: &[&str]) -> String {
        let name = self.name(path).replace("[]", "[0]");
        match self {
            Self::Args(_) if name.is_empty() => "profiles[0].pluginConfig[0].args".to_owned(),
            Self::Args(_) => format!("profiles[0].pluginConfig[0].args.{name}"),
            _ => name,
        }
    }

    /// A configuration with this value at this path, and whatever else the reader needs in order to read it.
    fn read(self, path: &[&str], value: &Value) -> Result<Configuration, ConfigError> {
        let mut value = path.iter().rev().fold(value.clone(), |value, part| match *part {
            "[]" => json!([value]),
            "requestedToCapacityRatio" => json!({ "type": "RequestedToCapacityRatio", (*part): value }),
            "weight" if path.first() == Some(&"extenders") => {
                json!({ "prioritizeVerb": "prioritize", (*part): value })
            }
            part => json!({ part: value }),
        });
        if let Some(extender) = value.pointer_mut("/extenders/0").and_then(Value::as_object_mut) {
            extender.entry("urlPrefix").or_insert_with(|| EXTENDER_URL.into());
        }
        let text = match self {
            Self::Main => typed(value, API_VERSION, KIND),
            Self::Own => typed(value, OWN_API_VERSION, OWN_KIND),
            Self::Args(plugin) => {
                let config = json!([{ "name": plugin, "args": value }]);
                typed(json!({ "profiles": [{ "pluginConfig": config }] }), API_VERSION, KIND)
            }
        };
        text.to_string().parse()
    }

    fn problems(self, path: &[&str], value: &Value) -> Vec<Problem> {
        self.read(path, value).err().map(|error| error.problems).unwrap_or_default()
    }

    /// What the reader says about the type of the value at the path.
    fn wrong_type(self, path: &[&str], value: &Value) -> Option<String> {
        let at = self.problem_path(path);
        let mut problems = self.problems(path, value).into_iter();
        let problem = problems.find(|one| one.kind == ProblemKind::Decoding && one.path == at)?;
        let (_, expected) = problem.message.rsplit_once("must be ")?;
        Some(expected.trim_start_matches("a ").trim_start_matches("an ").to_owned())
    }

    /// The fields of the object at the path, in the order in which they are read.
    pub fn fields(self, path: &[&str]) -> Vec<String> {
        let at = self.problem_path(&[path, &[NOBODYS]].concat());
        let problems = self.problems(path, &json!({ (NOBODYS): 0 }));
        let message = problems.into_iter().find(|one| one.path == at).map(|one| one.message);
        let message = message.unwrap_or_else(|| panic!("{at} was not noticed"));
        let Some((_, known)) =
            message.split_once("; the fields ").and_then(|(_, rest)| rest.split_once(" are "))
        else {
            assert!(message.contains("nothing can be set"), "{message}");
            return Vec::new();
        };
        let mut fields: Vec<String> = Vec::new();
        for field in known.split(", ") {
            let of_args = matches!(self, Self::Args(_)) && path.is_empty();
            let is_type = of_args && matches!(field, "apiVersion" | "kind");
            if !is_type && !fields.iter().any(|known| known == field) {
                fields.push(field.to_owned());
            }
        }
        fields
    }

    /// The type of the field at the path.
    pub fn kind(self, path: &[&str]) -> Type {
        // A field that identifies the document.
        if matches!(path, ["apiVersion" | "kind"]) {
            return Type::Scalar("string".to_owned());
        }
        match self.wrong_type(path, &json!([])).as_deref() {
            Some("object") => return Type::Object,
            Some(text) => return Type::Scalar(short(text)),
            None => {}
        }
        if self.wrong_type(path, &json!({})).is_none() {
            return Type::Anything;
        }
        match self.wrong_type(&[path, &["[]"]].concat(), &json!([])).as_deref() {
            Some("object") => Type::ListOfObjects,
            Some(text) => Type::List(short(text)),
            None => Type::List("value".to_owned()),
        }
    }

    /// The names of all fields below an object, with their types.
    pub fn shape(self, path: &[&str]) -> Vec<(String, Type)> {
        let fields = self.fields(path).into_iter();
        fields.map(|field| (field.clone(), self.kind(&[path, &[field.as_str()]].concat()))).collect()
    }

    /// The default value.
    pub fn default(self, path: &[&str]) -> Option<Value> {
        let value = match self {
            Self::Main if path.contains(&"plugins") || path.contains(&"pluginConfig") => return None,
            // With an extender, to see its fields, since there is none by default.
            Self::Main => self.read(&["extenders", "[]"], &json!({})).expect("an extender").to_value(),
            Self::Own => {
                self.read(&[], &json!({})).expect("an empty document").to_value()["secondmate"].clone()
            }
            Self::Args(plugin) => PluginArgs::default_for(plugin)?.to_value(),
        };
        let pointer: String = path
            .iter()
            .map(|part| if *part == "[]" { "/0".to_owned() } else { format!("/{part}") })
            .collect();
        // The default of the list itself shows the defaults of its entries.
        let in_list = path.contains(&"[]") && matches!(self, Self::Args(_));
        let shown = |value: &&Value| match value {
            Value::Null | Value::Object(_) => false,
            Value::String(text) => !text.is_empty() && text != EXTENDER_URL,
            Value::Array(items) => !items.is_empty() && matches!(self, Self::Args(_)),
            _ => true,
        };
        value.pointer(&pointer).filter(|_| !in_list).filter(shown).cloned()
    }

    /// What is rejected at the path: messages about boundary values.
    pub fn refused(self, path: &[&str]) -> Vec<String> {
        let probes: Vec<Value> = match self.kind(path) {
            Type::Scalar(kind) => match kind.as_str() {
                "int32" | "int64" | "number" => {
                    [-1, 0, 2, 101, i64::from(i32::MAX)].map(Value::from).to_vec()
                }
                "duration" => ["-1s", "1ms"].map(Value::from).to_vec(),
                "string" => ["", "?"].map(Value::from).to_vec(),
                _ => Vec::new(),
            },
            Type::List(kind) if kind == "string" => vec![json!(["?"])],
            Type::ListOfObjects => vec![json!([])],
            Type::Anything => vec![json!({})],
            _ => Vec::new(),
        };
        let at = self.problem_path(path);
        let mut found: Vec<String> = Vec::new();
        // The document identifies itself; the example at the top shows how.
        if matches!(path, ["apiVersion" | "kind"]) {
            return found;
        }
        for probe in probes {
            for problem in self.problems(path, &probe) {
                let entry = problem.path.strip_prefix(&at).is_some_and(|rest| matches!(rest, "" | "[0]"));
                if problem.kind != ProblemKind::Validation || !entry {
                    continue;
                }
                let message = problem.message;
                let text = match message.strip_prefix("Invalid value: ") {
                    Some(rest) => rest.split_once(": ").map_or(rest, |(_, detail)| detail).to_owned(),
                    None => match message.split_once("supported values: ") {
                        Some((_, values)) => format!("other than {values}"),
                        None => message.clone(),
                    },
                };
                // Examples and the pattern of a name are omitted, since the message has them, and the probe's resource has no name.
                let text =
                    text.split_once(" (e.g. ").map_or(text.as_str(), |(rule, _)| rule).replace("of  ", "");
                if !found.contains(&text) {
                    found.push(text);
                }
            }
        }
        found
    }

    /// What is unsupported with this value at the path.
    pub fn unsupported(self, path: &[&str], value: &Value) -> Vec<String> {
        let Ok(configuration) = self.read(path, value) else { return Vec::new() };
        let at = self.problem_path(path);
        let here = configuration.unsupported().iter().filter(|one| one.path.starts_with(&at));
        here.map(|one| format!("not supported yet: {}", one.feature)).collect()
    }

    /// What is unsupported at the path, or has an effect that differs from kube-scheduler's.
    pub fn remarks(self, path: &[&str]) -> Vec<String> {
        let value = match self.kind(path) {
            Type::Scalar(kind) if kind.starts_with("true") => json!(true),
            Type::Scalar(kind) if kind == "string" => json!("application/vnd.kubernetes.protobuf"),
            Type::Object if path.contains(&"plugins") => json!({ "enabled": [{ "name": "NodeName" }] }),
            _ => return Vec::new(),
        };
        let mut found: Vec<String> = self
            .unsupported(path, &value)
            .into_iter()
            .map(|text| {
                let mut letters = text.chars();
                let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
                first + letters.as_str()
            })
            .collect();
        let at = self.problem_path(path);
        if let Ok(configuration) = self.read(path, &value) {
            let here = configuration.notices().iter().filter(|one| one.path == at);
            found.extend(
                here.map(|one| format!("`{value}`: {}", one.text).replace("`\"", "`").replace("\"`", "`")),
            );
        }
        found
    }
}

/// A type in a word or two.
fn short(expected: &str) -> String {
    match expected {
        "integer (int64)" => "int64",
        "integer (int32)" => "int32",
        text if text.starts_with("duration") => "duration",
        text => text,
    }
    .to_owned()
}

fn typed(mut value: Value, version: &str, kind: &str) -> Value {
    let object = value.as_object_mut().expect("a document is an object");
    object.entry("apiVersion").or_insert_with(|| version.into());
    object.entry("kind").or_insert_with(|| kind.into());
    value
}
