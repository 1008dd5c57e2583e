//! A program that delivers webhooks about its own jobs, with the engine inside it.
//!
//! `cargo run --example embed -- DIRECTORY URL` does one job and tells the URL; `WEBHOOK_SECRET` signs. A state change and
//! its webhook are one write: when `wait()` returns, both are on disk, whatever happens to this program next.

use std::path::Path;
use std::sync::Arc;

use hookledger::domain::id::JobId;
use hookledger::domain::job::{JobSpec, Report, Status};
use hookledger::domain::webhook::Webhook;
use hookledger::log::sled::SledLog;
use hookledger::runtime::{Options, Runtime};
use hookledger::signature::Secret;
use hookledger::transport::guard::Guard;
use hookledger::transport::ureq::{UreqSettings, UreqTransport};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(url)) = (arguments.next(), arguments.next()) else {
        return Err("usage: embed DIRECTORY URL".into());
    };
    let secret = std::env::var("WEBHOOK_SECRET").map(Secret::new).ok().transpose()?;

    // For trying it on this machine: http, and receivers on private addresses. Leave both lines out in production.
    let transport = UreqTransport::new(UreqSettings { guard: Guard::dev(), ..UreqSettings::default() });
    let mut options = Options::default();
    options.engine.policy.allow_http = true;

    let log = SledLog::open(Path::new(&directory))?;
    let runtime = Runtime::start(Box::new(log), Arc::new(transport), &options)?;
    let jobs = runtime.handle();

    // The id is the program's own. Doing this again after a crash gives the same job, not a second one.
    let id = JobId::new("import-1")?;
    let spec = JobSpec { webhook: Some(Webhook::to(url)), ..JobSpec::default() };
    jobs.register(id.clone(), spec, secret).wait()?;

    let rows = work();

    let report = Report { total: Some(rows), completed: Some(rows), ..Report::of(Status::Completed) };
    let job = jobs.report(id, report, None).wait()?;
    println!("{} is {}; its webhook is on its way", job.id, job.status);

    // Attempts in flight are finished and recorded. What is left goes on when the program runs again.
    runtime.shutdown();
    Ok(())
}

/// What the program is really for.
fn work() -> u64 {
    (1..=1000).filter(|n| n % 7 == 0).count() as u64
}
