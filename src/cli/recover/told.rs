//! What a person reads before and after a recovery.

use jiff::{SignedDuration, Timestamp};

use crate::cli::text;
use crate::domain::id::Kind;
use crate::domain::inventory::Inventory;
use crate::domain::new_instance::InstanceDetails;
use crate::domain::recovery::{Origin, Recovery, RecoveryState, Step, Writer};
use crate::domain::recovery_point::RecoveryPoint;
use crate::domain::switch::Switch;
use crate::policy::recover::Expected;
use crate::recover::Verified;

/// Tables that are told one by one.
const TABLES_MAX: usize = 20;

/// What stands, before anything is done.
pub(super) fn assessment(
    recovery: &Recovery,
    details: Option<&InstanceDetails>,
    points: &[RecoveryPoint],
    inventory: &Inventory,
    now: Timestamp,
) -> String {
    let mut lines = vec![format!("source      {}, instance {}", recovery.source, recovery.instance)];
    lines.push(match details {
        Some(details) => format!("now         {}, identity {}", details.instance.status, details.instance.resource),
        None => "now         there is no such instance".to_owned(),
    });
    let of_source = |point: &&RecoveryPoint| point.source == recovery.source && point.is_good();
    for kind in [Kind::Snapshot, Kind::Dump] {
        let newest =
            points.iter().filter(of_source).filter(|point| point.kind == kind).max_by_key(|one| one.created_at);
        if let Some(newest) = newest
            && let Some(created_at) = newest.created_at
        {
            let age = text::relative(created_at, now);
            lines.push(format!("candidate   {kind} {}, {} ({age})", newest.id, text::utc(created_at)));
        }
    }
    if let Some(latest) = details.and_then(|details| details.instance.latest_restorable_at) {
        let age = text::relative(latest, now);
        lines.push(format!("candidate   automated backups, up to {} ({age})", text::utc(latest)));
    }
    if let Err(unseen) = inventory.store(&recovery.source) {
        lines.push(format!("not seen    dumps and drills: {}", unseen.0));
    }
    lines.join("\n") + "\n"
}

/// The steps, with what each of them takes.
pub(super) fn steps(recovery: &Recovery, expected: Option<&Expected>) -> String {
    let lines = Step::ALL.into_iter().map(|step| {
        let mark = if recovery.is_done(step) { "done " } else { "" };
        format!("{}  {mark}{}\n", step.number(), what(step, recovery, expected))
    });
    lines.collect()
}

/// A step in words.
pub(super) fn what(step: Step, recovery: &Recovery, expected: Option<&Expected>) -> String {
    let took = |length: Option<SignedDuration>| match (expected, length) {
        (Some(expected), Some(length)) => {
            format!(" ({} in the median of {} drills)", text::length(length), expected.drills)
        }
        (_, _) => " (no drill has measured how long that takes)".to_owned(),
    };
    match step {
        Step::StopWriters if recovery.writers.is_empty() => {
            "stop what writes: no deployments are configured, so stop it yourself before you go on".to_owned()
        }
        Step::StopWriters => {
            let names: Vec<String> = recovery.writers.iter().map(scaled).collect();
            format!("stop what writes: {}", names.join(", "))
        }
        Step::Restore => {
            let what = match &recovery.origin {
                Origin::Snapshot(id) => format!("snapshot {id}"),
                Origin::Moment(at) => format!("automated backups up to {}", text::exactly(*at)),
            };
            let length = took(expected.map(|expected| expected.available));
            format!("restore {what} as {}{length}", recovery.new)
        }
        Step::Verify => {
            let rest = expected.map(|expected| expected.fully_read.saturating_sub(expected.available));
            let compared = match recovery.old {
                Some(_) => format!(" and compare it with {}", recovery.instance),
                None => String::new(),
            };
            format!("read all of {}{compared}{}", recovery.new, took(rest))
        }
        Step::Switch => format!("switch: {}", switch(recovery)),
        Step::StartWriters if recovery.writers.is_empty() && recovery.restarts.is_empty() => {
            "start what was stopped: that is yours, too".to_owned()
        }
        Step::StartWriters => {
            let writers = recovery.writers.iter().map(|writer| writer.deployment.to_string());
            let restarts = recovery.restarts.iter().map(|deployment| format!("{deployment} (restart)"));
            format!("start {}", writers.chain(restarts).collect::<Vec<_>>().join(", "))
        }
    }
}

