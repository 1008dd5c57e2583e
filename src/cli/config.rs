//! `hookledger config`: the effective configuration, and where each value is from.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::setup::{MORE_HELP, Setup};
use super::{Failed, logs};
use crate::config::{self, Line, Source};

#[derive(Debug, clap::Args)]
#[command(after_help = MORE_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    settings: config::Options,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Goes through all that `serve` checks before it starts, so that a configuration can be tried out.
pub(super) fn run(args: Args) -> Result<(), Failed> {
    let setup = Setup::load(args.settings)?;
    logs::start(&setup.config.logs);
    for warning in &setup.warnings {
        tracing::warn!(%warning, "the configuration is allowed, and probably not what is meant");
    }
    let lines = &setup.config.lines;
    let mut out = std::io::stdout().lock();
    if args.json {
        let all: Map<String, Value> = lines.iter().map(|line| (line.name.to_owned(), object(line))).collect();
        writeln!(out, "{:#}", Value::Object(all))?;
        return Ok(());
    }
    let texts: Vec<_> = lines.iter().map(|Line { name, value, .. }| format!("{name} = {value}")).collect();
    let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or_default();
    for (text, line) in texts.iter().zip(lines) {
        writeln!(out, "{text:width$}  # {}", line.source.as_str())?;
    }
    Ok(())
}

fn object(Line { value, source, origin, .. }: &Line) -> Value {
    let origin = (*source != Source::Default).then_some(origin);
    json!({ "value": value, "source": source.as_str(), "origin": origin })
}
