//! Guided recovery: the journal of a disaster that is being mended, step by step, each with a person's approval.
//!
//! A source's instance is changed nowhere but here: what RDS is told to rename comes out of a journal, which gives it away only
//! once the step was approved.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{InstallationId, InstanceId, ResourceId, Slot, SnapshotId, SourceId, named_after};
use super::switch::{Address, KubernetesName, Switch};

/// Version of the journal that this code writes.
pub const RECOVERY_VERSION: u32 = 1;
/// Largest journal that is written or read.
pub const RECOVERY_BYTES_MAX: u64 = 1 << 20;

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// The database is damaged.
    Corruption,
    /// Somebody has deleted or changed what should be there.
    Deletion,
    /// The instance is gone.
    Loss,
}

impl Scenario {
    /// The word for it on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scenario::Corruption => "corruption",
            Scenario::Deletion => "deletion",
            Scenario::Loss => "loss",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The steps of a recovery, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// What writes is stopped.
    StopWriters,
    /// A new instance is made.
    Restore,
    /// It is looked at.
    Verify,
    /// Applications are led to it.
    Switch,
    /// What was stopped is started.
    StartWriters,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Step; 5] = [Step::StopWriters, Step::Restore, Step::Verify, Step::Switch, Step::StartWriters];

    /// Which it is, from 1.
    #[must_use]
    pub fn number(self) -> usize {
        Step::ALL.iter().take_while(|step| **step != self).count() + 1
    }
}

/// A backup to go back to, chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// Automated backups, to a moment.
    Moment(#[schemars(with = "String")] Timestamp),
}

/// A deployment that writes, and how many replicas it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Writer {
    /// The deployment.
    pub deployment: KubernetesName,
    /// Its replicas before the recovery; absent until they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
}

/// Who has approved a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Approver {
    /// Somebody at the terminal, asked for this step.
    Person,
    /// Whoever gave the command with `--yes`.
    Option,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepRecord {
    /// The step.
    pub step: Step,
    /// Who wanted it.
    pub approved_by: Approver,
    /// When.
    #[schemars(with = "String")]
    pub approved_at: Timestamp,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub done_at: Option<Timestamp>,
}

/// Where a recovery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RecoveryState {
    /// It goes forward.
    Open,
    /// All steps are done.
    Done {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
    },
    /// Somebody has given it up; what was done stays.
    Abandoned {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
    },
    /// It goes back, with somebody's approval.
    Undoing {
        /// Since when.
        #[schemars(with = "String")]
        since: Timestamp,
        /// Who wanted it.
        approved_by: Approver,
    },
    /// Applications use the old instance again.
    Undone {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
    },
}

/// The journal of one recovery, stored as `<prefix>/<source>/recoveries/current.json`, and under its own name once it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// Version of this format.
    pub version: u32,
    /// Whose.
    pub installation: InstallationId,
    /// The source.
    pub source: SourceId,
    /// When it was begun: its name.
    #[schemars(with = "String")]
    pub begun: Slot,
    /// What has happened.
    pub scenario: Scenario,
    /// The name of the source's instance.
    pub instance: InstanceId,
    /// The instance that bore it; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<ResourceId>,
    /// Where the server listened that bore the source's name before it was switched last; absent where that was not asked for, or
    /// it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_server: Option<String>,
    /// What is gone back to.
    pub origin: Origin,
    /// The name that the new instance is made under.
    pub new: InstanceId,
    /// The new instance; absent until it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_resource: Option<ResourceId>,
    /// How applications find it.
    pub switch: Switch,
    /// What a secret said before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_before: Option<Address>,
    /// What is stopped and started.
    pub writers: Vec<Writer>,
    /// What is restarted at the end.
    pub restarts: Vec<KubernetesName>,
    /// Steps that were approved, in their order.
    pub steps: Vec<StepRecord>,
    /// How often somebody has begun a step or gone on with it: whoever does so takes it from those who did before.
    #[serde(default)]
    pub attempts: u32,
    /// Where it stands.
    #[serde(flatten)]
    pub state: RecoveryState,
}

/// A name that an instance is to get, with the approval that this takes. Only a journal can make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedRename {
    resource: ResourceId,
    from: InstanceId,
    to: InstanceId,
}

