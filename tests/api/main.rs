//! The HTTP API over real sockets: every endpoint, every refusal, and the shape of both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod auth;
mod batches;
mod dead_letters;
mod description;
mod entry;
mod failing;
mod fixture;
mod validation;
mod webhook_options;
mod wire;
