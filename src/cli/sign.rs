//! `hookledger sign`: the headers of one payload, for trying a receiver.

use std::io::Write;

use serde_json::{Map, Value};

use super::Failed;
use super::input::{Payload, SchemeName, Secrets};
use crate::clock::{Clock, SystemClock};
use crate::domain::id::DeliveryId;
use crate::domain::time::Timestamp;
use crate::signature::{self, GITHUB_SIGNATURE_HEADER, ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};

#[derive(Debug, clap::Args)]
#[command(after_help = "The headers are printed as curl takes them:\n  \
    hookledger sign event.json > headers && curl -H @headers --data-binary @event.json URL\n\n\
    Environment:\n  HOOKLEDGER_WEBHOOK_SECRET  The secret, unless --secret-file is given")]
pub(super) struct Args {
    #[command(flatten)]
    payload: Payload,
    #[command(flatten)]
    secrets: Secrets,
    /// Which signature to make
    #[arg(long, value_enum, default_value = "standard")]
    scheme: SchemeName,
    /// The delivery's id (default: a new one)
    #[arg(long, value_parser = parse_id)]
    id: Option<String>,
    /// The time to sign, in Unix seconds (default: now)
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(0..))]
    timestamp: Option<i64>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failed> {
    let secrets = args.secrets.demanded()?;
    let payload = args.payload.read()?;
    let now = SystemClock.now();
    let id = args.id.clone().map_or_else(|| new_id(now), Ok)?;
    let timestamp = args.timestamp.unwrap_or_else(|| now.as_seconds());
    let signature = match args.scheme {
        SchemeName::Standard => (SIGNATURE_HEADER, signature::standard(&secrets, &id, timestamp, &payload)),
        // One header, one signature: the first secret makes it, as for a delivery.
        SchemeName::Github => (GITHUB_SIGNATURE_HEADER, signature::github(&secrets[0], &payload)),
    };
    print(&[(ID_HEADER, id), (TIMESTAMP_HEADER, timestamp.to_string()), signature], args.json)
}

fn print(headers: &[(&str, String)], json: bool) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    if json {
        let object: Map<String, Value> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        return Ok(writeln!(out, "{}", Value::Object(object))?);
    }
    headers.iter().try_for_each(|(name, value)| writeln!(out, "{name}: {value}"))?;
    Ok(())
}

/// As the engine's: the time, and 80 random bits.
fn new_id(now: Timestamp) -> Result<String, Failed> {
    let mut random = [0; 16];
    getrandom::fill(&mut random[6..]).map_err(|error| Failed::Run(format!("no random bytes: {error}")))?;
    let millis = u128::from(now.as_millis().max(0).unsigned_abs()) & ((1 << 48) - 1);
    Ok(DeliveryId(millis << 80 | u128::from_be_bytes(random)).to_string())
}

/// A dot divides the signed parts, and a header's value is visible ASCII.
fn parse_id(text: &str) -> Result<String, &'static str> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
    if fits { Ok(text.to_owned()) } else { Err("an id is visible ASCII without a dot") }
}
