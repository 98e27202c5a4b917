//! Exact amounts of several resources, from which the integers are computed.

use super::{AMOUNT_MAX, ResourceError, Resources, is_scalar_resource_name, parse};
use crate::quantity::Quantity;
use crate::{Atom, wire};
use std::fmt;

pub(super) const CPU: usize = 0;
pub(super) const MEMORY: usize = 1;
const EPHEMERAL_STORAGE: usize = 2;

/// Amounts by resource. A missing resource is distinguished from an amount of 0: only a missing one gets a default.
#[derive(Clone, Debug, Default)]
pub(super) struct Amounts {
    pub(super) native: [Option<Quantity>; 3],
    /// Sorted by name.
    scalars: Vec<(Atom, Quantity)>,
}

impl Amounts {
    /// Reads a list. `path` locates it in an error. Names that are neither native nor scalar are ignored, and their quantities
    /// are not parsed.
    pub(super) fn read(list: &wire::ResourceList, path: fmt::Arguments<'_>) -> Result<Self, ResourceError> {
        let mut amounts = Self::default();
        for (name, text) in list {
            match name.as_ref() {
                "cpu" => amounts.native[CPU] = Some(parse(path, name, text)?),
                "memory" => amounts.native[MEMORY] = Some(parse(path, name, text)?),
                "ephemeral-storage" => amounts.native[EPHEMERAL_STORAGE] = Some(parse(path, name, text)?),
                _ if is_scalar_resource_name(name) => {
                    // The list is sorted, so this one is too.
                    amounts.scalars.push((Atom::new(name), parse(path, name, text)?));
                }
                _ => {}
            }
        }
        Ok(amounts)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.native.iter().all(Option::is_none) && self.scalars.is_empty()
    }

    /// Keeps only what can be requested at the pod level: CPU, memory and huge pages.
    pub(super) fn pod_level(mut self) -> Self {
        self.native[EPHEMERAL_STORAGE] = None;
        self.scalars.retain(|(name, _)| name.as_str().starts_with("hugepages-"));
        self
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.combine(other, Quantity::saturating_add);
    }

    /// Raises each amount to the other one if that is greater.
    pub(super) fn raise(&mut self, other: &Self) {
        self.combine(other, Quantity::max);
    }

    /// Overwrites amounts with those that the other contains.
    pub(super) fn replace(&mut self, other: &Self) {
        self.combine(other, |_, amount| amount);
    }

    fn combine(&mut self, other: &Self, with: fn(Quantity, Quantity) -> Quantity) {
        for (own, other) in self.native.iter_mut().zip(&other.native) {
            if let Some(other) = *other {
                *own = Some(own.map_or(other, |own| with(own, other)));
            }
        }
        for (name, amount) in &other.scalars {
            self.set_scalar(name, *amount, with);
        }
    }

    fn set_scalar(&mut self, name: &Atom, amount: Quantity, with: fn(Quantity, Quantity) -> Quantity) {
        match self.scalars.binary_search_by(|(own, _)| own.cmp(name)) {
            Ok(at) => self.scalars[at].1 = with(self.scalars[at].1, amount),
            Err(at) => self.scalars.insert(at, (name.clone(), amount)),
        }
    }

    /// The integers, computed as upstream does: an amount that does not fit overflows.
    pub(super) fn to_resources(&self) -> Resources {
        self.convert(Quantity::milli_value, Quantity::value)
    }

    /// The integers, clamped to [`AMOUNT_MAX`].
    pub(super) fn to_bounded_resources(&self) -> Resources {
        let (most_milli, most) = (Quantity::from_milli(AMOUNT_MAX), Quantity::from_units(AMOUNT_MAX));
        self.convert(
            |amount| if amount > most_milli { AMOUNT_MAX } else { amount.milli_value() },
            |amount| if amount > most { AMOUNT_MAX } else { amount.value() },
        )
    }

    /// Whether an amount is beyond [`AMOUNT_MAX`].
    pub(super) fn exceeds_bound(&self) -> bool {
        let (most_milli, most) = (Quantity::from_milli(AMOUNT_MAX), Quantity::from_units(AMOUNT_MAX));
        let [cpu, others @ ..] = &self.native;
        cpu.is_some_and(|amount| amount > most_milli)
            || others.iter().flatten().any(|amount| *amount > most)
            || self.scalars.iter().any(|(_, amount)| *amount > most)
    }

    fn convert(&self, milli: impl Fn(Quantity) -> i64, units: impl Fn(Quantity) -> i64) -> Resources {
        let [cpu, memory, ephemeral_storage] = self.native.map(Option::unwrap_or_default);
        Resources {
            milli_cpu: milli(cpu),
            memory: units(memory),
            ephemeral_storage: units(ephemeral_storage),
            scalars: self.scalars.iter().map(|(name, amount)| (name.clone(), units(*amount))).collect(),
        }
    }
}
