//! What goes into the engine, and what comes out of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::attempt::Attempt;
use crate::domain::IllegalTransition;
use crate::domain::command::Command;
use crate::domain::headers::CustomHeaders;
use crate::domain::id::{DeadLetterId, JobId, Seq};
use crate::domain::job::Job;
use crate::domain::observation::Observation;
use crate::domain::rejection::Rejection;
use crate::domain::state::Policy;
use crate::domain::time::Timestamp;
use crate::log::LogError;
use crate::schedule::Pacing;
use crate::signature::Secret;
use crate::views::answers::AnswerKey;

/// What the engine is configured with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What decisions depend on.
    pub policy: Policy,
    /// Sign for webhooks that have no secret of their own, newest first; none: those go unsigned.
    pub global_secrets: Vec<Secret>,
    /// How fast one destination (scheme, host and port) is served.
    pub pacing: Pacing,
    /// How long after the beginning of an attempt that told a job's progress the next one of that job begins at the
    /// earliest; zero: at once.
    pub progress_interval: Duration,
    /// How long a job is kept when it is over, counted from its newest event, with all that belongs to it; `None`: for ever.
    /// It is pruned within an eighth of that more, or a day more where that is less.
    pub retention: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            global_secrets: Vec::new(),
            pacing: Pacing::default(),
            progress_interval: Duration::from_secs(1),
            retention: Some(Duration::from_hours(30 * 24)),
        }
    }
}

/// Names whoever waits for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// When a reply is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// As soon as the command is durable.
    Committed,
    /// When the attempt that the command asks for has ended.
    Attempted,
}

/// An answer in the form in which it is kept under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The HTTP status code.
    pub status: u16,
    /// The `ETag`, where there is one.
    pub version: Option<u64>,
    /// The body's exact bytes.
    pub body: Vec<u8>,
}

/// Gives an answer the form in which it is kept; `None` when it is not to be kept.
pub type Render = dyn Fn(&Result<Answer, Rejection>) -> Option<Rendered> + Send + Sync;

/// Has the answer kept, in the same commit as what it tells of.
#[derive(Clone)]
pub struct Keep {
    /// Names the idempotency key.
    pub key: AnswerKey,
    /// A hash of the request.
    pub request: [u8; 32],
    /// The answer's form.
    pub render: Arc<Render>,
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep").finish_non_exhaustive()
    }
}

/// Who waits for a reply, and for what.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Names whoever waits.
    pub ticket: Ticket,
    /// When the reply is given.
    pub when: When,
    /// Whether the reply is kept, too.
    pub keep: Option<Keep>,
}

/// What comes with a command and that no event carries.
#[derive(Clone, Debug, Default)]
pub struct Confidential {
    /// The secret of the webhook that the command registers, or the one that it gets.
    pub secret: Option<Secret>,
    /// The headers of the webhook that the command registers.
    pub headers: CustomHeaders,
}

impl Confidential {
    /// Nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self { secret: None, headers: CustomHeaders::none() }
    }
}

impl From<Option<Secret>> for Confidential {
    fn from(secret: Option<Secret>) -> Self {
        Self { secret, ..Self::none() }
    }
}

/// A command on its way into the engine.
#[derive(Clone, Debug)]
pub struct Input {
    /// The command.
    pub command: Command,
    /// What comes with it.
    pub confidential: Confidential,
    /// Who asked, if anybody did.
    pub asked: Option<Asked>,
}

impl Input {
    /// A command whose outcome nobody waits for.
    #[must_use]
    pub const fn of(command: Command) -> Self {
        Self { command, confidential: Confidential::none(), asked: None }
    }
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The job as it is now.
    Job(Box<Job>),
    /// The dead letter's retry.
    Retried(Retried),
    /// How many of the dead letters that were named the command was carried out on; it passed over the others. Or of how many
    /// deliveries the payload was erased.
    Many(usize),
    /// It is done, and there is nothing to show.
    Done,
}

/// A retry of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retried {
    /// The dead letter.
    pub id: DeadLetterId,
    /// The job that it tells of.
    pub job: JobId,
    /// Whether the attempt succeeded; `None` while it has not ended.
    pub success: Option<bool>,
    /// When it ended.
    pub retried_at: Option<Timestamp>,
    /// Whether it was asked for with force.
    pub forced: bool,
}

/// What a step gives back.
#[derive(Debug, Default)]
pub struct Step {
    /// Replies, each to be given once.
    pub replies: Vec<(Ticket, Result<Answer, Rejection>)>,
    /// Attempts to be made, each recorded as started.
    pub attempts: Vec<Attempt>,
    /// The end of the log.
    pub tail: Seq,
    /// What was recorded, as far as it says something of destinations.
    pub observations: Vec<Observation>,
}

/// Why the engine can't go on.
#[derive(Debug)]
pub enum EngineError {
    /// The log failed.
    Log(LogError),
    /// An event does not follow from the state: a fault of this program, or a damaged row.
    Illegal(IllegalTransition),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Illegal(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EngineError {}

impl From<LogError> for EngineError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<IllegalTransition> for EngineError {
    fn from(error: IllegalTransition) -> Self {
        Self::Illegal(error)
    }
}
