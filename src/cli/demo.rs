//! `hookledger demo`: the main job, end to end, in one process and a temporary directory.
//!
//! Nothing here is staged: the engine, the log on disk, the workers and the HTTP requests are those of `serve`, and the
//! receiver verifies with the library that receivers use. What must have happened is checked at the end.

use std::sync::Arc;
use std::time::Duration;

use super::Failed;
use crate::clock::Stopwatch;
use crate::domain::event::{Envelope, Event};
use crate::domain::id::{DeadLetterId, JobId, Seq};
use crate::domain::job::{JobSpec, Report, Status};
use crate::domain::rejection::Rejection;
use crate::domain::webhook::{EventKind, Webhook};
use crate::log::sled::SledLog;
use crate::runtime::{Error, Handle, Options, Runtime};
use crate::signature::Secret;
use crate::transport::guard::Guard;
use crate::transport::ureq::{UreqSettings, UreqTransport};

mod checks;
mod receiver;
mod stage;

use checks::Checks;
use receiver::Receiver;
use stage::Stage;

/// The time within which every single thing has to happen.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "It takes a few seconds, and leaves nothing behind. Exit code: 1 if anything did not happen as it should."
)]
pub(super) struct Args {
    /// Print the events as the API's objects, one a line, and then what was checked
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failed> {
    let stage = Stage::new(args.json);
    let directory = tempfile::tempdir()?;
    let secret = Secret::new("whsec_aG9va2xlZGdlci1kZW1vLXNlY3JldC0zMi1ieXRlcw")?;
    let receiver = Receiver::start(&secret, stage).map_err(|error| Failed::Run(format!("no receiver: {error}")))?;
    let log = SledLog::open(directory.path())?;
    let transport = Arc::new(UreqTransport::new(UreqSettings { guard: Guard::dev(), ..UreqSettings::default() }));
    let mut options = Options::default();
    options.engine.policy.allow_http = true;
    let runtime = Runtime::start(Box::new(log), transport, &options)?;
    stage.say(format_args!(
        "A receiver listens at {}; the log is in {}.",
        receiver.url(),
        directory.path().display()
    ))?;
    let mut demo = Demo {
        handle: runtime.handle().clone(),
        receiver,
        secret,
        read: Seq::ZERO,
        events: Vec::new(),
        checks: Checks::default(),
        watch: Stopwatch::start(),
        stage,
    };
    let tasks = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tasks.block_on(demo.play())?;
    let Demo { handle, checks, .. } = demo;
    drop(handle);
    runtime.shutdown();
    checks.conclude(stage)
}

struct Demo {
    handle: Handle,
    receiver: Receiver,
    secret: Secret,
    /// The position up to which events were printed.
    read: Seq,
    events: Vec<Envelope>,
    checks: Checks,
    watch: Stopwatch,
    stage: Stage,
}

impl Demo {
    async fn play(&mut self) -> Result<(), Failed> {
        self.heading("A job with a webhook is done: one write, one delivery")?;
        self.complete("swift", Webhook::to(self.receiver.url())).await?;
        self.until("the first delivery", |event| matches!(event.event, Event::AttemptSucceeded { .. })).await?;
        self.heading("A job is cancelled, whose webhook asked for 'completed' only: nobody is told")?;
        let only_completed = Webhook { events: Some(vec![EventKind::Completed]), ..Webhook::to(self.receiver.url()) };
        self.register("filtered", only_completed).await?;
        self.report("filtered", Status::Cancelled).await?;
        self.heading("A receiver that is down for the first two attempts, and one that stays down")?;
        self.receiver.fail("flaky", 2);
        self.receiver.fail("doomed", u32::MAX);
        self.complete("flaky", Webhook::to(self.receiver.url())).await?;
        let twice = Webhook { max_retries: Some(2), ..Webhook::to(self.receiver.url()) };
        self.complete("doomed", twice).await?;
        self.until("the delivery that becomes a dead letter", |event| {
            matches!(event.event, Event::DeliveryExhausted { .. })
        })
        .await?;
        self.until("the third attempt, which succeeds", |event| {
            event.job.as_str() == "flaky" && matches!(event.event, Event::AttemptSucceeded { .. })
        })
        .await?;
        self.retry_the_dead_letter().await?;
        self.catch_up()?;
        self.check();
        self.summarize()
    }

    async fn retry_the_dead_letter(&mut self) -> Result<(), Failed> {
        let letter = DeadLetterId(1);
        self.heading("The receiver is mended; an operator retries the dead letter")?;
        self.receiver.fail("doomed", 0);
        let retried = self.handle.retry_dead_letter(letter, false, true).await?;
        self.catch_up()?;
        self.checks.that("the dead letter's retry succeeded", retried.success == Some(true));
        self.heading("… and once more, by mistake")?;
        let again = self.handle.retry_dead_letter(letter, false, true).await;
        if let Err(error) = &again {
            self.stage.aside(&format!("refused: {error}"))?;
        }
        let refused = again == Err(Error::Rejected(Rejection::AlreadyRetried));
        self.checks.that("a second retry was refused, and sent nothing", refused);
        self.heading("… and once more, with force")?;
        let forced = self.handle.retry_dead_letter(letter, true, true).await?;
        self.catch_up()?;
        self.checks.that("a forced retry was made and succeeded", forced.success == Some(true) && forced.forced);
        Ok(())
    }

