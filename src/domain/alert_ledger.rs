//! The ledger of alerts: what holds, what was told of it on which route, and what is still to be told.
//!
//! It is one small object in the store, changed by conditional writes only. So of two daemons, or of one that was killed
//! and its successor, each transition is one's alone: whoever wins the write sends. A message stands in the ledger until
//! its channel has taken it.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alert::{Alert, AlertKey, Event, Message, Told};
use super::id::RouteName;

/// Version of the ledger that this code writes.
pub const LEDGER_VERSION: u32 = 1;
/// Largest ledger that is read: some tens of thousands of alerts.
pub const LEDGER_BYTES_MAX: u64 = 64 << 20;

/// Everything that has to be remembered about alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertLedger {
    /// Version of this format.
    pub version: u32,
    /// Number of the next message.
    pub next_message: u64,
    /// The look that changed it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub looked_at: Option<Timestamp>,
    /// What holds, in the order of the keys.
    pub entries: Vec<AlertEntry>,
    /// What no channel has taken yet, the oldest first.
    pub outbox: Vec<Outgoing>,
}

impl Default for AlertLedger {
    fn default() -> AlertLedger {
        AlertLedger {
            version: LEDGER_VERSION,
            next_message: 1,
            looked_at: None,
            entries: Vec::new(),
            outbox: Vec::new(),
        }
    }
}

/// An alert that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertEntry {
    /// The alert, as it was last seen.
    pub alert: Alert,
    /// The first look that found it.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// When it had held for long enough to be told; absent while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub fired_at: Option<Timestamp>,
    /// What was told of it, by route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Told>,
}

impl AlertEntry {
    /// Whether it is told, and not only watched.
    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.fired_at.is_some()
    }

    /// What was told of it on a route.
    #[must_use]
    pub fn told_on(&self, route: &RouteName) -> Option<&Told> {
        self.told.iter().find(|told| told.route == *route)
    }
}

/// A message that its channel has not taken yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outgoing {
    /// Where it goes.
    pub route: RouteName,
    /// What is said.
    pub message: Message,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: u32,
    /// Not tried before this. Whoever tries it moves this on first, so that nobody else does at the same time.
    #[schemars(with = "String")]
    pub not_before: Timestamp,
    /// What the last attempt came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// How long a message that is being sent is its sender's: longer than a round of sending can take.
const CLAIM: SignedDuration = SignedDuration::from_mins(3);
/// Wait after a first failure; doubled after each further one.
const BACKOFF_FIRST: SignedDuration = SignedDuration::from_secs(30);
/// Longest wait: so soon everything arrives once a channel works again.
const BACKOFF_MAX: SignedDuration = SignedDuration::from_mins(15);
/// Messages that one route is given in one round.
const PER_ROUTE_MAX: usize = 10;
/// A message to a route that is not configured any more is kept for so long: a rollback may bring it back.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);

impl AlertLedger {
    /// Claims what may be sent now on these routes, in the order in which it has to be sent.
    ///
    /// A message waits while an earlier one about one of its alerts has not been taken: nothing is resolved on a channel
    /// before it has fired there.
    pub fn claim(&mut self, routes: &[RouteName], now: Timestamp) -> Vec<Outgoing> {
        let mut claimed: Vec<Outgoing> = Vec::new();
        let mut waiting: Vec<(RouteName, AlertKey)> = Vec::new();
        for outgoing in self.outbox.iter_mut().filter(|outgoing| routes.contains(&outgoing.route)) {
            let keys = || outgoing.message.items.iter().map(|item| &item.alert.key);
            let behind = keys().any(|key| waiting.iter().any(|(route, own)| *route == outgoing.route && own == key));
            let taken = claimed.iter().filter(|other| other.route == outgoing.route).count();
            if behind || outgoing.not_before > now || taken >= PER_ROUTE_MAX {
                waiting.extend(keys().map(|key| (outgoing.route.clone(), key.clone())));
                continue;
            }
            outgoing.attempts = outgoing.attempts.saturating_add(1);
            outgoing.not_before = now.saturating_add(CLAIM).unwrap_or(Timestamp::MAX);
            claimed.push(outgoing.clone());
        }
        claimed
    }

    /// A channel has taken a message.
    pub fn delivered(&mut self, id: &str) {
        self.outbox.retain(|outgoing| outgoing.message.id != id);
    }

    /// A channel has not taken a message; it is tried again, and every other one of its route after that.
    pub fn refused(&mut self, id: &str, why: &str, now: Timestamp) {
        let Some(outgoing) = self.outbox.iter_mut().find(|outgoing| outgoing.message.id == id) else { return };
        let doublings = outgoing.attempts.saturating_sub(1).min(10);
        let wait = BACKOFF_FIRST.checked_mul(1_i32 << doublings).unwrap_or(BACKOFF_MAX).min(BACKOFF_MAX);
        outgoing.not_before = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
        outgoing.last_error = Some(why.to_owned());
    }

    /// What was claimed and not even tried is free again.
    pub fn untried(&mut self, id: &str, now: Timestamp) {
        if let Some(outgoing) = self.outbox.iter_mut().find(|outgoing| outgoing.message.id == id) {
            outgoing.attempts = outgoing.attempts.saturating_sub(1);
            outgoing.not_before = now.saturating_add(BACKOFF_FIRST).unwrap_or(Timestamp::MAX);
        }
    }

    /// Drops what was meant for routes that have long been gone.
    pub fn forget(&mut self, routes: &[RouteName], now: Timestamp) {
        self.outbox.retain(|outgoing| {
            routes.contains(&outgoing.route) || now.duration_since(outgoing.message.at) < FORGOTTEN_AFTER
        });
    }

