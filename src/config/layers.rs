//! The sources of settings, one above the other: flags over the environment over a file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;

use toml::{Spanned, Table, Value};

use super::ConfigError;
use super::options::{Options, names};
use crate::suggestion::closest;

/// What the names of our environment variables begin with.
const PREFIX: &str = "HOOKLEDGER_";

/// What no environment and no file sets.
const FLAG_ALONE: &str = "dev";

/// What a port of a Kubernetes service may speak.
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// No file of settings or secrets is longer, in bytes: what is longer is something else.
const FILE_BYTES: u64 = 256 * 1024;

/// Where a value is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The configuration file.
    File,
    /// This program.
    Default,
}

impl Source {
    /// In a word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// The sources, the one that counts first.
pub(super) struct Layers {
    pub(super) given: [(Source, Options); 3],
    /// The configuration file, if there is one.
    path: String,
    pub(super) warnings: Vec<String>,
}

impl Layers {
    /// Reads the environment, and the file that flags or environment name.
    pub(super) fn read(
        flags: Options,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let environment = of_environment(environment)?;
        let mut warnings = Vec::new();
        let named = [(Source::Flag, &flags.config), (Source::Environment, &environment.config)];
        let named = named.into_iter().find_map(|(source, config)| Some((source, config.as_ref()?.0.clone())));
        let file = match &named {
            Some((source, path)) => of_file(path, &name_in("config", *source, path), &mut warnings)?,
            None => Options::default(),
        };
        let given = [(Source::Flag, flags), (Source::Environment, environment), (Source::File, file)];
        Ok(Self { given, path: named.map(|(_, path)| path).unwrap_or_default(), warnings })
    }

    /// The value that counts, and its source.
    pub(super) fn find<T>(&self, of: impl Fn(&Options) -> Option<&T>) -> Option<(Source, &T)> {
        self.given.iter().find_map(|(source, options)| Some((*source, of(options)?)))
    }

