//! The form in which a client sees stored objects: its API version, as tables, or only metadata.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::events;
use crate::object::Object;
use crate::resource::ResourceType;
use crate::table;
use crate::time::Clock;

/// How much of the object is included in each row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Object,
    Partial,
    Table(Include),
}

/// The form of the response to a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    resource: &'static ResourceType,
    shape: Shape,
    /// The clock for ages.
    clock: Clock,
}

impl View {
    /// From the `Accept` header and the `includeObject` parameter.
    pub(crate) fn negotiate(
        resource: &'static ResourceType,
        accept: &str,
        include_object: Option<&str>,
        clock: Clock,
    ) -> View {
        let include = match include_object {
            Some("None") => Include::Nothing,
            Some("Object") => Include::Object,
            _ => Include::Metadata,
        };
        let mut shape = Shape::Object;
        for offer in accept.split(',') {
            let mut parameters = offer.split(';').map(str::trim);
            if !matches!(parameters.next(), Some("application/json" | "*/*" | "application/*")) {
                continue;
            }
            let parameters: Vec<&str> = parameters.collect();
            let asks = |p: &str| parameters.contains(&p);
            if asks("v=v1") && asks("as=Table") {
                shape = Shape::Table(include);
                break;
            }
            if asks("v=v1") && (asks("as=PartialObjectMetadata") || asks("as=PartialObjectMetadataList")) {
                shape = Shape::Partial;
                break;
            }
            if !parameters.iter().any(|p| p.starts_with("as=")) {
                break;
            }
        }
        View { resource, shape, clock }
    }

    fn is_stored_form(&self) -> bool {
        self.shape == Shape::Object && !self.resource.is_new_event()
    }

    pub(crate) fn is_table(&self) -> bool {
        matches!(self.shape, Shape::Table(_))
    }

    /// One object, given as stored bytes, in this form (as a table it has one row).
    pub(crate) fn object(&self, stored: &Bytes, with_columns: bool) -> Bytes {
        if self.is_stored_form() {
            return stored.clone();
        }
        let value: Value = serde_json::from_slice(stored).expect("the store serialised these bytes itself");
        let version = value["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let shown = match self.shape {
            Shape::Table(_) => {
                let row = self.row(value);
                let mut table = json!({
                    "kind": "Table", "apiVersion": "meta.k8s.io/v1",
                    "metadata": { "resourceVersion": version },
                    "columnDefinitions": null,
                    "rows": [row],
                });
                if with_columns {
                    table["columnDefinitions"] = table::columns(self.resource);
                }
                table
            }
            _ => self.converted(value),
        };
        Bytes::from(serde_json::to_vec(&shown).expect("a JSON value always serialises"))
    }

    fn converted(&self, mut value: Value) -> Value {
        if self.resource.is_new_event() {
            events::from_core(&mut value);
        }
        if self.shape == Shape::Partial {
            return json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"],
            });
        }
        value
    }

    fn row(&self, value: Value) -> Value {
        let cells = table::cells(self.resource, &value, self.clock.now());
        let Shape::Table(include) = self.shape else { return Value::Null };
        let object = match include {
            Include::Nothing => Value::Null,
            Include::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"],
            }),
            Include::Object => {
                let mut value = value;
                if self.resource.is_new_event() {
                    events::from_core(&mut value);
                }
                value
            }
        };
        json!({ "cells": cells, "object": object })
    }

    /// The beginning of a list, up to its first item.
    pub(crate) fn list_head(&self, metadata: &Value) -> String {
        match self.shape {
            Shape::Table(_) => format!(
                "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata},\
                 \"columnDefinitions\":{},\"rows\":[",
                table::columns(self.resource)
            ),
            Shape::Partial => format!(
                "{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1\",\
                 \"metadata\":{metadata},\"items\":["
            ),
            Shape::Object => format!(
                "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
                self.resource.kind,
                self.resource.api_version()
            ),
        }
    }

    /// One item of a list.
    pub(crate) fn list_item(&self, object: &Arc<Object>, out: &mut Vec<u8>) {
        if self.is_stored_form() {
            out.extend_from_slice(&object.bytes);
            return;
        }
        let value = object.value();
        let item = if self.is_table() { self.row(value) } else { self.converted(value) };
        serde_json::to_writer(out, &item).expect("writing to memory does not fail");
    }

    /// The object of a bookmark event.
    pub(crate) fn bookmark(&self, version: u64, initial_events_end: bool) -> Value {
        let mut metadata = json!({ "resourceVersion": version.to_string(), "creationTimestamp": null });
        if initial_events_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        match self.shape {
            Shape::Table(_) => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1",
                "metadata": { "resourceVersion": version.to_string() },
                "columnDefinitions": null,
                "rows": [{ "cells": [], "object": {
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata } }],
            }),
            Shape::Partial => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            }),
            Shape::Object => json!({
                "kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata,
            }),
        }
    }
}
