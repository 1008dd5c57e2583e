//! `hookledger verify`: whether one request is genuine, and why not.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::Failed;
use super::input::{self, Payload, SchemeName, Secrets};
use crate::clock::{Clock, SystemClock};
use crate::domain::outcome::clip;
use crate::domain::time::Timestamp;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 if the request is genuine, 1 if not.\n\n\
    Environment:\n  HOOKLEDGER_WEBHOOK_SECRET  The secret, unless --secret-file is given")]
pub(super) struct Args {
    #[command(flatten)]
    payload: Payload,
    #[command(flatten)]
    secrets: Secrets,
    /// Which signature to verify; the other one is never looked at
    #[arg(long, value_enum, default_value = "standard")]
    scheme: SchemeName,
    /// A header of the request; give it once for each
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// A file with headers: one a line, as sign and curl print them, or a JSON object
    #[arg(long, value_name = "FILE")]
    headers_file: Option<PathBuf>,
    /// How old the request may be
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    tolerance: u64,
    /// Judge as at this time, in Unix seconds (default: now)
    #[arg(long, value_name = "SECONDS")]
    at: Option<i64>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failed> {
    let secrets = args.secrets.demanded()?;
    let mut headers = args.headers.clone();
    if let Some(file) = &args.headers_file {
        let from = file.display().to_string();
        let text = input::text(input::read_file(file)?, &from)?;
        headers.extend(parse_headers(&text).map_err(|error| Failed::Usage(format!("{from}: {error}")))?);
    }
    let payload = args.payload.read()?;
    let tolerance = Duration::from_secs(args.tolerance);
    let now = args.at.unwrap_or_else(|| SystemClock.now().as_seconds());
    let headers = headers.iter().map(|(name, value)| (name, value));
    let result = input::verifier(&secrets, args.scheme)?.tolerance(tolerance).verify(headers, &payload, now);
    let mut out = std::io::stdout().lock();
    match (&result, args.json) {
        (Ok(genuine), true) => {
            writeln!(out, "{}", json!({"valid": true, "id": genuine.id, "timestamp": genuine.timestamp}))?;
        }
        (Ok(genuine), false) => {
            let (id, at) = (clip(&genuine.id, 200), Timestamp::from_seconds(genuine.timestamp));
            writeln!(out, "genuine: {id}, signed at {at}")?;
        }
        (Err(error), true) => writeln!(out, "{}", json!({"valid": false, "error": error.to_string()}))?,
        (Err(_), false) => {}
    }
    result.map(drop).map_err(|error| Failed::Run(format!("not genuine: {error}")))
}

fn parse_header(line: &str) -> Result<(String, String), String> {
    match line.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("{:?} is no header like 'webhook-id: msg_1'", clip(line, 40))),
    }
}

/// Lines or an object. A request line before them is left out.
fn parse_headers(text: &str) -> Result<Vec<(String, String)>, String> {
    if text.trim_start().starts_with('{') {
        let object: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return object
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(value) => Ok((name, value)),
                _ => Err(format!("the value of {name:?} is no text")),
            })
            .collect();
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty()).enumerate();
    lines.filter(|(at, line)| *at > 0 || !is_request_line(line)).map(|(_, line)| parse_header(line)).collect()
}

fn is_request_line(line: &str) -> bool {
    line.split_whitespace().next_back().is_some_and(|last| last.starts_with("HTTP/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines_or_an_object() {
        let expected = vec![("webhook-id".to_owned(), "msg_1".to_owned()), ("A".to_owned(), "b:c".to_owned())];
        for text in [
            "webhook-id: msg_1\nA:b:c",
            "POST /hook HTTP/1.1\r\nwebhook-id:   msg_1 \r\nA: b:c\r\n\r\n",
            "  {\"webhook-id\": \"msg_1\", \"A\": \"b:c\"}\n",
        ] {
            let mut parsed = parse_headers(text).unwrap();
            parsed.sort_by(|a, b| b.cmp(a));
            assert_eq!(parsed, expected, "{text}");
        }
        assert_eq!(parse_headers(""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_header_is_told() {
        assert_eq!(parse_headers("a: b\nno colon").unwrap_err(), "\"no colon\" is no header like 'webhook-id: msg_1'");
        assert!(parse_headers(": value").is_err());
        assert_eq!(parse_headers("{\"a\": 1}").unwrap_err(), "the value of \"a\" is no text");
        assert!(parse_headers("{\"a\": ").is_err());
    }
}
