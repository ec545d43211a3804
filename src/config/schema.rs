//! The JSON Schema of the configuration, and the [`Shape`] read from it: what each place in a file may hold.
//!
//! Files and variables are checked against the shape before anything is decoded, because a decoder stops at its first
//! error and does not know lines. Both come from `raw`, so they cannot disagree with it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::raw;

/// The JSON Schema (draft 2020-12) of a configuration file, for editors and `strongroom config schema`.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(raw::File).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), Value::from("strongroom configuration"));
    }
    schema
}

/// The same of one file of several: nothing has to stand in each of them.
#[must_use]
pub fn schema_of_part() -> Value {
    let mut schema = schema();
    demand_nothing(&mut schema);
    schema
}

/// Takes out what says that a key must be there. A key of that name would have a schema, which is no list.
fn demand_nothing(schema: &mut Value) {
    match schema {
        Value::Object(keys) => {
            keys.retain(|key, value| key != "required" || !value.is_array());
            keys.values_mut().for_each(demand_nothing);
        }
        Value::Array(items) => items.iter_mut().for_each(demand_nothing),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What one place in the configuration may hold.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// A table with known keys.
    Table(BTreeMap<String, Shape>),
    /// A table whose keys are names that the user chooses.
    Names(Box<Shape>),
    /// A list.
    List(Box<Shape>),
    /// A string.
    Text,
    /// One of several words.
    Word(Vec<String>),
    /// An integer in a range, both ends included.
    Integer {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
    },
    /// `true` or `false`.
    Boolean,
}

impl Shape {
    /// The shape of a whole file.
    pub(super) fn of_file() -> Shape {
        let schema = schema();
        let definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
        Shape::read(&schema, &definitions)
    }

    fn read(schema: &Value, definitions: &Map<String, Value>) -> Shape {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let name = reference.rsplit('/').next().unwrap_or_default();
            return definitions.get(name).map_or(Shape::Text, |schema| Shape::read(schema, definitions));
        }
        if let Some(words) = words(schema) {
            return Shape::Word(words);
        }
        if let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) {
            let real = alternatives.iter().find(|schema| !has_type(schema, "null"));
            return real.map_or(Shape::Text, |schema| Shape::read(schema, definitions));
        }
        if has_type(schema, "object") {
            return Shape::read_object(schema, definitions);
        }
        if has_type(schema, "array") {
            let items = schema.get("items").map_or(Shape::Text, |schema| Shape::read(schema, definitions));
            return Shape::List(Box::new(items));
        }
        if has_type(schema, "integer") {
            let widest = match schema.get("format").and_then(Value::as_str) {
                Some("uint32") => i64::from(u32::MAX),
                Some("int32") => i64::from(i32::MAX),
                _ => i64::MAX,
            };
            let bound = |name| schema.get(name).and_then(Value::as_i64);
            return Shape::Integer {
                min: bound("minimum").unwrap_or(i64::MIN),
                max: bound("maximum").unwrap_or(widest),
            };
        }
        if has_type(schema, "boolean") { Shape::Boolean } else { Shape::Text }
    }

    fn read_object(schema: &Value, definitions: &Map<String, Value>) -> Shape {
        if let Some(names) = schema.get("additionalProperties").filter(|names| names.is_object()) {
            return Shape::Names(Box::new(Shape::read(names, definitions)));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let keys = properties.into_iter().flatten();
        Shape::Table(keys.map(|(key, schema)| (key.clone(), Shape::read(schema, definitions))).collect())
    }

    /// What may stand here, in words.
    pub(super) fn expected(&self) -> String {
        match self {
            Shape::Table(_) => "a table".to_owned(),
            Shape::Names(_) => "a table of names".to_owned(),
            Shape::List(_) => "a list".to_owned(),
            Shape::Text => "a string".to_owned(),
            Shape::Word(words) => format!("one of {}", quoted(words)),
            Shape::Integer { min: i64::MIN, max: i64::MAX } => "an integer".to_owned(),
            Shape::Integer { min, max: i64::MAX | 0xffff_ffff | 0x7fff_ffff } => format!("an integer from {min} on"),
            Shape::Integer { min, max } => format!("an integer from {min} to {max}"),
            Shape::Boolean => "true or false".to_owned(),
        }
    }

    /// Every place below this one where a key of this name may stand, as people write it: `policies.NAME.dump.jobs`.
    pub(super) fn places_of(&self, wanted: &str) -> Vec<String> {
        let mut places = Vec::new();
        self.find(wanted, "", &mut places);
        places
    }

    /// The paths of all values that do not depend on a name that the user chooses.
    pub(super) fn fixed_keys(&self) -> Vec<Vec<String>> {
        match self {
            Shape::Table(keys) => keys
                .iter()
                .flat_map(|(key, shape)| {
                    let below = shape.fixed_keys().into_iter();
                    below.map(|path| std::iter::once(key.clone()).chain(path).collect())
                })
                .collect(),
            Shape::Names(_) | Shape::List(_) => Vec::new(),
            Shape::Text | Shape::Word(_) | Shape::Integer { .. } | Shape::Boolean => vec![Vec::new()],
        }
    }

    fn find(&self, wanted: &str, path: &str, places: &mut Vec<String>) {
        match self {
            Shape::Table(keys) => {
                for (key, shape) in keys {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    shape.find(wanted, &path, places);
                    if key == wanted {
                        places.push(path);
                    }
                }
            }
            Shape::Names(shape) => shape.find(wanted, &format!("{path}.NAME"), places),
            Shape::List(shape) => shape.find(wanted, &format!("{path}[]"), places),
            Shape::Text | Shape::Word(_) | Shape::Integer { .. } | Shape::Boolean => {}
        }
    }
}

