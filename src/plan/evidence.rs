//! What an auditor asks for: what was restored and read back, when, with what result; of a span of time.

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::drill::{DrillPath, DrillRecord, DrillState, Verdict};
use crate::domain::id::{InstallationId, SourceId};
use crate::domain::inventory::{Found, Inventory, KnownVerification, StoredDump};
use crate::domain::recovery_point::Plane;
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
    /// The newest verification of each level of each dump, the oldest first.
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
    /// What an inventory shows of the time from `since` on.
    #[must_use]
    pub fn of(policy: &Policy, inventory: &Inventory, since: Timestamp) -> Evidence {
        let mut evidence = Evidence {
            installation: policy.installation.clone(),
            since,
            until: inventory.taken_at,
            drills: Vec::new(),
            verifications: Vec::new(),
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
            evidence.verifications.extend(all.flat_map(|(plane, stored)| {
                stored.verifications.iter().map(move |known| verification(stored, plane, known))
            }));
        }
        evidence.drills.retain(|drill| drill.at >= since);
        evidence.verifications.retain(|verification| verification.at >= since);
        evidence.drills.sort_by(|a, b| (a.at, &a.source, a.path).cmp(&(b.at, &b.source, b.path)));
        evidence.verifications.sort_by(|a, b| (a.at, &a.dump).cmp(&(b.at, &b.dump)));
        evidence
    }

    /// Whether no drill found a backup bad, every verification was good, and nothing was hidden from us.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.unseen.is_empty()
            && self.drills.iter().all(|drill| drill.verdict != Verdict::BackupBad)
            && self.verifications.iter().all(|verification| verification.found == GOOD)
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
        rows,
        details: details.into_iter().chain(record.notes.iter().cloned()).collect(),
    })
}

fn verification(stored: &StoredDump, plane: Plane, known: &KnownVerification) -> VerificationEvidence {
    let found = match &known.found {
        Found::Good => GOOD.to_owned(),
        Found::Fault(fault) => fault.clone(),
        Found::Unreadable(reason) => format!("unreadable: {reason}"),
    };
    VerificationEvidence { dump: stored.dump.to_string(), plane, level: known.level.as_str(), at: known.at, found }
}
