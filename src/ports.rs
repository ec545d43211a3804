//! One trait per outside thing, in the words of the domain. Adapters implement them; nothing else names a vendor.

pub mod account;
pub mod clock;
pub mod cluster;
pub mod connection_secrets;
pub mod credentials;
pub mod diagnostics;
pub mod instances;
pub mod jobs;
pub mod keys;
pub mod leadership;
pub mod metric_sink;
pub mod notifier;
pub mod object_store;
pub mod postgres;
pub mod processes;
pub mod rds;
pub mod roles;
pub mod server_metrics;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::domain::id::RegionName;

/// What an outside error means to the caller: small enough to match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The thing asked for is not there.
    NotFound,
    /// It is there already, or a condition on its version does not hold.
    AlreadyExists,
    /// The credentials do not allow it, or have expired.
    PermissionDenied,
    /// Too many requests, or a quota is used up for the moment.
    Throttled,
    /// It may work the next time: timeouts, broken connections, server errors.
    Transient,
    /// The thing is in a state that does not allow it now.
    WrongState,
    /// What a server has stored is damaged: a page, an index, a file.
    Damaged,
    /// Others went first: a replica's replay, or a deadlock. It may work the next time.
    Conflict,
    /// It cannot work as asked.
    Invalid,
    /// Stopped by us.
    Cancelled,
    /// None of these.
    Other,
}

/// The causes behind an error, as adapters keep them.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Told of every attempt at a request to a cloud service: service, operation, and whether it was answered well.
pub type RequestObserver = Arc<dyn Fn(&str, &str, bool) + Send + Sync>;

/// An error of an outside thing: which operation on which subject, what it means, and why.
#[derive(Debug)]
pub struct PortError {
    operation: String,
    kind: ErrorKind,
    cause: Option<Cause>,
}

impl PortError {
    /// An error of `operation`, which names its subject: ``get `a/b/c` ``.
    #[must_use]
    pub fn new(operation: impl Into<String>, kind: ErrorKind) -> PortError {
        PortError { operation: operation.into(), kind, cause: None }
    }

    /// The same with what caused it.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> PortError {
        self.cause = Some(cause.into());
        self
    }

    /// Whether the same may work the next time it is asked.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self.kind, ErrorKind::Transient | ErrorKind::Throttled)
    }

    /// What it means to the caller.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)
    }
}

impl std::error::Error for PortError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause.as_ref() as _)
    }
}

/// An error with all its causes in one line: `what: why: why`.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        write!(f, "{}", one_line(&last))?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // SDK errors wrap themselves: a cause that says the same words again is left out.
            if !last.contains(&text) {
                write!(f, ": {}", one_line(&text))?;
            }
            last = text;
            cause = error.source();
        }
        Ok(())
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Everything outside, as the shell sees it. Cheap to clone.
#[derive(Clone)]
pub struct Ports {
    /// The clock.
    pub clock: Arc<dyn clock::Clock>,
    /// RDS in the sources' region.
    pub rds: Arc<dyn rds::Rds>,
    /// Instances that are restored, by region: the sources' and those that backups are copied to.
    pub instances: BTreeMap<RegionName, Arc<dyn instances::Instances>>,
    /// Instances of drills, in the sources' region.
    pub leases: Arc<dyn instances::Leases>,
    /// RDS in the regions that snapshots are copied to.
    pub copies: BTreeMap<RegionName, Arc<dyn rds::Rds>>,
    /// The destination bucket.
    pub store: Arc<dyn object_store::ObjectStore>,
    /// The second bucket, in another region.
    pub replica: Option<Arc<dyn object_store::ObjectStore>>,
    /// KMS keys.
    pub keys: Arc<dyn keys::Keys>,
    /// Quotas and parameter groups.
    pub account: Arc<dyn account::Account>,
    /// What is measured of the instances, in the sources' region.
    pub server_metrics: Arc<dyn server_metrics::ServerMetrics>,
    /// How far AWS's clock is from ours.
    pub reference: Arc<dyn clock::Reference>,
    /// Logins for sources.
    pub credentials: Arc<dyn credentials::Credentials>,
    /// PostgreSQL servers.
    pub postgres: Arc<dyn postgres::Postgres>,
    /// The dump client on this machine.
    pub pg_dump: Arc<dyn postgres::PgDump>,
    /// The restore client on this machine.
    pub pg_restore: Arc<dyn postgres::PgRestore>,
    /// Processes on this host.
    pub processes: Arc<dyn processes::Processes>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ports")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_each_cause_once_in_one_line() {
        let inner = PortError::new("open `x`", ErrorKind::Transient).because("connection\n  reset");
        let outer = PortError::new("list `y`", ErrorKind::Transient).because(inner);
        assert_eq!(Chain(&outer).to_string(), "cannot list `y`: cannot open `x`: connection reset");
    }
}
