//! `hookledger deliveries`: the deliveries of a running server.

use clap::builder::PossibleValuesParser;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Failed;
use super::client::read;
use super::extent::Extent;
use super::output::{BAD, GOOD, OPEN, Output, style_of, styled};
use super::remote::Remote;
use super::render::plain;
use super::table::{Cell, Table};
use super::times::Times;
use crate::domain::delivery::DeliveryStatus;
use crate::domain::id::{DeliveryId, JobId};
use crate::domain::webhook::EventKind;

const DELIVERIES: &str = "/v1/webhooks/deliveries";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Lists deliveries, newest first
    List(List),
    /// Shows one delivery with its attempts, and what it waits for
    Show(Show),
    /// Sends a delivery once more: the very same bytes, with a new time and signature
    Resend(Resend),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hookledger deliveries list --job import-17 --status pending")]
pub(super) struct List {
    /// Only those about this job [default: all]
    #[arg(long, value_name = "ID", value_parser = JobId::new)]
    job: Option<JobId>,
    /// Only those with this status [default: all]
    #[arg(long, value_parser = PossibleValuesParser::new(DeliveryStatus::ALL.map(DeliveryStatus::as_str)))]
    status: Option<String>,
    /// Only those that tell of this [default: all]
    #[arg(long, value_parser = PossibleValuesParser::new(EventKind::ALL.map(EventKind::as_str)))]
    event: Option<String>,
    #[command(flatten)]
    extent: Extent,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The delivery's id, as in the webhook-id header: msg_…
    id: DeliveryId,
    /// Print the API's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
pub(super) struct Resend {
    /// The delivery's id, as in the webhook-id header: msg_…
    id: DeliveryId,
    /// Also when the receiver has it already
    #[arg(long)]
    force: bool,
    /// Print the API's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// A delivery as the API has it.
#[derive(Deserialize)]
struct DeliveryView {
    id: String,
    batch_id: String,
    event: String,
    url: String,
    status: String,
    created_at: String,
    delivered_at: Option<String>,
    max_attempts: u32,
    next_attempt_at: Option<String>,
    waiting: Option<String>,
    dead_letter_id: Option<u64>,
    attempts: Vec<AttemptView>,
}

/// An attempt as the API has it.
#[derive(Deserialize)]
pub(super) struct AttemptView {
    number: u32,
    started_at: String,
    duration_ms: Option<u32>,
    status_code: Option<u16>,
    error: Option<String>,
    response_excerpt: Option<String>,
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    match command {
        Command::List(args) => list(args),
        Command::Show(Show { id, json, remote }) => {
            show(&remote.client()?.get(&format!("{DELIVERIES}/{id}"), &[])?, json)
        }
        Command::Resend(Resend { id, force, json, remote }) => {
            let query = [("force", force.then(|| "true".into()))];
            let resent = remote.client()?.post(&format!("{DELIVERIES}/{id}/resend"), &query)?;
            let mut out = Output::new();
            if json {
                return out.raw(&resent);
            }
            out.line(format_args!("it will be sent once more; what comes of it: hookledger deliveries show {id}"))
        }
    }
}

fn list(List { job, status, event, extent, remote }: List) -> Result<(), Failed> {
    let (client, mut out) = (remote.client()?, Output::new());
    let times = Times::new(out.is_terminal());
    let mut table = Table::new(&["DELIVERY", "JOB…", "EVENT", "STATUS", "ATTEMPTS", "CREATED", "WAITS FOR", "URL…"]);
    let filter = [("batch_id", job.map(|job| job.to_string())), ("status", status), ("event", event)];
    let left = client.pages(DELIVERIES, &filter, extent.most(), 100, |page| {
        if extent.json {
            return page.data.iter().try_for_each(|delivery| out.raw(delivery));
        }
        let deliveries: Vec<DeliveryView> = page.data.iter().map(|one| read(one)).collect::<Result<_, _>>()?;
        table.print(&mut out, &deliveries.iter().map(|delivery| row(delivery, times)).collect::<Vec<_>>())
    })?;
    extent.tell(&left);
    Ok(())
}

fn row(delivery: &DeliveryView, times: Times) -> [Cell; 8] {
    let made = delivery.attempts.last().map_or(0, |attempt| attempt.number);
    [
        Cell::from(&delivery.id),
        Cell::from(&delivery.batch_id),
        Cell::from(&delivery.event),
        Cell::styled(&delivery.status, style_of(&delivery.status)),
        Cell::from(format!("{made}/{}", delivery.max_attempts)),
        Cell::from(times.brief_iso(&delivery.created_at)),
        Cell::from(delivery.waiting.as_deref().unwrap_or("-")),
        Cell::from(&delivery.url),
    ]
}

fn show(delivery: &RawValue, json: bool) -> Result<(), Failed> {
    let mut out = Output::new();
    if json {
        return out.raw(delivery);
    }
    let delivery: DeliveryView = read(delivery)?;
    let times = Times::new(out.is_terminal());
    let made = delivery.attempts.last().map_or(0, |attempt| attempt.number);
    let mut pairs = vec![
        ("delivery", delivery.id.clone()),
        ("job", plain(&delivery.batch_id)),
        ("event", plain(&delivery.event)),
        ("url", plain(&delivery.url)),
        ("status", styled(&plain(&delivery.status), style_of(&delivery.status))),
        ("created", times.iso(&delivery.created_at)),
    ];
    pairs.extend(delivery.delivered_at.as_deref().map(|at| ("delivered", times.iso(at))));
    pairs.extend(delivery.dead_letter_id.map(|id| ("dead letter", format!("{id}; hookledger dlq show {id}"))));
    pairs.push(("attempts", format!("{made} of at most {}", delivery.max_attempts)));
    pairs.extend(delivery.next_attempt_at.as_deref().map(|at| ("next one", times.iso(at))));
    pairs.extend(delivery.waiting.as_deref().map(|what| ("waits for", waits_for(what))));
    out.pairs(&pairs)?;
    attempt_table(&mut out, &delivery.attempts, times)
}

/// What a pending delivery waits for, in more than a word.
fn waits_for(what: &str) -> String {
    let meaning = match what {
        "retry time" => "the time of its next attempt has not come",
        "progress interval" => "its job's progress was told a moment ago; a newer report takes its place",
        "destination paused" => "the destination fails, or asked to be left alone, and is tried again in a while",
        "rate limit" => "the destination gets as many attempts in a second as it may",
        "turn" => "other attempts, at this destination or at all, are being made",
        other => return plain(other),
    };
    format!("{what}: {meaning}")
}

/// The attempts of a delivery, below an empty line.
pub(super) fn attempt_table(out: &mut Output, made: &[AttemptView], times: Times) -> Result<(), Failed> {
    if made.is_empty() {
        return Ok(());
    }
    let row = |attempt: &AttemptView| {
        let (came_to, style) = match (&attempt.error, attempt.duration_ms) {
            (Some(error), _) => (error.clone(), BAD),
            (None, Some(_)) => (attempt.status_code.map_or("succeeded".into(), |code| format!("HTTP {code}")), GOOD),
            (None, None) => ("is being made".into(), OPEN),
        };
        [
            Cell::from(attempt.number.to_string()),
            Cell::from(times.brief_iso(&attempt.started_at)),
            Cell::from(attempt.duration_ms.map_or("-".into(), |took| format!("{took} ms"))),
            Cell::styled(came_to, style),
            Cell::from(attempt.response_excerpt.as_deref().unwrap_or_default()),
        ]
    };
    out.line("")?;
    let rows: Vec<_> = made.iter().map(row).collect();
    Table::new(&["ATTEMPT", "BEGAN", "TOOK", "CAME TO…", "ANSWER…"]).print(out, &rows)
}
