//! `hookledger jobs`: the jobs of a running server.

use clap::builder::PossibleValuesParser;
use serde_json::value::RawValue;

use super::Failed;
use super::client::{Client, Page, read};
use super::extent::Extent;
use super::output::{BAD, FAINT, Output, style_of, styled};
use super::remote::Remote;
use super::render::{self, EventView};
use super::table::{Cell, Table};
use super::times::Times;
use crate::domain::batch::BatchObject;
use crate::domain::id::JobId;
use crate::domain::job::Status;
use crate::domain::time::Timestamp;

const BATCHES: &str = "/v1/batches";

/// Events of a history that are read at a time.
const EVENTS: usize = 1000;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Lists jobs, newest first
    List(List),
    /// Shows one job, now or as it was at a position of the log
    Show(Show),
    /// Shows what has happened to one job, oldest first
    History(OfJob),
    /// Asks a job's worker to stop: the job becomes 'cancelling', and is 'cancelled' when its worker says so
    Cancel(OfJob),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hookledger jobs list --status failed\n  hookledger jobs list --all --json | jq -r .id"
)]
pub(super) struct List {
    /// Only jobs with this status [default: all]
    #[arg(long, value_parser = PossibleValuesParser::new(Status::ALL.map(Status::as_str)))]
    status: Option<String>,
    #[command(flatten)]
    extent: Extent,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hookledger jobs show import-17 --at 4711")]
pub(super) struct Show {
    /// The job's id
    #[arg(value_parser = JobId::new)]
    id: JobId,
    /// As it was when the log ended at this position [default: now]
    #[arg(long, value_name = "SEQ")]
    at: Option<u64>,
    /// Print the API's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
pub(super) struct OfJob {
    /// The job's id
    #[arg(value_parser = JobId::new)]
    id: JobId,
    /// Print the API's objects, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    match command {
        Command::List(args) => list(args),
        Command::Show(Show { id, at, json, remote }) => {
            let job = remote.client()?.get(&path(&id), &[("at", at.map(|at| at.to_string()))])?;
            show(&job, json)
        }
        Command::History(OfJob { id, json, remote }) => history(&remote.client()?, &id, json),
        Command::Cancel(OfJob { id, json, remote }) => {
            let job = remote.client()?.post(&format!("{}/cancel", path(&id)), &[])?;
            show(&job, json)
        }
    }
}

fn path(id: &JobId) -> String {
    format!("{BATCHES}/{id}")
}

fn list(List { status, extent, remote }: List) -> Result<(), Failed> {
    let (client, mut out) = (remote.client()?, Output::new());
    let times = Times::new(out.is_terminal());
    let mut table = Table::new(&["JOB…", "STATUS", "REQUESTS", "WEBHOOK", "ATTEMPTS", "CREATED"]);
    let left = client.pages(BATCHES, &[("status", status)], extent.most(), 100, |page| {
        if extent.json {
            return page.data.iter().try_for_each(|job| out.raw(job));
        }
        let jobs: Vec<BatchObject> = page.data.iter().map(|job| read(job)).collect::<Result<_, _>>()?;
        table.print(&mut out, &jobs.iter().map(|job| row(job, times)).collect::<Vec<_>>())
    })?;
    extent.tell(&left);
    Ok(())
}

fn row(job: &BatchObject, times: Times) -> [Cell; 6] {
    let webhook = job.webhook_status.as_deref().unwrap_or(if job.webhook_url.is_some() { "waiting" } else { "none" });
    [
        Cell::from(&job.id),
        Cell::styled(&job.status, style_of(&job.status)),
        Cell::from(requests(job)),
        Cell::styled(webhook, style_of(webhook)),
        Cell::from(job.webhook_attempts.to_string()),
        Cell::from(times.brief(Timestamp::from_seconds(job.created_at))),
    ]
}

/// `3/4, 1 failed`.
fn requests(job: &BatchObject) -> String {
    let counts = job.request_counts;
    let failed = if counts.failed > 0 { format!(", {} failed", counts.failed) } else { String::new() };
    format!("{}/{}{failed}", counts.completed, counts.total)
}

fn show(job: &RawValue, json: bool) -> Result<(), Failed> {
    let mut out = Output::new();
    if json {
        return out.raw(job);
    }
    let job: BatchObject = read(job)?;
    let times = Times::new(out.is_terminal());
    let mut pairs = vec![
        ("job", job.id.clone()),
        ("status", styled(&job.status, style_of(&job.status))),
        ("requests", requests(&job)),
        ("endpoint", render::plain(&job.endpoint)),
    ];
    let mut add = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
    let mut at = |name, at: Option<i64>| add(name, at.map(|at| times.show(Timestamp::from_seconds(at))));
    at("created", Some(job.created_at));
    at("in progress", job.in_progress_at);
    at("finalizing", job.finalizing_at);
    at("cancelling", job.cancelling_at);
    at("completed", job.completed_at);
    at("failed", job.failed_at);
    at("expired", job.expired_at);
    at("cancelled", job.cancelled_at);
    at("expires", Some(job.expires_at).filter(|_| is_open(&job)));
    add("input file", job.input_file_id.as_deref().map(render::plain));
    add("output file", job.output_file_id.as_deref().map(render::plain));
    add("error file", job.error_file_id.as_deref().map(render::plain));
    for error in job.errors.iter().flat_map(|errors| &errors.data) {
        let message =
            format!("{}: {}", error.code.as_deref().unwrap_or("error"), error.message.as_deref().unwrap_or(""));
        add("error", Some(styled(&render::plain(&message), BAD)));
    }
    for (name, value) in job.metadata.iter().flatten() {
        add("metadata", Some(render::plain(&format!("{name} = {value}"))));
    }
    add("webhook", job.webhook_url.as_deref().map(render::plain));
    add("  status", job.webhook_status.as_deref().map(|status| webhook(&job, status)));
    add("  tried", job.webhook_last_attempt.map(|at| times.show(Timestamp::from_seconds(at))));
    add("  failure", job.webhook_error.as_deref().map(|error| styled(&render::plain(error), BAD)));
    out.pairs(&pairs)
}

fn is_open(job: &BatchObject) -> bool {
    Status::parse(&job.status).is_ok_and(|status| !status.is_terminal())
}

fn webhook(job: &BatchObject, status: &str) -> String {
    format!("{} {FAINT}after {}{FAINT:#}", styled(status, style_of(status)), render::attempts(job.webhook_attempts))
}

fn history(client: &Client, id: &JobId, json: bool) -> Result<(), Failed> {
    let mut out = Output::new();
    let path = format!("{}/history", path(id));
    let mut after = 0;
    loop {
        let query = [("after", Some(after.to_string())), ("limit", Some(EVENTS.to_string()))];
        let page: Page = read(&client.get(&path, &query)?)?;
        for raw in &page.data {
            let event: EventView = read(raw)?;
            after = event.seq;
            if json { out.raw(raw)? } else { out.line(render::event(&event, out.width()))? }
        }
        if !page.has_more || page.data.is_empty() {
            return Ok(());
        }
    }
}
