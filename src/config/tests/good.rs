//! Configurations that are right, and what becomes of them.

use std::fmt::Write;

use jiff::SignedDuration;

use super::*;
use crate::policy::recover::RecoverPolicy;
use crate::policy::retention::Retention;
use crate::policy::{DEFAULT_COMPLETION_DEADLINE, DumpFrom, Obligation, SnapshotCopies, Task};

const LEDGER: &[(&str, &str)] = &[("LEDGER_PASSWORD", "x")];

#[test]
fn the_first_sample_has_nothing_to_note() {
    assert_eq!(load("config/strongroom.toml").unwrap().notes, []);
}

#[test]
fn an_overlay_changes_what_it_names_and_leaves_the_rest_as_it_is() {
    let of = |overlay: &str| {
        let overlay = format!("config/repository/overlays/{overlay}.toml");
        Config::load(&["config/repository/base".into(), overlay.into()], Environment::default()).unwrap()
    };
    let (production, staging) = (of("production"), of("staging"));
    let sources = |config: &Config| config.policy.sources.keys().cloned().collect::<Vec<_>>();
    assert_eq!(sources(&production), sources(&staging));
    assert_eq!(format!("{:?}", production.logins), format!("{:?}", staging.logins));
    assert_ne!(production.policy.installation, staging.policy.installation);
    assert!(production.policy.destination.replica.is_some() && staging.policy.destination.replica.is_none());
    assert!(staging.policy.obligations().all(|(_, obligation)| obligation.copies.is_empty()));
    assert_eq!((production.notes, staging.notes), (vec![], vec![]));
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = load(fixture("good/minimal.toml")).unwrap();
    insta::assert_snapshot!(config.effective_toml().unwrap());
    assert_eq!(config.destination.part_size_bytes, 16 << 20);
    assert_eq!(config.daemon.grace, Duration::from_secs(25));
    assert_eq!(config.policy.cadence.reconcile_interval, SignedDuration::from_mins(5));
    let (_, obligation) = config.policy.obligations().next().unwrap();
    assert_eq!(obligation.completion_deadline, DEFAULT_COMPLETION_DEADLINE);
    assert_eq!(obligation.start_deadline, None);
}

#[test]
fn every_key_reaches_the_policy_and_its_part() {
    let config = load_with(fixture("good/every_key.toml"), LEDGER).unwrap();
    let mut seen = String::new();
    writeln!(seen, "{:#?}\n{:#?}\n{:#?}\n{:#?}", config.aws, config.destination, config.postgres, config.daemon)
        .unwrap();
    writeln!(seen, "{:#?}\n{:#?}", config.http, config.kubernetes).unwrap();
    writeln!(seen, "{:?} {:?}", config.policy.limits, config.policy.cadence).unwrap();
    for (source, obligation) in config.policy.obligations() {
        let Obligation { task, schedule, retry, start_deadline, completion_deadline, suspended, .. } = obligation;
        writeln!(
            seen,
            "{} ({}) {task}: {schedule:?}, start within {start_deadline:?}, end within {completion_deadline}, \
             {retry:?}, suspended: {suspended}",
            source.id, source.instance
        )
        .unwrap();
        if let Task::Dump { settings, .. } = task {
            writeln!(seen, "    made with {settings:?}").unwrap();
        }
        writeln!(seen, "    kept {}", in_words(&obligation.retention)).unwrap();
        writeln!(seen, "    kept in the replica {}", in_words(&obligation.replica_retention)).unwrap();
        for SnapshotCopies { region, kms_key, retention } in &obligation.copies {
            writeln!(seen, "    kept in {region} (key {kms_key:?}) {}", in_words(retention)).unwrap();
        }
    }
    let from = config.policy.sources.values().filter(|source| source.dump_from != DumpFrom::Instance);
    from.for_each(|source| writeln!(seen, "{} is dumped from {:?}", source.id, source.dump_from).unwrap());
    writeln!(seen, "{:#?}\n{:#?}", config.policy.destination.replica, config.policy.prune).unwrap();
    writeln!(seen, "{:#?}", config.policy.verify).unwrap();
    writeln!(seen, "{:#?}", config.logins).unwrap();
    writeln!(seen, "{:#?}", config.kubernetes).unwrap();
    writeln!(seen, "{:#?}", config.alerts).unwrap();
    let recovered = config.policy.sources.values().filter(|source| source.recover != RecoverPolicy::default());
    recovered.for_each(|source| writeln!(seen, "{} is recovered with {:#?}", source.id, source.recover).unwrap());
    insta::assert_snapshot!(seen);
}

/// Retention without the numbers that are not there.
fn in_words(retention: &Retention) -> String {
    let policy = match retention {
        Retention::KeepAll => return "for ever".to_owned(),
        Retention::Rules(policy) => policy,
    };
    let rules = [
        ("last", policy.keep_last),
        ("hourly", policy.keep_hourly),
        ("daily", policy.keep_daily),
        ("weekly", policy.keep_weekly),
        ("monthly", policy.keep_monthly),
        ("yearly", policy.keep_yearly),
        ("at least", Some(policy.min_keep)),
    ];
    let rules: Vec<_> = rules.iter().filter_map(|(name, count)| Some(format!("{name} {}", (*count)?))).collect();
    let zone = policy.zone.iana_name().unwrap_or_default();
    format!("{}, within {:?}, for {} at least, in {zone}", rules.join(", "), policy.keep_within, policy.min_age)
}

