//! Identifiers: one type per thing that can be named, so that one is never passed for another.
//!
//! Each parses from text and prints as the same text. Past the parse no code checks again. They are cheap to clone: every
//! look at a bucket names each source and database thousands of times.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A text that is not an identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {rule}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
    rule: &'static str,
}

impl InvalidId {
    pub(super) fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        InvalidId { what, text: text.to_owned(), rule }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $valid:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok($name(text.into())) } else { Err(InvalidId::new($what, text, $rule)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// The name that the configuration gives to a protected instance: part of object keys, snapshot ids and labels.
    SourceId,
    "source name",
    |text| text.len() <= 40 && is_hyphenated(text) && !text.bytes().any(|b| b.is_ascii_uppercase()),
    "use 1 to 40 of a-z, 0-9 and single hyphens, starting with a letter, not ending in a hyphen"
);

text_id!(
    /// The name of one strongroom installation. Marks of ownership begin with it.
    InstallationId,
    "installation name",
    |text| text.len() <= 40 && is_hyphenated(text) && !text.bytes().any(|b| b.is_ascii_uppercase()),
    "use 1 to 40 of a-z, 0-9 and single hyphens, starting with a letter, not ending in a hyphen"
);

text_id!(
    /// The name that the configuration gives to a way to people.
    RouteName,
    "route name",
    |text| text.len() <= 40 && is_hyphenated(text) && !text.bytes().any(|b| b.is_ascii_uppercase()),
    "use 1 to 40 of a-z, 0-9 and single hyphens, starting with a letter, not ending in a hyphen"
);

text_id!(
    /// The identifier of an RDS DB instance (RDS API reference: 1 to 63 letters, digits and single hyphens).
    InstanceId,
    "DB instance identifier",
    |text| text.len() <= 63 && is_hyphenated(text),
    "RDS takes 1 to 63 letters, digits and single hyphens, starting with a letter, not ending in a hyphen"
);

text_id!(
    /// `DbiResourceId`: the identity of an instance that survives renames and is new when a name is reused.
    ResourceId,
    "DbiResourceId",
    |text| !text.is_empty() && text.len() <= 255 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
    "RDS makes these: letters, digits and hyphens"
);

text_id!(
    /// The ARN of an IAM role (IAM user guide, IAM identifiers).
    RoleArn,
    "ARN of an IAM role",
    is_role_arn,
    "it has the form arn:aws:iam::ACCOUNT:role/NAME"
);

text_id!(
    /// The identifier of an RDS DB snapshot. Automated ones hold a colon, which nobody can create by hand.
    SnapshotId,
    "DB snapshot identifier",
    |text| !text.is_empty() && text.len() <= 255 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b':'),
    "RDS takes 1 to 255 letters, digits and hyphens"
);

text_id!(
    /// An AWS region, such as `us-east-1`. Only the form is known here, because AWS opens new ones.
    RegionName,
    "region",
    |text| text.split('-').count() >= 3
        && text.split('-').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())),
    "write for example us-east-1"
);

text_id!(
    /// The name of a database inside an instance, exactly as PostgreSQL has it.
    DatabaseName,
    "database name",
    |text| !text.is_empty() && text.len() <= 63 && !text.contains('\0'),
    "PostgreSQL takes 1 to 63 bytes without NUL"
);

/// `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`. The ARN of a session is of `sts`, and no role's.
fn is_role_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let &["arn", partition, "iam", "", account, role] = parts.as_slice() else { return false };
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-/".contains(c);
    partition.starts_with("aws")
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && role
            .strip_prefix("role/")
            .is_some_and(|name| !name.is_empty() && !name.ends_with('/') && name.chars().all(is_allowed))
}

