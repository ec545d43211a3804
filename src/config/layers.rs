//! Files and variables laid over one another. The `config` crate merges; it does not decode, because it would read
//! `"off"` as 0 and 6.7 as 7.

use config::{Config, Map, Source, Value, ValueKind};
use serde_json::Value as Json;

use super::raw;

/// One file's values, or those of all variables.
#[derive(Debug, Clone)]
pub(super) struct Layer(pub(super) Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// All layers as one: tables are merged, everything else is replaced by the later layer.
pub(super) fn merge(layers: &[Layer]) -> Result<Json, config::ConfigError> {
    let builder = layers.iter().fold(Config::builder(), |builder, layer| builder.add_source(layer.clone()));
    let merged = builder.build()?.collect()?;
    Ok(Json::Object(merged.into_iter().map(|(key, value)| (key, to_json(value))).collect()))
}

fn to_json(value: Value) -> Json {
    match value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(value) => Json::from(value),
        ValueKind::I64(number) => Json::from(number),
        ValueKind::U64(number) => Json::from(number),
        // No shape lets these in; as text they are refused instead of rounded.
        ValueKind::I128(number) => Json::from(number.to_string()),
        ValueKind::U128(number) => Json::from(number.to_string()),
        ValueKind::Float(number) => Json::from(number),
        ValueKind::String(text) => Json::from(text),
        ValueKind::Table(table) => Json::Object(table.into_iter().map(|(key, value)| (key, to_json(value))).collect()),
        ValueKind::Array(items) => Json::Array(items.into_iter().map(to_json).collect()),
    }
}

/// The merged values as the files' types.
pub(super) fn decode(merged: Json) -> Result<raw::File, serde_path_to_error::Error<serde_json::Error>> {
    serde_path_to_error::deserialize(merged)
}

/// The same without nulls: TOML has none.
pub(super) fn without_nulls(value: Json) -> Json {
    match value {
        Json::Object(map) => Json::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        Json::Array(items) => Json::Array(items.into_iter().map(without_nulls).collect()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value,
    }
}
