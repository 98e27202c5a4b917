//! From text to objects.

mod error;

pub use error::{ReadError, ReadErrors};

use crate::evaluate::just_after;
use crate::filling::{FilledIn, Filling};
use crate::objects::{Header, Item, Keep, Kind, Place, compile};
use error::{UNNAMED, decode_error};
use secondmate_documents::{Document, Format, SyntaxError, documents, mistake};
use secondmate_model::Timestamp;
use secondmate_model::objects::{ObjectKind, Source};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// Objects that scheduling does not read: their number by `apiVersion` and kind.
pub type Ignored = BTreeMap<String, usize>;

/// What a file holds.
#[derive(Debug, Default)]
pub struct Reading {
    /// The objects that scheduling reads, in order.
    pub items: Vec<Item>,
    /// Objects that it does not read.
    pub ignored: Ignored,
    /// What was filled in, as by an API server, in objects that were never stored in one.
    pub filled_in: FilledIn,
    /// The latest time at which an object was created or a pod started.
    pub latest: Option<Timestamp>,
}

impl Reading {
    /// The time at which pods are evaluated: a second after the latest that the objects tell of, and the Unix epoch where they tell of none.
    /// The same file has the same time every day.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.latest.map(just_after).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

/// The locations of the items of a YAML list.
#[derive(Deserialize)]
struct ItemLines {
    items: Vec<serde_saphyr::Spanned<IgnoredAny>>,
}

/// Reads all objects in a text, in order: JSON (one value after the other) or YAML (several documents); lists are split up.
///
/// `source_name` is used in errors. Objects without a namespace are in `default`. An object without a UID was never stored in an
/// API server: it is filled in as one would do it, and gets a UID.
///
/// # Errors
/// Everything that cannot be understood. Kinds that scheduling does not read are counted and are not errors.
pub fn read(text: &str, source_name: &str, keep: Keep) -> Result<Reading, ReadErrors> {
    let mut reader = Reader { filling: Some(Filling::default()), keep, ..Reader::default() };
    for (at, document) in documents(text).iter().enumerate() {
        reader.document(document, at + 1);
    }
    let not_understood = |error: &ReadError| match error {
        ReadError::Syntax { .. } | ReadError::NoObject { .. } => true,
        ReadError::Decode { title, .. } => title == UNNAMED,
        _ => false,
    };
    if reader.errors.iter().any(not_understood)
        && let Some(mistake) = mistake(text)
    {
        // All other findings are consequences of it.
        reader.errors = vec![ReadError::Mistake(mistake)];
    }
    reader.finish(source_name)
}

/// Reads objects that have already been parsed into trees, as they are: nothing is filled in.
///
/// # Errors
/// Like [`read`].
pub fn read_values(
    objects: &[Value],
    source_name: &str,
    keep: Keep,
) -> Result<(Vec<Item>, Ignored), ReadErrors> {
    let mut reader = Reader { keep, ..Reader::default() };
    for (at, object) in objects.iter().enumerate() {
        reader.tree(object, &Place { document: at + 1, ..Place::default() });
    }
    let Reading { items, ignored, .. } = reader.finish(source_name)?;
    Ok((items, ignored))
}

/// The contents of a live cluster.
#[derive(Debug, Default)]
pub struct Live {
    /// The objects that scheduling reads, in order.
    pub items: Vec<Item>,
    /// Objects that it does not read.
    pub ignored: Ignored,
    /// Objects that cannot be understood, each with its name and the reason.
    pub left_out: Vec<String>,
}

/// Like [`read_values`], but leaves out objects that cannot be understood, as the scheduler's watches do.
///
/// # Errors
/// If an object occurs twice.
pub fn read_live(objects: &[Value], source_name: &str, keep: Keep) -> Result<Live, ReadErrors> {
    let mut reader = Reader { keep, ..Reader::default() };
    let mut left_out = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        reader.tree(object, &Place { document: at + 1, ..Place::default() });
        left_out.extend(reader.errors.drain(..).map(|error| error.of(object)));
    }
    // An object that is read as several types fails in the same way for each.
    left_out.dedup();
    let Reading { items, ignored, .. } = reader.finish(source_name)?;
    Ok(Live { items, ignored, left_out })
}

#[derive(Default)]
struct Reader {
    items: Vec<(Item, Place)>,
    ignored: Ignored,
    errors: Vec<ReadError>,
    /// Absent if objects are used as they are.
    filling: Option<Filling>,
    keep: Keep,
    /// The latest time at which an object was created.
    created: Option<Timestamp>,
}

impl Reader {
    fn document(&mut self, document: &Document<'_>, number: usize) {
        let place = Place { document: number, line: Some(document.first_line()), ..Place::default() };
        let parsed = match document.format {
            Format::Json => self.json(document, &place),
            Format::Yaml => self.yaml(document, &place),
        };
        if let Err(error) = parsed {
            let line = error.line.or(place.line);
            self.errors.push(ReadError::Syntax { place: Place { line, ..place }, error });
        }
    }

    fn json(&mut self, document: &Document<'_>, place: &Place) -> Result<(), SyntaxError> {
        let header: Result<Header, _> = Source::Text(document.text).decode();
        let items: Option<Vec<&RawValue>> = match &header {
            _ if document.text.starts_with('[') => Some(document.decode_json()?),
            Ok(header) if item_kind(header).is_some() => document.decode_json::<List<'_>>()?.items,
            _ => None,
        };
        let Some(items) = items else {
            // Tells where the text stops being JSON; other problems are reported with the object's name.
            document.decode_json::<&RawValue>()?;
            self.single(header, Source::Text(document.text), place);
            return Ok(());
        };
        let of_list = header.unwrap_or_default();
        for (at, item) in items.iter().enumerate() {
            let line = Some(document.line_of(item.get()));
            self.item(
                Source::Text(item.get()),
                &of_list,
                &Place { item: Some(at + 1), line, ..place.clone() },
            );
        }
        Ok(())
    }

