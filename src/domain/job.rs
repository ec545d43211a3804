//! Jobs of a cluster that make dumps: their names, and what is seen of them.

use std::fmt;

use sha2::{Digest, Sha256};

use super::id::{InstallationId, RunId, SourceId};

/// Longest name of a Job: it is the value of a label of its pods (Kubernetes, Names; Labels).
const JOB_NAME_MAX: usize = 63;
/// Hex digits that tell apart what is alike when it is shortened.
const HASH_DIGITS: usize = 8;

/// The name of the Job that makes one run: the same for whoever begins it, so that a second one is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobName(String);

impl JobName {
    /// `strongroom-<source>-<database>-<slot>-<attempt>-<hash>`: names are cut to what a Job may be called, and the hash is of
    /// all of them and the installation.
    #[must_use]
    pub fn of(installation: &InstallationId, source: &SourceId, run: &RunId) -> JobName {
        let whole = format!("{installation}/{source}/{run}");
        let hash: String = Sha256::digest(&whole).iter().map(|byte| format!("{byte:02x}")).collect();
        let hash = hash.get(..HASH_DIGITS).unwrap_or_default();
        let tail = format!("-{}-{}-{hash}", run.slot, run.attempt);
        let database = run.database.as_ref().map(|database| format!("-{database}")).unwrap_or_default();
        let named = format!("strongroom-{source}{database}");
        let fit = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
        let head: String = named.chars().map(fit).take(JOB_NAME_MAX.saturating_sub(tail.len())).collect();
        JobName(format!("{}{tail}", head.trim_end_matches('-')))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Job as it was made: another of the same name is another Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobId {
    /// Its name.
    pub name: JobName,
    /// What the cluster tells it apart by.
    pub uid: String,
}

/// What is seen of a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Its process has not begun.
    Waiting {
        /// What the cluster says about it.
        reason: String,
    },
    /// Its process runs.
    Running,
    /// It is over, well or not: whether there is a dump is in the store.
    Ended {
        /// What the cluster says about its end.
        reason: String,
    },
    /// There is no such Job, or it is another one.
    Missing,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(source: &str, run: &str) -> String {
        JobName::of(&"bank-prod".parse().unwrap(), &source.parse().unwrap(), &run.parse().unwrap()).to_string()
    }

    #[test]
    fn a_job_is_called_after_what_it_makes() {
        let name = name("ledger", "20261101t040000z-dump-ledger-1");
        assert!(name.starts_with("strongroom-ledger-ledger-20261101t040000z-1-"), "{name}");
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = "what-is-lent-and-what-has-come-back-here";
        let one = name(long, "20261101t040000z-dump-lending-12");
        let other = name(long, "20261101t040000z-dump-history-12");
        assert!(one.len() <= 63 && other.len() <= 63, "{one}");
        assert_ne!(one, other);
        assert!(!one.contains("--"), "{one}");
    }

    #[test]
    fn of_two_installations_in_one_namespace_each_has_its_own() {
        let run: RunId = "20261101t040000z-dump-ledger-1".parse().unwrap();
        let source: SourceId = "ledger".parse().unwrap();
        let of = |installation: &str| JobName::of(&installation.parse().unwrap(), &source, &run);
        assert_ne!(of("bank-prod"), of("bank-test"));
    }
}
