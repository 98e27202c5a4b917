//! A metric with labels, whose handles are looked up once and kept.

use std::fmt::Debug;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

type Labels<const N: usize> = [(&'static str, String); N];

/// A metric with `N` labels.
#[derive(Clone, Debug)]
pub(crate) struct Labelled<M, const N: usize> {
    names: [&'static str; N],
    family: Family<Labels<N>, M>,
}

impl<const N: usize> Labelled<Counter, N> {
    pub(crate) fn counter(names: [&'static str; N]) -> Self {
        Self { names, family: Family::default() }
    }
}

impl<const N: usize> Labelled<Gauge, N> {
    pub(crate) fn gauge(names: [&'static str; N]) -> Self {
        Self { names, family: Family::default() }
    }
}

impl<const N: usize> Labelled<Histogram, N> {
    pub(crate) fn histogram(names: [&'static str; N], make: fn() -> Histogram) -> Self {
        Self { names, family: Family::new_with_constructor(make) }
    }
}

impl<M: Clone, const N: usize> Labelled<M, N> {
    /// For the registry.
    pub(crate) fn family(&self) -> Family<Labels<N>, M> {
        self.family.clone()
    }

    /// The handle for these label values.
    pub(crate) fn get(&self, values: [&str; N]) -> M {
        let mut names = self.names.into_iter();
        let labels = values.map(|value| (names.next().unwrap_or_default(), value.to_owned()));
        self.family.get_or_create_owned(&labels)
    }
}
