//! Standard output as commands use it: for a terminal, for a pipe, or as JSON.

use std::io::{self, IsTerminal, StdoutLock, Write};

use anstream::AutoStream;
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Failed;

/// What is less important than what stands beside it.
pub(super) const FAINT: Style = Style::new().dimmed();
/// A heading.
pub(super) const HEADING: Style = Style::new().bold();
/// What is as it should be.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What has failed.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// What has not come to an end.
pub(super) const OPEN: Style = AnsiColor::Yellow.on_default();

/// Standard output. Colours are left out where nobody sees them.
pub(super) struct Output {
    to: AutoStream<StdoutLock<'static>>,
    width: Option<usize>,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { to: AutoStream::auto(io::stdout().lock()), width: width() }
    }

    /// The columns of the terminal; `None` where the output goes elsewhere.
    pub(super) const fn width(&self) -> Option<usize> {
        self.width
    }

    pub(super) const fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// A line.
    pub(super) fn line(&mut self, line: impl std::fmt::Display) -> Result<(), Failed> {
        Ok(writeln!(self.to, "{line}")?)
    }

    /// An object of the API, exactly as it came.
    pub(super) fn raw(&mut self, object: &RawValue) -> Result<(), Failed> {
        self.line(object.get())
    }

    /// An object of this program's own, on one line.
    pub(super) fn json(&mut self, object: &impl Serialize) -> Result<(), Failed> {
        self.line(serde_json::to_string(object)?)
    }

    /// Names and values, one pair a line, the values below each other.
    pub(super) fn pairs(&mut self, pairs: &[(&str, String)]) -> Result<(), Failed> {
        let widest = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        pairs.iter().try_for_each(|(name, value)| self.line(format_args!("{FAINT}{name:widest$}{FAINT:#}  {value}")))
    }
}

/// Also when nobody has told it, a terminal has some width.
fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let told = rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    Some(told.filter(|columns| *columns > 0).unwrap_or(80))
}

/// `text` in a style.
pub(super) fn styled(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// The colour of a status, whatever it is the status of.
pub(super) fn style_of(status: &str) -> Style {
    match status {
        "completed" | "sent" | "delivered" => GOOD,
        "failed" | "dead" | "expired" => BAD,
        "validating" | "in_progress" | "finalizing" | "cancelling" | "pending" | "in_flight" => OPEN,
        _ => FAINT,
    }
}
