//! Restore drills: how long a restore takes, phase by phase, against what is wanted.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::moment;
use crate::domain::drill::{Phase, Verdict};
use crate::domain::id::SourceId;
use crate::plan::status::{DrillView, PastDrill, PhaseTime, SourceStatus};
use crate::telemetry::words;

/// Width of a bar in its own units.
const WIDTH: i64 = 1000;
/// Room beside the longest bar, in parts of it, so that a target as long as that can be seen.
const MARGIN: i64 = 25;

/// All paths of a source.
pub(super) fn section(source: &SourceStatus, now: Timestamp) -> Markup {
    html! {
        @if !source.drills.is_empty() {
            div .columns.three { @for own in &source.drills { (path(&source.source, own, now)) } }
        }
    }
}

fn path(source: &SourceId, own: &DrillView, now: Timestamp) -> Markup {
    html! {
        section .owed aria-label=(format!("{source}: restore drill by {}", own.status.path)) {
            h4 { "Restore drill by " (own.status.path) " " (badge(own)) }
            @match (own.status.last, own.status.last_at) {
                (Some(verdict), Some(at)) => { p { (said(verdict)) " " (moment(at, now)) "." } (times(own)) }
                (_, _) => p { strong { "Never done" } ": " (own.status.reason) "." }
            }
            (chart(own))
            @if let Some(at) = own.status.next_due_at { p .quiet { "Next " (words::relative(at, now)) "." } }
        }
    }
}

fn badge(own: &DrillView) -> Markup {
    let (class, word) = match own.status.last {
        Some(Verdict::BackupBad) => ("critical", "backup bad"),
        _ if own.status.overdue => ("warning", "overdue"),
        Some(Verdict::Passed) => ("well", "passed"),
        Some(Verdict::NotCarriedOut) | None => ("quiet", "not done yet"),
    };
    html! { span .badge.(class) { (word) } }
}

fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "Passed",
        Verdict::BackupBad => "The backup was found bad",
        Verdict::NotCarriedOut => "Could not be carried out",
    }
}

fn length(seconds: i64) -> String {
    words::length(SignedDuration::from_secs(seconds))
}

/// Recovery time and data loss, each against its objective.
fn times(own: &DrillView) -> Markup {
    let objective = |name: &str, seconds: Option<i64>, most: Option<i64>| {
        let Some(seconds) = seconds else { return html! {} };
        html! {
            p {
                (name) " " b { (length(seconds)) }
                @match most {
                    Some(most) if seconds > most => { ", " strong .missed { "more than the " (length(most)) " that are wanted" } }
                    Some(most) => { ", wanted " (length(most)) }
                    None => {}
                }
            }
        }
    };
    html! {
        (objective("RTO", own.status.recovery_seconds, own.recovery_seconds_max))
        (objective("RPO", own.status.data_loss_seconds, own.data_loss_seconds_max))
    }
}

/// The phases that a recovery time is made of.
fn of_recovery(drill: &PastDrill) -> Vec<PhaseTime> {
    let before_last = |time: &&PhaseTime| {
        matches!(time.phase, Phase::Accepted | Phase::Available | Phase::Connectable | Phase::FullyRead)
    };
    drill.phases.iter().filter(before_last).copied().collect()
}

/// One bar for each drill, the newest first, all of one scale, and the newest one's phases in words.
fn chart(own: &DrillView) -> Markup {
    let timed: Vec<(&PastDrill, Vec<PhaseTime>)> = own
        .last_drills
        .iter()
        .map(|drill| (drill, of_recovery(drill)))
        .filter(|(_, phases)| !phases.is_empty())
        .collect();
    let total = |phases: &[PhaseTime]| phases.iter().map(|time| time.seconds).sum::<i64>();
    let longest =
        timed.iter().map(|(_, phases)| total(phases)).chain(own.recovery_seconds_max).max().unwrap_or(0).max(1);
    let longest = longest + longest / MARGIN;
    let Some((_, newest)) = timed.first() else { return html! {} };
    html! {
        figure .phases {
            @for (drill, phases) in &timed {
                div .bar {
                    span .when { (drill.finished_at.strftime("%Y-%m-%d").to_string()) }
                    (bar(phases, own.recovery_seconds_max, longest))
                    span .took { (length(total(phases))) }
                }
            }
            figcaption {
                ul .legend {
                    @for time in newest {
                        li {
                            svg .swatch viewBox="0 0 10 10" aria-hidden="true" focusable="false" { rect .(class(time.phase)) width="10" height="10" {} }
                            " " (said_of(time.phase)) " " (length(time.seconds))
                        }
                    }
                    @if let Some(most) = own.recovery_seconds_max {
                        li {
                            svg .swatch viewBox="0 0 10 10" aria-hidden="true" focusable="false" { line .target x1="5" x2="5" y1="0" y2="10" {} }
                            " wanted " (length(most))
                        }
                    }
                }
            }
        }
    }
}

/// One drill as a bar that is split by phase; the same in words for whoever does not see it.
fn bar(phases: &[PhaseTime], most: Option<i64>, longest: i64) -> Markup {
    let scaled = |seconds: i64| seconds.max(0).saturating_mul(WIDTH) / longest;
    let mut began = 0;
    let spans: Vec<(Phase, i64, i64)> = phases
        .iter()
        .map(|time| {
            let from = began;
            began += time.seconds.max(0);
            (time.phase, scaled(from), scaled(began) - scaled(from))
        })
        .collect();
    let told: Vec<String> =
        phases.iter().map(|time| format!("{} {}", said_of(time.phase), length(time.seconds))).collect();
    html! {
        svg viewBox=(format!("0 0 {WIDTH} 20")) preserveAspectRatio="none" role="img" aria-label=(told.join(", ")) {
            @for (phase, from, width) in spans { rect .(class(phase)) x=(from) width=(width) height="20" {} }
            @if let Some(most) = most { line .target x1=(scaled(most)) x2=(scaled(most)) y1="0" y2="20" {} }
        }
    }
}

fn class(phase: Phase) -> &'static str {
    match phase {
        Phase::Accepted => "p1",
        Phase::Available => "p2",
        Phase::Connectable => "p3",
        Phase::FullyRead => "p4",
        Phase::Verified | Phase::TornDown => "p5",
    }
}

/// What was waited for.
fn said_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Accepted => "order taken",
        Phase::Available => "instance available",
        Phase::Connectable => "server answers",
        Phase::FullyRead => "every row read",
        Phase::Verified => "compared",
        Phase::TornDown => "torn down",
    }
}
