//! One file: its text is checked against the [`Shape`] while lines are still known.
//!
//! What is wrong is reported and left out, so that everything else can be checked too.

use std::ops::Range;
use std::path::Path;

use config::{Map, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::diagnosis::{ConfigError, Diagnosis, Place, join};
use super::nearest::nearest;
use super::schema::{Shape, quoted};

/// Most places that are named for a key that stands in the wrong one.
const PLACES_MAX: usize = 3;
/// How templates of other programs begin what they replace; nobody here replaces it.
const PLACEHOLDER: &str = "${";

/// Whether a text is in a language of its own, in which `${` may stand: SQL, or what a webhook is posted.
fn is_language(path: &str) -> bool {
    [".sql", ".template"].iter().any(|end| path.ends_with(end))
}
/// Words that make a line unfit to be shown, and a key unfit to be here.
const SECRETIVE: [&str; 4] = ["password", "credential", "secret", "token"];

/// What a file holds, as far as it is right; `None` if it is not TOML.
pub(super) fn read(path: &Path, text: &str, shape: &Shape, diagnosis: &mut Diagnosis) -> Option<Map<String, Value>> {
    diagnosis.begin_file(path);
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { path, text, root: shape, diagnosis };
    if !syntax_errors.is_empty() {
        // What the parser makes of the rest is guesswork; to complain about that would only confuse.
        reader.report_syntax(&syntax_errors);
        return None;
    }
    match shape {
        Shape::Table(keys) => Some(reader.table(document.get_ref(), keys, "")),
        Shape::Names(_) | Shape::List(_) | Shape::Text | Shape::Word(_) | Shape::Integer { .. } | Shape::Boolean => {
            None
        }
    }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    root: &'a Shape,
    diagnosis: &'a mut Diagnosis,
}

type Keys = std::collections::BTreeMap<String, Shape>;

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, keys: &Keys, path: &str) -> Map<String, Value> {
        let mut read = Map::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let path = join(path, name);
            match keys.get(name) {
                None => self.report_unknown(key, keys, &path),
                Some(shape) => {
                    if let Some(value) = self.entry(&key.span(), value, shape, &path) {
                        read.insert(name.to_owned(), value);
                    }
                }
            }
        }
        read
    }

    fn names(&mut self, table: &DeTable<'_>, shape: &Shape, path: &str) -> Map<String, Value> {
        let mut read = Map::new();
        for (key, value) in table {
            let path = join(path, key.get_ref());
            if let Some(value) = self.entry(&key.span(), value, shape, &path) {
                read.insert(key.get_ref().to_string(), value);
            }
        }
        read
    }

    fn entry(&mut self, key: &Range<usize>, value: &Spanned<DeValue<'_>>, shape: &Shape, path: &str) -> Option<Value> {
        match shape {
            Shape::Table(_) | Shape::Names(_) => {
                let place = self.place(key.start);
                self.diagnosis.table_is_at(path, place);
            }
            Shape::List(_) | Shape::Text | Shape::Word(_) | Shape::Integer { .. } | Shape::Boolean => {
                let place = self.place(value.span().start);
                self.diagnosis.value_is_at(path, place);
            }
        }
        self.value(value, shape, path)
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, shape: &Shape, path: &str) -> Option<Value> {
        let kind = match (value.get_ref(), shape) {
            (DeValue::Table(table), Shape::Table(keys)) => ValueKind::Table(self.table(table, keys, path)),
            (DeValue::Table(table), Shape::Names(shape)) => ValueKind::Table(self.names(table, shape, path)),
            (DeValue::Array(items), Shape::List(shape)) => {
                let mut read = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    read.extend(self.entry(&item.span(), item, shape, &path));
                }
                ValueKind::Array(read)
            }
            (DeValue::String(text), Shape::Text) if text.contains(PLACEHOLDER) && !is_language(path) => {
                let problem = "nothing is put in place of `${…}` here".to_owned();
                let advice =
                    "write the value; or leave the key out, and set it by its variable, `STRONGROOM__SECTION__KEY`";
                self.refuse(value, path, problem, advice);
                return None;
            }
            (DeValue::String(text), Shape::Text) => ValueKind::String(text.to_string()),
            (DeValue::String(text), Shape::Word(words)) => {
                if !words.iter().any(|word| word == text.as_ref()) {
                    self.refuse(
                        value,
                        path,
                        format!("`{text}` is not {}", shape.expected()),
                        &did_you_mean(text, words),
                    );
                    return None;
                }
                ValueKind::String(text.to_string())
            }
            (DeValue::Integer(number), Shape::Integer { min, max }) => match integer(number) {
                Some(number) if (*min..=*max).contains(&number) => ValueKind::I64(number),
                Some(_) | None => {
                    self.refuse(
                        value,
                        path,
                        format!("{number} is out of range"),
                        &format!("write {}", shape.expected()),
                    );
                    return None;
                }
            },
            (DeValue::Boolean(value), Shape::Boolean) => ValueKind::Boolean(*value),
            (found, shape) => {
                let problem = format!("expected {}, found {}", shape.expected(), found_type(found));
                self.refuse(value, path, problem, &type_advice(found, shape));
                return None;
            }
        };
        // No origin: `config` would only repeat it in messages that nobody sees.
        Some(Value::new(None, kind))
    }

    fn refuse(&mut self, value: &Spanned<DeValue<'_>>, path: &str, problem: String, advice: &str) {
        let place = self.place(value.span().start);
        self.diagnosis.doubt(path);
        self.diagnosis.report_at(place, path, problem, advice);
    }

    fn report_unknown(&mut self, key: &Spanned<toml::de::DeString<'_>>, keys: &Keys, path: &str) {
        let name = key.get_ref().as_ref();
        self.diagnosis.doubt(path);
        let near = nearest(name, keys.keys().map(String::as_str)).or_else(|| plural(name, keys));
        if let Some(near) = near {
            let table = path.strip_suffix(&join("", name)).unwrap_or_default().trim_end_matches('.');
            self.diagnosis.doubt(&join(table, near));
        }
        let elsewhere = self.root.places_of(name);
        let advice = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if name.to_lowercase().contains("access_key") => {
                "AWS credentials come from where AWS's own tools look for them, never from here".to_owned()
            }
            None if is_secretive(name) => {
                "no secret is ever written here: name where it is kept, with `secret`, `password_file` or `password_env`"
                    .to_owned()
            }
            None if (1..=PLACES_MAX).contains(&elsewhere.len()) => {
                format!("it belongs in {}", quoted(&elsewhere).replace(", ", " or "))
            }
            None => format!("the keys here are {}", quoted(&keys.keys().collect::<Vec<_>>())),
        };
        let place = self.place(key.span().start);
        self.diagnosis.report_at(place, path, "unknown key", advice);
    }

    fn report_syntax(&mut self, errors: &[toml::de::Error]) {
        let mut last_line = 0;
        for error in errors {
            let start = error.span().map_or(0, |span| span.start);
            let (line, column) = self.line_and_column(start);
            // One slip makes the parser stumble several times in its line.
            if line == last_line {
                continue;
            }
            last_line = line;
            let excerpt = self.excerpt(line, column);
            let place = Place::File { path: self.path.to_owned(), line, column };
            let problem = format!("not TOML: {}", error.message());
            let content = self.text.lines().nth(line - 1).unwrap_or_default();
            let hidden = excerpt.is_none().then_some("the line is not shown, as it may hold a secret");
            let advice: Vec<&str> = syntax_advice(error.message(), content).into_iter().chain(hidden).collect();
            let advice = Some(advice.join("; ")).filter(|advice| !advice.is_empty());
            self.diagnosis.push(ConfigError { place, key: String::new(), problem, advice, excerpt });
        }
    }

    /// The line and a mark under the column, unless a secret may be in it.
    fn excerpt(&self, line: usize, column: usize) -> Option<String> {
        let content = self.text.lines().nth(line - 1).filter(|content| !is_secretive(content))?;
        let indent = " ".repeat(column - 1);
        Some(format!("    {content}\n    {indent}^"))
    }

    fn place(&self, offset: usize) -> Place {
        let (line, column) = self.line_and_column(offset);
        Place::File { path: self.path.to_owned(), line, column }
    }

    fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before.get(line_start..).unwrap_or_default().chars().count() + 1)
    }
}

