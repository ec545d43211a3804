//! Records that are older than evidence is kept.

use super::*;
use crate::domain::id::RunId;
use crate::domain::inventory::{OldRecord, OpenUpload, RecordOf, StoredRun};

const SLOT: &str = "2025-08-01T04:00:00Z";

fn dump_id() -> DumpId {
    DumpId { source: "accounts".parse().unwrap(), database: "accounts".parse().unwrap(), slot: Slot::at(at(SLOT)) }
}

fn ended(slot: &str) -> StoredRun {
    let mut run = dump_run("accounts", slot, OwnerState::Dead);
    run.record.state = RunState::Succeeded { finished_at: at(slot), size_bytes: 1 };
    run
}

fn snapshot_run(slot: &str) -> StoredRun {
    let mut run = ended(slot);
    (run.record.run.kind, run.record.run.database) = (Kind::Snapshot, None);
    run.record.snapshot = Some(format!("strongroom-accounts-{}", run.record.run.slot).parse().unwrap());
    run
}

fn record(of: RecordOf, name: &str) -> OldRecord {
    let version = |id: &str| ObjectVersion {
        key: crate::domain::key::ObjectKey::listed(format!("strongroom/accounts/{name}.json")),
        version_id: Some(id.to_owned()),
    };
    OldRecord { of, written_at: at("2025-12-01T00:00:00Z"), versions: vec![version("2"), version("1")] }
}

/// A run of each kind whose backup is gone, the deletion and the verification of that dump: two versions of each record.
fn world() -> (Policy, Inventory) {
    let mut policy = policy();
    policy.prune.keep_evidence = Some(SignedDuration::from_hours(300 * 24));
    let mut inventory = seen(&policy);
    let store = of_accounts(&mut inventory);
    let (dump, snapshot) = (ended(SLOT), snapshot_run(SLOT));
    let run = |stored: &StoredRun| RecordOf::Run(stored.record.run.clone());
    store.old_records = Complete::after_last_page(vec![
        record(run(&dump), "runs/dump"),
        record(run(&snapshot), "runs/snapshot"),
        record(RecordOf::Deletion(dump_id(), Plane::Primary), "prunes/dump"),
        record(RecordOf::Verification(dump_id(), Plane::Primary), "verifications/dump"),
    ]);
    let newer = "2026-11-01T04:00:00Z";
    store.runs = Complete::after_last_page(vec![dump, snapshot, ended(newer), snapshot_run(newer)]);
    (policy, inventory)
}

/// Names of the records that go, each once.
fn swept(policy: &Policy, inventory: &Inventory) -> Vec<String> {
    let plan = planned(policy, inventory);
    let records = plan.actions.iter().filter_map(|action| {
        let Action::Sweep(sweep) = action else { return None };
        (sweep.what == crate::plan::action::Swept::OldRecords).then_some(sweep.versions.iter().chain(&sweep.last))
    });
    let names: std::collections::BTreeSet<String> =
        records.flatten().map(|version| version.key.as_str().replace("strongroom/accounts/", "")).collect();
    names.into_iter().collect()
}

const ALL: [&str; 4] = ["prunes/dump.json", "runs/dump.json", "runs/snapshot.json", "verifications/dump.json"];

#[test]
fn records_of_what_is_long_gone_go_with_all_of_their_versions() {
    let (policy, inventory) = world();
    assert_eq!(swept(&policy, &inventory), ALL);
    let plan = planned(&policy, &inventory);
    let told: Vec<String> = plan.actions.iter().map(ToString::to_string).collect();
    let line = "delete 8 version(s) of records of accounts that are older than evidence is kept";
    assert!(told.iter().any(|own| own == line), "{told:#?}");
}

