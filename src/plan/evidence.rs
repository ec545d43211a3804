//! What an auditor asks for: what was restored and read back, when, with what result; of a span of time.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::domain::drill::{DrillPath, DrillRecord, DrillState, Verdict};
use crate::domain::id::{InstallationId, SourceId};
use crate::domain::inventory::{Found, Inventory, KnownVerification, StoredDump};
use crate::domain::recovery_point::Plane;
use crate::domain::verification::{self, Verification};
use crate::policy::Policy;
use crate::policy::drill::DrillPolicy;

/// The evidence of a span of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Whose.
    pub installation: InstallationId,
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Drills that came to a verdict or could not be carried out, the oldest first.
    pub drills: Vec<DrillEvidence>,
    /// Verifications of dumps, the oldest first.
    pub verifications: Vec<VerificationEvidence>,
    /// Sources of which nothing could be seen.
    pub unseen: Vec<String>,
}

/// One drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrillEvidence {
    /// The source.
    pub source: SourceId,
    /// The path.
    pub path: DrillPath,
    /// When it ended.
    pub at: Timestamp,
    /// What it came to.
    pub verdict: Verdict,
    /// What was restored.
    pub restored: Option<String>,
    /// The class that it was restored into.
    pub class: Option<String>,
    /// Seconds from the order to the last row read.
    pub rto_seconds: Option<i64>,
    /// What the policy wants of that today.
    pub rto_wanted_seconds: Option<i64>,
    /// Seconds of writes that would have been lost.
    pub rpo_seconds: Option<i64>,
    /// What the policy wants of that today.
    pub rpo_wanted_seconds: Option<i64>,
    /// Seconds for which its instance stood, which is what the drill cost.
    pub instance_seconds: Option<i64>,
    /// Rows that came back.
    pub rows: Option<u64>,
    /// What was wrong, or why it was not carried out.
    pub details: Vec<String>,
}

/// One verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerificationEvidence {
    /// The dump.
    pub dump: String,
    /// Where it was read.
    pub plane: Plane,
    /// How deep: `l1` to `l4`.
    pub level: &'static str,
    /// When.
    pub at: Timestamp,
    /// What was found: `good`, or the fault.
    pub found: String,
}

impl Evidence {
    /// What an inventory and the chain of verifications show of the time from `since` on. Of dumps that stand, the newest
    /// verification of each level is taken from the inventory where the chain does not have it.
    #[must_use]
    pub fn of(policy: &Policy, inventory: &Inventory, chained: &[Verification], since: Timestamp) -> Evidence {
        let mut evidence = Evidence {
            installation: policy.installation.clone(),
            since,
            until: inventory.taken_at,
            drills: Vec::new(),
            verifications: chained.iter().map(chained_verification).collect(),
            unseen: Vec::new(),
        };
        for source in policy.sources.values() {
            let store = match inventory.store(&source.id) {
                Ok(store) => store,
                Err(unseen) => {
                    evidence.unseen.push(format!("{}: {}", source.id, unseen.0));
                    continue;
                }
            };
            let records = store.drills.iter().map(|stored| &stored.record);
            evidence.drills.extend(records.filter_map(|record| drill(record, source.drill.as_ref())));
            let dumps = Plane::ALL.into_iter().filter_map(|plane| Some((plane, store.dumps_in(plane)?)));
            let all = dumps.flat_map(|(plane, dumps)| dumps.iter().map(move |stored| (plane, stored)));
            let newest = all.flat_map(|(plane, stored)| {
                stored.verifications.iter().map(move |known| verification(stored, plane, known))
            });
            let of_chain: BTreeSet<_> = evidence.verifications.iter().map(VerificationEvidence::which).collect();
            let beside: Vec<_> = newest.filter(|own| !of_chain.contains(&own.which())).collect();
            evidence.verifications.extend(beside);
        }
        evidence.drills.retain(|drill| drill.at >= since);
        evidence.verifications.retain(|verification| verification.at >= since);
        evidence.drills.sort_by(|a, b| (a.at, &a.source, a.path).cmp(&(b.at, &b.source, b.path)));
        evidence.verifications.sort_by(|a, b| (a.at, &a.dump).cmp(&(b.at, &b.dump)));
        evidence
    }

