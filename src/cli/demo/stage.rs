//! Where the demonstration is shown: for a person, or as JSON for a program.

use std::io::Write;

use serde_json::{Value, json};

use crate::api::EventObject;
use crate::cli::output::{BAD, FAINT, GOOD, HEADING, Output, styled};
use crate::cli::{Failed, render};
use crate::domain::event::Envelope;

/// Any thread may have it, so standard output is not kept.
#[derive(Clone, Copy)]
pub(super) struct Stage {
    json: bool,
    width: Option<usize>,
}

impl Stage {
    pub(super) fn new(json: bool) -> Self {
        Self { json, width: Output::new().width() }
    }

    fn print(line: impl std::fmt::Display) -> Result<(), Failed> {
        Ok(writeln!(anstream::stdout(), "{line}")?)
    }

    pub(super) const fn is_for_programs(self) -> bool {
        self.json
    }

    /// What a person is told, and a program has no use for.
    pub(super) fn say(self, line: impl std::fmt::Display) -> Result<(), Failed> {
        if self.json { Ok(()) } else { Self::print(line) }
    }

    pub(super) fn heading(self, line: &str) -> Result<(), Failed> {
        self.say(format_args!("\n{}", styled(line, HEADING)))
    }

    /// Something beside the events.
    pub(super) fn aside(self, line: &str) -> Result<(), Failed> {
        self.say(format_args!("{FAINT}{:>5}  {line}{FAINT:#}", ""))
    }

    pub(super) fn event(self, event: &Envelope) -> Result<(), Failed> {
        let object = serde_json::to_value(EventObject::from(event))?;
        if self.json { Self::print(object) } else { self.shown(object) }
    }

    fn shown(self, object: Value) -> Result<(), Failed> {
        Self::print(render::event_now(&serde_json::from_value(object)?, self.width))
    }

    pub(super) fn check(self, claim: &str, holds: bool) -> Result<(), Failed> {
        if self.json {
            return Self::print(json!({"claim": claim, "holds": holds}));
        }
        let word = if holds { styled("  ok  ", GOOD) } else { styled("FAILED", BAD) };
        Self::print(format_args!("{word} {claim}"))
    }
}
