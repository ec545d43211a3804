//! What is wrong with a configuration, and where: all of it at once, each problem with its place, its key and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use super::nearest::nearest;
use super::schema::quoted;

/// Advice where no mistake in a file can be the cause.
pub(super) const FAULT: &str = "this is a fault in strongroom: please report it";

/// Where a part of the configuration was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In no file: there is none, or it cannot be read.
    Nowhere,
    /// In a file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In an environment variable of this name.
    Variable(String),
}

/// One thing that is wrong, or cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// Path of the key, such as `policies.critical.dump.schedule`; empty when it is not about one.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// The line in question with a mark below it, for syntax errors.
    pub excerpt: Option<String>,
}

impl ConfigError {
    /// What is wrong with which key, and what to do about it: everything but the place.
    #[must_use]
    pub fn message(&self) -> String {
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        let advice = self.advice.as_ref().map_or_else(String::new, |advice| format!("; {advice}"));
        format!("{key}{}{advice}", self.problem)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Nowhere => {}
            Place::File { path, line, column } => write!(f, "{}:{line}:{column}: ", path.display())?,
            Place::Variable(name) => write!(f, "{name}: ")?,
        }
        f.write_str(&self.message())?;
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{excerpt}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, in the order of the files. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Each problem.
    #[must_use]
    pub fn problems(&self) -> &[ConfigError] {
        &self.0
    }

    /// Where it is wrong, without what stands there: for those who may not see what is written in a configuration.
    #[must_use]
    pub fn places(&self) -> String {
        const SHOWN: usize = 3;
        let shown = self.0.iter().take(SHOWN).map(|error| match (&error.place, error.key.as_str()) {
            (Place::Nowhere, "") => "a file that cannot be read, or none".to_owned(),
            (Place::Nowhere, key) => key.to_owned(),
            (Place::File { path, line, .. }, "") => format!("{}:{line}", path.display()),
            (Place::File { path, line, .. }, key) => format!("{}:{line}: {key}", path.display()),
            (Place::Variable(name), _) => name.clone(),
        });
        let more = self.0.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        format!("{}{more}", shown.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for ConfigErrors {
    /// One problem per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Something that deserves attention and is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where that key, or the table that it should have been in, was written.
    pub place: Place,
    /// Path of the key that it is about; empty when it is not about one.
    pub key: String,
    /// What to know.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() { f.write_str(&self.text) } else { write!(f, "{}: {}", self.key, self.text) }
    }
}

/// Problems and notes as they are found, with the places of all keys.
#[derive(Debug, Default)]
pub(super) struct Diagnosis {
    places: BTreeMap<String, Place>,
    first_file: Option<PathBuf>,
    doubted: BTreeSet<String>,
    errors: Vec<ConfigError>,
    notes: Vec<Note>,
}

impl Diagnosis {
    /// Remembers the first file: what stands nowhere should have stood there.
    pub(super) fn begin_file(&mut self, path: &std::path::Path) {
        self.first_file.get_or_insert_with(|| path.to_owned());
    }

    /// Remembers where a value was written; the last place holds, as the last value does.
    pub(super) fn value_is_at(&mut self, key: &str, place: Place) {
        self.places.insert(key.to_owned(), place);
    }

    /// Remembers where a table begins; the first place holds, as tables are merged.
    pub(super) fn table_is_at(&mut self, key: &str, place: Place) {
        self.places.entry(key.to_owned()).or_insert(place);
    }

    /// The place of a key, or of the table that it should have been in.
    fn place_of(&self, key: &str) -> Place {
        let mut key = key;
        loop {
            if let Some(place) = self.places.get(key) {
                return place.clone();
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = key.get(..end).unwrap_or_default(),
                None => break,
            }
        }
        match &self.first_file {
            Some(path) => Place::File { path: path.clone(), line: 1, column: 1 },
            None => Place::Nowhere,
        }
    }

    /// Reports a problem of a key at the place where it was written.
    pub(super) fn report(&mut self, key: &str, problem: impl Into<String>, advice: impl Into<String>) {
        let place = self.place_of(key);
        self.report_at(place, key, problem, advice);
    }

    /// Reports a problem at a place.
    pub(super) fn report_at(&mut self, place: Place, key: &str, problem: impl Into<String>, advice: impl Into<String>) {
        let advice = Some(advice.into()).filter(|advice| !advice.is_empty());
        let error = ConfigError { place, key: key.to_owned(), problem: problem.into(), advice, excerpt: None };
        self.push(error);
    }

    /// Adds a finished error.
    pub(super) fn push(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    /// Adds a note about a key.
    pub(super) fn note(&mut self, key: &str, text: impl Into<String>) {
        let place = self.place_of(key);
        self.note_at(place, key, text);
    }

    /// Adds a note about what stands elsewhere than the key that was meant.
    pub(super) fn note_at(&mut self, place: Place, key: &str, text: impl Into<String>) {
        self.notes.push(Note { place, key: key.to_owned(), text: text.into() });
    }

    /// Marks a key whose value was refused, so that nothing is said about its absence.
    pub(super) fn doubt(&mut self, key: &str) {
        self.doubted.insert(key.to_owned());
    }

    /// Whether a key, or something in it, was refused.
    pub(super) fn doubts(&self, key: &str) -> bool {
        let within = |doubted: &String| {
            doubted.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.doubted.iter().any(within)
    }

    /// Whether a key itself was refused, not only something in it.
    pub(super) fn refused(&self, key: &str) -> bool {
        self.doubted.contains(key)
    }

    /// The value of a key that must be there.
    pub(super) fn required<'a, T>(&mut self, key: &str, value: Option<&'a T>, advice: &str) -> Option<&'a T> {
        if value.is_none() && !self.doubts(key) {
            self.report(key, "missing", advice);
        }
        value
    }

    /// A value that was parsed; reports why it was not.
    pub(super) fn parsed<T, E: fmt::Display>(&mut self, key: &str, parsed: Result<T, E>, advice: &str) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                // Some parsers end their messages with a full stop, which does not suit the advice after it.
                self.report(key, error.to_string().trim_end_matches('.'), advice);
                None
            }
        }
    }

    /// Reports that a name stands for nothing, with the names that there are.
    pub(super) fn report_unknown_name<'a>(
        &mut self,
        key: &str,
        (what, table): (&str, &str),
        name: &str,
        known: impl Iterator<Item = &'a String> + Clone,
    ) {
        let advice = match nearest(name, known.clone().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.clone().next().is_none() => format!("add `[{}]`", join(table, name)),
            None => format!("known are {}", quoted(&known.collect::<Vec<_>>())),
        };
        self.report(key, format!("there is no {what} `{name}`"), advice);
    }

    /// Whether something is wrong.
    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The errors, sorted by place.
    pub(super) fn into_errors(mut self) -> ConfigErrors {
        self.errors.sort_by(|a, b| a.place.cmp(&b.place));
        ConfigErrors(self.errors)
    }

    /// The value, if nothing is wrong, with the notes.
    pub(super) fn conclude<T>(mut self, value: Option<T>) -> Result<(T, Vec<Note>), ConfigErrors> {
        match value {
            Some(value) if self.errors.is_empty() => Ok((value, self.notes)),
            Some(_) | None => {
                if self.errors.is_empty() {
                    self.report("", "the configuration cannot be used", FAULT);
                }
                Err(self.into_errors())
            }
        }
    }
}

/// The path of a key in a table; names that TOML would quote are quoted.
pub(super) fn join(table: &str, key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
    if table.is_empty() { key } else { format!("{table}.{key}") }
}
