//! What a person has to do: everything that is not well, the worst first, each with the commands to type.

use maud::{Markup, html};

use super::{count, marks};
use crate::domain::alert::AlertKey;
use crate::domain::id::SourceId;
use crate::plan::alert::{Cause, advice};
use crate::plan::status::{ObligationState, ObligationStatus, SourceStatus, Status};
use crate::plan::ways_back::CanRestore;
use crate::policy::finding::{Finding, Severity};

/// Most that is shown at once: whoever has more to do begins at the top.
const SHOWN_MAX: usize = 40;

/// One thing to do.
struct Task<'a> {
    severity: Severity,
    source: Option<&'a SourceId>,
    text: String,
    commands: Vec<String>,
}

/// Everything that needs a person, of all sources or of one; nothing where nothing does.
pub(super) fn section(status: &Status, one: Option<&SourceId>) -> Markup {
    let (infos, tasks): (Vec<_>, Vec<_>) =
        tasks(status, one).into_iter().partition(|task| task.severity == Severity::Info);
    html! {
        @if !tasks.is_empty() {
            section aria-labelledby="attention" {
                h2 #attention { "What to do" }
                (list(&tasks))
            }
        }
        @if !infos.is_empty() {
            details #infos {
                summary { (count(infos.len(), "thing", "things")) " worth knowing" }
                (list(&infos))
            }
        }
    }
}

/// Whether anything is critical that belongs to no source.
pub(super) fn any_critical(status: &Status) -> bool {
    status.findings.iter().any(|finding| finding.source.is_none() && finding.severity == Severity::Critical)
}

fn list(tasks: &[Task<'_>]) -> Markup {
    html! {
        ol .tasks {
            @for task in tasks.iter().take(SHOWN_MAX) {
                li {
                    p {
                        (marks::severity(task.severity)) " "
                        @if let Some(source) = task.source { a href=(link(source)) { (source) } ": " }
                        (task.text)
                    }
                    @if !task.commands.is_empty() {
                        ul .commands { @for command in &task.commands { li { code { (command) } } } }
                    }
                }
            }
        }
        @if let Some(more @ 1..) = tasks.len().checked_sub(SHOWN_MAX) {
            p { "And " (more) " more, which " code { "strongroom status" } " tells." }
        }
    }
}

/// Where the page of a source is.
pub(super) fn link(source: &SourceId) -> String {
    // A source's name is made of letters, digits and hyphens.
    format!("/sources/{source}")
}

fn tasks<'a>(status: &'a Status, one: Option<&SourceId>) -> Vec<Task<'a>> {
    let unseen = status.unseen.iter().map(|unseen| Task {
        severity: Severity::Warning,
        source: None,
        text: format!("Could not be seen, so nothing is decided by it: {unseen}"),
        commands: commands(Cause::Unseen, None, None),
    });
    let own = status.sources.iter().flat_map(of_source);
    let findings = status.findings.iter().map(of_finding);
    let all = unseen.chain(own).chain(findings);
    // On the page of one source also what concerns all of them.
    let mut tasks: Vec<Task<'a>> =
        all.filter(|task| one.is_none() || task.source.is_none() || task.source == one).collect();
    // The sort keeps the order of equals.
    tasks.sort_by_key(|task| std::cmp::Reverse(task.severity));
    tasks
}

fn of_source(source: &SourceStatus) -> Vec<Task<'_>> {
    let id = &source.source;
    let nothing = match source.can_restore {
        CanRestore::Yes => None,
        CanRestore::No => Some("There is nothing to restore it from: make a backup now."),
        CanRestore::Unknown => {
            Some("Nothing to restore it from was seen; but not everything could be seen: see to that first.")
        }
    };
    let nothing = nothing.map(|text| Task {
        severity: Severity::Critical,
        source: Some(id),
        text: text.to_owned(),
        commands: commands(Cause::NotRestorable, Some(id), None),
    });
    nothing.into_iter().chain(source.obligations.iter().filter_map(|own| of_obligation(id, own))).collect()
}

fn of_obligation<'a>(source: &'a SourceId, own: &ObligationStatus) -> Option<Task<'a>> {
    let (severity, cause, what) = match own.state {
        ObligationState::Ok | ObligationState::Suspended => return None,
        ObligationState::Trouble => (Severity::Warning, Cause::Failed, "needs a look"),
        ObligationState::Overdue => (Severity::Critical, Cause::Overdue, "is overdue"),
    };
    let text = format!("The {} {what}: {}.", name(own), own.reason);
    Some(Task { severity, source: Some(source), text, commands: commands(cause, Some(source), Some(own)) })
}

/// What an obligation is about.
pub(super) fn name(own: &ObligationStatus) -> String {
    own.database.as_ref().map_or_else(|| own.kind.to_string(), |database| format!("{} of {database}", own.kind))
}

fn of_finding(finding: &Finding) -> Task<'_> {
    Task {
        severity: finding.severity,
        source: finding.source.as_ref(),
        text: finding.text.clone(),
        // What is only worth knowing asks for nothing.
        commands: match finding.severity {
            Severity::Info => Vec::new(),
            Severity::Warning | Severity::Critical => {
                commands(Cause::Found(finding.check), finding.source.as_ref(), None)
            }
        },
    }
}

/// The commands that an alert of the same cause tells to type.
fn commands(cause: Cause, source: Option<&SourceId>, own: Option<&ObligationStatus>) -> Vec<String> {
    let key = AlertKey {
        name: cause.name().to_owned(),
        source: source.cloned(),
        detail: own.map(|own| own.kind.as_str().to_owned()),
        database: own.and_then(|own| own.database.clone()),
    };
    advice(cause, &key).commands
}
