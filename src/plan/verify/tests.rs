use super::*;
use crate::domain::inventory::{Complete, KnownVerification, ReplicaStore};
use crate::domain::recovery_point::RecoveryPoint;
use crate::testing::{at, dump, inventory, policy, store, stored_dump, verified};

/// Dumps that nobody has looked at yet.
fn unverified(slots: &[&str]) -> Vec<StoredDump> {
    let dumps = slots.iter().map(|slot| stored_dump(dump("accounts", slot, 100, PointState::Good)));
    dumps.map(|stored| StoredDump { verifications: Vec::new(), ..stored }).collect()
}

fn planned(here: Vec<StoredDump>, there: Option<Vec<StoredDump>>) -> Vec<String> {
    let policy = policy(&[("accounts", &["accounts"])]);
    let mut inventory = inventory(&policy);
    let mut all = store(Vec::new(), Vec::new(), Vec::new());
    all.dumps = Complete::after_last_page(here);
    all.replica = there.map(|dumps| Ok(ReplicaStore { dumps: Complete::after_last_page(dumps) }));
    inventory.stores = [(policy.sources.keys().next().unwrap().clone(), Ok(all))].into();
    plan_verifications(&policy, &inventory).iter().map(ToString::to_string).collect()
}

fn good(level: Level) -> KnownVerification {
    verified(level, at("2026-11-02T00:00:00Z"))
}

#[test]
fn each_new_dump_is_asked_for_and_the_newest_is_read_back_once() {
    let mut dumps = unverified(&["2026-11-01T04:00:00Z", "2026-10-01T04:00:00Z"]);
    assert_eq!(
        planned(dumps.clone(), None),
        [
            "verify dump accounts/accounts/20261101t040000z in us-east-1 at level L1",
            "verify dump accounts/accounts/20261001t040000z in us-east-1 at level L1",
            "verify dump accounts/accounts/20261101t040000z in us-east-1 at level L2",
        ]
    );
    dumps.iter_mut().for_each(|stored| stored.verifications = vec![good(Level::L1)]);
    assert_eq!(
        planned(dumps.clone(), None),
        ["verify dump accounts/accounts/20261101t040000z in us-east-1 at level L2"]
    );
    dumps[0].verifications.push(good(Level::L2));
    assert!(planned(dumps, None).is_empty());
}

#[test]
fn a_verification_that_failed_is_not_repeated_by_itself() {
    let mut dumps = unverified(&["2026-11-01T04:00:00Z"]);
    dumps[0].point.state = PointState::Bad { reason: "it was found bad".to_owned() };
    dumps[0].verifications = vec![KnownVerification { fault: Some("gone".to_owned()), ..good(Level::L1) }];
    assert!(planned(dumps, None).is_empty());
}

#[test]
fn a_replica_is_asked_for_as_soon_as_it_is_whole_and_that_is_its_proof() {
    let west = |whole| {
        let dumps = unverified(&["2026-11-01T04:00:00Z"]).into_iter();
        let there = dumps.map(|stored| StoredDump {
            whole,
            point: RecoveryPoint {
                plane: Plane::Replica,
                region: "us-west-2".parse().unwrap(),
                state: PointState::Pending,
                ..stored.point
            },
            ..stored
        });
        there.collect::<Vec<_>>()
    };
    assert!(planned(Vec::new(), Some(west(false))).is_empty());
    assert_eq!(
        planned(Vec::new(), Some(west(true))),
        ["verify dump accounts/accounts/20261101t040000z in us-west-2 at level L1"]
    );
}

#[test]
fn a_round_begins_only_so_many() {
    let months: Vec<String> =
        (0..40).map(|back| format!("{}-{:02}-01T04:00:00Z", 2026 - back / 12, 12 - back % 12)).collect();
    let months: Vec<&str> = months.iter().map(String::as_str).collect();
    assert_eq!(planned(unverified(&months), None).len(), L1_PER_ROUND + 1);
}