#[test]
fn what_tells_of_a_backup_that_stands_stays() {
    let (policy, mut inventory) = world();
    inventory.snapshots = Ok(snapshots(&policy, &[SLOT]));
    assert_eq!(swept(&policy, &inventory), ["prunes/dump.json", "runs/dump.json", "verifications/dump.json"]);
    let (policy, mut inventory) = world();
    inventory.copies = [("us-west-2".parse().unwrap(), Ok(snapshots(&policy, &[SLOT])))].into();
    assert!(!swept(&policy, &inventory).contains(&"runs/snapshot.json".to_owned()));
    // Somebody's, with the marks of the one that is gone.
    let mut foreign = snapshot(&policy, source(&policy), SLOT);
    foreign.id = "by-hand".parse().unwrap();
    inventory.copies = [("us-west-2".parse().unwrap(), Ok(Complete::after_last_page(vec![foreign])))].into();
    assert_eq!(swept(&policy, &inventory), ALL);
    let mut copy = snapshot(&policy, source(&policy), SLOT);
    copy.id = format!("{}-c2", copy.id).parse().unwrap();
    copy.tags.insert(crate::domain::tags::OWNER.to_owned(), format!("{}/{}", policy.installation, copy.id));
    inventory.copies = [("us-west-2".parse().unwrap(), Ok(Complete::after_last_page(vec![copy])))].into();
    assert!(!swept(&policy, &inventory).contains(&"runs/snapshot.json".to_owned()), "a copy of another name");
    let (policy, mut inventory) = world();
    let standing = stored_dump(dump("accounts", SLOT, 100, PointState::Good));
    of_accounts(&mut inventory).dumps = Complete::after_last_page(vec![standing.clone()]);
    assert_eq!(swept(&policy, &inventory), ["runs/snapshot.json"]);
    let (policy, mut inventory) = world();
    let dumps = Complete::after_last_page(vec![standing]);
    of_accounts(&mut inventory).replica = Some(Ok(ReplicaStore { dumps }));
    assert_eq!(swept(&policy, &inventory), ["runs/snapshot.json"], "in the replica bucket");
}

#[test]
fn what_explains_something_that_is_left_or_the_next_attempt_stays() {
    let run: RunId = ended(SLOT).record.run;
    let (policy, mut inventory) = world();
    of_accounts(&mut inventory).remains = Complete::after_last_page(vec![remains("accounts", SLOT, 1)]);
    assert!(!swept(&policy, &inventory).contains(&"runs/dump.json".to_owned()), "its remains");
    let (policy, mut inventory) = world();
    let key = crate::domain::key::Layout::new("strongroom").dump_object(&dump_id(), &run, "archive.dump.zst");
    let upload = OpenUpload { key, upload: "u".to_owned() };
    of_accounts(&mut inventory).uploads = Complete::after_last_page(vec![upload]);
    assert!(!swept(&policy, &inventory).contains(&"runs/dump.json".to_owned()), "its upload");
    let (policy, mut inventory) = world();
    of_accounts(&mut inventory).runs = Complete::after_last_page(vec![ended(SLOT), snapshot_run(SLOT)]);
    assert_eq!(swept(&policy, &inventory), ["prunes/dump.json", "verifications/dump.json"], "the newest attempts");
    let (policy, mut inventory) = world();
    of_accounts(&mut inventory).prunes = Complete::after_last_page(vec![sweeping::open_record(SLOT)]);
    assert_eq!(swept(&policy, &inventory), ["runs/snapshot.json"], "a deletion under way");
    let (policy, mut inventory) = world();
    let another = sweeping::open_record("2026-08-01T04:00:00Z");
    of_accounts(&mut inventory).prunes = Complete::after_last_page(vec![another]);
    assert_eq!(swept(&policy, &inventory), ALL, "of another dump");
}

#[test]
fn the_newest_attempts_are_those_of_the_same_database() {
    let (policy, mut inventory) = world();
    let mut of_another = ended("2026-11-01T04:00:00Z");
    of_another.record.run.database = Some("audit".parse().unwrap());
    let runs = vec![ended(SLOT), of_another, snapshot_run(SLOT), snapshot_run("2026-11-01T04:00:00Z")];
    of_accounts(&mut inventory).runs = Complete::after_last_page(runs);
    assert_eq!(swept(&policy, &inventory), ["prunes/dump.json", "runs/snapshot.json", "verifications/dump.json"]);
}

