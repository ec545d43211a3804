//! Durations and sizes as people write them.

use std::num::NonZeroU64;

use jiff::{SignedDuration, Span, SpanRelativeTo, Unit};

/// A text that is no duration or size of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidAmount {
    /// No duration at all.
    #[error("`{0}` is not a duration")]
    Duration(String),
    /// Months and years have no fixed length.
    #[error("`{0}` has months or years, whose length varies")]
    Varying(String),
    /// Negative, or zero where something must be.
    #[error("`{0}` is too short: it must be {1}")]
    TooShort(String, &'static str),
    /// No rate at all.
    #[error("`{0}` is not a number of bytes in a second")]
    Rate(String),
    /// No size at all.
    #[error("`{0}` is not a size")]
    Size(String),
}

/// A duration of zero or more.
pub(super) fn duration(text: &str) -> Result<SignedDuration, InvalidAmount> {
    let span: Span = text.trim().parse().map_err(|_| InvalidAmount::Duration(text.to_owned()))?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(InvalidAmount::Varying(text.to_owned()));
    }
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .and_then(|duration| duration.round(Unit::Second))
        .map_err(|_| InvalidAmount::Duration(text.to_owned()))?;
    if duration.is_negative() {
        return Err(InvalidAmount::TooShort(text.to_owned(), "zero or more"));
    }
    Ok(duration)
}

/// A duration of one second or more.
pub(super) fn positive_duration(text: &str) -> Result<SignedDuration, InvalidAmount> {
    let duration = duration(text)?;
    if duration.is_zero() {
        return Err(InvalidAmount::TooShort(text.to_owned(), "one second or more"));
    }
    Ok(duration)
}

/// Units of sizes; those of a thousand and those of 1024 are both in use, so both are taken at their word.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A number of bytes. A bare number is refused: nobody remembers whether it would be bytes or megabytes.
pub(super) fn size_bytes(text: &str) -> Result<u64, InvalidAmount> {
    let invalid = || InvalidAmount::Size(text.to_owned());
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
    let (number, unit) = trimmed.split_at(digits);
    let number: u64 = number.parse().map_err(|_| invalid())?;
    let is_unit = |(name, _): &&(&str, u64)| name.eq_ignore_ascii_case(unit.trim());
    let (_, factor) = UNITS.iter().find(is_unit).ok_or_else(invalid)?;
    number.checked_mul(*factor).ok_or_else(invalid)
}

/// A number of bytes in a second, as `50MB/s`.
pub(super) fn bytes_per_s(text: &str) -> Result<NonZeroU64, InvalidAmount> {
    let invalid = || InvalidAmount::Rate(text.to_owned());
    let size = text.trim().strip_suffix("/s").ok_or_else(invalid)?;
    let bytes = size_bytes(size).map_err(|_| invalid())?;
    NonZeroU64::new(bytes).ok_or_else(|| InvalidAmount::TooShort(text.to_owned(), "one byte in a second or more"))
}

/// The word for no limit.
const OFF: &str = "off";

/// A duration of one second or more, or `None` for `off`: that a limit of zero would be none, or would let nothing pass, is
/// left to nobody's guess.
pub(super) fn limit(text: &str) -> Result<Option<SignedDuration>, InvalidAmount> {
    if text.trim() == OFF { Ok(None) } else { positive_duration(text).map(Some) }
}

/// A size of one byte or more, or `None` for `off`.
pub(super) fn size_limit(text: &str) -> Result<Option<u64>, InvalidAmount> {
    match text.trim() {
        OFF => Ok(None),
        size => match size_bytes(size)? {
            0 => Err(InvalidAmount::TooShort(text.to_owned(), "one byte or more")),
            bytes => Ok(Some(bytes)),
        },
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("90s", 90)]
    #[case("6h", 21_600)]
    #[case("1h 30m", 5_400)]
    #[case("30d", 2_592_000)]
    #[case("2 weeks", 1_209_600)]
    #[case("0s", 0)]
    fn durations_are_read_with_days_of_24_hours(#[case] text: &str, #[case] seconds: i64) {
        assert_eq!(duration(text), Ok(SignedDuration::from_secs(seconds)));
    }

    #[rstest]
    #[case("")]
    #[case("5")]
    #[case("soon")]
    #[case("6 fortnights")]
    #[case("1 month")]
    #[case("-5m")]
    #[case("9999999999999999999d")]
    fn what_is_no_duration_is_refused(#[case] text: &str) {
        assert!(duration(text).is_err());
    }

    #[test]
    fn nothing_is_refused_where_there_must_be_something() {
        assert_eq!(
            positive_duration("0s").unwrap_err().to_string(),
            "`0s` is too short: it must be one second or more"
        );
        assert!(positive_duration("1ms").is_err());
    }

    #[rstest]
    #[case("50MB/s", Some(50_000_000))]
    #[case(" 1 MiB/s ", Some(1 << 20))]
    #[case("50MB", None)]
    #[case("50Mbit/s", None)]
    #[case("0B/s", None)]
    #[case("50/s", None)]
    fn rates_say_that_they_are_of_a_second(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(bytes_per_s(text).ok().map(NonZeroU64::get), expected);
    }

    #[test]
    fn only_off_is_without_a_limit() {
        assert_eq!(limit("off"), Ok(None));
        assert_eq!(limit("5s"), Ok(Some(SignedDuration::from_secs(5))));
        assert!(limit("0s").is_err() && limit("none").is_err());
        assert_eq!(size_limit("off"), Ok(None));
        assert_eq!(size_limit("2GiB"), Ok(Some(2 << 30)));
        assert!(size_limit("0B").is_err() && size_limit("2").is_err());
    }

    #[rstest]
    #[case("16MiB", 16_777_216)]
    #[case("5GB", 5_000_000_000)]
    #[case("64 kib", 65_536)]
    #[case("12B", 12)]
    fn sizes_are_read_in_both_kinds_of_unit(#[case] text: &str, #[case] bytes: u64) {
        assert_eq!(size_bytes(text), Ok(bytes));
    }

    #[rstest]
    #[case("16")]
    #[case("1.5GiB")]
    #[case("MiB")]
    #[case("16 megs")]
    #[case("-1MiB")]
    #[case("99999999999TiB")]
    fn what_is_no_size_is_refused(#[case] text: &str) {
        assert!(size_bytes(text).is_err());
    }
}
