//! Signed webhooks about jobs, delivered reliably, with nothing beside your program.
//!
//! Every change of a job or of a delivery is an event in an append-only log on disk. What anyone sees (a job's status, its
//! webhook's status, the dead letters) is derived from those events, and can be derived from them again. A job's end and
//! the delivery that it causes are one write: neither can be there without the other.
//!
//! ```no_run
//! use std::sync::Arc;
//! use hookledger::domain::{id::JobId, job::{JobSpec, Report, Status}, webhook::Webhook};
//! use hookledger::{log::sled::SledLog, runtime::{Options, Runtime}, signature::Secret};
//! use hookledger::transport::ureq::{UreqSettings, UreqTransport};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let log = SledLog::open("./hookledger-data".as_ref())?;
//! let transport = Arc::new(UreqTransport::new(UreqSettings::default()));
//! let runtime = Runtime::start(Box::new(log), transport, &Options::default())?;
//!
//! let webhook = Webhook::to("https://example.com/hook");
//! let spec = JobSpec { webhook: Some(webhook), ..JobSpec::default() };
//! let id = JobId::new("import-2026-11-23")?;
//! runtime.handle().register(id.clone(), spec, Some(Secret::new("whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ=")?)).wait()?;
//!
//! // When this returns, the job's end and its webhook are on disk; the webhook is on its way.
//! runtime.handle().report(id, Report::of(Status::Completed), None).wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! The way of a request through the modules: a [`Handle`](runtime::Handle) hands a [`Command`](domain::command::Command) to
//! the thread that runs the [`engine`]; that decides ([`domain`]), commits to the [`log`] together with the rows of the
//! [`views`], and replies; what the [`schedule`] finds due goes to worker threads, which sign it ([`attempt`], [`signature`])
//! and send it through the [`transport`].
//!
//! # Features
//!
//! - `verify`: [`signature`] and [`verify`], what a receiver needs, without storage or server.
//! - `engine`: everything that a host program needs to deliver webhooks.
//! - `server`: the HTTP API.
//! - `cli` (default): the binary.

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "engine")]
pub mod attempt;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "engine")]
pub mod clock;
#[cfg(feature = "cli")]
mod config;
#[cfg(feature = "engine")]
mod dispatch;
#[cfg(feature = "engine")]
pub mod domain;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "engine")]
pub mod log;
#[cfg(feature = "engine")]
pub mod meter;
#[cfg(feature = "engine")]
pub mod payload;
#[cfg(feature = "engine")]
pub mod runtime;
#[cfg(feature = "engine")]
pub mod schedule;
#[cfg(feature = "engine")]
mod secrets;
#[cfg(feature = "verify")]
pub mod signature;
#[cfg(feature = "server")]
mod suggestion;
#[cfg(feature = "engine")]
pub mod transport;
#[cfg(feature = "verify")]
pub mod verify;
#[cfg(feature = "engine")]
pub mod views;

/// The code in the documents, compiled as part of the tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/receiving.md")]
pub struct DocumentedForReceivers;
