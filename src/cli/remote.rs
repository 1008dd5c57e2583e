//! Which server a command asks, and with what key.

use super::Failed;
use super::client::Client;
use super::setup;
use crate::config::{Config, Given, Options};

const KEY_HELP: &str = "A file with the API key; the key itself is in HOOKLEDGER_API_KEY, and never on a command line \
    [default: none]";

/// The flags of every command that asks a running server.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The server that is asked")]
pub(super) struct Remote {
    // In attributes, since these texts are shown as they are.
    #[arg(
        long,
        value_name = "URL",
        help = "The server's URL, also HOOKLEDGER_SERVER [default: http://127.0.0.1:4080]"
    )]
    server: Option<Given>,
    #[arg(long, value_name = "FILE", help = KEY_HELP)]
    api_key_file: Option<Given>,
    /// A PEM file with certificates of authorities that are trusted besides the platform's [default: none]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<Given>,
    #[arg(long, value_name = "FILE", help = "A file with settings, in TOML: server, api_key, ca_file [default: none]")]
    config: Option<Given>,
}

impl Remote {
    /// The way to that server.
    pub(super) fn client(self) -> Result<Client, Failed> {
        let Self { server, api_key_file, ca_file, config } = self;
        let flags = Options { config, ca_file, server, api_key_file, ..Options::default() };
        let config = Config::load(flags, std::env::vars_os()).map_err(|error| Failed::Usage(error.to_string()))?;
        for warning in &config.warnings {
            anstream::eprintln!("hookledger: {warning}");
        }
        let roots = setup::roots(&config).map_err(Failed::Usage)?;
        Client::new(&config, &roots)
    }
}
