//! Syntax: the settings as they are written, whichever source they are from.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde::de::{self, Deserializer};

/// What one source gives: the same fields as flags, as environment variables and as keys of a file. Nothing of it is
/// checked yet.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    /// A file with settings, in TOML; `hookledger config` prints one
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<Given>,
    /// The data directory [default: ./hookledger-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<Given>,
    /// The address to listen on; without API keys a loopback address [default: 127.0.0.1:4080]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<Given>,
    /// For development: allow http and private destinations [default: off]. A flag alone, so that it is never left on
    #[arg(long)]
    #[serde(skip)]
    pub(crate) dev: bool,
    // Secrets are not for a command line, which everybody on the machine can read.
    #[arg(skip)]
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) api_keys: Option<Hidden>,
    /// A file with the API keys, divided by commas or lines
    #[arg(long, value_name = "FILE")]
    pub(crate) api_keys_file: Option<Given>,
    #[arg(skip)]
    pub(crate) webhook_secret: Option<Hidden>,
    /// A file with the secret that signs for webhooks without one of their own
    #[arg(long, value_name = "FILE")]
    pub(crate) webhook_secret_file: Option<Given>,
    #[arg(skip)]
    pub(crate) webhook_secret_previous: Option<Hidden>,
    /// A file with the secret before that, which signs as well for as long as it is given
    #[arg(long, value_name = "FILE")]
    pub(crate) webhook_secret_previous_file: Option<Given>,
    /// Allow webhooks over http besides https [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) allow_http: Option<Given>,
    /// Networks that deliveries may go to although they are private, in CIDR form, divided by commas [default: none]
    #[arg(long, value_name = "NETWORKS")]
    pub(crate) allow_network: Option<Given>,
    /// Networks that deliveries may not go to, in CIDR form, divided by commas; this wins [default: none]
    #[arg(long, value_name = "NETWORKS")]
    pub(crate) deny_network: Option<Given>,
    /// Ports that deliveries may go to, such as 443,9000-9099, or any [default: 443,80,8080,8443]
    #[arg(long, value_name = "PORTS")]
    pub(crate) ports: Option<Given>,
    /// A PEM file with certificates of authorities that are trusted besides the platform's [default: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<Given>,
    /// Trust the authorities of --ca-file alone [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ca_only: Option<Given>,
    /// An egress proxy, http://HOST:PORT, that all deliveries go through; it then does the guarding [default: none]
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<Given>,
    /// The total number of attempts of webhooks that name none, 1 to 10 [default: 3]
    #[arg(long, value_name = "N")]
    pub(crate) max_retries: Option<Given>,
    /// The time for a whole attempt of webhooks that name none, 5s to 5m [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<Given>,
    /// The wait after the first attempt, which doubles after each further one [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) backoff_base: Option<Given>,
    /// The longest wait between two attempts [default: 1h]
    #[arg(long, value_name = "DURATION")]
    pub(crate) backoff_cap: Option<Given>,
    /// The waits after the first failed attempt, the second, … in the place of the backoff: 5s,5m,30m,2h [default: none]
    #[arg(long, value_name = "DURATIONS")]
    pub(crate) retry_schedule: Option<Given>,
    /// Attempts in flight at most, and so threads [default: 256]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<Given>,
    /// Attempts in flight at most to one scheme, host and port [default: 32]
    #[arg(long, value_name = "N")]
    pub(crate) per_destination: Option<Given>,
    /// Attempts in a second at most, to one destination; 0 for no limit [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) rate_limit: Option<Given>,
    /// Failures in a row after which a destination is paused and then probed; 0 for never [default: 10]
    #[arg(long, value_name = "N")]
    pub(crate) pause_after: Option<Given>,
    /// The longest pause between two attempts at a destination that fails [default: 1m]
    #[arg(long, value_name = "DURATION")]
    pub(crate) longest_pause: Option<Given>,
    /// How often one job's progress is told, at most; 0s for every report [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) progress_interval: Option<Given>,
    /// The largest body of a request, in bytes, KiB or MiB [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) body_limit: Option<Given>,
    /// How long a body may take to arrive [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) body_deadline: Option<Given>,
    /// How long a head may take to arrive, and so how long a connection may idle [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) head_deadline: Option<Given>,
    /// How long a client may go without reading its answer [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) write_deadline: Option<Given>,
    /// Connections at once; for one more, the one that has been idle the longest is closed [default: 2048]
    #[arg(long, value_name = "N")]
    pub(crate) connections: Option<Given>,
    /// Connections at once of one peer; 0 for no limit of its own [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) connections_per_peer: Option<Given>,
    /// Commands that wait for the engine, at most; further ones are answered with 429 [default: 4096]
    #[arg(long, value_name = "N")]
    pub(crate) queue: Option<Given>,
    /// How long a job is kept once it is over, with its deliveries and dead letters, such as 12h or 30d, or off [default: 30d]
    #[arg(long, value_name = "DURATION")]
    pub(crate) retention: Option<Given>,
    /// How long requests and attempts in flight may take to end at shutdown, all in all [default: 8s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) shutdown_grace: Option<Given>,
    /// What is logged: error, warn, info, debug, trace or off; of a module, too: warn,hookledger=debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<Given>,
    /// How it is logged: text, or json for one object a line [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<Given>,
    // What follows is for commands that ask a running server, which have flags of their own for it.
    #[arg(skip)]
    pub(crate) server: Option<Given>,
    #[arg(skip)]
    pub(crate) api_key: Option<Hidden>,
    #[arg(skip)]
    pub(crate) api_key_file: Option<Given>,
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Scalar")]
pub(crate) struct Given(pub(super) String);

