//! What a server says of its sessions while a dump runs: who waits for the dump, and what the dump holds back.

use jiff::SignedDuration;

/// One look at a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    /// Sessions of others that wait for a lock which a session of the dump holds.
    pub waiting: Vec<Waiting>,
    /// The oldest row version that the dump keeps from being vacuumed.
    pub xmin: Option<Xmin>,
    /// Standbys that stream from this server.
    pub standbys: Vec<Standby>,
    /// There are standbys, and this login may not see how far they are.
    pub standbys_hidden: bool,
    /// Of a standby that is dumped: how far it is.
    pub replay: Option<Replay>,
}

/// A session that waits for the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its process on the server.
    pub pid: i32,
    /// For how long, where the server knows (since PostgreSQL 14).
    pub waited: Option<SignedDuration>,
    /// The table, where it waits for one.
    pub table: Option<String>,
}

/// The horizon of the dump's snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xmin {
    /// Transactions that have begun since.
    pub age: u64,
    /// Whether somebody else (a session, a replication slot, a prepared transaction) holds an older one: then nothing is
    /// gained by ending ours.
    pub others_older: bool,
}

/// How far a standby is, in bytes of WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// Up to here it has received.
    pub received: u64,
    /// Up to here it has replayed.
    pub replayed: u64,
}

/// A standby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// The process on this server that sends to it.
    pub pid: i32,
    /// The name that it gives itself.
    pub name: String,
    /// How far its replay is behind.
    pub lag: SignedDuration,
}
