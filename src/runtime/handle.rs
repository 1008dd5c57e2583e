//! The way into a running engine, for threads and for tasks alike.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::question::{self, Question, Waits};
use crate::domain::command::{Command, Rotation};
use crate::domain::id::DeliveryId;
use crate::domain::id::{DeadLetterId, JobId, Seq};
use crate::domain::job::{Job, JobSpec, Report};
use crate::domain::rejection::Rejection;
use crate::engine::{Answer, Confidential, Keep, Retried, When};
use crate::log::LogReader;
use crate::meter::Meter;
use crate::schedule::Condition;
use crate::signature::Secret;
use crate::views::Views;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It was refused, and nothing was recorded.
    Rejected(Rejection),
    /// Too much is waiting already. Come back in a moment; nothing was recorded.
    Overloaded,
    /// The engine is shutting down. Whether it was recorded is known after a restart.
    Stopping,
    /// Storage failed, in these words. Nothing is accepted any more; what was recorded is known after a restart.
    Failing(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Overloaded => f.write_str("Too many requests are waiting. Come back in a moment."),
            Self::Stopping => f.write_str("The server is shutting down."),
            Self::Failing(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

/// Whether the engine takes commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Serving,
    Stopping,
    Failing(String),
}

/// A command on its way to the engine's thread.
pub(super) struct Message {
    pub(super) command: Command,
    pub(super) confidential: Confidential,
    pub(super) when: When,
    pub(super) keep: Option<Keep>,
    pub(super) reply: Sender,
}

type Receiver = oneshot::Receiver<Result<Answer, Error>>;

/// Gives a reply, once.
pub(super) struct Sender(oneshot::Sender<Result<Answer, Error>>);

impl Sender {
    /// Whoever waited may have gone; what was recorded stays recorded.
    pub(super) fn give(self, reply: Result<Answer, Error>) {
        let _ = self.0.send(reply);
    }
}

/// A reply that is on its way: [`wait`](Self::wait) for it in a thread, or `.await` it in a task.
///
/// The command was handed over when this was made; dropping it takes nothing back.
#[must_use = "a command may be refused; the reply says so"]
pub struct Reply<T> {
    receiver: Receiver,
    read: fn(Answer) -> Option<T>,
}

impl<T> Reply<T> {
    /// Blocks until what was asked for is durable, or was refused.
    ///
    /// # Errors
    /// Says why it was not done.
    ///
    /// # Panics
    /// In an asynchronous task: `.await` it there.
    pub fn wait(self) -> Result<T, Error> {
        let read = self.read;
        read_reply(self.receiver.blocking_recv(), read)
    }
}

impl<T> Future for Reply<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let read = self.read;
        Pin::new(&mut self.receiver).poll(context).map(|reply| read_reply(reply, read))
    }
}

fn read_reply<T>(
    reply: Result<Result<Answer, Error>, oneshot::error::RecvError>,
    read: fn(Answer) -> Option<T>,
) -> Result<T, Error> {
    let answer = reply.unwrap_or(Err(Error::Stopping))?;
    read(answer).ok_or_else(|| Error::Failing("The engine gave an answer to another question.".into()))
}

/// The way into a running engine. Cheap to clone; any number of threads and tasks may have one.
#[derive(Clone)]
pub struct Handle {
    commands: crossbeam_channel::Sender<Message>,
    questions: crossbeam_channel::Sender<Question>,
    reader: Arc<dyn LogReader>,
    health: Arc<Mutex<Health>>,
    tail: watch::Receiver<Seq>,
    meter: Arc<Meter>,
}

impl Handle {
    pub(super) fn new(
        commands: crossbeam_channel::Sender<Message>,
        questions: crossbeam_channel::Sender<Question>,
        reader: Arc<dyn LogReader>,
        health: Arc<Mutex<Health>>,
        tail: watch::Receiver<Seq>,
        meter: Arc<Meter>,
    ) -> Self {
        Self { commands, questions, reader, health, tail, meter }
    }

