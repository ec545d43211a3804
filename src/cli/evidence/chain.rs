//! Whether evidence is what was written: each record against the hash that the next one keeps of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::daemon::Assembly;
use crate::domain::drill::{DRILL_RECORD_BYTES_MAX, DrillRecord};
use crate::domain::id::SourceId;
use crate::domain::inventory::Inventory;
use crate::domain::key::{Layout, ObjectKey};
use crate::domain::verification::{EVIDENCE_BYTES_MAX, EvidenceOfVerification, Verification};
use crate::dump::hex;
use crate::ports::{Chain, ErrorKind, PortError};

/// Records that are read at once.
const READS: usize = 16;

/// Whether the records of drills and of verifications are those that were written.
#[derive(Debug, Default, Serialize)]
pub(super) struct ChainOfEvidence {
    /// Records that were compared with what the next one says of them.
    pub(super) links: usize,
    /// What does not fit.
    pub(super) broken: Vec<String>,
    /// Records that could not be read this time, which proves nothing.
    pub(super) unread: Vec<String>,
}

impl ChainOfEvidence {
    /// Compares each drill's record with the hash that the next one along the same path keeps of it. That the newest was not taken away
    /// no chain shows: object lock does.
    pub(super) async fn check_drills(&mut self, assembly: &Assembly, inventory: &Inventory) {
        let mut followers: BTreeMap<&str, Vec<&DrillRecord>> = BTreeMap::new();
        let stores = inventory.stores.values().flat_map(|store| store.iter());
        for record in stores.flat_map(|store| store.drills.iter()).map(|stored| &stored.record) {
            if let Some(previous) = &record.previous {
                followers.entry(previous.key.as_str()).or_default().push(record);
            }
        }
        for (key, followers) in followers {
            if let [_, _, ..] = followers.as_slice() {
                let names: Vec<String> = followers.iter().map(|record| record.id().to_string()).collect();
                self.broken.push(format!("{key} is followed by several: {}", names.join(", ")));
            }
            let key = ObjectKey::listed(key);
            let sha256 = match assembly.ports.store.get(&key, DRILL_RECORD_BYTES_MAX).await {
                Ok(found) => hex(Sha256::digest(&found.bytes)),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.broken.push(format!("{key} is missing, and later evidence names it"));
                    continue;
                }
                Err(error) => {
                    self.unread.push(format!("{key}: {}", Chain(&error)));
                    continue;
                }
            };
            for follower in followers {
                self.links += 1;
                if follower.previous.as_ref().is_some_and(|previous| previous.sha256 != sha256) {
                    self.broken.push(format!("{key} is not what it was when drill {} was written", follower.id()));
                }
            }
        }
    }

    /// Follows the numbered evidence of each source, and returns what it tells.
    pub(super) async fn check_verifications(&mut self, assembly: &Assembly) -> Vec<Verification> {
        let layout = Layout::new(&assembly.policy.destination.prefix);
        let mut verifications = Vec::new();
        for source in assembly.policy.sources.keys() {
            match numbered(assembly, &layout, source).await {
                Ok(standing) => verifications.extend(self.follow(&layout, source, standing)),
                Err(error) => self.unread.push(format!("{}: {}", layout.evidence_prefix(source), Chain(&error))),
            }
        }
        verifications
    }

    /// One source's evidence, in the order of its numbers.
    fn follow(
        &mut self,
        layout: &Layout,
        source: &SourceId,
        records: Vec<(u64, Result<Bytes, PortError>)>,
    ) -> Vec<Verification> {
        let mut verifications = Vec::new();
        let mut hashes: BTreeMap<String, String> = BTreeMap::new();
        let mut wanted = 1;
        for (number, found) in records {
            let key = layout.evidence(source, number);
            if number == wanted + 1 {
                self.broken.push(format!("{} is missing", layout.evidence(source, wanted)));
            } else if number > wanted {
                self.broken.push(format!("evidence {wanted} to {} of {source} is missing", number - 1));
            }
            wanted = number.saturating_add(1);
            let bytes = match found {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.unread.push(format!("{key}: {}", Chain(&error)));
                    continue;
                }
            };
            match serde_json::from_slice::<EvidenceOfVerification>(&bytes) {
                Ok(record) => {
                    match &record.previous {
                        // What it names is not the one before where that was hidden, or could not be read, at the time. One
                        // that is missing or unread is told of by itself.
                        Some(previous) => {
                            if let Some(hash) = hashes.get(&previous.key) {
                                self.links += 1;
                                if previous.sha256 != *hash {
                                    let written = format!("{} is not what it was when {key} was written", previous.key);
                                    self.broken.push(written);
                                }
                            }
                        }
                        None if hashes.is_empty() => {}
                        None => self.broken.push(format!("{key} names nothing before it")),
                    }
                    if record.number != number || record.verification.dump.source != *source {
                        self.broken.push(format!("{key} is evidence of something else"));
                    }
                    verifications.push(record.verification);
                }
                Err(error) => self.broken.push(format!("{key} is no evidence: {error}")),
            }
            hashes.insert(key.to_string(), hex(Sha256::digest(&bytes)));
        }
        verifications
    }
}

