//! What facts of an instance mean: one plain sentence each, with what to do.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::domain::diagnosis::{Facts, InstanceFacts, ServerFacts};
use crate::domain::run::{RunRecord, RunState};
use crate::policy::finding::{Check, Finding, Severity};

/// Something that a person should know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, what it means, what to do.
    pub text: String,
}

/// Less than this share of the volume free is trouble that comes.
const FREE_SHARE_LOW: f64 = 0.15;
/// And this is trouble that is there.
const FREE_SHARE_CRITICAL: f64 = 0.05;
/// A volume that is full within this time must be seen to now.
const FULL_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// What holds rows and locks for an hour holds back vacuum for an hour.
const TRANSACTION_SECONDS_MAX: u64 = 3600;
/// Whoever waits so long for a lock is noticed.
const LOCK_WAIT_SECONDS_MAX: u64 = 30;
/// Half of what PostgreSQL lets a table age before it vacuums it against wraparound (`autovacuum_freeze_max_age`).
const XMIN_AGE_MAX: u64 = 100_000_000;
/// Autovacuum should have frozen it at 200 million: something holds it back. PostgreSQL stops at two thousand million.
const FREEZE_AGE_WARNING: u64 = 500_000_000;
const FREEZE_AGE_CRITICAL: u64 = 1_200_000_000;
/// Log that is kept for nobody.
const SLOT_BYTES_MAX: u64 = 1 << 30;
/// Maintenance that is so near is news.
const FORCED_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Older failures are history.
const RUNS_SINCE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Words of events that tell of trouble (RDS user guide, event categories failure, failover, low storage, recovery).
const TROUBLED_EVENTS: [&str; 6] = ["fail", "storage", "recover", "shutdown", "incompatible", "restart"];

/// What the facts mean, the worst first, and what the plan has found about the source and about its account.
#[must_use]
pub fn sentences(facts: &Facts, runs: &[&RunRecord], findings: &[Finding]) -> Vec<Sentence> {
    let is_about_it =
        |finding: &&Finding| finding.source.as_ref() == Some(&facts.source) || finding.check == Check::SnapshotQuota;
    let of_plan = findings.iter().filter(is_about_it);
    let mut found = Sentences(
        of_plan.map(|Finding { severity, text, .. }| Sentence { severity: *severity, text: text.clone() }).collect(),
    );
    match &facts.state {
        Ok(Some(state)) => found.instance(facts, state),
        Ok(None) => found.add(
            Severity::Critical,
            format!(
                "there is no instance {}: somebody has deleted or renamed it; `strongroom recover loss {}` brings it back",
                facts.instance, facts.source
            ),
        ),
        Err(_) => {}
    }
    found.unseen(facts);
    found.around(facts);
    if let Ok(server) = &facts.server {
        found.server(server);
    }
    found.runs(runs, facts.at);
    found.0.sort_by_key(|sentence| std::cmp::Reverse(sentence.severity));
    found.0
}

struct Sentences(Vec<Sentence>);

impl Sentences {
    fn add(&mut self, severity: Severity, text: String) {
        self.0.push(Sentence { severity, text });
    }

    fn instance(&mut self, facts: &Facts, state: &InstanceFacts) {
        let (id, status) = (&facts.instance, &state.status);
        if let Some(meaning) = trouble(status) {
            self.add(Severity::Critical, format!("instance {id} is {status}: {meaning}"));
        } else if status != "available" {
            self.add(Severity::Info, format!("instance {id} is {status}: no snapshot is begun until that is over"));
        }
        if let Ok(free) = &facts.free_storage {
            self.storage(free, state.storage_bytes, facts.at);
        }
    }

    fn storage(&mut self, free: &[(Timestamp, u64)], storage_bytes: u64, now: Timestamp) {
        let Some((_, last)) = free.last() else { return };
        let share = as_float(*last) / as_float(storage_bytes.max(1));
        let percent = share * 100.0;
        if share < FREE_SHARE_LOW {
            let severity = if share < FREE_SHARE_CRITICAL { Severity::Critical } else { Severity::Warning };
            let text = "of the storage is free: an instance whose storage is full stops; enlarge it, or delete what nobody needs";
            self.add(severity, format!("{percent:.0} % {text}"));
        }
        if let Some(full_at) = full_at(free)
            && full_at.duration_since(now) < FULL_SOON
        {
            let days = full_at.duration_since(now).as_hours().max(0) / 24;
            let text = "as it grows now, the storage is full in";
            self.add(Severity::Warning, format!("{text} {days} days: enlarge it, or see what grows"));
        }
    }

