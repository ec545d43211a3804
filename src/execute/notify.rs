//! Tells people: brings the ledger of alerts up to each look, and sends what it lays out.
//!
//! It runs beside the loop, so that a channel that hangs holds up nobody. Of several daemons the one whose write of the ledger
//! wins does the sending; what it sent stands in the ledger until it has written that it was taken, so one that dies in between
//! leaves a message that comes twice, and none that never comes. What it does not do: it decides nothing about what is an alert.

mod book;
mod send;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::alert::{AlertKey, Event, Message, Severity};
use crate::domain::alert_ledger::{AlertEntry, AlertLedger};
use crate::domain::id::{InstallationId, RouteName};
use crate::domain::key::Layout;
use crate::execute::lead::Lead;
use crate::plan::alert::Holding;
use crate::plan::alert::lifecycle::{Transition, advance, wake_at};
use crate::policy::alerting::AlertPolicy;
use crate::ports::clock::Clock;
use crate::ports::notifier::{Heartbeat, Notifier};
use crate::ports::object_store::ObjectStore;
use crate::ports::{Chain, PortError};
pub use book::read_ledger;
use book::{Book, Kept};

/// Least time between two rounds that nothing but time calls for.
const ROUND_MIN: SignedDuration = SignedDuration::from_secs(10);
/// Rounds in which another daemon may be faster before this one waits for its next turn.
const RACES_MAX: usize = 5;
/// A message that has waited for so long holds back the heartbeat: who relies on it has to hear that nobody is told.
const STUCK_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// How long a channel has to be reminded of what fires, and an address to take a heartbeat.
const REMINDED_WITHIN: Duration = Duration::from_secs(15);
const BEATEN_WITHIN: Duration = Duration::from_secs(15);

/// Told of what was told, for metrics.
pub trait NotifyObserver: Send + Sync {
    /// These fire, and no others.
    fn firing(&self, alerts: &[(AlertKey, Severity)]);
    /// A message to a route, or a heartbeat, was taken or not.
    fn notified(&self, channel: &str, taken: bool);
}

/// The channel's name of the heartbeat in metrics.
pub const HEARTBEAT: &str = "heartbeat";

/// An address that is told that all is well.
#[derive(Clone)]
pub struct Pulse {
    /// The address.
    pub heartbeat: Arc<dyn Heartbeat>,
    /// How often.
    pub every: SignedDuration,
    /// A look that is older than this tells nothing of now.
    pub fresh_for: SignedDuration,
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulse").field("every", &self.every).finish_non_exhaustive()
    }
}

/// What telling needs.
#[derive(Clone)]
pub struct Channels {
    /// Who is told of what.
    pub policy: AlertPolicy,
    /// The channel of each route.
    pub notifiers: BTreeMap<RouteName, Arc<dyn Notifier>>,
    /// The dead man's switch.
    pub pulse: Option<Pulse>,
}

impl Channels {
    /// The names of all channels, as metrics have them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let routes = self.notifiers.keys().map(ToString::to_string);
        routes.chain(self.pulse.as_ref().map(|_| HEARTBEAT.to_owned())).collect()
    }
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Tells people what each look finds.
pub struct Announcer {
    channels: Channels,
    installation: InstallationId,
    book: Book,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn NotifyObserver>,
    looks: watch::Receiver<Option<Arc<Holding>>>,
    refreshed: BTreeMap<RouteName, Timestamp>,
    beaten_at: Option<Timestamp>,
    lead: Lead,
    /// The last round came to nothing.
    failing: bool,
}

impl std::fmt::Debug for Announcer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Announcer")
    }
}

impl Announcer {
    /// One that hears of each look through `looks`.
    #[must_use]
    pub fn new(
        channels: Channels,
        installation: InstallationId,
        store: Arc<dyn ObjectStore>,
        layout: &Layout,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn NotifyObserver>,
        looks: watch::Receiver<Option<Arc<Holding>>>,
    ) -> Announcer {
        // Without routes nothing is told, so nothing has to be remembered for others.
        let kept = if channels.policy.routes.is_empty() { Kept::InMemory } else { Kept::InStore };
        let book = Book::new(store, layout.alert_ledger(&installation), kept);
        let (refreshed, beaten_at, failing, lead) = (BTreeMap::new(), None, false, Lead::alone());
        Announcer { channels, installation, book, clock, observer, looks, refreshed, beaten_at, failing, lead }
    }

    /// The same as one of several processes: it tells only while it leads.
    #[must_use]
    pub fn led_by(self, lead: Lead) -> Announcer {
        Announcer { lead, ..self }
    }

    /// Tells, until `stop` is cancelled. A message that is on its way is seen through: channels have time limits.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let look = self.looks.borrow_and_update().clone().filter(|_| self.lead.holds());
            let wake_at = match look {
                Some(look) => self.round(&look).await,
                // Another process tells, and its series say what fires.
                None => {
                    self.observer.firing(&[]);
                    Timestamp::MAX
                }
            };
            tokio::select! {
                changed = self.looks.changed() => if changed.is_err() { return },
                () = self.clock.sleep_until(wake_at) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One round; says when the next is due if nothing happens before.
    pub async fn round(&mut self, look: &Holding) -> Timestamp {
        let ledger = self.tell(look).await;
        let now = self.clock.now();
        let mut wakes: Vec<Timestamp> = Vec::new();
        match &ledger {
            Ok(ledger) => {
                self.failing = false;
                wakes.extend(wake_at(ledger, &self.channels.policy));
                wakes.extend(self.refresh(ledger).await);
                wakes.extend(self.beat(look, ledger).await);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(error = %Chain(error), "the ledger of alerts cannot be read or written: alerts wait for some minutes");
                }
                wakes.push(now);
            }
        }
        let soonest = now.saturating_add(ROUND_MIN).unwrap_or(Timestamp::MAX);
        wakes.into_iter().min().map_or(Timestamp::MAX, |at| at.max(soonest))
    }

