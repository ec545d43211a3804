//! Alerts: what a person has to know now, and the messages that tell it.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{DatabaseName, InstallationId, RouteName, SourceId};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// A promise will be broken if nobody acts.
    Warning,
    /// A promise is broken.
    Critical,
}

impl Severity {
    /// All severities, the mildest first.
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

    /// The word for it in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// Which alert it is. Two looks that find the same trouble find the same key, in this process or another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AlertKey {
    /// What kind of trouble, such as `overdue` or `dump_bad`.
    pub name: String,
    /// The source; absent where it is about all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
    /// What else tells it from others of its name and source: the kind of backup, or the part that is not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The database, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseName>,
}

/// `overdue/accounts/dump/audit`: a database's name, which may hold a slash, comes last.
impl fmt::Display for AlertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(source) = &self.source {
            write!(f, "/{source}")?;
        }
        if let Some(detail) = &self.detail {
            write!(f, "/{detail}")?;
        }
        if let Some(database) = &self.database {
            write!(f, "/{database}")?;
        }
        Ok(())
    }
}

/// Something that a person has to know, with all that has to be said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Which it is.
    pub key: AlertKey,
    /// How bad it is.
    pub severity: Severity,
    /// What is the case. Several lines are several facts of one look: three dumps that are bad.
    pub what: Vec<String>,
    /// What that means.
    pub meaning: String,
    /// What to do, with the command to type.
    pub action: String,
}

impl Alert {
    /// One line for subjects and lists: `overdue of accounts: dump audit`.
    #[must_use]
    pub fn headline(&self) -> String {
        let AlertKey { name, source, detail, database } = &self.key;
        let of = source.as_ref().map_or_else(String::new, |source| format!(" of {source}"));
        let details = [detail.as_deref(), database.as_ref().map(DatabaseName::as_str)];
        let details: Vec<&str> = details.into_iter().flatten().collect();
        let colon = if details.is_empty() { "" } else { ": " };
        format!("{}{of}{colon}{}", name.replace('_', " "), details.join(" "))
    }
}

/// What a message says of its alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// They hold, and are told for the first time.
    Fired,
    /// They hold still, or have become worse.
    Repeated,
    /// They hold no more.
    Resolved,
    /// They hold still, said to a machine that forgets what it is not reminded of.
    Refreshed,
    /// Nothing is the matter: a person tries whether the message arrives.
    Test,
}

impl Event {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Fired => "fired",
            Event::Repeated => "repeated",
            Event::Resolved => "resolved",
            Event::Refreshed => "refreshed",
            Event::Test => "test",
        }
    }
}

/// One alert in a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// The alert.
    pub alert: Alert,
    /// Since when it has held.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// What ties its messages together on this route: an incident of PagerDuty, say. Alerts of one storm share one.
    pub thread: String,
    /// Of a resolved one: whether it is the last of its thread.
    #[serde(default)]
    pub thread_ends: bool,
}

/// What goes to a route in one piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Unique among the messages of an installation.
    pub id: String,
    /// The installation that says it.
    pub installation: InstallationId,
    /// What it says of its alerts.
    pub event: Event,
    /// When it was decided to say it.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The alerts: more than one where a storm was made one message.
    pub items: Vec<Item>,
}

impl Message {
    /// How bad the worst of it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.items.iter().map(|item| item.alert.severity).max().unwrap_or(Severity::Info)
    }

    /// A line that says all at a glance: `[CRITICAL] bank-prod: overdue of accounts: snapshot`.
    #[must_use]
    pub fn subject(&self) -> String {
        let word = match self.event {
            Event::Fired | Event::Refreshed => self.severity().as_str().to_uppercase(),
            Event::Repeated => format!("{}, STILL", self.severity().as_str().to_uppercase()),
            Event::Resolved => "RESOLVED".to_owned(),
            Event::Test => "TEST".to_owned(),
        };
        let what = match (self.event, self.items.as_slice()) {
            (Event::Test, _) => "a test message, nothing is the matter".to_owned(),
            (_, [only]) => only.alert.headline(),
            (_, items) => format!("{} alerts", items.len()),
        };
        format!("[{word}] strongroom {}: {what}", self.installation)
    }

    /// Everything, for people: what, since when, what it means, what to do.
    #[must_use]
    pub fn text(&self) -> String {
        if self.event == Event::Test {
            return format!(
                "This is a test of a route, sent by hand from strongroom {}. Nothing is the matter.\n",
                self.installation
            );
        }
        let several = self.items.len() > 1;
        self.items.iter().map(|item| self.item_text(item, several)).collect::<Vec<_>>().join("\n")
    }

    fn item_text(&self, item: &Item, with_headline: bool) -> String {
        let alert = &item.alert;
        let mut text = String::new();
        if with_headline {
            text.push_str(&format!("{}: {}\n", alert.severity.as_str().to_uppercase(), alert.headline()));
        }
        if self.event == Event::Resolved {
            text.push_str(&format!("This holds no more. It was, from {} to {}:\n", utc(item.since), utc(self.at)));
            text.extend(alert.what.iter().map(|line| format!("  {line}\n")));
            return text;
        }
        text.extend(alert.what.iter().map(|line| format!("{line}\n")));
        text.push_str(&format!("Since: {}\n", utc(item.since)));
        text.push_str(&format!("What it means: {}\n", alert.meaning));
        text.push_str(&format!("What to do: {}\n", alert.action));
        text
    }
}