    /// When something in the outbox may next be sent on these routes.
    #[must_use]
    pub fn next_attempt_at(&self, routes: &[RouteName]) -> Option<Timestamp> {
        let own = self.outbox.iter().filter(|outgoing| routes.contains(&outgoing.route));
        own.map(|outgoing| outgoing.not_before).min()
    }

    /// Whether something has waited for this long to be told on one of these routes.
    #[must_use]
    pub fn is_stuck(&self, routes: &[RouteName], now: Timestamp, limit: SignedDuration) -> bool {
        let own = self.outbox.iter().filter(|outgoing| routes.contains(&outgoing.route));
        own.into_iter().any(|outgoing| now.duration_since(outgoing.message.at) > limit)
    }

    /// The undelivered message of this kind that tells a route of an alert.
    #[must_use]
    pub fn undelivered(&self, route: &RouteName, key: &AlertKey, event: Event) -> bool {
        let about = |message: &Message| message.items.iter().any(|item| item.alert.key == *key);
        self.outbox.iter().any(|own| own.route == *route && own.message.event == event && about(&own.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Item, Severity};
    use crate::testing::at;

    fn route(name: &str) -> RouteName {
        name.parse().unwrap()
    }

    fn outgoing(id: u64, to: &str, event: Event, name: &str) -> Outgoing {
        let alert = Alert {
            key: AlertKey { name: name.to_owned(), source: None, detail: None, database: None },
            severity: Severity::Critical,
            what: Vec::new(),
            meaning: String::new(),
            action: String::new(),
        };
        let (now, thread) = (now(), name.to_owned());
        let message = Message {
            id: id.to_string(),
            installation: "bank-prod".parse().unwrap(),
            event,
            at: now,
            items: vec![Item { alert, since: now, thread, thread_ends: true }],
        };
        Outgoing { route: route(to), message, attempts: 0, not_before: now, last_error: None }
    }

    fn now() -> Timestamp {
        at("2026-11-23T12:00:00Z")
    }

    fn ledger(outbox: Vec<Outgoing>) -> AlertLedger {
        AlertLedger { outbox, ..AlertLedger::default() }
    }

    fn ids(claimed: &[Outgoing]) -> Vec<&str> {
        claimed.iter().map(|own| own.message.id.as_str()).collect()
    }

    #[test]
    fn what_one_has_claimed_nobody_else_sends_until_the_claim_is_over() {
        let mut ledger = ledger(vec![outgoing(1, "team", Event::Fired, "overdue")]);
        assert_eq!(ids(&ledger.claim(&[route("team")], now())), ["1"]);
        assert_eq!(ids(&ledger.claim(&[route("team")], now() + CLAIM - SignedDuration::from_secs(1))), [""; 0]);
        assert_eq!(ids(&ledger.claim(&[route("team")], now() + CLAIM)), ["1"], "its sender died: it is sent again");
    }

    #[test]
    fn nothing_is_resolved_on_a_channel_before_it_has_fired_there() {
        let mut ledger = ledger(vec![
            outgoing(1, "team", Event::Fired, "overdue"),
            outgoing(2, "team", Event::Resolved, "overdue"),
            outgoing(3, "team", Event::Fired, "late"),
            outgoing(4, "pager", Event::Resolved, "overdue"),
        ]);
        let routes = [route("team"), route("pager")];
        assert_eq!(ids(&ledger.claim(&routes, now())), ["1", "2", "3", "4"], "in their order");
        ledger.refused("1", "no", now());
        for id in ["2", "3", "4"] {
            ledger.untried(id, now());
        }
        let later = now() + BACKOFF_FIRST;
        ledger.outbox[0].not_before = later + SignedDuration::from_secs(1);
        assert_eq!(ids(&ledger.claim(&routes, later)), ["3", "4"]);
    }

    #[test]
    fn a_channel_that_refuses_is_asked_ever_more_seldom_and_a_quarter_of_an_hour_at_most() {
        let mut ledger = ledger(vec![outgoing(1, "team", Event::Fired, "overdue")]);
        let (mut at, mut waits) = (now(), Vec::new());
        for _ in 0..8 {
            assert_eq!(ids(&ledger.claim(&[route("team")], at)), ["1"]);
            ledger.refused("1", "status 503", at);
            let next = ledger.next_attempt_at(&[route("team")]).unwrap();
            waits.push(next.duration_since(at).as_secs());
            at = next;
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900, 900]);
        assert_eq!(ledger.outbox[0].last_error.as_deref(), Some("status 503"));
        ledger.delivered("1");
        assert_eq!(ledger.outbox, []);
    }

    #[test]
    fn messages_to_a_route_that_is_gone_are_kept_for_a_week_and_hold_nothing_up() {
        let mut ledger = ledger(vec![outgoing(1, "gone", Event::Fired, "overdue")]);
        let routes = [route("team")];
        assert_eq!(ids(&ledger.claim(&routes, now())), [""; 0]);
        assert!(!ledger.is_stuck(&routes, now() + SignedDuration::from_hours(9), SignedDuration::from_hours(1)));
        ledger.forget(&routes, now() + FORGOTTEN_AFTER - SignedDuration::from_secs(1));
        assert_eq!(ledger.outbox.len(), 1);
        ledger.forget(&routes, now() + FORGOTTEN_AFTER);
        assert_eq!(ledger.outbox.len(), 0);
    }

    #[test]
    fn a_round_is_short_enough_for_its_claim() {
        let storm = (0..25).map(|id| outgoing(id, "team", Event::Fired, &id.to_string())).collect();
        assert_eq!(ledger(storm).claim(&[route("team")], now()).len(), PER_ROUTE_MAX);
    }
}
