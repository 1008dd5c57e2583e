//! The configuration, in two steps: syntax, then meaning.
//!
//! ```text
//! flags ───────────┐
//! environment ─────┼─▶ Options, as written ──▶ Layers ──▶ Config, every value within its bounds,
//! file ────────────┘    (one struct for all)                and where each one is from
//! ```
//!
//! Flags go over the environment, that over the file, that over the defaults. A name that is not known is an error
//! wherever it stands: a mistyped `HOOKLEDGER_WEBHOOK_SECRET` must not mean unsigned webhooks.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

mod layers;
mod options;
mod secrets;
mod values;

pub(crate) use layers::Source;
pub(crate) use options::{Given, Hidden, Options};

use layers::Layers;
use values::{
    Parsed, Shown, address, duration, durations, log_format, log_level, number, path, retention, seconds, server, size,
    text, truth,
};

/// What a secret is shown as.
const MASK: &str = "********";

/// The effective configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// The address to listen on.
    pub(crate) listen: SocketAddr,
    /// Whether http and private destinations are allowed.
    pub(crate) dev: bool,
    /// Each as itself or as its hash.
    pub(crate) api_keys: Vec<Hidden>,
    /// Signs for webhooks that have no secret of their own.
    pub(crate) webhook_secret: Option<Hidden>,
    /// Signs as well: the one before it. Not without that.
    pub(crate) webhook_secret_previous: Option<Hidden>,
    /// Whether http is allowed.
    pub(crate) allow_http: bool,
    /// Networks that may be gone to, as they are written.
    pub(crate) allow_network: String,
    /// Networks that may not.
    pub(crate) deny_network: String,
    /// Ports that may be gone to; none: the usual ones.
    pub(crate) ports: String,
    /// A file with certificates of authorities; none where empty.
    pub(crate) ca_file: String,
    /// Whether those alone are trusted.
    pub(crate) ca_only: bool,
    /// The way out; none where empty.
    pub(crate) proxy: String,
    /// The total number of attempts of webhooks that name none.
    pub(crate) max_retries: u32,
    /// The time for a whole attempt of webhooks that name none.
    pub(crate) timeout: Duration,
    /// The wait after the first attempt.
    pub(crate) backoff_base: Duration,
    /// The longest wait between attempts; not shorter than the first one.
    pub(crate) backoff_cap: Duration,
    /// The waits between attempts, in the place of the backoff where there are any.
    pub(crate) retry_schedule: Vec<Duration>,
    /// Attempts in flight at most.
    pub(crate) workers: usize,
    /// Attempts in flight at most to one destination.
    pub(crate) per_destination: usize,
    /// Attempts in a second at most to one destination; 0 for no limit.
    pub(crate) rate_limit: u32,
    /// Failures in a row after which a destination is paused; 0 for never.
    pub(crate) pause_after: u32,
    /// The longest such pause.
    pub(crate) longest_pause: Duration,
    /// How often one job's progress is told, at most; zero for every report.
    pub(crate) progress_interval: Duration,
    /// The largest body, in bytes.
    pub(crate) body_limit: usize,
    /// How long a body may take to arrive.
    pub(crate) body_deadline: Duration,
    /// How long a head may take to arrive.
    pub(crate) head_deadline: Duration,
    /// How long a client may go without reading.
    pub(crate) write_deadline: Duration,
    /// Connections at once.
    pub(crate) connections: usize,
    /// Connections at once of one peer; 0 for no limit of its own.
    pub(crate) connections_per_peer: usize,
    /// Commands that wait for the engine.
    pub(crate) queue: usize,
    /// How long a job is kept once it is over; `None` for ever.
    pub(crate) retention: Option<Duration>,
    /// How long what is in flight may take to end at shutdown.
    pub(crate) shutdown_grace: Duration,
    /// What is logged, and how.
    pub(crate) logs: Logs,
    /// The server that other commands ask.
    pub(crate) server: String,
    /// What they present.
    pub(crate) api_key: Option<Hidden>,
    /// The same, as it is written and with where it is from, in the order above. Secrets are masked.
    pub(crate) lines: Vec<Line>,
    /// What is allowed, and probably not meant.
    pub(crate) warnings: Vec<String>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logs {
    /// Levels, in all or of modules.
    pub(crate) level: String,
    /// The form of a line.
    pub(crate) format: LogFormat,
}

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For a person.
    Text,
    /// One object a line.
    Json,
}

