//! OpenAPI v3, as far as kubectl needs it: which kinds support `fieldValidation`, and the fields of each kind for `kubectl explain`.
//!
//! The fields and their types are those of the table with which request bodies are decoded ([`wire`]). Fields that matter for scheduling
//! have a description (`openapi/descriptions.txt`); for all others, there is a link to the Kubernetes reference.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::resource::{self, RESOURCES, ResourceType};
use crate::wire::{self, Field, Kind, Shape};

/// One per line: `message` or `message.field`, a colon, and its meaning.
const DESCRIPTIONS: &str = include_str!("openapi/descriptions.txt");

/// What `kubectl explain` shows for a kind without a description.
const OF_A_KIND: &str =
    "Fields and their types. What they mean: https://kubernetes.io/docs/reference/kubernetes-api/";

fn description(of: &str) -> Option<&'static str> {
    static PARSED: OnceLock<HashMap<&'static str, &'static str>> = OnceLock::new();
    let all = PARSED.get_or_init(|| DESCRIPTIONS.lines().filter_map(|line| line.split_once(": ")).collect());
    all.get(of).copied()
}

/// `/openapi/v3`: the index of the documents.
pub(crate) fn index() -> Value {
    let paths: Map<String, Value> = resource::group_versions()
        .into_iter()
        .map(|(group, version)| {
            let path = api_path(group, version);
            let url = format!("/openapi/v3/{path}?hash=sandbox");
            (path, json!({ "serverRelativeURL": url }))
        })
        .collect();
    json!({ "paths": paths })
}

/// The document of a group version.
///
/// Each kind has a PATCH with `fieldValidation`: kubectl reads this, and leaves validation to the server. None declares support for
/// strategic merge patches, so kubectl computes them from the types that it was built with, and not from these schemas, which do not
/// say how lists are merged.
pub(crate) fn document(group: &str, version: &str) -> Result<Value, ApiError> {
    let (mut paths, mut schemas) = (Map::new(), BTreeMap::new());
    for resource in RESOURCES.iter().filter(|r| r.group == group && r.version == version) {
        let kind = json!({ "group": group, "version": version, "kind": resource.kind });
        paths.insert(path(resource), patch(&kind));
        add_kind(resource, &kind, &mut schemas);
    }
    if paths.is_empty() {
        return Err(ApiError::no_such_path());
    }
    Ok(json!({
        "openapi": "3.0.0",
        "info": { "title": "secondmate sandbox", "version": crate::VERSION },
        "paths": paths,
        "components": { "schemas": schemas },
    }))
}

fn api_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn path(resource: &ResourceType) -> String {
    let scope = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
    format!("/{}/{scope}{}/{{name}}", api_path(resource.group, resource.version), resource.plural)
}

fn patch(kind: &Value) -> Value {
    let parameters = ["dryRun", "fieldValidation"]
        .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string" } }));
    json!({ "patch": {
        "parameters": parameters,
        "responses": { "200": { "description": "OK" } },
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": kind,
    } })
}

/// Adds the schema of a kind, and those of all messages that it contains.
fn add_kind(resource: &ResourceType, kind: &Value, schemas: &mut BTreeMap<String, Value>) {
    let message = wire::message_of(&resource.api_version(), resource.kind);
    let mut schema = match message {
        Some(message) => schema(message, schemas),
        None => json!({ "type": "object" }),
    };
    let said = message.and_then(description);
    schema["description"] =
        said.map_or_else(|| OF_A_KIND.to_owned(), |said| format!("{said} {OF_A_KIND}")).into();
    schema["x-kubernetes-group-version-kind"] = json!([kind]);
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (field, what) in
            [("apiVersion", "The group and version of the kind."), ("kind", "The kind of the object.")]
        {
            properties.insert(field.to_owned(), json!({ "type": "string", "description": what }));
        }
    }
    let name = message.map_or_else(|| resource.kind.to_owned(), schema_name);
    schemas.insert(name, schema);
}

/// The schema of a message; adds those that it refers to.
fn schema(message: &'static str, schemas: &mut BTreeMap<String, Value>) -> Value {
    let mut schema = match message {
        // Without a type, kubectl shows their names.
        "quantity.Quantity" => json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
        "intstr.IntOrString" => json!({ "oneOf": [{ "type": "integer" }, { "type": "string" }] }),
        "meta.Time" | "meta.MicroTime" => json!({ "type": "string", "format": "date-time" }),
        "meta.Duration" => json!({ "type": "string" }),
        "runtime.RawExtension" => json!({ "type": "object" }),
        _ => {
            let fields = wire::fields_of(message);
            let properties: Map<String, Value> = fields
                .iter()
                .map(|field| (field.name.to_owned(), property(message, field, schemas)))
                .collect();
            json!({ "type": "object", "properties": properties })
        }
    };
    if let Some(said) = description(message) {
        schema["description"] = said.into();
    }
    schema
}

