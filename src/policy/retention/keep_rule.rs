//! The reasons for which recovery points are kept, for decisions and for people.

use std::fmt;

use jiff::Timestamp;

/// Why a recovery point is kept. A point carries each rule that keeps it, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepRule {
    /// Nothing ever expires here.
    KeepAll,
    /// The configuration speaks of no such backups any more.
    NoPolicy,
    /// Among the newest so many: its place, from 1.
    Last(u32),
    /// The newest of its hour.
    Hourly,
    /// The newest of its day.
    Daily,
    /// The newest of its week.
    Weekly,
    /// The newest of its month.
    Monthly,
    /// The newest of its year.
    Yearly,
    /// The oldest one, while a rule that counts hours, days and so on is not full.
    Oldest,
    /// Not so much older than the newest good one.
    Within,
    /// Among the newest good ones that make up the least number.
    MinKeep,
    /// The newest good one.
    NewestGood,
    /// The newest verified one.
    NewestVerified,
    /// Too young to expire until this instant.
    TooYoung {
        /// Until when.
        until: Timestamp,
    },
    /// Pinned.
    Pinned {
        /// In the words of whoever pinned it.
        reason: Option<String>,
    },
    /// Locked by the store until this instant.
    Locked {
        /// Until when.
        until: Timestamp,
    },
    /// Still being made.
    Pending,
    /// Its deletion is under way already.
    Deleting,
    /// It is dated in the future: some clock was wrong, and nobody can say how old it is. It counts as no good one.
    FutureDated,
    /// Nobody can say how old it is, or of which instance; or the listing has it twice. It counts as no good one.
    Unidentified,
    /// Not good, and there is no newer good one yet.
    NoNewerGood,
}

impl fmt::Display for KeepRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeepRule::KeepAll => f.write_str("everything is kept"),
            KeepRule::NoPolicy => f.write_str("no policy is about it any more"),
            KeepRule::Last(place) => write!(f, "number {place} of the newest"),
            KeepRule::Hourly => f.write_str("newest of its hour"),
            KeepRule::Daily => f.write_str("newest of its day"),
            KeepRule::Weekly => f.write_str("newest of its week"),
            KeepRule::Monthly => f.write_str("newest of its month"),
            KeepRule::Yearly => f.write_str("newest of its year"),
            KeepRule::Oldest => f.write_str("oldest of all"),
            KeepRule::Within => f.write_str("not much older than the newest"),
            KeepRule::MinKeep => f.write_str("among the newest that always stay"),
            KeepRule::NewestGood => f.write_str("newest good one"),
            KeepRule::NewestVerified => f.write_str("newest verified one"),
            KeepRule::TooYoung { until } => write!(f, "younger than its minimum age until {until}"),
            KeepRule::Pinned { reason: Some(reason) } => write!(f, "pinned: {reason}"),
            KeepRule::Pinned { reason: None } => f.write_str("pinned"),
            KeepRule::Locked { until } => write!(f, "locked by the store until {until}"),
            KeepRule::Pending => f.write_str("still being made"),
            KeepRule::Deleting => f.write_str("its deletion is under way"),
            KeepRule::FutureDated => f.write_str("dated in the future"),
            KeepRule::Unidentified => f.write_str("not identified for certain"),
            KeepRule::NoNewerGood => f.write_str("no newer good one yet"),
        }
    }
}