/// To the minute: whoever is woken reads it once.
fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// What has been told of an alert on one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// The route.
    pub route: RouteName,
    /// What ties the messages together.
    pub thread: String,
    /// When it was last told, or laid ready to be.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// How bad it was said to be.
    pub severity: Severity,
    /// How many facts were told.
    pub facts: usize,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::at;

    fn alert(name: &str, source: Option<&str>, detail: Option<&str>, database: Option<&str>) -> Alert {
        Alert {
            key: AlertKey {
                name: name.to_owned(),
                source: source.map(|source| source.parse().unwrap()),
                detail: detail.map(str::to_owned),
                database: database.map(|database| database.parse().unwrap()),
            },
            severity: Severity::Critical,
            what: vec!["the snapshot of 2026-11-22 is missing".to_owned()],
            meaning: "there is no fresh backup".to_owned(),
            action: "run `strongroom status`".to_owned(),
        }
    }

    fn message(event: Event, alerts: Vec<Alert>) -> Message {
        let since = at("2026-11-22T15:00:00Z");
        let item = |alert: Alert| Item { thread: alert.key.to_string(), alert, since, thread_ends: true };
        Message {
            id: "1".to_owned(),
            installation: "bank-prod".parse().unwrap(),
            event,
            at: at("2026-11-23T12:00:30Z"),
            items: alerts.into_iter().map(item).collect(),
        }
    }

    #[rstest]
    #[case::of_all(alert("clock_skew", None, None, None), "clock_skew", "clock skew")]
    #[case::of_a_part(alert("unseen", None, Some("store"), None), "unseen/store", "unseen: store")]
    #[case::of_a_source(alert("dump_bad", Some("accounts"), None, None), "dump_bad/accounts", "dump bad of accounts")]
    #[case::of_a_database(
        alert("overdue", Some("accounts"), Some("dump"), Some("a/b")),
        "overdue/accounts/dump/a/b",
        "overdue of accounts: dump a/b"
    )]
    fn an_alert_has_one_name_for_machines_and_one_for_people(
        #[case] alert: Alert,
        #[case] key: &str,
        #[case] headline: &str,
    ) {
        assert_eq!((alert.key.to_string().as_str(), alert.headline().as_str()), (key, headline));
    }

    #[test]
    fn a_message_says_what_since_when_what_it_means_and_what_to_type() {
        let fired = message(Event::Fired, vec![alert("overdue", Some("accounts"), Some("snapshot"), None)]);
        insta::assert_snapshot!(format!("{}\n\n{}", fired.subject(), fired.text()), @r"
        [CRITICAL] strongroom bank-prod: overdue of accounts: snapshot

        the snapshot of 2026-11-22 is missing
        Since: 2026-11-22 15:00 UTC
        What it means: there is no fresh backup
        What to do: run `strongroom status`
        ");
    }

    #[test]
    fn a_storm_lists_each_alert_and_a_resolved_message_says_what_it_was_and_how_long() {
        let two =
            vec![alert("overdue", Some("accounts"), Some("snapshot"), None), alert("clock_skew", None, None, None)];
        let resolved = message(Event::Resolved, two);
        insta::assert_snapshot!(format!("{}\n\n{}", resolved.subject(), resolved.text()), @r"
        [RESOLVED] strongroom bank-prod: 2 alerts

        CRITICAL: overdue of accounts: snapshot
        This holds no more. It was, from 2026-11-22 15:00 UTC to 2026-11-23 12:00 UTC:
          the snapshot of 2026-11-22 is missing

        CRITICAL: clock skew
        This holds no more. It was, from 2026-11-22 15:00 UTC to 2026-11-23 12:00 UTC:
          the snapshot of 2026-11-22 is missing
        ");
    }

    #[test]
    fn a_test_message_cannot_be_taken_for_trouble() {
        let test = message(Event::Test, Vec::new());
        assert!(test.subject().starts_with("[TEST]"), "{}", test.subject());
        assert!(test.text().contains("Nothing is the matter"), "{}", test.text());
    }
}
