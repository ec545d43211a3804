//! Sends what was claimed: routes beside each other, the messages of one route in their order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::NotifyObserver;
use super::book::Sent;
use crate::domain::alert::{AlertKey, Item};
use crate::domain::alert_ledger::{AlertEntry, Outgoing};
use crate::domain::id::RouteName;
use crate::ports::notifier::Notifier;
use crate::ports::{Chain, ErrorKind, PortError};

/// How long a channel has for one message: it reads its secret, and is spoken to more than once where a protocol asks for that.
const MESSAGE_WITHIN: Duration = Duration::from_secs(30);
/// And a route for all that it is given in one round, which ends before what it has claimed is free for others.
const ROUTE_WITHIN: Duration = Duration::from_mins(2);

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
    let route_until = Instant::now() + ROUTE_WITHIN;
    for outgoing in messages {
        let id = outgoing.message.id.clone();
        let keys = || outgoing.message.items.iter().map(|item| &item.alert.key);
        // Nothing is resolved before it has fired.
        let waits = keys().any(|key| refused.contains(&key));
        let has_time = Instant::now() < route_until;
        let Some(notifier) = notifier.filter(|_| !is_down && !waits && has_time) else {
            refused.extend(keys());
            outcomes.push((id, Sent::Untried));
            continue;
        };
        let sent = in_time(route_until, notifier.notify(&outgoing.message)).await;
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

/// Gives a channel its time and no more: one that hangs holds up nobody else.
pub(super) async fn in_time<T>(
    until: Instant,
    answer: impl Future<Output = Result<T, PortError>>,
) -> Result<T, PortError> {
    let until = until.min(Instant::now() + MESSAGE_WITHIN);
    let late = |_| Err(PortError::new("tell a channel", ErrorKind::Transient).because("it did not answer in time"));
    timeout_at(until, answer).await.unwrap_or_else(late)
}

/// What fires and was told on a route, for a channel that has to hear of it again and again.
pub(super) fn told_item(entry: &AlertEntry, route: &RouteName) -> Option<Item> {
    let told = entry.told_on(route).filter(|_| entry.is_firing())?;
    Some(Item { alert: entry.alert.clone(), since: entry.since, thread: told.thread.clone(), thread_ends: false })
}
