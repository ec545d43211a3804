//! Numbers in people's words, the same on the page and in the answers of commands: times, ages, sizes.

use indicatif::{BinaryBytes, DecimalBytes};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A size, such as `1.21 GB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    DecimalBytes(bytes).to_string()
}

/// Allocated storage, which RDS counts in powers of two: `20.00 GiB`.
#[must_use]
pub fn storage(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// An instant in UTC to the minute: `2026-11-22 03:00 UTC`.
#[must_use]
pub fn utc(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// To the second, as options take it: a minute can hold what is to be undone.
#[must_use]
pub fn exactly(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// How long ago, or how far ahead: `3 d 4 h ago`, `in 5 min`.
#[must_use]
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let distance = now.duration_since(at);
    if distance.is_negative() { format!("in {}", length(distance.abs())) } else { format!("{} ago", length(distance)) }
}

/// A length of time in its two largest units.
#[must_use]
pub fn length(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(5, "5 s")]
    #[case(65, "1 min")]
    #[case(3600, "1 h")]
    #[case(3600 * 5 + 60 * 7, "5 h 7 min")]
    #[case(86_400 * 3 + 3600 * 4 + 59, "3 d 4 h")]
    fn a_length_shows_its_two_largest_units(#[case] seconds: i64, #[case] text: &str) {
        assert_eq!(length(SignedDuration::from_secs(seconds)), text);
    }
}
