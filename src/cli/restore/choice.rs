//! Which backup a new instance is made of.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::NotBegun;
use super::setup::{Found, Meant};
use crate::cli::text::exactly;
use crate::cli::{say, text};
use crate::daemon::Assembly;
use crate::domain::id::{Kind, RegionName, Slot, SnapshotId};
use crate::domain::inventory::{Inventory, Snapshot};
use crate::domain::new_instance::{AutomatedBackups, RestoreFrom};
use crate::domain::recovery_point::RecoveryPoint;
use crate::ports::rds::Rds;

/// The snapshot that is meant: the newest good one of ours, or the one that is named, whoever made it.
pub(in crate::cli) async fn snapshot_meant(
    assembly: &Assembly,
    found: &Found,
    inventory: &Inventory,
    points: &[RecoveryPoint],
    from: &str,
) -> Result<Meant, NotBegun> {
    let source = &found.source;
    let of_source = |point: &&RecoveryPoint| {
        point.source == source.id && point.kind == Kind::Snapshot && point.region == found.region
    };
    let here = points.iter().filter(of_source);
    let id: SnapshotId = if from == "latest" {
        let newest = here.filter(|point| point.is_good()).max_by_key(|point| point.created_at);
        let newest = newest.ok_or_else(|| none_good(found, inventory))?;
        newest.id.parse().map_err(|error| NotBegun::Usage(format!("{error}")))?
    } else {
        from.parse().map_err(|error| NotBegun::Usage(format!("{error}")))?
    };
    let snapshot = rds_of(assembly, found)?.snapshot(&id).await?;
    let advice = || format!("`strongroom list {}` names those of strongroom", source.id);
    let missing = || NotBegun::Usage(format!("there is no snapshot {id} in {}: {}", found.region, advice()));
    let snapshot = snapshot.ok_or_else(missing)?;
    check(found, &snapshot)?;
    let created_at = snapshot.created_at;
    let of = created_at.map_or_else(|| "an unknown moment".to_owned(), text::utc);
    Ok(Meant {
        from: RestoreFrom::Snapshot(id.clone()),
        words: format!("snapshot {id}, data of {of}"),
        stem: created_at.map_or_else(|| "snapshot".to_owned(), |at| Slot::at(at).to_string()),
        key: snapshot.kms_key.map_or_else(|| "not encrypted".to_owned(), |key| format!("encrypted under {key}")),
    })
}

fn none_good(found: &Found, inventory: &Inventory) -> NotBegun {
    let (source, region) = (&found.source.id, &found.region);
    let listed = inventory.copies.get(region).unwrap_or(&inventory.snapshots);
    match listed {
        Err(unseen) => NotBegun::Refused(format!("the snapshots in {region} cannot be seen: {}", unseen.0)),
        Ok(_) => NotBegun::Refused(format!(
            "source {source} has no good snapshot of strongroom's in {region}: name another one with --from"
        )),
    }
}

/// Whether it is one of the source's, and whole.
fn check(found: &Found, snapshot: &Snapshot) -> Result<(), NotBegun> {
    let source = &found.source;
    let (id, of) = (&snapshot.id, &snapshot.instance);
    if !of.as_str().eq_ignore_ascii_case(source.instance.as_str()) {
        let own = &source.instance;
        return Err(NotBegun::Refused(format!("snapshot {id} is of instance {of}, and source {} is {own}", source.id)));
    }
    if snapshot.status != "available" {
        return Err(NotBegun::Refused(format!("snapshot {id} is {}, and cannot be restored", snapshot.status)));
    }
    let now = found.details.as_ref().map(|details| &details.instance.resource);
    if let (Some(now), Some(then)) = (now, &snapshot.resource)
        && now != then
    {
        say(&format!("note: snapshot {id} is of {then}, which bore the name before; today's instance is {now}"));
    }
    Ok(())
}

fn rds_of(assembly: &Assembly, found: &Found) -> Result<Arc<dyn Rds>, NotBegun> {
    let ports = &assembly.ports;
    if found.region == assembly.policy.region {
        return Ok(Arc::clone(&ports.rds));
    }
    let there = ports.copies.get(&found.region).cloned();
    there.ok_or_else(|| NotBegun::Usage(format!("no snapshots are copied to {}", found.region)))
}

