//! The login that dumps are made with, as a server sees it.

use jiff::Timestamp;

use super::inventory::{Observed, Unseen};

/// A login that works, and for how long it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpLogin {
    /// Until when its password is valid (`VALID UNTIL`); absent where for ever, or where it logs in by IAM.
    pub valid_until: Option<Timestamp>,
    /// What it may not see of the database.
    pub hidden: Observed<Hidden>,
}

impl Default for DumpLogin {
    /// One for ever, of which nobody has asked what it sees.
    fn default() -> DumpLogin {
        DumpLogin { valid_until: None, hidden: Err(Unseen("not asked".to_owned())) }
    }
}

/// What a login may not see of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Tables and sequences that it may not read, by schema and name; some of them, where they are many.
    pub forbidden: Vec<String>,
    /// Tables of which policies hide rows from it, by schema and name; some of them, where they are many.
    pub rows_of: Vec<String>,
    /// Whether there is a large object that it may not read.
    pub large_objects: bool,
}
