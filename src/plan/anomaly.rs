//! Dumps that are whole and unlike the ones before them.
//!
//! They are good backups of what there was. But whatever emptied or encrypted a database has to be found out before the dumps
//! from before it are pruned: nothing of the source is until somebody has looked, or the next dump is like its predecessor.

use jiff::{SignedDuration, Timestamp};

use super::doubt::by_database;
use crate::domain::id::SourceId;
use crate::domain::inventory::{Inventory, SourceStore, StoredDump};
use crate::domain::volume::Volume;
use crate::policy::finding::{Check, Finding, Severity};
use crate::policy::volume::{anomaly, growth};

/// What a dump is compared with is older by this much, if there is any: to make another one at once explains nothing.
const APART: SignedDuration = SignedDuration::from_hours(20);

/// Two volumes, the older one first, and what they differ in.
type Compare = fn(&Volume, &Volume) -> Option<String>;

/// A dump that is unlike the one before it.
pub(super) struct Unlike<'a> {
    /// The newest good one of its database.
    pub(super) dump: &'a StoredDump,
    /// What it is compared with.
    before: &'a StoredDump,
    /// In what, in words.
    what: String,
}

/// The dumps of a source, in the first bucket, that lack much of what the ones before them had.
pub(super) fn anomalies(store: &SourceStore) -> Vec<Unlike<'_>> {
    unlike(store, anomaly)
}

fn unlike(store: &SourceStore, compare: Compare) -> Vec<Unlike<'_>> {
    let mut found = Vec::new();
    for (_, dumps) in by_database(&store.dumps) {
        let good: Vec<&StoredDump> = dumps.into_iter().filter(|own| own.point.is_good()).collect();
        if let Some((dump, before)) = newest_two(&good)
            && let (Some(now), Some(then)) = (&dump.volume, &before.volume)
            && let Some(what) = compare(then, now)
        {
            found.push(Unlike { dump, before, what });
        }
    }
    found
}

/// The newest of them by its data, and the one that it is compared with.
fn newest_two<'a>(good: &[&'a StoredDump]) -> Option<(&'a StoredDump, &'a StoredDump)> {
    let age = |own: &&&StoredDump| (own.moment(), own.dump.slot);
    let newest = *good.iter().max_by_key(age)?;
    let apart = newest.moment().saturating_sub(APART).unwrap_or(Timestamp::MIN);
    let older = || good.iter().filter(|own| age(own) < age(&&newest));
    let before = older().filter(|own| own.moment() <= apart).max_by_key(age).or_else(|| older().max_by_key(age));
    Some((newest, *before?))
}

/// What a person should know of all this.
pub(super) fn findings(inventory: &Inventory) -> Vec<Finding> {
    let seen = inventory.stores.iter().filter_map(|(source, store)| Some((source, store.as_ref().ok()?)));
    let of_source = |(source, store)| {
        let odd = anomalies(store).into_iter().map(|own| {
            let advice = "nothing of the source is pruned by itself while this is the newest; find out what happened, and where it \
                          is right, `strongroom prune --confirm` prunes all the same";
            finding(source, Check::Anomaly, &own, advice)
        });
        let grown = unlike(store, growth).into_iter();
        let grown = grown
            .map(|own| finding(source, Check::StorageGrowth, &own, "see what grows, and what a restore takes now"));
        odd.chain(grown).collect::<Vec<_>>()
    };
    seen.flat_map(of_source).collect()
}

fn finding(source: &SourceId, check: Check, own: &Unlike<'_>, advice: &str) -> Finding {
    let (id, before, what) = (&own.dump.point.id, &own.before.point.id, &own.what);
    let text = format!("dump {id} is unlike {before}: {what}; {advice}");
    Finding { severity: Severity::Warning, check, source: Some(source.clone()), text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::inventory::Complete;
    use crate::domain::recovery_point::PointState;
    use crate::testing::{dump, store, stored_dump};

    fn of(moment: &str, rows: u64, state: PointState) -> StoredDump {
        let volume =
            Volume { rows, uncompressed_bytes: 1 << 30, stored_bytes: 1 << 28, compression: "zstd 3".to_owned() };
        StoredDump { volume: Some(volume), ..stored_dump(dump("accounts", moment, 1, state)) }
    }

    fn told(dumps: Vec<StoredDump>) -> Vec<String> {
        let mut store = store(Vec::new(), Vec::new(), Vec::new());
        store.dumps = Complete::after_last_page(dumps);
        anomalies(&store).into_iter().map(|own| own.what).collect()
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn the_newest_good_dump_is_compared_with_the_one_before() {
        let before = of("2026-10-01T04:00:00Z", 10_000, PointState::Good);
        let emptied = of("2026-11-01T04:00:00Z", 10, PointState::Good);
        assert_eq!(told(vec![emptied.clone(), before.clone()]), ["it has 10 rows, and the one before had 10000"]);
        assert_eq!(told(vec![before.clone()]), NOTHING);
        let bad = of("2026-11-01T04:00:00Z", 10, PointState::Bad { reason: "cut off".to_owned() });
        assert_eq!(told(vec![bad, before.clone()]), NOTHING, "that is told by itself");
        // The next one is like it: this is how things are now.
        assert_eq!(told(vec![of("2026-12-01T04:00:00Z", 11, PointState::Good), emptied, before]), NOTHING);
    }

    #[test]
    fn another_dump_at_once_explains_nothing() {
        let before = of("2026-10-01T04:00:00Z", 10_000, PointState::Good);
        let emptied = of("2026-11-01T04:00:00Z", 10, PointState::Good);
        let again = of("2026-11-01T09:00:00Z", 10, PointState::Good);
        assert_eq!(told(vec![again, emptied, before]).len(), 1);
    }
}