/// A moment must be before the latest one that RDS shows (RDS API reference, RestoreDBInstanceToPointInTime).
const BEFORE_THE_END: SignedDuration = SignedDuration::from_secs(1);

/// A moment that automated backups reach, or their end; and which moment that is.
pub(in crate::cli) async fn moment_meant(
    assembly: &Assembly,
    found: &Found,
    at: Option<Timestamp>,
) -> Result<(Meant, Timestamp), NotBegun> {
    let (backups, moment, words) = backups_reaching(found, &assembly.policy.region, at).await?;
    let key = match (&backups.kms_key, backups.is_encrypted) {
        (Some(key), _) => format!("encrypted under {key}"),
        (None, Some(false)) => "not encrypted".to_owned(),
        (None, _) => "encrypted as the backups are".to_owned(),
    };
    let from = RestoreFrom::Time { backups, to: moment };
    Ok((Meant { from, words, stem: format!("pitr-{}", Slot::at(moment)), key }, moment))
}

/// The automated backups that reach a moment, or as far as possible; that moment; in words, what is restored of them.
///
/// As far as possible is a moment, too: only then is the same command about the same instance when it is given again.
async fn backups_reaching(
    found: &Found,
    home: &RegionName,
    to: Option<Timestamp>,
) -> Result<(AutomatedBackups, Timestamp, String), NotBegun> {
    let source = &found.source;
    let listed = found.instances.automated_backups(&source.instance).await?;
    let details = found.details.as_ref();
    let is_todays =
        |backups: &&AutomatedBackups| details.is_some_and(|details| details.instance.resource == backups.resource);
    // The one that bears the name today goes before those that bore it.
    let todays = listed.iter().filter(is_todays);
    let earlier = listed.iter().filter(|backups| !is_todays(backups));
    let mut in_order: Vec<AutomatedBackups> = todays.chain(earlier).cloned().collect();
    for backups in &mut in_order {
        // RDS tells the end of an instance's own log in two places, and this one is the newer.
        let here = details.filter(|_| found.region == *home);
        let own = here.filter(|details| details.instance.resource == backups.resource);
        let newest = own.and_then(|details| details.instance.latest_restorable_at);
        backups.latest = backups.latest.max(newest);
    }
    let chosen = match to {
        Some(moment) => in_order.iter().find(|backups| backups.reach(moment)),
        // Of those that bore the name the one that lived last; RDS lists them in no order.
        None => in_order.iter().find(is_todays).filter(|backups| backups.latest.is_some()).or_else(|| {
            in_order.iter().filter(|backups| backups.latest.is_some()).max_by_key(|backups| backups.latest)
        }),
    };
    let Some(chosen) = chosen else { return Err(out_of_reach(found, &in_order, to)) };
    if !is_todays(&chosen) {
        say(&format!("note: these are backups of {}, which bore the name before", chosen.resource));
    }
    let what = format!("automated backups of {} ({})", chosen.instance, chosen.resource);
    if let Some(moment) = to {
        return Ok((chosen.clone(), moment, format!("{what}, up to {}", exactly(moment))));
    }
    let end = chosen.latest.and_then(|latest| latest.saturating_sub(BEFORE_THE_END).ok());
    let end = end.and_then(|end| Timestamp::from_second(end.as_second()).ok());
    let end = end.ok_or_else(|| out_of_reach(found, &in_order, None))?;
    Ok((chosen.clone(), end, format!("{what}, up to their end, {}", exactly(end))))
}

/// Names the windows that there are.
fn out_of_reach(found: &Found, listed: &[AutomatedBackups], to: Option<Timestamp>) -> NotBegun {
    let instance = &found.source.instance;
    let window = |backups: &AutomatedBackups| {
        let end = |at: Option<Timestamp>| at.map_or_else(|| "?".to_owned(), exactly);
        format!("{} to {} ({})", end(backups.earliest), end(backups.latest), backups.resource)
    };
    let windows: Vec<String> = listed.iter().filter(|backups| backups.latest.is_some()).map(window).collect();
    let asked = to.map_or_else(|| "the newest moment".to_owned(), exactly);
    if windows.is_empty() {
        return NotBegun::Refused(format!(
            "instance {instance} has no automated backups in {}: restore a snapshot or a dump instead",
            found.region
        ));
    }
    NotBegun::Refused(format!("{asked} cannot be restored to: instance {instance} can, from {}", windows.join("; ")))
}
