//! The layout of the destination: the only place that forms and reads object keys.
//!
//! ```text
//! <prefix>/<source>/dumps/<database>/<slot>/manifest.json
//! <prefix>/<source>/dumps/<database>/<slot>/<run>/<object>
//! <prefix>/<source>/runs/<run>.json
//! <prefix>/<source>/drills/<slot>-<path>.json
//! <prefix>/<source>/pins/<point>.json
//! <prefix>/<source>/recoveries/current.json
//! <prefix>/<source>/recoveries/<slot>.json
//! <prefix>/<source>/prunes/<plane>/<database>/<slot>.json
//! <prefix>/<source>/verifications/<database>/<slot>/<plane>-<level>.json
//! <prefix>/state/alerts/<installation>.json
//! <prefix>/state/leader/<installation>.json
//! ```

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::drill::DrillId;
use super::id::{DatabaseName, InstallationId, RunId, Slot, SourceId};
use super::recovery_point::Plane;
use super::verification::Level;

/// A key in the destination bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(from = "String", into = "String")]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// A key as the store listed it.
    #[must_use]
    pub fn listed(key: impl Into<Arc<str>>) -> ObjectKey {
        ObjectKey(key.into())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What comes after the last slash.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl From<String> for ObjectKey {
    fn from(key: String) -> ObjectKey {
        ObjectKey(key.into())
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> String {
        key.as_str().to_owned()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a dump lives: one slot of one database of one source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DumpId {
    /// The source.
    pub source: SourceId,
    /// The database dumped.
    pub database: DatabaseName,
    /// The slot filled.
    #[schemars(with = "String")]
    pub slot: Slot,
}

impl fmt::Display for DumpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.source, self.database.key_segment(), self.slot)
    }
}

/// What a key is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRole {
    /// The commit mark of a dump.
    Manifest(DumpId),
    /// An object of one run of a dump.
    DumpObject {
        /// The dump it belongs to.
        dump: DumpId,
        /// The run that wrote it.
        run: RunId,
        /// Its name inside the run's directory.
        name: String,
    },
    /// The record of one run.
    RunRecord {
        /// The source.
        source: SourceId,
        /// The run.
        run: RunId,
    },
    /// The record of a drill.
    DrillRecord(DrillId),
    /// A pin.
    Pin {
        /// The source.
        source: SourceId,
        /// The recovery point's id.
        point: String,
    },
    /// The journal of a recovery: the one that is open or ended last, or, by when it was begun, one that has ended.
    Recovery {
        /// The source.
        source: SourceId,
        /// When it was begun.
        begun: Option<Slot>,
    },
    /// The deletion of a dump in a plane.
    PruneRecord {
        /// The dump.
        dump: DumpId,
        /// The plane.
        plane: Plane,
    },
    /// The newest verification of a dump in a plane, of one level.
    Verification {
        /// The dump.
        dump: DumpId,
        /// The plane.
        plane: Plane,
        /// The level.
        level: Level,
    },
    /// A verification as evidence.
    Evidence {
        /// The source.
        source: SourceId,
        /// Its place in the source's chain, from 1 on.
        number: u64,
    },
    /// Nothing that strongroom has written in this layout.
    Foreign,
}

/// Forms and reads keys below one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `<prefix>/`, or nothing where the bucket's root is used.
    root: String,
}

/// Name of the object that makes a dump exist.
pub const MANIFEST: &str = "manifest.json";
/// Name of the journal that is open or ended last.
const CURRENT: &str = "current";

impl Layout {
    /// The layout below `prefix`; slashes at its ends are dropped.
    #[must_use]
    pub fn new(prefix: &str) -> Layout {
        let prefix = prefix.trim_matches('/');
        let root = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Layout { root }
    }

    /// The ledger of an installation's alerts. A source may be called `state`: none of its keys begins like this one.
    #[must_use]
    pub fn alert_ledger(&self, installation: &InstallationId) -> ObjectKey {
        ObjectKey::from(format!("{}state/alerts/{installation}.json", self.root))
    }

    /// Who leads of an installation's processes. Below `state`, as the ledger.
    #[must_use]
    pub fn leader(&self, installation: &InstallationId) -> ObjectKey {
        ObjectKey::from(format!("{}state/leader/{installation}.json", self.root))
    }

    /// Everything of one source begins with this.
    #[must_use]
    pub fn source_prefix(&self, source: &SourceId) -> String {
        format!("{}{source}/", self.root)
    }

    fn dump_prefix(&self, dump: &DumpId) -> String {
        format!("{}{}/dumps/{}/{}/", self.root, dump.source, dump.database.key_segment(), dump.slot)
    }

