use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::SignedDuration;
use prometheus::proto::MetricFamily;

use super::*;
use crate::domain::inventory::{Complete, Inventory, Unseen};
use crate::domain::recovery_point::{Plane, PointState};
use crate::domain::run::OwnerState;
use crate::plan::plan;
use crate::testing::{self as fixtures, at, dump, dump_run, now, remains, store};

const SMALL: &[(&str, &[&str])] = &[("accounts", &["accounts"])];
const TWO: &[(&str, &[&str])] = &[("accounts", &["accounts"]), ("cards", &["cards"])];

fn look(metrics: &Metrics, policy: &Policy, inventory: &Inventory) {
    metrics.observe(policy, inventory, &plan(policy, inventory, now()));
}

fn series(metrics: &Metrics) -> BTreeMap<String, f64> {
    fixtures::series(&metrics.render())
}

fn value(metrics: &Metrics, series_name: &str) -> f64 {
    let all = series(metrics);
    *all.get(series_name).unwrap_or_else(|| panic!("no series {series_name} in {:#?}", all.keys()))
}

fn seconds(text: &str) -> f64 {
    at(text).as_second() as f64
}

/// Everything about the registry that others rely on, and no value.
fn contract(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        writeln!(text, "{} ({kind}): {}", family.name(), family.help()).unwrap();
        for metric in family.get_metric() {
            let labels: Vec<String> = metric
                .get_label()
                .iter()
                .map(|label| match (family.name(), label.name()) {
                    ("strongroom_build_info", name) => format!("{name}=[any]"),
                    (_, name) => format!("{name}={:?}", label.value()),
                })
                .collect();
            if !labels.is_empty() {
                writeln!(text, "    {}", labels.join(" ")).unwrap();
            }
        }
        if let Some(metric) = family.get_metric().first().filter(|_| kind == "histogram") {
            let buckets = metric.get_histogram().get_bucket();
            let bounds: Vec<String> = buckets.iter().map(|bucket| bucket.upper_bound().to_string()).collect();
            writeln!(text, "    buckets: {}", bounds.join(" ")).unwrap();
        }
    }
    text
}

#[test]
fn names_types_helps_and_labels_are_a_contract() {
    let metrics = Metrics::new(&fixtures::with_drills(fixtures::policy(SMALL))).unwrap();
    insta::assert_snapshot!(contract(&metrics.exposition.gather()));
}

#[test]
fn every_series_exists_before_the_first_look() {
    let policy = fixtures::with_drills(fixtures::policy(TWO));
    let metrics = Metrics::new(&policy).unwrap();
    let at_boot = series(&metrics);
    for (series, value) in &at_boot {
        // What the configuration says is known before anything is seen.
        let is_objective = series.contains("_objective_seconds");
        let known = ["strongroom_build_info", "strongroom_leader"].iter().any(|name| series.starts_with(name));
        assert!(is_objective || *value == if known { 1.0 } else { 0.0 }, "{series} {value}");
    }

    let mut inventory = fixtures::inventory(&policy);
    let whole = dump("cards", "2026-11-01T04:00:00Z", 7, PointState::Good);
    let running = dump_run("accounts", "2026-11-01T04:00:00Z", OwnerState::Alive);
    inventory.stores.insert("cards".parse().unwrap(), Ok(store(vec![whole], vec![running], Vec::new())));
    look(&metrics, &policy, &inventory);
    metrics.config_loaded(now());
    metrics.reconciled(SignedDuration::from_millis(20), now());
    let accounts = "accounts".parse().unwrap();
    for kind in Kind::ALL {
        for outcome in RunOutcome::ALL {
            metrics.run_ended(&accounts, kind, outcome, SignedDuration::from_secs(9));
        }
    }
    metrics.dump_progress(&accounts, &"accounts".parse().unwrap(), ProgressCount::default());
    metrics.aws_request("S3", "PutObject", Err(ErrorKind::Cancelled));
    metrics.aws_request("STS", "AssumeRole", Ok(()));
    assert!(series(&metrics).keys().eq(at_boot.keys()));
}

