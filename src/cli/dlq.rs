//! `hookledger dlq`: the dead letters of a running server.

use clap::builder::PossibleValuesParser;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Failed;
use super::ask::Consent;
use super::client::{Client, read};
use super::deliveries::{AttemptView, attempt_table};
use super::extent::Extent;
use super::output::{BAD, GOOD, HEADING, OPEN, Output, styled};
use super::remote::Remote;
use super::render::plain;
use super::table::{Cell, Table};
use super::times::{Moment, Times};
use crate::domain::id::JobId;
use crate::domain::webhook::EventKind;

mod bulk;

const LETTERS: &str = "/v1/webhooks/dead-letter";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Lists dead letters, newest first
    List(List),
    /// Shows one dead letter with its attempts and its payload
    Show(Show),
    /// Tries one dead letter once more, or all that a filter chooses
    Retry(Retry),
    /// Deletes one dead letter, after asking; its delivery's history stays
    Delete(Delete),
    /// Deletes all dead letters that a filter chooses, after saying how many and asking
    Purge(Purge),
}

/// Which dead letters are meant.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Filter")]
pub(super) struct Filter {
    /// Those about this job [default: of all]
    #[arg(long, value_name = "ID", value_parser = JobId::new)]
    job: Option<JobId>,
    /// Those that tell of this [default: of all]
    #[arg(long, value_parser = PossibleValuesParser::new(EventKind::ALL.map(EventKind::as_str)))]
    event: Option<String>,
    /// Those to exactly this URL [default: to all]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Whether a retry has succeeded [default: both]
    #[arg(long, value_name = "BOOL")]
    resolved: Option<bool>,
    /// Given up at this time or later: 2026-01-31T09:30:00Z, 2026-01-31, or 2h or 7d for so long ago [default: ever]
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Given up before this time [default: ever]
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

impl Filter {
    fn given(&self) -> [(&'static str, Option<String>); 6] {
        [
            ("batch_id", self.job.as_ref().map(ToString::to_string)),
            ("event", self.event.clone()),
            ("url", self.url.clone()),
            ("resolved", self.resolved.map(|is| is.to_string())),
            ("since", self.since.map(|at| at.0.to_string())),
            ("until", self.until.map(|at| at.0.to_string())),
        ]
    }

    fn is_empty(&self) -> bool {
        self.given().iter().all(|(_, value)| value.is_none())
    }

    /// As the body of a request; without any of it, a mistake.
    fn body(&self) -> Result<Map<String, Value>, Failed> {
        if self.is_empty() {
            let why = "say which: at least one of --job, --event, --url, --resolved, --since and --until \
                       (--since 1970-01-01 for all)";
            return Err(Failed::Usage(why.into()));
        }
        let given = self.given().into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
        let mut body: Map<String, Value> = given.collect();
        body.extend(self.resolved.map(|is| ("resolved".to_owned(), is.into())));
        Ok(body)
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hookledger dlq list --resolved false --since 1d")]
pub(super) struct List {
    #[command(flatten)]
    extent: Extent,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The dead letter's number
    id: u64,
    /// Print the API's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "One is tried at once. Many are queued, after the number was shown and confirmed, and go out as their \
    destinations allow.\nExit code: 1 if an attempt failed.\n\nExamples:\n  \
    hookledger dlq retry 17\n  \
    hookledger dlq retry --url https://example.com/hook --since 2h --resolved false"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct Retry {
    /// The dead letter's number; or else give a filter
    id: Option<u64>,
    /// Also when a retry has succeeded already
    #[arg(long)]
    force: bool,
    /// Do not wait for what comes of it
    #[arg(long)]
    no_wait: bool,
    /// Only say how many it would be
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
    #[command(flatten)]
    consent: Consent,
    /// Print the API's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
pub(super) struct Delete {
    /// The dead letter's number
    id: u64,
    #[command(flatten)]
    consent: Consent,
    /// Print the API's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hookledger dlq purge --resolved true --until 30d")]
pub(super) struct Purge {
    /// Only say how many it would be
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    consent: Consent,
    /// Print the API's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    remote: Remote,
}

/// A dead letter as the API has it. What a list leaves out is empty.
#[derive(Deserialize)]
struct LetterView {
    id: u64,
    batch_id: String,
    webhook_url: String,
    event: String,
    delivery_id: String,
    error_message: String,
    attempts: u32,
    last_attempt_at: String,
    created_at: String,
    retried_at: Option<String>,
    retry_success: Option<bool>,
    payload: Option<String>,
    #[serde(default)]
    attempt_history: Vec<AttemptView>,
}

/// What became of one retry.
#[derive(Deserialize)]
struct Retried {
    retry_success: Option<bool>,
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    match command {
        Command::List(args) => list(args),
        Command::Show(Show { id, json, remote }) => show(&remote.client()?.get(&path(id), &[])?, json),
        Command::Retry(args) => match args.id {
            Some(_) if !args.filter.is_empty() => Err(Failed::Usage("give a number or a filter, not both".into())),
            Some(id) => retry(id, args),
            None => bulk::retry(args),
        },
        Command::Delete(args) => delete(args),
        Command::Purge(args) => bulk::purge(args),
    }
}

fn path(id: u64) -> String {
    format!("{LETTERS}/{id}")
}

fn list(List { extent, filter, remote }: List) -> Result<(), Failed> {
    let (client, mut out) = (remote.client()?, Output::new());
    let times = Times::new(out.is_terminal());
    let mut table = Table::new(&["NUMBER", "JOB…", "EVENT", "ATTEMPTS", "CREATED", "RETRY", "FAILURE…", "URL…"]);
    let left = client.pages(LETTERS, &filter.given(), extent.most(), 1000, |page| {
        if extent.json {
            return page.data.iter().try_for_each(|letter| out.raw(letter));
        }
        let letters: Vec<LetterView> = page.data.iter().map(|letter| read(letter)).collect::<Result<_, _>>()?;
        table.print(&mut out, &letters.iter().map(|letter| row(letter, times)).collect::<Vec<_>>())
    })?;
    extent.tell(&left);
    Ok(())
}

fn row(letter: &LetterView, times: Times) -> [Cell; 8] {
    let (retried, style) = match letter.retry_success {
        Some(true) => ("delivered", GOOD),
        Some(false) => ("failed", BAD),
        None => ("-", OPEN),
    };
    [
        Cell::from(letter.id.to_string()),
        Cell::from(&letter.batch_id),
        Cell::from(&letter.event),
        Cell::from(letter.attempts.to_string()),
        Cell::from(times.brief_iso(&letter.created_at)),
        Cell::styled(retried, style),
        Cell::from(&letter.error_message),
        Cell::from(&letter.webhook_url),
    ]
}

fn show(letter: &RawValue, json: bool) -> Result<(), Failed> {
    let mut out = Output::new();
    if json {
        return out.raw(letter);
    }
    let letter: LetterView = read(letter)?;
    let times = Times::new(out.is_terminal());
    let retried = match letter.retry_success {
        Some(true) => styled("delivered", GOOD),
        Some(false) => styled("failed", BAD),
        None => "never".into(),
    };
    let mut pairs = vec![
        ("dead letter", letter.id.to_string()),
        ("job", plain(&letter.batch_id)),
        ("event", plain(&letter.event)),
        ("url", plain(&letter.webhook_url)),
        ("delivery", letter.delivery_id),
        ("failure", styled(&plain(&letter.error_message), BAD)),
        ("attempts", letter.attempts.to_string()),
        ("last one", times.iso(&letter.last_attempt_at)),
        ("given up", times.iso(&letter.created_at)),
        ("retried", retried),
    ];
    pairs.extend(letter.retried_at.as_deref().map(|at| ("", times.iso(at))));
    out.pairs(&pairs)?;
    attempt_table(&mut out, &letter.attempt_history, times)?;
    out.line("")?;
    match &letter.payload {
        Some(payload) => out.line(format_args!("{HEADING}PAYLOAD{HEADING:#}\n{}", plain(payload))),
        None => out.line("its payload was erased"),
    }
}

fn retry(id: u64, Retry { force, no_wait, json, remote, .. }: Retry) -> Result<(), Failed> {
    let client = remote.client()?;
    let set = |is: bool, value: &str| is.then(|| value.to_owned());
    let query = [("force", set(force, "true")), ("wait", set(no_wait, "false"))];
    let answer = client.post(&format!("{}/retry", path(id)), &query)?;
    let mut out = Output::new();
    let Retried { retry_success } = read(&answer)?;
    if json {
        out.raw(&answer)?;
    }
    match retry_success {
        Some(false) => Err(Failed::Run(format!("dead letter {id}: the attempt failed{}", why(&client, id)))),
        _ if json => Ok(()),
        Some(true) => out.line(format_args!("dead letter {id} is {}", styled("delivered", GOOD))),
        None => out.line(format_args!("it will be tried; what comes of it: hookledger dlq show {id}")),
    }
}

/// The newest failure of a dead letter, as far as it can be said.
fn why(client: &Client, id: u64) -> String {
    let letter = client.get(&path(id), &[]).map_err(Failed::from).and_then(|letter| read::<LetterView>(&letter));
    letter.map_or_else(|_| String::new(), |letter| format!(": {}", plain(&letter.error_message)))
}

fn delete(Delete { id, consent, json, remote }: Delete) -> Result<(), Failed> {
    consent.check("deleting a dead letter")?;
    let client = remote.client()?;
    if !consent.yes {
        let LetterView { batch_id, event, webhook_url, .. } = read(&client.get(&path(id), &[])?)?;
        let [job, event, url] = [batch_id, event, webhook_url].map(|text| plain(&text));
        consent.ask(&format!("Delete dead letter {id} ('{event}' of job {job}, to {url})?"))?;
    }
    let answer = client.delete(&path(id))?;
    let mut out = Output::new();
    if json { out.raw(&answer) } else { out.line(format_args!("dead letter {id} is deleted")) }
}