fn scaled(writer: &Writer) -> String {
    match writer.replicas {
        Some(replicas) => format!("{} ({replicas} replicas) to 0", writer.deployment),
        None => format!("{} to 0 replicas", writer.deployment),
    }
}

fn switch(recovery: &Recovery) -> String {
    match &recovery.switch {
        Switch::Rename => {
            let aside = match recovery.old {
                Some(_) => format!("{} becomes {}, ", recovery.instance, recovery.set_aside()),
                None => String::new(),
            };
            format!(
                "{aside}{} becomes {}; its endpoint stays, and is away for minutes",
                recovery.new, recovery.instance
            )
        }
        Switch::KubernetesSecret { secret, .. } => format!("Secret {secret} gets the address of {}", recovery.new),
        Switch::SecretsManager { secret, external_secrets, .. } => {
            let fetched: Vec<String> = external_secrets.iter().map(ToString::to_string).collect();
            let fetched =
                if fetched.is_empty() { String::new() } else { format!(", fetched by {}", fetched.join(", ")) };
            format!("secret {secret} gets the address of {}{fetched}", recovery.new)
        }
    }
}

/// What was found in the restored instance.
pub(super) fn verified(verified: &Verified) -> String {
    let mut lines = vec![format!("read        {} tables with {} rows", verified.tables, verified.rows)];
    lines.extend(verified.notes.iter().map(|note| format!("note        {note}")));
    for difference in verified.differences.iter().take(TABLES_MAX) {
        let rows = |rows: Option<u64>| rows.map_or_else(|| "no such table".to_owned(), |rows| format!("{rows} rows"));
        let (table, restored, old) = (&difference.table, rows(difference.restored), rows(difference.old));
        lines.push(format!("differs     {table}: {restored}, and now {old}"));
    }
    if verified.differences.len() > TABLES_MAX {
        lines.push(format!("            and {} more tables", verified.differences.len() - TABLES_MAX));
    }
    lines.extend(verified.faults.iter().map(|fault| format!("fault       {fault}")));
    lines.join("\n") + "\n"
}

/// What stands at the end, and what is left to a person.
pub(super) fn ending(recovery: &Recovery) -> String {
    let source = &recovery.source;
    let (bears, old) = match recovery.switch {
        Switch::Rename => (&recovery.instance, recovery.set_aside()),
        Switch::KubernetesSecret { .. } | Switch::SecretsManager { .. } => (&recovery.new, recovery.instance.clone()),
    };
    let mut lines = vec![format!("recovered   {source} is served by instance {bears}")];
    if recovery.old.is_some() {
        lines.push(format!("old one     {old}: it stays, and costs as before, until you delete it yourself"));
        lines.push(format!("to undo     strongroom recover undo {source}"));
    }
    if *bears != recovery.instance {
        let why = if recovery.old.is_some() { ", or the old one is backed up" } else { "" };
        lines.push(format!("next        write `instance = \"{bears}\"` under [sources.{source}]{why}"));
    }
    lines.push(format!("next        `strongroom backup snapshot {source}`: the new instance has no snapshot yet"));
    lines.join("\n") + "\n"
}

/// Where a recovery stands, in words.
pub(super) fn stands(recovery: &Recovery) -> String {
    match recovery.state {
        RecoveryState::Open => "is under way".to_owned(),
        RecoveryState::Done { at } => format!("was done at {}", text::utc(at)),
        RecoveryState::Abandoned { at } => format!("was given up at {}", text::utc(at)),
        RecoveryState::Undoing { .. } => "is being undone".to_owned(),
        RecoveryState::Undone { at } => format!("was undone at {}", text::utc(at)),
    }
}
