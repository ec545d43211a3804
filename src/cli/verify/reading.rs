//! How far the reading of a dump is: a bar on a terminal, elsewhere a line for each tenth.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{say, text};
use crate::domain::inventory::StoredDump;
use crate::domain::progress::Progress;

/// Lines that a reading takes where there is no bar.
const LINES: u64 = 10;

/// The reading of one dump.
pub(super) struct Reading {
    named: String,
    bytes: u64,
    bar: Option<ProgressBar>,
    told: u64,
}

impl Reading {
    pub(super) fn of(stored: &StoredDump) -> Reading {
        let bytes = stored.point.size_bytes;
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
            let template =
                "{spinner} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} eta {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Reading { named: format!("{} in {}", stored.point.id, stored.point.region), bytes, bar, told: 0 }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        let read = progress.count().read_bytes;
        match &self.bar {
            Some(bar) => bar.set_position(read),
            None => {
                if let Some(line) = self.line(read) {
                    say(&line);
                }
            }
        }
    }

    /// What is to be said now, if the next tenth is reached. The end is told by the result.
    fn line(&mut self, read: u64) -> Option<String> {
        let tenths = read.saturating_mul(LINES).checked_div(self.bytes)?;
        if tenths <= self.told || tenths >= LINES {
            return None;
        }
        self.told = tenths;
        let percent = tenths * 100 / LINES;
        Some(format!("{}: {percent} %, {} of {} read", self.named, text::size(read), text::size(self.bytes)))
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenth_is_told_once() {
        let mut reading = Reading { named: "a".to_owned(), bytes: 1000, bar: None, told: 0 };
        let told: Vec<u64> = (0..=1000).step_by(50).filter(|read| reading.line(*read).is_some()).collect();
        assert_eq!(told, [100, 200, 300, 400, 500, 600, 700, 800, 900]);
        assert_eq!(reading.line(1000), None);
        let mut empty = Reading { bytes: 0, told: 0, ..reading };
        assert_eq!(empty.line(0), None);
    }
}
