//! Those who tell of each look, beside the loop: people by the channels, alarms by numbers.

use std::sync::Arc;

use tokio::sync::watch;

use super::observer::Told;
use crate::domain::key::Layout;
use crate::execute::lead::Lead;
use crate::execute::notify::{Announcer, Channels};
use crate::execute::publish::{Numbers, Publisher, Publishing};
use crate::plan::alert::Holding;
use crate::policy::Policy;
use crate::ports::clock::Clock;
use crate::ports::object_store::ObjectStore;
use crate::telemetry::metrics::Metrics;

/// Who tells.
pub(super) struct Telling {
    pub(super) announcer: Announcer,
    pub(super) publisher: Option<Publisher>,
}

/// What each look is handed to.
pub(super) struct Listened {
    pub(super) looks: watch::Sender<Option<Arc<Holding>>>,
    pub(super) numbers: watch::Sender<Option<Arc<Numbers>>>,
}

impl Telling {
    /// Those of one process, which may be one of several.
    pub(super) fn of(
        (channels, publishing): (Channels, Option<Publishing>),
        policy: &Policy,
        store: Arc<dyn ObjectStore>,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
        lead: &Lead,
    ) -> (Telling, Listened) {
        let (looks, looked) = watch::channel(None);
        let (numbers, numbered) = watch::channel(None);
        metrics.watch_channels(channels.names());
        let announcer = Announcer::new(
            channels,
            policy.installation.clone(),
            store,
            &Layout::new(&policy.destination.prefix),
            Arc::clone(clock),
            Arc::new(Told(Arc::clone(metrics))),
            looked,
        );
        let fresh_for = policy.cadence.look_age_max();
        let publisher = |own| Publisher::new(own, Arc::clone(clock), numbered, fresh_for).led_by(lead.clone());
        let publisher = publishing.map(publisher);
        (Telling { announcer: announcer.led_by(lead.clone()), publisher }, Listened { looks, numbers })
    }
}
