//! Adds a verification to its source's chain of evidence.

use jiff::{SignedDuration, Timestamp};

use super::is_refusal;
use crate::domain::drill::Link;
use crate::domain::id::SourceId;
use crate::domain::key::ObjectKey;
use crate::domain::verification::{EVIDENCE_BYTES_MAX, EVIDENCE_VERSION, EvidenceOfVerification, Verification};
use crate::execute::link::link_to;
use crate::execute::{Executor, json};
use crate::ports::object_store::Condition;
use crate::ports::{Chain, ErrorKind, PortError};

/// Attempts at a number that other processes want as well.
const NUMBER_ATTEMPTS: u32 = 5;
/// Records from the end of the chain that are tried before one is written without a link.
const LINKS_TRIED: usize = 5;
/// Between two attempts to write down what must not be lost.
const WRITE_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(5);

impl Executor {
    /// Writes down for good that a dump is bad. That is recorded by then, for it must not pass for a good one until its evidence
    /// can be written; so an outage of the store is outlasted here, and what then is missing from the chain is told.
    pub(super) async fn add_evidence_of_fault(&self, verification: &Verification) {
        let clock = &self.ports.clock;
        let until = clock.now().saturating_add(self.settings.outage_tolerance).unwrap_or(Timestamp::MAX);
        while let Err(error) = self.add_evidence(verification).await {
            if !error.may_pass() || clock.now() >= until {
                tracing::error!(
                    dump.id = %verification.dump,
                    error = %Chain(&error),
                    "a dump was found bad, and that is missing from the chain of evidence: verify it again"
                );
                return;
            }
            clock.sleep_until(clock.now().saturating_add(WRITE_AGAIN_AFTER).unwrap_or(until)).await;
        }
    }

    /// Writes a verification down for good, as the next one of its source's.
    pub(super) async fn add_evidence(&self, verification: &Verification) -> Result<(), PortError> {
        let _turn = self.evidence.lock().await;
        let source = &verification.dump.source;
        let mut attempt = 1;
        loop {
            let (last, previous) = self.end_of_chain(source).await?;
            let number = last.saturating_add(1);
            let key = self.settings.layout.evidence(source, number);
            let evidence = EvidenceOfVerification {
                version: EVIDENCE_VERSION,
                number,
                previous,
                verification: verification.clone(),
            };
            let bytes = json(&key, &evidence)?;
            match self.ports.store.put(&key, bytes.clone(), Condition::Absent).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < NUMBER_ATTEMPTS => {
                    let found = self.ports.store.get(&key, EVIDENCE_BYTES_MAX).await;
                    if found.is_ok_and(|found| found.bytes == bytes) {
                        // Our own answer was lost.
                        return Ok(());
                    }
                    attempt += 1;
                }
                written => return written.map(drop),
            }
        }
    }

    /// The highest number that was ever given, and a link to what can be read of what stands last. What somebody has hidden has
    /// had its number: the gap that it leaves shows. One that cannot be read must not end the chain.
    async fn end_of_chain(&self, source: &SourceId) -> Result<(u64, Option<Link>), PortError> {
        let layout = &self.settings.layout;
        let listed = self.ports.store.list_versions(&layout.evidence_prefix(source)).await?;
        let number = |key: &ObjectKey| layout.evidence_number(key);
        let last = listed.iter().filter_map(|version| number(&version.key)).max();
        let standing = listed.iter().filter(|version| version.is_latest && version.content.is_some());
        let mut numbers: Vec<u64> = standing.filter_map(|version| number(&version.key)).collect();
        numbers.sort_unstable();
        for number in numbers.into_iter().rev().take(LINKS_TRIED) {
            let key = layout.evidence(source, number);
            match link_to(self.ports.store.as_ref(), &key, EVIDENCE_BYTES_MAX).await {
                Err(error)
                    if is_refusal(&error) || matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) =>
                {
                    tracing::warn!(%key, error = %Chain(&error), "evidence cannot be read: the next is chained to the one before it");
                }
                found => return Ok((last.unwrap_or(0), Some(found?))),
            }
        }
        Ok((last.unwrap_or(0), None))
    }
}