/// What stands of a source's evidence, in the order of its numbers.
async fn numbered(
    assembly: &Assembly,
    layout: &Layout,
    source: &SourceId,
) -> Result<Vec<(u64, Result<Bytes, PortError>)>, PortError> {
    let store = &assembly.ports.store;
    let listed = store.list_versions(&layout.evidence_prefix(source)).await?;
    let standing = listed.iter().filter(|version| version.is_latest && version.content.is_some());
    let mut numbers: Vec<u64> = standing.filter_map(|version| layout.evidence_number(&version.key)).collect();
    numbers.sort_unstable();
    let reads = stream::iter(numbers).map(async |number| {
        let found = store.get(&layout.evidence(source, number), EVIDENCE_BYTES_MAX).await;
        (number, found.map(|found| found.bytes))
    });
    Ok(reads.buffered(READS).collect().await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::drill::Link;
    use crate::domain::recovery_point::Plane;
    use crate::domain::verification::{EVIDENCE_VERSION, Level, VERIFICATION_VERSION, Verdict};
    use crate::testing::{now, region};

    fn layout() -> Layout {
        Layout::new("strongroom")
    }

    fn source() -> SourceId {
        "accounts".parse().unwrap()
    }

    /// As many pieces of evidence as asked for, each with its link to the one before.
    fn chain(length: u64) -> Vec<(u64, Result<Bytes, PortError>)> {
        let mut previous = None;
        let mut records = Vec::new();
        for number in 1..=length {
            let verification = Verification {
                version: VERIFICATION_VERSION,
                installation: "bank-prod".parse().unwrap(),
                dump: crate::domain::key::DumpId {
                    source: source(),
                    database: "accounts".parse().unwrap(),
                    slot: "20261101t040000z".parse().unwrap(),
                },
                run: "20261101t040000z-dump-accounts-1".parse().unwrap(),
                manifest_etag: None,
                plane: Plane::Primary,
                region: region(),
                level: Level::L2,
                began_at: now(),
                finished_at: now(),
                locked_until: None,
                verdict: Verdict::Good { objects: 3, bytes: number, rows: 1 },
            };
            let record = EvidenceOfVerification { version: EVIDENCE_VERSION, number, previous, verification };
            let bytes = Bytes::from(serde_json::to_vec_pretty(&record).unwrap());
            let key = layout().evidence(&source(), number).to_string();
            previous = Some(Link { key, sha256: hex(Sha256::digest(&bytes)) });
            records.push((number, Ok(bytes)));
        }
        records
    }

    fn followed(records: Vec<(u64, Result<Bytes, PortError>)>) -> (ChainOfEvidence, usize) {
        let mut chain = ChainOfEvidence::default();
        let told = chain.follow(&layout(), &source(), records).len();
        (chain, told)
    }

    #[test]
    fn a_whole_chain_holds_and_tells_all_of_it() {
        let (chain, told) = followed(chain(4));
        assert_eq!((chain.links, told), (3, 4));
        assert!(chain.broken.is_empty() && chain.unread.is_empty(), "{chain:?}");
    }

    #[test]
    fn what_was_changed_is_named_with_the_one_that_knows_better() {
        let mut records = chain(3);
        let text = String::from_utf8(records[1].1.as_ref().unwrap().to_vec()).unwrap();
        records[1].1 = Ok(Bytes::from(text.replace("\"good\"", "\"good\" ")));
        let (chain, _) = followed(records);
        let wanted = "strongroom/accounts/evidence/0000000002.json is not what it was when \
                      strongroom/accounts/evidence/0000000003.json was written";
        assert_eq!(chain.broken, [wanted]);
    }

    #[test]
    fn what_was_taken_out_leaves_a_gap() {
        let mut records = chain(5);
        drop(records.remove(3));
        drop(records.remove(0));
        let (chain, told) = followed(records);
        assert_eq!(told, 3);
        let key = |number| layout().evidence(&source(), number).to_string();
        assert_eq!(chain.broken, [format!("{} is missing", key(1)), format!("{} is missing", key(4))]);
        let mut records = self::chain(5);
        records.drain(1..3);
        assert_eq!(followed(records).0.broken, ["evidence 2 to 3 of accounts is missing"]);
    }

    #[test]
    fn a_chain_that_was_begun_anew_over_the_old_one_is_seen() {
        let mut records = chain(3);
        records[2] = (3, chain(1).remove(0).1);
        let broken = followed(records).0.broken.join("\n");
        assert!(
            broken.contains("names nothing before it") && broken.contains("evidence of something else"),
            "{broken}"
        );
    }

    /// One was hidden when the next was written, and somebody has brought it back.
    #[test]
    fn a_link_is_compared_with_what_it_names() {
        let mut records = chain(2);
        let text = String::from_utf8(chain(3)[1].1.as_ref().unwrap().to_vec()).unwrap();
        records.push((3, Ok(Bytes::from(text.replace("\"number\": 2", "\"number\": 3")))));
        let (chain, told) = followed(records);
        assert_eq!((chain.links, told, chain.broken.len()), (2, 3, 0), "{chain:?}");
    }

    #[test]
    fn what_cannot_be_read_proves_nothing() {
        let mut records = chain(3);
        records[1].1 = Err(PortError::new("get it", ErrorKind::Transient));
        let (chain, told) = followed(records);
        assert_eq!((chain.unread.len(), chain.broken.len(), told), (1, 0, 2));
    }
}
