//! The command line: thin, it reads arguments and calls the library, or asks a running server.

use std::any::Any;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use anstream::ColorChoice;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

mod ask;
mod client;
mod config;
mod deliveries;
mod demo;
mod descriptors;
mod dlq;
mod extent;
mod input;
mod jobs;
mod listen;
mod log;
mod logs;
mod manual;
mod output;
mod progress;
mod remote;
mod render;
mod replay;
mod serve;
mod setup;
mod sign;
mod table;
mod times;
mod verify;

/// Delivers signed webhooks about jobs, reliably, from one binary
#[derive(Debug, Parser)]
#[command(
    name = "hookledger",
    version,
    about,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0, 1 when something failed, 2 for wrong usage or configuration.\n\n\
        See the main job in a few seconds: hookledger demo\n\
        Serve it: hookledger serve --dev, and then hookledger jobs list, hookledger log tail --follow"
)]
struct Cli {
    #[arg(help = "When to use colours: auto is on a terminal, unless NO_COLOR is set")]
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl From<Color> for ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the HTTP API and delivers webhooks
    Serve(Box<serve::Args>),
    /// Shows the main job in one process: jobs, a receiver that misbehaves, retries, a dead letter and its retry
    Demo(demo::Args),
    /// Listens as a receiver for trying things: verifies signatures, prints deliveries, fails where it is told to
    Listen(listen::Args),
    /// Jobs of a running server: lists, shows and cancels them
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Deliveries of a running server: lists and shows them, sends one once more
    #[command(subcommand)]
    Deliveries(deliveries::Command),
    /// Dead letters of a running server: lists, shows, retries and deletes them
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// The log: its events and figures
    #[command(subcommand)]
    Log(log::Command),
    /// Rebuilds the views from the log of a data directory, prints them, and says whether they equal the stored ones
    Replay(replay::Args),
    /// Signs one payload, and prints the headers
    Sign(sign::Args),
    /// Verifies one payload and its headers, and says why not
    Verify(verify::Args),
    /// Prints the effective configuration as TOML, and where each value is from
    Config(Box<config::Args>),
    /// Prints a script that completes this command line in a shell
    Completions(manual::Completions),
    /// Prints a manual page, or writes those of all commands
    Man(manual::Args),
}

/// Runs the command that the arguments name. Exit codes: 0, 1 for a failure, 2 for usage or configuration.
#[must_use]
pub fn run() -> ExitCode {
    // Help and errors of usage are printed before everything was read.
    let early = color_among(std::env::args_os());
    early.map_or(ColorChoice::Auto, ColorChoice::from).write_global();
    let cli = Cli::parse();
    ColorChoice::from(cli.color).write_global();
    match carry_out(cli.command) {
        Ok(()) | Err(Failed::Unread) => ExitCode::SUCCESS,
        Err(Failed::Usage(message)) => fail(&message, 2),
        Err(Failed::Run(message)) => fail(&message, 1),
    }
}

fn carry_out(command: Command) -> Result<(), Failed> {
    if !matches!(command, Command::Serve(_) | Command::Config(_)) {
        logs::start_quietly();
    }
    match command {
        Command::Serve(args) => serve::run(*args),
        Command::Demo(args) => demo::run(&args),
        Command::Listen(args) => listen::run(&args),
        Command::Jobs(command) => jobs::run(command),
        Command::Deliveries(command) => deliveries::run(command),
        Command::Dlq(command) => dlq::run(command),
        Command::Log(command) => log::run(command),
        Command::Replay(args) => replay::run(args),
        Command::Sign(args) => sign::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Config(args) => config::run(*args),
        Command::Completions(args) => manual::complete(&args, Cli::command()),
        Command::Man(args) => manual::run(&args, Cli::command()),
    }
}

/// The `--color` of arguments that were not read yet.
fn color_among(arguments: impl Iterator<Item = OsString>) -> Option<Color> {
    let arguments: Vec<_> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    let mut given = arguments.iter().enumerate().take_while(|(_, argument)| *argument != "--");
    let value = given.find_map(|(place, argument)| match argument.strip_prefix("--color") {
        Some("") => arguments.get(place + 1).map(String::as_str),
        Some(rest) => rest.strip_prefix('='),
        None => None,
    });
    Color::from_str(value?, false).ok()
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
    /// Nobody reads what is printed any more, as with `| head`: nothing to complain about.
    Unread,
}

impl<E: std::error::Error + 'static> From<E> for Failed {
    fn from(error: E) -> Self {
        match (&error as &dyn Any).downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::BrokenPipe) => Self::Unread,
            _ => Self::Run(error.to_string()),
        }
    }
}