/// Words in backticks, with commas.
pub(super) fn quoted<T: AsRef<str>>(words: &[T]) -> String {
    words.iter().map(|word| format!("`{}`", word.as_ref())).collect::<Vec<_>>().join(", ")
}

fn has_type(schema: &Value, wanted: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => name == wanted,
        Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    }
}

/// The words of an enum: schemars writes `oneOf` constants where variants have descriptions, and `enum` where not.
fn words(schema: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.iter().filter_map(text).collect());
    }
    let alternatives = schema.get("oneOf").and_then(Value::as_array)?;
    Some(alternatives.iter().filter_map(|alternative| alternative.get("const").and_then(text)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_in_the_schema_has_a_shape_of_its_own() {
        fn count(shape: &Shape, kinds: &mut BTreeMap<&'static str, u32>) {
            let kind = match shape {
                Shape::Table(keys) => {
                    assert!(!keys.is_empty(), "a table without keys takes nothing");
                    keys.values().for_each(|shape| count(shape, kinds));
                    "table"
                }
                Shape::Names(inner) => {
                    count(inner, kinds);
                    "names"
                }
                Shape::List(inner) => {
                    count(inner, kinds);
                    "list"
                }
                Shape::Text => "text",
                Shape::Word(words) => {
                    assert!(!words.is_empty(), "an enum without words takes nothing");
                    "word"
                }
                Shape::Integer { .. } => "integer",
                Shape::Boolean => "boolean",
            };
            *kinds.entry(kind).or_default() += 1;
        }
        let mut kinds = BTreeMap::new();
        count(&Shape::of_file(), &mut kinds);
        let kinds: Vec<_> = kinds.into_keys().collect();
        assert_eq!(kinds, ["boolean", "integer", "list", "names", "table", "text", "word"]);
    }

    #[test]
    fn counts_start_at_one_and_ranges_come_from_the_attributes() {
        let Shape::Table(file) = Shape::of_file() else { panic!("a file is a table") };
        let Shape::Names(policy) = &file["policies"] else { panic!("policies have names") };
        let Shape::Table(policy) = policy.as_ref() else { panic!("a policy is a table") };
        let Shape::Table(dump) = &policy["dump"] else { panic!("a dump is a table") };
        assert_eq!(dump["keep_last"].expected(), "an integer from 1 on");
        assert_eq!(dump["compression_level"].expected(), "an integer from 1 to 19");
        assert_eq!(dump["engine"].expected(), "one of `pg_dump`, `parallel`");
    }

    #[test]
    fn one_file_of_several_needs_no_key_and_knows_the_same_ones() {
        let demands = |schema: &Value| schema.to_string().contains("\"required\":[");
        assert!(demands(&schema()));
        assert!(!demands(&schema_of_part()));
        assert_eq!(schema_of_part()["properties"]["sources"], schema()["properties"]["sources"]);
    }

    #[test]
    fn every_key_of_the_schema_is_described() {
        fn undescribed(schema: &Value, path: &str, found: &mut Vec<String>) {
            let Some(object) = schema.as_object() else { return };
            for (key, property) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if property.get("description").is_none() {
                    found.push(format!("{path}.{key}"));
                }
                undescribed(property, &format!("{path}.{key}"), found);
            }
            for (name, definition) in object.get("$defs").and_then(Value::as_object).into_iter().flatten() {
                undescribed(definition, name, found);
            }
        }
        let mut found = Vec::new();
        undescribed(&schema(), "", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}
