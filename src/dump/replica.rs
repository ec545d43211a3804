//! A dump from a read replica: proof that it is one, that it has caught up, and which failures are its nature.
//!
//! A replica replays what its primary does, also what removes rows that a snapshot still sees. When it has waited long enough
//! for the snapshot (`max_standby_streaming_delay`) the snapshot has to go: a recovery conflict. The dump is no good then, and
//! nothing is wrong with anything.

use super::DumpError;
use super::quoting::quoted_text;
use crate::ports::postgres::Session;
use crate::ports::{ErrorKind, PortError};

/// Everybody may ask that.
const SYSTEM: &str = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";

/// What every copy of one cluster has in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentifier(String);

impl SystemIdentifier {
    /// Asks a server.
    ///
    /// # Errors
    /// The server refuses, or is gone.
    pub fn of(session: &mut dyn Session) -> Result<SystemIdentifier, PortError> {
        first(session.query(SYSTEM)?).map(SystemIdentifier)
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

/// Asks a server whether it is a replica of a cluster and has replayed the primary's WAL up to `lsn`.
///
/// # Errors
/// The server refuses, or is gone.
pub fn standing(session: &mut dyn Session, primary: &SystemIdentifier, lsn: &str) -> Result<Standing, PortError> {
    if SystemIdentifier::of(session)? != *primary {
        return Ok(Standing::NoReplica("it is another cluster than the source's instance"));
    }
    let at = session.query(&format!(
        "SELECT pg_catalog.pg_last_wal_replay_lsn()::text, \
         (pg_catalog.pg_last_wal_replay_lsn() >= {}::pg_catalog.pg_lsn)::text WHERE pg_catalog.pg_is_in_recovery()",
        quoted_text(lsn)
    ))?;
    let mut fields = at.into_iter().flatten();
    Ok(match (fields.next().flatten(), fields.next().flatten().as_deref()) {
        (_, Some("true")) => Standing::CaughtUp,
        (Some(at), _) => Standing::Behind { at },
        (None, _) => Standing::NoReplica("it is not in recovery: it was promoted, or is the source's instance itself"),
    })
}

/// Tables whose rows no replica has: nothing of them is in the WAL, and pg_dump leaves them out there without a word.
///
/// # Errors
/// The server refuses, or is gone.
pub fn unlogged(session: &mut dyn Session) -> Result<Vec<String>, PortError> {
    let tables = session.query(
        "SELECT oid::pg_catalog.regclass::text FROM pg_catalog.pg_class \
         WHERE relpersistence = 'u' AND relkind = 'r' ORDER BY 1",
    )?;
    Ok(tables.into_iter().flatten().flatten().collect())
}

fn first(rows: Vec<Vec<Option<String>>>) -> Result<String, PortError> {
    let unsaid = || PortError::new("ask a server who it is", ErrorKind::Other).because("it does not say");
    rows.into_iter().flatten().flatten().next().ok_or_else(unsaid)
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

    /// A server that says who it is, and then how far it has replayed.
    struct Server {
        system: &'static str,
        replayed: Option<(&'static str, bool)>,
    }

    impl Session for Server {
        fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, PortError> {
            let text = |text: &str| Some(text.to_owned());
            Ok(match self.replayed {
                _ if sql == SYSTEM => vec![vec![text(self.system)]],
                Some((at, enough)) => vec![vec![text(at), text(&enough.to_string())]],
                None => Vec::new(),
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

    #[rstest]
    #[case::caught_up("7", Some(("0/5000", true)), "CaughtUp")]
    #[case::behind("7", Some(("0/4000", false)), r#"Behind { at: "0/4000" }"#)]
    #[case::promoted("7", None, "promoted")]
    #[case::anothers("8", Some(("0/5000", true)), "another cluster")]
    fn only_a_standby_of_the_same_cluster_that_has_replayed_enough_will_do(
        #[case] system: &'static str,
        #[case] replayed: Option<(&'static str, bool)>,
        #[case] expected: &str,
    ) {
        let primary = SystemIdentifier("7".to_owned());
        let standing = standing(&mut Server { system, replayed }, &primary, "0/5000").unwrap();
        assert!(format!("{standing:?}").contains(expected), "{standing:?}");
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
