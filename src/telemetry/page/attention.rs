//! What a person has to do: everything that is not well, the worst first, each with the commands to type.

use maud::{Markup, html};

use super::{count, marks};
use crate::domain::id::{Kind, SourceId};
use crate::plan::status::{ObligationState, ObligationStatus, SourceStatus, Status};
use crate::policy::finding::{Check, Finding, Severity};

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
    status.findings.iter().any(|finding| finding.severity == Severity::Critical)
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
        commands: vec!["strongroom check --online".to_owned()],
    });
    let own = status.sources.iter().flat_map(|source| of_source(source, status.unseen.is_empty()));
    let findings = status.findings.iter().map(of_finding);
    let all = unseen.chain(own).chain(findings);
    // On the page of one source also what concerns all of them.
    let mut tasks: Vec<Task<'a>> =
        all.filter(|task| one.is_none() || task.source.is_none() || task.source == one).collect();
    // The sort keeps the order of equals.
    tasks.sort_by_key(|task| std::cmp::Reverse(task.severity));
    tasks
}

fn of_source(source: &SourceStatus, all_seen: bool) -> Vec<Task<'_>> {
    let id = &source.source;
    let nothing = source.restorable.is_empty().then(|| Task {
        severity: Severity::Critical,
        source: Some(id),
        text: match all_seen {
            true => "There is nothing to restore it from: make a backup now.".to_owned(),
            false => {
                "Nothing to restore it from was seen; but not everything could be seen: see to that first.".to_owned()
            }
        },
        commands: vec![format!("strongroom diagnose {id}"), format!("strongroom backup snapshot {id}")],
    });
    nothing.into_iter().chain(source.obligations.iter().filter_map(|own| of_obligation(id, own))).collect()
}

fn of_obligation<'a>(source: &'a SourceId, own: &ObligationStatus) -> Option<Task<'a>> {
    let (severity, what) = match own.state {
        ObligationState::Ok | ObligationState::Suspended => return None,
        ObligationState::Trouble => (Severity::Warning, "needs a look"),
        ObligationState::Overdue => (Severity::Critical, "is overdue"),
    };
    let text = format!("The {} {what}: {}.", name(own), own.reason);
    let commands = vec![format!("strongroom diagnose {source}"), backup(source, own)];
    Some(Task { severity, source: Some(source), text, commands })
}

/// What an obligation is about.
pub(super) fn name(own: &ObligationStatus) -> String {
    own.database.as_ref().map_or_else(|| own.kind.to_string(), |database| format!("{} of {database}", own.kind))
}

/// The command that makes one now.
fn backup(source: &SourceId, own: &ObligationStatus) -> String {
    match (own.kind, &own.database) {
        (Kind::Dump, Some(database)) => {
            format!("strongroom backup dump {source} --database {}", shell_word(database.as_str()))
        }
        (Kind::Dump, None) => format!("strongroom backup dump {source}"),
        (Kind::Snapshot, _) => format!("strongroom backup snapshot {source}"),
    }
}

/// A text as a shell takes it for one word, whatever is in it.
fn shell_word(text: &str) -> String {
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if is_plain && !text.starts_with('-') { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn of_finding(finding: &Finding) -> Task<'_> {
    Task {
        severity: finding.severity,
        source: finding.source.as_ref(),
        text: finding.text.clone(),
        commands: commands(finding),
    }
}

/// The command that shows more of what was found, or mends it.
fn commands(finding: &Finding) -> Vec<String> {
    if finding.severity == Severity::Info {
        return Vec::new();
    }
    let source = finding.source.as_ref().map_or_else(String::new, |source| format!(" {source}"));
    let check = finding.check;
    let command = if matches!(check, Check::DumpBad | Check::DumpUnreadable | Check::VerificationOverdue) {
        format!("strongroom verify{source}")
    } else if matches!(check, Check::DrillFailed | Check::DrillOverdue | Check::DrillObjective)
        && finding.source.is_some()
    {
        format!("strongroom drill{source}")
    } else if matches!(check, Check::PruneHeld | Check::RetentionShrink | Check::FutureDated) {
        format!("strongroom prune{source}")
    } else if matches!(check, Check::SnapshotCopy | Check::Replication | Check::DumpHidden) {
        format!("strongroom list{source}")
    } else if finding.source.is_some() {
        format!("strongroom diagnose{source}")
    } else {
        "strongroom check --online".to_owned()
    };
    vec![command]
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("accounts", "accounts")]
    #[case::with_a_space("my books", "'my books'")]
    #[case::an_option("-f", "'-f'")]
    #[case::a_quote("it's", r"'it'\''s'")]
    #[case::a_command("x; rm -rf ~", "'x; rm -rf ~'")]
    fn what_is_copied_into_a_shell_is_one_word(#[case] name: &str, #[case] word: &str) {
        assert_eq!(shell_word(name), word);
    }
}
