//! The forms in which `check` says what it has found: words for people, GitHub's workflow commands, one JSON document.
//!
//! It only writes them; what is a problem and what is a finding is decided elsewhere.

use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;

use crate::config::{ConfigError, Note, Place};

/// Whom `check` speaks to: people, GitHub's workflows, or programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Github,
    Json,
}

/// What people read in the end where nothing is to be said.
const GOOD: &str = "\nThe configuration is good.\n";
/// What GitHub writes above each annotation: another step of the workflow may have some, too.
const TITLE: &str = "strongroom check";

/// Findings for people.
pub(super) fn in_words(findings: &[Note]) -> String {
    if findings.is_empty() {
        return GOOD.to_owned();
    }
    let lines: String = findings.iter().map(|finding| format!("  {finding}\n")).collect();
    format!("\n{} finding(s):\n{lines}", findings.len())
}

/// Findings as workflow commands; where there are none, people read that in the log.
pub(super) fn warnings(findings: &[Note]) -> String {
    if findings.is_empty() {
        return GOOD.to_owned();
    }
    findings.iter().map(|finding| annotation("warning", &finding.place, &finding.to_string())).collect()
}

/// Problems as workflow commands.
pub(super) fn errors(problems: &[ConfigError]) -> String {
    problems.iter().map(|problem| annotation("error", &problem.place, &problem.message())).collect()
}

/// A workflow command that becomes an annotation at a line of a file, where there is one.
fn annotation(command: &str, place: &Place, message: &str) -> String {
    let title = property(TITLE);
    match place {
        Place::File { path, line, column } => {
            let file = property(&from_here(path));
            format!("::{command} file={file},line={line},col={column},title={title}::{}\n", data(message))
        }
        Place::Variable(name) => format!("::{command} title={title}::{}\n", data(&format!("{name}: {message}"))),
        Place::Nowhere => format!("::{command} title={title}::{}\n", data(message)),
    }
}

/// The message of a workflow command, which ends with its line.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command, which a comma or two colons would end.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The path as git has it: GitHub knows no `./config`.
fn from_here(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

/// Everything that was found, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    problems: Vec<Problem<'a>>,
    findings: Vec<Finding<'a>>,
}

impl<'a> Document<'a> {
    /// The document of these problems and findings.
    pub(super) fn of(problems: &'a [ConfigError], findings: &'a [Note]) -> Document<'a> {
        Document {
            problems: problems.iter().map(Problem::of).collect(),
            findings: findings.iter().map(Finding::of).collect(),
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    #[serde(flatten)]
    spot: Spot<'a>,
    key: Option<&'a str>,
    problem: &'a str,
    advice: Option<&'a str>,
}

impl<'a> Problem<'a> {
    fn of(error: &'a ConfigError) -> Problem<'a> {
        Problem {
            spot: Spot::of(&error.place),
            key: unless_empty(&error.key),
            problem: &error.problem,
            advice: error.advice.as_deref(),
        }
    }
}

/// Something that deserves attention.
#[derive(Debug, Serialize)]
struct Finding<'a> {
    #[serde(flatten)]
    spot: Spot<'a>,
    key: Option<&'a str>,
    finding: &'a str,
}

impl<'a> Finding<'a> {
    fn of(note: &'a Note) -> Finding<'a> {
        Finding { spot: Spot::of(&note.place), key: unless_empty(&note.key), finding: &note.text }
    }
}

/// A place with all its fields, of which those that do not apply are null: programs need not ask whether one is there.
#[derive(Debug, Default, Serialize)]
struct Spot<'a> {
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    variable: Option<&'a str>,
}

impl<'a> Spot<'a> {
    fn of(place: &'a Place) -> Spot<'a> {
        match place {
            Place::File { path, line, column } => {
                Spot { file: Some(from_here(path)), line: Some(*line), column: Some(*column), variable: None }
            }
            Place::Variable(name) => Spot { variable: Some(name), ..Spot::default() },
            Place::Nowhere => Spot::default(),
        }
    }
}

fn unless_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_file(path: &str, line: usize, column: usize) -> Place {
        Place::File { path: path.into(), line, column }
    }

