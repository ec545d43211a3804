//! What one region holds, and how it moves on with time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::{RdsSettings, lower};
use crate::domain::id::{InstanceId, RegionName, SnapshotId};
use crate::domain::inventory::{Instance, Snapshot};
use crate::domain::new_instance::InstanceSetup;
use crate::domain::run::RdsEvent;
use crate::domain::tags::Tags;

/// RDS ships the log every five minutes.
const LOG_EVERY_S: i64 = 300;

/// How a snapshot or copy ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Available,
    Fails,
    /// It does not move until it is released.
    Sticks,
}

/// What happened to a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Ordered,
    Available,
    Failed,
    Deleted,
}

/// One thing that happened to one snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) at: Timestamp,
    pub(crate) region: RegionName,
    pub(crate) kind: ChangeKind,
    pub(crate) snapshot: Snapshot,
}

#[derive(Default)]
pub(super) struct Region {
    pub(super) settings: RdsSettings,
    /// By identifier in lower case.
    pub(super) instances: BTreeMap<String, Instance>,
    /// By identifier.
    pub(super) snapshots: BTreeMap<String, HeldSnapshot>,
    pub(super) events: Vec<(String, RdsEvent)>,
    pub(super) disabled_keys: BTreeSet<String>,
    /// What a restore has made of instances, by identifier in lower case.
    pub(super) restored: BTreeMap<String, RestoredInstance>,
    pub(super) restore_fates: VecDeque<Fate>,
    /// Bytes by instance; of the others nothing is measured.
    pub(super) free_storage: BTreeMap<InstanceId, u64>,
    pub(super) snapshot_fates: VecDeque<Fate>,
    pub(super) copy_fates: VecDeque<Fate>,
    /// Somebody else deletes the next one first.
    pub(super) deleted_by_another: bool,
}

/// An instance that was restored.
pub(super) struct RestoredInstance {
    pub(super) setup: InstanceSetup,
    pub(super) ordered_at: Timestamp,
    pub(super) takes: SignedDuration,
    pub(super) fate: Fate,
    /// The server whose data it has.
    pub(super) origin: String,
    /// The moment of its data.
    pub(super) data_of: Timestamp,
    pub(super) deleted_until: Option<Timestamp>,
}

impl RestoredInstance {
    /// Its status in RDS's words.
    pub(super) fn status(&self, now: Timestamp) -> &'static str {
        let is_made = self.ordered_at + self.takes <= now;
        match self.fate {
            _ if self.deleted_until.is_some() => "deleting",
            Fate::Available if is_made => "available",
            Fate::Fails if is_made => "incompatible-network",
            Fate::Available | Fate::Fails | Fate::Sticks => "creating",
        }
    }
}

pub(super) struct HeldSnapshot {
    /// As it is once it is available.
    pub(super) facts: Snapshot,
    pub(super) ordered_at: Timestamp,
    pub(super) life: Life,
    pub(super) copy_of: Option<(RegionName, String)>,
}

pub(super) enum Life {
    Making { takes: SignedDuration, fate: Fate },
    Available,
    Failed,
    Deleting { until: Timestamp },
}

/// What a snapshot is to be.
pub(super) struct Order<'a> {
    pub(super) id: &'a SnapshotId,
    pub(super) instance: &'a InstanceId,
    pub(super) tags: &'a Tags,
}

