//! Families of series whose number of labels is part of their type, so that the mistake on which the library's short cut
//! panics does not compile. This is the one place that asks the library for a series.

use std::collections::BTreeSet;
use std::sync::Arc;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{Counter, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts};
use tracing::error;

use super::exposition::{Exposition, Shown};

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
    shown: Arc<Shown>,
}

impl<V: SeriesVec, const N: usize> Family<V, N> {
    fn register(
        exposition: &Exposition,
        labels: [&'static str; N],
        vec: prometheus::Result<V>,
    ) -> prometheus::Result<Self> {
        let vec = vec?;
        let shown = exposition.show(vec.clone())?;
        Ok(Family { labels, vec, shown })
    }

    /// Changes the series with these label values.
    pub(super) fn with(&self, values: [&str; N], act: impl FnOnce(&V::Series)) {
        self.shown.has_changed();
        self.find(values, act);
    }

    fn find(&self, values: [&str; N], act: impl FnOnce(&V::Series)) {
        match self.vec.series(&values) {
            Ok(series) => act(&series),
            // A number is never worth a run: the type rules this out, and if it fails after all the rest goes on.
            Err(error) => error!(%error, "cannot find the series with labels {values:?}"),
        }
    }

    /// Makes the wanted series where they are missing, and drops all others. The ones that stay keep their values.
    pub(super) fn keep_exactly<'a>(&self, wanted: impl IntoIterator<Item = [&'a str; N]>) {
        let wanted: BTreeSet<[&str; N]> = wanted.into_iter().collect();
        self.shown.has_changed();
        for values in &wanted {
            self.find(*values, |_| {});
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
        self.find(values, |gauge| {
            // Most say the same look after look, and a family that does is not written out again.
            if gauge.get().to_bits() != value.to_bits() {
                gauge.set(value);
                self.shown.has_changed();
            }
        });
    }
}

/// Registers one gauge without labels.
pub(super) fn gauge(exposition: &Exposition, name: &str, help: &str) -> prometheus::Result<Gauge> {
    let gauge = Gauge::new(name, help)?;
    exposition.add(gauge.clone())?;
    Ok(gauge)
}

/// Registers one counter without labels.
pub(super) fn counter(exposition: &Exposition, name: &str, help: &str) -> prometheus::Result<Counter> {
    let counter = Counter::new(name, help)?;
    exposition.add(counter.clone())?;
    Ok(counter)
}

/// Registers a family of gauges.
pub(super) fn gauges<const N: usize>(
    exposition: &Exposition,
    name: &str,
    labels: [&'static str; N],
    help: &str,
) -> prometheus::Result<Family<GaugeVec, N>> {
    Family::register(exposition, labels, GaugeVec::new(Opts::new(name, help), &labels))
}

/// Registers a family of counters.
pub(super) fn counters<const N: usize>(
    exposition: &Exposition,
    name: &str,
    labels: [&'static str; N],
    help: &str,
) -> prometheus::Result<Family<IntCounterVec, N>> {
    Family::register(exposition, labels, IntCounterVec::new(Opts::new(name, help), &labels))
}

/// Registers a family of histograms.
pub(super) fn histograms<const N: usize>(
    exposition: &Exposition,
    name: &str,
    labels: [&'static str; N],
    buckets: &[f64],
    help: &str,
) -> prometheus::Result<Family<HistogramVec, N>> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    Family::register(exposition, labels, HistogramVec::new(options, &labels))
}
