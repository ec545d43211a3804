//! What is around everything: the head, the verdict in one line, and the links below.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::{count, exact, marks, moment};
use crate::plan::status::{SourceState, SourceStatus, Status};
use crate::plan::ways_back::CanRestore;
use crate::telemetry::words;

/// How all of it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Nothing needs a person.
    Well,
    /// A promise will be broken if nobody acts.
    Warning,
    /// A promise is broken.
    Critical,
    /// What is known is old.
    Stale,
    /// Nothing is known.
    Unknown,
}

impl Mood {
    pub(super) fn class(self) -> &'static str {
        match self {
            Mood::Well => "well",
            Mood::Warning => "warning",
            Mood::Critical => "critical",
            Mood::Stale => "stale",
            Mood::Unknown => "unknown",
        }
    }
}

/// A page without its content.
pub(super) struct Frame<'a> {
    pub(super) mood: Mood,
    pub(super) headline: String,
    pub(super) explanation: Markup,
    pub(super) installation: Option<&'a str>,
    /// When it was looked, and what time it is.
    pub(super) looked_at: Option<(Timestamp, Timestamp)>,
    /// The daemon that shows it does not lead.
    pub(super) stands_by: bool,
    pub(super) is_one_source: bool,
}

impl<'a> Frame<'a> {
    /// The frame of a page about all sources, or about one.
    pub(super) fn of(status: &'a Status, one: Option<&SourceStatus>, now: Timestamp) -> Frame<'a> {
        let (mood, headline, explanation) = if status.stale_at <= now {
            stale(status, now)
        } else {
            match one {
                Some(source) => of_source(status, source),
                None => of_fleet(status),
            }
        };
        Frame {
            mood,
            headline,
            explanation,
            installation: Some(status.installation.as_str()),
            looked_at: Some((status.at, now)),
            stands_by: status.stands_by,
            is_one_source: one.is_some(),
        }
    }

    /// The whole document.
    pub(super) fn render(&self, content: &Markup) -> String {
        let icon = if self.mood == Mood::Well { "/well.svg" } else { "/unwell.svg" };
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.headline) " – strongroom" }
                    link rel="icon" href=(icon);
                    link rel="stylesheet" href="/page.css";
                    noscript { meta http-equiv="refresh" content="60"; }
                    script src="/page.js" defer {}
                }
                body {
                    // Filled by the script: when the daemon does not answer, and when the verdict has changed.
                    p #lost role="alert" hidden {}
                    p #said .unseen role="status" {}
                    (self.header())
                    main #main {
                        (self.verdict())
                        (content)
                    }
                    (footer())
                }
            }
        };
        document.into_string()
    }

    fn header(&self) -> Markup {
        html! {
            header .top {
                p .name {
                    a href="/" { "strongroom" }
                    @if let Some(installation) = self.installation { " " span .installation { (installation) } }
                }
                @if self.is_one_source { nav { a href="/" { "All sources" } } }
            }
        }
    }

    fn verdict(&self) -> Markup {
        html! {
            div .verdict.(self.mood.class()) {
                (marks::verdict(self.mood))
                div {
                    h1 #verdict { (self.headline) }
                    (self.explanation)
                    @if let Some((at, now)) = self.looked_at {
                        p .looked { "Looked at AWS " (words::relative(at, now)) ", at " (exact(at)) "." }
                    }
                    @if self.stands_by { p .quiet { "This daemon stands by: it looks, and acts only once it leads." } }
                }
            }
        }
    }
}

/// What was well then may be so no more.
fn stale(status: &Status, now: Timestamp) -> (Mood, String, Markup) {
    let headline = format!("Not seen for {}", words::length(now.duration_since(status.at)));
    let explanation = html! {
        p {
            "strongroom has not looked at AWS since " (moment(status.at, now)) ". What stands below is of then, and may be wrong: "
            strong { "do not rely on it" } ". Look at the log of the daemon, and at " a href="/livez" { "/livez" } "."
        }
    };
    (Mood::Stale, headline, explanation)
}

fn of_source(status: &Status, source: &SourceStatus) -> (Mood, String, Markup) {
    let name = source.source.as_str();
    let (mood, headline) = match source.state {
        // It shares buckets, keys and the clock with all others, and what was not seen may be its.
        SourceState::Ok if super::attention::any_critical(status) => {
            (Mood::Critical, format!("{name} is well, and something that it shares is in trouble"))
        }
        SourceState::Ok if !status.unseen.is_empty() => (Mood::Warning, format!("{name} could not be seen in full")),
        SourceState::Ok => (Mood::Well, format!("{name} is well")),
        SourceState::Suspended => (Mood::Warning, format!("{name} is switched off")),
        SourceState::Warning => (Mood::Warning, format!("{name} needs a look")),
        SourceState::Critical => (Mood::Critical, format!("{name} is in trouble")),
    };
    let explanation = match source.can_restore {
        CanRestore::Yes => html! { p { "It can be restored in " (count(source.restorable.len(), "way", "ways")) "." } },
        CanRestore::No => html! { p { "There is nothing to restore it from." } },
        CanRestore::Unknown => html! { p { "Nothing to restore it from was seen; but not everything could be seen." } },
    };
    (mood, headline, explanation)
}

fn of_fleet(status: &Status) -> (Mood, String, Markup) {
    let all = status.sources.len();
    let in_state = |state| status.sources.iter().filter(|source| source.state == state).count();
    let (critical, warning) = (in_state(SourceState::Critical), in_state(SourceState::Warning));
    let lost = status.sources.iter().filter(|source| source.can_restore != CanRestore::Yes).count();
    let restorable = html! {
        p {
            @if lost == 0 { (if all == 1 { "The source can".to_owned() } else { format!("All {all} sources can") }) " be restored." }
            @else { strong { "For " (count(lost, "source", "sources")) " nothing to restore from was seen." } }
        }
    };
    if status.well {
        return (Mood::Well, "All is well".to_owned(), restorable);
    }
    let troubled = critical + warning;
    let headline = match (troubled, status.sources.as_slice()) {
        (0, _) => "Something needs a look".to_owned(),
        (_, [only]) => of_source(status, only).1,
        (_, _) => format!("{troubled} of {} {} a person", count(all, "source", "sources"), needs(troubled)),
    };
    let mood = if critical > 0 || super::attention::any_critical(status) { Mood::Critical } else { Mood::Warning };
    (mood, headline, restorable)
}

fn needs(number: usize) -> &'static str {
    if number == 1 { "needs" } else { "need" }
}

fn footer() -> Markup {
    html! {
        footer {
            p {
                "This page only reads. The same as JSON: " a href="/api/status" { "/api/status" } ". For machines: "
                a href="/metrics" { "/metrics" } ", " a href="/livez" { "/livez" } ", " a href="/readyz" { "/readyz" } "."
            }
        }
    }
}
