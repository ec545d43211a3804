//! The account: quotas and parameter groups, asked for from time to time.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::{Collector, SETTINGS_EVERY, observed};
use crate::domain::account::{AccountFacts, ParameterGroup, ParameterGroupName};
use crate::domain::diagnosis::Quota;
use crate::domain::inventory::{Complete, Instance, Observed, Unseen};
use crate::policy::Policy;
use crate::policy::posture::{account_findings, parameter_groups_in_use};
use crate::ports::{PortError, Ports};

/// A group is a handful of requests, and is set anew seldom.
const GROUPS_EVERY: Duration = Duration::from_hours(1);
/// Groups that are asked for at once: enough to hide latency, few enough to stay below throttling.
const GROUPS_AT_ONCE: usize = 8;
/// Time for all of it. None of it decides anything: a second region that does not answer must not hold up the loop.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// What was learned, and when.
#[derive(Debug, Default)]
pub(super) struct AccountCache {
    quotas: Option<(Observed<Vec<Quota>>, Instant)>,
    groups: BTreeMap<ParameterGroupName, (Observed<Option<ParameterGroup>>, Instant)>,
}

impl Collector {
    /// What is told of it decides nothing: what cannot be learned is a fact like the others. What a person has to mend is asked
    /// for at each look, so that it is seen at once when it is mended.
    pub(super) async fn look_at_account(
        &mut self,
        ports: &Ports,
        policy: &Policy,
        instances: Option<&Complete<Instance>>,
    ) -> AccountFacts {
        let deadline = Instant::now() + ANSWERED_WITHIN;
        let cache = &mut self.account;
        if !cache.quotas.as_ref().is_some_and(|(known, seen)| is_calm(known) && seen.elapsed() < SETTINGS_EVERY) {
            let quotas = in_time(deadline, ports.account.quotas()).await;
            let known = cache.quotas.take();
            cache.quotas = Some((or_known(quotas, known.as_ref().map(|(known, _)| known)), Instant::now()));
        }
        let wanted =
            parameter_groups_in_use(policy, |source| instances?.iter().find(|own| own.is_called(&source.instance)));
        if instances.is_some() {
            cache.groups.retain(|group, _| wanted.contains(group));
        }
        let is_due = |group: &&ParameterGroupName| match cache.groups.get(group) {
            Some((Ok(Some(ParameterGroup { forces_tls: true })), seen)) => seen.elapsed() >= GROUPS_EVERY,
            Some((Ok(_), _)) | None => true,
            Some((Err(_), seen)) => seen.elapsed() >= SETTINGS_EVERY,
        };
        let due: Vec<ParameterGroupName> = wanted.iter().filter(is_due).cloned().collect();
        let asked = futures_util::stream::iter(due)
            .map(|group| async move {
                let facts = in_time(deadline, ports.account.parameter_group(&group)).await;
                (group, facts)
            })
            .buffer_unordered(GROUPS_AT_ONCE)
            .collect::<Vec<_>>();
        for (group, facts) in asked.await {
            let facts = or_known(facts, cache.groups.get(&group).map(|(known, _)| known));
            cache.groups.insert(group, (facts, Instant::now()));
        }
        AccountFacts {
            quotas: cache.quotas.as_ref().map(|(quotas, _)| quotas.clone()),
            parameter_groups: cache.groups.iter().map(|(group, (facts, _))| (group.clone(), facts.clone())).collect(),
        }
    }
}

/// Whether quotas are no reason to look again soon.
fn is_calm(quotas: &Observed<Vec<Quota>>) -> bool {
    let facts = AccountFacts { quotas: Some(quotas.clone()), parameter_groups: BTreeMap::new() };
    quotas.is_err() || account_findings(&facts).is_empty()
}

async fn in_time<T>(deadline: Instant, asked: impl Future<Output = Result<T, PortError>>) -> Observed<T> {
    let late = |_| Err(Unseen(format!("no answer within {} s", ANSWERED_WITHIN.as_secs())));
    timeout_at(deadline, asked).await.map_or_else(late, observed)
}

/// What was known before is better than an answer that did not come: trouble is not over because nobody sees it.
fn or_known<T: Clone>(now: Observed<T>, known: Option<&Observed<T>>) -> Observed<T> {
    match (now, known) {
        (Err(_), Some(Ok(known))) => Ok(known.clone()),
        (now, _) => now,
    }
}

#[cfg(test)]
mod tests;
