//! What a restored instance is set up like.
//!
//! RDS gives a restored instance the account's defaults wherever it is not told: the default security group, the engine's
//! default parameter group, no IAM login, and the tags of the source (RDS API reference). So everything is told.

use std::fmt;

use crate::domain::new_instance::{InstanceDetails, InstanceSetup, Network};
use crate::domain::tags::{self, Tags};

/// Days of automated backups where no instance tells: what RDS's console proposes.
const DEFAULT_AUTOMATED_BACKUP_DAYS: u32 = 7;
/// Tags that only AWS may set.
const RESERVED: [&str; 2] = ["aws:", "rds:"];

/// What the configuration says of instances that are restored in a region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionSetup {
    /// Where they are put.
    pub network: Network,
    /// Their parameter group.
    pub parameter_group: Option<String>,
    /// Their classes: where AWS has no room for the first one, the next is tried.
    pub classes: Vec<String>,
}

/// What a person wants otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The class.
    pub class: Option<String>,
    /// Where it is put.
    pub network: Network,
    /// The parameter group.
    pub parameter_group: Option<String>,
    /// No standby, whatever the source has.
    pub single_az: bool,
}

/// Nobody says what a new instance is to have, and RDS's default would be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Neither the source nor the configuration tells the class.
    Class,
    /// The same for the subnet group.
    SubnetGroup,
    /// The same for security groups.
    SecurityGroups,
    /// The same for the parameter group.
    ParameterGroup,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Missing::Class => "the class of the new instance",
            Missing::SubnetGroup => "the subnet group of the new instance",
            Missing::SecurityGroups => "the security groups of the new instance",
            Missing::ParameterGroup => "the parameter group of the new instance",
        })
    }
}

/// How a new instance is set up, and the classes that are tried where AWS has no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// With the first class.
    pub setup: InstanceSetup,
    /// Those that follow.
    pub other_classes: Vec<String>,
}

/// What a restored instance is set up like: as wished, else as the source is, else as the configuration says.
///
/// `source` is `None` where it is gone. What has a meaning in one region only is taken from it only if it `is_in_region`.
///
/// # Errors
/// Something that must not be left to RDS is told by nobody.
pub fn setup_for(
    source: Option<&InstanceDetails>,
    is_in_region: bool,
    region: &RegionSetup,
    wishes: &Wishes,
) -> Result<Restored, Missing> {
    let same = source.map(|source| &source.setup);
    let here = same.filter(|_| is_in_region);
    let first = |wish: &Option<String>, own: Option<&String>, configured: Option<&String>| {
        wish.clone().or_else(|| own.or(configured).cloned())
    };
    let class = first(&wishes.class, same.map(|setup| &setup.class), region.classes.first()).ok_or(Missing::Class)?;
    let other_classes = if wishes.class.is_some() { Vec::new() } else { region.classes.clone() };
    let subnet_group = first(
        &wishes.network.subnet_group,
        here.and_then(|setup| setup.network.subnet_group.as_ref()),
        region.network.subnet_group.as_ref(),
    );
    let own_groups = here.map(|setup| &setup.network.security_groups);
    let groups = [Some(&wishes.network.security_groups), own_groups, Some(&region.network.security_groups)];
    let security_groups = groups.into_iter().flatten().find(|groups| !groups.is_empty()).cloned();
    let parameter_group = first(
        &wishes.parameter_group,
        here.and_then(|setup| setup.parameter_group.as_ref()),
        region.parameter_group.as_ref(),
    );
    let setup = InstanceSetup {
        network: Network {
            subnet_group: Some(subnet_group.ok_or(Missing::SubnetGroup)?),
            security_groups: security_groups.ok_or(Missing::SecurityGroups)?,
        },
        parameter_group: Some(parameter_group.ok_or(Missing::ParameterGroup)?),
        multi_az: same.is_some_and(|setup| setup.multi_az) && !wishes.single_az,
        is_public: same.is_some_and(|setup| setup.is_public),
        iam_login: same.is_none_or(|setup| setup.iam_login),
        deletion_protection: same.is_none_or(|setup| setup.deletion_protection),
        automated_backup_days: same.map_or(DEFAULT_AUTOMATED_BACKUP_DAYS, |setup| setup.automated_backup_days),
        copies_tags_to_snapshots: same.is_some_and(|setup| setup.copies_tags_to_snapshots),
        minor_upgrades: same.is_some_and(|setup| setup.minor_upgrades),
        ca: same.and_then(|setup| setup.ca.clone()),
        log_exports: same.map(|setup| setup.log_exports.clone()).unwrap_or_default(),
        lifecycle_support: same.and_then(|setup| setup.lifecycle_support.clone()),
        storage_type: same.and_then(|setup| setup.storage_type.clone()),
        iops: same.and_then(|setup| setup.iops),
        storage_throughput: same.and_then(|setup| setup.storage_throughput),
        tags: same.map(|setup| carried_over(&setup.tags)).unwrap_or_default(),
        class: class.clone(),
    };
    let other_classes = other_classes.into_iter().filter(|other| *other != class).collect();
    Ok(Restored { setup, other_classes })
}