#[test]
fn a_restart_gives_the_same_gauges_from_the_same_inventory() {
    let policy = fixtures::policy(TWO);
    let mut inventory = fixtures::inventory(&policy);
    let dumps = vec![
        dump("accounts", "2026-10-01T04:00:00Z", 5, PointState::Good),
        dump("accounts", "2026-11-01T04:00:00Z", 7, PointState::Good),
    ];
    let runs = vec![dump_run("accounts", "2026-11-01T04:00:00Z", OwnerState::Alive)];
    let left = vec![remains("accounts", "2026-09-01T04:00:00Z", 11)];
    inventory.stores.insert("accounts".parse().unwrap(), Ok(store(dumps, runs, left)));

    let long_running = Metrics::new(&policy).unwrap();
    look(&long_running, &policy, &fixtures::inventory(&policy));
    look(&long_running, &policy, &inventory);
    look(&long_running, &policy, &inventory);
    let restarted = Metrics::new(&policy).unwrap();
    look(&restarted, &policy, &inventory);

    assert_eq!(series(&restarted), series(&long_running));
    assert_eq!(
        value(&restarted, r#"strongroom_remains_bytes{source="accounts"}"#),
        11.0,
        "the comparison is of gauges that say something"
    );
}

#[test]
fn gauges_say_what_the_inventory_shows() {
    let policy = fixtures::policy(SMALL);
    let mut inventory = fixtures::inventory(&policy);
    let dumps = vec![
        dump("accounts", "2026-09-01T04:00:00Z", 5, PointState::Good),
        dump("accounts", "2026-10-01T04:00:00Z", 7, PointState::Good),
        dump("accounts", "2026-11-01T04:00:00Z", 1_000, PointState::Bad { reason: "an object is gone".into() }),
    ];
    let left = vec![remains("accounts", "2026-10-01T04:00:00Z", 3), remains("accounts", "2026-11-01T04:00:00Z", 4)];
    inventory.stores.insert("accounts".parse().unwrap(), Ok(store(dumps, Vec::new(), left)));
    let metrics = Metrics::new(&policy).unwrap();
    look(&metrics, &policy, &inventory);

    let dump_points = r#"{kind="dump",plane="primary",source="accounts"}"#;
    let of_dump = r#"{database="accounts",kind="dump",source="accounts"}"#;
    let of_snapshot = r#"{database="",kind="snapshot",source="accounts"}"#;
    for (name, labels, expected) in [
        ("recovery_points", dump_points, 2.0),
        ("stored_bytes", dump_points, 12.0),
        ("recovery_point_newest_timestamp_seconds", dump_points, seconds("2026-10-01T04:00:00Z")),
        ("recovery_point_oldest_timestamp_seconds", dump_points, seconds("2026-09-01T04:00:00Z")),
        ("recovery_points", r#"{kind="dump",plane="replica",source="accounts"}"#, 0.0),
        ("last_success_timestamp_seconds", of_dump, seconds("2026-10-01T04:00:00Z")),
        ("overdue", of_dump, 1.0),
        ("expected_interval_seconds", of_dump, 30.0 * 86_400.0),
        ("next_due_timestamp_seconds", of_dump, seconds("2026-12-01T04:00:00Z")),
        ("last_success_timestamp_seconds", of_snapshot, seconds("2026-11-22T03:05:00Z")),
        ("overdue", of_snapshot, 0.0),
        ("expected_interval_seconds", of_snapshot, 7.0 * 86_400.0),
        ("remains_bytes", r#"{source="accounts"}"#, 7.0),
        ("latest_restorable_timestamp_seconds", r#"{source="accounts"}"#, seconds("2026-11-23T11:55:00Z")),
        ("inventory_complete", r#"{section="store"}"#, 1.0),
    ] {
        assert_eq!(value(&metrics, &format!("strongroom_{name}{labels}")), expected, "{name}{labels}");
    }
}

#[test]
fn what_cannot_be_seen_keeps_its_last_value_and_is_marked() {
    let policy = fixtures::policy(SMALL);
    let metrics = Metrics::new(&policy).unwrap();
    let mut inventory = fixtures::inventory(&policy);
    let whole = dump("accounts", "2026-11-01T04:00:00Z", 7, PointState::Good);
    let running = dump_run("accounts", "2026-11-01T04:00:00Z", OwnerState::Alive);
    let left = remains("accounts", "2026-10-01T04:00:00Z", 3);
    inventory.stores.insert("accounts".parse().unwrap(), Ok(store(vec![whole], vec![running], vec![left])));
    look(&metrics, &policy, &inventory);
    let mut expected = series(&metrics);

    let unseen = || Unseen("throttled".to_owned());
    inventory.instances = Err(unseen());
    inventory.snapshots = Err(unseen());
    inventory.pg_dump = Err(unseen());
    inventory.stores.insert("accounts".parse().unwrap(), Err(unseen()));
    inventory.copies.insert("us-west-2".parse().unwrap(), Err(unseen()));
    inventory.buckets.insert(Plane::Primary, Err(unseen()));
    inventory.keys = Err(unseen());
    look(&metrics, &policy, &inventory);

    // The replica bucket's side is part of the store's, which says so already.
    for section in crate::plan::section::ALL.into_iter().filter(|section| *section != crate::plan::section::REPLICA) {
        expected.insert(format!("strongroom_inventory_complete{{section=\"{section}\"}}"), 0.0);
    }
    assert_eq!(series(&metrics), expected);
}

#[test]
fn a_store_that_was_not_even_read_makes_the_inventory_incomplete() {
    let policy = fixtures::policy(TWO);
    let metrics = Metrics::new(&policy).unwrap();
    let mut inventory = fixtures::inventory(&policy);
    inventory.stores.remove(&"cards".parse().unwrap());
    look(&metrics, &policy, &inventory);
    assert_eq!(value(&metrics, r#"strongroom_inventory_complete{section="store"}"#), 0.0);
    assert_eq!(value(&metrics, r#"strongroom_inventory_complete{section="snapshots"}"#), 1.0);
}

#[test]
fn an_outage_of_rds_does_not_let_a_predecessors_dump_pass_for_todays() {
    let policy = fixtures::policy(SMALL);
    let metrics = Metrics::new(&policy).unwrap();
    let mut inventory = fixtures::inventory(&policy);
    let mut of_predecessor = dump("accounts", "2026-11-01T04:00:00Z", 7, PointState::Good);
    of_predecessor.resource = Some("db-OLD".parse().unwrap());
    inventory.stores.insert("accounts".parse().unwrap(), Ok(store(vec![of_predecessor], Vec::new(), Vec::new())));
    let overdue = r#"strongroom_overdue{database="accounts",kind="dump",source="accounts"}"#;
    look(&metrics, &policy, &inventory);
    assert_eq!(value(&metrics, overdue), 1.0);
    inventory.instances = Err(Unseen("timeout".to_owned()));
    look(&metrics, &policy, &inventory);
    assert_eq!(value(&metrics, overdue), 1.0);
}

#[test]
fn a_run_counts_as_under_way_while_somebody_works_on_it() {
    let policy = fixtures::policy(SMALL);
    let metrics = Metrics::new(&policy).unwrap();
    let in_progress = r#"strongroom_run_in_progress{kind="dump",source="accounts"}"#;
    let mut inventory = fixtures::inventory(&policy);
    for (owner, expected) in [(OwnerState::Alive, 1.0), (OwnerState::Dead, 0.0)] {
        let runs = vec![dump_run("accounts", "2026-11-01T04:00:00Z", owner)];
        inventory.stores.insert("accounts".parse().unwrap(), Ok(store(Vec::new(), runs, Vec::new())));
        look(&metrics, &policy, &inventory);
        assert_eq!(value(&metrics, in_progress), expected, "{owner:?}");
    }
}

#[test]
fn a_run_that_the_plan_starts_is_under_way_at_once() {
    let policy = fixtures::policy(SMALL);
    let metrics = Metrics::new(&policy).unwrap();
    let mut inventory = fixtures::inventory(&policy);
    let mut instances: Vec<_> = inventory.instances.unwrap().iter().cloned().collect();
    for instance in &mut instances {
        instance.status = "available".to_owned();
        instance.endpoint = Some(crate::domain::inventory::Endpoint { host: "db.internal".to_owned(), port: 5432 });
    }
    inventory.instances = Ok(Complete::after_last_page(instances));
    look(&metrics, &policy, &inventory);
    assert_eq!(value(&metrics, r#"strongroom_run_in_progress{kind="dump",source="accounts"}"#), 1.0);
    assert_eq!(value(&metrics, r#"strongroom_run_in_progress{kind="snapshot",source="accounts"}"#), 0.0);
}

#[test]
fn series_of_a_source_that_left_go_and_the_others_keep_counting() {
    let both = fixtures::policy(TWO);
    let metrics = Metrics::new(&both).unwrap();
    let (accounts, cards) = ("accounts".parse().unwrap(), "cards".parse().unwrap());
    for source in [&accounts, &cards] {
        metrics.run_ended(source, Kind::Dump, RunOutcome::Success, SignedDuration::from_secs(9));
    }
    let one = fixtures::policy(SMALL);
    look(&metrics, &one, &fixtures::inventory(&one));
    // A run of a source that left may end later still.
    metrics.run_ended(&cards, Kind::Dump, RunOutcome::Cancelled, SignedDuration::from_secs(9));
    look(&metrics, &one, &fixtures::inventory(&one));
    let rendered = metrics.render();
    assert!(!rendered.contains("cards"), "{rendered}");
    assert_eq!(value(&metrics, r#"strongroom_runs_total{kind="dump",outcome="success",source="accounts"}"#), 1.0);

    look(&metrics, &both, &fixtures::inventory(&both));
    assert!(series(&metrics).keys().eq(series(&Metrics::new(&both).unwrap()).keys()));
}

#[test]
fn events_move_their_counters_and_histograms() {
    let metrics = Metrics::new(&fixtures::policy(SMALL)).unwrap();
    let accounts = "accounts".parse().unwrap();
    metrics.run_ended(&accounts, Kind::Snapshot, RunOutcome::Failure, SignedDuration::from_mins(2));
    // A clock that was set back must not panic, nor take time away.
    metrics.run_ended(&accounts, Kind::Snapshot, RunOutcome::Failure, SignedDuration::from_mins(-2));
    let delta = ProgressCount { read_bytes: 100, stored_bytes: 30, rows: 4 };
    for _ in 0..2 {
        metrics.dump_progress(&accounts, &"accounts".parse().unwrap(), delta);
    }
    metrics.aws_request("RDS", "CreateDBSnapshot", Err(ErrorKind::Throttled));
    metrics.aws_request("RDS", "SomethingNew", Ok(()));
    metrics.reconciled(SignedDuration::from_millis(300), at("2026-11-23T12:00:01Z"));
    metrics.config_loaded(now());
    metrics.config_valid(false);
    for (name, expected) in [
        (r#"runs_total{kind="snapshot",outcome="failure",source="accounts"}"#, 2.0),
        (r#"run_duration_seconds_sum{kind="snapshot",source="accounts"}"#, 120.0),
        (r#"run_duration_seconds_bucket{kind="snapshot",source="accounts",le="60"}"#, 1.0),
        (r#"dump_bytes_read_total{database="accounts",source="accounts"}"#, 200.0),
        (r#"dump_bytes_stored_total{database="accounts",source="accounts"}"#, 60.0),
        (r#"dump_rows_total{database="accounts",source="accounts"}"#, 8.0),
        (r#"aws_requests_total{operation="CreateDBSnapshot",outcome="failure",service="rds"}"#, 1.0),
        (r#"aws_requests_total{operation="other",outcome="success",service="rds"}"#, 1.0),
        ("reconcile_duration_seconds_count", 1.0),
        ("reconcile_last_completed_timestamp_seconds", seconds("2026-11-23T12:00:01Z")),
        ("config_last_reload_successful", 0.0),
        ("config_last_reload_success_timestamp_seconds", seconds("2026-11-23T12:00:00Z")),
    ] {
        assert_eq!(value(&metrics, &format!("strongroom_{name}")), expected, "{name}");
    }
}

#[test]
fn a_policy_without_sources_renders_too() {
    let policy = fixtures::policy(&[]);
    let metrics = Metrics::new(&policy).unwrap();
    look(&metrics, &policy, &fixtures::inventory(&policy));
    assert_eq!(value(&metrics, r#"strongroom_inventory_complete{section="instances"}"#), 1.0);
}

#[test]
fn a_database_name_with_quotes_and_line_breaks_cannot_forge_a_series() {
    let policy = fixtures::policy(&[("accounts", &["a\"} 1\nstrongroom_leader 0"])]);
    let rendered = Metrics::new(&policy).unwrap().render();
    assert!(rendered.contains(r#"database="a\"} 1\nstrongroom_leader 0""#), "{rendered}");
    assert!(!rendered.contains("\nstrongroom_leader 0"), "{rendered}");
}

#[test]
fn the_counter_of_processor_time_only_grows() {
    let process = ProcessMetrics::register(&Exposition::default()).unwrap();
    let usage = |seconds| ProcessUsage { cpu: Some(SignedDuration::from_secs(seconds)), ..ProcessUsage::default() };
    for (read, shown) in [(5, 5.0), (7, 7.0), (6, 7.0)] {
        process.set(&usage(read));
        assert_eq!(process.cpu.get(), shown);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_scrape_reads_the_process_anew() {
    let rendered = Metrics::new(&fixtures::policy(SMALL)).unwrap().render();
    let of = |name: &str| {
        let line = rendered.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_threads"] {
        assert!(of(name) >= 1.0, "{name}");
    }
    assert!(of("process_start_time_seconds") > seconds("2020-01-01T00:00:00Z"));
}
