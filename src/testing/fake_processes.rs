//! Process tables of several hosts: who is alive, who is dead, and whom nobody can ask.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::domain::run::{OwnerState, ProcessIdentity};
use crate::ports::processes::Processes;

/// The processes of all hosts.
#[derive(Debug, Default)]
pub(crate) struct ProcessTable {
    state: Mutex<TableState>,
}

#[derive(Debug, Default)]
struct TableState {
    started: u32,
    alive: BTreeSet<ProcessIdentity>,
    hidden: BTreeSet<ProcessIdentity>,
}

impl ProcessTable {
    /// A new process on a host.
    pub(crate) fn start(self: &Arc<Self>, host: &str) -> Arc<FakeProcesses> {
        let mut state = self.state.lock().unwrap();
        state.started += 1;
        let this = ProcessIdentity {
            host: host.to_owned(),
            pid_space: format!("boot-of-{host}/pid:[1]"),
            // Every container's daemon has one PID: they are told apart by when they started.
            pid: 7,
            start_ticks: u64::from(state.started),
        };
        state.alive.insert(this.clone());
        Arc::new(FakeProcesses { table: Arc::clone(self), this })
    }

    /// A process is gone.
    pub(crate) fn end(&self, process: &ProcessIdentity) {
        self.state.lock().unwrap().alive.remove(process);
    }

    /// Whether the kernel hides a process from others, even on its own host.
    pub(crate) fn set_hidden(&self, process: &ProcessIdentity, hidden: bool) {
        let mut state = self.state.lock().unwrap();
        if hidden {
            state.hidden.insert(process.clone())
        } else {
            state.hidden.remove(process)
        };
    }
}

/// The process table as one process sees it.
#[derive(Debug)]
pub(crate) struct FakeProcesses {
    table: Arc<ProcessTable>,
    this: ProcessIdentity,
}

impl Processes for FakeProcesses {
    fn this(&self) -> &ProcessIdentity {
        &self.this
    }

    fn state_of(&self, process: &ProcessIdentity) -> OwnerState {
        let state = self.table.state.lock().unwrap();
        if *process == self.this {
            OwnerState::This
        } else if process.pid_space != self.this.pid_space || state.hidden.contains(process) {
            OwnerState::Elsewhere
        } else if state.alive.contains(process) {
            OwnerState::Alive
        } else {
            OwnerState::Dead
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_see_their_own_host_only() {
        let table = Arc::new(ProcessTable::default());
        let (one, two, other) = (table.start("one"), table.start("one"), table.start("other"));
        assert_eq!(one.state_of(one.this()), OwnerState::This);
        assert_eq!(one.state_of(two.this()), OwnerState::Alive);
        assert_eq!(one.state_of(other.this()), OwnerState::Elsewhere);
        table.set_hidden(two.this(), true);
        assert_eq!(one.state_of(two.this()), OwnerState::Elsewhere);
        table.set_hidden(two.this(), false);
        table.end(two.this());
        assert_eq!(one.state_of(two.this()), OwnerState::Dead);
    }
}
