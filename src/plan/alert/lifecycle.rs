//! The one life that every alert has: pending while it has not held for long, firing, told again, resolved.
//!
//! [`advance`] is a function of the ledger and one look. It has no memory: what a daemon of yesterday has told stands in the
//! ledger, and what was told is not told again until it is worse, or time to remind.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::Holding;
use crate::domain::alert::{Alert, AlertKey, Event, Item, Message, Told};
use crate::domain::alert_ledger::{AlertEntry, AlertLedger, Outgoing};
use crate::domain::id::{InstallationId, RouteName};
use crate::policy::alerting::{AlertPolicy, RoutePolicy};

/// That there is more of the same is told at most this often: trouble that spreads would be told at each step of it.
const GROWTH_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Alerts in one message that tells the end of a storm: a channel that makes an incident of each speaks once for each.
const ITEMS_MAX: usize = 20;

/// What has changed from one ledger to the next, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The alert.
    pub key: AlertKey,
    /// What has become of it.
    pub event: Event,
}

/// Brings a ledger in line with what one look found, and lays out what has to be told because of it.
#[must_use]
pub fn advance(
    ledger: &AlertLedger,
    holding: &Holding,
    policy: &AlertPolicy,
    installation: &InstallationId,
    now: Timestamp,
) -> (AlertLedger, Vec<Transition>) {
    if is_overtaken(ledger, holding) {
        return (ledger.clone(), Vec::new());
    }
    let mut next = ledger.clone();
    let mut told = Telling { installation, now, storm_max: policy.storm_max, laid: BTreeMap::new() };
    let mut transitions = Vec::new();
    next.entries = Vec::new();
    for mut entry in carried_on(ledger, holding) {
        match found(holding, &entry.alert.key) {
            Some(alert) => entry.alert = alert.clone(),
            None if holding.is_unsure_of(&entry.alert.key) => {}
            None => {
                if entry.is_firing() {
                    told.resolved(&entry);
                    transitions.push(Transition { key: entry.alert.key.clone(), event: Event::Resolved });
                }
                continue;
            }
        }
        let held_for = holding.at.duration_since(entry.since);
        if entry.fired_at.is_none() && found(holding, &entry.alert.key).is_some() && held_for >= policy.pending_for {
            entry.fired_at = Some(now);
            transitions.push(Transition { key: entry.alert.key.clone(), event: Event::Fired });
        }
        next.entries.push(entry);
    }
    for entry in next.entries.iter().filter(|entry| entry.is_firing()) {
        for (name, route) in &policy.routes {
            if let Some(event) = due(ledger, entry, name, route, policy.repeat_every, now) {
                told.firing(entry, name, event);
            }
        }
    }
    told.lay_out(&mut next);
    next.forget(&policy.route_names(), now);
    // Texts change with each look, and nobody is told of that: it is worth no write.
    if without_texts(&next) == without_texts(ledger) {
        return (ledger.clone(), Vec::new());
    }
    next.looked_at = Some(holding.at);
    (next, transitions)
}

/// How far apart the looks of two daemons can be that are both right.
const OVERTAKEN_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// Whether another daemon has looked later and written what it saw. What this one saw before is then no news: it would fire again
/// what the other one has just resolved. A look that is far older comes from a clock that was set back, and counts.
fn is_overtaken(ledger: &AlertLedger, holding: &Holding) -> bool {
    let behind = ledger.looked_at.map(|at| at.duration_since(holding.at));
    behind.is_some_and(|behind| behind > SignedDuration::ZERO && behind < OVERTAKEN_WITHIN)
}

/// A ledger with the number of facts in place of their words.
fn without_texts(ledger: &AlertLedger) -> AlertLedger {
    let mut bare = ledger.clone();
    for entry in &mut bare.entries {
        entry.alert.what.iter_mut().for_each(String::clear);
        entry.alert.meaning.clear();
        entry.alert.action.clear();
    }
    bare
}