impl Region {
    pub(super) fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        self.instances.get(&lower(id.as_str()))
    }

    pub(super) fn snapshot(&self, id: &SnapshotId) -> Option<&HeldSnapshot> {
        self.snapshots.get(&lower(id.as_str()))
    }

    /// An instance as RDS shows it: `backing-up` while a snapshot is made of it.
    pub(super) fn shown_instance(&self, held: &Instance, now: Timestamp) -> Instance {
        let mut shown = held.clone();
        if let Some(restored) = self.restored.get(&lower(held.id.as_str())) {
            restored.status(now).clone_into(&mut shown.status);
            // RDS shows none before it is there.
            shown.endpoint = shown.endpoint.filter(|_| shown.status == "available");
        }
        let backing_up = self.snapshots.values().any(|snapshot| {
            snapshot.is_being_made() && snapshot.copy_of.is_none() && snapshot.facts.instance == shown.id
        });
        if backing_up && shown.takes_snapshots() {
            "backing-up".clone_into(&mut shown.status);
        }
        if shown.automated_backup_days > 0 && shown.latest_restorable_at.is_none() {
            shown.latest_restorable_at =
                Timestamp::from_second(now.as_second().div_euclid(LOG_EVERY_S) * LOG_EVERY_S).ok();
        }
        shown
    }

    /// A snapshot of an instance that has just been ordered; `None` where there is no such instance.
    pub(super) fn order(&mut self, region: &RegionName, order: &Order<'_>, now: Timestamp) -> Option<HeldSnapshot> {
        let instance = self.instance(order.instance)?;
        let id: SnapshotId = lower(order.id.as_str()).parse().unwrap();
        let facts = Snapshot {
            arn: Some(arn(region, &id)),
            id,
            instance: instance.id.clone(),
            resource: Some(instance.resource.clone()),
            status: "available".to_owned(),
            progress_percent: 100,
            created_at: Some(now),
            stored_at: Some(now),
            copied_from: None,
            kms_key: instance.kms_key.clone(),
            storage_bytes: instance.storage_bytes,
            tags: order.tags.clone(),
        };
        let fate = self.snapshot_fates.pop_front().unwrap_or(Fate::Available);
        let life = Life::Making { takes: self.settings.snapshot_takes, fate };
        Some(HeldSnapshot { facts, ordered_at: now, life, copy_of: None })
    }

    pub(super) fn copies_under_way(&self) -> usize {
        self.snapshots.values().filter(|held| held.copy_of.is_some() && held.is_being_made()).count()
    }

    pub(super) fn settle(&mut self, name: &RegionName, now: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        for held in self.snapshots.values_mut() {
            let Some((life, kind, at)) = held.ended(now) else { continue };
            held.life = life;
            changes.push(held.change(name, kind, at));
            if held.copy_of.is_none() {
                let message = if kind == ChangeKind::Failed { "DB Instance backup failed" } else { FINISHED };
                let event = RdsEvent { at, message: message.to_owned() };
                self.events.push((lower(held.facts.instance.as_str()), event));
            }
        }
        let is_gone = |restored: &RestoredInstance| restored.deleted_until.is_some_and(|until| until <= now);
        let gone = self.restored.extract_if(.., |_, restored| is_gone(restored));
        for (id, _) in gone {
            self.instances.remove(&id);
        }
        self.snapshots.retain(|_, held| {
            let Life::Deleting { until } = held.life else { return true };
            if until <= now {
                changes.push(held.change(name, ChangeKind::Deleted, until));
            }
            until > now
        });
        changes
    }

    pub(super) fn release(&mut self, id: &SnapshotId, now: Timestamp) {
        let held = self.snapshots.get_mut(&lower(id.as_str())).expect("there is such a snapshot");
        let takes = now.duration_since(held.ordered_at);
        held.life = Life::Making { takes, fate: Fate::Available };
    }
}

/// What RDS says when a snapshot is whole.
const FINISHED: &str = "Finished DB Instance backup";

impl HeldSnapshot {
    pub(super) fn is_being_made(&self) -> bool {
        matches!(self.life, Life::Making { .. })
    }

    pub(super) fn is_being_copied_from(&self, region: &RegionName, id: &str) -> bool {
        let copied = self.copy_of.as_ref().is_some_and(|(from, source)| from == region && source == id);
        copied && self.is_being_made()
    }

    /// What its life turns into, if its making is over by `now`.
    fn ended(&self, now: Timestamp) -> Option<(Life, ChangeKind, Timestamp)> {
        let Life::Making { takes, fate } = self.life else { return None };
        let at = self.ordered_at + takes;
        match fate {
            Fate::Available if at <= now => Some((Life::Available, ChangeKind::Available, at)),
            Fate::Fails if at <= now => Some((Life::Failed, ChangeKind::Failed, at)),
            Fate::Available | Fate::Fails | Fate::Sticks => None,
        }
    }

    /// The snapshot as RDS shows it.
    pub(super) fn shown(&self, now: Timestamp) -> Snapshot {
        let mut shown = self.facts.clone();
        let unfinished = |shown: &mut Snapshot, status: &str, percent: u8| {
            status.clone_into(&mut shown.status);
            shown.progress_percent = percent;
            (shown.created_at, shown.stored_at) = (None, None);
        };
        match self.life {
            Life::Available => {}
            Life::Making { takes, fate } => {
                let status = if self.copy_of.is_some() { "copying" } else { "creating" };
                let elapsed = now.duration_since(self.ordered_at).as_millis().max(0);
                let percent = if fate == Fate::Sticks { 0 } else { elapsed * 100 / takes.as_millis().max(1) };
                unfinished(&mut shown, status, u8::try_from(percent.min(99)).unwrap());
            }
            Life::Failed => unfinished(&mut shown, "failed", 0),
            Life::Deleting { .. } => "deleting".clone_into(&mut shown.status),
        }
        shown
    }

    pub(super) fn change(&self, region: &RegionName, kind: ChangeKind, at: Timestamp) -> Change {
        Change { at, region: region.clone(), kind, snapshot: self.facts.clone() }
    }
}

pub(super) fn arn(region: &RegionName, id: &SnapshotId) -> String {
    format!("arn:aws:rds:{region}:123456789012:snapshot:{id}")
}
