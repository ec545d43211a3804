//! What restored instances get.

use std::collections::BTreeMap;

use super::parts::region_name;
use crate::config::diagnosis::{Diagnosis, join};
use crate::config::raw;
use crate::domain::id::RegionName;
use crate::domain::new_instance::Network;
use crate::policy::restored::RegionSetup;

/// What is said of each region.
pub(super) fn regions(
    given: &BTreeMap<String, raw::RestoreRegion>,
    diagnosis: &mut Diagnosis,
) -> BTreeMap<RegionName, RegionSetup> {
    let mut regions = BTreeMap::new();
    for (name, region) in given {
        let key = join("restore", name);
        check(&key, region, diagnosis);
        let Some(name) = region_name(&key, name, diagnosis) else { continue };
        let raw::RestoreRegion { subnet_group, security_groups, parameter_group, instance_classes } = region.clone();
        let network = Network { subnet_group, security_groups };
        regions.insert(name, RegionSetup { network, parameter_group, classes: instance_classes });
    }
    regions
}

/// Slips that RDS would only tell on the night when something is restored.
fn check(key: &str, region: &raw::RestoreRegion, diagnosis: &mut Diagnosis) {
    check_groups(key, &region.security_groups, diagnosis);
    check_classes(key, &region.instance_classes, diagnosis);
    for (name, value) in [("subnet_group", &region.subnet_group), ("parameter_group", &region.parameter_group)] {
        if value.as_ref().is_some_and(String::is_empty) {
            diagnosis.report(&format!("{key}.{name}"), "empty", "name it, or leave it out");
        }
    }
}

/// Names are taken for ids.
pub(super) fn check_groups(table: &str, groups: &[String], diagnosis: &mut Diagnosis) {
    for (index, group) in groups.iter().enumerate() {
        if !group.starts_with("sg-") {
            let problem = format!("`{group}` is not the id of a security group");
            let advice = "write its id, such as \"sg-0a1b2c3d\"";
            diagnosis.report(&format!("{table}.security_groups[{index}]"), problem, advice);
        }
    }
}

/// EC2's names are taken for RDS's.
pub(super) fn check_classes(table: &str, classes: &[String], diagnosis: &mut Diagnosis) {
    for (index, class) in classes.iter().enumerate() {
        if !class.starts_with("db.") {
            let problem = format!("`{class}` is not an instance class");
            diagnosis.report(
                &format!("{table}.instance_classes[{index}]"),
                problem,
                "write for example \"db.r6g.large\"",
            );
        }
    }
}
