//! The HTTP API over real sockets: every endpoint, every refusal, and the shape of both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod auth;
mod batches;
mod bulk;
mod dashboard;
mod dead_letters;
mod deliveries;
mod description;
mod entry;
mod expiry;
mod failing;
mod feed;
mod fixture;
mod idempotency;
mod lists;
mod metrics;
mod pruning;
mod validation;
mod waiting;
mod webhook_options;
mod wire;
