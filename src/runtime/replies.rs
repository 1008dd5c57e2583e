//! Who waits for a reply.

use std::collections::HashMap;

use super::handle::{Error, Sender};
use crate::domain::command::Command;
use crate::domain::id::DeadLetterId;
use crate::engine::{Answer, Ticket, When};

/// Replies that are owed.
#[derive(Default)]
pub(super) struct Replies {
    owed: HashMap<Ticket, Owed>,
    tickets: u64,
}

struct Owed {
    reply: Sender,
    /// The dead letter whose next attempt the reply comes with.
    attempt_of: Option<DeadLetterId>,
}

impl Replies {
    /// Notes that `command` is to be replied to.
    pub(super) fn owe(&mut self, reply: Sender, command: &Command, when: When) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let attempt_of = match (command, when) {
            (Command::RetryDeadLetter { id, .. }, When::Attempted) => Some(*id),
            _ => None,
        };
        self.owed.insert(ticket, Owed { reply, attempt_of });
        ticket
    }

    /// Gives one.
    pub(super) fn give(&mut self, ticket: Ticket, reply: Result<Answer, Error>) {
        if let Some(owed) = self.owed.remove(&ticket) {
            owed.reply.give(reply);
        }
    }

    /// Gives all of them the same.
    pub(super) fn give_up(&mut self, error: &Error) {
        for (_, owed) in self.owed.drain() {
            owed.reply.give(Err(error.clone()));
        }
    }

    /// Tells those that wait for an attempt which is not `under_way` that it does not begin any more.
    pub(super) fn release(&mut self, under_way: impl Fn(DeadLetterId) -> bool) {
        let in_vain = |owed: &Owed| owed.attempt_of.is_some_and(|letter| !under_way(letter));
        for (_, owed) in self.owed.extract_if(|_, owed| in_vain(owed)) {
            owed.reply.give(Err(Error::Stopping));
        }
    }

    /// Whether anybody waits for an attempt.
    pub(super) fn wait_for_attempts(&self) -> bool {
        self.owed.values().any(|owed| owed.attempt_of.is_some())
    }
}
