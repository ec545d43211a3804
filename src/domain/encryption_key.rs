//! KMS keys: the facts behind the posture of what is encrypted under them.

use std::fmt;

use jiff::Timestamp;

use super::id::RegionName;

/// What names a KMS key: a region, and there an id, an alias or an ARN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName {
    /// The region where it is used.
    pub region: RegionName,
    /// As RDS or the configuration has it.
    pub key: String,
}

/// What KMS says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// AWS manages it for a service (`alias/aws/rds`): its policy cannot be changed, so nobody else can be let in.
    pub managed_by_aws: bool,
    /// Whether it can be used.
    pub state: KeyState,
}

/// The states of a key that differ in what they mean here (AWS KMS Developer Guide, "Key states of AWS KMS keys").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// It can be used.
    Enabled,
    /// Somebody has disabled it.
    Disabled,
    /// It will be deleted, and with it what it encrypts.
    PendingDeletion {
        /// When.
        at: Option<Timestamp>,
    },
    /// There is no such key.
    Missing,
    /// Any other state in which it cannot be used, in KMS's word.
    Other(String),
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyState::Enabled => f.write_str("enabled"),
            KeyState::Disabled => f.write_str("disabled"),
            KeyState::PendingDeletion { at: Some(at) } => write!(f, "to be deleted on {at:.0}"),
            KeyState::PendingDeletion { at: None } => f.write_str("to be deleted"),
            KeyState::Missing => f.write_str("not there"),
            KeyState::Other(state) => write!(f, "in state `{state}`"),
        }
    }
}
