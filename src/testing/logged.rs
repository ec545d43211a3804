//! What code says in the log while a test runs: a test that sees no failure may still have been told of one.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Lines of level WARN and ERROR that were logged on this thread.
#[derive(Debug, Default, Clone)]
pub(crate) struct Logged {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Logged {
    /// Listens on this thread until the guard is dropped.
    pub(crate) fn on_this_thread() -> (Logged, DefaultGuard) {
        let logged = Logged::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(logged.clone()));
        (logged, guard)
    }

    /// Takes what was logged since the last call: `LEVEL message field=value ...`.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

impl<S: Subscriber> Layer<S> for Logged {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > Level::WARN {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        self.lines.lock().unwrap().push(format!("{level} {}{}", text.message, text.fields));
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        written.expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_errors_are_kept_and_taken_once() {
        let (logged, guard) = Logged::on_this_thread();
        tracing::info!("all is well");
        tracing::warn!(source.id = %"ledger", "it is tried again");
        tracing::error!("it panicked");
        assert_eq!(logged.take(), ["WARN it is tried again source.id=ledger", "ERROR it panicked"]);
        drop(guard);
        tracing::error!("nobody listens");
        assert!(logged.take().is_empty());
    }
}
