//! Dumps that were good when they were made, and what becomes of the next reading.

use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use tokio_util::sync::CancellationToken;

use super::{Daemon, Ended, World};
use crate::domain::inventory::{Inventory, StoredDump};
use crate::domain::key::{DumpId, Layout, ObjectKey};
use crate::domain::prune_record::PruneRecord;
use crate::domain::recovery_point::{Plane, PointState};
use crate::domain::verification::{EvidenceOfVerification, Level, Verdict, Verification};
use crate::execute::Outcome;
use crate::plan::Plan;
use crate::plan::action::{Action, VerifyDump};
use crate::policy::finding::Check;
use crate::policy::verify::VerifyPolicy;
use crate::ports::ErrorKind;
use crate::testing::at;
use crate::testing::fake_store::FakeObjectStore;
use crate::testing::faults::Operation;

const BEGIN: &str = "2026-11-01T00:00:00Z";
/// By then the dump of the first was read back in both buckets.
const MADE: &str = "2026-11-01T12:00:00Z";
/// By then it has had its turn again.
const READ_AGAIN: &str = "2026-11-04T12:00:00Z";

fn world() -> World {
    World::of(&[("accounts", &["accounts"])])
        .starting_at(at(BEGIN))
        .encrypted()
        .replica_in("us-west-2")
        .policy(|policy| {
            policy.verify = VerifyPolicy {
                deadline: SignedDuration::from_hours(24),
                cycle: Some(SignedDuration::from_hours(48)),
                replica_interval: Some(SignedDuration::from_hours(24)),
            };
        })
        .build()
}

async fn live(world: &World, until: &str) {
    assert_eq!(world.daemon("pod-1").run_until(at(until)).await, Ended::Stopped);
}

/// What somebody sees who has seen nothing before, and would do.
async fn look(world: &World) -> (Inventory, Plan) {
    let inventory = world.look().await;
    let plan = crate::plan::plan(&world.policy, &inventory, world.clock.true_now());
    (inventory, plan)
}

fn layout(world: &World) -> Layout {
    Layout::new(&world.policy.destination.prefix)
}

fn stored(inventory: &Inventory, plane: Plane) -> StoredDump {
    let store = inventory.stores.values().next().unwrap().as_ref().unwrap();
    let oldest = store.dumps_in(plane).unwrap().iter().min_by_key(|stored| stored.dump.slot);
    oldest.unwrap().clone()
}

fn bucket(world: &World, plane: Plane) -> &FakeObjectStore {
    match plane {
        Plane::Primary => &world.store,
        Plane::Replica => world.replica.as_ref().unwrap(),
    }
}

/// The archive of a dump, and another object of it.
async fn objects(world: &World, dump: &DumpId) -> (ObjectKey, ObjectKey) {
    let manifests = world.manifests().await;
    let manifest = manifests.iter().find(|manifest| manifest.dump == *dump).unwrap();
    let named = |name: &str| {
        let object = manifest.objects.iter().find(|object| object.key.file_name() == name);
        object.unwrap().key.clone()
    };
    (named("archive.dump.zst"), named("globals.sql"))
}

fn checks(plan: &Plan) -> Vec<Check> {
    plan.findings.iter().map(|finding| finding.check).collect()
}

/// What happens to a dump's archive; the other object is one beside it.
type Damage = fn(&FakeObjectStore, &ObjectKey, &ObjectKey);

