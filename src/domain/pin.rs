//! Pins: a recovery point is kept whatever the policy says, until somebody releases it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the pin that this code writes.
pub const PIN_VERSION: u32 = 1;
/// Largest pin that is read.
pub const PIN_BYTES_MAX: u64 = 64 << 10;

/// A pin, stored as `<prefix>/<source>/pins/<point>.json`. It holds the point in every plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pin {
    /// Version of this format.
    pub version: u32,
    /// The recovery point: the snapshot id, or `<source>/<database>/<slot>`.
    pub point: String,
    /// Why it is held, in the words of whoever pinned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was pinned.
    #[schemars(with = "String")]
    pub pinned_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::now;

    /// A pin that is too large holds too, but its reason cannot be told any more.
    #[test]
    fn a_pin_has_room_for_a_reason_of_several_pages() {
        let reason = Some("audit 2026 \u{1F512} ".repeat(1_000));
        let pin = Pin {
            version: PIN_VERSION,
            point: "accounts/accounts/20261101t040000z".to_owned(),
            reason,
            pinned_at: now(),
        };
        let json = serde_json::to_vec(&pin).unwrap();
        assert!((json.len() as u64) < PIN_BYTES_MAX, "{}", json.len());
    }
}
