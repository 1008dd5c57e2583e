//! The command line: thin, it reads arguments and calls the library.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod config;
mod demo;
mod descriptors;
mod input;
mod listen;
mod render;
mod replay;
mod serve;
mod setup;
mod sign;
mod verify;

/// Delivers signed webhooks about jobs, reliably, from one binary.
#[derive(Debug, Parser)]
#[command(name = "hookledger", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the main job in one process: jobs, a receiver that misbehaves, retries, a dead letter and its retry
    Demo,
    /// Serves the HTTP API and delivers webhooks
    Serve(serve::Args),
    /// Prints the effective configuration as TOML, and where each value is from
    Config(config::Args),
    /// Rebuilds the views from the log of a data directory, prints them, and says whether they equal the stored ones
    Replay(replay::Args),
    /// Listens as a receiver for trying things: verifies signatures, prints deliveries, fails where it is told to
    Listen(listen::Args),
    /// Signs one payload, and prints the headers
    Sign(sign::Args),
    /// Verifies one payload and its headers, and says why not
    Verify(verify::Args),
}

/// Runs the command that the arguments name. Exit codes: 0, 1 for a failure, 2 for usage or configuration.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("HOOKLEDGER_LOG");
    let fallback = if matches!(cli.command, Command::Demo) { "error" } else { "info" };
    tracing_subscriber::fmt()
        .with_writer(anstream::stderr)
        .with_env_filter(filter.unwrap_or_else(|_| fallback.into()))
        .with_target(false)
        .init();
    let result = match cli.command {
        Command::Demo => demo::run(),
        Command::Serve(args) => serve::run(args),
        Command::Config(args) => config::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Listen(args) => listen::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Verify(args) => verify::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Usage(message)) => fail(&message, 2),
        Err(Failed::Run(message)) => fail(&message, 1),
    }
}

fn fail(message: &str, code: u8) -> ExitCode {
    anstream::eprintln!("hookledger: {message}");
    ExitCode::from(code)
}

/// Why a command ended without success.
#[derive(Debug)]
enum Failed {
    /// The arguments or the configuration: exit code 2.
    Usage(String),
    /// What was tried did not work: exit code 1.
    Run(String),
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Run(error.to_string())
    }
}
