//! A dump from a read replica: proof that it is one, that it has caught up, and which failures are its nature.
//!
//! A replica replays what its primary does, also what removes rows that a snapshot still sees. When it has waited long enough
//! for the snapshot (`max_standby_streaming_delay`) the snapshot has to go: a recovery conflict. The dump is no good then, and
//! nothing is wrong with anything.

use super::DumpError;
use super::quoting::quoted_text;
use crate::ports::postgres::Session;
use crate::ports::{ErrorKind, PortError};

/// Everybody may ask that (`EXECUTE` on `pg_control_system()` is granted to PUBLIC).
const SYSTEM: &str = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";
/// A commit that does not wait for its WAL (`synchronous_commit = off`) can be seen before it is written; three rounds of the WAL
/// writer later at most it is (PostgreSQL, asynchronous commit).
const WRITTEN: &str = "SELECT pg_catalog.pg_sleep(3 * setting::float8 / 1000) FROM pg_catalog.pg_settings \
     WHERE name = 'wal_writer_delay'";
/// NULL in recovery. Not the insert position: behind the end of a page that names a place which no record ends at, and an idle
/// replica would never come there.
const POSITION: &str =
    "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_wal_lsn() END::text";

/// What a replica is measured by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    /// What every copy of one cluster has in common.
    system: String,
    lsn: String,
}

impl Primary {
    /// Asks the instance; waits until all is written that can be seen there now.
    ///
    /// # Errors
    /// The server refuses, is gone, or is a replica itself.
    pub fn of(session: &mut dyn Session) -> Result<Primary, PortError> {
        let system = first(session.query(SYSTEM)?);
        session.query(WRITTEN)?;
        let lsn = first(session.query(POSITION)?);
        let (Some(system), Some(lsn)) = (system, lsn) else {
            let error = PortError::new("ask the source's instance how far it has written", ErrorKind::Invalid);
            return Err(error.because("it is a replica itself: name the one that it replicates as `instance`"));
        };
        Ok(Primary { system, lsn })
    }

    /// Up to where a replica must have replayed.
    #[must_use]
    pub fn lsn(&self) -> &str {
        &self.lsn
    }
}

/// How a replica stands to its primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has replayed all that was asked for, and is in recovery.
    CaughtUp,
    /// It has replayed up to here, and not yet what was asked for.
    Behind {
        /// A WAL location.
        at: String,
    },
    /// What it has would be taken for a backup of the source, and is none.
    NoReplica(&'static str),
}

/// Asks a server whether it is a replica of the primary and has replayed as much of its WAL.
///
/// # Errors
/// The server refuses, or is gone.
pub fn standing(session: &mut dyn Session, primary: &Primary) -> Result<Standing, PortError> {
    if first(session.query(SYSTEM)?).as_ref() != Some(&primary.system) {
        return Ok(Standing::NoReplica("it is another database cluster than the source's instance"));
    }
    // One that was promoted still says where its replay has ended.
    let rows = session.query(&format!(
        "SELECT pg_catalog.pg_is_in_recovery()::text, pg_catalog.pg_last_wal_replay_lsn()::text, \
         (pg_catalog.pg_last_wal_replay_lsn() >= {}::pg_catalog.pg_lsn)::text",
        quoted_text(&primary.lsn)
    ))?;
    let mut fields = rows.into_iter().flatten();
    let mut next = || fields.next().flatten();
    let (is_in_recovery, at, is_enough) = (next(), next(), next());
    Ok(match (is_in_recovery.as_deref(), is_enough.as_deref()) {
        (Some("true"), Some("true")) => Standing::CaughtUp,
        (Some("true"), _) => Standing::Behind { at: at.unwrap_or_else(|| "nowhere".to_owned()) },
        (_, _) => Standing::NoReplica("it is not in recovery: it was promoted, or is the source's instance itself"),
    })
}

/// Makes sure that the server of a session is a replica which has replayed enough.
///
/// # Errors
/// It is none, it is further back, or it is gone.
pub fn prove(session: &mut dyn Session, primary: &Primary, host: &str) -> Result<(), PortError> {
    let doing = format!("dump from {host}");
    match standing(session, primary)? {
        Standing::CaughtUp => Ok(()),
        Standing::Behind { at } => {
            let cause = format!("it has replayed up to {at}, and was at {} before", primary.lsn);
            Err(PortError::new(doing, ErrorKind::Transient).because(cause))
        }
        Standing::NoReplica(why) => Err(PortError::new(doing, ErrorKind::Invalid).because(why)),
    }
}

