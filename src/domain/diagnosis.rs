//! What is known of an instance that gives trouble: facts, without rows, queries or passwords.

use jiff::Timestamp;
use serde::Serialize;

use super::id::{InstanceId, SourceId};
use super::inventory::Observed;
use super::run::RdsEvent;

/// Everything that was asked.
#[derive(Debug, Clone)]
pub struct Facts {
    /// When.
    pub at: Timestamp,
    /// The source.
    pub source: SourceId,
    /// Its instance.
    pub instance: InstanceId,
    /// The instance, as RDS has it; `None` where there is none of that name.
    pub state: Observed<Option<InstanceFacts>>,
    /// What happened to it, the oldest first.
    pub events: Observed<Vec<RdsEvent>>,
    /// What RDS will do to it.
    pub maintenance: Observed<Vec<Maintenance>>,
    /// Bytes free on its volume, the oldest measurement first.
    pub free_storage: Observed<Vec<(Timestamp, u64)>>,
    /// Where it can be restored from, without a snapshot.
    pub windows: Observed<Vec<Window>>,
    /// What the account may have.
    pub quotas: Observed<Vec<Quota>>,
    /// What its server complains of.
    pub complaints: Observed<Complaints>,
    /// What goes on in its server.
    pub server: Observed<ServerFacts>,
}

/// An instance as RDS has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceFacts {
    /// Its identity.
    pub resource: String,
    /// Its status, in RDS's words.
    pub status: String,
    /// Its class.
    pub class: String,
    /// The version of its engine.
    pub engine_version: String,
    /// Bytes of its volume.
    pub storage_bytes: u64,
    /// Days that automated backups are kept.
    pub automated_backup_days: u32,
    /// Up to when it can be restored.
    pub latest_restorable_at: Option<Timestamp>,
}

/// Something that RDS will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Maintenance {
    /// What, in RDS's word.
    pub action: String,
    /// What it is about.
    pub description: Option<String>,
    /// When it is done at the latest, whatever the maintenance window; absent where it waits for a person.
    pub forced_at: Option<Timestamp>,
    /// When it is done.
    pub applied_at: Option<Timestamp>,
}

/// A stretch of time that can be restored to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The region that the backups are in.
    pub region: String,
    /// The identity of the instance that they are of.
    pub resource: String,
    /// `active`, `retained`, `replicating`, in RDS's words.
    pub status: String,
    /// From.
    pub earliest: Option<Timestamp>,
    /// To.
    pub latest: Option<Timestamp>,
}

/// What an account may have of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// Of what, in AWS's word.
    pub name: String,
    /// It has.
    pub used: u64,
    /// It may have.
    pub max: u64,
}

/// What the end of a server's log complains of. Only what is no row and no query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Complaints {
    /// The file that was read.
    pub file: String,
    /// Lines of severity ERROR, FATAL, PANIC or WARNING whose message is known to hold no row, the oldest first.
    pub lines: Vec<String>,
    /// How many other lines were left out.
    pub left_out: usize,
}

/// What goes on in a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServerFacts {
    /// Its version.
    pub version: String,
    /// Whether our login sees what other users do.
    pub sees_others: bool,
    /// Clients that are connected.
    pub connections: u64,
    /// How many may be.
    pub connections_max: u64,
    /// Transactions that have been open for five minutes or longer, the oldest first.
    pub transactions: Vec<OpenTransaction>,
    /// Who waits for a lock.
    pub lock_waits: Vec<LockWait>,
    /// Transactions since the oldest one that vacuum has to spare.
    pub xmin_age: u64,
    /// Transactions since the oldest row that is not frozen, of the database that is the furthest behind.
    pub freeze_age: u64,
    /// Replication slots that nobody reads from.
    pub idle_slots: Vec<IdleSlot>,
    /// Transactions that were prepared and neither committed nor rolled back.
    pub prepared: u64,
}

/// A transaction that has been open for long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenTransaction {
    /// Its backend.
    pub pid: u64,
    /// For how long.
    pub seconds: u64,
    /// `active`, `idle in transaction`, and so on.
    pub state: String,
    /// What the client calls itself.
    pub application: String,
}

/// A backend that waits for a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockWait {
    /// It.
    pub pid: u64,
    /// For how long.
    pub seconds: u64,
    /// Whom it waits for, as PostgreSQL lists them: `{4711}`.
    pub blocked_by: String,
}

/// A replication slot that nobody reads from: the server keeps its log for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdleSlot {
    /// Its name.
    pub name: String,
    /// Bytes of log that are kept for it.
    pub retained_bytes: u64,
}