    /// The manifest of a dump.
    #[must_use]
    pub fn manifest(&self, dump: &DumpId) -> ObjectKey {
        ObjectKey::from(format!("{}{MANIFEST}", self.dump_prefix(dump)))
    }

    /// The directory of one run of a dump, with its trailing slash.
    #[must_use]
    pub fn run_prefix(&self, dump: &DumpId, run: &RunId) -> String {
        format!("{}{run}/", self.dump_prefix(dump))
    }

    /// An object in the directory of one run.
    #[must_use]
    pub fn dump_object(&self, dump: &DumpId, run: &RunId, name: &str) -> ObjectKey {
        ObjectKey::from(format!("{}{name}", self.run_prefix(dump, run)))
    }

    /// The record of a run.
    #[must_use]
    pub fn run_record(&self, source: &SourceId, run: &RunId) -> ObjectKey {
        ObjectKey::from(format!("{}{source}/runs/{run}.json", self.root))
    }

    /// The record of a drill.
    #[must_use]
    pub fn drill_record(&self, drill: &DrillId) -> ObjectKey {
        ObjectKey::from(format!("{}{}/drills/{}-{}.json", self.root, drill.source, drill.slot, drill.path))
    }

    /// The pin of a recovery point; slashes in its id become `~`, which no id has.
    #[must_use]
    pub fn pin(&self, source: &SourceId, point: &str) -> ObjectKey {
        ObjectKey::from(format!("{}{source}/pins/{}.json", self.root, point.replace('/', "~")))
    }

    /// The journal of the recovery that is open, or ended last.
    #[must_use]
    pub fn current_recovery(&self, source: &SourceId) -> ObjectKey {
        ObjectKey::from(format!("{}{source}/recoveries/{CURRENT}.json", self.root))
    }

    /// The journal of a recovery that has ended.
    #[must_use]
    pub fn recovery(&self, source: &SourceId, begun: Slot) -> ObjectKey {
        ObjectKey::from(format!("{}{source}/recoveries/{begun}.json", self.root))
    }

    /// The record of a dump's deletion in a plane.
    #[must_use]
    pub fn prune_record(&self, dump: &DumpId, plane: Plane) -> ObjectKey {
        let (source, database) = (&dump.source, dump.database.key_segment());
        ObjectKey::from(format!("{}{source}/prunes/{}/{database}/{}.json", self.root, plane.as_str(), dump.slot))
    }

    /// The record of the newest verification of a dump in a plane, of one level.
    #[must_use]
    pub fn verification(&self, dump: &DumpId, plane: Plane, level: Level) -> ObjectKey {
        let (source, database) = (&dump.source, dump.database.key_segment());
        let name = format!("{}-{}.json", plane.as_str(), level.as_str());
        ObjectKey::from(format!("{}{source}/verifications/{database}/{}/{name}", self.root, dump.slot))
    }

    /// Everything of a source's chain of evidence begins with this.
    #[must_use]
    pub fn evidence_prefix(&self, source: &SourceId) -> String {
        format!("{}evidence/", self.source_prefix(source))
    }

    /// A piece of a source's chain of evidence; listings show them in their order.
    #[must_use]
    pub fn evidence(&self, source: &SourceId, number: u64) -> ObjectKey {
        ObjectKey::from(format!("{}{number:010}.json", self.evidence_prefix(source)))
    }

    /// The place in its chain that a key has, if it is one of evidence.
    #[must_use]
    pub fn evidence_number(&self, key: &ObjectKey) -> Option<u64> {
        if let KeyRole::Evidence { number, .. } = self.role(key) { Some(number) } else { None }
    }

    /// Says what a listed key is for. Whatever does not print back as the same key is [`KeyRole::Foreign`].
    #[must_use]
    pub fn role(&self, key: &ObjectKey) -> KeyRole {
        self.parse(key.as_str()).unwrap_or(KeyRole::Foreign)
    }

