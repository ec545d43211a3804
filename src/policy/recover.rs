//! How a source is recovered: what writes to it, and how applications are led to another instance.

use jiff::SignedDuration;

use crate::domain::drill::{DrillPath, DrillRecord, DrillState, Phase};
use crate::domain::switch::{KubernetesName, Switch};

/// Drills of which the median is told: what an instance was years ago says little.
const DRILLS_MAX: usize = 5;

/// What a guided recovery of a source stops, changes and starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverPolicy {
    /// How applications find the new instance.
    pub switch: Switch,
    /// Deployments that write: stopped before anything is restored, started at the end.
    pub deployments: Vec<KubernetesName>,
    /// Deployments that only read: restarted at the end, because connections to the old instance outlast the switch.
    pub restarts: Vec<KubernetesName>,
}

impl Default for RecoverPolicy {
    /// The name is what needs no other system; nothing is stopped.
    fn default() -> RecoverPolicy {
        RecoverPolicy { switch: Switch::Rename, deployments: Vec::new(), restarts: Vec::new() }
    }
}

/// How long a way back took in drills, in the median.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Until RDS said that the instance is available.
    pub available: SignedDuration,
    /// Until every row of it was read, from the same beginning.
    pub fully_read: SignedDuration,
    /// Of how many drills.
    pub drills: usize,
}

/// What the newest drills along a path have measured. `None` where none has passed.
pub fn expected<'a>(records: impl Iterator<Item = &'a DrillRecord>, path: DrillPath) -> Option<Expected> {
    let passed = |record: &&DrillRecord| record.path == path && matches!(record.state, DrillState::Passed { .. });
    let mut newest: Vec<&DrillRecord> = records.filter(passed).collect();
    newest.sort_by_key(|record| std::cmp::Reverse(record.slot));
    newest.truncate(DRILLS_MAX);
    let median = |phase| {
        let mut lengths: Vec<SignedDuration> = newest.iter().filter_map(|record| record.took_until(phase)).collect();
        lengths.sort_unstable();
        lengths.get(lengths.len() / 2).copied()
    };
    Some(Expected { available: median(Phase::Available)?, fully_read: median(Phase::FullyRead)?, drills: newest.len() })
}