    /// What could not be asked is no good news.
    fn unseen(&mut self, facts: &Facts) {
        let unseen = [
            ("its state", facts.state.as_ref().err()),
            ("its events", facts.events.as_ref().err()),
            ("pending maintenance", facts.maintenance.as_ref().err()),
            ("its free storage", facts.free_storage.as_ref().err()),
            ("its automated backups", facts.windows.as_ref().err()),
            ("quotas", facts.quotas.as_ref().err()),
            ("its log", facts.complaints.as_ref().err()),
            ("its server", facts.server.as_ref().err()),
        ];
        for (what, unseen) in unseen {
            if let Some(unseen) = unseen {
                self.add(Severity::Warning, format!("{what} could not be seen: {}", unseen.0));
            }
        }
    }

    fn around(&mut self, facts: &Facts) {
        let now = facts.at;
        for pending in facts.maintenance.iter().flatten() {
            let what = pending.description.as_deref().unwrap_or(&pending.action);
            let soon = pending.forced_at.filter(|at| at.duration_since(now) < FORCED_SOON);
            match soon {
                Some(at) => self.add(
                    Severity::Warning,
                    format!("RDS will do this at {at} at the latest, whatever the maintenance window: {what}"),
                ),
                None => self.add(Severity::Info, format!("maintenance is pending: {what}")),
            }
        }
        let events = facts.events.iter().flatten();
        let is_trouble = |message: &str| {
            let message = message.to_ascii_lowercase();
            TROUBLED_EVENTS.iter().any(|word| message.contains(word))
        };
        let troubled: Vec<_> = events.filter(|event| is_trouble(&event.message)).collect();
        if let Some(last) = troubled.last() {
            let count = troubled.len();
            self.add(
                Severity::Info,
                format!("{count} events tell of trouble, the last at {}: {}", last.at, last.message),
            );
        }
        if let Ok(complaints) = &facts.complaints {
            if complaints.lines.iter().any(|line| line.contains("PANIC:")) {
                let text = "the server has panicked: see its log, and whether its storage is damaged";
                self.add(Severity::Critical, text.to_owned());
            } else if !complaints.lines.is_empty() {
                let count = complaints.lines.len();
                self.add(Severity::Info, format!("the end of its log has {count} warnings and errors"));
            }
        }
    }

    fn server(&mut self, server: &ServerFacts) {
        if !server.sees_others {
            let text = "our login does not see what other users do: grant it pg_monitor for the whole picture";
            self.add(Severity::Info, text.to_owned());
        }
        if server.connections * 10 >= server.connections_max * 9 {
            let (used, most) = (server.connections, server.connections_max);
            self.add(Severity::Warning, format!("{used} of {most} connections are in use: soon nobody gets in"));
        }
        for open in server.transactions.iter().filter(|open| open.seconds >= TRANSACTION_SECONDS_MAX) {
            let (pid, minutes, state) = (open.pid, open.seconds / 60, &open.state);
            self.add(
                Severity::Warning,
                format!(
                    "process {pid} ({}) has had a transaction open for {minutes} minutes, {state}: vacuum can clean up nothing \
                     since; end it with `SELECT pg_terminate_backend({pid})`",
                    open.application
                ),
            );
        }
        for wait in server.lock_waits.iter().filter(|wait| wait.seconds >= LOCK_WAIT_SECONDS_MAX) {
            let (pid, seconds, by) = (wait.pid, wait.seconds, &wait.blocked_by);
            let text = format!("process {pid} has waited {seconds} s for a lock that processes {by} hold");
            self.add(Severity::Warning, text);
        }
        if server.xmin_age > XMIN_AGE_MAX {
            let millions = server.xmin_age / 1_000_000;
            let text =
                "million transactions: dead rows pile up; see the oldest transaction, prepared transactions and slots";
            self.add(Severity::Warning, format!("something has held vacuum back for {millions} {text}"));
        }
        if server.freeze_age > FREEZE_AGE_WARNING {
            let severity = if server.freeze_age > FREEZE_AGE_CRITICAL { Severity::Critical } else { Severity::Warning };
            let millions = server.freeze_age / 1_000_000;
            let text =
                "million transactions old: PostgreSQL stops taking writes at two thousand million; VACUUM FREEZE it";
            self.add(severity, format!("the oldest row that is not frozen is {millions} {text}"));
        }
        for slot in server.idle_slots.iter().filter(|slot| slot.retained_bytes > SLOT_BYTES_MAX) {
            let (name, gib) = (&slot.name, slot.retained_bytes >> 30);
            let text = "of log are kept for it; drop it if nobody comes back";
            self.add(Severity::Warning, format!("nobody reads from replication slot {name}, and {gib} GiB {text}"));
        }
        if server.prepared > 0 {
            let count = server.prepared;
            let text = "prepared transactions are neither committed nor rolled back: they hold locks and rows for ever";
            self.add(Severity::Warning, format!("{count} {text}"));
        }
    }

