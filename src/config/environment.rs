//! Environment variables: `STRONGROOM__DAEMON__LISTEN=0.0.0.0:9187` sets `daemon.listen`.
//!
//! The only module of the crate that reads the environment. Everything below takes an [`Environment`], so tests pass
//! literal ones. No message of this module repeats a value: a variable with a wrong name may hold a secret.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use config::{Map, Value, ValueKind};
use serde_json::Value as Json;

use super::diagnosis::{Diagnosis, Place, join};
use super::layers::Layer;
use super::nearest::nearest;
use super::schema::Shape;

/// Variables whose names begin so belong to us.
const PREFIX: &str = "STRONGROOM__";
/// Variables whose names begin so may be anyone's: Kubernetes makes `STRONGROOM_PORT` for a service of our name.
const SHORT_PREFIX: &str = "STRONGROOM_";

/// Where the service manager that has started this process wants to hear from it, if one has (`sd_notify(3)`).
#[must_use]
pub fn notify_socket() -> Option<OsString> {
    std::env::vars_os().find_map(|(name, value)| (name == "NOTIFY_SOCKET").then_some(value))
}

/// The variables of a process. `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process. Those that are not UTF-8 count as not set.
    #[must_use]
    pub fn from_process() -> Environment {
        // Not `vars`: it panics on what is not UTF-8.
        let variables = std::env::vars_os();
        variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
    }

    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The values that our variables set, as a layer over what the files say.
    pub(super) fn overlay(&self, shape: &Shape, files: &Json, diagnosis: &mut Diagnosis) -> Layer {
        let mut layer = Map::new();
        for (name, text) in &self.0 {
            // Compared without case, because a variable of ours in lower case must not be silently ignored.
            let (prefix, rest) = name.split_at_checked(PREFIX.len()).unwrap_or_default();
            if !prefix.eq_ignore_ascii_case(PREFIX) {
                note_short_prefix(name, shape, diagnosis);
                continue;
            }
            let set = resolve(rest, shape, files).and_then(|target| Ok((coerce(text, target.shape)?, target)));
            match set {
                Ok((value, target)) => {
                    let key = target.keys.iter().fold(String::new(), |path, key| join(&path, key));
                    diagnosis.value_is_at(&key, Place::Variable(name.clone()));
                    insert(&mut layer, &target.keys, value);
                }
                Err(Refusal { problem, advice }) => {
                    diagnosis.report_at(Place::Variable(name.clone()), "", problem, advice);
                }
            }
        }
        Layer(layer)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Environment(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Notes a variable that would set a key if it had all its underscores.
fn note_short_prefix(name: &str, shape: &Shape, diagnosis: &mut Diagnosis) {
    let Some(rest) = name.strip_prefix(SHORT_PREFIX) else { return };
    for keys in shape.fixed_keys() {
        let parts: Vec<String> = keys.iter().map(|key| variable_form(key)).collect();
        if parts.join("_") == rest {
            let text = format!("`{name}` is not read; did you mean `{PREFIX}{}`?", parts.join("__"));
            diagnosis.note_at(Place::Variable(name.to_owned()), &keys.join("."), text);
        }
    }
}

/// Why a variable sets nothing.
struct Refusal {
    problem: String,
    advice: String,
}

impl Refusal {
    fn new(problem: impl Into<String>, advice: impl Into<String>) -> Refusal {
        Refusal { problem: problem.into(), advice: advice.into() }
    }
}

/// The key that a variable sets.
struct Target<'a> {
    keys: Vec<String>,
    shape: &'a Shape,
}

/// Follows the parts of a variable's name through the shape; names of sources and the like must be in the files.
fn resolve<'a>(name: &str, root: &'a Shape, files: &Json) -> Result<Target<'a>, Refusal> {
    let parts: Vec<&str> = name.split("__").collect();
    let mut target = Target { keys: Vec::new(), shape: root };
    let mut tree = Some(files);
    for (index, part) in parts.iter().enumerate() {
        let known: Vec<&String> = match target.shape {
            Shape::Table(keys) => keys.keys().collect(),
            Shape::Names(_) => tree.and_then(Json::as_object).into_iter().flat_map(|names| names.keys()).collect(),
            Shape::List(_) => return Err(list_refusal()),
            Shape::Text | Shape::Word(_) | Shape::Integer { .. } | Shape::Boolean => {
                let advice = format!("`{}` takes {}", target.keys.join("."), target.shape.expected());
                return Err(Refusal::new("no key takes this variable", advice));
            }
        };
        let Some(key) = known.iter().find(|key| variable_form(key) == variable_form(part)) else {
            return Err(unknown_part(&parts, index, &known, &target));
        };
        target.shape = match target.shape {
            Shape::Table(keys) => keys.get(*key).unwrap_or(target.shape),
            Shape::Names(shape) | Shape::List(shape) => shape,
            Shape::Text | Shape::Word(_) | Shape::Integer { .. } | Shape::Boolean => target.shape,
        };
        tree = tree.and_then(|tree| tree.get(key.as_str()));
        target.keys.push((*key).clone());
    }
    Ok(target)
}