/// A suggestion for a misspelt word, or nothing where the message already lists the words.
pub(super) fn did_you_mean(word: &str, words: &[String]) -> String {
    nearest(word, words.iter().map(String::as_str)).map_or_else(String::new, |near| format!("did you mean `{near}`?"))
}

/// The key that is the plural of a word, which is too far from it for a slip.
fn plural<'a>(word: &str, keys: &'a Keys) -> Option<&'a str> {
    let stem = word.strip_suffix('y')?;
    keys.keys().map(String::as_str).find(|key| key.strip_suffix("ies") == Some(stem))
}

/// What to do about a line that is no TOML, where the parser's own words do not say it. Nothing of the line is repeated.
fn syntax_advice(message: &str, line: &str) -> Option<&'static str> {
    let line = line.trim();
    let is_list = line.starts_with("- ");
    let colon = line.find(':').filter(|colon| line.find(['=', '"', '#']).is_none_or(|other| *colon < other));
    let text = line.trim_start_matches('"');
    if message.contains("duplicate key") {
        Some("it stands above already: write each key and each table header once")
    } else if line.contains(['“', '”', '„', '‘', '’']) {
        Some("write straight quotes, as in `key = \"value\"`")
    } else if line.starts_with("//") || line.starts_with("--") {
        Some("comments begin with `#`")
    } else if line.starts_with(['{', '}']) || (line.starts_with('"') && text.contains("\":")) {
        Some("this looks like JSON; write `[table]` and `key = \"value\"`")
    } else if is_list || colon.is_some() {
        Some("this looks like YAML; write `[table]` and `key = \"value\"`")
    } else if message.contains("invalid boolean") {
        Some("write true or false, in small letters")
    } else if message.contains("string values must be quoted") {
        Some("write it in quotes")
    } else if message.contains("expected `=`") {
        Some("write `key = value`, or `#` before what is a comment")
    } else {
        None
    }
}

fn is_secretive(text: &str) -> bool {
    let text = text.to_lowercase();
    SECRETIVE.iter().any(|word| text.contains(word))
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn found_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn type_advice(found: &DeValue<'_>, shape: &Shape) -> String {
    let advice = match (found, shape) {
        (_, Shape::Table(keys)) => {
            let keys = quoted(&keys.keys().collect::<Vec<_>>());
            return format!("write a table, `{{ key = … }}`; its keys are {keys}");
        }
        (DeValue::Array(_), Shape::Names(_)) => "write a header for each, with its name, in one pair of brackets",
        (DeValue::String(_), Shape::Integer { .. } | Shape::Boolean) => "write it without quotes",
        (DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Boolean(_), Shape::Text) => {
            "write it in quotes"
        }
        (DeValue::String(_), Shape::List(_)) => "put it in brackets",
        (DeValue::Table(_), Shape::List(_)) => "put it in brackets, or its header in two",
        _ => "",
    };
    advice.to_owned()
}
