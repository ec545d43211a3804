//! Which role does what in AWS.

use std::collections::BTreeMap;

use crate::domain::id::RoleArn;

/// A part of the work that has rights of its own: `deploy/terraform` has a policy for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// Looking: instances, snapshots, buckets, keys, records.
    Observe,
    /// Making snapshots.
    Snapshot,
    /// Copying snapshots into other regions.
    Copy,
    /// Writing objects, and logging in to what is dumped.
    DumpWrite,
    /// Reading dumps.
    Verify,
    /// Deleting snapshots and versions of objects.
    Prune,
    /// Making, changing and deleting instances that are restored into, and logging in to them.
    Drill,
    /// Telling people and CloudWatch.
    Tell,
}

impl Function {
    /// Each of them.
    pub const ALL: [Function; 8] = [
        Function::Observe,
        Function::Snapshot,
        Function::Copy,
        Function::DumpWrite,
        Function::Verify,
        Function::Prune,
        Function::Drill,
        Function::Tell,
    ];

    /// Its name in the names of roles and sessions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Function::Observe => "observe",
            Function::Snapshot => "snapshot",
            Function::Copy => "copy",
            Function::DumpWrite => "dump-write",
            Function::Verify => "verify",
            Function::Prune => "prune",
            Function::Drill => "drill",
            Function::Tell => "tell",
        }
    }

    /// The key of its role in the configuration.
    #[must_use]
    pub fn key(self) -> String {
        format!("aws.roles.{}", self.name().replace('-', "_"))
    }
}

/// The role that each function is done with. One that is not named is done with the credentials of the process.
pub type Roles = BTreeMap<Function, RoleArn>;
