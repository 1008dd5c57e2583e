//! A bar for long work: on standard error, and only where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the bar is drawn anew at most, in a second.
const DRAWN: u8 = 10;

/// A bar, which is gone when this is dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// `what` is being done, to `total` of something.
    pub(super) fn of(what: &'static str, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(DRAWN));
        let style = ProgressStyle::with_template("{msg} [{wide_bar}] {human_pos}/{human_len}, {eta} left");
        // The template is a constant that can be read; without it the bar has its usual look.
        let style = style.map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> "));
        Self(bar.with_style(style).with_message(what))
    }

    /// So much is done.
    pub(super) fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Prints a line above the bar, or where the bar would be.
    pub(super) fn say(&self, line: &str) {
        self.0.suspend(|| anstream::eprintln!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
