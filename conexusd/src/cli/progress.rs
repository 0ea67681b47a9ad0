//! Progress: a bar on a terminal, nothing elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::owner::client::Progress;

/// A bar that follows an index run.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar on standard error, hidden when that is no terminal or `quiet`.
    pub fn new(quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr_with_hz(15) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(counting());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
    }

    /// Shows where the run is.
    pub fn update(&self, progress: &Progress) {
        if let Some(total) = progress.total.filter(|total| *total > 0.0) {
            if self.bar.length() != Some(total as u64) {
                self.bar.set_style(bounded());
                self.bar.set_length(total as u64);
            }
            self.bar.set_position(progress.done as u64);
        }
        self.bar.set_message(progress.message.clone());
    }

    /// Removes the bar.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

fn counting() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}").expect("the template is a constant")
}

fn bounded() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30.cyan/dim} {human_pos}/{human_len} files  {msg}")
        .expect("the template is a constant")
        .progress_chars("━╸─")
}
