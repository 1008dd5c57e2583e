//! The pure core: facts, requests, and the two state machines between them.
//!
//! [`decide`] answers a [`Command`](command::Command) with the [`Event`](event::Event)s that it means or with a
//! [`Rejection`](rejection::Rejection); [`evolve`] is the only thing that changes a [`State`](state::State). Nothing in
//! here does IO, asks the time or draws a random number: whatever of that is needed comes in as an argument, and so a
//! life of jobs can be told again from its events and comes out the same.

pub mod batch;
pub mod command;
mod decide;
pub mod delivery;
pub mod event;
mod evolve;
pub mod headers;
pub mod id;
pub mod job;
pub mod observation;
pub mod options;
pub mod outcome;
pub mod rejection;
mod remains;
pub mod retry;
pub mod spec;
pub mod state;
pub mod status;
pub mod time;
pub mod webhook;

pub use decide::{Stamp, decide};
pub use evolve::{IllegalTransition, evolve};