#[rstest]
#[case::bit_flip(|store: &FakeObjectStore, archive: &ObjectKey, _: &ObjectKey| store.flip_bit(archive, 40), "SHA-256 is")]
#[case::truncated(|store: &FakeObjectStore, archive: &ObjectKey, _: &ObjectKey| store.truncate(archive, 40), "has 40 bytes instead of")]
#[case::lost(|store: &FakeObjectStore, archive: &ObjectKey, _: &ObjectKey| store.lose(archive), "is missing")]
#[case::swapped(|store: &FakeObjectStore, archive: &ObjectKey, other: &ObjectKey| store.swap(archive, other), "bytes instead of")]
#[tokio::test(start_paused = true)]
async fn what_is_spoilt_after_it_was_read_back_is_found_by_the_next_reading_and_recorded(
    #[values(Plane::Primary, Plane::Replica)] plane: Plane,
    #[case] damage: Damage,
    #[case] how: &str,
) {
    let world = world();
    live(&world, MADE).await;
    let (inventory, _) = look(&world).await;
    let before = stored(&inventory, plane);
    assert!(before.point.is_good() && before.point.verified_at.is_some(), "{before:?}");
    let (archive, other) = objects(&world, &before.dump).await;
    damage(bucket(&world, plane), &archive, &other);
    live(&world, READ_AGAIN).await;
    let (inventory, plan) = look(&world).await;
    let after = stored(&inventory, plane);
    let PointState::Bad { reason } = &after.point.state else { panic!("{after:?}") };
    assert!(reason.contains(archive.as_str()) && reason.contains(how), "{reason}");
    assert_eq!(after.standing_doubts().count(), 1, "it is recorded: {:?}", after.verifications);
    assert_eq!(after.point.verified_at, None);
    assert!(checks(&plan).contains(&Check::DumpBad), "{:?}", plan.findings);
    let elsewhere = Plane::ALL.into_iter().find(|other| *other != plane).unwrap();
    assert!(stored(&inventory, elsewhere).point.is_good(), "in the other bucket it is good");
}

