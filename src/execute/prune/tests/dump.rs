//! Dumps, and what is swept.

use rstest::rstest;
use serde_json::Value;

use super::*;
use crate::domain::id::RunId;

type Change = fn(&mut Stage);

/// Writes the manifest anew with one word of it changed, as if it had been seen so.
fn alter_manifest(stage: &mut Stage, field: &str, value: &str) {
    let Warrant::Expired { stored, .. } = &mut stage.dump.warrant else { panic!("nothing has begun") };
    let key = stored.manifest.key.clone();
    let mut manifest: Value = serde_json::from_slice(&stage.world.store.bytes(&key).unwrap()).unwrap();
    assert!(manifest[field].is_string(), "{field} of {manifest}");
    manifest[field] = value.into();
    let written = stage.world.store.overwrite(&key, &serde_json::to_vec(&manifest).unwrap());
    stored.etag = written.etag;
}

fn own_record(stage: &Stage, run: Option<RunId>) -> PruneRecord {
    let stored = stage.stored();
    PruneRecord {
        version: PRUNE_RECORD_VERSION,
        installation: stage.world.policy.installation.clone(),
        dump: stored.dump.clone(),
        run: run.or_else(|| stored.point.run.clone()).unwrap(),
        resource: stored.point.resource.clone().unwrap(),
        plane: Plane::Primary,
        region: stage.world.policy.region.clone(),
        reason: "as another daemon has it".to_owned(),
        versions: vec![stored.manifest.clone()],
        began_at: stage.world.clock.true_now(),
        finished_at: None,
    }
}

fn another_run(stage: &Stage) -> RunId {
    RunId { attempt: 9, ..stage.stored().point.run.clone().unwrap() }
}

fn nothing(_: &mut Stage) {}

fn gone(stage: &mut Stage) {
    stage.world.store.lose(&stage.stored().manifest.key);
}

fn written_anew(stage: &mut Stage) {
    stage.world.store.overwrite(&stage.stored().manifest.key, b"{}");
}

fn by_another_installation(stage: &mut Stage) {
    alter_manifest(stage, "installation", "other-bank");
}

fn of_another_instance(stage: &mut Stage) {
    alter_manifest(stage, "resource", "db-OTHER");
}

fn of_another_moment(stage: &mut Stage) {
    alter_manifest(stage, "snapshot_at", "2026-11-30T00:00:00Z");
}

fn pinned(stage: &mut Stage) {
    stage.pin(&stage.stored().point.id);
}

fn locked(stage: &mut Stage) {
    stage.world.store.lock(&stage.archive(), at("2027-01-01T00:00:00Z"));
}

fn manifest_locked(stage: &mut Stage) {
    stage.world.store.lock(&stage.stored().manifest.key, at("2027-01-01T00:00:00Z"));
}

fn no_longer_locked(stage: &mut Stage) {
    stage.world.store.lock(&stage.archive(), stage.world.clock.true_now());
}

fn locks_are_not_shown(stage: &mut Stage) {
    stage.daemon.faults.fail_next(Operation::HeadVersion, ErrorKind::PermissionDenied);
}

fn one_is_gone_when_it_is_looked_at(stage: &mut Stage) {
    stage.daemon.faults.fail_next(Operation::HeadVersion, ErrorKind::NotFound);
}

fn records_are_not_shown(stage: &mut Stage) {
    stage.daemon.faults.fail_next_of(Operation::Get, "/prunes/", ErrorKind::PermissionDenied);
}

fn pins_are_not_shown(stage: &mut Stage) {
    stage.daemon.faults.fail_next_of(Operation::Get, "/pins/", ErrorKind::PermissionDenied);
}

fn recorded_of_another_run(stage: &mut Stage) {
    stage.write_record(&own_record(stage, Some(another_run(stage))));
}

fn recorded_and_ended_of_another_run(stage: &mut Stage) {
    let finished_at = Some(stage.world.clock.true_now());
    stage.write_record(&PruneRecord { finished_at, ..own_record(stage, Some(another_run(stage))) });
}

fn recorded_in_another_tongue(stage: &mut Stage) {
    stage.world.store.overwrite(&stage.record_key(), b"deleted");
}

fn recorded_meanwhile(stage: &mut Stage) {
    stage.daemon.faults.fail_next(Operation::Put, ErrorKind::AlreadyExists);
}

fn no_record_can_be_written(stage: &mut Stage) {
    stage.daemon.faults.fail_next(Operation::Put, ErrorKind::PermissionDenied);
}