/// Tags that may stand on another instance, too: none that AWS sets, and no mark of ours.
fn carried_over(tags: &Tags) -> Tags {
    let stays =
        |key: &str| !RESERVED.iter().any(|reserved| key.starts_with(reserved)) && !key.starts_with(tags::PREFIX);
    tags.iter().filter(|(key, _)| stays(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::instance_details;

    fn configured() -> RegionSetup {
        RegionSetup {
            network: Network { subnet_group: Some("dr".to_owned()), security_groups: vec!["sg-dr".to_owned()] },
            parameter_group: Some("dr-pg15".to_owned()),
            classes: vec!["db.r6g.large".to_owned(), "db.r5.large".to_owned()],
        }
    }

    fn network(restored: &Restored) -> (&str, Vec<&str>, &str) {
        let Network { subnet_group, security_groups } = &restored.setup.network;
        let groups = security_groups.iter().map(String::as_str).collect();
        (subnet_group.as_deref().unwrap(), groups, restored.setup.parameter_group.as_deref().unwrap())
    }

    #[test]
    fn in_its_region_a_restored_instance_is_set_up_like_its_source_whatever_is_configured() {
        let source = instance_details();
        let restored = setup_for(Some(&source), true, &configured(), &Wishes::default()).unwrap();
        let expected = InstanceSetup { tags: restored.setup.tags.clone(), ..source.setup };
        assert_eq!(restored.setup, expected);
        assert_eq!(restored.other_classes, ["db.r6g.large", "db.r5.large"]);
    }

    /// Tags choose what backup plans and reapers do: a mark of ours on an instance that is not ours would be a lie.
    #[test]
    fn tags_come_along_except_those_of_aws_and_our_own() {
        let mut source = instance_details();
        for key in ["team", "aws:cloudformation:stack-name", "rds:something", "strongroom:owner"] {
            source.setup.tags.insert(key.to_owned(), "x".to_owned());
        }
        let restored = setup_for(Some(&source), true, &RegionSetup::default(), &Wishes::default()).unwrap();
        assert_eq!(restored.setup.tags.keys().collect::<Vec<_>>(), ["team"]);
    }

    #[test]
    fn in_another_region_what_has_no_meaning_there_is_configured_and_the_rest_is_the_sources() {
        let source = instance_details();
        let restored = setup_for(Some(&source), false, &configured(), &Wishes::default()).unwrap();
        assert_eq!(network(&restored), ("dr", vec!["sg-dr"], "dr-pg15"));
        assert_eq!((restored.setup.class, restored.setup.multi_az), (source.setup.class, source.setup.multi_az));
    }

    #[test]
    fn without_a_source_the_configuration_tells_and_the_rest_is_what_is_safe() {
        let restored = setup_for(None, true, &configured(), &Wishes::default()).unwrap();
        assert_eq!(network(&restored), ("dr", vec!["sg-dr"], "dr-pg15"));
        let setup = &restored.setup;
        assert_eq!((setup.class.as_str(), restored.other_classes.len()), ("db.r6g.large", 1));
        assert!(setup.deletion_protection && setup.iam_login && !setup.is_public && !setup.multi_az);
        assert_eq!(setup.automated_backup_days, DEFAULT_AUTOMATED_BACKUP_DAYS);
    }

    #[test]
    fn what_a_person_wants_goes_before_everything() {
        let wishes = Wishes {
            class: Some("db.t3.micro".to_owned()),
            network: Network { subnet_group: Some("mine".to_owned()), security_groups: vec!["sg-mine".to_owned()] },
            parameter_group: Some("my-pg15".to_owned()),
            single_az: true,
        };
        let restored = setup_for(Some(&instance_details()), true, &configured(), &wishes).unwrap();
        assert_eq!(network(&restored), ("mine", vec!["sg-mine"], "my-pg15"));
        assert_eq!((restored.setup.class.as_str(), restored.setup.multi_az), ("db.t3.micro", false));
        assert!(restored.other_classes.is_empty(), "no other class than the one that was named");
    }

    #[rstest]
    #[case::class(|region: &mut RegionSetup| region.classes.clear(), Missing::Class)]
    #[case::subnets(|region: &mut RegionSetup| region.network.subnet_group = None, Missing::SubnetGroup)]
    #[case::groups(|region: &mut RegionSetup| region.network.security_groups.clear(), Missing::SecurityGroups)]
    #[case::parameters(|region: &mut RegionSetup| region.parameter_group = None, Missing::ParameterGroup)]
    fn what_nobody_says_is_not_left_to_rds(#[case] without: fn(&mut RegionSetup), #[case] missing: Missing) {
        let mut region = configured();
        without(&mut region);
        assert_eq!(setup_for(None, true, &region, &Wishes::default()).unwrap_err(), missing);
        assert!(missing.to_string().ends_with("of the new instance"));
    }
}