/// Tables and sequences whose data no replica has: nothing of them is in the WAL, and pg_dump leaves them out there without a
/// word.
///
/// # Errors
/// The server refuses, or is gone.
pub fn unlogged(session: &mut dyn Session) -> Result<Vec<String>, PortError> {
    let found = session.query(
        "SELECT oid::pg_catalog.regclass::text FROM pg_catalog.pg_class \
         WHERE relpersistence = 'u' AND relkind IN ('r', 'S') ORDER BY 1",
    )?;
    Ok(found.into_iter().flatten().flatten().collect())
}

fn first(rows: Vec<Vec<Option<String>>>) -> Option<String> {
    rows.into_iter().flatten().flatten().next()
}

/// What the stock client prints of the server's message.
const CONFLICT: &str = "conflict with recovery";

impl DumpError {
    /// Whether a replica's replay went first.
    #[must_use]
    pub fn is_recovery_conflict(&self) -> bool {
        match self {
            DumpError::Client { stderr, .. } => stderr.contains(CONFLICT),
            DumpError::Port(error) => error.kind() == ErrorKind::Conflict,
            DumpError::Worker { error, .. } => error.is_recovery_conflict(),
            DumpError::Archive(_)
            | DumpError::Compress(_)
            | DumpError::StoredDifferently { .. }
            | DumpError::Rewritten { .. }
            | DumpError::Exchanged { .. }
            | DumpError::Locked { .. }
            | DumpError::RowsDiffer { .. }
            | DumpError::Cancelled
            | DumpError::Panicked => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::ports::postgres::{RowSink, Stopper};

    /// A server that says who it is, and how far it has written or replayed.
    struct Server {
        system: &'static str,
        written: Option<&'static str>,
        replayed: [Option<&'static str>; 3],
    }

    impl Session for Server {
        fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, PortError> {
            Ok(match sql {
                SYSTEM => vec![vec![Some(self.system.to_owned())]],
                WRITTEN => vec![vec![Some(String::new())]],
                POSITION => vec![vec![self.written.map(str::to_owned)]],
                _ => vec![self.replayed.map(|field| field.map(str::to_owned)).to_vec()],
            })
        }

        fn copy_out(&mut self, _: &str, _: &mut dyn RowSink) -> Result<u64, PortError> {
            Ok(0)
        }

        fn copy_in(&mut self, _: &str, _: &mut dyn std::io::Read) -> Result<u64, PortError> {
            Ok(0)
        }

        fn stopper(&self) -> Result<Stopper, PortError> {
            Ok(Box::new(|| ()))
        }
    }

    const NOTHING: [Option<&str>; 3] = [None; 3];

    #[rstest]
    #[case::caught_up("7", [Some("true"), Some("0/5000"), Some("true")], "CaughtUp")]
    #[case::behind("7", [Some("true"), Some("0/4000"), Some("false")], r#"Behind { at: "0/4000" }"#)]
    #[case::just_started("7", [Some("true"), None, None], r#"Behind { at: "nowhere" }"#)]
    #[case::promoted("7", [Some("false"), Some("0/5000"), Some("true")], "promoted")]
    #[case::anothers("8", [Some("true"), Some("0/5000"), Some("true")], "another database cluster")]
    fn only_a_standby_of_the_same_cluster_that_has_replayed_enough_will_do(
        #[case] system: &'static str,
        #[case] replayed: [Option<&'static str>; 3],
        #[case] expected: &str,
    ) {
        let primary = Primary::of(&mut Server { system: "7", written: Some("0/5000"), replayed: NOTHING }).unwrap();
        assert_eq!(primary.lsn(), "0/5000");
        let standing = standing(&mut Server { system, written: None, replayed }, &primary).unwrap();
        assert!(format!("{standing:?}").contains(expected), "{standing:?}");
    }

    #[test]
    fn what_is_a_replica_itself_is_nobodys_primary() {
        let error = Primary::of(&mut Server { system: "7", written: None, replayed: NOTHING }).unwrap_err();
        assert!(crate::ports::Chain(&error).to_string().contains("it is a replica itself"), "{error}");
    }

    #[test]
    fn a_conflict_is_told_from_other_failures_wherever_it_strikes() {
        let port = |kind| DumpError::Port(PortError::new("query", kind));
        let worker = DumpError::Worker {
            connection: "connection 1 of 2".to_owned(),
            what: "table t".to_owned(),
            error: Box::new(port(ErrorKind::Conflict)),
        };
        let client =
            |stderr: &str| DumpError::Client { status: "exit status: 1".to_owned(), stderr: stderr.to_owned() };
        assert!(worker.is_recovery_conflict() && port(ErrorKind::Conflict).is_recovery_conflict());
        let said = "pg_dump: error: query failed: ERROR:  canceling statement due to conflict with recovery";
        assert!(client(said).is_recovery_conflict());
        assert!(!client("pg_dump: error: out of memory").is_recovery_conflict());
        let locked = port(ErrorKind::WrongState);
        assert!(!locked.is_recovery_conflict() && !DumpError::Cancelled.is_recovery_conflict());
    }
}