    /// How long instances of drills stood, all together.
    #[must_use]
    pub fn instance_time(&self) -> SignedDuration {
        SignedDuration::from_secs(self.drills.iter().filter_map(|drill| drill.instance_seconds).sum())
    }

    /// Whether a later verification of the same dump, as deep at least, has found nothing wrong.
    fn is_mended(&self, of: &VerificationEvidence) -> bool {
        let same = |own: &&VerificationEvidence| own.dump == of.dump && own.plane == of.plane && own.level >= of.level;
        self.verifications.iter().filter(same).any(|own| own.at > of.at && own.found == GOOD)
    }

    /// Whether no drill found a backup bad, every verification was good or one was later, and nothing was hidden from us.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.unseen.is_empty()
            && self.drills.iter().all(|drill| drill.verdict != Verdict::BackupBad)
            && self.verifications.iter().all(|verification| verification.found == GOOD || self.is_mended(verification))
    }
}

impl VerificationEvidence {
    /// Which verification it is, however it is known.
    fn which(&self) -> (String, Plane, &'static str, Timestamp) {
        (self.dump.clone(), self.plane, self.level, self.at)
    }
}

/// A verification's word for nothing wrong.
const GOOD: &str = "good";

fn drill(record: &DrillRecord, wanted: Option<&DrillPolicy>) -> Option<DrillEvidence> {
    let (rows, details) = match &record.state {
        DrillState::Running => return None,
        DrillState::Passed { rows, .. } => (Some(*rows), Vec::new()),
        DrillState::BackupBad { faults, .. } => (None, faults.clone()),
        DrillState::Errored { message, .. } => (None, vec![message.clone()]),
    };
    let restored = record.restored.as_ref();
    Some(DrillEvidence {
        source: record.source.clone(),
        path: record.path,
        at: record.state.finished_at()?,
        verdict: record.state.verdict()?,
        restored: restored.map(|restored| format!("{}, data of {}", restored.point, restored.data_of)),
        class: restored.map(|restored| restored.class.clone()),
        rto_seconds: record.recovery_time().map(|length| length.as_secs()),
        rto_wanted_seconds: wanted.and_then(|wanted| Some(wanted.recovery_time_max?.as_secs())),
        rpo_seconds: record.data_loss().map(|length| length.as_secs()),
        rpo_wanted_seconds: wanted.and_then(|wanted| Some(wanted.data_loss_max?.as_secs())),
        instance_seconds: record.instance_time().map(|length| length.as_secs()),
        rows,
        details: details.into_iter().chain(record.notes.iter().cloned()).collect(),
    })
}

fn chained_verification(own: &Verification) -> VerificationEvidence {
    let found = match &own.verdict {
        verification::Verdict::Good { .. } => GOOD.to_owned(),
        verification::Verdict::Bad { faults } => faults.join("; "),
        verification::Verdict::Unreadable { reason } => format!("unreadable: {reason}"),
    };
    let (dump, level) = (own.dump.to_string(), own.level.as_str());
    VerificationEvidence { dump, plane: own.plane, level, at: own.finished_at, found }
}

fn verification(stored: &StoredDump, plane: Plane, known: &KnownVerification) -> VerificationEvidence {
    let found = match &known.found {
        Found::Good => GOOD.to_owned(),
        Found::Fault(fault) => fault.clone(),
        Found::Unreadable(reason) => format!("unreadable: {reason}"),
    };
    VerificationEvidence { dump: stored.dump.to_string(), plane, level: known.level.as_str(), at: known.at, found }
}
