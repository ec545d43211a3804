//! The progress of a restore on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::restore::{Phase, Watch};

/// The progress bar; it shows itself on a terminal only.
pub(super) struct Bar {
    bar: ProgressBar,
    bytes: u64,
}

impl Bar {
    pub(super) fn new(bytes: u64) -> Bar {
        let visible = std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar { bar, bytes }
    }

    pub(super) fn enter(&self, phase: Option<Phase>) {
        let (has_end, words) = match phase {
            Some(phase @ (Phase::Data | Phase::Compare)) => (true, phase.as_str()),
            Some(phase @ (Phase::Prepare | Phase::PreData | Phase::PostData | Phase::Analyze)) => {
                (false, phase.as_str())
            }
            None => (false, "begins"),
        };
        let template = if has_end {
            "{spinner} {msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} eta {eta}"
        } else {
            "{spinner} {msg}  {elapsed_precise}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_length(self.bytes);
        self.bar.set_position(0);
        self.bar.reset();
        self.bar.set_message(words);
    }

    pub(super) fn show(&self, watch: &Watch) {
        self.bar.set_position(watch.progress.count().read_bytes);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
