//! How long judging takes: a million recovery points in ten thousand groups, unless told otherwise.
//!
//! The points are those of databases that are dumped every hour; most of them have expired, so that most verdicts carry
//! evidence. Reading a listing that large is not measured: it costs hundreds of requests, and judging must not be felt
//! beside it.
//!
//! `cargo bench --bench retention` prints one JSON line; `rss_max_bytes` counts points and verdicts together.

use std::io::Write as _;
use std::num::NonZeroU32;

use anyhow::Context as _;
use clap::Parser as _;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use strongroom::domain::id::{Kind, Slot};
use strongroom::domain::inventory::Complete;
use strongroom::domain::recovery_point::{Plane, PointState, RecoveryPoint};
use strongroom::policy::retention::{Fate, RetentionPolicy};
use tokio::time::Instant;

/// Judges points that it makes up.
#[derive(Debug, clap::Parser)]
#[command(name = "retention")]
struct Options {
    /// How many points.
    #[arg(long, default_value_t = 1_000_000)]
    points: u32,
    /// How many groups they are in.
    #[arg(long, default_value = "10000")]
    groups: NonZeroU32,
    /// Cargo passes this to every bench. Without it nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.bench {
        // `cargo test --all-targets` runs benches without arguments, and unoptimised.
        return say("retention: nothing to do; `cargo bench --bench retention` measures");
    }
    let now: Timestamp = "2027-06-30T12:00:00Z".parse()?;
    let points =
        (0..options.points).map(|index| point(index, options.groups, now)).collect::<anyhow::Result<Vec<_>>>()?;
    let listing = Complete::after_last_page(points.iter().collect());
    let points_bytes = status_bytes("VmRSS:")?;
    let policy = policy()?;

    let began = Instant::now();
    let verdicts = policy.judge(&listing, now);
    let took = began.elapsed();

    let expired = verdicts.iter().filter(|verdict| matches!(verdict.fate, Fate::Expired(_))).count();
    let line = serde_json::json!({
        "points": verdicts.len(),
        "groups": options.groups,
        "expired": expired,
        "duration_ms": took.as_millis(),
        "points_per_s": (f64::from(options.points) / took.as_secs_f64()).round(),
        "rss_points_bytes": points_bytes,
        "rss_max_bytes": status_bytes("VmHWM:")?,
    });
    say(&line.to_string())
}

/// What a bank might ask for of hourly dumps.
fn policy() -> anyhow::Result<RetentionPolicy> {
    Ok(RetentionPolicy {
        keep_last: NonZeroU32::new(3),
        keep_hourly: NonZeroU32::new(12),
        keep_daily: NonZeroU32::new(7),
        keep_weekly: NonZeroU32::new(8),
        keep_monthly: NonZeroU32::new(24),
        keep_yearly: NonZeroU32::new(7),
        keep_within: Some(SignedDuration::from_hours(6)),
        min_keep: NonZeroU32::MIN,
        min_age: SignedDuration::from_hours(24),
        zone: TimeZone::get("Europe/London")?,
    })
}

/// The points of all groups in turn, as no listing has them sorted for us; every tenth is bad.
fn point(index: u32, groups: NonZeroU32, now: Timestamp) -> anyhow::Result<RecoveryPoint> {
    let (group, place) = (index % groups, index / groups);
    let created_at = now - SignedDuration::from_hours(i64::from(place));
    let source = format!("source-{group}");
    let slot = Slot::at(created_at);
    let state =
        if place % 10 == 9 { PointState::Bad { reason: "an object is missing".to_owned() } } else { PointState::Good };
    Ok(RecoveryPoint {
        id: format!("{source}/accounts/{slot}"),
        source: source.parse()?,
        kind: Kind::Dump,
        database: Some("accounts".parse()?),
        resource: Some(format!("db-ABCDEFGHIJKLMNOPQR{group:08}").parse()?),
        slot,
        run: None,
        from_snapshot: None,
        plane: Plane::Primary,
        region: "us-east-1".parse()?,
        created_at: Some(created_at),
        stored_at: Some(created_at),
        size_bytes: 1 << 30,
        verified_at: (place % 5 == 0).then_some(created_at),
        pin: None,
        locked_until: None,
        state,
    })
}

/// A line of this process's status, which Linux gives in kB.
fn status_bytes(name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("could not read the memory that is used")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .context("Linux does not say how much memory is used")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("could not write to stdout")
}