/// RDS's rule for identifiers that people choose: letters, digits, single hyphens, starting with a letter, not ending in a hyphen.
fn is_hyphenated(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with('-')
        && !text.contains("--")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl InstanceId {
    /// Of a text that is known to be one.
    pub(super) fn made_of(text: String) -> InstanceId {
        InstanceId(text.into())
    }
}

/// `<instance>-<what>`, with the instance's name cut where both do not fit. `what` is made of letters, digits and hyphens.
#[must_use]
pub fn named_after(instance: &InstanceId, what: &str) -> InstanceId {
    let room = RDS_ID_MAX.saturating_sub(what.len() + 1);
    let cut = instance.as_str().get(..room).unwrap_or(instance.as_str()).trim_end_matches('-');
    InstanceId::made_of(format!("{cut}-{what}"))
}

impl DatabaseName {
    /// The database that each server has, and clients go to first.
    #[must_use]
    pub fn maintenance() -> DatabaseName {
        DatabaseName("postgres".into())
    }

    /// The name as one segment of an object key: letters, digits, `_`, `.` and `-` stay, every other byte becomes `%XX`.
    #[must_use]
    pub fn key_segment(&self) -> String {
        let mut segment = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            if stays_in_segment(byte) {
                segment.push(char::from(byte));
            } else {
                segment.push_str(&format!("%{byte:02X}"));
            }
        }
        segment
    }

    /// The inverse of [`DatabaseName::key_segment`].
    ///
    /// # Errors
    /// The segment is no name's encoding.
    pub fn from_key_segment(segment: &str) -> Result<Self, InvalidId> {
        if segment.bytes().all(stays_in_segment) {
            return segment.parse();
        }
        let invalid = || InvalidId::new("database segment", segment, "use the form that strongroom writes");
        let mut bytes = Vec::with_capacity(segment.len());
        let mut rest = segment.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'%' {
                bytes.push(byte);
                continue;
            }
            let digits = [rest.next().ok_or_else(invalid)?, rest.next().ok_or_else(invalid)?];
            let digits = std::str::from_utf8(&digits).map_err(|_| invalid())?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| invalid())?);
        }
        let name: DatabaseName = String::from_utf8(bytes).map_err(|_| invalid())?.parse()?;
        // One name has one segment: `%41` for `A` would make two keys for one database.
        if name.key_segment() == segment { Ok(name) } else { Err(invalid()) }
    }
}

fn stays_in_segment(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

/// What a run makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An RDS snapshot.
    Snapshot,
    /// A logical dump.
    Dump,
}

impl Kind {
    /// Both kinds, in the order in which people read them.
    pub const ALL: [Kind; 2] = [Kind::Snapshot, Kind::Dump];

    /// The word for it: in ids, labels and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Snapshot => "snapshot",
            Kind::Dump => "dump",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "snapshot" => Ok(Kind::Snapshot),
            "dump" => Ok(Kind::Dump),
            _ => Err(InvalidId::new("kind", text, "use snapshot or dump")),
        }
    }
}

/// One due time of one schedule, as an instant in UTC to the second: `20261122t030000z`.
///
/// The instant and not the local time names a slot, because a repeated local hour would give two slots one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slot(Timestamp);

impl Slot {
    /// The slot at an instant; fractions of a second are dropped.
    #[must_use]
    pub fn at(instant: Timestamp) -> Slot {
        Slot(Timestamp::from_second(instant.as_second()).unwrap_or(instant))
    }

    /// The slot, and each one that is a second after the one before.
    pub fn and_following(self) -> impl Iterator<Item = Slot> {
        let seconds = (0..).map_while(move |second| self.0.saturating_add(SignedDuration::from_secs(second)).ok());
        seconds.map(Slot::at)
    }

    /// The instant of the slot.
    #[must_use]
    pub fn instant(self) -> Timestamp {
        self.0
    }
}

/// Length of a printed slot; it is fixed, which makes run ids parse without ambiguity.
const SLOT_LEN: usize = "20261122t030000z".len();

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let utc = self.0.to_zoned(TimeZone::UTC);
        write!(
            f,
            "{:04}{:02}{:02}t{:02}{:02}{:02}z",
            utc.year(),
            utc.month(),
            utc.day(),
            utc.hour(),
            utc.minute(),
            utc.second()
        )
    }
}

impl FromStr for Slot {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("slot", text, "use UTC in the form 20261122t030000z");
        read_slot(text.as_bytes()).ok_or_else(invalid)
    }
}

/// Reads exactly what is printed. Every look reads the slots of all keys of a bucket, a million times in a large one, and
/// a parser of any date is ten times as slow.
fn read_slot(text: &[u8]) -> Option<Slot> {
    let [y0, y1, y2, y3, o0, o1, d0, d1, b't', h0, h1, m0, m1, s0, s1, b'z'] = *text else { return None };
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i16::from(byte - b'0'));
    let two = |tens: u8, ones: u8| Some(digit(tens)? * 10 + digit(ones)?);
    let small = |tens: u8, ones: u8| i8::try_from(two(tens, ones)?).ok();
    let year = two(y0, y1)? * 100 + two(y2, y3)?;
    let date = Date::new(year, small(o0, o1)?, small(d0, d1)?).ok()?;
    let time = Time::new(small(h0, h1)?, small(m0, m1)?, small(s0, s1)?, 0).ok()?;
    Some(Slot(TimeZone::UTC.to_timestamp(date.to_datetime(time)).ok()?))
}