    /// Registers a job under an id that the host has chosen. The same id with the same specification again gives the
    /// job as it is; with another one it is a conflict.
    ///
    /// `confidential` is the secret that signs the job's webhook, if it has one of its own, and the webhook's headers; they
    /// are kept beside the log, never in it.
    pub fn register(&self, id: JobId, spec: JobSpec, confidential: impl Into<Confidential>) -> Reply<Job> {
        self.keeping(None).register(id, spec, confidential)
    }

    /// Reports what a job's worker has to say. What already holds is no news and records nothing.
    ///
    /// With `if_match`, only when the job's version is still that one.
    pub fn report(&self, job: JobId, report: Report, if_match: Option<u64>) -> Reply<Job> {
        let command = Command::Report { job, if_match, report, rotation: None };
        self.keeping(None).send(command, Confidential::none(), When::Committed, read_job)
    }

    /// Gives a job's webhook another secret, and reports in the same step what there is to report. For `overlap` seconds
    /// what signed before signs as well. A secret that signs already is no news.
    ///
    /// With `if_match`, only when the job's version is still that one.
    pub fn rotate(
        &self,
        job: JobId,
        secret: Secret,
        overlap: u32,
        report: Report,
        if_match: Option<u64>,
    ) -> Reply<Job> {
        let rotation = Some(Rotation { secret: None, overlap });
        let command = Command::Report { job, if_match, report, rotation };
        self.keeping(None).send(command, Some(secret).into(), When::Committed, read_job)
    }

    /// Asks a job's worker to stop: the job becomes `cancelling`.
    pub fn cancel(&self, job: JobId) -> Reply<Job> {
        self.keeping(None).cancel(job)
    }

    /// Tries a dead letter once more. The reply comes with the attempt's end when `wait`, else as soon as it is durable
    /// that the attempt will be made.
    pub fn retry_dead_letter(&self, id: DeadLetterId, force: bool, wait: bool) -> Reply<Retried> {
        self.keeping(None).retry_dead_letter(id, force, wait)
    }

    /// Deletes a dead letter. The delivery's history stays.
    pub fn delete_dead_letter(&self, id: DeadLetterId) -> Reply<()> {
        self.keeping(None).send(Command::DeleteDeadLetter { id }, Confidential::none(), When::Committed, |_| Some(()))
    }

    /// Erases the payloads of a job's deliveries; the history stays. Not while one of them is pending or in flight. The reply
    /// says of how many deliveries there was one.
    pub fn erase_payloads(&self, job: JobId) -> Reply<usize> {
        self.keeping(None).send(Command::ErasePayloads { job }, Confidential::none(), When::Committed, read_many)
    }

    /// Sends a delivery once more, whatever became of it; what the receiver has, only with `force`. The reply comes as soon
    /// as it is durable that the attempt will be made.
    pub fn resend(&self, delivery: DeliveryId, force: bool) -> Reply<()> {
        self.keeping(None).resend(delivery, force)
    }

