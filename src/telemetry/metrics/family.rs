//! Families of series whose number of labels is part of their type, so that the mistake on which the library's short cut
//! panics does not compile. This is the one place that asks the library for a series.

use std::collections::BTreeSet;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{Counter, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use tracing::error;

/// A vector of series of the library.
pub(super) trait SeriesVec: Collector + Clone + 'static {
    /// One series.
    type Series;

    /// The series with these label values; it is made where there is none.
    fn series(&self, values: &[&str]) -> prometheus::Result<Self::Series>;

    /// Drops a series.
    fn remove(&self, values: &[&str]) -> prometheus::Result<()>;
}

impl<B: MetricVecBuilder> SeriesVec for MetricVec<B>
where
    MetricVec<B>: Collector + Clone + 'static,
{
    type Series = B::M;

    fn series(&self, values: &[&str]) -> prometheus::Result<B::M> {
        self.get_metric_with_label_values(values)
    }

    fn remove(&self, values: &[&str]) -> prometheus::Result<()> {
        self.remove_label_values(values)
    }
}

/// Series of one name and `N` labels.
#[derive(Debug)]
pub(super) struct Family<V, const N: usize> {
    labels: [&'static str; N],
    vec: V,
}

impl<V: SeriesVec, const N: usize> Family<V, N> {
    fn register(
        registry: &Registry,
        labels: [&'static str; N],
        vec: prometheus::Result<V>,
    ) -> prometheus::Result<Self> {
        let vec = vec?;
        registry.register(Box::new(vec.clone()))?;
        Ok(Family { labels, vec })
    }

    /// Does something to the series with these label values.
    pub(super) fn with(&self, values: [&str; N], act: impl FnOnce(&V::Series)) {
        match self.vec.series(&values) {
            Ok(series) => act(&series),
            // A number is never worth a run: the type rules this out, and if it fails after all the rest goes on.
            Err(error) => error!(%error, "cannot find the series with labels {values:?}"),
        }
    }

    /// Makes the wanted series where they are missing, and drops all others. The ones that stay keep their values.
    pub(super) fn keep_exactly<'a>(&self, wanted: impl IntoIterator<Item = [&'a str; N]>) {
        let wanted: BTreeSet<[&str; N]> = wanted.into_iter().collect();
        for values in &wanted {
            self.with(*values, |_| {});
        }
        for family in self.vec.collect() {
            for series in family.get_metric() {
                let value_of = |name: &&str| series.get_label().iter().find(|label| label.name() == *name);
                let values = self.labels.each_ref().map(|name| value_of(name).map_or("", |label| label.value()));
                if !wanted.contains(&values)
                    && let Err(error) = self.vec.remove(&values)
                {
                    error!(%error, "cannot drop the series with labels {values:?}");
                }
            }
        }
    }
}

impl<const N: usize> Family<GaugeVec, N> {
    /// Sets the series with these label values.
    pub(super) fn set(&self, values: [&str; N], value: f64) {
        self.with(values, |gauge| gauge.set(value));
    }
}

/// Registers one gauge without labels.
pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Gauge> {
    let gauge = Gauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// Registers one counter without labels.
pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Counter> {
    let counter = Counter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

/// Registers a family of gauges.
pub(super) fn gauges<const N: usize>(
    registry: &Registry,
    name: &str,
    labels: [&'static str; N],
    help: &str,
) -> prometheus::Result<Family<GaugeVec, N>> {
    Family::register(registry, labels, GaugeVec::new(Opts::new(name, help), &labels))
}

/// Registers a family of counters.
pub(super) fn counters<const N: usize>(
    registry: &Registry,
    name: &str,
    labels: [&'static str; N],
    help: &str,
) -> prometheus::Result<Family<IntCounterVec, N>> {
    Family::register(registry, labels, IntCounterVec::new(Opts::new(name, help), &labels))
}

/// Registers a family of histograms.
pub(super) fn histograms<const N: usize>(
    registry: &Registry,
    name: &str,
    labels: [&'static str; N],
    buckets: &[f64],
    help: &str,
) -> prometheus::Result<Family<HistogramVec, N>> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    Family::register(registry, labels, HistogramVec::new(options, &labels))
}
