//! The fleet: its numbers, what is under way, its sources, and what comes next.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::attention::link;
use super::{ago, count, marks, moment, source};
use crate::domain::drill::DrillPath;
use crate::domain::id::{DatabaseName, Kind};
use crate::plan::status::{SourceState, SourceStatus, Status, WorkKind};
use crate::telemetry::words;

/// So many sources are shown in full whether they need a person or not.
const FEW: usize = 3;
/// Most sources that are shown in full.
const CARDS_MAX: usize = 20;
/// More rows than this are folded away until somebody wants to see them.
const ROWS_UNFOLDED: usize = 100;
/// Most rows: more are too many to look through, and each has its own page.
const ROWS_MAX: usize = 2_000;

/// The numbers.
pub(super) fn summary(status: &Status, now: Timestamp) -> Markup {
    let in_state = |state| status.sources.iter().filter(|source| source.state == state).count();
    let states = [SourceState::Critical, SourceState::Warning, SourceState::Suspended, SourceState::Ok];
    let planes = || status.sources.iter().flat_map(|source| &source.planes);
    let of_kind = |kind: Kind| planes().filter(move |plane| plane.kind == kind);
    let points = |kind| of_kind(kind).map(|plane| plane.points).sum::<usize>();
    let dumped: u64 = of_kind(Kind::Dump).map(|plane| plane.stored_bytes).sum();
    let added: u64 = of_kind(Kind::Dump).map(|plane| plane.added_30_days_bytes).sum();
    html! {
        section aria-labelledby="fleet" {
            h2 #fleet { "Fleet" }
            dl .numbers {
                div {
                    dt { "Sources" }
                    dd { (status.sources.len()) }
                    dd .more {
                        @for state in states {
                            @if in_state(state) > 0 { span .tally { (marks::source(state)) " " (in_state(state)) } " " }
                        }
                    }
                }
                div { dt { "Good snapshots" } dd { (points(Kind::Snapshot)) } }
                div { dt { "Good dumps" } dd { (points(Kind::Dump)) } }
                div {
                    dt { "Stored dumps" }
                    dd { (words::size(dumped)) }
                    dd .more { (words::size(added)) " of it in the last 30 days" }
                }
                div { dt { "Under way" } dd { (status.running.len()) } }
                div {
                    dt { "Next start" }
                    @match status.upcoming.first() {
                        Some(next) => { dd { (ago(next.at, now)) } dd .more { (next.source) ", " (next.kind.as_str()) } }
                        None => dd { "none" }
                    }
                }
            }
            @if status.remains_bytes > 0 {
                p .quiet {
                    "Failed runs left " (words::size(status.remains_bytes)) " behind; " code { "strongroom plan" } " lists it."
                }
            }
        }
    }
}

