//! Small drawings and badges. Each has its word beside it: nothing is said by colour or shape alone.

use maud::{Markup, html};

use super::frame::Mood;
use crate::plan::status::{ObligationState, SlotState, SourceState};
use crate::policy::finding::Severity;

/// The large sign of the verdict.
pub(super) fn verdict(mood: Mood) -> Markup {
    html! {
        svg .sign viewBox="0 0 48 48" aria-hidden="true" focusable="false" {
            @match mood {
                Mood::Well => {
                    circle cx="24" cy="24" r="22" {}
                    path d="M14 25l7 7 14-15" {}
                }
                Mood::Warning | Mood::Critical => {
                    path .shape d="M24 3L46 44H2z" {}
                    path d="M24 18v13M24 36v2" {}
                }
                Mood::Stale | Mood::Unknown => {
                    circle cx="24" cy="24" r="22" {}
                    path d="M24 12v13l8 6" {}
                }
            }
        }
    }
}

/// How bad something is.
pub(super) fn severity(severity: Severity) -> Markup {
    let class = match severity {
        Severity::Info => "quiet",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    html! { span .badge.(class) { (severity.as_str()) } }
}

/// How a source stands.
pub(super) fn source(state: SourceState) -> Markup {
    let class = match state {
        SourceState::Ok => "well",
        SourceState::Suspended => "quiet",
        SourceState::Warning => "warning",
        SourceState::Critical => "critical",
    };
    html! { span .badge.(class) { (state.as_str()) } }
}

/// How an obligation stands.
pub(super) fn obligation(state: ObligationState) -> Markup {
    let (class, word) = match state {
        ObligationState::Ok => ("well", "ok"),
        ObligationState::Suspended => ("quiet", "suspended"),
        ObligationState::Trouble => ("warning", "trouble"),
        ObligationState::Overdue => ("critical", "overdue"),
    };
    html! { span .badge.(class) { (word) } }
}

/// What became of a slot: the class, the sign, and the words.
pub(super) fn slot(state: SlotState) -> (&'static str, &'static str, &'static str) {
    match state {
        SlotState::Kept => ("kept", "✓", "kept"),
        SlotState::KeptElsewhere => ("elsewhere", "✓", "kept in the second region only"),
        SlotState::Running => ("running", "…", "under way"),
        SlotState::Due => ("due", "○", "due"),
        SlotState::Failed => ("failed", "✕", "failed"),
        SlotState::Missed => ("missed", "!", "missed"),
        SlotState::Bad => ("bad", "✕", "not to be relied on"),
        SlotState::Gone => ("gone", "–", "pruned or deleted since"),
        SlotState::Unknown => ("unseen-slot", "?", "could not be seen"),
    }
}
