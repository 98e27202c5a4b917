//! Resource vectors: what nodes offer and what pods request, in the integers that plugins compare.
//!
//! CPU is in milli-CPU, memory and ephemeral storage are in bytes, scalar resources (extended resources, huge pages, attachable
//! volumes, names under `kubernetes.io/`) in units. Sums over containers are exact and are rounded up to integers once.
//! Arithmetic on the integers wraps, like Go's in upstream's `NodeInfo`.

mod amounts;
mod names;
mod pod_requests;

pub use names::{is_extended_resource_name, is_scalar_resource_name};
pub use pod_requests::{DEFAULT_MEMORY_REQUEST, DEFAULT_MILLI_CPU_REQUEST, PodRequests};

use crate::quantity::{Quantity, QuantityError};
use crate::{Atom, wire};
use std::fmt;

/// The largest amount where amounts are bounded: a million million cores, a pebibyte, 2^50 devices. With it, sums over the pods
/// of a node and percentages of them fit the integers, however many pods request it.
pub const AMOUNT_MAX: i64 = 1 << 50;

/// A quantity that does not parse, with its place in the object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path}: {text:?} is no quantity: {cause}; write a number with an optional suffix, such as 500m, 2, 1.5, 128Mi or 1G"
)]
pub struct ResourceError {
    /// The field, such as `spec.containers[1].resources.requests["cpu"]`.
    pub path: Box<str>,
    /// The text found there.
    pub text: Box<str>,
    /// What is wrong with it.
    pub cause: QuantityError,
}

/// Parses one entry of a resource list. Upstream's JSON decoding trims the text, so it is trimmed here.
fn parse(list: fmt::Arguments<'_>, name: &str, text: &wire::QuantityText) -> Result<Quantity, ResourceError> {
    Quantity::parse(text.0.trim()).map_err(|cause| ResourceError {
        path: format!("{list}[{name:?}]").into(),
        text: text.0.clone(),
        cause,
    })
}

/// A resource by name, resolved once: the names in a plugin's arguments become keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKey {
    /// `cpu`
    Cpu,
    /// `memory`
    Memory,
    /// `ephemeral-storage`
    EphemeralStorage,
    /// A scalar resource.
    Scalar(Atom),
    /// A name that no vector contains, such as `pods`: its amount is always 0.
    Other(Atom),
}

impl ResourceKey {
    /// The key for a name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        match name {
            "cpu" => Self::Cpu,
            "memory" => Self::Memory,
            "ephemeral-storage" => Self::EphemeralStorage,
            _ if is_scalar_resource_name(name) => Self::Scalar(Atom::new(name)),
            _ => Self::Other(Atom::new(name)),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::EphemeralStorage => "ephemeral-storage",
            Self::Scalar(name) | Self::Other(name) => name.as_str(),
        }
    }

    /// Whether the resource is a scalar one.
    #[must_use]
    pub fn is_scalar(&self) -> bool {
        matches!(self, Self::Scalar(_))
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Up to so many scalar resources are searched one by one: to compare two names costs a comparison of addresses then.
const FEW: usize = 8;

/// A resource vector in the units that plugins use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// CPU, in thousandths.
    pub milli_cpu: i64,
    /// Memory, in bytes.
    pub memory: i64,
    /// Ephemeral storage, in bytes.
    pub ephemeral_storage: i64,
    /// Scalar resources, sorted by name. An entry of 0 is kept: a pod that requests 0 devices still names them.
    pub scalars: Box<[(Atom, i64)]>,
}

impl Resources {
    /// The amount of a resource; 0 if the vector does not contain it.
    #[must_use]
    pub fn get(&self, key: &ResourceKey) -> i64 {
        match key {
            ResourceKey::Cpu => self.milli_cpu,
            ResourceKey::Memory => self.memory,
            ResourceKey::EphemeralStorage => self.ephemeral_storage,
            ResourceKey::Scalar(name) => self.scalar(name).unwrap_or(0),
            ResourceKey::Other(_) => 0,
        }
    }