impl ApprovedRename {
    /// The instance: no other one, whatever bears its name meanwhile.
    #[must_use]
    pub fn resource(&self) -> &ResourceId {
        &self.resource
    }

    /// The name that it has.
    #[must_use]
    pub fn from(&self) -> &InstanceId {
        &self.from
    }

    /// The name that it is to get.
    #[must_use]
    pub fn to(&self) -> &InstanceId {
        &self.to
    }
}

impl Recovery {
    /// Whether something is still to be done, forward or back.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        match self.state {
            RecoveryState::Open | RecoveryState::Undoing { .. } => true,
            RecoveryState::Done { .. } | RecoveryState::Abandoned { .. } | RecoveryState::Undone { .. } => false,
        }
    }

    /// Whether applications can be led back to an old instance.
    #[must_use]
    pub fn can_be_undone(&self) -> bool {
        let is_begun = match self.state {
            RecoveryState::Open | RecoveryState::Done { .. } | RecoveryState::Undoing { .. } => true,
            RecoveryState::Abandoned { .. } => self.step(Step::Switch).is_some(),
            RecoveryState::Undone { .. } => false,
        };
        is_begun && self.old.is_some()
    }

    /// Whether applications may be led neither to the one nor to the other instance.
    #[must_use]
    pub fn is_half_switched(&self) -> bool {
        let is_begun = self.step(Step::Switch).is_some() && !self.is_done(Step::Switch);
        is_begun || matches!(self.state, RecoveryState::Undoing { .. })
    }

    /// The name that the old instance gets where the new one takes its own: the same for every attempt.
    #[must_use]
    pub fn set_aside(&self) -> InstanceId {
        named_after(&self.instance, &format!("before-{}", self.begun))
    }

    /// What is known of a step.
    #[must_use]
    pub fn step(&self, step: Step) -> Option<&StepRecord> {
        self.steps.iter().find(|record| record.step == step)
    }

    /// Whether a step is done.
    #[must_use]
    pub fn is_done(&self, step: Step) -> bool {
        self.step(step).is_some_and(|record| record.done_at.is_some())
    }

    /// The first step that is not done.
    #[must_use]
    pub fn next(&self) -> Option<Step> {
        Step::ALL.into_iter().find(|step| !self.is_done(*step))
    }

    /// Notes that somebody wants a step and begins it; what was approved stays approved.
    pub fn approve(&mut self, step: Step, approved_by: Approver, approved_at: Timestamp) {
        self.attempts += 1;
        if self.step(step).is_none() {
            self.steps.push(StepRecord { step, approved_by, approved_at, done_at: None });
        }
    }

    /// Notes that a step that was approved is done.
    pub fn end(&mut self, step: Step, at: Timestamp) {
        if let Some(record) = self.steps.iter_mut().find(|record| record.step == step) {
            record.done_at.get_or_insert(at);
        }
    }

    /// The renames of the switch in their order: the old instance steps aside, the new one takes its place. Empty until the switch
    /// is approved, and where applications are led to it in another way.
    #[must_use]
    pub fn renames(&self) -> Vec<ApprovedRename> {
        if self.state != RecoveryState::Open || self.step(Step::Switch).is_none() {
            return Vec::new();
        }
        self.swap()
    }

    /// The renames that take the switch back, in their order. Empty until that is approved, and where nothing was switched.
    #[must_use]
    pub fn renames_back(&self) -> Vec<ApprovedRename> {
        if !matches!(self.state, RecoveryState::Undoing { .. }) || self.step(Step::Switch).is_none() {
            return Vec::new();
        }
        let back = |ApprovedRename { resource, from, to }| ApprovedRename { resource, from: to, to: from };
        self.swap().into_iter().rev().map(back).collect()
    }

    fn swap(&self) -> Vec<ApprovedRename> {
        let (Switch::Rename, Some(new)) = (&self.switch, &self.new_resource) else { return Vec::new() };
        let own = self.instance.clone();
        let aside = self.old.clone();
        let aside = aside.map(|resource| ApprovedRename { resource, from: own.clone(), to: self.set_aside() });
        let into = ApprovedRename { resource: new.clone(), from: self.new.clone(), to: own };
        aside.into_iter().chain([into]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::now;

    fn recovery() -> Recovery {
        Recovery {
            version: RECOVERY_VERSION,
            installation: "bank".parse().unwrap(),
            source: "accounts".parse().unwrap(),
            begun: "20261129t010000z".parse().unwrap(),
            scenario: Scenario::Deletion,
            instance: "bank-accounts".parse().unwrap(),
            old: Some("db-OLD".parse().unwrap()),
            left_server: None,
            origin: Origin::Moment(now()),
            new: "bank-accounts-recovery".parse().unwrap(),
            new_resource: Some("db-NEW".parse().unwrap()),
            switch: Switch::Rename,
            address_before: None,
            writers: Vec::new(),
            restarts: Vec::new(),
            steps: Vec::new(),
            attempts: 0,
            state: RecoveryState::Open,
        }
    }

    fn told(renames: &[ApprovedRename]) -> Vec<String> {
        renames.iter().map(|one| format!("{} {} {}", one.resource(), one.from(), one.to())).collect()
    }

    const ASIDE: &str = "bank-accounts-before-20261129t010000z";

    #[test]
    fn nothing_is_renamed_before_somebody_wants_it() {
        let mut recovery = recovery();
        assert!(recovery.renames().is_empty() && recovery.renames_back().is_empty());
        recovery.approve(Step::Verify, Approver::Person, now());
        assert!(recovery.renames().is_empty());
        recovery.approve(Step::Switch, Approver::Person, now());
        let expected =
            [format!("db-OLD bank-accounts {ASIDE}"), "db-NEW bank-accounts-recovery bank-accounts".to_owned()];
        assert_eq!(told(&recovery.renames()), expected);
        assert!(recovery.renames_back().is_empty());
    }

    #[test]
    fn the_way_back_is_the_way_there_from_its_end() {
        let mut recovery = recovery();
        recovery.state = RecoveryState::Undoing { since: now(), approved_by: Approver::Person };
        assert!(recovery.renames_back().is_empty(), "nothing was switched");
        assert!(recovery.is_half_switched());
        recovery.approve(Step::Switch, Approver::Person, now());
        let expected =
            ["db-NEW bank-accounts bank-accounts-recovery".to_owned(), format!("db-OLD {ASIDE} bank-accounts")];
        assert_eq!(told(&recovery.renames_back()), expected);
        assert!(recovery.renames().is_empty(), "not both ways at once");
    }

    #[test]
    fn where_no_old_instance_was_nothing_steps_aside() {
        let mut recovery = recovery();
        recovery.old = None;
        recovery.approve(Step::Switch, Approver::Option, now());
        assert_eq!(told(&recovery.renames()), ["db-NEW bank-accounts-recovery bank-accounts"]);
    }

    #[test]
    fn a_switch_by_a_secret_renames_nothing() {
        let mut recovery = recovery();
        let keys = crate::domain::switch::AddressKeys { host: "host".to_owned(), port: None };
        recovery.switch = Switch::KubernetesSecret { secret: "bank/db".parse().unwrap(), keys };
        recovery.approve(Step::Switch, Approver::Person, now());
        assert!(recovery.renames().is_empty());
    }

    #[test]
    fn what_has_an_old_instance_and_may_have_been_switched_can_be_undone() {
        let with = |state| Recovery { state, ..recovery() }.can_be_undone();
        let at = now();
        assert!(with(RecoveryState::Open) && with(RecoveryState::Done { at }));
        assert!(with(RecoveryState::Undoing { since: at, approved_by: Approver::Person }));
        assert!(!with(RecoveryState::Undone { at }) && !with(RecoveryState::Abandoned { at }));
        let mut abandoned = Recovery { state: RecoveryState::Abandoned { at }, ..recovery() };
        abandoned.approve(Step::Switch, Approver::Person, at);
        assert!(abandoned.can_be_undone());
        abandoned.old = None;
        assert!(!abandoned.can_be_undone());
    }

    #[test]
    fn steps_come_one_after_the_other() {
        assert_eq!(Step::ALL.map(Step::number), [1, 2, 3, 4, 5]);
        let mut recovery = recovery();
        for step in Step::ALL {
            assert_eq!(recovery.next(), Some(step));
            recovery.end(step, now());
            assert!(!recovery.is_done(step), "what nobody has approved cannot have been done");
            recovery.approve(step, Approver::Person, now());
            recovery.end(step, now());
        }
        assert_eq!(recovery.next(), None);
    }
}
