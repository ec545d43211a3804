//! The account: quotas and parameter groups, asked for from time to time.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::{Collector, SETTINGS_EVERY, observed};
use crate::domain::account::{AccountFacts, ParameterGroup, ParameterGroupName};
use crate::domain::inventory::{Complete, Instance, Observed, Unseen};
use crate::policy::Policy;
use crate::policy::finding::Severity;
use crate::policy::posture::{account_findings, parameter_groups_in_use};
use crate::ports::{PortError, Ports};

/// A group is a handful of requests, and is set anew seldom.
const GROUPS_EVERY: Duration = Duration::from_hours(1);
/// Groups that are asked for at once: enough to hide latency, few enough to stay below throttling.
const GROUPS_AT_ONCE: usize = 8;
/// Time for all of it. None of it decides anything: a second region that does not answer must not hold up the loop.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// What was learned, and when it was last asked for.
#[derive(Debug, Default)]
pub(super) struct AccountCache {
    facts: AccountFacts,
    quotas_asked: Option<Instant>,
    groups_asked: BTreeMap<ParameterGroupName, Instant>,
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
        let AccountCache { facts, quotas_asked, groups_asked } = &mut self.account;
        let is_short = !account_findings(facts).iter().all(|finding| finding.severity == Severity::Info);
        if is_short || quotas_asked.is_none_or(|asked| asked.elapsed() >= SETTINGS_EVERY) {
            match in_time(deadline, ports.account.quotas()).await {
                Ok(quotas) => (facts.quotas, facts.quotas_unseen) = (Some(quotas), None),
                // What was known stands: trouble is not over because nobody sees it.
                Err(unseen) => facts.quotas_unseen = Some(unseen),
            }
            *quotas_asked = Some(Instant::now());
        }
        let wanted =
            parameter_groups_in_use(policy, |source| instances?.iter().find(|own| own.is_called(&source.instance)));
        if instances.is_some() {
            facts.parameter_groups.retain(|group, _| wanted.contains(group));
            facts.groups_unseen.retain(|group, _| wanted.contains(group));
            groups_asked.retain(|group, _| wanted.contains(group));
        }
        let is_due = |group: &&ParameterGroupName| {
            let is_as_it_should_be =
                facts.parameter_groups.get(group) == Some(&Some(ParameterGroup { forces_tls: true }));
            let every = match (facts.groups_unseen.contains_key(group), is_as_it_should_be) {
                (true, _) => SETTINGS_EVERY,
                (false, true) => GROUPS_EVERY,
                (false, false) => Duration::ZERO,
            };
            groups_asked.get(group).is_none_or(|asked| asked.elapsed() >= every)
        };
        let due: Vec<ParameterGroupName> = wanted.iter().filter(is_due).cloned().collect();
        let asked = futures_util::stream::iter(due)
            .map(|group| async move {
                let answer = in_time(deadline, ports.account.parameter_group(&group)).await;
                (group, answer)
            })
            .buffer_unordered(GROUPS_AT_ONCE)
            .collect::<Vec<_>>();
        for (group, answer) in asked.await {
            groups_asked.insert(group.clone(), Instant::now());
            match answer {
                Ok(found) => {
                    facts.groups_unseen.remove(&group);
                    facts.parameter_groups.insert(group, found);
                }
                Err(unseen) => {
                    facts.groups_unseen.insert(group, unseen);
                }
            }
        }
        facts.clone()
    }
}

async fn in_time<T>(deadline: Instant, asked: impl Future<Output = Result<T, PortError>>) -> Observed<T> {
    let late = |_| Err(Unseen(format!("no answer within {} s", ANSWERED_WITHIN.as_secs())));
    timeout_at(deadline, asked).await.map_or_else(late, observed)
}

#[cfg(test)]
mod tests;