    fn runs(&mut self, runs: &[&RunRecord], now: Timestamp) {
        let since = now.saturating_sub(RUNS_SINCE).unwrap_or(Timestamp::MIN);
        for record in runs.iter().filter(|record| record.started_at >= since) {
            if let RunState::Failed { failure, .. } = &record.state {
                self.add(Severity::Warning, format!("run {} failed: {}", record.run, failure.message));
            }
        }
    }
}

/// Statuses that an instance in use does not leave by itself, and what to do (RDS user guide, DB instance status).
fn trouble(status: &str) -> Option<&'static str> {
    Some(match status {
        "failed" | "incompatible-restore" | "restore-error" => {
            "RDS cannot bring it back: `strongroom recover corruption` makes a new one of its newest snapshot"
        }
        "incompatible-network" => "its subnets lack addresses or settings: mend the network, then reboot it",
        "incompatible-parameters" => "its parameter group does not fit its class: mend the group, then reboot it",
        "incompatible-option-group" => "its option group does not fit: take another one",
        "insufficient-capacity" => "AWS has no room for its class now: take another class, or start it later",
        "inaccessible-encryption-credentials-recoverable" => {
            "the KMS key of its storage cannot be used: enable it and start the instance within seven days, or it is lost"
        }
        "inaccessible-encryption-credentials" => "the KMS key of its storage is gone: only a backup brings it back",
        "storage-full" => "its storage is full: enlarge it",
        "deleting" => "somebody deletes it: `strongroom recover loss` brings it back",
        "stopped" | "stopping" => "it is stopped: RDS starts it again after seven days, and backs up nothing meanwhile",
        _ => return None,
    })
}