/// What is under way.
pub(super) fn running(status: &Status, now: Timestamp) -> Markup {
    html! {
        @if !status.running.is_empty() {
            section aria-labelledby="running" {
                h2 #running { "Under way" }
                ul .running {
                    @for work in &status.running {
                        li {
                            p {
                                a href=(link(&work.source)) { (work.source) } ": "
                                (what(work.kind, work.database.as_ref(), work.path))
                                ", for " (words::length(now.duration_since(work.started_at).max(SignedDuration::ZERO)))
                                @if let Some(phase) = work.phase { ", " (phase.as_str().replace('_', " ")) }
                                @if let Some(usual) = work.usual_seconds {
                                    span .ago { " (the last one took " (words::length(SignedDuration::from_secs(usual))) ")" }
                                }
                            }
                            @if let Some(percent) = work.percent {
                                p .progress {
                                    progress max="100" value=(percent) aria-label=(format!("{} of {}", work.kind.as_str(), work.source)) {}
                                    " " (percent) " %"
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn what(kind: WorkKind, database: Option<&DatabaseName>, path: Option<DrillPath>) -> String {
    match (database, path) {
        (Some(database), _) => format!("{} of {database}", kind.as_str()),
        (None, Some(path)) => format!("{} by {path}", kind.as_str()),
        (None, None) => kind.as_str().to_owned(),
    }
}

/// Every source: those that need a person, then the others.
pub(super) fn sources(status: &Status, now: Timestamp) -> Markup {
    let mut ordered: Vec<&SourceStatus> = status.sources.iter().collect();
    ordered.sort_by_key(|source| std::cmp::Reverse(source.state));
    let troubled = ordered.iter().filter(|source| source.state.needs_a_person()).count();
    let in_full = if ordered.len() <= FEW { ordered.len() } else { troubled.min(CARDS_MAX) };
    let (full, rows) = ordered.split_at(in_full);
    html! {
        section aria-labelledby="sources" {
            h2 #sources { "Sources" }
            @if ordered.is_empty() { p { "None is configured." } }
            @if ordered.len() <= FEW {
                @for own in full { (source::card(own, now)) }
            } @else {
                @for (index, own) in full.iter().enumerate() { (folded(own, index < FEW, now)) }
            }
            @if rows.len() > ROWS_UNFOLDED {
                details #rows {
                    summary { (count(rows.len(), "more source", "more sources")) }
                    (table(rows, now))
                }
            } @else if !rows.is_empty() {
                (table(rows, now))
            }
        }
    }
}

/// A source in full for whoever folds it out.
fn folded(own: &SourceStatus, is_open: bool, now: Timestamp) -> Markup {
    html! {
        details .folded id=(format!("fold-{}", own.source)) open[is_open] {
            summary { b { (own.source) } " " (marks::source(own.state)) }
            (source::card(own, now))
        }
    }
}

fn table(rows: &[&SourceStatus], now: Timestamp) -> Markup {
    html! {
        div .wide tabindex="0" role="region" aria-label="Sources in brief" {
            table .brief {
                thead {
                    tr {
                        th scope="col" { "Source" }
                        th scope="col" { "State" }
                        th scope="col" { "Newest snapshot" }
                        th scope="col" { "Newest dump" }
                        th scope="col" .roomy { "Restorable to" }
                        th scope="col" .roomy { "Next start" }
                    }
                }
                tbody { @for own in rows.iter().take(ROWS_MAX) { (row(own, now)) } }
            }
        }
        @if let Some(more @ 1..) = rows.len().checked_sub(ROWS_MAX) {
            p { "And " (more) " more: each has a page at " code { "/sources/NAME" } "." }
        }
    }
}

fn row(own: &SourceStatus, now: Timestamp) -> Markup {
    let of_kind = |kind| own.obligations.iter().filter(move |owed| owed.kind == kind);
    // Of several databases the one whose newest dump is the oldest: none is better off than that.
    let newest = |kind| {
        let mut all = of_kind(kind).map(|owed| owed.newest_at);
        let first = all.next();
        first.map(|first| all.fold(first, std::cmp::min))
    };
    let cell = |newest: Option<Option<Timestamp>>| match newest {
        Some(Some(at)) => ago(at, now),
        Some(None) => html! { strong { "never" } },
        None => html! { span .ago { "not owed" } },
    };
    let next = own.obligations.iter().filter_map(|owed| owed.next_due_at).min();
    html! {
        tr {
            th scope="row" { a href=(link(&own.source)) { (own.source) } }
            td { (marks::source(own.state)) }
            td { (cell(newest(Kind::Snapshot))) }
            td { (cell(newest(Kind::Dump))) }
            td .roomy {
                @match own.restorable.iter().map(|way| way.to).max() {
                    Some(to) => (ago(to, now)),
                    None => strong { "nothing" }
                }
            }
            td .roomy { @match next { Some(at) => (ago(at, now)), None => span .ago { "none" } } }
        }
    }
}

/// What comes next.
pub(super) fn upcoming(status: &Status, now: Timestamp) -> Markup {
    html! {
        @if !status.upcoming.is_empty() {
            section aria-labelledby="next" {
                h2 #next { "Next starts" }
                div .wide tabindex="0" role="region" aria-label="Table of next starts" {
                    table {
                        thead { tr { th scope="col" { "When" } th scope="col" { "Source" } th scope="col" { "What" } } }
                        tbody {
                            @for next in &status.upcoming {
                                tr {
                                    td { (moment(next.at, now)) }
                                    th scope="row" { a href=(link(&next.source)) { (next.source) } }
                                    td { (what(next.kind, next.database.as_ref(), next.path)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