#[rstest]
#[case(nothing, "deleted")]
#[case(gone, "overtaken: strongroom/accounts/dumps/accounts/20261101t040000z/manifest.json is gone")]
#[case(written_anew, "overtaken: strongroom/accounts/dumps/accounts/20261101t040000z/manifest.json has changed")]
#[case(by_another_installation, "overtaken: it is another dump than the one that was judged")]
#[case(of_another_instance, "overtaken: it is another dump than the one that was judged")]
#[case(of_another_moment, "overtaken: it is another dump than the one that was judged")]
#[case(pinned, "held: it has been pinned meanwhile")]
#[case(locked, "held: object lock forbids it until 2027-01-01T00:00:00Z")]
#[case(manifest_locked, "held: object lock forbids it until 2027-01-01T00:00:00Z")]
#[case(no_longer_locked, "deleted")]
#[case(locks_are_not_shown, "failed: cannot HeadVersion")]
#[case(one_is_gone_when_it_is_looked_at, "deleted")]
#[case(records_are_not_shown, "failed: cannot Get strongroom/accounts/prunes/")]
#[case(pins_are_not_shown, "failed: cannot Get strongroom/accounts/pins/")]
#[case(
    recorded_of_another_run,
    "held: strongroom/accounts/prunes/primary/accounts/20261101t040000z.json is about another run"
)]
#[case(recorded_and_ended_of_another_run, "deleted")]
#[case(
    recorded_in_another_tongue,
    "held: strongroom/accounts/prunes/primary/accounts/20261101t040000z.json cannot be read"
)]
#[case(
    recorded_meanwhile,
    "overtaken: strongroom/accounts/prunes/primary/accounts/20261101t040000z.json has been written"
)]
#[case(no_record_can_be_written, "failed: cannot Put")]
#[tokio::test(start_paused = true)]
async fn a_dump_is_deleted_if_it_is_still_what_was_judged(#[case] change: Change, #[case] expected: &str) {
    let mut stage = stage().await;
    change(&mut stage);
    let before = stage.objects();
    let outcome = stage.delete_dump().await;
    assert!(outcome.starts_with(expected), "{outcome}");
    if expected == "deleted" {
        assert_eq!(stage.objects(), []);
        assert!(stage.record().is_some_and(|record| !record.is_open()));
    } else {
        assert_eq!(stage.objects(), before);
        assert_eq!(stage.effects(Operation::DeleteVersions), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_record_names_every_version_and_the_manifest_goes_last() {
    let stage = stage().await;
    let (objects, manifest) = (stage.objects(), stage.stored().manifest.clone());
    assert_eq!(stage.delete_dump().await, "deleted");
    let record = stage.record().unwrap();
    let mut named: Vec<ObjectKey> = record.versions.iter().map(|version| version.key.clone()).collect();
    assert!(record.versions.iter().all(|version| version.version_id.is_some()), "{record:?}");
    assert_eq!(record.versions.last(), Some(&manifest));
    let deleted: Vec<ObjectVersion> = stage.world.store.deleted().into_iter().map(|(_, version)| version).collect();
    assert_eq!(deleted, record.versions);
    named.sort();
    assert_eq!(named, objects);
    assert!(record.reason.contains("expired"), "{}", record.reason);
}

/// In a bucket that strongroom copies to, objects stand under other versions than those of the manifest.
#[rstest]
#[case::as_large(|stage: &Stage| stage.world.store.bytes(&stage.archive()).unwrap().to_vec(), true)]
#[case::of_another_size(|_: &Stage| b"something else".to_vec(), false)]
#[tokio::test(start_paused = true)]
async fn where_the_named_version_is_not_there_the_same_object_goes(
    #[case] bytes: fn(&Stage) -> Vec<u8>,
    #[case] goes: bool,
) {
    let stage = stage().await;
    let (archive, bytes) = (stage.archive(), bytes(&stage));
    // What is as large and has another name is something else.
    let other = ObjectKey::from(format!("{archive}.of-somebody"));
    stage.world.store.overwrite(&other, &stage.world.store.bytes(&archive).unwrap());
    stage.world.store.lose(&archive);
    stage.world.store.overwrite(&archive, &bytes);
    assert_eq!(stage.delete_dump().await, "deleted");
    assert_eq!(stage.world.store.bytes(&archive).is_none(), goes);
    assert!(stage.world.store.bytes(&other).is_some());
    assert_eq!(stage.record().unwrap().versions.iter().any(|version| version.key == archive), goes);
}

#[tokio::test(start_paused = true)]
async fn of_several_versions_the_named_one_goes_and_what_is_gone_is_not_named() {
    let stage = stage().await;
    let archive = stage.archive();
    let named = versions(&stage).await.into_iter().find(|own| own.key == archive).unwrap();
    let bytes = stage.world.store.bytes(&archive).unwrap();
    stage.world.store.overwrite(&archive, &bytes);
    let lost = stage.objects().into_iter().find(|key| key.file_name() == "globals.sql").unwrap();
    stage.world.store.lose(&lost);
    assert_eq!(stage.delete_dump().await, "deleted");
    assert_eq!(
        stage.objects(),
        std::slice::from_ref(&archive),
        "the version that somebody has added is not ours to delete"
    );
    let record = stage.record().unwrap();
    assert!(record.versions.iter().all(|version| version.key != lost) && record.versions.contains(&named));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_another_daemon_has_begun_is_taken_up_as_it_stands() {
    let stage = stage().await;
    let before = stage.objects();
    stage.write_record(&own_record(&stage, None));
    assert_eq!(stage.delete_dump().await, "deleted");
    assert_eq!(stage.objects().len(), before.len() - 1, "its record names the manifest alone");
    assert_eq!(stage.record().unwrap().reason, "as another daemon has it");
}

#[tokio::test(start_paused = true)]
async fn a_record_of_the_same_run_that_has_ended_is_written_anew() {
    let stage = stage().await;
    let finished_at = Some(stage.world.clock.true_now());
    stage.write_record(&PruneRecord { finished_at, ..own_record(&stage, None) });
    assert_eq!(stage.delete_dump().await, "deleted");
    assert_eq!(stage.objects(), []);
}

#[tokio::test(start_paused = true)]
async fn an_open_record_is_seen_through_if_it_is_still_the_same() {
    let mut stage = stage().await;
    let record = own_record(&stage, None);
    let key = stage.record_key();
    stage.write_record(&record);
    let older = PruneRecord { reason: "as it was".to_owned(), ..record.clone() };
    let outcome = stage.carry_out(begun(older)).await;
    assert_eq!(outcome, format!("overtaken: {key} has changed since it was looked at"));
    assert_eq!(stage.carry_out(begun(record.clone())).await, "deleted");
    recorded_in_another_tongue(&mut stage);
    let outcome = stage.carry_out(begun(record.clone())).await;
    assert!(outcome.starts_with(&format!("held: {key} cannot be read")), "{outcome}");
    stage.world.store.lose(&key);
    assert!(stage.carry_out(begun(record)).await.starts_with("failed: cannot find"));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_names_nothing_deletes_nothing() {
    let stage = stage().await;
    stage.write_record(&PruneRecord { versions: Vec::new(), ..own_record(&stage, None) });
    assert_eq!(stage.delete_dump().await, "held: its prune record names nothing");
    assert!(stage.record().unwrap().is_open());
}

#[tokio::test(start_paused = true)]
async fn shutdown_stops_between_requests_and_leaves_the_record_open() {
    let stage = stage().await;
    let token = CancellationToken::new();
    token.cancel();
    let before = stage.objects();
    let outcome = stage.daemon.executor.delete_dump(&stage.dump, &token).await.unwrap();
    assert_eq!((told(&outcome).as_str(), stage.objects()), ("stopped", before));
    assert!(stage.record().unwrap().is_open());
}

/// The lock came after it was looked for.
#[rstest]
#[case::data(true)]
#[case::manifest(false)]
#[tokio::test(start_paused = true)]
async fn what_the_store_keeps_holds_the_rest(#[case] data: bool) {
    let stage = stage().await;
    let kept = if data { stage.archive() } else { stage.stored().manifest.key.clone() };
    let all = PruneRecord { versions: versions(&stage).await, ..own_record(&stage, None) };
    stage.write_record(&all);
    stage.world.store.hold(&kept, true);
    let outcome = stage.carry_out(begun(all)).await;
    assert!(outcome.starts_with(&format!("held: the store keeps {kept}: AccessDenied")), "{outcome}");
    assert!(stage.record().unwrap().is_open());
    assert!(stage.objects().contains(&stage.stored().manifest.key), "the manifest is the last to go");
    assert_eq!(stage.objects().len(), if data { 2 } else { 1 });
}

fn begun(record: PruneRecord) -> Action {
    Action::DeleteDump(Box::new(DeleteDump { warrant: Warrant::Begun(record) }))
}

/// All versions of the dump, those of the manifest last.
async fn versions(stage: &Stage) -> Vec<ObjectVersion> {
    let store = &stage.world.store;
    let prefix = stage.stored().manifest.key.as_str().strip_suffix("manifest.json").unwrap();
    let listed = store.list_versions(prefix).await.unwrap();
    let version = |own: &crate::ports::object_store::ListedVersion| ObjectVersion {
        key: own.key.clone(),
        version_id: own.version_id.clone(),
    };
    let mut versions: Vec<ObjectVersion> = listed.iter().map(version).collect();
    versions.sort_by_key(|own| own.key == stage.stored().manifest.key);
    versions
}

#[rstest]
#[case::by_another_daemon(ErrorKind::AlreadyExists, "deleted")]
#[case::not_at_all(ErrorKind::PermissionDenied, "failed: cannot Put")]
#[tokio::test(start_paused = true)]
async fn the_record_is_closed(#[case] kind: ErrorKind, #[case] expected: &str) {
    let stage = stage().await;
    let record = own_record(&stage, None);
    stage.write_record(&record);
    stage.daemon.faults.fail_next(Operation::Put, kind);
    let outcome = stage.carry_out(begun(record)).await;
    assert!(outcome.starts_with(expected), "{outcome}");
}

#[tokio::test(start_paused = true)]
async fn more_than_a_request_can_name_goes_in_several() {
    let stage = stage().await;
    let manifest = stage.stored().manifest.clone();
    let none = |number: usize| ObjectVersion { key: format!("strongroom/none/{number}").into(), version_id: None };
    let versions: Vec<ObjectVersion> = (0..1001).map(none).chain([manifest]).collect();
    let record = PruneRecord { versions, ..own_record(&stage, None) };
    stage.write_record(&record);
    assert_eq!(stage.carry_out(begun(record)).await, "deleted");
    assert_eq!(stage.effects(Operation::DeleteVersions), 3);
}

/// A sweep of the archive of the dump's slot, by a run.
async fn sweep(stage: &Stage, what: Swept) -> Action {
    let mut all = versions(stage).await;
    all.retain(|own| own.key != stage.stored().manifest.key);
    let last = all.split_off(all.len() - 1);
    let region = stage.world.policy.region.clone();
    Action::Sweep(Sweep { source: "accounts".parse().unwrap(), region, what, versions: all, last })
}

fn unreadable(stage: &mut Stage) {
    stage.world.store.overwrite(&stage.stored().manifest.key, b"{}");
}

fn not_shown(stage: &mut Stage) {
    stage.daemon.faults.fail_next(Operation::Get, ErrorKind::PermissionDenied);
}

#[rstest]
#[case::of_the_run_of_the_manifest(
    nothing,
    1,
    "held: strongroom/accounts/dumps/accounts/20261101t040000z/manifest.json names"
)]
#[case::of_another_run(nothing, 9, "swept 3")]
#[case::without_a_manifest(gone, 1, "swept 3")]
#[case::beside_one_that_cannot_be_read(
    unreadable,
    9,
    "held: strongroom/accounts/dumps/accounts/20261101t040000z/manifest.json cannot"
)]
#[case::where_it_is_not_shown(not_shown, 9, "failed: cannot Get")]
#[tokio::test(start_paused = true)]
async fn remains_are_swept_if_no_manifest_names_them(
    #[case] change: Change,
    #[case] attempt: u32,
    #[case] expected: &str,
) {
    let mut stage = stage().await;
    let run = RunId { attempt, ..stage.stored().point.run.clone().unwrap() };
    let sweep = sweep(&stage, Swept::RemainsOf(run)).await;
    change(&mut stage);
    let outcome = stage.carry_out(sweep).await;
    assert!(outcome.starts_with(expected), "{outcome}");
    assert_eq!(stage.effects(Operation::DeleteVersions), if expected == "swept 3" { 2 } else { 0 });
}

#[tokio::test(start_paused = true)]
async fn what_is_to_go_last_stays_while_the_rest_does() {
    let stage = stage().await;
    let sweep = sweep(&stage, Swept::OldRecords).await;
    let Action::Sweep(Sweep { versions, last, .. }) = &sweep else { panic!("{sweep:?}") };
    let (kept, last) = (versions[0].key.clone(), last[0].key.clone());
    stage.world.store.hold(&kept, true);
    let outcome = stage.carry_out(sweep).await;
    assert!(outcome.starts_with(&format!("held: the store keeps {kept}")), "{outcome}");
    assert!(stage.world.store.bytes(&last).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_the_store_does_not_answer_for_is_not_taken_for_gone() {
    let stage = stage().await;
    stage.world.store.answer_short();
    assert_eq!(stage.delete_dump().await, "held: the store did not answer for every version");
    assert!(stage.record().unwrap().is_open());
}

#[tokio::test(start_paused = true)]
async fn of_nothing_the_store_is_not_asked() {
    let stage = stage().await;
    let sweep = Sweep {
        source: "accounts".parse().unwrap(),
        region: stage.world.policy.region.clone(),
        what: Swept::Markers,
        versions: Vec::new(),
        last: Vec::new(),
    };
    assert_eq!(stage.carry_out(Action::Sweep(sweep)).await, "swept 0");
    assert_eq!(stage.effects(Operation::DeleteVersions), 0);
}
