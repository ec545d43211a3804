//! The account: quotas and parameter groups, asked for from time to time.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{Collector, SETTINGS_EVERY, observed};
use crate::domain::account::AccountFacts;
use crate::domain::inventory::{Complete, Instance};
use crate::policy::Policy;
use crate::policy::posture::parameter_groups_in_use;
use crate::ports::Ports;

impl Collector {
    /// What is told of it decides nothing: what cannot be learned is a fact like the others.
    pub(super) async fn look_at_account(
        &mut self,
        ports: &Ports,
        policy: &Policy,
        instances: Option<&Complete<Instance>>,
    ) -> AccountFacts {
        let wanted =
            parameter_groups_in_use(policy, |source| instances?.iter().find(|own| own.is_called(&source.instance)));
        if let Some((known, seen)) = &self.account
            && seen.elapsed() < SETTINGS_EVERY
            && wanted.iter().all(|group| known.parameter_groups.contains_key(group))
        {
            return known.clone();
        }
        let quotas = Some(observed(ports.account.quotas().await));
        let mut parameter_groups = BTreeMap::new();
        for group in wanted {
            let facts = observed(ports.account.parameter_group(&group).await);
            parameter_groups.insert(group, facts);
        }
        let facts = AccountFacts { quotas, parameter_groups };
        self.account = Some((facts.clone(), Instant::now()));
        facts
    }
}
