//! Who is told of what, and how often.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::domain::alert::{Alert, Severity};
use crate::domain::id::{RouteName, SourceId};

/// How alerts are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertPolicy {
    /// How long trouble has to hold, from the first look that finds it, before it is told.
    pub pending_for: SignedDuration,
    /// How often what holds still is told again; `None`: never.
    pub repeat_every: Option<SignedDuration>,
    /// Messages of one look to one route; when there would be more, they become one.
    pub storm_max: usize,
    /// Ways to people.
    pub routes: BTreeMap<RouteName, RoutePolicy>,
}

/// What goes one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePolicy {
    /// How bad it has to be.
    pub severities: BTreeSet<Severity>,
    /// The sources that it has to be about; `None`: any, and also what is about no single source.
    pub sources: Option<BTreeSet<SourceId>>,
    /// Whether its people are told again of what holds still. What reminds them by itself needs no reminder.
    pub repeats: bool,
}

impl RoutePolicy {
    /// Whether an alert goes this way.
    #[must_use]
    pub fn takes(&self, alert: &Alert) -> bool {
        let about = match (&self.sources, &alert.key.source) {
            (None, _) => true,
            (Some(sources), Some(source)) => sources.contains(source),
            (Some(_), None) => false,
        };
        about && self.severities.contains(&alert.severity)
    }
}

impl AlertPolicy {
    /// The names of all routes.
    #[must_use]
    pub fn route_names(&self) -> Vec<RouteName> {
        self.routes.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::alert::AlertKey;

    #[rstest]
    #[case::all_of_all(None, Some("accounts"), true)]
    #[case::all_of_the_whole(None, None, true)]
    #[case::its_source(Some("accounts"), Some("accounts"), true)]
    #[case::another_source(Some("accounts"), Some("cards"), false)]
    #[case::no_single_source(Some("accounts"), None, false)]
    fn a_route_takes_what_is_about_its_sources(
        #[case] sources: Option<&str>,
        #[case] source: Option<&str>,
        #[case] taken: bool,
    ) {
        let route = RoutePolicy {
            severities: [Severity::Critical].into(),
            sources: sources.map(|source| [source.parse().unwrap()].into()),
            repeats: true,
        };
        let source = source.map(|source| source.parse().unwrap());
        let mut alert = Alert {
            key: AlertKey { name: "overdue".to_owned(), source, detail: None, database: None },
            severity: Severity::Critical,
            what: Vec::new(),
            meaning: String::new(),
            action: String::new(),
        };
        assert_eq!(route.takes(&alert), taken);
        alert.severity = Severity::Warning;
        assert!(!route.takes(&alert));
    }
}