/// A setting as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its value, as a file would have it.
    pub(crate) value: Value,
    /// Where that is from.
    pub(crate) source: Source,
    /// And what it is called there.
    pub(crate) origin: String,
}

impl Config {
    /// Reads every source, and checks every value.
    ///
    /// # Errors
    /// Names the setting, where it is from, and what is allowed.
    pub(crate) fn load(
        flags: Options,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let dev = flags.dev;
        let mut config = Self { dev, ..Self::of(Layers::read(flags, environment)?)? };
        config.count_attempts();
        if config.webhook_secret.is_none() && config.webhook_secret_previous.is_some() {
            let why = "there is no webhook_secret that took its place".to_owned();
            return Err(ConfigError::Secret { origin: config.origin("webhook_secret_previous").to_owned(), why });
        }
        if config.backoff_base > config.backoff_cap {
            let given = Shown(config.backoff_base).to_string();
            let allowed = format!("at most backoff_cap, which is {}", Shown(config.backoff_cap));
            return Err(ConfigError::Value { origin: config.origin("backoff_base").to_owned(), given, allowed });
        }
        Ok(config)
    }

    /// A schedule says how many attempts there are, unless that is said by itself.
    fn count_attempts(&mut self) {
        let line = self.lines.iter_mut().find(|line| line.name == "max_retries" && line.source == Source::Default);
        let (Some(line), false) = (line, self.retry_schedule.is_empty()) else { return };
        self.max_retries = u32::try_from(self.retry_schedule.len() + 1).unwrap_or(u32::MAX);
        line.value = i64::from(self.max_retries).into();
    }

    fn of(layers: Layers) -> Result<Self, ConfigError> {
        let millis = Duration::from_millis;
        let secs = Duration::from_secs;
        let hour = Duration::from_hours(1);
        let patience = || duration(secs(1)..=hour);
        let span = || duration(Duration::ZERO..=hour);
        let mut values = Values { layers, lines: Vec::new() };
        let read = &mut values;
        Ok(Self {
            data_dir: read.one("data_dir", |o| o.data_dir.as_ref(), "./hookledger-data", path)?,
            listen: read.one("listen", |o| o.listen.as_ref(), "127.0.0.1:4080", address)?,
            dev: false,
            api_keys: read.api_keys()?,
            webhook_secret: read.webhook_secret()?,
            webhook_secret_previous: read.webhook_secret_previous()?,
            allow_http: read.one("allow_http", |o| o.allow_http.as_ref(), "false", truth)?,
            allow_network: read.one("allow_network", |o| o.allow_network.as_ref(), "", text)?,
            deny_network: read.one("deny_network", |o| o.deny_network.as_ref(), "", text)?,
            ports: read.one("ports", |o| o.ports.as_ref(), "443,80,8080,8443", text)?,
            ca_file: read.one("ca_file", |o| o.ca_file.as_ref(), "", text)?,
            ca_only: read.one("ca_only", |o| o.ca_only.as_ref(), "false", truth)?,
            proxy: read.one("proxy", |o| o.proxy.as_ref(), "", text)?,
            max_retries: read.one("max_retries", |o| o.max_retries.as_ref(), "3", number(1..=10))?,
            timeout: read.one("timeout", |o| o.timeout.as_ref(), "30s", seconds(secs(5)..=secs(300)))?,
            backoff_base: read.one("backoff_base", |o| o.backoff_base.as_ref(), "1s", duration(millis(10)..=hour))?,
            backoff_cap: read.one("backoff_cap", |o| o.backoff_cap.as_ref(), "1h", duration(millis(10)..=24 * hour))?,
            retry_schedule: read.retry_schedule()?,
            workers: read.one("workers", |o| o.workers.as_ref(), "256", number(1..=2048))?,
            per_destination: read.one("per_destination", |o| o.per_destination.as_ref(), "32", number(1..=2048))?,
            rate_limit: read.one("rate_limit", |o| o.rate_limit.as_ref(), "0", number(0..=1000))?,
            pause_after: read.one("pause_after", |o| o.pause_after.as_ref(), "10", number(0..=1000))?,
            longest_pause: read.one("longest_pause", |o| o.longest_pause.as_ref(), "1m", patience())?,
            progress_interval: read.one("progress_interval", |o| o.progress_interval.as_ref(), "1s", span())?,
            body_limit: read.one("body_limit", |o| o.body_limit.as_ref(), "1MiB", size(1024..=16 << 20))?,
            body_deadline: read.one("body_deadline", |o| o.body_deadline.as_ref(), "10s", patience())?,
            head_deadline: read.one("head_deadline", |o| o.head_deadline.as_ref(), "10s", patience())?,
            write_deadline: read.one("write_deadline", |o| o.write_deadline.as_ref(), "30s", patience())?,
            connections: read.one("connections", |o| o.connections.as_ref(), "2048", number(1..=65_536))?,
            connections_per_peer: read.one(
                "connections_per_peer",
                |o| o.connections_per_peer.as_ref(),
                "0",
                number(0..=65_536),
            )?,
            queue: read.one("queue", |o| o.queue.as_ref(), "4096", number(1..=65_536))?,
            retention: read.one("retention", |o| o.retention.as_ref(), "30d", retention)?,
            shutdown_grace: read.one("shutdown_grace", |o| o.shutdown_grace.as_ref(), "8s", span())?,
            logs: read.logs()?,
            server: read.one("server", |o| o.server.as_ref(), "http://127.0.0.1:4080", server)?,
            api_key: read.api_key()?,
            lines: values.lines,
            warnings: values.layers.warnings,
        })
    }