    /// What a setting is called where it is from.
    pub(super) fn origin(&self, name: &str, source: Source) -> String {
        name_in(name, source, &self.path)
    }
}

fn name_in(name: &str, source: Source, path: &str) -> String {
    match source {
        Source::Flag => format!("--{}", name.replace('_', "-")),
        Source::Environment => format!("{PREFIX}{}", name.to_uppercase()),
        Source::File => format!("{name} in {path}"),
        Source::Default => format!("the default of {name}"),
    }
}

fn of_environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Options, ConfigError> {
    let mut table = Table::new();
    for (variable, value) in variables {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let name = variable[PREFIX.len()..].to_lowercase();
        let known = names().contains(&&*name) && variable[PREFIX.len()..] == name.to_uppercase();
        if name == FLAG_ALONE {
            return Err(ConfigError::FlagAlone { what: variable.to_owned() });
        }
        if !known && is_kubernetes(variable, &value.to_string_lossy()) {
            continue;
        }
        if !known {
            let meant = closest(&name, names().iter().copied());
            let meant = meant.map(|meant| format!("{PREFIX}{}", meant.to_uppercase()));
            return Err(ConfigError::Unknown { what: format!("the environment variable {variable}"), meant });
        }
        let value = value.into_string().map_err(|_| ConfigError::NotText { variable: variable.to_owned() })?;
        table.insert(name, value.into());
    }
    let unread = |error: toml::de::Error| ConfigError::Syntax { at: "the environment".into(), why: error.to_string() };
    table.try_into().map_err(unread)
}

/// Kubernetes gives every container variables about each service of its namespace, named after the service: of one called
/// `hookledger` or `hookledger-…` they begin as ours do ("Accessing the Service", environment variables). Only what has the
/// form of theirs is: `HOOKLEDGER_PORT=443` is a mistyped setting.
fn is_kubernetes(variable: &str, value: &str) -> bool {
    let is_address = || value.parse::<IpAddr>().is_ok();
    let is_port = || value.parse::<u16>().is_ok();
    let is_numbered = |port: &str, protocol: &str| port.parse::<u16>().is_ok() && PROTOCOLS.contains(&protocol);
    let parts: Vec<_> = variable.split('_').collect();
    match parts[..] {
        [.., "SERVICE", "HOST"] => is_address(),
        [.., "SERVICE", "PORT"] => is_port(),
        [.., "PORT", port, protocol, "PROTO"] if is_numbered(port, protocol) => value == protocol.to_lowercase(),
        [.., "PORT", port, protocol, "PORT"] if is_numbered(port, protocol) => value == port,
        [.., "PORT", port, protocol, "ADDR"] if is_numbered(port, protocol) => is_address(),
        [.., "PORT", port, protocol] if is_numbered(port, protocol) => is_endpoint(value),
        [.., "PORT"] => is_endpoint(value),
        // The name of a port follows, of one part or more.
        _ => parts.windows(2).any(|pair| pair == ["SERVICE", "PORT"]) && is_port(),
    }
}

/// `tcp://10.0.0.1:4080`.
fn is_endpoint(value: &str) -> bool {
    let parts = value.split_once("://");
    parts.is_some_and(|(protocol, address)| {
        PROTOCOLS.contains(&&*protocol.to_uppercase()) && address.parse::<SocketAddr>().is_ok()
    })
}

fn of_file(path: &str, origin: &str, warnings: &mut Vec<String>) -> Result<Options, ConfigError> {
    let (text, mode) = read_text(path, origin)?;
    // The library's own message quotes the line, which may hold a secret.
    let syntax = |error: toml::de::Error| {
        let line = error.span().map_or(1, |span| line_of(&text, span.start));
        ConfigError::Syntax { at: format!("{path}, line {line}"), why: error.message().to_owned() }
    };
    let keys: BTreeMap<Spanned<String>, Value> = toml::from_str(&text).map_err(syntax)?;
    let names = || names().iter().copied().filter(|name| *name != "config");
    if let Some(dev) = keys.keys().find(|key| key.get_ref() == FLAG_ALONE) {
        let line = line_of(&text, dev.span().start);
        return Err(ConfigError::FlagAlone { what: format!("'{FLAG_ALONE}' in {path}, line {line}") });
    }
    if let Some(unknown) = keys.keys().find(|key| !names().any(|name| name == *key.get_ref())) {
        let (key, line) = (unknown.get_ref(), line_of(&text, unknown.span().start));
        let meant = closest(key, names()).map(ToOwned::to_owned);
        return Err(ConfigError::Unknown { what: format!("the setting '{key}' in {path}, line {line}"), meant });
    }
    let options: Options = toml::from_str(&text).map_err(syntax)?;
    if options.holds_secret() {
        warnings.extend(exposed(path, mode));
    }
    Ok(options)
}

/// A warning of a file with secrets that everybody can read.
pub(super) fn exposed(path: &str, mode: u32) -> Option<String> {
    let warning = || format!("{path} holds secrets, and everybody on this machine can read it: chmod 600 {path}");
    (mode & 0o004 != 0).then(warning)
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}

/// The text of the file that the setting `origin` names, and its mode.
pub(super) fn read_text(path: &str, origin: &str) -> Result<(String, u32), ConfigError> {
    let unreadable = |why: String| ConfigError::Unreadable { origin: origin.into(), path: path.into(), why };
    let unread = |error: io::Error| unreadable(error.to_string());
    let file = File::open(path).map_err(unread)?;
    let mode = file.metadata().map_err(unread)?.permissions().mode();
    let mut text = String::new();
    let length = file.take(FILE_BYTES + 1).read_to_string(&mut text).map_err(unread)?;
    if u64::try_from(length).is_ok_and(|length| length > FILE_BYTES) {
        return Err(unreadable(format!("it is longer than {} KiB", FILE_BYTES / 1024)));
    }
    Ok((text, mode))
}
