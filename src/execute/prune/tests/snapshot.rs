//! Snapshots.

use rstest::rstest;

use super::*;
use crate::domain::inventory::Snapshot;

type Change = fn(&Stage);

fn alter(stage: &Stage, change: impl FnOnce(&mut Snapshot)) {
    stage.world.rds.change_snapshot(&stage.id(), change);
}

fn nothing(_: &Stage) {}

fn unmarked(stage: &Stage) {
    alter(stage, |own| drop(own.tags.remove(tags::OWNER)));
}

fn marked_by_another(stage: &Stage) {
    alter(stage, |own| drop(own.tags.insert(tags::OWNER.to_owned(), "other-bank".to_owned())));
}

fn of_another_instance(stage: &Stage) {
    alter(stage, |own| own.resource = Some("db-OTHER".parse().unwrap()));
}

fn of_another_moment(stage: &Stage) {
    alter(stage, |own| own.created_at = Some(at("2026-11-30T00:00:00Z")));
}

fn undated(stage: &Stage) {
    alter(stage, |own| own.created_at = None);
}

fn failed(stage: &Stage) {
    alter(stage, |own| "failed".clone_into(&mut own.status));
}

fn being_deleted(stage: &Stage) {
    alter(stage, |own| "deleting".clone_into(&mut own.status));
}

fn under_way(stage: &Stage) {
    alter(stage, |own| "copying".clone_into(&mut own.status));
}

fn pinned(stage: &Stage) {
    stage.pin(stage.id().as_str());
}

/// Whoever wrote it meant something.
fn pinned_in_too_many_words(stage: &Stage) {
    let key = stage.layout().pin(&"accounts".parse().unwrap(), stage.id().as_str());
    stage.world.store.overwrite(&key, &vec![b' '; 1 << 20]);
}

fn another_is_pinned(stage: &Stage) {
    stage.pin("strongroom-accounts-20261129t030000z");
}

fn pins_are_not_shown(stage: &Stage) {
    stage.daemon.faults.fail_next(Operation::Get, ErrorKind::PermissionDenied);
}

#[rstest]
#[case(&[nothing as Change], "deleted")]
#[case(&[unmarked as Change], "held: its tags do not prove any more that it is ours")]
#[case(&[marked_by_another as Change], "held: its tags do not prove any more that it is ours")]
#[case(&[of_another_instance as Change], "overtaken: it is another snapshot than the one that was judged")]
#[case(&[of_another_moment as Change], "overtaken: it is another snapshot than the one that was judged")]
#[case(&[of_another_moment as Change, failed], "overtaken: it is another snapshot than the one that was judged")]
#[case(&[undated as Change], "overtaken: it is another snapshot than the one that was judged")]
#[case(&[undated as Change, failed], "deleted")]
#[case(&[undated as Change, failed, of_another_instance], "overtaken: it is another snapshot")]
#[case(&[being_deleted as Change], "overtaken: it is being deleted already")]
#[case(&[under_way as Change], "held: its status is `copying`")]
#[case(&[pinned as Change], "held: it has been pinned meanwhile")]
#[case(&[pinned_in_too_many_words as Change], "held: it has been pinned meanwhile")]
#[case(&[another_is_pinned as Change], "deleted")]
#[case(&[pins_are_not_shown as Change], "failed: cannot Get")]
#[tokio::test(start_paused = true)]
async fn a_snapshot_is_deleted_if_it_is_still_what_was_judged(#[case] changes: &[Change], #[case] expected: &str) {
    let stage = stage().await;
    changes.iter().for_each(|change| change(&stage));
    let outcome = stage.delete_snapshot().await;
    assert!(outcome.starts_with(expected), "{outcome}");
    assert_eq!(stage.effects(Operation::DeleteSnapshot), usize::from(expected == "deleted"));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_gone_already_counts_as_deleted() {
    let stage = stage().await;
    for _ in 0..2 {
        assert_eq!(stage.delete_snapshot().await, "deleted");
        stage.world.pass_until(stage.world.clock.true_now() + SignedDuration::from_mins(2)).await;
    }
    assert_eq!(stage.effects(Operation::DeleteSnapshot), 1);
}

#[rstest]
#[case::and_it_is_gone(SignedDuration::ZERO, "deleted")]
#[case::and_it_still_shows(SignedDuration::from_mins(1), "overtaken: cannot delete DB snapshot")]
#[tokio::test(start_paused = true)]
async fn somebody_may_be_faster(#[case] delete_takes: SignedDuration, #[case] expected: &str) {
    let stage = stage().await;
    stage.world.rds.configure(|settings| settings.delete_takes = delete_takes);
    stage.world.rds.somebody_deletes_first();
    let outcome = stage.delete_snapshot().await;
    assert!(outcome.starts_with(expected), "{outcome}");
}

#[rstest]
#[case::in_a_state_in_which_it_could(ErrorKind::WrongState)]
#[case::for_want_of_a_right(ErrorKind::PermissionDenied)]
#[case::for_now(ErrorKind::Throttled)]
#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_failure(#[case] kind: ErrorKind) {
    let stage = stage().await;
    stage.daemon.faults.fail_next(Operation::DeleteSnapshot, kind);
    let outcome = stage.delete_snapshot().await;
    assert!(outcome.starts_with("failed: cannot DeleteSnapshot"), "{outcome}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_is_a_failure_and_the_next_attempt_sees_what_came_of_it() {
    let stage = stage().await;
    stage.daemon.faults.lose_response(1);
    let outcome = stage.delete_snapshot().await;
    assert!(outcome.starts_with("failed: cannot DeleteSnapshot"), "{outcome}");
    assert_eq!(stage.delete_snapshot().await, "overtaken: it is being deleted already");
}

#[tokio::test(start_paused = true)]
async fn where_rds_does_not_show_it_nothing_is_deleted() {
    let stage = stage().await;
    stage.daemon.faults.fail_next(Operation::Snapshot, ErrorKind::PermissionDenied);
    let outcome = stage.delete_snapshot().await;
    assert!(outcome.starts_with("failed: cannot Snapshot"), "{outcome}");
    assert_eq!(stage.effects(Operation::DeleteSnapshot), 0);
}