/// The entries there were and those of what is new, in the order of their keys.
fn carried_on(ledger: &AlertLedger, holding: &Holding) -> Vec<AlertEntry> {
    let known: BTreeSet<&AlertKey> = ledger.entries.iter().map(|entry| &entry.alert.key).collect();
    let new = holding.alerts.iter().filter(|alert| !known.contains(&alert.key));
    let new = new.map(|alert| AlertEntry { alert: alert.clone(), since: holding.at, fired_at: None, told: Vec::new() });
    let mut entries: Vec<AlertEntry> = ledger.entries.iter().cloned().chain(new).collect();
    entries.sort_by(|a, b| a.alert.key.cmp(&b.alert.key));
    // A clock that was set back does not make an alert wait until that time comes again.
    entries.iter_mut().for_each(|entry| entry.since = entry.since.min(holding.at));
    entries
}

fn found<'a>(holding: &'a Holding, key: &AlertKey) -> Option<&'a Alert> {
    let at = holding.alerts.binary_search_by(|alert| alert.key.cmp(key)).ok()?;
    holding.alerts.get(at)
}

/// What a route has to be told of an alert that fires, if anything.
fn due(
    ledger: &AlertLedger,
    entry: &AlertEntry,
    name: &RouteName,
    route: &RoutePolicy,
    repeat_every: Option<SignedDuration>,
    now: Timestamp,
) -> Option<Event> {
    if !route.takes(&entry.alert) {
        return None;
    }
    let Some(told) = entry.told_on(name) else { return Some(Event::Fired) };
    let waits = [Event::Fired, Event::Repeated];
    let waits = waits.into_iter().any(|event| ledger.undelivered(name, &entry.alert.key, event));
    let held = |time: SignedDuration| now.duration_since(told.at) >= time;
    let remind = route.repeats && repeat_every.is_some_and(held);
    // De-duplication must not swallow news: a second bad dump is some, even while the first one's alert stands.
    let worse = entry.alert.severity > told.severity || entry.alert.what.len() > told.facts && held(GROWTH_EVERY);
    // What has not even arrived need not be said twice.
    (!waits && (remind || worse)).then_some(Event::Repeated)
}

/// What one look gives to tell.
struct Telling<'a> {
    installation: &'a InstallationId,
    now: Timestamp,
    storm_max: usize,
    laid: BTreeMap<(RouteName, &'static str), (Event, Vec<Item>)>,
}

impl Telling<'_> {
    fn firing(&mut self, entry: &AlertEntry, route: &RouteName, event: Event) {
        let thread = entry.told_on(route).map_or_else(|| entry.alert.key.to_string(), |told| told.thread.clone());
        self.lay(route, event, item(entry, thread));
    }

    fn resolved(&mut self, entry: &AlertEntry) {
        for told in &entry.told {
            self.lay(&told.route, Event::Resolved, item(entry, told.thread.clone()));
        }
    }

    fn lay(&mut self, route: &RouteName, event: Event, item: Item) {
        let (_, items) = self.laid.entry((route.clone(), event.as_str())).or_insert_with(|| (event, Vec::new()));
        items.push(item);
    }

    /// Messages: one for each alert, or one for all where they would be too many.
    fn lay_out(self, ledger: &mut AlertLedger) {
        let Telling { installation, now, storm_max, laid } = self;
        for ((route, _), (event, mut items)) in laid {
            if event == Event::Fired {
                // It has come back before its end was told: the channel still has it as firing, and has missed nothing.
                items.retain(|item| !take_back(ledger, &route, &item.alert.key));
            }
            // A channel that takes little takes the worst.
            items.sort_by_key(|item| std::cmp::Reverse(item.alert.severity));
            let is_storm = items.len() > storm_max;
            if is_storm && event == Event::Fired {
                let thread = format!("storm/{}", ledger.next_message);
                items.iter_mut().for_each(|item| item.thread.clone_from(&thread));
            }
            if event != Event::Resolved {
                remember(ledger, &route, &items, now);
            }
            let piece = match is_storm {
                false => 1,
                true if event == Event::Resolved => ITEMS_MAX,
                true => items.len().max(1),
            };
            let pieces: Vec<Vec<Item>> = items.chunks(piece).map(<[Item]>::to_vec).collect();
            for mut items in pieces.into_iter().filter(|items| !items.is_empty()) {
                if event == Event::Resolved {
                    end_threads(ledger, &route, &mut items);
                }
                let id = format!("{installation}-{}", ledger.next_message);
                ledger.next_message = ledger.next_message.saturating_add(1);
                let message = Message { id, installation: installation.clone(), event, at: now, items };
                let outgoing =
                    Outgoing { route: route.clone(), message, attempts: 0, not_before: now, last_error: None };
                ledger.outbox.push(outgoing);
            }
        }
    }
}

