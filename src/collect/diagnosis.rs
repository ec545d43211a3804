//! Asks everything about one instance. What cannot be asked is told, and the rest is asked all the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::observed;
use crate::domain::diagnosis::{
    Complaints, Facts, IdleSlot, InstanceFacts, LockWait, OpenTransaction, ServerFacts, Window,
};
use crate::domain::id::{DatabaseName, InstanceId, RegionName};
use crate::domain::inventory::{Endpoint, Observed, Unseen};
use crate::domain::new_instance::InstanceDetails;
use crate::policy::{Policy, SourcePolicy};
use crate::ports::diagnostics::Diagnostics;
use crate::ports::instances::Instances;
use crate::ports::postgres::Session;
use crate::ports::{ErrorKind, PortError, Ports};

/// RDS keeps events for 14 days (RDS user guide, viewing events).
const SPAN: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Lines of the log's end that are looked at.
const LOG_LINES: u32 = 500;

/// Asks everything about a source's instance.
pub async fn diagnose(ports: &Ports, diagnostics: &dyn Diagnostics, policy: &Policy, source: &SourcePolicy) -> Facts {
    let at = ports.clock.now();
    let since = at.saturating_sub(SPAN).unwrap_or(Timestamp::MIN);
    let id = &source.instance;
    let details = match ports.instances.get(&policy.region) {
        Some(instances) => observed(instances.details(id).await),
        None => Err(Unseen(format!("nothing of the configuration is in {}", policy.region))),
    };
    let endpoint = details.iter().flatten().find_map(|details| details.instance.endpoint.clone());
    Facts {
        at,
        source: source.id.clone(),
        instance: id.clone(),
        events: observed(ports.rds.instance_events(id, since).await),
        maintenance: observed(diagnostics.maintenance(id).await),
        free_storage: observed(diagnostics.free_storage(id, since, at).await),
        windows: windows(&ports.instances, id).await,
        quotas: observed(ports.account.quotas().await),
        complaints: observed(complaints(diagnostics, id).await),
        server: server(ports, source, endpoint).await,
        state: details.map(|details| details.map(to_facts)),
    }
}

fn to_facts(details: InstanceDetails) -> InstanceFacts {
    let instance = details.instance;
    InstanceFacts {
        resource: instance.resource.to_string(),
        status: instance.status,
        class: details.setup.class,
        engine_version: instance.engine_version,
        storage_bytes: instance.storage_bytes,
        automated_backup_days: instance.automated_backup_days,
        latest_restorable_at: instance.latest_restorable_at,
    }
}

/// In every region that something can be restored in: automated backups may be replicated.
async fn windows(regions: &BTreeMap<RegionName, Arc<dyn Instances>>, id: &InstanceId) -> Observed<Vec<Window>> {
    let mut windows = Vec::new();
    for (region, instances) in regions {
        for backups in &observed(instances.automated_backups(id).await)? {
            windows.push(Window {
                region: region.to_string(),
                resource: backups.resource.to_string(),
                status: backups.status.clone(),
                earliest: backups.earliest,
                latest: backups.latest,
            });
        }
    }
    Ok(windows)
}

async fn complaints(diagnostics: &dyn Diagnostics, id: &InstanceId) -> Result<Complaints, PortError> {
    let Some(file) = diagnostics.newest_log(id).await? else { return Ok(Complaints::default()) };
    let tail = diagnostics.log_tail(id, &file, LOG_LINES).await?;
    Ok(Complaints::of(&file, &tail))
}

async fn server(ports: &Ports, source: &SourcePolicy, endpoint: Option<Endpoint>) -> Observed<ServerFacts> {
    let Some(endpoint) = endpoint else { return Err(Unseen("RDS shows no endpoint of it".to_owned())) };
    let database = source.databases.first().cloned().unwrap_or_else(DatabaseName::maintenance);
    let asked = async {
        let login = ports.credentials.login(&source.id, &endpoint).await?;
        let mut session = ports.postgres.session(&login, &database, "strongroom/diagnose").await?;
        let asking = tokio::task::spawn_blocking(move || ask(session.as_mut())).await;
        let named = || format!("ask {}:{}", endpoint.host, endpoint.port);
        asking.unwrap_or_else(|error| Err(PortError::new(named(), ErrorKind::Other).because(error)))
    };
    observed(asked.await)
}

