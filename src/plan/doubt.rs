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
