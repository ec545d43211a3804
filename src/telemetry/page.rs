//! The status page: what a person sees in five seconds, and everything below it for whoever wants to know more.
//!
//! It is the status document as HTML and nothing else, made anew for each request by a template that escapes whatever it is
//! given. It works without its script, which only brings it up to date. Nothing on it looks well once the document is old:
//! a page that nobody renews is told from one that is true.
//!
//! It stays small for any fleet: a few sources are shown in full; of many, those that need a person first, and the others in
//! one row each, whose link leads to a page of its own.

mod attention;
mod drills;
mod fleet;
mod frame;
mod marks;
mod source;
mod timeline;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::plan::status::Status;
use crate::telemetry::health::Missing;
use crate::telemetry::words;
use frame::{Frame, Mood};

/// A file that the page is made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    pub(super) path: &'static str,
    pub(super) media_type: &'static str,
    pub(super) text: &'static str,
}

/// All of them. Nothing comes from anywhere else.
pub(super) const FILES: [File; 4] = [
    File { path: "/page.css", media_type: "text/css; charset=utf-8", text: include_str!("page/page.css") },
    File { path: "/page.js", media_type: "text/javascript; charset=utf-8", text: include_str!("page/page.js") },
    File { path: "/well.svg", media_type: "image/svg+xml", text: include_str!("page/well.svg") },
    File { path: "/unwell.svg", media_type: "image/svg+xml", text: include_str!("page/unwell.svg") },
];

/// The whole fleet.
#[must_use]
pub fn fleet(status: &Status, now: Timestamp) -> String {
    let content = html! {
        (attention::section(status, None))
        (fleet::summary(status, now))
        (fleet::running(status, now))
        (fleet::sources(status, now))
        (fleet::upcoming(status, now))
    };
    Frame::of(status, None, now).render(&content)
}

/// One source; `None` where there is none of that name.
#[must_use]
pub fn source(status: &Status, name: &str, now: Timestamp) -> Option<String> {
    let own = status.sources.iter().find(|source| source.source.as_str() == name)?;
    let content = html! {
        (attention::section(status, Some(&own.source)))
        section aria-labelledby="sources" {
            h2 #sources { "Source" }
            (source::card(own, now))
        }
    };
    Some(Frame::of(status, Some(own), now).render(&content))
}

/// What is shown where a source was, or never has been.
#[must_use]
pub fn no_such_source(status: &Status, now: Timestamp) -> String {
    let frame = Frame {
        mood: Mood::Unknown,
        headline: "There is no such source".to_owned(),
        explanation: html! { p { "Perhaps it was renamed in the configuration. " a href="/" { "All sources" } } },
        installation: Some(status.installation.as_str()),
        looked_at: Some((status.at, now)),
        stands_by: status.stands_by,
        is_one_source: true,
    };
    frame.render(&html! {})
}

/// What is shown before the first look at AWS has ended.
#[must_use]
pub fn not_seen_yet(missing: &[Missing], now: Timestamp) -> String {
    let frame = Frame {
        mood: Mood::Unknown,
        headline: "Nothing has been seen yet".to_owned(),
        explanation: html! {
            p {
                "strongroom has started and is taking its first look at AWS. Until that has ended nobody knows how the backups \
                 stand. If it takes longer than a few minutes, look at the log."
            }
            @if !missing.is_empty() {
                ul { @for what in missing { li { "Waiting for " (what) "." } } }
            }
        },
        installation: None,
        looked_at: None,
        stands_by: false,
        is_one_source: false,
    };
    let content = html! { p .quiet { "Asked at " (exact(now)) "." } };
    frame.render(&content)
}

/// A moment in UTC, and how far away that is.
fn moment(at: Timestamp, now: Timestamp) -> Markup {
    html! { (exact(at)) " " span .ago { "(" (words::relative(at, now)) ")" } }
}

/// A moment in UTC to the minute; to the second for machines.
fn exact(at: Timestamp) -> Markup {
    html! { time datetime=(words::exactly(at)) { (words::utc(at)) } }
}

/// How far away a moment is, where there is room for no more; the moment itself is in its title.
fn ago(at: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(words::exactly(at)) title=(words::utc(at)) { (words::relative(at, now)) } }
}

/// One thing, or so many of them.
fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

#[cfg(test)]
mod tests;