/// When nothing is free any more, on the straight line that fits the measurements best; `None` where nothing grows.
fn full_at(free: &[(Timestamp, u64)]) -> Option<Timestamp> {
    let (first, last) = (free.first()?, free.last()?);
    // Of less than a day nothing follows.
    if last.0.duration_since(first.0) < SignedDuration::from_hours(24) {
        return None;
    }
    let points: Vec<(f64, f64)> =
        free.iter().map(|(at, bytes)| (at.duration_since(first.0).as_secs_f64(), as_float(*bytes))).collect();
    let count = as_float(points.len() as u64);
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let (over, under) = points.iter().fold((0.0, 0.0), |(over, under), (x, y)| {
        (over + (x - mean_x) * (y - mean_y), under + (x - mean_x) * (x - mean_x))
    });
    let slope = over / under;
    if slope >= 0.0 || !slope.is_finite() {
        return None;
    }
    let seconds = as_float(last.1) / -slope;
    last.0.saturating_add(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()
}

#[expect(clippy::cast_precision_loss, reason = "bytes and counts are far below 2^53")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::diagnosis::{Complaints, IdleSlot, LockWait, Maintenance, OpenTransaction};
    use crate::domain::inventory::Unseen;
    use crate::domain::run::RdsEvent;
    use crate::testing::now;

    fn well() -> Facts {
        Facts {
            at: now(),
            source: "accounts".parse().unwrap(),
            instance: "bank-accounts".parse().unwrap(),
            state: Ok(Some(InstanceFacts {
                resource: "db-1".to_owned(),
                status: "available".to_owned(),
                class: "db.r6g.large".to_owned(),
                engine_version: "15.18".to_owned(),
                storage_bytes: 100 << 30,
                automated_backup_days: 7,
                latest_restorable_at: Some(now()),
            })),
            events: Ok(Vec::new()),
            maintenance: Ok(Vec::new()),
            free_storage: Ok(vec![(now(), 50 << 30)]),
            windows: Ok(Vec::new()),
            quotas: Ok(Vec::new()),
            complaints: Ok(Complaints::default()),
            server: Ok(ServerFacts { sees_others: true, connections_max: 100, ..ServerFacts::default() }),
        }
    }

    fn days(count: i64) -> Timestamp {
        now().saturating_add(SignedDuration::from_hours(24 * count)).unwrap()
    }

    #[test]
    fn of_an_instance_that_is_well_there_is_nothing_to_say() {
        assert_eq!(sentences(&well(), &[], &[]), []);
    }

    #[test]
    fn what_the_plan_has_found_about_it_or_its_account_is_said_here_too() {
        let finding = |check, source: Option<&str>| Finding {
            severity: Severity::Warning,
            check,
            source: source.map(|source| source.parse().unwrap()),
            text: format!("{check:?}"),
        };
        let findings = [
            finding(Check::RestorableLag, Some("accounts")),
            finding(Check::RestorableLag, Some("cards")),
            finding(Check::SnapshotQuota, None),
            finding(Check::BucketTls, None),
        ];
        let told: Vec<String> = sentences(&well(), &[], &findings).into_iter().map(|sentence| sentence.text).collect();
        assert_eq!(told, ["RestorableLag", "SnapshotQuota"]);
    }

    type Change = fn(&mut Facts);

    fn state(facts: &mut Facts) -> &mut InstanceFacts {
        facts.state.as_mut().unwrap().as_mut().unwrap()
    }

    fn free(gib: &[(i64, u64)]) -> Vec<(Timestamp, u64)> {
        gib.iter().map(|(day, gib)| (days(*day), gib << 30)).collect()
    }

    fn with_server(facts: &mut Facts, change: impl FnOnce(&mut ServerFacts)) {
        change(facts.server.as_mut().unwrap());
    }

    #[rstest]
    #[case::gone(|f: &mut Facts| f.state = Ok(None), Severity::Critical, "there is no instance bank-accounts")]
    #[case::full(|f: &mut Facts| state(f).status = "storage-full".to_owned(), Severity::Critical, "is storage-full: its storage is full: enlarge it")]
    #[case::busy(|f: &mut Facts| state(f).status = "backing-up".to_owned(), Severity::Info, "is backing-up")]
    #[case::low(|f: &mut Facts| f.free_storage = Ok(free(&[(0, 10)])), Severity::Warning, "10 % of the storage is free")]
    #[case::lower(|f: &mut Facts| f.free_storage = Ok(free(&[(0, 1)])), Severity::Critical, "1 % of the storage is free")]
    #[case::growing(|f: &mut Facts| f.free_storage = Ok(free(&[(-2, 60), (-1, 50), (0, 40)])), Severity::Warning, "the storage is full in 4 days")]
    #[case::unseen(|f: &mut Facts| f.server = Err(Unseen("no".to_owned())), Severity::Warning, "its server could not be seen: no")]
    #[case::crowded(|f: &mut Facts| with_server(f, |s| s.connections = 90), Severity::Warning, "90 of 100 connections")]
    #[case::freeze(|f: &mut Facts| with_server(f, |s| s.freeze_age = 1_300_000_000), Severity::Critical, "1300 million transactions old")]
    #[case::xmin(|f: &mut Facts| with_server(f, |s| s.xmin_age = 150_000_000), Severity::Warning, "held vacuum back for 150 million")]
    #[case::prepared(|f: &mut Facts| with_server(f, |s| s.prepared = 1), Severity::Warning, "1 prepared transactions")]
    #[case::blind(|f: &mut Facts| with_server(f, |s| s.sees_others = false), Severity::Info, "pg_monitor")]
    fn each_trouble_is_one_sentence(#[case] change: Change, #[case] severity: Severity, #[case] text: &str) {
        let mut facts = well();
        change(&mut facts);
        let found = sentences(&facts, &[], &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].severity, severity);
        assert!(found[0].text.contains(text), "{found:?}");
    }

    #[test]
    fn who_blocks_whom_and_what_rds_plans_is_named() {
        let mut facts = well();
        with_server(&mut facts, |server| {
            let open = |seconds| OpenTransaction {
                pid: 7,
                seconds,
                state: "idle in transaction".to_owned(),
                application: "psql".to_owned(),
            };
            server.transactions = vec![open(7200), open(600)];
            let wait = |seconds| LockWait { pid: 8, seconds, blocked_by: "{7}".to_owned() };
            server.lock_waits = vec![wait(40), wait(2)];
            server.idle_slots = vec![IdleSlot { name: "old".to_owned(), retained_bytes: 3 << 30 }];
        });
        let maintenance = |forced_at| Maintenance {
            action: "system-update".to_owned(),
            description: None,
            forced_at,
            applied_at: None,
        };
        facts.maintenance = Ok(vec![maintenance(Some(days(3))), maintenance(None)]);
        facts.events = Ok(vec![RdsEvent { at: now(), message: "Multi-AZ instance failover completed".to_owned() }]);
        let told: Vec<String> = sentences(&facts, &[], &[]).into_iter().map(|sentence| sentence.text).collect();
        let expected = [
            "at the latest",
            "process 7 (psql)",
            "process 8 has waited 40 s",
            "slot old, and 3 GiB",
            "maintenance is pending",
            "1 events tell of trouble",
        ];
        for (text, expected) in told.iter().zip(expected) {
            assert!(text.contains(expected), "{told:#?}");
        }
        assert_eq!(told.len(), expected.len(), "{told:#?}");
    }

    #[test]
    fn a_volume_that_does_not_grow_is_never_full() {
        assert_eq!(full_at(&[(days(-2), 5), (now(), 5)]), None);
        assert_eq!(full_at(&[(days(-2), 5), (now(), 9)]), None);
        assert_eq!(full_at(&[(now(), 5)]), None);
    }
}