fn item(entry: &AlertEntry, thread: String) -> Item {
    Item { alert: entry.alert.clone(), since: entry.since, thread, thread_ends: false }
}

/// Takes back the word that an alert is over, if no channel has it yet. Its entry is told by what the channel knows.
fn take_back(ledger: &mut AlertLedger, route: &RouteName, key: &AlertKey) -> bool {
    let mut back = None;
    // One that was tried may have arrived, though nobody has heard so: the channel has to be told anew then.
    for outgoing in ledger.outbox.iter_mut().filter(|own| own.route == *route && own.attempts == 0) {
        if outgoing.message.event == Event::Resolved
            && let Some(at) = outgoing.message.items.iter().position(|item| item.alert.key == *key)
        {
            back = Some(outgoing.message.items.remove(at));
        }
    }
    ledger.outbox.retain(|own| !own.message.items.is_empty());
    let Some(item) = back else { return false };
    let told = Told {
        route: route.clone(),
        thread: item.thread,
        at: item.since,
        severity: item.alert.severity,
        facts: item.alert.what.len(),
    };
    if let Some(entry) = ledger.entries.iter_mut().find(|entry| entry.alert.key == *key) {
        entry.told.push(told);
    }
    true
}

/// Writes down what was laid out to be told.
fn remember(ledger: &mut AlertLedger, route: &RouteName, items: &[Item], now: Timestamp) {
    for item in items {
        let Some(entry) = ledger.entries.iter_mut().find(|entry| entry.alert.key == item.alert.key) else { continue };
        entry.told.retain(|told| told.route != *route);
        entry.told.push(Told {
            route: route.clone(),
            thread: item.thread.clone(),
            at: now,
            severity: item.alert.severity,
            facts: item.alert.what.len(),
        });
    }
}

/// Says of each item whether it is the last of its thread: nothing that still fires is in it.
fn end_threads(ledger: &AlertLedger, route: &RouteName, items: &mut [Item]) {
    for item in items {
        let goes_on = |entry: &AlertEntry| entry.told_on(route).is_some_and(|told| told.thread == item.thread);
        item.thread_ends = !ledger.entries.iter().any(goes_on);
    }
}

/// When time alone has something to tell: a reminder, or a message that is to be tried again.
#[must_use]
pub fn wake_at(ledger: &AlertLedger, policy: &AlertPolicy) -> Option<Timestamp> {
    let reminders = policy.repeat_every.into_iter().flat_map(|every| {
        let firing = ledger.entries.iter().filter(|entry| entry.is_firing()).flat_map(|entry| &entry.told);
        let reminded = firing.filter(|told| policy.routes.get(&told.route).is_some_and(|route| route.repeats));
        reminded.filter_map(move |told| told.at.saturating_add(every).ok())
    });
    reminders.chain(ledger.next_attempt_at(&policy.route_names())).min()
}

#[cfg(test)]
mod tests;