    /// The same, with the answer kept under an idempotency key, in the same commit as what it tells of.
    #[must_use]
    pub const fn keeping(&self, keep: Option<Keep>) -> Kept<'_> {
        Kept { handle: self, keep }
    }

    /// What there is to see. Reads never wait for writes.
    #[must_use]
    pub fn views(&self) -> Views<'_> {
        Views::new(&*self.reader)
    }

    /// The log itself.
    #[must_use]
    pub fn log(&self) -> &dyn LogReader {
        &*self.reader
    }

    /// Waits until the log goes on beyond position `after`. Gives its end, which is `after` only when the engine has ended.
    pub async fn beyond(&self, after: Seq) -> Seq {
        let mut tail = self.tail.clone();
        tail.wait_for(|tail| *tail > after).await.map_or(after, |tail| *tail)
    }

    /// What some deliveries, a page of them, wait for. One that waits for nothing is not in the answer, and none is when
    /// the engine has ended or too many ask.
    ///
    /// The answer comes between two steps of the engine, and a step takes as long as the disk does: put a bound on the wait.
    pub fn waits(&self, deliveries: Vec<DeliveryId>) -> impl Future<Output = Waits> + use<> {
        let asked = question::ask(self.questions.clone(), |reply| Question::Waits(deliveries, reply));
        async { asked.await.unwrap_or_default() }
    }

    /// How up to `limit` destinations stand, those first of which there is the most to tell; `None` when the engine has ended
    /// or too many ask. Put a bound on the wait, as for [`waits`](Self::waits).
    pub fn conditions(&self, limit: usize) -> impl Future<Output = Option<Vec<Condition>>> + use<> {
        question::ask(self.questions.clone(), move |reply| Question::Conditions(limit, reply))
    }

    /// Whether commands are taken.
    ///
    /// # Errors
    /// Says why not.
    pub fn health(&self) -> Result<(), Error> {
        match &*self.health.lock() {
            Health::Serving => Ok(()),
            Health::Stopping => Err(Error::Stopping),
            Health::Failing(why) => Err(Error::Failing(why.clone())),
        }
    }

    /// What is counted and measured.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    fn send<T>(&self, message: Message, receiver: Receiver, read: fn(Answer) -> Option<T>) -> Reply<T> {
        let refused = match self.health() {
            Err(error) => Some((message, error)),
            Ok(()) => match self.commands.try_send(message) {
                Ok(()) => None,
                Err(crossbeam_channel::TrySendError::Full(message)) => Some((message, Error::Overloaded)),
                Err(crossbeam_channel::TrySendError::Disconnected(message)) => Some((message, Error::Stopping)),
            },
        };
        if let Some((message, error)) = refused {
            message.reply.give(Err(error));
        }
        Reply { receiver, read }
    }
}

/// A handle of which the next answer is kept under an idempotency key, if one is given.
pub struct Kept<'a> {
    handle: &'a Handle,
    keep: Option<Keep>,
}

impl Kept<'_> {
    /// As [`Handle::register`].
    pub fn register(self, id: JobId, spec: JobSpec, confidential: impl Into<Confidential>) -> Reply<Job> {
        self.send(Command::Register { id, spec }, confidential.into(), When::Committed, read_job)
    }

    /// As [`Handle::cancel`].
    pub fn cancel(self, job: JobId) -> Reply<Job> {
        self.send(Command::Cancel { job }, Confidential::none(), When::Committed, read_job)
    }

    /// As [`Handle::retry_dead_letter`].
    pub fn retry_dead_letter(self, id: DeadLetterId, force: bool, wait: bool) -> Reply<Retried> {
        let when = if wait { When::Attempted } else { When::Committed };
        let read = |answer| if let Answer::Retried(retried) = answer { Some(retried) } else { None };
        self.send(Command::RetryDeadLetter { id, force }, Confidential::none(), when, read)
    }

    /// Tries many dead letters once more, in one commit: some hundred at a time. Those that can't be, or need not be, are
    /// passed over; the reply says how many were not.
    pub fn retry_dead_letters(self, ids: Vec<DeadLetterId>, force: bool) -> Reply<usize> {
        self.send(Command::RetryDeadLetters { ids, force }, Confidential::none(), When::Committed, read_many)
    }

    /// Deletes many dead letters, in one commit: some hundred at a time. The reply says how many there were.
    pub fn delete_dead_letters(self, ids: Vec<DeadLetterId>) -> Reply<usize> {
        self.send(Command::DeleteDeadLetters { ids }, Confidential::none(), When::Committed, read_many)
    }

    /// As [`Handle::resend`].
    pub fn resend(self, delivery: DeliveryId, force: bool) -> Reply<()> {
        self.send(Command::Resend { delivery, force }, Confidential::none(), When::Committed, |_| Some(()))
    }

    fn send<T>(
        self,
        command: Command,
        confidential: Confidential,
        when: When,
        read: fn(Answer) -> Option<T>,
    ) -> Reply<T> {
        let (sender, receiver) = oneshot::channel();
        let message = Message { command, confidential, when, keep: self.keep, reply: Sender(sender) };
        self.handle.send(message, receiver, read)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it reads an answer like the others")]
fn read_many(answer: Answer) -> Option<usize> {
    if let Answer::Many(many) = answer { Some(many) } else { None }
}

fn read_job(answer: Answer) -> Option<Job> {
    if let Answer::Job(job) = answer { Some(*job) } else { None }
}