    /// Brings the ledger up to the look, and sends what is due; the ledger as it stands then.
    async fn tell(&mut self, look: &Holding) -> Result<AlertLedger, PortError> {
        let routes = self.channels.policy.route_names();
        for _ in 0..RACES_MAX {
            let now = self.clock.now();
            let before = self.book.open(now).await?;
            // What was sent and could not be written down then is first of all not sent again.
            let settled = self.book.with_outcomes(&before, now);
            let (mut ledger, transitions) = advance(&settled, look, &self.channels.policy, &self.installation, now);
            let due = ledger.claim(&routes, now);
            if !self.book.write(&before, &ledger, now).await? {
                continue;
            }
            self.book.written_down();
            log(&ledger, &transitions);
            self.observe(&ledger);
            if due.is_empty() {
                return Ok(ledger);
            }
            let outcomes = send::send_all(&self.channels.notifiers, due, self.observer.as_ref()).await;
            let now = self.clock.now();
            self.book.note(outcomes);
            return self.book.settle(now).await;
        }
        // Whoever was faster has seen what this one sees.
        self.book.open(self.clock.now()).await
    }

    fn observe(&self, ledger: &AlertLedger) {
        let firing = ledger.entries.iter().filter(|entry| entry.is_firing());
        let firing: Vec<_> = firing.map(|entry| (entry.alert.key.clone(), entry.alert.severity)).collect();
        self.observer.firing(&firing);
    }

    /// Reminds the channels that forget; says when they have to be reminded again.
    async fn refresh(&mut self, ledger: &AlertLedger) -> Option<Timestamp> {
        let mut next: Option<Timestamp> = None;
        for (name, notifier) in &self.channels.notifiers {
            let Some(every) = notifier.refresh_every() else { continue };
            let now = self.clock.now();
            let due_at = self.refreshed.get(name).and_then(|at| at.saturating_add(every).ok());
            if due_at.is_some_and(|at| at > now) {
                next = next.into_iter().chain(due_at).min();
                continue;
            }
            let items: Vec<_> = ledger.entries.iter().filter_map(|entry| send::told_item(entry, name)).collect();
            if items.is_empty() {
                continue;
            }
            let message = Message {
                id: format!("{}-refresh", self.installation),
                installation: self.installation.clone(),
                event: Event::Refreshed,
                at: now,
                items,
            };
            if let Err(error) = send::in_time(Instant::now() + REMINDED_WITHIN, notifier.notify(&message)).await {
                tracing::warn!(route = %name, error = %Chain(&error), "a route could not be reminded of what fires");
            }
            self.refreshed.insert(name.clone(), now);
            next = next.into_iter().chain(now.saturating_add(every).ok()).min();
        }
        next
    }

    /// Says that all is well, if it is; says when the next time is.
    async fn beat(&mut self, look: &Holding, ledger: &AlertLedger) -> Option<Timestamp> {
        let Pulse { heartbeat, every, fresh_for } = self.channels.pulse.as_ref()?;
        let now = self.clock.now();
        let due_at = self.beaten_at.and_then(|at| at.saturating_add(*every).ok());
        if let Some(due_at) = due_at.filter(|at| *at > now) {
            return Some(due_at);
        }
        let routes = self.channels.policy.route_names();
        let told = !ledger.is_stuck(&routes, now, STUCK_AFTER);
        // One of which nobody can tell whether it still holds, holds.
        let critical = |entry: &AlertEntry| entry.is_firing() && entry.alert.severity == Severity::Critical;
        let none_fires = !ledger.entries.iter().any(critical);
        if self.lead.holds() && look.promises_hold && told && none_fires && now.duration_since(look.at) <= *fresh_for {
            let beaten = send::in_time(Instant::now() + BEATEN_WITHIN, heartbeat.beat()).await;
            if let Err(error) = &beaten {
                tracing::warn!(error = %Chain(error), "the heartbeat did not arrive, whoever waits for it will raise an alarm");
            }
            self.observer.notified(HEARTBEAT, beaten.is_ok());
        }
        self.beaten_at = Some(now);
        now.saturating_add(*every).ok()
    }
}

/// One line for each transition, by whoever made it.
fn log(ledger: &AlertLedger, transitions: &[Transition]) {
    for Transition { key, event } in transitions {
        if *event == Event::Resolved {
            tracing::info!(alert = %key, "alert resolved");
            continue;
        }
        let entry = ledger.entries.iter().find(|entry| entry.alert.key == *key);
        let Some(alert) = entry.map(|entry| &entry.alert) else { continue };
        let what = alert.what.join("; ");
        match alert.severity {
            Severity::Critical => tracing::error!(alert = %key, what, action = alert.action, "critical alert fired"),
            Severity::Warning => tracing::warn!(alert = %key, what, action = alert.action, "warning fired"),
            Severity::Info => tracing::info!(alert = %key, what, "alert fired, for information"),
        }
    }
}

#[cfg(test)]
mod tests;
