//! What CloudWatch is told: the few numbers that its alarms watch, read off each look.
//!
//! Alarms on them treat missing data as a breach: a daemon that is dead or stuck publishes nothing, and of what one does not see
//! whole it publishes nothing but that it lives.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Plan;
use super::decision::Decision;
use crate::domain::id::{Kind, SourceId};
use crate::domain::inventory::Inventory;
use crate::domain::published::{Datum, MetricName};
use crate::domain::run::{RunRecord, RunState};

/// The numbers of one look. What nobody knows is left out: a zero would be good news.
#[must_use]
pub fn data(inventory: &Inventory, plan: &Plan) -> Vec<Datum> {
    let mut data = vec![Datum { name: MetricName::Heartbeat, source: None, kind: None, value: 1.0 }];
    let mut obligations: BTreeMap<(SourceId, Kind), Vec<&Decision>> = BTreeMap::new();
    for decision in &plan.decisions {
        obligations.entry((decision.source.clone(), decision.kind)).or_default().push(decision);
    }
    for ((source, kind), decisions) in &obligations {
        let mut tell = |name, value: Option<f64>| {
            let kind = Some(kind.as_str());
            data.extend(value.map(|value| Datum { name, source: Some(source.clone()), kind, value }));
        };
        if !inventory.sees_counting_points(source, *kind) {
            continue;
        }
        tell(MetricName::LastSuccessAge, oldest(decisions, inventory.taken_at));
        tell(MetricName::Overdue, Some(f64::from(u8::from(decisions.iter().any(|own| own.freshness.overdue)))));
        let failed: u32 = decisions.iter().map(|own| failures(inventory, own)).sum();
        tell(MetricName::RunFailures, inventory.store(source).is_ok().then_some(f64::from(failed)));
        let own = plan.points.iter().filter(|point| point.source == *source && point.kind == *kind);
        let stored = as_float(own.map(|point| point.size_bytes).sum());
        tell(MetricName::StoredBytes, sees_all_planes(inventory, source, *kind).then_some(stored));
    }
    for drill in &plan.drills {
        let took = drill.last.as_ref().and_then(|record| record.recovery_time());
        let (source, kind) = (Some(drill.source.clone()), Some(drill.path.as_str()));
        data.extend(took.map(|took| Datum {
            name: MetricName::DrillDuration,
            source,
            kind,
            value: took.as_secs_f64(),
        }));
    }
    data
}

fn sees_all_planes(inventory: &Inventory, source: &SourceId, kind: Kind) -> bool {
    match kind {
        Kind::Snapshot => inventory.copies.values().all(Result::is_ok),
        Kind::Dump => inventory.store(source).is_ok_and(|store| !matches!(store.replica, Some(Err(_)))),
    }
}

/// Of several databases the one that is worst off; nothing where one has no good dump at all.
fn oldest(decisions: &[&Decision], now: Timestamp) -> Option<f64> {
    let newest: Option<Vec<Timestamp>> = decisions.iter().map(|own| own.freshness.newest_at).collect();
    let age = now.duration_since(newest?.into_iter().min()?);
    Some(age.max(SignedDuration::ZERO).as_secs_f64())
}

/// Attempts that have failed since the data of the newest good recovery point.
fn failures(inventory: &Inventory, decision: &Decision) -> u32 {
    let Ok(store) = inventory.store(&decision.source) else { return 0 };
    let since = decision.freshness.newest_at.unwrap_or(Timestamp::MIN);
    let has_failed = |record: &&RunRecord| {
        let is_own = record.run.kind == decision.kind && record.run.database == decision.database;
        match record.state {
            RunState::Failed { finished_at, .. } | RunState::Abandoned { finished_at, .. } => {
                is_own && finished_at > since
            }
            RunState::Running | RunState::Succeeded { .. } | RunState::Cancelled { .. } => false,
        }
    };
    let failed = store.runs.iter().map(|stored| &stored.record).filter(has_failed).count();
    u32::try_from(failed).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "CloudWatch takes floats; the last bytes of petabytes are no matter")]
fn as_float(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::inventory::Unseen;
    use crate::domain::recovery_point::PointState;
    use crate::policy::Policy;
    use crate::testing::{dump, inventory, now, policy, store};

    fn told(policy: &Policy, inventory: &Inventory) -> Vec<String> {
        let plan = crate::plan::plan(policy, inventory, now());
        let words = |datum: &Datum| {
            let source = datum.source.as_ref().map_or_else(String::new, |source| format!(" {source}"));
            format!("{}{source} {} = {}", datum.name.as_str(), datum.kind.unwrap_or_default(), datum.value)
        };
        data(inventory, &plan).iter().map(words).collect()
    }

    /// The snapshot is of 03:05 on the day before; of dumps there is one, for one of two databases.
    #[test]
    fn each_kind_of_a_source_has_its_numbers_and_the_worst_database_counts() {
        let policy = policy(&[("accounts", &["accounts", "audit"])]);
        let mut inventory = inventory(&policy);
        let whole = dump("accounts", "2026-11-01T04:00:00Z", 7, PointState::Good);
        inventory.stores.insert("accounts".parse().unwrap(), Ok(store(vec![whole], Vec::new(), Vec::new())));
        let told = told(&policy, &inventory);
        assert_eq!(told[0], "Heartbeat  = 1");
        assert!(told.iter().any(|line| line.starts_with("LastSuccessAge accounts snapshot = ")), "{told:?}");
        assert!(!told.iter().any(|line| line.starts_with("LastSuccessAge accounts dump")), "one has none: {told:?}");
        assert!(told.contains(&"Overdue accounts dump = 1".to_owned()), "{told:?}");
        assert!(told.contains(&"StoredBytes accounts dump = 7".to_owned()), "{told:?}");
        assert!(told.contains(&"RunFailures accounts snapshot = 0".to_owned()), "{told:?}");
    }

    #[test]
    fn what_was_not_seen_is_missing_and_not_zero() {
        let policy = policy(&[("accounts", &["accounts"])]);
        let mut inventory = inventory(&policy);
        inventory.snapshots = Err(Unseen("throttled".to_owned()));
        inventory.stores.insert("accounts".parse().unwrap(), Err(Unseen("throttled".to_owned())));
        assert_eq!(told(&policy, &inventory), ["Heartbeat  = 1"]);
    }
}