fn unknown_part(parts: &[&str], index: usize, known: &[&String], target: &Target<'_>) -> Refusal {
    let part = parts.get(index).copied().unwrap_or_default();
    let near = nearest(part, known.iter().map(|key| key.as_str()));
    let advice = match (near, target.shape) {
        (Some(near), _) => {
            let mut parts: Vec<String> = parts.iter().map(|part| variable_form(part)).collect();
            if let Some(part) = parts.get_mut(index) {
                *part = variable_form(near);
            }
            format!("did you mean `{PREFIX}{}`?", parts.join("__"))
        }
        (None, Shape::Names(_)) => {
            format!(
                "a variable changes what files define, and they define no `{}.{}`",
                target.keys.join("."),
                part.to_lowercase()
            )
        }
        (None, _) => {
            let known: Vec<_> = known.iter().map(|key| format!("`{}`", variable_form(key))).collect();
            format!("in place of `{part}` there may be {}", known.join(", "))
        }
    };
    Refusal::new("no key takes this variable", advice)
}

/// How a key is written in a variable's name.
fn variable_form(key: &str) -> String {
    key.to_uppercase().replace('-', "_")
}

fn list_refusal() -> Refusal {
    Refusal::new("a list cannot be set by a variable", "write it in a file")
}

/// The text of a variable as what its key takes.
fn coerce(text: &str, shape: &Shape) -> Result<Value, Refusal> {
    let refusal = || Refusal::new(format!("expected {}", shape.expected()), "");
    let kind = match shape {
        Shape::Text => ValueKind::String(text.to_owned()),
        Shape::Word(words) => {
            let word = words.iter().find(|word| *word == text).ok_or_else(refusal)?;
            ValueKind::String(word.clone())
        }
        Shape::Integer { min, max } => {
            let number: i64 = text.parse().map_err(|_| refusal())?;
            if !(*min..=*max).contains(&number) {
                return Err(refusal());
            }
            ValueKind::I64(number)
        }
        Shape::Boolean => ValueKind::Boolean(text.parse().map_err(|_| refusal())?),
        Shape::List(_) => return Err(list_refusal()),
        Shape::Table(_) | Shape::Names(_) => {
            return Err(Refusal::new("a table cannot be set by a variable", "append `__` and the name of a key in it"));
        }
    };
    Ok(Value::new(None, kind))
}

fn insert(table: &mut Map<String, Value>, keys: &[String], value: Value) {
    let Some((key, rest)) = keys.split_first() else { return };
    if rest.is_empty() {
        table.insert(key.clone(), value);
        return;
    }
    let entry = table.entry(key.clone()).or_insert_with(|| Value::new(None, ValueKind::Table(Map::new())));
    if let ValueKind::Table(table) = &mut entry.kind {
        insert(table, rest, value);
    }
}
