//! Completions for shells, and manual pages: both made from what the arguments are.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap_complete::Shell;
use clap_mangen::Man;

use super::Failed;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hookledger completions bash > ~/.local/share/bash-completion/completions/hookledger\n  \
    hookledger completions zsh > ~/.zfunc/_hookledger\n  \
    hookledger completions fish > ~/.config/fish/completions/hookledger.fish")]
pub(super) struct Completions {
    /// For which shell
    shell: Shell,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hookledger man dlq retry | man -l -\n  \
    hookledger man --dir ~/.local/share/man/man1")]
pub(super) struct Args {
    /// The page of this command [default: hookledger itself]
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Write the pages of all commands into this directory instead [default: print one]
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

pub(super) fn complete(args: &Completions, mut command: clap::Command) -> Result<(), Failed> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "hookledger", &mut script);
    Ok(io::stdout().lock().write_all(&script)?)
}

pub(super) fn run(args: &Args, command: clap::Command) -> Result<(), Failed> {
    if let Some(directory) = &args.dir {
        let cant = |error: io::Error| Failed::Run(format!("{}: {error}", directory.display()));
        fs::create_dir_all(directory).map_err(cant)?;
        return clap_mangen::generate_to(command, directory).map_err(cant);
    }
    let page = find(command, &args.command)?;
    let mut text = Vec::new();
    Man::new(page).render(&mut text)?;
    Ok(io::stdout().lock().write_all(&text)?)
}

/// The command of this name, under its whole name: `hookledger-dlq-retry`.
fn find(mut command: clap::Command, path: &[String]) -> Result<clap::Command, Failed> {
    command.build();
    for name in path {
        let unknown = || Failed::Usage(format!("there is no command '{}'; see hookledger --help", path.join(" ")));
        command = command.find_subcommand(name).ok_or_else(unknown)?.clone();
    }
    let name = command.get_display_name().unwrap_or("hookledger").to_owned();
    Ok(command.name(name))
}