    /// What the setting `name` is called where it is from.
    pub(crate) fn origin<'a>(&'a self, name: &'a str) -> &'a str {
        self.lines.iter().find(|line| line.name == name).map_or(name, |line| &line.origin)
    }
}

/// Reads one setting after the other, and notes each.
struct Values {
    layers: Layers,
    lines: Vec<Line>,
}

impl Values {
    /// As many waits, and as long ones, as a webhook's own schedule may have.
    fn retry_schedule(&mut self) -> Result<Vec<Duration>, ConfigError> {
        let parse = durations(9, Duration::from_secs(1)..=Duration::from_hours(7 * 24));
        self.one("retry_schedule", |o| o.retry_schedule.as_ref(), "", parse)
    }

    fn logs(&mut self) -> Result<Logs, ConfigError> {
        let level = self.one("log_level", |o| o.log_level.as_ref(), "info", log_level)?;
        Ok(Logs { level, format: self.one("log_format", |o| o.log_format.as_ref(), "text", log_format)? })
    }

    fn one<T>(
        &mut self,
        name: &'static str,
        of: impl Fn(&Options) -> Option<&Given>,
        default: &str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Result<T, ConfigError> {
        let found = self.layers.find(of);
        let (source, given) = found.map_or((Source::Default, default), |(source, Given(text))| (source, text));
        let origin = self.layers.origin(name, source);
        match parse(given) {
            Ok((value, shown)) => {
                self.lines.push(Line { name, value: shown, source, origin });
                Ok(value)
            }
            Err(allowed) => Err(ConfigError::Value { origin, given: given.to_owned(), allowed }),
        }
    }
}

/// Why there is no configuration. No message has a secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConfigError {
    /// A file can't be read.
    Unreadable {
        /// The setting that names it, as it is called where it is from.
        origin: String,
        /// Which one.
        path: String,
        /// Why not.
        why: String,
    },
    /// A file is not what it should be.
    Syntax {
        /// Which one, and where in it.
        at: String,
        /// What is wrong there.
        why: String,
    },
    /// A name that is none of ours.
    Unknown {
        /// What it is, and where.
        what: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// What is a flag and nothing else is set somewhere else.
    FlagAlone {
        /// As it is called there.
        what: String,
    },
    /// A variable of the environment is not UTF-8.
    NotText {
        /// Its name.
        variable: String,
    },
    /// A value beyond its bounds.
    Value {
        /// What it is called where it is from.
        origin: String,
        /// As it was written.
        given: String,
        /// What may be there.
        allowed: String,
    },
    /// A secret that can't be one, or is given twice.
    Secret {
        /// What it is called where it is from.
        origin: String,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { origin, path, why } => write!(f, "{origin}: '{path}' can't be read: {why}"),
            Self::Syntax { at, why } => write!(f, "{at}: {why}"),
            Self::Unknown { what, meant: Some(meant) } => write!(f, "{what} is not known; did you mean {meant}?"),
            Self::Unknown { what, meant: None } => {
                write!(f, "{what} is not known; `hookledger config` prints every setting")
            }
            Self::FlagAlone { what } => {
                write!(f, "{what}: development mode is only for the command line (--dev), so that it is never left on")
            }
            Self::NotText { variable } => write!(f, "the environment variable {variable} is not UTF-8"),
            Self::Value { origin, given, allowed } => write!(f, "{origin}: '{given}' is not {allowed}"),
            Self::Secret { origin, why } => write!(f, "{origin}: {why}"),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests;
