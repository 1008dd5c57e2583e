//! Many dead letters at once: first how many, then the question, then what comes of it.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{LETTERS, Purge, Retry};
use crate::cli::Failed;
use crate::cli::client::{Client, read};
use crate::cli::log::feed::Feed;
use crate::cli::output::Output;
use crate::cli::progress::Progress;

/// What a bulk retry comes to.
#[derive(Deserialize)]
struct BulkRetried {
    matched: u64,
    queued: u64,
    skipped: u64,
}

#[derive(Deserialize)]
struct Purged {
    deleted: u64,
}

/// Of an event, what matters here.
#[derive(Deserialize)]
struct Told {
    #[serde(rename = "type")]
    kind: String,
    delivery_id: Option<String>,
}

pub(super) fn retry(args: Retry) -> Result<(), Failed> {
    let Retry { force, no_wait, dry_run, consent, json, filter, remote, .. } = args;
    let mut body = filter.body()?;
    if !dry_run {
        consent.check("a bulk retry")?;
    }
    let (client, mut out) = (remote.client()?, Output::new());
    body.insert("force".into(), force.into());
    let answer = client.send(&format!("{LETTERS}/retry"), &dry(&body))?;
    let BulkRetried { matched, queued, skipped } = read(&answer)?;
    if dry_run || queued == 0 {
        let counts = format!("{} would be retried, {skipped} passed over", letters(queued));
        return if json { out.raw(&answer) } else { out.line(counts) };
    }
    let passed_over =
        if skipped > 0 { format!(" of {matched}; the others are delivered or on their way") } else { String::new() };
    consent.ask(&format!("Retry {}{passed_over}?", letters(queued)))?;
    // From here on it is told what comes of them.
    let feed = Feed::from_end(&client)?;
    let answer = client.send(&format!("{LETTERS}/retry"), &Value::Object(body))?;
    let BulkRetried { queued, skipped, .. } = read(&answer)?;
    if json {
        out.raw(&answer)?;
    }
    if no_wait {
        return if json { Ok(()) } else { out.line(format!("{} queued, {skipped} passed over", letters(queued))) };
    }
    let (delivered, failed) = follow(&client, feed, queued)?;
    let said = format!("{delivered} of {} delivered", letters(queued));
    match failed {
        0 if json => Ok(()),
        0 => out.line(said),
        failed => Err(Failed::Run(format!("{said}; {failed} failed again: hookledger dlq list --resolved false"))),
    }
}

/// Follows the log until each of `queued` retries has come to its end. Gives how many were delivered, and how many not.
fn follow(client: &Client, mut feed: Feed, queued: u64) -> Result<(u64, u64), Failed> {
    let bar = Progress::of("retrying", queued);
    let (mut asked, mut delivered, mut failed) = (HashSet::new(), 0, 0);
    while delivered + failed < queued {
        feed.read(client, Duration::from_secs(30), &mut |why| bar.say(why), &mut |event| {
            let Told { kind, delivery_id: Some(id) } = read(event)? else { return Ok(()) };
            let ends = |ended: &mut u64, was_asked: bool| *ended += u64::from(was_asked);
            match &*kind {
                "redelivery_requested" => drop(asked.insert(id)),
                "attempt_succeeded" => ends(&mut delivered, asked.remove(&id)),
                "attempt_failed" => ends(&mut failed, asked.remove(&id)),
                _ => {}
            }
            Ok(())
        })?;
        bar.at(delivered + failed);
    }
    Ok((delivered, failed))
}

pub(super) fn purge(Purge { dry_run, consent, json, filter, remote }: Purge) -> Result<(), Failed> {
    let body = filter.body()?;
    if !dry_run {
        consent.check("a purge")?;
    }
    let (client, mut out) = (remote.client()?, Output::new());
    let path = format!("{LETTERS}/purge");
    let answer = client.send(&path, &dry(&body))?;
    let Purged { deleted } = read(&answer)?;
    if dry_run || deleted == 0 {
        return if json { out.raw(&answer) } else { out.line(format!("{} would be deleted", letters(deleted))) };
    }
    consent.ask(&format!("Delete {}? They are gone then; the history of their deliveries stays.", letters(deleted)))?;
    let answer = client.send(&path, &Value::Object(body))?;
    let Purged { deleted } = read(&answer)?;
    if json { out.raw(&answer) } else { out.line(format!("{} deleted", letters(deleted))) }
}

fn dry(body: &Map<String, Value>) -> Value {
    let mut body = body.clone();
    body.insert("dry_run".into(), true.into());
    Value::Object(body)
}

fn letters(many: u64) -> String {
    if many == 1 { "1 dead letter".into() } else { format!("{many} dead letters") }
}
