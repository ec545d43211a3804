//! One source in full.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::attention::{link, name};
use super::{count, drills, marks, moment, timeline};
use crate::domain::id::{Kind, SourceId};
use crate::plan::status::{ObligationState, ObligationStatus, PlaneStatus, SourceStatus, WayBack};
use crate::plan::verify::Readings;
use crate::plan::ways_back::CanRestore;
use crate::telemetry::words;

/// Everything about one source.
pub(super) fn card(own: &SourceStatus, now: Timestamp) -> Markup {
    let id = format!("source-{}", own.source);
    html! {
        article .card aria-labelledby=(id) {
            header {
                h3 id=(id) { a href=(link(&own.source)) { (own.source) } }
                (marks::source(own.state))
                p .quiet { "instance " (own.instance) ", " (own.instance_status.as_deref().unwrap_or("not seen")) }
            }
            (ways_back(own, now))
            div .columns { @for owed in &own.obligations { (obligation(&own.source, owed, now)) } }
            (drills::section(own, now))
            (planes(own, now))
        }
    }
}

fn ways_back(own: &SourceStatus, now: Timestamp) -> Markup {
    html! {
        h4 { "Could it be restored today?" }
        @match own.can_restore {
            CanRestore::Yes => ul .ways { @for way in &own.restorable { (way_back(way, now)) } },
            CanRestore::No => p { strong { "No: there is nothing to restore it from." } },
            CanRestore::Unknown => p { strong { "Nobody can tell: nothing was seen, and not everything could be." } },
        }
    }
}

fn way_back(way: &WayBack, now: Timestamp) -> Markup {
    html! {
        li {
            "By " b { @if way.path == "pitr" { "point-in-time recovery" } @else { (way.path) } }
            @if let Some(database) = &way.database { " of " (database) }
            @if let Some(region) = &way.region { " in " (region) }
            " to " (moment(way.to, now))
            @if let Some(seconds) = way.expected_seconds {
                ", in about " (words::length(SignedDuration::from_secs(seconds)))
            }
        }
    }
}

fn obligation(source: &SourceId, own: &ObligationStatus, now: Timestamp) -> Markup {
    let title = match &own.database {
        Some(database) => html! { "Dump of " (database) },
        None => html! { "Snapshot" },
    };
    html! {
        section .owed aria-label=(format!("{source}: {}", name(own))) {
            h4 { (title) " " (marks::obligation(own.state)) }
            (freshness(own, now))
            @if matches!(own.state, ObligationState::Trouble | ObligationState::Overdue) { p { (own.reason) } }
            @else { p .quiet { (own.reason) } }
            (timeline::slots(own, now))
        }
    }
}

/// How old the newest one is against the age at which it is overdue: a bar that fills up.
fn freshness(own: &ObligationStatus, now: Timestamp) -> Markup {
    let Some(newest) = own.newest_at else {
        return html! { p { strong { "There is none yet." } (next(own, now)) } };
    };
    let age = now.duration_since(newest).max(SignedDuration::ZERO);
    // The whole bar is the time until it is overdue.
    let whole = own.overdue_at.map(|at| at.duration_since(newest).max(SignedDuration::from_secs(1)));
    let share = whole.map(|whole| (age.as_secs().saturating_mul(1000) / whole.as_secs().max(1)).clamp(0, 1000));
    html! {
        p {
            "Newest " (moment(newest, now))
            @match own.overdue_at {
                Some(at) if at <= now => { ", " strong { "overdue since " (moment(at, now)) } }
                Some(at) => { ", overdue " (words::relative(at, now)) " unless another is made" }
                None => {}
            }
            (next(own, now))
        }
        @if let Some(share) = share {
            svg .fresh.late[share >= 1000] viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                rect .track width="1000" height="10" {}
                rect .age width=(share) height="10" {}
            }
        }
    }
}

fn next(own: &ObligationStatus, now: Timestamp) -> Markup {
    html! { @if let Some(at) = own.next_due_at { ". Next " (words::relative(at, now)) "." } @else { "." } }
}

fn planes(own: &SourceStatus, now: Timestamp) -> Markup {
    html! {
        @if !own.planes.is_empty() {
            h4 { "Where its backups are" }
            div .wide tabindex="0" role="region" aria-label=(format!("Where the backups of {} are", own.source)) {
                table {
                    thead {
                        tr {
                            th scope="col" { "What" }
                            th scope="col" { "Region" }
                            th scope="col" .number { "Good" }
                            th scope="col" .number { "Bytes" }
                            th scope="col" .number { "Last 30 days" }
                            th scope="col" { "Newest" }
                            th scope="col" { "Read back" }
                        }
                    }
                    tbody { @for plane in &own.planes { (plane_row(own, plane, now)) } }
                }
            }
        }
    }
}

fn plane_row(own: &SourceStatus, plane: &PlaneStatus, now: Timestamp) -> Markup {
    let bytes = |bytes| match plane.kind {
        Kind::Snapshot => words::storage(bytes),
        Kind::Dump => words::size(bytes),
    };
    let read = own.read_back.iter().find(|read| {
        plane.kind == Kind::Dump && Some(&read.database) == plane.database.as_ref() && read.plane == plane.plane
    });
    html! {
        tr {
            th scope="row" {
                (plane.kind) "s" @if let Some(database) = &plane.database { " of " (database) }
            }
            td { (plane.region) @if plane.plane.as_str() == "replica" { span .ago { " (second)" } } }
            td .number {
                (plane.points)
                @if plane.others > 0 { span .ago { " + " (count(plane.others, "other", "others")) } }
            }
            td .number {
                (bytes(plane.stored_bytes)) @if plane.kind == Kind::Snapshot { span .ago { " allocated" } }
            }
            td .number { "+" (bytes(plane.added_30_days_bytes)) }
            td { @match plane.newest_at { Some(at) => (super::ago(at, now)), None => "none" } }
            td { @match read { Some(read) => (reading(read, now)), None => span .ago { "–" } } }
        }
    }
}

fn reading(read: &Readings, now: Timestamp) -> Markup {
    html! {
        (read.read_back) " of " (read.dumps)
        @if let Some(at) = read.newest_at { span .ago { ", last " (words::relative(at, now)) } }
        @if read.overdue > 0 { ", " strong { (read.overdue) " overdue" } }
    }
}