    /// One problem of each kind of place, with all that has to be escaped.
    fn problems() -> Vec<ConfigError> {
        let problem = |place, key: &str, problem: &str, advice: Option<&str>| ConfigError {
            place,
            key: key.to_owned(),
            problem: problem.to_owned(),
            advice: advice.map(str::to_owned),
            excerpt: Some("    bucket = \"\n             ^".to_owned()),
        };
        vec![
            problem(
                in_file("./base/10: a,b.toml", 4, 10),
                "sources.accounts.policy",
                "there is no policy `100%\r\n::error::x`",
                Some("did you mean `critical`?"),
            ),
            problem(Place::Variable("STRONGROOM__DEAMON__GRACE".to_owned()), "", "no key takes this variable", None),
            problem(Place::Nowhere, "", "no configuration is given", Some("name a file or directory with `--config`")),
        ]
    }

    fn findings() -> Vec<Note> {
        let note = |place, key: &str, text: &str| Note { place, key: key.to_owned(), text: text.to_owned() };
        vec![
            note(
                in_file("fleet.toml", 21, 10),
                "daemon.listen",
                "whoever reaches 0.0.0.0:9187 may read the status page",
            ),
            note(Place::Nowhere, "", "snapshots: access denied"),
        ]
    }

    #[test]
    fn github_reads_one_command_for_each_problem_whatever_its_text_is() {
        insta::assert_snapshot!(errors(&problems()), @r"
        ::error file=base/10%3A a%2Cb.toml,line=4,col=10,title=strongroom check::sources.accounts.policy: there is no policy `100%25%0D%0A::error::x`; did you mean `critical`?
        ::error title=strongroom check::STRONGROOM__DEAMON__GRACE: no key takes this variable
        ::error title=strongroom check::no configuration is given; name a file or directory with `--config`
        ");
    }

    #[test]
    fn github_reads_findings_as_warnings() {
        insta::assert_snapshot!(warnings(&findings()), @r"
        ::warning file=fleet.toml,line=21,col=10,title=strongroom check::daemon.listen: whoever reaches 0.0.0.0:9187 may read the status page
        ::warning title=strongroom check::snapshots: access denied
        ");
        assert_eq!(warnings(&[]), GOOD);
    }

    #[test]
    fn people_read_findings_as_a_list() {
        insta::assert_snapshot!(in_words(&findings()).trim_start(), @r"
        2 finding(s):
          daemon.listen: whoever reaches 0.0.0.0:9187 may read the status page
          snapshots: access denied
        ");
        assert_eq!(in_words(&[]), GOOD);
    }

    #[test]
    fn programs_read_one_document_with_all_fields() {
        let document = serde_json::to_string_pretty(&Document::of(&problems()[..2], &findings()[1..])).unwrap();
        insta::assert_snapshot!(document, @r#"
        {
          "problems": [
            {
              "file": "base/10: a,b.toml",
              "line": 4,
              "column": 10,
              "variable": null,
              "key": "sources.accounts.policy",
              "problem": "there is no policy `100%\r\n::error::x`",
              "advice": "did you mean `critical`?"
            },
            {
              "file": null,
              "line": null,
              "column": null,
              "variable": "STRONGROOM__DEAMON__GRACE",
              "key": null,
              "problem": "no key takes this variable",
              "advice": null
            }
          ],
          "findings": [
            {
              "file": null,
              "line": null,
              "column": null,
              "variable": null,
              "key": null,
              "finding": "snapshots: access denied"
            }
          ]
        }
        "#);
        let nothing = serde_json::to_string(&Document::of(&[], &[])).unwrap();
        assert_eq!(nothing, r#"{"problems":[],"findings":[]}"#);
    }
}
