//! What a scrape is given: each family as it was written out last, if nothing of it has changed since.
//!
//! A thousand sources have a hundred and sixty thousand series, which take most of a second to write out. Nearly all of them
//! change when something happens, and not from scrape to scrape.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{Registry, TextEncoder};
use tracing::error;

/// Everything that is exposed.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    /// All of it: two metrics of one name are refused.
    all: Registry,
    /// Metrics of one series each, which are written out anew for each scrape.
    single: Registry,
    families: Mutex<Vec<Arc<Shown>>>,
}

/// One family as it was written out last.
pub(super) struct Shown {
    registry: Registry,
    is_stale: AtomicBool,
    text: Mutex<String>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("is_stale", &self.is_stale).finish_non_exhaustive()
    }
}

impl Exposition {
    /// Adds a metric of one series.
    pub(super) fn add(&self, metric: impl Collector + Clone + 'static) -> prometheus::Result<()> {
        self.all.register(Box::new(metric.clone()))?;
        self.single.register(Box::new(metric))
    }

    /// Adds a family, which has to say when it has changed.
    pub(super) fn show(&self, family: impl Collector + Clone + 'static) -> prometheus::Result<Arc<Shown>> {
        self.all.register(Box::new(family.clone()))?;
        let registry = Registry::new();
        registry.register(Box::new(family))?;
        let shown = Arc::new(Shown { registry, is_stale: AtomicBool::new(true), text: Mutex::default() });
        self.families.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&shown));
        Ok(shown)
    }

    /// Writes out what has changed, so that the next scrape need not.
    pub(super) fn refresh(&self) {
        for family in self.families.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            family.refresh();
        }
    }

    /// Everything, in Prometheus's text format.
    pub(super) fn render(&self) -> String {
        let mut text = encode(&self.single);
        for family in self.families.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            family.refresh();
            text.push_str(&family.text.lock().unwrap_or_else(PoisonError::into_inner));
        }
        text
    }

    /// Everything, as tests compare it.
    #[cfg(test)]
    pub(super) fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.all.gather()
    }
}

impl Shown {
    /// What was written out is not what holds any more.
    pub(super) fn has_changed(&self) {
        self.is_stale.store(true, Ordering::Release);
    }

    fn refresh(&self) {
        // Before it is read: what changes meanwhile is written out again the next time.
        if self.is_stale.swap(false, Ordering::AcqRel) {
            *self.text.lock().unwrap_or_else(PoisonError::into_inner) = encode(&self.registry);
        }
    }
}

fn encode(registry: &Registry) -> String {
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_else(|error| {
        error!(%error, "cannot write out the metrics");
        String::new()
    })
}
