//! Dumps that are whole and unlike the ones before them.
//!
//! They are good backups of what there was. But whatever emptied or encrypted a database has to be found out before the dumps
//! from before it are pruned: nothing of the source is until the data is back, or somebody has looked, and says so by pinning
//! the dump.

use super::doubt::by_database;
use crate::domain::id::SourceId;
use crate::domain::inventory::{Inventory, SourceStore, StoredDump};
use crate::domain::volume::Volume;
use crate::policy::finding::{Check, Finding, Severity};
use crate::policy::volume::{anomaly, growth};

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

/// The newest dump of each database of a source, in the first bucket, where it lacks much of what was there before.
pub(super) fn anomalies(store: &SourceStore) -> Vec<Unlike<'_>> {
    of_databases(store, |dumps| {
        let (mut standard, mut odd) = (None, None);
        for dump in dumps {
            odd = unlike(standard, dump, anomaly).filter(|_| dump.point.pin.is_none());
            // What is odd is no standard for those after it, unless somebody has looked.
            if odd.is_none() {
                standard = Some(dump);
            }
        }
        odd
    })
}

/// The newest dump of each database, where it is so much larger than the one before.
fn grown(store: &SourceStore) -> Vec<Unlike<'_>> {
    of_databases(store, |dumps| {
        let (dump, older) = dumps.split_last()?;
        unlike(older.last().copied(), dump, growth)
    })
}

/// Asks about the good dumps of each database, the oldest data first.
fn of_databases<'a>(store: &'a SourceStore, ask: impl Fn(&[&'a StoredDump]) -> Option<Unlike<'a>>) -> Vec<Unlike<'a>> {
    let good = |mut dumps: Vec<&'a StoredDump>| {
        dumps.retain(|own| own.point.is_good() && own.volume.is_some());
        dumps.sort_by_key(|own| (own.moment(), own.dump.slot));
        dumps
    };
    by_database(&store.dumps).into_iter().filter_map(|(_, dumps)| ask(&good(dumps))).collect()
}

fn unlike<'a>(before: Option<&'a StoredDump>, dump: &'a StoredDump, compare: Compare) -> Option<Unlike<'a>> {
    let before = before?;
    let what = compare(before.volume.as_ref()?, dump.volume.as_ref()?)?;
    Some(Unlike { dump, before, what })
}

/// What a person should know of all this.
pub(super) fn findings(inventory: &Inventory) -> Vec<Finding> {
    let seen = inventory.stores.iter().filter_map(|(source, store)| Some((source, store.as_ref().ok()?)));
    let of_source = |(source, store)| {
        let odd = anomalies(store).into_iter().map(|own| {
            let id = &own.dump.point.id;
            let advice = format!(
                "nothing of the source is pruned until this is explained: where it is right, `strongroom pin {id} --reason WHY` says \
                 that somebody has looked"
            );
            finding(source, Check::Anomaly, &own, &advice)
        });
        let grown = grown(store).into_iter();
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
    use crate::domain::pin::{PIN_VERSION, Pin};
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
    fn what_has_lost_much_is_odd_until_it_is_back_or_somebody_has_looked() {
        let before = of("2026-10-01T04:00:00Z", 10_000, PointState::Good);
        let mut emptied = of("2026-11-01T04:00:00Z", 10, PointState::Good);
        let again = of("2026-12-01T04:00:00Z", 11, PointState::Good);
        assert_eq!(told(vec![before.clone()]), NOTHING);
        assert_eq!(told(vec![emptied.clone(), before.clone()]), ["it has 10 rows, and the one before had 10000"]);
        // To make another one explains nothing.
        assert_eq!(
            told(vec![again.clone(), emptied.clone(), before.clone()]),
            ["it has 11 rows, and the one before had 10000"]
        );
        let back = of("2026-12-02T04:00:00Z", 9_990, PointState::Good);
        assert_eq!(told(vec![back, again.clone(), emptied.clone(), before.clone()]), NOTHING);
        emptied.point.pin = Some(pin());
        assert_eq!(told(vec![again, emptied, before]), NOTHING, "it is like one that somebody has looked at");
    }

    #[test]
    fn a_dump_that_is_bad_is_told_by_itself() {
        let before = of("2026-10-01T04:00:00Z", 10_000, PointState::Good);
        let bad = of("2026-11-01T04:00:00Z", 10, PointState::Bad { reason: "cut off".to_owned() });
        assert_eq!(told(vec![bad, before]), NOTHING);
    }

    fn pin() -> Pin {
        let pinned_at = crate::testing::now();
        Pin { version: PIN_VERSION, point: "p".to_owned(), reason: Some("moved".to_owned()), pinned_at }
    }
}
