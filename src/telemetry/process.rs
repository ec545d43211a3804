//! What the kernel says about this very process, read by hand from `/proc` when somebody asks.
//!
//! A value that cannot be read (no `/proc`, a changed format) is absent; it never stops a scrape.

use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

/// Clock ticks a second in `/proc/*/stat`. The kernel scales them to `USER_HZ`, which is 100 on every architecture that
/// RDS clients run on, whatever the kernel's own tick is (proc(5), time(7)).
const TICKS_PER_SECOND: u64 = 100;

/// What a process uses now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessUsage {
    /// Processor time since its start, user and system.
    pub cpu: Option<SignedDuration>,
    /// Memory in RAM.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// How many it may open: the soft limit.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

impl ProcessUsage {
    /// Reads the usage of this process below a `/proc` directory.
    #[must_use]
    pub fn read(proc: &Path) -> ProcessUsage {
        let own = proc.join("self");
        let stat = fs::read_to_string(own.join("stat")).ok();
        let status = fs::read_to_string(own.join("status")).ok();
        let limits = fs::read_to_string(own.join("limits")).ok();
        ProcessUsage {
            cpu: stat.as_deref().and_then(cpu),
            resident_bytes: status.as_deref().and_then(resident_bytes),
            open_fds: open_fds(&own.join("fd")),
            max_fds: limits.as_deref().and_then(max_fds),
            threads: stat.as_deref().and_then(|stat| stat_field(stat, 20)),
        }
    }
}

/// When this process started, as the kernel tells it: it does not change, so it is read once.
#[must_use]
pub fn started_at(proc: &Path) -> Option<Timestamp> {
    let ticks = stat_field(&fs::read_to_string(proc.join("self/stat")).ok()?, 22)?;
    let kernel = fs::read_to_string(proc.join("stat")).ok()?;
    let booted_s: i64 = kernel.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Timestamp::from_second(booted_s).ok()?.checked_add(from_ticks(ticks)?).ok()
}

/// A numeric field of `/proc/self/stat`, by its number in proc(5). The second one is the command in brackets and may hold
/// anything, brackets and spaces too, so counting starts behind the last bracket.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, behind_command) = stat.rsplit_once(')')?;
    behind_command.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu(stat: &str) -> Option<SignedDuration> {
    from_ticks(stat_field(stat, 14)?.checked_add(stat_field(stat, 15)?)?)
}

fn from_ticks(ticks: u64) -> Option<SignedDuration> {
    i64::try_from(ticks.checked_mul(1_000 / TICKS_PER_SECOND)?).ok().map(SignedDuration::from_millis)
}

/// From `status` and not from `stat`, because there it is in bytes and not in pages of a size that one has to ask for.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn open_fds(directory: &Path) -> Option<u64> {
    let entries = u64::try_from(fs::read_dir(directory).ok()?.count()).ok()?;
    // One of them is the descriptor that reads the directory.
    Some(entries.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (strong) room) S 1 7 7 0 -1 4194560 5000 0 9 0 250 50 0 0 20 0 6 0 12345 1000000 900 \
                        18446744073709551615 1 1 0 0 0 0 0 4096 81920 0 0 0 17 1 0 0 0 0 0";

    fn proc() -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        let own = proc.path().join("self");
        fs::create_dir_all(own.join("fd")).unwrap();
        for fd in 0..5 {
            fs::write(own.join("fd").join(fd.to_string()), "").unwrap();
        }
        fs::write(own.join("stat"), STAT).unwrap();
        fs::write(own.join("status"), "Name:\tstrongroom\nVmHWM:\t   21000 kB\nVmRSS:\t   20480 kB\nThreads:\t6\n")
            .unwrap();
        fs::write(
            own.join("limits"),
            "Limit    Soft Limit  Hard Limit  Units\nMax open files   1024   524288   files\n",
        )
        .unwrap();
        fs::write(proc.path().join("stat"), "cpu  1 2 3\nbtime 1795316400\nprocesses 9\n").unwrap();
        proc
    }

    #[test]
    fn usage_is_read_even_where_the_command_holds_a_bracket() {
        let usage = ProcessUsage::read(proc().path());
        assert_eq!(
            usage,
            ProcessUsage {
                cpu: Some(SignedDuration::from_secs(3)),
                resident_bytes: Some(20 * 1024 * 1024),
                open_fds: Some(4),
                max_fds: Some(1024),
                threads: Some(6),
            }
        );
    }

    #[test]
    fn the_start_is_counted_from_the_boot_of_the_machine() {
        let expected = Timestamp::from_second(1_795_316_400).unwrap() + SignedDuration::from_millis(123_450);
        assert_eq!(started_at(proc().path()), Some(expected));
    }

    #[test]
    fn what_cannot_be_read_is_absent_and_takes_nothing_else_along() {
        let proc = proc();
        fs::write(proc.path().join("self/status"), "Name:\tstrongroom\n").unwrap();
        fs::write(proc.path().join("self/limits"), "Max open files   unlimited   unlimited   files\n").unwrap();
        let usage = ProcessUsage::read(proc.path());
        assert_eq!((usage.resident_bytes, usage.max_fds, usage.threads), (None, None, Some(6)));
        let nowhere = tempfile::tempdir().unwrap();
        assert_eq!(ProcessUsage::read(nowhere.path()), ProcessUsage::default());
        assert_eq!(started_at(nowhere.path()), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_threads_files_and_a_start() {
        let usage = ProcessUsage::read(Path::new("/proc"));
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 100_000), "{usage:?}");
        assert!(usage.threads.is_some_and(|threads| threads >= 1), "{usage:?}");
        assert!(usage.open_fds.is_some_and(|fds| fds >= 1), "{usage:?}");
        assert!(usage.max_fds >= usage.open_fds, "{usage:?}");
        assert!(usage.cpu.is_some(), "{usage:?}");
        assert!(started_at(Path::new("/proc")).is_some_and(|at| at > Timestamp::UNIX_EPOCH));
    }
}
