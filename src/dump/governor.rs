//! A light session beside a dump: it asks who waits for the dump, and can end the dump's sessions.
//!
//! It needs no right of its own for locks and snapshots: `pg_locks`, `pg_blocking_pids` and `backend_xmin` are for all. Only
//! how far standbys are is shown to `pg_monitor` and `pg_read_all_stats` alone.

use jiff::SignedDuration;

use super::quoting::quoted_text;
use crate::domain::activity::{Activity, Replay, Standby, Waiting, Xmin};
use crate::ports::PortError;
use crate::ports::postgres::Session;

/// It is idle but for some milliseconds of each second. Whoever looks at `pg_stat_activity` sees that it is no dump.
const SETTINGS: &str = "SET application_name = 'strongroom governor'; SET statement_timeout = '5s'; \
     SET default_transaction_read_only = on; SET jit = off";

/// A session that watches those of a dump.
pub struct Watch {
    session: Box<dyn Session>,
    ours: String,
}

impl Watch {
    /// Makes a watch of a session that was opened under the name of the dump's.
    ///
    /// # Errors
    /// The server refuses, or is gone.
    pub fn begin(mut session: Box<dyn Session>) -> Result<Watch, PortError> {
        // The server cuts long names and replaces characters: only it knows how it calls the dump's sessions.
        let named = session.query("SELECT pg_catalog.current_setting('application_name')")?;
        let name = named.into_iter().flatten().flatten().next().unwrap_or_default();
        session.query(SETTINGS)?;
        let ours = format!("application_name = {} AND usename = CURRENT_USER", quoted_text(&name));
        Ok(Watch { session, ours })
    }

    /// Looks once.
    ///
    /// # Errors
    /// The server refuses, or is gone.
    pub fn look(&mut self) -> Result<Activity, PortError> {
        let rows = self.session.query(&LOOK.replace("{ours}", &self.ours))?;
        let mut activity = Activity::default();
        for row in &rows {
            take(row, &mut activity);
        }
        Ok(activity)
    }

    /// Ends the dump's sessions, and so gives back their locks and snapshots: a backend that works for a client which has gone
    /// notices it only when it next writes to it.
    ///
    /// # Errors
    /// The server refuses, or is gone.
    pub fn end_sessions(&mut self) -> Result<(), PortError> {
        let sql =
            format!("SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE {}", self.ours);
        self.session.query(&sql).map(drop)
    }
}

/// One row for each thing that is seen: what it is, whose, how much, and a name.
///
/// `waitstart` is there since PostgreSQL 14; by way of JSON an older server says nothing instead of refusing.
const LOOK: &str = "
WITH ours AS MATERIALIZED (
    SELECT pid, backend_xmin FROM pg_catalog.pg_stat_activity WHERE {ours}
), waiting AS MATERIALIZED (
    SELECT pid, min((to_jsonb(l) ->> 'waitstart')::timestamptz) AS since, min(relation) AS relation
    FROM pg_catalog.pg_locks AS l WHERE NOT granted AND pid NOT IN (SELECT pid FROM ours) GROUP BY pid
), held AS (
    SELECT max(age(backend_xmin)) AS age FROM ours
)
SELECT 'waiting', pid::text, extract(epoch FROM clock_timestamp() - since)::text, relation::regclass::text
FROM waiting WHERE pg_blocking_pids(pid) && ARRAY(SELECT pid FROM ours)
UNION ALL
SELECT 'xmin', age::text, (
    EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS o
            WHERE age(o.backend_xmin) > held.age AND o.pid NOT IN (SELECT pid FROM ours))
    OR EXISTS (SELECT FROM pg_catalog.pg_replication_slots AS s WHERE age(s.xmin) > held.age)
    OR EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts AS p WHERE age(p.transaction) > held.age)
)::text, NULL FROM held WHERE age IS NOT NULL
UNION ALL
SELECT 'standby', pid::text, extract(epoch FROM replay_lag)::text, application_name
FROM pg_catalog.pg_stat_replication WHERE state IN ('streaming', 'catchup') AND replay_lag IS NOT NULL
UNION ALL
SELECT 'replay', NULL, (pg_last_wal_receive_lsn() - '0/0')::text, (pg_last_wal_replay_lsn() - '0/0')::text
WHERE pg_is_in_recovery()
UNION ALL
SELECT 'hidden', NULL, NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_stat_replication WHERE state IS NULL)";

fn take(row: &[Option<String>], into: &mut Activity) {
    let field = |index: usize| row.get(index).and_then(Option::as_deref);
    let seconds = || SignedDuration::try_from_secs_f64(field(2)?.parse().ok()?).ok();
    let pid = || field(1).and_then(|pid| pid.parse().ok()).unwrap_or_default();
    let name = || field(3).filter(|name| !name.is_empty()).map(str::to_owned);
    match field(0) {
        Some("waiting") => into.waiting.push(Waiting { pid: pid(), waited: seconds(), table: name() }),
        Some("xmin") => {
            let age = field(1).and_then(|age| age.parse().ok());
            into.xmin = age.map(|age| Xmin { age, others_older: field(2) == Some("true") });
        }
        Some("standby") => {
            let standby = seconds().map(|lag| Standby { pid: pid(), name: name().unwrap_or_default(), lag });
            into.standbys.extend(standby);
        }
        Some("replay") => {
            let bytes = |index| field(index)?.parse().ok();
            into.replay = bytes(2).zip(bytes(3)).map(|(received, replayed)| Replay { received, replayed });
        }
        Some("hidden") => into.standbys_hidden = true,
        Some(_) | None => {}
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_says_what_it_is_about() {
        let rows = [
            ["waiting", "7", "4.25", "bank.accounts"],
            ["waiting", "8", "", ""],
            ["xmin", "12", "true", ""],
            ["standby", "9", "0.5", "walreceiver"],
            ["replay", "", "7000", "5000"],
            ["hidden", "", "", ""],
        ];
        let mut activity = Activity::default();
        for row in rows {
            let row = row.map(|field| Some(field.to_owned()).filter(|field| !field.is_empty()));
            take(&row, &mut activity);
        }
        let millis = SignedDuration::from_millis;
        let expected = Activity {
            waiting: vec![
                Waiting { pid: 7, waited: Some(millis(4250)), table: Some("bank.accounts".to_owned()) },
                Waiting { pid: 8, waited: None, table: None },
            ],
            xmin: Some(Xmin { age: 12, others_older: true }),
            standbys: vec![Standby { pid: 9, name: "walreceiver".to_owned(), lag: millis(500) }],
            standbys_hidden: true,
            replay: Some(Replay { received: 7000, replayed: 5000 }),
        };
        assert_eq!(activity, expected);
    }
}