    fn yaml(&mut self, document: &Document<'_>, place: &Place) -> Result<(), SyntaxError> {
        let value = document.value()?;
        if value.is_null() {
            return Ok(());
        }
        let before = self.errors.len();
        self.tree(&value, place);
        // Only a parser that tracks lines can locate the items of a list, and it is worth its cost only if one of them is wrong.
        if self.errors.len() > before
            && let Ok(lines) = document.decode_yaml::<ItemLines>()
        {
            for error in &mut self.errors[before..] {
                error.set_line_of_item(document.line, &lines);
            }
        }
        Ok(())
    }

    fn tree(&mut self, value: &Value, place: &Place) {
        let header: Result<Header, _> = Source::Tree(value).decode();
        let items = match (value, &header) {
            (Value::Array(items), _) => Some(items),
            (_, Ok(header)) if item_kind(header).is_some() => value.get("items").and_then(Value::as_array),
            _ => None,
        };
        let Some(items) = items else { return self.single(header, Source::Tree(value), place) };
        let of_list = header.unwrap_or_default();
        for (at, item) in items.iter().enumerate() {
            self.item(Source::Tree(item), &of_list, &Place { item: Some(at + 1), ..place.clone() });
        }
    }

    /// The items of a `PodList` need not repeat their kind.
    fn item(&mut self, given: Source<'_>, list: &Header, place: &Place) {
        let mut header: Result<Header, _> = given.decode();
        if let Ok(header) = &mut header {
            if header.kind.is_empty() {
                header.kind = item_kind(list).unwrap_or_default().to_owned();
            }
            if header.api_version.is_empty() {
                header.api_version.clone_from(&list.api_version);
            }
        }
        self.single(header, given, place);
    }

    fn single(&mut self, header: Result<Header, serde_json::Error>, given: Source<'_>, place: &Place) {
        let read =
            header.map_err(|cause| decode_error(UNNAMED.to_owned(), place, &cause)).and_then(|header| {
                self.created = self.created.max(header.created());
                self.object(&header, given, place)
            });
        self.errors.extend(read.err());
    }

    fn object(&mut self, header: &Header, given: Source<'_>, place: &Place) -> Result<(), ReadError> {
        let here = place.clone();
        for (text, missing) in [(&header.kind, "kind"), (&header.api_version, "apiVersion")] {
            if text.is_empty() {
                return Err(ReadError::NoObject { place: here, missing });
            }
        }
        let mut is_own = false;
        for own in self.keep.own_kinds(&header.api_version, &header.kind) {
            // Other plugins may read the same kind as a different type.
            match compile(Kind::Other(ObjectKind::Own(own)), header, given, &self.keep) {
                Ok(item) => self.items.push((item, here.clone())),
                Err(error) => self.errors.push(error.at(header, place)),
            }
            is_own = true;
        }
        let title = || header.title();
        if let Some(filling) = &mut self.filling
            && filling.takes(header, given, place).map_err(|cause| decode_error(title(), place, &cause))?
        {
            return Ok(());
        }
        let Some(kind) = Kind::of(&header.api_version, &header.kind) else {
            if !is_own {
                *self.ignored.entry(format!("{} {}", header.api_version, header.kind)).or_insert(0) += 1;
            }
            return Ok(());
        };
        let item = compile(kind, header, given, &self.keep).map_err(|error| error.at(header, place))?;
        self.items.push((item, here));
        Ok(())
    }

    /// The objects, after checking for duplicates.
    fn finish(mut self, source_name: &str) -> Result<Reading, ReadErrors> {
        let mut filled_in = FilledIn::default();
        if let Some(filling) = self.filling.take() {
            let (items, errors) = filling.finish(&self.keep, &mut filled_in);
            self.items.extend(items);
            self.items.sort_by_key(|(_, place)| (place.document, place.item));
            self.errors.extend(errors);
        }
        let mut titles: HashMap<String, Place> = HashMap::with_capacity(self.items.len());
        let mut uids: HashMap<&str, String> = HashMap::new();
        for (item, place) in &self.items {
            let (title, place) = (item.title(), place.clone());
            if let Some(first) = titles.insert(title.clone(), place.clone()) {
                self.errors.push(ReadError::Twice { title, first, place });
            } else if let Item::Pod(pod) = item
                && let Some(other) = uids.insert(pod.uid.as_str(), title.clone())
            {
                self.errors.push(ReadError::SameUid { place, title, other });
            }
        }
        if self.errors.is_empty() {
            let started = self.items.iter().filter_map(|(item, _)| match item {
                Item::Pod(pod) => pod.start_time,
                _ => None,
            });
            let latest = started.chain(self.created).max();
            let items = self.items.into_iter().map(|(item, _)| item).collect();
            return Ok(Reading { items, ignored: self.ignored, filled_in, latest });
        }
        self.errors.sort_by_key(|error| error.place().map(|place| (place.document, place.item)));
        Err(ReadErrors { source_name: source_name.to_owned(), errors: self.errors })
    }
}

/// Kind of the items of a list; empty if each item states its own.
fn item_kind(header: &Header) -> Option<&str> {
    header.kind.strip_suffix("List")
}

#[cfg(test)]
mod tests;
