//! This host's process table, read from `/proc`.

use std::fs;
use std::path::Path;

use crate::domain::run::{OwnerState, ProcessIdentity};
use crate::ports::processes::Processes;

/// Field of `/proc/<pid>/stat` that holds the start time, counted after the parenthesised name (proc(5): field 22).
const START_TIME_AFTER_NAME: usize = 19;

/// The process table of this host.
#[derive(Debug, Clone)]
pub struct HostProcesses {
    this: ProcessIdentity,
}

impl HostProcesses {
    /// Finds out who this process is.
    #[must_use]
    pub fn new() -> HostProcesses {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let pid = std::process::id();
        HostProcesses {
            this: ProcessIdentity {
                host: read("/proc/sys/kernel/hostname"),
                pid_space: format!("{}/{}", read("/proc/sys/kernel/random/boot_id"), namespace.display()),
                pid,
                start_ticks: start_ticks(pid).unwrap_or_default(),
            },
        }
    }
}

impl Default for HostProcesses {
    fn default() -> Self {
        HostProcesses::new()
    }
}

impl Processes for HostProcesses {
    fn this(&self) -> &ProcessIdentity {
        &self.this
    }

    fn state_of(&self, process: &ProcessIdentity) -> OwnerState {
        if *process == self.this {
            return OwnerState::This;
        }
        if process.host != self.this.host {
            return OwnerState::Elsewhere;
        }
        if process.pid_space != self.this.pid_space {
            // The same host name with another boot or another PID namespace: a pod whose container was restarted keeps
            // its name, but so do two containers that share the host's name. Only the boot id is certain.
            let boot = |space: &str| space.split('/').next().unwrap_or_default().to_owned();
            let rebooted = boot(&process.pid_space) != boot(&self.this.pid_space);
            return if rebooted { OwnerState::Dead } else { OwnerState::Elsewhere };
        }
        if start_ticks(process.pid) == Some(process.start_ticks) { OwnerState::Alive } else { OwnerState::Dead }
    }
}

/// Start time of a process in clock ticks since boot; `None` where there is none of that PID.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name may hold spaces and parentheses: fields are counted behind its last one.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    // A zombie has ended; nobody has asked for its status yet.
    if state == "Z" { None } else { fields.nth(START_TIME_AFTER_NAME - 1)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself_and_its_living_parent() {
        let processes = HostProcesses::new();
        assert_eq!(processes.state_of(processes.this()), OwnerState::This);
        let parent = std::os::unix::process::parent_id();
        let parent =
            ProcessIdentity { pid: parent, start_ticks: start_ticks(parent).unwrap(), ..processes.this().clone() };
        assert_eq!(processes.state_of(&parent), OwnerState::Alive);
    }

    #[test]
    fn a_process_that_has_ended_is_dead_even_if_its_pid_is_in_use_again() {
        let processes = HostProcesses::new();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = ProcessIdentity { pid: child.id(), start_ticks: 1, ..processes.this().clone() };
        child.wait().unwrap();
        assert_eq!(processes.state_of(&gone), OwnerState::Dead);
        let reused = ProcessIdentity { start_ticks: processes.this().start_ticks + 1, ..processes.this().clone() };
        assert_eq!(processes.state_of(&reused), OwnerState::Dead);
    }

    #[test]
    fn nothing_is_known_of_another_host_and_everything_ended_with_the_last_boot() {
        let processes = HostProcesses::new();
        let elsewhere = ProcessIdentity { host: "another".into(), ..processes.this().clone() };
        assert_eq!(processes.state_of(&elsewhere), OwnerState::Elsewhere);
        let before = ProcessIdentity { pid_space: "old-boot/pid:[1]".into(), ..processes.this().clone() };
        assert_eq!(processes.state_of(&before), OwnerState::Dead);
    }
}
