//! Flat JSON lines: what a span carries (`source.id`, `run.id`) stands beside what the event says, so that a line is found
//! by the same field name whoever wrote it.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// One JSON object a line: timestamp (RFC 3339, UTC), level, message, all fields, target. A field of an inner span wins
/// over one of an outer span, and one of the event over both.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlatJson;

impl<S> FormatEvent<S, JsonFields> for FlatJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<FormattedFields<JsonFields>>() {
                fields.extend(object(&of_span.fields));
            }
        }
        let mut of_event = String::new();
        context.format_fields(Writer::new(&mut of_event), event)?;
        fields.extend(object(&of_event));
        let message = fields.remove("message");

        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let metadata = event.metadata();
        // These belong to the line itself; a field of that name would make the object ambiguous.
        for own in ["timestamp", "level", "target"] {
            fields.remove(own);
        }
        write!(writer, r#"{{"timestamp":{},"level":"{}""#, Value::from(timestamp), metadata.level())?;
        for (name, value) in message.map(|message| ("message".to_owned(), message)).into_iter().chain(fields) {
            write!(writer, ",{}:{value}", Value::from(name))?;
        }
        writeln!(writer, r#","target":{}}}"#, Value::from(metadata.target()))
    }
}

fn object(json: &str) -> Map<String, Value> {
    serde_json::from_str(json).unwrap_or_default()
}