#[test]
fn a_retention_that_is_not_given_is_that_of_the_thing_itself() {
    let config = load_with("config/fleet.toml", LEDGER).unwrap();
    for (_, obligation) in config.policy.obligations() {
        assert_eq!(obligation.replica_retention, obligation.retention);
        assert!(obligation.copies.iter().all(|copy| copy.retention == obligation.retention));
    }
    assert!(config.policy.obligations().any(|(_, obligation)| !obligation.copies.is_empty()));
}

#[test]
fn the_fixture_of_every_key_has_every_key() {
    fn keys(shape: &Shape, into: &mut std::collections::BTreeSet<String>) {
        match shape {
            Shape::Table(table) => {
                into.extend(table.keys().cloned());
                table.values().for_each(|shape| keys(shape, into));
            }
            Shape::Names(shape) | Shape::List(shape) => keys(shape, into),
            Shape::Text | Shape::Word(_) | Shape::Integer { .. } | Shape::Boolean => {}
        }
    }
    let text = std::fs::read_to_string(fixture("good/every_key.toml")).unwrap();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut all = std::collections::BTreeSet::new();
    keys(&Shape::of_file(), &mut all);
    all.retain(|key| !words.contains(&key.as_str()));
    assert_eq!(all, std::collections::BTreeSet::new());
}

#[test]
fn what_is_accepted_and_looks_like_a_slip_is_noted() {
    let config = load_with(fixture("good/every_key.toml"), LEDGER).unwrap();
    let notes: Vec<String> = config.notes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(notes.join("\n"), @r"
    policies.critical.snapshot.schedule: `0 4 31 * *` skips months without a day 31: use `L` for the last day of each month
    policies.spare: no source has this policy
    ");
}

#[test]
fn logins_and_databases_that_nothing_uses_and_routes_that_leave_somebody_untold_are_noted() {
    let config = load(fixture("good/unused.toml")).unwrap();
    let notes: Vec<String> = config.notes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(notes.join("\n"), @r#"
    policies.monthly: no source has this policy
    policies.monthly.snapshot.schedule: `0 3 30 * *` skips months without a day 30: use `L` for the last day of each month
    sources.accounts.databases: used by restores of instances only: the policy of this source makes no dumps
    sources.accounts.credentials: used by restores of instances only: the policy of this source makes no dumps
    alerts.routes: no route takes critical alerts that are about no single source, such as a bucket that cannot be read
    "#);
}

#[test]
fn a_directory_is_read_in_the_order_of_names_and_hidden_files_are_left_out() {
    let config = load(fixture("good/layers")).unwrap();
    assert_eq!(config.destination.bucket, "bank-backups-local", "a later file wins");
    assert_eq!(config.destination.parts_in_flight, 8, "tables are merged");
    let source = config.policy.sources.values().next().unwrap();
    assert_eq!(source.databases, ["accounts".parse().unwrap()], "lists are replaced");
}

#[test]
fn a_mounted_config_map_is_read_through_its_links() {
    let mount = tempfile::tempdir().unwrap();
    let version = mount.path().join("..2026_11_22_03_00_00.1");
    std::fs::create_dir(&version).unwrap();
    std::fs::copy(fixture("good/minimal.toml"), version.join("strongroom.toml")).unwrap();
    std::os::unix::fs::symlink("..2026_11_22_03_00_00.1", mount.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/strongroom.toml", mount.path().join("strongroom.toml")).unwrap();
    let config = load(mount.path()).unwrap();
    assert_eq!(config.policy.installation.as_str(), "bank-test");
}

#[test]
fn the_effective_configuration_loads_to_itself() {
    for path in [fixture("good/every_key.toml"), fixture("good/minimal.toml"), "config/fleet.toml".into()] {
        let config = load_with(&path, LEDGER).unwrap();
        let copy = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(copy.path(), config.effective_toml().unwrap()).unwrap();
        let again = load_with(copy.path(), LEDGER).unwrap();
        assert_eq!(again.effective, config.effective);
        assert_eq!(again.sha256, config.sha256);
    }
}

#[test]
fn the_hash_is_of_what_is_effective_and_not_of_how_it_is_written() {
    let minimal = load(fixture("good/minimal.toml")).unwrap();
    let spelt_out = load_with(fixture("good/minimal.toml"), &[("STRONGROOM__TIME_ZONE", "UTC")]).unwrap();
    let other = load_with(fixture("good/minimal.toml"), &[("STRONGROOM__TIME_ZONE", "Europe/Paris")]).unwrap();
    assert_eq!(minimal.sha256.len(), 64);
    assert_eq!(minimal.sha256, spelt_out.sha256);
    assert_ne!(minimal.sha256, other.sha256);
}

#[test]
fn the_process_has_an_environment() {
    assert!(Environment::from_process().get("PATH").is_some());
}
