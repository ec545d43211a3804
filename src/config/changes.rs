//! What differs between two configurations, and whether a running daemon can take it on.

use std::collections::BTreeSet;

use serde_json::Value;

use super::diagnosis::join;

/// Tables and keys that are read once: what they say is built into a running daemon.
const READ_ONCE: [&str; 9] = [
    "installation",
    "aws",
    "destination",
    "daemon",
    "http",
    "alerts",
    "cloudwatch",
    "kubernetes",
    "limits.dump_memory",
];

/// What differs, by the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that are written now and were not, or differently, and keys that are gone, in order.
    pub keys: Vec<String>,
}

impl Changes {
    /// Between two effective configurations.
    #[must_use]
    pub fn between(before: &Value, after: &Value) -> Changes {
        let mut keys = BTreeSet::new();
        collect("", before, after, &mut keys);
        Changes { keys: keys.into_iter().collect() }
    }

    /// Those that a restart is needed for.
    #[must_use]
    pub fn needing_restart(&self) -> Vec<&str> {
        let is_below = |key: &str, table: &str| {
            key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.keys.iter().map(String::as_str).filter(|key| READ_ONCE.iter().any(|table| is_below(key, table))).collect()
    }
}

fn collect(path: &str, before: &Value, after: &Value, keys: &mut BTreeSet<String>) {
    match (before, after) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one.keys().chain(other.keys()) {
                let (then, now) = (one.get(key).unwrap_or(&Value::Null), other.get(key).unwrap_or(&Value::Null));
                collect(&join(path, key), then, now, keys);
            }
        }
        (then, now) if then == now => {}
        // A table that is new or gone is told as one.
        (_, _) => {
            keys.insert(path.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_changed_added_and_taken_away_is_told_by_its_key() {
        let before =
            json!({ "policies": { "a": { "snapshot": { "schedule": "1", "keep_last": 3 } } }, "sources": { "x": {} } });
        let after =
            json!({ "policies": { "a": { "snapshot": { "schedule": "2", "keep_last": 3 } } }, "sources": { "y": {} } });
        let changes = Changes::between(&before, &after);
        assert_eq!(changes.keys, ["policies.a.snapshot.schedule", "sources.x", "sources.y"]);
        assert!(changes.needing_restart().is_empty());
        assert_eq!(Changes::between(&after, &after), Changes::default());
    }

    #[test]
    fn what_is_built_into_a_running_daemon_needs_a_restart() {
        let before = json!({ "daemon": { "listen": "a" }, "destination": { "bucket": "b" }, "daemons": 1 });
        let after = json!({ "daemon": { "listen": "c" }, "destination": { "bucket": "b" }, "daemons": 2 });
        assert_eq!(Changes::between(&before, &after).needing_restart(), ["daemon.listen"]);
    }
}
