//! When stored dumps are read back in full.

use jiff::SignedDuration;

/// How often every byte of a dump is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyPolicy {
    /// How long after it was stored a dump must have been read back for the first time.
    pub deadline: SignedDuration,
    /// In this time every good dump that is kept is read back again, spread evenly; `None`: never again.
    pub cycle: Option<SignedDuration>,
    /// Between two dumps of a database that are read back in the replica bucket; `None`: none is, unless there is doubt.
    pub replica_interval: Option<SignedDuration>,
}
