//! What an AWS account allows, and how its parameter groups are set.

use std::collections::BTreeMap;

use super::diagnosis::Quota;
use super::id::RegionName;
use super::inventory::Unseen;

/// What was learned of an account. It decides nothing, so a part that may not be asked for leaves the rest as good as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountFacts {
    /// What it may have in the region of the sources, and has, as it was last seen; `None` where it never was.
    pub quotas: Option<Vec<Quota>>,
    /// Why that could not be asked for just now, if so.
    pub quotas_unseen: Option<Unseen>,
    /// Parameter groups that the sources' instances have, and that they would be restored with elsewhere, as they were last seen;
    /// `None` where there is none of the name.
    pub parameter_groups: BTreeMap<ParameterGroupName, Option<ParameterGroup>>,
    /// Those that could not be asked for just now, and why.
    pub groups_unseen: BTreeMap<ParameterGroupName, Unseen>,
}

/// A parameter group, by its name in its region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParameterGroupName {
    /// The region.
    pub region: RegionName,
    /// The name.
    pub name: String,
}

/// How a parameter group is set, as far as strongroom cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterGroup {
    /// `rds.force_ssl`: whether the server refuses connections without TLS. On by default since PostgreSQL 15 (RDS user guide).
    pub forces_tls: bool,
}