impl Complaints {
    /// What may be shown of a log: lines of a severity that somebody should know of, and of these what is known to hold no row and
    /// no query. What follows such a line (DETAIL, STATEMENT, CONTEXT) holds both.
    #[must_use]
    pub fn of(file: &str, text: &str) -> Complaints {
        let mut complaints = Complaints { file: file.to_owned(), ..Complaints::default() };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match shown(line) {
                Some(line) => complaints.lines.push(line),
                None => complaints.left_out += 1,
            }
        }
        let surplus = complaints.lines.len().saturating_sub(LINES_MAX);
        complaints.left_out += surplus;
        complaints.lines.drain(..surplus);
        complaints
    }
}

/// As the server writes them, after what `log_line_prefix` says and before the message.
const SEVERITIES: [&str; 4] = ["ERROR", "FATAL", "PANIC", "WARNING"];
/// Lines that are kept: the newest.
const LINES_MAX: usize = 50;
/// Messages of the server that name objects, and quote nothing else. Others may be anybody's: an application raises its own.
const KNOWN: [&str; 26] = [
    "archive command failed",
    "autovacuum",
    "canceling statement due to",
    "canceling autovacuum task",
    "cannot execute",
    "connection to client lost",
    "could not extend file",
    "could not open file",
    "could not read block",
    "could not serialize access",
    "could not write",
    "database is not accepting commands",
    "deadlock detected",
    "duplicate key value violates",
    "invalid page in block",
    "no pg_hba.conf entry",
    "out of memory",
    "out of shared memory",
    "password authentication failed",
    "permission denied for",
    "relation \"",
    "remaining connection slots",
    "sorry, too many clients",
    "terminating",
    "the database system is",
    "too many connections",
];

/// A line as it may be shown; `None` where it may not.
fn shown(line: &str) -> Option<String> {
    // The first two spaces after a colon end the severity, whatever the message holds. A continuation begins with a tab.
    let (head, message) = line.split_once(":  ").filter(|_| !line.starts_with('\t'))?;
    let severity = SEVERITIES.iter().find(|severity| head.ends_with(*severity))?;
    let when = head.get(..DATE_LEN).filter(|when| when.starts_with(|c: char| c.is_ascii_digit())).unwrap_or_default();
    let message = if KNOWN.iter().any(|known| message.starts_with(known)) {
        message
    } else if *severity == "PANIC" {
        ""
    } else {
        return None;
    };
    // A client's address, user and database stand in the prefix: they are left out.
    Some(format!("{when} {severity}: {message}").trim().to_owned())
}

/// `2026-11-29 01:00:00`, with which every prefix of RDS begins.
const DATE_LEN: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_what_it_complains_of_and_neither_rows_nor_queries() {
        let prefix = "2026-11-29 01:00:00 UTC:10.0.0.1(5):app@core:[7]";
        let log = [
            "ERROR:  duplicate key value violates unique constraint \"a_pkey\"",
            "DETAIL:  Key (iban)=(DE02) already exists.",
            "STATEMENT:  INSERT INTO a VALUES ('ERROR:  duplicate key value violates DE02')",
            "ERROR:  invalid input syntax for type integer: \"DE02\"",
            "ERROR:  value \"DE02\" is out of range for type integer",
            "ERROR:  account DE02 is locked",
            "ERROR:  syntax error at or near \"DE02\"",
            "LOG:  statement: ALTER ROLE x PASSWORD 'DE02'",
            "FATAL:  password authentication failed for user \"app\"",
            "PANIC:  DE02",
        ];
        let log: String = log.iter().map(|line| format!("{prefix}:{line}\n")).collect();
        let found = Complaints::of("error/x.log", &(log + "\tVALUES ('FATAL:  terminating DE02')\n"));
        let expected = [
            "2026-11-29 01:00:00 ERROR: duplicate key value violates unique constraint \"a_pkey\"",
            "2026-11-29 01:00:00 FATAL: password authentication failed for user \"app\"",
            "2026-11-29 01:00:00 PANIC:",
        ];
        assert_eq!(found.lines, expected);
        assert_eq!(found.left_out, 8);
    }

    #[test]
    fn of_a_long_log_the_newest_lines_stay() {
        let log: String = (0..120).map(|n| format!("x:ERROR:  terminating connection {n}\n")).collect();
        let found = Complaints::of("f", &log);
        assert_eq!((found.lines.len(), found.left_out), (LINES_MAX, 70));
        assert!(found.lines.last().unwrap().ends_with("connection 119"));
    }
}
