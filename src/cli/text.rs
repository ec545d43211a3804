//! Text for people: tables, ages, sizes.

use std::io::Write;

use indicatif::{BinaryBytes, DecimalBytes};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// Prints text; a reader that has gone away (`| head`) is no error.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Prints one JSON document.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))?;
    Ok(())
}

/// Rows under headings, columns as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(headings: &[&str]) -> Table {
        Table { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// A size, such as `1.21 GB`.
pub(super) fn size(bytes: u64) -> String {
    DecimalBytes(bytes).to_string()
}

/// Allocated storage, which RDS counts in powers of two: `20.00 GiB`.
pub(super) fn storage(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// An instant in UTC to the minute: `2026-11-22 03:00 UTC`.
pub(super) fn utc(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// To the second, as options take it: a minute can hold what is to be undone.
pub(super) fn exactly(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// How long ago, or how far ahead: `3 d 4 h ago`, `in 5 min`.
pub(super) fn relative(at: Timestamp, now: Timestamp) -> String {
    let distance = now.duration_since(at);
    if distance.is_negative() { format!("in {}", length(distance.abs())) } else { format!("{} ago", length(distance)) }
}

/// A length of time in its two largest units.
pub(super) fn length(duration: SignedDuration) -> String {
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

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["SOURCE", "KIND"]);
        table.row(vec!["a-long-name".into(), "dump".into()]);
        assert_eq!(table.render(), "SOURCE       KIND\na-long-name  dump\n");
    }
}