#[rstest]
#[case::snapshots(|_: &mut Policy, inventory: &mut Inventory| inventory.snapshots = Err(blind()))]
#[case::copies(|_: &mut Policy, inventory: &mut Inventory| inventory.copies = [("us-west-2".parse().unwrap(), Err(blind()))].into())]
#[case::the_replica_bucket(|_: &mut Policy, inventory: &mut Inventory| of_accounts(inventory).replica = Some(Err(blind())))]
#[case::the_bucket(|_: &mut Policy, inventory: &mut Inventory| inventory.stores.values_mut().for_each(|store| *store = Err(blind())))]
#[case::the_clock(|_: &mut Policy, inventory: &mut Inventory| inventory.clock_skew = None)]
#[case::a_person_decides(|policy: &mut Policy, _: &mut Inventory| policy.prune.automatic = false)]
fn whatever_is_in_doubt_keeps_all_records(#[case] trouble: Trouble) {
    let (mut policy, mut inventory) = world();
    trouble(&mut policy, &mut inventory);
    assert_eq!(swept(&policy, &inventory), Vec::<String>::new());
}

#[test]
fn a_sweep_takes_as_many_versions_as_one_request_can() {
    let (policy, mut inventory) = world();
    let many = |index: usize| record(RecordOf::Verification(dump_id(), Plane::Primary), &index.to_string());
    of_accounts(&mut inventory).old_records = Complete::after_last_page((0..600).map(many).collect());
    assert_eq!(swept(&policy, &inventory).len(), 500);
}

#[test]
fn what_stands_of_a_record_goes_after_its_older_versions_and_of_too_many_the_oldest_go_first() {
    let (policy, mut inventory) = world();
    let ids = |action: &Action| {
        let Action::Sweep(sweep) = action else { return None };
        let names = |versions: &[ObjectVersion]| {
            versions.iter().map(|version| version.version_id.clone().unwrap()).collect::<Vec<_>>()
        };
        Some((names(&sweep.versions), names(&sweep.last)))
    };
    let planned = |inventory: &Inventory| planned(&policy, inventory).actions.iter().find_map(ids).unwrap();
    assert_eq!(planned(&inventory), (vec!["1".to_owned(); 4], vec!["2".to_owned(); 4]));
    let mut much = record(RecordOf::Verification(dump_id(), Plane::Primary), "much");
    let version = much.versions.remove(0);
    let numbered = |id: u32| ObjectVersion { version_id: Some(id.to_string()), ..version.clone() };
    for (count, oldest, newest) in [(2000, 1000, 0), (1001, 1000, 0), (1000, 999, 1)] {
        much.versions = (0..count).rev().map(numbered).collect();
        of_accounts(&mut inventory).old_records = Complete::after_last_page(vec![much.clone()]);
        let (versions, last) = planned(&inventory);
        assert_eq!((versions.len(), last.len()), (oldest, newest), "of {count} versions");
        assert!(versions.contains(&"0".to_owned()) && !versions.contains(&(count - 1).to_string()));
    }
}

#[test]
fn where_every_record_is_needed_nothing_is_planned() {
    let (policy, mut inventory) = world();
    inventory.snapshots = Ok(snapshots(&policy, &[SLOT]));
    let run = RecordOf::Run(snapshot_run(SLOT).record.run);
    of_accounts(&mut inventory).old_records = Complete::after_last_page(vec![record(run, "runs/snapshot")]);
    let plan = planned(&policy, &inventory);
    assert!(!plan.actions.iter().any(|action| matches!(action, Action::Sweep(_))), "{:?}", plan.actions);
}

#[rstest]
#[case::just_old_enough("2026-01-27T11:59:59Z", true)]
#[case::a_second_too_young("2026-01-27T12:00:00Z", false)]
fn both_the_slot_and_the_last_change_must_be_old_by_the_planners_clock(#[case] at_time: &str, #[case] goes: bool) {
    let (policy, mut inventory) = world();
    let dump = DumpId { slot: Slot::at(at(at_time)), ..dump_id() };
    let slot = record(RecordOf::Verification(dump, Plane::Primary), "slot");
    let mut change = record(RecordOf::Verification(dump_id(), Plane::Primary), "change");
    change.written_at = at(at_time);
    of_accounts(&mut inventory).old_records = Complete::after_last_page(vec![slot, change]);
    assert_eq!(swept(&policy, &inventory).len(), if goes { 2 } else { 0 });
}