impl TryFrom<String> for Slot {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Slot> for String {
    fn from(slot: Slot) -> String {
        slot.to_string()
    }
}

/// One attempt to fill one slot: `20261122t030000z-dump-accounts-1`.
///
/// The id follows from what is attempted, so the conditional write that creates its record is also the claim on the
/// attempt: of two daemons that start the same one, the second is refused by S3.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId {
    /// The slot that the run fills.
    pub slot: Slot,
    /// What the run makes.
    pub kind: Kind,
    /// The database, for dumps.
    pub database: Option<DatabaseName>,
    /// 1 for the first attempt at the slot.
    pub attempt: u32,
}

/// Most attempts at one slot: their numbers fit into a snapshot id.
pub const ATTEMPT_MAX: u32 = 999;

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.slot, self.kind.as_str())?;
        if let Some(database) = &self.database {
            write!(f, "-{}", database.key_segment())?;
        }
        write!(f, "-{}", self.attempt)
    }
}

impl FromStr for RunId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("run id", text, "use <slot>-<kind>[-<database>]-<attempt>");
        let (slot, rest) = text.split_at_checked(SLOT_LEN).ok_or_else(invalid)?;
        let (rest, attempt) = rest.strip_prefix('-').and_then(|rest| rest.rsplit_once('-')).ok_or_else(invalid)?;
        let (kind, database) = match rest.split_once('-') {
            Some((kind, database)) => (kind, Some(DatabaseName::from_key_segment(database).map_err(|_| invalid())?)),
            None => (rest, None),
        };
        let run = RunId {
            slot: slot.parse().map_err(|_| invalid())?,
            kind: kind.parse().map_err(|_| invalid())?,
            database,
            attempt: attempt.parse().map_err(|_| invalid())?,
        };
        // Of all parts only numbers have more than one form: `+1` and `01` would be other names for the first attempt.
        let is_canonical = attempt.starts_with(|first: char| first.is_ascii_digit() && first != '0');
        if is_canonical && run.attempt <= ATTEMPT_MAX { Ok(run) } else { Err(invalid()) }
    }
}

impl TryFrom<String> for RunId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> String {
        run.to_string()
    }
}

/// Longest id that strongroom makes in RDS: instances and cluster snapshots take 63 characters.
pub(super) const RDS_ID_MAX: usize = 63;
/// Room for `-` and an attempt of up to three digits, kept free so that all attempts of a slot share one stem.
pub(super) const ATTEMPT_SUFFIX_MAX: usize = 4;

impl SourceId {
    /// The name in so many characters: one that is longer is cut and given up to eight hex digits of its SHA-256, so that two
    /// long names with one beginning stay apart.
    pub(super) fn fitted(&self, room: usize) -> String {
        let name = self.as_str();
        if name.len() <= room {
            return name.to_owned();
        }
        let digits: String = Sha256::digest(name.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let hash = digits.get(..room).unwrap_or(&digits);
        let cut = name.get(..room.saturating_sub(hash.len() + 1)).unwrap_or_default().trim_end_matches('-');
        if cut.is_empty() { hash.to_owned() } else { format!("{cut}-{hash}") }
    }
}

impl SnapshotId {
    /// The id of the snapshot for a slot: `<prefix>-<source>-<slot>`, from the second attempt on with `-<attempt>`.
    #[must_use]
    pub fn for_slot(prefix: &str, source: &SourceId, slot: Slot, attempt: u32) -> SnapshotId {
        let name = source.fitted(RDS_ID_MAX - ATTEMPT_SUFFIX_MAX - SLOT_LEN - 2 - prefix.len());
        if attempt <= 1 {
            SnapshotId(format!("{prefix}-{name}-{slot}").into())
        } else {
            SnapshotId(format!("{prefix}-{name}-{slot}-{attempt}").into())
        }
    }
}

#[cfg(test)]
mod tests;