    async fn complete(&mut self, name: &str, webhook: Webhook) -> Result<(), Failed> {
        self.register(name, webhook).await?;
        self.report(name, Status::InProgress).await?;
        self.report(name, Status::Completed).await
    }

    async fn register(&mut self, name: &str, webhook: Webhook) -> Result<(), Failed> {
        let spec = JobSpec { total: 100, webhook: Some(webhook), ..JobSpec::default() };
        self.handle.register(JobId::new(name)?, spec, Some(self.secret.clone())).await?;
        self.catch_up()
    }

    async fn report(&mut self, name: &str, status: Status) -> Result<(), Failed> {
        let done = if status == Status::Completed { Some(100) } else { None };
        let report = Report { completed: done, ..Report::of(status) };
        self.handle.report(JobId::new(name)?, report, None).await?;
        self.catch_up()
    }

    /// Prints events as they come, until one of them is what is waited for.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Envelope) -> bool) -> Result<(), Failed> {
        loop {
            self.catch_up()?;
            if self.events.iter().any(&wanted) {
                return Ok(());
            }
            let beyond = tokio::time::timeout(PATIENCE, self.handle.beyond(self.read)).await;
            beyond.map_err(|_| Failed::Run(format!("{what} did not happen within {} s", PATIENCE.as_secs())))?;
        }
    }

    fn catch_up(&mut self) -> Result<(), Failed> {
        loop {
            let news = self.handle.log().events(self.read, 256)?;
            let Some(last) = news.last() else { return Ok(()) };
            self.read = last.seq;
            for event in &news {
                self.stage.event(event)?;
            }
            self.events.extend(news);
        }
    }

    fn heading(&self, text: &str) -> Result<(), Failed> {
        self.stage.heading(&format!("[{:5.2} s] {text}", self.watch.elapsed().as_secs_f32()))
    }

    /// What must have happened, by the receiver's own record and by the log.
    fn check(&mut self) {
        let seen = self.receiver.seen();
        let of = |job: &str| seen.iter().filter(|seen| seen.job == job).collect::<Vec<_>>();
        let (swift, flaky, doomed) = (of("swift"), of("flaky"), of("doomed"));
        let checks = &mut self.checks;
        checks.that("every request verified at the receiver", seen.iter().all(|seen| seen.refused.is_none()));
        checks.that("one job was delivered at the first attempt", swift.len() == 1 && swift[0].answered == 200);
        let answers: Vec<u16> = flaky.iter().map(|seen| seen.answered).collect();
        checks.that("one was delivered after two failures", answers == [503, 503, 200]);
        let fresh =
            flaky.windows(2).all(|two| two[0].timestamp < two[1].timestamp && two[0].signature != two[1].signature);
        checks.that("every attempt had a timestamp and a signature of its own", fresh);
        let same = flaky.windows(2).all(|two| two[0].id == two[1].id && two[0].body == two[1].body);
        checks.that("every attempt had the same webhook-id and the same body", same);
        let answers: Vec<u16> = doomed.iter().map(|seen| seen.answered).collect();
        checks.that(
            "the dead letter was sent four times: twice in vain, retried, forced",
            answers == [503, 503, 200, 200],
        );
        checks.that("nobody was told what nobody had asked for", of("filtered").is_empty());
        let letters = self.events.iter().filter(|event| matches!(event.event, Event::DeliveryExhausted { .. })).count();
        checks.that("there is exactly one dead letter", letters == 1);
    }

    fn summarize(&mut self) -> Result<(), Failed> {
        let job = self.handle.views().job(&JobId::new("doomed")?)?;
        let job = job.ok_or_else(|| Failed::Run("the batch 'doomed' is gone".into()))?;
        if !self.stage.is_for_programs() {
            self.stage.heading("The history of the batch 'doomed', from the log")?;
            self.handle.views().history(&job)?.iter().try_for_each(|event| self.stage.event(event))?;
        }
        let state = crate::engine::replay::rebuild(self.handle.log(), self.read)?;
        let different = crate::engine::replay::differences(&state, self.handle.log())?;
        self.checks.that("the views rebuilt from the log equal the stored ones", different.is_empty());
        let count = |wanted: fn(&Event) -> bool| self.events.iter().filter(|event| wanted(&event.event)).count();
        self.stage.say(format_args!(
            "\n{} events; {} deliveries, {} attempts, {} of them failed; {:.1} s",
            self.events.len(),
            count(|event| matches!(event, Event::DeliveryScheduled { .. })),
            count(|event| matches!(event, Event::AttemptStarted { .. })),
            count(|event| matches!(event, Event::AttemptFailed { .. })),
            self.watch.elapsed().as_secs_f32(),
        ))?;
        if let Some(wait) = self.report_to_delivery("swift") {
            self.stage.say(format_args!("from the report of 'swift' to its delivery: {} ms", wait.as_millis()))?;
        }
        self.stage.say("")
    }

    /// How long it took from the report of a job's end to its delivery.
    fn report_to_delivery(&self, job: &str) -> Option<Duration> {
        let mut of_job = self.events.iter().filter(|event| event.job.as_str() == job);
        let scheduled = of_job.find(|event| matches!(event.event, Event::DeliveryScheduled { .. }))?;
        let delivered = of_job.find(|event| matches!(event.event, Event::AttemptSucceeded { .. }))?;
        Some(delivered.at.since(scheduled.at))
    }
}
