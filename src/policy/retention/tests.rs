//! Retention from outside: decisions as people read them, and laws that hold for every policy and every listing.

mod calendar;
mod holds;
mod laws;
mod rules;

use std::num::NonZeroU32;

use super::*;
use crate::domain::pin::{PIN_VERSION, Pin};
use crate::domain::recovery_point::{Plane, PointState};
use crate::testing::{at, dump, keep_nothing};

/// Noon of the 30th of June 2027: later than all that is judged, unless a test says otherwise.
fn now() -> Timestamp {
    at("2027-06-30T12:00:00Z")
}

fn count(count: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(count)
}

fn london() -> TimeZone {
    TimeZone::get("Europe/London").unwrap()
}

/// A good dump of the ledger, stored at the moment of its data.
fn good(created_at: &str) -> RecoveryPoint {
    RecoveryPoint { id: created_at.to_owned(), ..dump("ledger", created_at, 1, PointState::Good) }
}

fn bad(created_at: &str) -> RecoveryPoint {
    RecoveryPoint { state: PointState::Bad { reason: "cut off".to_owned() }, ..good(created_at) }
}

fn unreadable(created_at: &str) -> RecoveryPoint {
    RecoveryPoint { state: PointState::Unreadable { reason: "AccessDenied".to_owned() }, ..good(created_at) }
}

fn verified(created_at: &str) -> RecoveryPoint {
    RecoveryPoint { verified_at: Some(at(created_at)), ..good(created_at) }
}

fn pin(reason: Option<&str>) -> Option<Pin> {
    let reason = reason.map(str::to_owned);
    Some(Pin { version: PIN_VERSION, point: "p".to_owned(), reason, pinned_at: at("2026-01-01T00:00:00Z") })
}

fn judge<'a>(policy: &RetentionPolicy, points: &'a [RecoveryPoint]) -> Vec<Verdict<'a>> {
    policy.judge(&Complete::after_last_page(points.iter().collect()), now())
}

/// One line for each point, in the order given: its id and what becomes of it.
fn decisions(policy: &RetentionPolicy, points: &[RecoveryPoint]) -> String {
    judge(policy, points).iter().map(|verdict| format!("{} {}\n", verdict.point.id, verdict.fate)).collect()
}

/// The ids of those that are kept.
fn kept<'a>(policy: &RetentionPolicy, points: &'a [RecoveryPoint]) -> Vec<&'a str> {
    let kept = |verdict: &Verdict<'a>| matches!(verdict.fate, Fate::Kept(_)).then_some(verdict.point.id.as_str());
    judge(policy, points).iter().filter_map(kept).collect()
}

fn points(created_at: &[&str]) -> Vec<RecoveryPoint> {
    created_at.iter().map(|created_at| good(created_at)).collect()
}
