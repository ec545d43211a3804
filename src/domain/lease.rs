//! Instances that are ours for a time: those that drills restore into.
//!
//! Only these can be changed or deleted. The name of one says that it is one, and a source cannot bear such a name, so an
//! instance of production is none of these, whatever its tags say and whatever is written down.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::drill::DrillId;
use super::id::{ATTEMPT_SUFFIX_MAX, InstanceId, InvalidId, RDS_ID_MAX};

/// In the name of every leased instance, after the installation's prefix.
const MARK: &str = "-drill-";

/// The identifier of an instance that is leased: `<prefix>-drill-<source>-<slot>-<path>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct LeaseId(InstanceId);

impl LeaseId {
    /// The instance for an attempt at a drill.
    #[must_use]
    pub fn for_drill(prefix: &str, drill: &DrillId, attempt: u32) -> LeaseId {
        let ending = format!("-{}-{}", drill.slot, drill.path);
        let taken = prefix.len() + MARK.len() + ending.len() + ATTEMPT_SUFFIX_MAX;
        let name = drill.source.fitted(RDS_ID_MAX.saturating_sub(taken));
        let attempt = if attempt <= 1 { String::new() } else { format!("-{attempt}") };
        LeaseId(InstanceId::made_of(format!("{prefix}{MARK}{name}{ending}{attempt}")))
    }

    /// The identifier as RDS takes it.
    #[must_use]
    pub fn as_instance(&self) -> &InstanceId {
        &self.0
    }

    /// Whether an instance of this name may be a source: none of our own may.
    #[must_use]
    pub fn is_reserved(prefix: &str, name: &str) -> bool {
        name.to_ascii_lowercase().starts_with(&format!("{prefix}{MARK}"))
    }

    /// The leased instance of an installation with this prefix that bears a name; `None` for every other one.
    #[must_use]
    pub fn of(prefix: &str, id: &InstanceId) -> Option<LeaseId> {
        LeaseId::is_reserved(prefix, id.as_str()).then(|| LeaseId(id.clone()))
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LeaseId {
    type Err = InvalidId;

    /// Of any installation: what is read from a record is compared with that of this one.
    fn from_str(text: &str) -> Result<LeaseId, InvalidId> {
        let id: InstanceId = text.parse()?;
        if text.contains(MARK) {
            return Ok(LeaseId(id));
        }
        Err(InvalidId::new("name of a leased instance", text, "it must hold `-drill-`"))
    }
}

impl TryFrom<String> for LeaseId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<LeaseId, InvalidId> {
        text.parse()
    }
}

impl From<LeaseId> for String {
    fn from(id: LeaseId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::drill::DrillPath;

    fn drill(source: &str) -> DrillId {
        DrillId {
            source: source.parse().unwrap(),
            slot: "20261010t060000z".parse().unwrap(),
            path: DrillPath::Snapshot,
        }
    }

    #[test]
    fn each_attempt_has_a_name_that_says_what_it_is_for() {
        let name = |attempt| LeaseId::for_drill("strongroom", &drill("accounts"), attempt).to_string();
        assert_eq!(name(1), "strongroom-drill-accounts-20261010t060000z-snapshot");
        assert_eq!(name(2), "strongroom-drill-accounts-20261010t060000z-snapshot-2");
    }

    #[test]
    fn long_names_stay_apart_and_fit() {
        let of = |source: &str| LeaseId::for_drill("strongroom-in-europe", &drill(source), 999).to_string();
        let (one, other) =
            (of("accounts-of-the-whole-bank-in-europe-one"), of("accounts-of-the-whole-bank-in-europe-two"));
        assert_ne!(one, other);
        assert!(one.len() <= RDS_ID_MAX && one.ends_with("-20261010t060000z-snapshot-999"), "{one}");
    }

    #[test]
    fn no_instance_of_another_name_is_ever_one() {
        let of = |name: &str| LeaseId::of("strongroom", &name.parse().unwrap());
        assert!(of("strongroom-drill-accounts-20261010t060000z-snapshot").is_some());
        for name in ["bank-accounts", "strongroom-drills", "my-strongroom-drill-accounts", "other-drill-x"] {
            assert_eq!(of(name), None, "{name}");
        }
        assert!("bank-accounts-prod".parse::<LeaseId>().is_err());
        assert!(serde_json::from_str::<LeaseId>("\"bank-accounts-prod\"").is_err());
    }
}
