//! `hookledger log`: the log of a running server or of a data directory. One file for each of its commands.

use super::Failed;

pub(super) mod feed;
mod stats;
mod tail;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Prints events as they were recorded, the newest or those after a position, and follows them
    Tail(tail::Args),
    /// Shows the figures of a running server: jobs, deliveries, commits, and how each destination does
    Stats(stats::Args),
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    match command {
        Command::Tail(args) => tail::run(args),
        Command::Stats(args) => stats::run(args),
    }
}