    fn parse(&self, key: &str) -> Option<KeyRole> {
        let (source, rest) = key.strip_prefix(&self.root)?.split_once('/')?;
        let source: SourceId = source.parse().ok()?;
        if let Some(record) = rest.strip_prefix("runs/") {
            let run = record.strip_suffix(".json")?.parse().ok()?;
            return Some(KeyRole::RunRecord { source, run });
        }
        if let Some(record) = rest.strip_prefix("drills/") {
            let (slot, path) = record.strip_suffix(".json")?.split_once('-')?;
            let (slot, path) = (slot.parse().ok()?, path.parse().ok()?);
            return Some(KeyRole::DrillRecord(DrillId { source, slot, path }));
        }
        if let Some(pin) = rest.strip_prefix("pins/") {
            let point = pin.strip_suffix(".json").filter(|point| !point.contains('/'))?;
            return Some(KeyRole::Pin { source, point: point.replace('~', "/") });
        }
        if let Some(record) = rest.strip_prefix("recoveries/") {
            let name = record.strip_suffix(".json")?;
            let begun = if name == CURRENT { None } else { Some(name.parse().ok()?) };
            return Some(KeyRole::Recovery { source, begun });
        }
        if let Some(record) = rest.strip_prefix("evidence/") {
            let number = record.strip_suffix(".json")?;
            let is_number = number.len() >= 10 && number.bytes().all(|digit| digit.is_ascii_digit());
            let number = number.parse().ok().filter(|number| is_number && *number >= 1)?;
            return (self.evidence(&source, number).as_str() == key).then_some(KeyRole::Evidence { source, number });
        }
        if let Some(record) = rest.strip_prefix("prunes/") {
            let (plane, record) = record.split_once('/')?;
            let (database, slot) = record.strip_suffix(".json")?.split_once('/')?;
            let database = DatabaseName::from_key_segment(database).ok()?;
            let dump = DumpId { source, database, slot: slot.parse().ok()? };
            return Some(KeyRole::PruneRecord { dump, plane: plane_named(plane)? });
        }
        if let Some(record) = rest.strip_prefix("verifications/") {
            let (database, record) = record.split_once('/')?;
            let (slot, record) = record.split_once('/')?;
            let (plane, level) = record.strip_suffix(".json")?.split_once('-')?;
            let level = Level::ALL.into_iter().find(|known| known.as_str() == level)?;
            let database = DatabaseName::from_key_segment(database).ok()?;
            let dump = DumpId { source, database, slot: slot.parse().ok()? };
            return Some(KeyRole::Verification { dump, plane: plane_named(plane)?, level });
        }
        let mut parts = rest.strip_prefix("dumps/")?.splitn(4, '/');
        let database = DatabaseName::from_key_segment(parts.next()?).ok()?;
        let slot = parts.next()?.parse().ok()?;
        let dump = DumpId { source, database, slot };
        match (parts.next()?, parts.next()) {
            (MANIFEST, None) => Some(KeyRole::Manifest(dump)),
            (_, None) => None,
            (run, Some(name)) => {
                let run: RunId = run.parse().ok()?;
                let own = run.slot == dump.slot && run.database.as_ref() == Some(&dump.database) && !name.is_empty();
                own.then(|| KeyRole::DumpObject { dump, run, name: name.to_owned() })
            }
        }
    }
}

