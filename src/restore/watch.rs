//! How far a restore is.

use std::sync::{Mutex, PoisonError};

use crate::domain::progress::Progress;

/// The steps of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Database and roles.
    Prepare,
    /// What rows need.
    PreData,
    /// Rows and large objects.
    Data,
    /// What needs rows.
    PostData,
    /// Statistics for the planner.
    Analyze,
    /// Rows against the manifest.
    Compare,
}

impl Phase {
    /// What is done in it, in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Prepare => "database and roles",
            Phase::PreData => "definitions",
            Phase::Data => "rows",
            Phase::PostData => "indexes and constraints",
            Phase::Analyze => "statistics",
            Phase::Compare => "comparison",
        }
    }
}

/// How far a restore is.
#[derive(Debug, Default)]
pub struct Watch {
    /// Bytes of rows and rows: loaded in [`Phase::Data`], compared in [`Phase::Compare`].
    pub progress: Progress,
    phase: Mutex<Option<Phase>>,
}

impl Watch {
    /// What is being done.
    pub fn phase(&self) -> Option<Phase> {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Some(phase);
        self.progress.set_read(0, 0);
    }
}
