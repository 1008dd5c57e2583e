//! `hookledger replay`: the views from the log alone.

use std::io::Write;

use serde_json::json;

use super::{Failed, render};
use crate::config::{Config, Given, Options};
use crate::domain::batch::BatchObject;
use crate::domain::id::Seq;
use crate::domain::state::State;
use crate::engine::replay::{advance, differences, rebuild};
use crate::log::{EventLog, sled::SledLog};
use crate::views::Views;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file with settings, in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<Given>,
    /// The data directory [default: ./hookledger-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<Given>,
    /// Print the views as of this position of the log (default: its end)
    #[arg(long, value_name = "SEQ")]
    at: Option<u64>,
    /// Print one JSON object a row
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<(), Failed> {
    let flags = Options { config: args.config, data_dir: args.data_dir, ..Options::default() };
    let config = Config::load(flags, std::env::vars_os()).map_err(|error| Failed::Usage(error.to_string()))?;
    let directory = &config.data_dir;
    if !directory.join("log").exists() {
        return Err(Failed::Usage(format!("there is no data directory at {}", directory.display())));
    }
    let log = SledLog::open(directory)?;
    let (reader, tail) = (log.reader(), log.tail());
    let at = Seq(args.at.unwrap_or(tail.0));
    if at > tail {
        return Err(Failed::Usage(format!("the log ends at position {tail}; --at {at} is beyond that")));
    }
    let horizon = reader.anchor()?.horizon;
    if at < horizon {
        let why = format!("the log was pruned up to position {horizon}; --at {at} is before that");
        return Err(Failed::Usage(why));
    }
    let mut state = rebuild(&*reader, at)?;
    print(&state, at, args.json)?;
    advance(&mut state, &*reader, at, tail)?;
    if !Views::new(&*reader).are_current()? {
        let why = "the stored views have the form of another version; the next `hookledger serve` makes them anew";
        return Err(Failed::Run(why.into()));
    }
    let different = differences(&state, &*reader)?;
    if different.is_empty() {
        anstream::eprintln!("The views rebuilt from the log up to position {tail} equal the stored ones.");
        return Ok(());
    }
    for key in &different {
        anstream::eprintln!("row {} differs", key.escape_ascii());
    }
    Err(Failed::Run(format!("{} stored rows differ from what the log up to position {tail} leads to", different.len())))
}

fn print(state: &State, at: Seq, as_json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut jobs: Vec<_> = state.jobs().collect();
    jobs.sort_unstable_by_key(|job| job.registered);
    let mut deliveries: Vec<_> = state.deliveries().collect();
    deliveries.sort_unstable_by_key(|delivery| delivery.id);
    let mut letters: Vec<_> = state.dead_letters().collect();
    letters.sort_unstable_by_key(|letter| letter.id);
    if as_json {
        for job in jobs {
            writeln!(out, "{}", json!({ "batch": BatchObject::from(job) }))?;
        }
        for delivery in deliveries {
            writeln!(
                out,
                "{}",
                json!({ "delivery": { "id": delivery.id.to_string(), "batch_id": delivery.job.as_str(),
                "event": delivery.kind.as_str(), "status": delivery.state.status().as_str(), "attempts": delivery.attempt() } })
            )?;
        }
        for letter in letters {
            writeln!(
                out,
                "{}",
                json!({ "dead_letter": { "id": letter.id.0, "batch_id": letter.job.as_str(),
                "delivery_id": letter.delivery.to_string(), "error_message": letter.error, "attempts": letter.attempts,
                "retry_success": letter.retry_success } })
            )?;
        }
        return Ok(());
    }
    writeln!(
        out,
        "At position {at}: {} batches, {} deliveries, {} dead letters",
        jobs.len(),
        deliveries.len(),
        letters.len()
    )?;
    jobs.into_iter().try_for_each(|job| writeln!(out, "batch        {}", render::job(job)))?;
    deliveries.into_iter().try_for_each(|delivery| writeln!(out, "delivery     {}", render::delivery(delivery)))?;
    letters.into_iter().try_for_each(|letter| writeln!(out, "dead letter  {}", render::dead_letter(letter)))
}