fn plane_named(name: &str) -> Option<Plane> {
    Plane::ALL.into_iter().find(|plane| plane.as_str() == name)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::drill::DrillPath;

    fn dump() -> DumpId {
        DumpId {
            source: "accounts".parse().unwrap(),
            database: "König".parse().unwrap(),
            slot: "20261101t040000z".parse().unwrap(),
        }
    }

    fn run() -> RunId {
        "20261101t040000z-dump-K%C3%B6nig-2".parse().unwrap()
    }

    #[test]
    fn keys_print_as_the_contract_says() {
        let layout = Layout::new("/strongroom/");
        assert_eq!(
            layout.manifest(&dump()).as_str(),
            "strongroom/accounts/dumps/K%C3%B6nig/20261101t040000z/manifest.json"
        );
        assert_eq!(
            layout.run_record(&dump().source, &run()).as_str(),
            "strongroom/accounts/runs/20261101t040000z-dump-K%C3%B6nig-2.json"
        );
        assert_eq!(layout.source_prefix(&dump().source), "strongroom/accounts/");
    }

    /// A listing below the prefix of a source shows all of it, and nothing of one whose name goes on.
    #[rstest]
    #[case("strongroom")]
    #[case("")]
    fn everything_of_a_source_begins_with_its_prefix(#[case] prefix: &str) {
        let (layout, source) = (Layout::new(prefix), dump().source);
        let keys = [
            layout.manifest(&dump()),
            layout.dump_object(&dump(), &run(), "toc.dat"),
            layout.run_record(&source, &run()),
            layout.pin(&source, &dump().to_string()),
            layout.current_recovery(&source),
            layout.recovery(&source, dump().slot),
            layout.evidence(&source, 17),
            layout.prune_record(&dump(), Plane::Replica),
            layout.verification(&dump(), Plane::Replica, Level::L1),
        ];
        for key in keys {
            assert!(key.as_str().starts_with(&layout.source_prefix(&source)), "{key}");
        }
        let longer = DumpId { source: "accounts-2".parse().unwrap(), ..dump() };
        assert!(!layout.manifest(&longer).as_str().starts_with(&layout.source_prefix(&source)));
    }

    #[rstest]
    #[case("strongroom/accounts/dumps/d/s/r/3837.dat.zst", "3837.dat.zst")]
    #[case("toc.dat", "toc.dat")]
    #[case("strongroom/", "")]
    fn a_key_reads_as_it_was_listed_and_ends_with_a_file_name(#[case] text: &str, #[case] name: &str) {
        let key = ObjectKey::listed(text);
        assert_eq!((key.to_string().as_str(), key.file_name()), (text, name));
    }

    #[rstest]
    #[case("strongroom")]
    #[case("")]
    #[case("a/b")]
    fn every_key_reads_back_as_what_it_was_made_for(#[case] prefix: &str) {
        let layout = Layout::new(prefix);
        assert_eq!(layout.role(&layout.manifest(&dump())), KeyRole::Manifest(dump()));
        let object = layout.dump_object(&dump(), &run(), "archive.dump.zst");
        assert_eq!(
            layout.role(&object),
            KeyRole::DumpObject { dump: dump(), run: run(), name: "archive.dump.zst".into() }
        );
        let record = layout.run_record(&dump().source, &run());
        assert_eq!(layout.role(&record), KeyRole::RunRecord { source: dump().source, run: run() });
        for path in DrillPath::ALL {
            let drill = DrillId { source: dump().source, slot: dump().slot, path };
            assert_eq!(layout.role(&layout.drill_record(&drill)), KeyRole::DrillRecord(drill));
        }
        let source = dump().source;
        let current = KeyRole::Recovery { source: source.clone(), begun: None };
        assert_eq!(layout.role(&layout.current_recovery(&source)), current);
        let ended = KeyRole::Recovery { source: source.clone(), begun: Some(dump().slot) };
        assert_eq!(layout.role(&layout.recovery(&source, dump().slot)), ended);
        for number in [1, 9_999_999_999, 10_000_000_000] {
            let evidence = KeyRole::Evidence { source: source.clone(), number };
            assert_eq!(layout.role(&layout.evidence(&source, number)), evidence);
        }
        let point = dump().to_string();
        assert_eq!(layout.role(&layout.pin(&source, &point)), KeyRole::Pin { source, point });
        for plane in Plane::ALL {
            let record = layout.prune_record(&dump(), plane);
            assert_eq!(layout.role(&record), KeyRole::PruneRecord { dump: dump(), plane });
            for level in Level::ALL {
                let record = layout.verification(&dump(), plane, level);
                assert_eq!(layout.role(&record), KeyRole::Verification { dump: dump(), plane, level });
            }
        }
    }

    #[rstest]
    #[case("elsewhere/accounts/runs/20261101t040000z-snapshot-1.json")]
    #[case("strongroom/accounts/runs/notes.txt")]
    #[case("strongroom/accounts/dumps/accounts/20261101t040000z/readme.txt")]
    #[case("strongroom/accounts/dumps/accounts/20261101t040000z/20261201t040000z-dump-accounts-1/toc.dat")]
    #[case("strongroom/accounts/dumps/accounts/20261101t040000z/20261101t040000z-dump-cards-1/toc.dat")]
    #[case("strongroom/accounts/dumps/accounts/20261101t040000z/20261101t040000z-dump-accounts-1/")]
    #[case("strongroom/accounts/pins/accounts/accounts/20261101t040000z.json")]
    #[case("strongroom/accounts/recoveries/latest.json")]
    #[case("strongroom/accounts/evidence/17.json")]
    #[case("strongroom/accounts/evidence/0000000000.json")]
    #[case("strongroom/accounts/evidence/00000000017.json")]
    #[case("strongroom/accounts/evidence/+000000017.json")]
    #[case("strongroom/accounts/prunes/elsewhere/accounts/20261101t040000z.json")]
    #[case("strongroom/accounts/verifications/accounts/20261101t040000z/primary-l3.json")]
    #[case("strongroom/state/leader.json")]
    #[case("strongroom/state/alerts/bank-prod.json")]
    fn what_is_not_ours_is_foreign(#[case] key: &str) {
        assert_eq!(Layout::new("strongroom").role(&ObjectKey::listed(key)), KeyRole::Foreign);
    }
}
