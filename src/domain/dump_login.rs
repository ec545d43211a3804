//! The login that dumps are made with, as a server sees it.

use jiff::Timestamp;

/// What a login may see of a database, and for how long it is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpLogin {
    /// Until when its password is valid (`VALID UNTIL`); absent where for ever.
    pub valid_until: Option<Timestamp>,
    /// Tables of which policies hide rows from it, by schema and name; some of them, where they are many.
    pub hidden_tables: Vec<String>,
    /// Large objects that it may not read.
    pub hidden_large_objects: u64,
}
