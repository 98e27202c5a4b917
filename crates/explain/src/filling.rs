//! Fills in what an API server would have filled in, in manifests that were never stored in one.
//!
//! An object that was stored has a UID, and nothing is missing in it. One without a UID is as its author wrote it: a limit
//! implies a request, a class implies a priority. Filling in uses the same code as the in-memory API server.

use crate::objects::{Header, Item, Keep, Kind, ObjectError, Place, compile};
use crate::read::ReadError;
use secondmate_admission::{Gathered, admit_pod, default_object};
use secondmate_model::Pod;
use secondmate_model::objects::{ObjectKind, Source};
use serde_json::Value;
use std::sync::Arc;

/// What was filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilledIn {
    /// Pods for which it made a difference to scheduling.
    pub pods: Vec<String>,
    /// Pods that an API server would have rejected, with its message. They are used as written.
    pub refused: Vec<String>,
}

/// Collects what has to wait for the end of the file, since the relevant classes and ranges may come after the pods.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    /// Objects that admission reads.
    classes: Vec<Value>,
    pods: Vec<(Header, Value, Place)>,
    namespaces: Vec<(Header, Value, Place)>,
}

impl Filling {
    /// Takes an object that is needed to fill in others, or that has to be filled in itself; returns whether it took it.
    pub(crate) fn takes(
        &mut self,
        header: &Header,
        given: Source<'_>,
        place: &Place,
    ) -> Result<bool, serde_json::Error> {
        let is_class = matches!(
            (header.api_version.as_str(), header.kind.as_str()),
            ("scheduling.k8s.io/v1", "PriorityClass")
                | ("node.k8s.io/v1", "RuntimeClass")
                | ("v1", "LimitRange")
        );
        if is_class {
            self.classes.push(given.decode()?);
            return Ok(true);
        }
        if !header.metadata.uid.is_empty() || header.metadata.name.is_empty() {
            return Ok(false);
        }
        let list = match Kind::of(&header.api_version, &header.kind) {
            Some(Kind::Pod) => &mut self.pods,
            Some(Kind::Other(ObjectKind::Namespace)) => &mut self.namespaces,
            _ => return Ok(false),
        };
        list.push((header.clone(), given.decode()?, place.clone()));
        Ok(true)
    }

    /// Fills in and compiles the objects that were taken.
    pub(crate) fn finish(
        self,
        keep: &Keep,
        filled_in: &mut FilledIn,
    ) -> (Vec<(Item, Place)>, Vec<ReadError>) {
        let cluster = Gathered::of(&self.classes);
        let (mut items, mut errors) = (Vec::new(), Vec::new());
        for (header, mut value, place) in self.namespaces {
            default_object("Namespace", &mut value);
            match compile(Kind::Other(ObjectKind::Namespace), &header, Source::Tree(&value), keep) {
                Ok(item) => items.push((item, place)),
                Err(error) => errors.push(error.at(&header, &place)),
            }
        }
        for (header, value, place) in self.pods {
            match pod(&header, value, &cluster, keep, filled_in) {
                Ok(item) => items.push((item, place)),
                Err(error) => errors.push(error.at(&header, &place)),
            }
        }
        (items, errors)
    }
}

fn pod(
    header: &Header,
    written: Value,
    cluster: &Gathered<'_>,
    keep: &Keep,
    filled_in: &mut FilledIn,
) -> Result<Item, ObjectError> {
    let as_written = compile(Kind::Pod, header, Source::Tree(&written), keep)?;
    let mut admitted = written;
    // A numeric priority, which an API server accepts only from a class, is taken as part of the user's question.
    let by_number = admitted["spec"]["priorityClassName"].as_str().unwrap_or_default().is_empty();
    let number = if by_number { take(&mut admitted, &["priority", "preemptionPolicy"]) } else { Vec::new() };
    let refused = admit_pod(&mut admitted, cluster).err();
    for (field, value) in number {
        admitted["spec"][field] = value;
    }
    if let Some(refusal) = refused {
        filled_in.refused.push(refusal.to_string());
        return Ok(as_written);
    }
    let admitted = compile(Kind::Pod, header, Source::Tree(&admitted), keep)?;
    if let (Item::Pod(before), Item::Pod(after)) = (&as_written, &admitted)
        && *before != same_but_tolerations(after, before)
    {
        filled_in.pods.push(after.full_name());
    }
    Ok(admitted)
}

/// The tolerations that every pod gets by default concern eviction, not placement.
fn same_but_tolerations(pod: &Arc<Pod>, other: &Arc<Pod>) -> Arc<Pod> {
    let mut same = Pod::clone(pod);
    same.tolerations = other.tolerations.clone();
    same.json = other.json.clone();
    Arc::new(same)
}

/// Removes fields from a pod's spec; returns those that were present.
fn take<'f>(pod: &mut Value, fields: &[&'f str]) -> Vec<(&'f str, Value)> {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return Vec::new() };
    fields
        .iter()
        .filter_map(|field| Some((*field, spec.remove(*field)?)))
        .filter(|(_, v)| !v.is_null())
        .collect()
}
