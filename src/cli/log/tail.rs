//! `hookledger log tail`: the events of a running server.

use std::time::Duration;

use serde_json::value::RawValue;

use super::feed::Feed;
use crate::cli::Failed;
use crate::cli::client::read;
use crate::cli::output::Output;
use crate::cli::remote::Remote;
use crate::cli::render;

/// How long the server is asked to wait for the next event.
const WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every event has a position, and no position is left out: whoever remembers the last one, and goes on \
    --after it, misses nothing.\n\nExamples:\n  \
    hookledger log tail --follow\n  \
    hookledger log tail --after 4711 --json --follow | my-program"
)]
pub(in crate::cli) struct Args {
    /// From the event after this position on [default: the newest --lines]
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    after: Option<u64>,
    /// So many of the newest events
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, conflicts_with = "after")]
    lines: u64,
    /// Go on with each event as it is recorded, also over restarts of the server
    #[arg(long, short)]
    follow: bool,
    /// Print each as the API's object, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(Args { after, lines, follow, json, remote }: Args) -> Result<(), Failed> {
    let (client, mut out) = (remote.client()?, Output::new());
    let mut feed = match after {
        Some(after) => Feed::after(after),
        None => Feed::from_end(&client)?.back(lines),
    };
    let mut see = |event: &RawValue| {
        if json {
            return out.raw(event);
        }
        let line = render::event(&read(event)?, out.width());
        out.line(line)
    };
    while feed.next(&client, Duration::ZERO, &mut see)? {}
    if !follow {
        return Ok(());
    }
    loop {
        feed.read(&client, WAIT, &mut |why| anstream::eprintln!("{why}"), &mut see)?;
    }
}
