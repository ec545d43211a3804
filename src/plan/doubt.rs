//! Doubt about the dumps of a database in one bucket: one of them was found bad, or nobody can read it.
//!
//! Whatever spoilt it may have spoilt others. So until a newer one has been read back since, in the same bucket, nothing of the
//! source is pruned.

use jiff::Timestamp;

use crate::domain::id::DatabaseName;
use crate::domain::inventory::StoredDump;
use crate::domain::recovery_point::PointState;

/// Doubt that some dump of a database has cast on the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt<'a> {
    /// The newest that is bad or unreadable.
    pub(super) about: &'a StoredDump,
    /// When the last of them was found so; `None`: just now, by the listing alone.
    since: Option<Timestamp>,
}

impl<'a> Doubt<'a> {
    /// What there is among dumps of one database in one bucket.
    pub(super) fn among(dumps: &[&'a StoredDump]) -> Option<Doubt<'a>> {
        let doubtful = || dumps.iter().copied().filter(|stored| is_doubtful(stored));
        let about = doubtful().max_by_key(|stored| stored.moment())?;
        let since = doubtful().map(found_at).try_fold(Timestamp::MIN, |latest, at| Some(latest.max(at?)));
        Some(Doubt { about, since })
    }

    /// Whether a dump shows that others are as they should be.
    pub(super) fn is_lifted_by(&self, stored: &StoredDump) -> bool {
        let since = self.since;
        self.may_be_lifted_by(stored)
            && stored.point.verified_at.is_some_and(|at| since.is_some_and(|since| at > since))
    }

    /// Whether a reading now would be later than what was found: not while that is not even recorded, and not where a wrong
    /// clock has dated it in the future.
    pub(super) fn can_be_lifted(&self, now: Timestamp) -> bool {
        self.since.is_some_and(|since| since < now)
    }

    /// Whether it could, once it is read back.
    pub(super) fn may_be_lifted_by(&self, stored: &StoredDump) -> bool {
        stored.point.is_good() && !is_doubtful(stored) && stored.moment() > self.about.moment()
    }
}

/// Whether it was found bad, by a verification or by the listing, or nobody could read it.
pub(super) fn is_doubtful(stored: &StoredDump) -> bool {
    matches!(stored.point.state, PointState::Bad { .. }) || stored.unreadable().is_some()
}

/// When a dump was found bad, if that is recorded. No verification begins without a manifest: one that is damaged was damaged
/// when it was written.
fn found_at(stored: &StoredDump) -> Option<Timestamp> {
    let recorded = stored.standing_doubts().map(|known| known.at).max();
    let manifest_is_bad = || stored.point.run.is_none().then(|| stored.stored_at());
    recorded.or_else(manifest_is_bad)
}

/// The dumps of each database, by its name; in the order of the listing.
pub(super) fn by_database<'a>(
    dumps: impl IntoIterator<Item = &'a StoredDump>,
) -> Vec<(&'a DatabaseName, Vec<&'a StoredDump>)> {
    let mut databases: std::collections::BTreeMap<&DatabaseName, Vec<&StoredDump>> = std::collections::BTreeMap::new();
    for stored in dumps {
        databases.entry(&stored.dump.database).or_default().push(stored);
    }
    databases.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::inventory::{Found, KnownVerification};
    use crate::domain::verification::Level;
    use crate::testing::{at, dump, stored_dump, verified};

    const FOUND_AT: &str = "2026-11-20T00:00:00Z";

    fn good(moment: &str) -> StoredDump {
        stored_dump(dump("accounts", moment, 100, PointState::Good))
    }

    /// As a verification that found it bad leaves it.
    fn found_bad(moment: &str) -> StoredDump {
        let fault = Found::Fault("bits have flipped".to_owned());
        let mut stored = good(moment);
        stored.verifications = vec![KnownVerification { found: fault, ..verified(Level::L2, at(FOUND_AT)) }];
        stored.point.state = PointState::Bad { reason: "bits have flipped".to_owned() };
        stored
    }

    /// As a listing that shows not all of its objects leaves it, until that is recorded.
    fn listed_bad(moment: &str) -> StoredDump {
        let mut stored = StoredDump { whole: false, verifications: Vec::new(), ..good(moment) };
        stored.point.run = Some("20261001t040000z-dump-accounts-1".parse().unwrap());
        stored.point.state = PointState::Bad { reason: "an object is missing".to_owned() };
        stored
    }

    #[rstest]
    #[case::a_second_before("2026-11-19T23:59:59Z", false)]
    #[case::in_the_same_second("2026-11-20T00:00:00Z", false)]
    #[case::a_second_after("2026-11-20T00:00:01Z", true)]
    fn only_what_was_read_back_after_the_fault_was_found_lifts_the_doubt(#[case] read: &str, #[case] lifts: bool) {
        let bad = found_bad("2026-10-01T04:00:00Z");
        let mut newer = good("2026-11-01T04:00:00Z");
        newer.point.verified_at = Some(at(read));
        assert_eq!(Doubt::among(&[&bad, &newer]).unwrap().is_lifted_by(&newer), lifts);
    }

    #[rstest]
    #[case::a_second_older("2026-10-01T03:59:59Z", false)]
    #[case::of_the_same_moment("2026-10-01T04:00:00Z", false)]
    #[case::a_second_newer("2026-10-01T04:00:01Z", true)]
    fn only_what_is_newer_than_the_doubtful_one_can_lift_the_doubt(#[case] moment: &str, #[case] may: bool) {
        let bad = found_bad("2026-10-01T04:00:00Z");
        let other = good(moment);
        assert_eq!(Doubt::among(&[&bad, &other]).unwrap().may_be_lifted_by(&other), may);
    }

    #[rstest]
    #[case::found_just_now(found_bad("2026-10-01T04:00:00Z"), FOUND_AT, false)]
    #[case::found_a_second_ago(found_bad("2026-10-01T04:00:00Z"), "2026-11-20T00:00:01Z", true)]
    #[case::dated_in_the_future_by_a_wrong_clock(found_bad("2026-10-01T04:00:00Z"), "2026-11-19T23:59:59Z", false)]
    #[case::not_recorded_yet(listed_bad("2026-10-01T04:00:00Z"), "2026-11-21T00:00:00Z", false)]
    fn a_reading_is_of_use_once_the_doubt_is_recorded_and_past(
        #[case] doubtful: StoredDump,
        #[case] now: &str,
        #[case] of_use: bool,
    ) {
        assert_eq!(Doubt::among(&[&doubtful]).unwrap().can_be_lifted(at(now)), of_use);
    }
}