impl From<String> for Given {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "this setting takes a text, a number, or true or false")]
enum Scalar {
    Text(String),
    Number(i64),
    Truth(bool),
}

impl From<Scalar> for Given {
    fn from(scalar: Scalar) -> Self {
        Self(match scalar {
            Scalar::Text(text) => text,
            Scalar::Number(number) => number.to_string(),
            Scalar::Truth(truth) => truth.to_string(),
        })
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Text")]
pub(crate) struct Hidden(String);

/// Its own message for what is no text: the library's would show it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "this setting takes a text, in quotes")]
enum Text {
    Text(String),
}

impl From<Text> for Hidden {
    fn from(Text::Text(text): Text) -> Self {
        Self(text)
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Hidden {
    /// The text.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(…)")
    }
}

/// API keys are one text, divided by commas, or a list.
fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Hidden>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "this setting takes a list of texts")]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    match OneOrMore::deserialize(from)? {
        OneOrMore::One(text) => Ok(Some(Hidden(text))),
        // A single empty one would read as none at all.
        OneOrMore::More(texts) if texts.iter().any(String::is_empty) => Err(de::Error::custom("an API key is empty")),
        OneOrMore::More(texts) => Ok(Some(Hidden(texts.join(",")))),
    }
}

/// The names of all settings, as the derived code knows them: it says so when it meets an unknown one.
pub(super) fn names() -> &'static [&'static str] {
    #[derive(Debug)]
    struct Names(&'static [&'static str]);
    impl fmt::Display for Names {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an unknown name")
        }
    }
    impl std::error::Error for Names {}
    impl de::Error for Names {
        fn custom<T: fmt::Display>(_: T) -> Self {
            Self(&[])
        }
        fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
            Self(expected)
        }
    }
    let unknown = MapDeserializer::<_, Names>::new(std::iter::once(("", "")));
    Options::deserialize(unknown).map_or_else(|Names(names)| names, |_| &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suggestion::closest;

    #[test]
    fn every_field_has_a_name_and_secrets_have_no_flag() {
        let command = <Options as clap::Args>::augment_args(clap::Command::new("x"));
        let flags: Vec<_> = command.get_arguments().map(|argument| argument.get_id().as_str()).collect();
        let others: Vec<_> = names().iter().filter(|name| !flags.contains(name)).collect();
        let of_clients = [&"server", &"api_key", &"api_key_file"];
        assert_eq!(others, [&[&"api_keys", &"webhook_secret", &"webhook_secret_previous"], &of_clients[..]].concat());
        let settings = flags.iter().filter(|flag| **flag != "dev").count();
        assert_eq!(settings + others.len(), names().len());
    }

    #[test]
    fn the_closest_name_is_found() {
        for (unknown, meant) in [
            ("body_limt", Some("body_limit")),
            ("webhook_secert", Some("webhook_secret")),
            ("api_kyes", Some("api_keys")),
            ("datadir", Some("data_dir")),
            ("body-limit", Some("body_limit")),
            ("zzz", None),
        ] {
            assert_eq!(closest(unknown, names().iter().copied()), meant, "{unknown}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let options: Options =
            toml::from_str("api_keys = ['must-never-show']\nwebhook_secret = 'must-never-show'").unwrap();
        let shown = format!("{options:?}");
        assert!(shown.contains("api_keys: Some(Hidden(…))") && !shown.contains("must-never"), "{shown}");
    }
}