    /// The amount of a scalar resource, if the vector contains it.
    #[must_use]
    pub fn scalar(&self, name: &Atom) -> Option<i64> {
        if self.scalars.len() <= FEW {
            return self.scalars.iter().find(|(own, _)| own == name).map(|(_, amount)| *amount);
        }
        let at = self.scalars.binary_search_by(|(own, _)| own.cmp(name)).ok()?;
        Some(self.scalars[at].1)
    }

    /// Whether nothing is requested, as NodeResourcesFit defines it: a scalar resource counts even if its amount is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.milli_cpu == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.scalars.is_empty()
    }

    /// Adds a vector.
    pub fn add_assign(&mut self, other: &Self) {
        self.combine(other, i64::wrapping_add);
    }

    /// Subtracts a vector. Scalar resources that drop to 0 keep their entry.
    pub fn sub_assign(&mut self, other: &Self) {
        self.combine(other, i64::wrapping_sub);
    }

    /// Raises each entry to that of the other vector if that is greater. A missing entry counts as 0.
    pub fn set_max(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    /// Leaves out the scalar resources that come to 0: in a sum to which vectors come and from which they go, names that nobody asks for any
    /// more would stay for ever.
    pub fn drop_zeros(&mut self) {
        if self.scalars.iter().any(|(_, amount)| *amount == 0) {
            let scalars = std::mem::take(&mut self.scalars).into_vec();
            self.scalars = scalars.into_iter().filter(|(_, amount)| *amount != 0).collect();
        }
    }

    fn combine(&mut self, other: &Self, with: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        self.combine_scalars(&other.scalars, with);
    }

    /// Both lists are sorted by name.
    fn combine_scalars(&mut self, others: &[(Atom, i64)], with: impl Fn(i64, i64) -> i64) {
        let (mut from, mut unknown) = (0, 0);
        for (name, amount) in others {
            from += self.scalars[from..].partition_point(|(own, _)| own < name);
            match self.scalars.get_mut(from).filter(|(own, _)| own == name) {
                Some((_, own)) => *own = with(*own, *amount),
                None => unknown += 1,
            }
        }
        // Mostly every name is known already, and nothing is moved.
        if unknown == 0 {
            return;
        }
        let known = std::mem::take(&mut self.scalars).into_vec();
        let mut merged = Vec::with_capacity(known.len() + unknown);
        let mut others = others.iter().peekable();
        for own in known {
            while let Some((name, amount)) = others.next_if(|(name, _)| *name < own.0) {
                merged.push((name.clone(), with(0, *amount)));
            }
            // What the two have in common is combined already.
            others.next_if(|(name, _)| *name == own.0);
            merged.push(own);
        }
        merged.extend(others.map(|(name, amount)| (name.clone(), with(0, *amount))));
        self.scalars = merged.into_boxed_slice();
    }
}

/// What a node offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Allocatable {
    /// The resources.
    pub resources: Resources,
    /// How many pods the node accepts.
    pub pods: i64,
}

impl Allocatable {
    /// Reads `status.allocatable` of a node. Names that are neither native nor scalar are left out, unread.
    /// Reads `status.allocatable` of a node. Names that are neither native nor scalar are ignored, and their quantities are not
    /// parsed.
    /// # Errors
    /// If a quantity does not parse.
    pub fn from_list(list: &wire::ResourceList) -> Result<Self, ResourceError> {
        Ok(Self::read(list)?.0)
    }

    /// Like [`Self::from_list`], and if an amount exceeds [`AMOUNT_MAX`], also with the amounts clamped.
    ///
    /// # Errors
    /// If a quantity does not parse.
    pub(crate) fn read(list: &wire::ResourceList) -> Result<(Self, Option<Box<Self>>), ResourceError> {
        let path = format_args!("status.allocatable");
        let amounts = amounts::Amounts::read(list, path)?;
        let pods = match list.get("pods") {
            Some(text) => parse(path, "pods", text)?.value(),
            None => 0,
        };
        let bounded = amounts
            .exceeds_bound()
            .then(|| Box::new(Self { resources: amounts.to_bounded_resources(), pods }));
        Ok((Self { resources: amounts.to_resources(), pods }, bounded))
    }
}

#[cfg(test)]
mod tests;