/// Some questions about the server's own tables. No text of a query is asked for: it has rows in it.
fn ask(session: &mut dyn Session) -> Result<ServerFacts, PortError> {
    session.query("SET default_transaction_read_only = on; SET lock_timeout = '5s'; SET statement_timeout = '30s'")?;
    let mut facts = ServerFacts::default();
    let row = session.query(NUMBERS)?.into_iter().next().unwrap_or_default();
    let mut fields = row.into_iter();
    let mut text = || fields.next().flatten().unwrap_or_default();
    facts.version = text();
    facts.sees_others = text() == "true";
    facts.connections = number(&text());
    facts.connections_max = number(&text());
    facts.xmin_age = number(&text());
    facts.freeze_age = number(&text());
    facts.prepared = number(&text());
    for row in session.query(TRANSACTIONS)? {
        if let [pid, seconds, state, application] = texts(row).as_slice() {
            facts.transactions.push(OpenTransaction {
                pid: number(pid),
                seconds: number(seconds),
                state: state.clone(),
                application: application.clone(),
            });
        }
    }
    for row in session.query(LOCK_WAITS)? {
        if let [pid, seconds, blocked_by] = texts(row).as_slice() {
            let (pid, seconds) = (number(pid), number(seconds));
            facts.lock_waits.push(LockWait { pid, seconds, blocked_by: blocked_by.clone() });
        }
    }
    for row in session.query(IDLE_SLOTS)? {
        if let [name, bytes] = texts(row).as_slice() {
            facts.idle_slots.push(IdleSlot { name: name.clone(), retained_bytes: number(bytes) });
        }
    }
    Ok(facts)
}

fn texts(row: Vec<Option<String>>) -> Vec<String> {
    row.into_iter().map(Option::unwrap_or_default).collect()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// Ages are those of snapshots, slots and prepared transactions: each of them holds vacuum back.
const NUMBERS: &str = "SELECT pg_catalog.current_setting('server_version'), \
     pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')::text, \
     (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend')::text, \
     pg_catalog.current_setting('max_connections'), \
     GREATEST((SELECT max(age(backend_xmin)) FROM pg_catalog.pg_stat_activity WHERE pid <> pg_catalog.pg_backend_pid()), \
       (SELECT max(age(transaction)) FROM pg_catalog.pg_prepared_xacts), \
       (SELECT max(GREATEST(age(xmin), age(catalog_xmin))) FROM pg_catalog.pg_replication_slots), 0)::text, \
     (SELECT max(age(datfrozenxid)) FROM pg_catalog.pg_database)::text, \
     (SELECT count(*) FROM pg_catalog.pg_prepared_xacts)::text";
const TRANSACTIONS: &str = "SELECT pid::text, pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.now() - xact_start))::bigint::text, \
     state, application_name FROM pg_catalog.pg_stat_activity \
     WHERE xact_start < pg_catalog.now() - interval '5 min' AND backend_type = 'client backend' \
     AND pid <> pg_catalog.pg_backend_pid() ORDER BY xact_start LIMIT 20";
/// Of `pg_locks`, which everybody may see whole. When the wait began is known since version 14.
const LOCK_WAITS: &str = "SELECT pid::text, COALESCE(pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - \
     min((pg_catalog.to_jsonb(l) ->> 'waitstart')::timestamptz))), 0)::bigint::text, pg_catalog.pg_blocking_pids(pid)::text \
     FROM pg_catalog.pg_locks l WHERE NOT granted GROUP BY pid ORDER BY 2 DESC LIMIT 20";
const IDLE_SLOTS: &str = "SELECT slot_name::text, \
     pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
       ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn)::bigint::text \
     FROM pg_catalog.pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL LIMIT 20";
