//! This host's process table, read from `/proc`.

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

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
        // Host names are no proof: two containers may share one, and so may two machines made from one image. Only within
        // one boot and one PID namespace does a PID mean one process.
        if process.pid_space != self.this.pid_space {
            return OwnerState::Elsewhere;
        }
        match start_ticks(process.pid) {
            Some(ticks) if ticks == process.start_ticks => OwnerState::Alive,
            Some(_) => OwnerState::Dead,
            // `/proc` may hide other users' processes; the kernel still says whether there is one.
            None if exists(process.pid) => OwnerState::Elsewhere,
            None => OwnerState::Dead,
        }
    }
}

/// Whether a process that is no zombie of ours has this PID, whoever it belongs to.
fn exists(pid: u32) -> bool {
    let hidden = !Path::new("/proc").join(pid.to_string()).exists();
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    hidden && pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
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
    fn nothing_is_known_of_another_host_or_of_another_boot() {
        let processes = HostProcesses::new();
        let elsewhere = ProcessIdentity { host: "another".into(), ..processes.this().clone() };
        assert_eq!(processes.state_of(&elsewhere), OwnerState::Elsewhere);
        let before = ProcessIdentity { pid_space: "old-boot/pid:[1]".into(), ..processes.this().clone() };
        assert_eq!(processes.state_of(&before), OwnerState::Elsewhere);
    }
}
