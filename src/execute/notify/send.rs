//! Sends what was claimed: routes beside each other, the messages of one route in their order.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::NotifyObserver;
use super::book::Sent;
use crate::domain::alert::{AlertKey, Item};
use crate::domain::alert_ledger::{AlertEntry, Outgoing};
use crate::domain::id::RouteName;
use crate::ports::notifier::Notifier;
use crate::ports::{Chain, ErrorKind};

/// Sends all; what came of each, by the message's id.
pub(super) async fn send_all(
    notifiers: &BTreeMap<RouteName, Arc<dyn Notifier>>,
    due: Vec<Outgoing>,
    observer: &dyn NotifyObserver,
) -> Vec<(String, Sent)> {
    let mut by_route: BTreeMap<RouteName, Vec<Outgoing>> = BTreeMap::new();
    for outgoing in due {
        by_route.entry(outgoing.route.clone()).or_default().push(outgoing);
    }
    let of_routes = by_route.iter().map(|(name, messages)| send_to(name, notifiers.get(name), messages, observer));
    join_all(of_routes).await.into_iter().flatten().collect()
}

async fn send_to(
    name: &RouteName,
    notifier: Option<&Arc<dyn Notifier>>,
    messages: &[Outgoing],
    observer: &dyn NotifyObserver,
) -> Vec<(String, Sent)> {
    let mut outcomes: Vec<(String, Sent)> = Vec::new();
    let mut is_down = notifier.is_none();
    let mut refused: Vec<&AlertKey> = Vec::new();
    for outgoing in messages {
        let id = outgoing.message.id.clone();
        let keys = || outgoing.message.items.iter().map(|item| &item.alert.key);
        // Nothing is resolved before it has fired.
        let waits = keys().any(|key| refused.contains(&key));
        let Some(notifier) = notifier.filter(|_| !is_down && !waits) else {
            refused.extend(keys());
            outcomes.push((id, Sent::Untried));
            continue;
        };
        let sent = notifier.notify(&outgoing.message).await;
        observer.notified(name.as_str(), sent.is_ok());
        let (event, subject) = (outgoing.message.event.as_str(), outgoing.message.subject());
        match sent {
            Ok(answer) => {
                tracing::info!(route = %name, message.id = id, event, subject, answer, "message delivered");
                outcomes.push((id, Sent::Taken));
            }
            Err(error) => {
                let attempts = outgoing.attempts;
                tracing::warn!(route = %name, message.id = id, event, subject, attempts, error = %Chain(&error), "message not delivered, it is tried again");
                // A message that the channel does not like says nothing of the next one.
                is_down = error.kind() != ErrorKind::Invalid;
                refused.extend(keys());
                outcomes.push((id, Sent::Refused(Chain(&error).to_string())));
            }
        }
    }
    outcomes
}

/// What fires and was told on a route, for a channel that has to hear of it again and again.
pub(super) fn told_item(entry: &AlertEntry, route: &RouteName) -> Option<Item> {
    let told = entry.told_on(route).filter(|_| entry.is_firing())?;
    Some(Item { alert: entry.alert.clone(), since: entry.since, thread: told.thread.clone(), thread_ends: false })
}
