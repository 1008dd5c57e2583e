//! What is logged, and how: to standard error, one line for each thing, as text for a person or as JSON for a program.
//!
//! A line has a message that is always the same words, and fields for what differs; `docs/logs.md` lists them. Colours
//! are anstream's to decide, which knows whether anybody can see them.

use std::panic;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{LogFormat, Logs};

/// Logs as it is configured.
pub(super) fn start(logs: &Logs) {
    begin(&logs.level, logs.format);
    panic::set_hook(Box::new(|panicked| {
        let thread = std::thread::current();
        let at = panicked.location().map(ToString::to_string);
        let error = panicked.payload_as_str().unwrap_or("it does not say");
        tracing::error!(thread = thread.name(), at, error, "a fault of this program");
    }));
}

/// For commands whose output is what matters: only what goes wrong.
pub(super) fn start_quietly() {
    begin("warn", LogFormat::Text);
}

/// Only the first call counts. A level that can't be read was refused where it was read.
fn begin(level: &str, format: LogFormat) {
    let filter: Targets = level.parse().unwrap_or_default();
    let lines = fmt::layer().with_writer(anstream::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(true).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}