fn property(message: &str, field: &Field, schemas: &mut BTreeMap<String, Value>) -> Value {
    let one = match field.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer => json!({ "type": "integer" }),
        Kind::Bytes => json!({ "type": "string", "format": "byte" }),
        Kind::Message(inner) => {
            let name = schema_name(inner);
            if !schemas.contains_key(&name) {
                // Added before its contents, since a message may contain itself.
                schemas.insert(name.clone(), Value::Null);
                let content = schema(inner, schemas);
                schemas.insert(name.clone(), content);
            }
            json!({ "$ref": format!("#/components/schemas/{name}") })
        }
    };
    let mut property = match field.shape {
        Shape::List => json!({ "type": "array", "items": one }),
        Shape::Map => json!({ "type": "object", "additionalProperties": one }),
        Shape::One | Shape::Inline => one,
    };
    if let Some(said) = description(&format!("{message}.{}", field.name)) {
        // Nothing may accompany a reference.
        if property.get("$ref").is_some() {
            property = json!({ "allOf": [property] });
        }
        property["description"] = said.into();
    }
    property
}

/// The name of a message's schema, as in API servers; kubectl shows its last part as the type.
fn schema_name(message: &str) -> String {
    let (package, name) = message.split_once('.').unwrap_or(("core", message));
    match package {
        "meta" => format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}"),
        "quantity" => format!("io.k8s.apimachinery.pkg.api.resource.{name}"),
        "intstr" => format!("io.k8s.apimachinery.pkg.util.intstr.{name}"),
        "runtime" => format!("io.k8s.apimachinery.pkg.runtime.{name}"),
        "metrics" => format!("io.k8s.metrics.pkg.apis.metrics.v1beta1.{name}"),
        package => format!("io.k8s.api.{package}.v1.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas(group: &str, version: &str) -> Value {
        document(group, version).unwrap()["components"]["schemas"].take()
    }

    /// All references in a value.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|inner| references(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
            _ => {}
        }
    }

    #[test]
    fn every_kind_has_its_fields_and_every_reference_leads_to_a_schema() {
        for (group, version) in resource::group_versions() {
            let schemas = schemas(group, version);
            let mut found = Vec::new();
            references(&schemas, &mut found);
            for reference in found {
                let name = reference.strip_prefix("#/components/schemas/").unwrap();
                assert!(schemas[name].is_object(), "{group}/{version}: {reference}");
            }
            for resource in RESOURCES.iter().filter(|r| r.group == group && r.version == version) {
                let kind = json!([{ "group": group, "version": version, "kind": resource.kind }]);
                let schema = schemas
                    .as_object()
                    .unwrap()
                    .values()
                    .find(|schema| schema["x-kubernetes-group-version-kind"] == kind)
                    .unwrap_or_else(|| panic!("{kind}"));
                assert!(schema["properties"]["metadata"].is_object(), "{kind}: {schema}");
            }
        }
    }

    #[test]
    fn types_are_written_as_an_api_server_writes_them() {
        let schemas = schemas("", "v1");
        let of = |message: &str| &schemas[&schema_name(message)]["properties"];
        assert_eq!(
            of("core.PodSpec")["containers"],
            json!({ "type": "array", "items": { "$ref": "#/components/schemas/io.k8s.api.core.v1.Container" } })
        );
        let requests = &of("core.ResourceRequirements")["requests"];
        let quantity = "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity";
        assert_eq!(requests["additionalProperties"], json!({ "$ref": quantity }));
        // Inlined fields of the wire format are fields like any other.
        assert!(of("core.Volume")["emptyDir"].is_object() && of("core.Volume")["name"].is_object());
        // The description of a type and that of a field are different things.
        let affinity = &of("core.PodSpec")["affinity"];
        assert!(
            affinity["allOf"][0]["$ref"].is_string() && affinity["description"].is_string(),
            "{affinity}"
        );
    }

    #[test]
    fn what_is_described_is_there() {
        for line in DESCRIPTIONS.lines() {
            let (of, said) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
            let parts: Vec<&str> = of.split('.').collect();
            let fields = wire::fields_of(&parts[..2].join("."));
            assert!(!fields.is_empty(), "there is no {of}");
            assert!(
                parts.len() == 2 || fields.iter().any(|field| field.name == parts[2]),
                "there is no {of}"
            );
            assert!(said.ends_with('.'), "{line}");
        }
        assert!(DESCRIPTIONS.lines().count() > 50);
    }
}
