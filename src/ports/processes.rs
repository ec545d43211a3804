//! Processes on this host: is the one that claimed a run still alive?

use crate::domain::run::{OwnerState, ProcessIdentity};

/// The process table, as far as it is needed.
pub trait Processes: Send + Sync {
    /// This process.
    fn this(&self) -> &ProcessIdentity;

    /// What is known about a process: certain in this PID namespace, [`OwnerState::Elsewhere`]
    /// otherwise.
    fn state_of(&self, process: &ProcessIdentity) -> OwnerState;
}