#[rstest]
#[case::rows(r#""rows": 20"#, r#""rows": 21"#, "rows and")]
#[case::hash(r#""sha256": ""#, r#""sha256": "0"#, "SHA-256 is")]
#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_altered_is_another_claim_and_is_looked_into_at_once(
    #[case] written: &str,
    #[case] altered: &str,
    #[case] how: &str,
) {
    let world = world();
    live(&world, MADE).await;
    let dump = stored(&look(&world).await.0, Plane::Primary).dump;
    let key = layout(&world).manifest(&dump);
    let manifest = String::from_utf8(world.store.bytes(&key).unwrap().to_vec()).unwrap();
    assert!(manifest.contains(written), "{manifest}");
    world.store.overwrite(&key, manifest.replace(written, altered).as_bytes());
    assert_eq!(stored(&look(&world).await.0, Plane::Primary).point.verified_at, None, "nobody has proven that");
    live(&world, "2026-11-01T14:00:00Z").await;
    let after = stored(&look(&world).await.0, Plane::Primary);
    let PointState::Bad { reason } = &after.point.state else { panic!("{after:?}") };
    assert!(reason.contains(how), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_repaired_replica_counts_again_after_a_reading_as_deep_as_the_one_that_found_it_bad() {
    let world = world();
    live(&world, MADE).await;
    let dump = stored(&look(&world).await.0, Plane::Replica).dump;
    let (archive, _) = objects(&world, &dump).await;
    bucket(&world, Plane::Replica).flip_bit(&archive, 40);
    live(&world, READ_AGAIN).await;
    bucket(&world, Plane::Replica).flip_bit(&archive, 40);
    live(&world, "2026-11-10T00:00:00Z").await;
    let still = stored(&look(&world).await.0, Plane::Replica);
    assert!(!still.point.is_good(), "that it was repaired is for a person to say");
    for (level, good) in [(Level::L1, false), (Level::L2, true)] {
        verify(&world, &still, level).await;
        assert_eq!(stored(&look(&world).await.0, Plane::Replica).point.is_good(), good, "{level}");
    }
}

async fn verify(world: &World, stored: &StoredDump, level: Level) {
    world.pass_until(world.clock.true_now() + SignedDuration::from_mins(1)).await;
    let done = verified(world, stored, level).await;
    assert!(matches!(done, Outcome::Verified(_)), "{done:?}");
}

/// What comes of verifying what was seen, by another daemon than the one that lives here.
async fn verified(world: &World, stored: &StoredDump, level: Level) -> Outcome {
    verified_by(&world.daemon("pod-3"), stored, level).await
}

async fn verified_by(daemon: &Daemon, stored: &StoredDump, level: Level) -> Outcome {
    let action = Action::Verify(Box::new(VerifyDump { stored: stored.clone(), level }));
    daemon.executor.execute(action, std::sync::Arc::default(), CancellationToken::new()).await
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_nobody_can_read_is_no_copy_and_is_not_called_bad_and_heals_by_itself() {
    let world = world();
    let daemon = world.daemon("pod-1");
    let is_read = |after: &StoredDump, since: Timestamp| after.point.verified_at.is_some_and(|at| at > since);
    let mends = async {
        world.pass_until(at(MADE)).await;
        bucket(&world, Plane::Replica).set_key_enabled(false);
        world.pass_until(at(READ_AGAIN)).await;
        // By its records alone: the primary bucket has them.
        let keys = world.store.keys();
        let record = keys.iter().find(|key| key.as_str().ends_with("/replica-l2.json")).unwrap();
        let record = String::from_utf8(world.store.bytes(record).unwrap().to_vec()).unwrap();
        assert!(record.contains(r#""result": "unreadable""#), "{record}");
        bucket(&world, Plane::Replica).set_key_enabled(true);
        let (inventory, plan) = look(&world).await;
        let after = stored(&inventory, Plane::Replica);
        assert!(!after.point.is_good() && after.unreadable().is_some(), "{after:?}");
        assert!(checks(&plan).contains(&Check::DumpUnreadable), "{:?}", plan.findings);
        assert!(!checks(&plan).contains(&Check::DumpBad), "{:?}", plan.findings);
        assert!(stored(&inventory, Plane::Primary).point.is_good());
    };
    let (ended, ()) = tokio::join!(daemon.run_until(at("2026-11-05T12:00:00Z")), mends);
    assert_eq!(ended, Ended::Stopped);
    let after = stored(&look(&world).await.0, Plane::Replica);
    assert!(after.point.is_good() && is_read(&after, at(READ_AGAIN)), "{after:?}");
}

#[rstest]
#[case::asked_for(Level::L1, false)]
#[case::read(Level::L2, false)]
#[case::to_its_end(Level::L1, true)]
#[tokio::test(start_paused = true)]
async fn what_another_daemon_deletes_meanwhile_is_not_found_bad(#[case] level: Level, #[case] to_its_end: bool) {
    let world = world();
    live(&world, MADE).await;
    let (inventory, _) = look(&world).await;
    let planned_for = stored(&inventory, Plane::Primary);
    let record = PruneRecord {
        version: 1,
        installation: world.policy.installation.clone(),
        dump: planned_for.dump.clone(),
        run: planned_for.point.run.clone().unwrap(),
        resource: planned_for.point.resource.clone().unwrap(),
        plane: Plane::Primary,
        region: world.policy.region.clone(),
        reason: "expired".to_owned(),
        versions: vec![planned_for.manifest.clone()],
        began_at: world.clock.true_now(),
        finished_at: to_its_end.then(|| world.clock.true_now()),
    };
    let key = layout(&world).prune_record(&planned_for.dump, Plane::Primary);
    world.store.overwrite(&key, &serde_json::to_vec(&record).unwrap());
    let (archive, _) = objects(&world, &planned_for.dump).await;
    world.store.lose(&archive);
    let done = verified(&world, &planned_for, level).await;
    // A record that is closed tells of an earlier dump of the slot, as long as there is a manifest.
    match (to_its_end, done) {
        (false, Outcome::Overtaken { reason }) => assert!(reason.ends_with("is being deleted"), "{reason}"),
        (true, Outcome::Verified(record)) => assert!(matches!(record.verdict, Verdict::Bad { .. }), "{record:?}"),
        (_, other) => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_found_bad_meanwhile_is_not_lifted_by_an_older_look_nor_by_one_that_saw_nothing() {
    let world = world();
    live(&world, MADE).await;
    let dump = stored(&look(&world).await.0, Plane::Primary);
    let key = layout(&world).verification(&dump.dump, Plane::Primary, Level::L2);
    let mut record: Verification = serde_json::from_slice(&world.store.bytes(&key).unwrap()).unwrap();
    // By another daemon, which ends after our look has begun.
    record.verdict = Verdict::Bad { faults: vec!["bits have flipped".to_owned()] };
    record.finished_at = world.clock.true_now() + SignedDuration::from_hours(1);
    world.store.overwrite(&key, &serde_json::to_vec(&record).unwrap());
    let done = verified(&world, &dump, Level::L2).await;
    assert!(matches!(done, Outcome::Overtaken { .. }), "{done:?}");
    world.pass_until(record.finished_at + SignedDuration::from_secs(1)).await;
    let done = verified(&world, &dump, Level::L2).await;
    assert!(matches!(done, Outcome::Verified(_)), "a look that began later lifts it: {done:?}");
}

/// What was ever verified, in the order of the chain.
fn evidence(world: &World) -> Vec<EvidenceOfVerification> {
    let layout = layout(world);
    let keys = world.store.keys().into_iter().filter(|key| layout.evidence_number(key).is_some());
    let mut chain: Vec<EvidenceOfVerification> =
        keys.map(|key| serde_json::from_slice(&world.store.bytes(&key).unwrap()).unwrap()).collect();
    chain.sort_by_key(|evidence| evidence.number);
    chain
}

/// One after the other: what is written down first, then the record, then what could not be written down before.
#[rstest]
#[case::at_once(&[])]
#[case::after_an_outage(&[ErrorKind::Transient])]
#[case::after_a_longer_one(&[ErrorKind::Transient, ErrorKind::Throttled])]
#[tokio::test(start_paused = true)]
async fn that_a_dump_is_bad_is_evidence_once(#[case] outages: &[ErrorKind]) {
    let world = world();
    live(&world, MADE).await;
    let dump = stored(&world.look().await, Plane::Primary);
    let before = evidence(&world).len();
    world.store.flip_bit(&objects(&world, &dump.dump).await.0, 40);
    let daemon = world.daemon("pod-3");
    outages.iter().for_each(|kind| daemon.faults.fail_next_of(Operation::Put, "/evidence/", *kind));
    let done = verified_by(&daemon, &dump, Level::L2).await;
    assert!(matches!(done, Outcome::Verified(_)), "{done:?}");
    let chain = evidence(&world);
    assert_eq!(chain.len(), before + 1);
    assert!(matches!(chain.last().unwrap().verification.verdict, Verdict::Bad { .. }), "{chain:?}");
}

/// A dump must not count as read back while nobody could show it.
#[tokio::test(start_paused = true)]
async fn a_good_dump_is_recorded_with_its_evidence_or_not_at_all() {
    let world = world();
    live(&world, MADE).await;
    let dump = stored(&world.look().await, Plane::Primary);
    let before = (dump.point.verified_at, evidence(&world).len());
    world.pass_until(world.clock.true_now() + SignedDuration::from_mins(1)).await;
    let daemon = world.daemon("pod-3");
    daemon.faults.fail_next_of(Operation::Put, "/evidence/", ErrorKind::PermissionDenied);
    let done = verified_by(&daemon, &dump, Level::L2).await;
    assert!(matches!(done, Outcome::Failed { .. }), "{done:?}");
    let after = stored(&world.look().await, Plane::Primary);
    assert_eq!((after.point.verified_at, evidence(&world).len()), before);
}

/// The chain goes on when its end cannot be read, from the last that can.
#[tokio::test(start_paused = true)]
async fn evidence_that_cannot_be_read_does_not_end_the_chain() {
    let world = world();
    live(&world, MADE).await;
    let dump = stored(&world.look().await, Plane::Primary);
    world.pass_until(world.clock.true_now() + SignedDuration::from_mins(1)).await;
    let before = evidence(&world);
    let daemon = world.daemon("pod-3");
    let newest = layout(&world).evidence(&dump.dump.source, before.len() as u64);
    daemon.faults.fail_next_of(Operation::Get, newest.as_str(), ErrorKind::PermissionDenied);
    let done = verified_by(&daemon, &dump, Level::L2).await;
    assert!(matches!(done, Outcome::Verified(_)), "{done:?}");
    let chain = evidence(&world);
    assert_eq!(chain.len(), before.len() + 1);
    let last_but_one = layout(&world).evidence(&dump.dump.source, before.len() as u64 - 1);
    assert_eq!(chain.last().unwrap().previous.as_ref().unwrap().key, last_but_one.as_str());
}
