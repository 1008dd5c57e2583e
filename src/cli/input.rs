//! What commands on single payloads are given: the payload, the secrets, the scheme.

use std::env::VarError;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Failed;
use crate::signature::Secret;
use crate::verify::{Scheme, Verifier};

/// The variable that `serve` signs with, too.
const SECRET_VARIABLE: &str = "HOOKLEDGER_WEBHOOK_SECRET";

/// Far above any payload, so that a wrong file is an error and not a full memory.
const MAX_BYTES: u64 = 64 << 20;

/// A payload's exact bytes.
#[derive(Debug, clap::Args)]
pub(super) struct Payload {
    /// The file with the payload's exact bytes (default: standard input)
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Payload {
    pub(super) fn read(&self) -> Result<Vec<u8>, Failed> {
        match self.file.as_deref().filter(|file| *file != Path::new("-")) {
            Some(file) => read_file(file),
            None => read(io::stdin().lock()).map_err(|error| Failed::Usage(format!("standard input: {error}"))),
        }
    }
}

/// Never an argument: other users of the machine see those.
#[derive(Debug, clap::Args)]
pub(super) struct Secrets {
    /// A file with the secret, or several, one a line (default: from the environment)
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Secrets {
    /// What was given, and none if nothing was.
    pub(super) fn given(&self) -> Result<Vec<Secret>, Failed> {
        let (text, from) = match &self.secret_file {
            Some(file) => (text(read_file(file)?, &file.display().to_string())?, file.display().to_string()),
            None => (from_environment()?, SECRET_VARIABLE.to_owned()),
        };
        let secrets: Result<Vec<_>, _> = text.lines().filter(|line| !line.is_empty()).map(Secret::new).collect();
        let secrets = secrets.map_err(|error| Failed::Usage(format!("{from}: {error}")))?;
        if secrets.is_empty() && self.secret_file.is_some() {
            return Err(Failed::Usage(format!("{from}: there is no secret in it")));
        }
        Ok(secrets)
    }

    /// What was given, at least one.
    pub(super) fn demanded(&self) -> Result<Vec<Secret>, Failed> {
        let secrets = self.given()?;
        if secrets.is_empty() {
            return Err(Failed::Usage(format!("there is no secret: set {SECRET_VARIABLE}, or give --secret-file")));
        }
        Ok(secrets)
    }
}

fn from_environment() -> Result<String, Failed> {
    match std::env::var(SECRET_VARIABLE) {
        Ok(text) => Ok(text),
        Err(VarError::NotPresent) => Ok(String::new()),
        Err(VarError::NotUnicode(_)) => Err(Failed::Usage(format!("{SECRET_VARIABLE} is not UTF-8"))),
    }
}

/// Verifies with any of these secrets, of which there is at least one.
pub(super) fn verifier(secrets: &[Secret], scheme: SchemeName) -> Result<Verifier, Failed> {
    let usage = |error| Failed::Usage(format!("the secret: {error}"));
    let (first, others) = secrets.split_first().ok_or_else(|| Failed::Usage("there is no secret".into()))?;
    let verifier = Verifier::new(first.expose()).map_err(usage)?;
    let verifier = others.iter().try_fold(verifier, |verifier, other| verifier.and_secret(other.expose()));
    Ok(verifier.map_err(usage)?.scheme(scheme.into()))
}

/// Which signature, and no other.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum SchemeName {
    /// webhook-signature (Standard Webhooks): covers id, time and payload
    Standard,
    /// X-Webhook-Signature: covers the payload alone
    Github,
}

impl From<SchemeName> for Scheme {
    fn from(name: SchemeName) -> Self {
        match name {
            SchemeName::Standard => Self::StandardWebhooks,
            SchemeName::Github => Self::GitHub,
        }
    }
}

/// A file's bytes.
pub(super) fn read_file(file: &Path) -> Result<Vec<u8>, Failed> {
    File::open(file).and_then(read).map_err(|error| Failed::Usage(format!("{}: {error}", file.display())))
}

/// Bytes as text.
pub(super) fn text(bytes: Vec<u8>, from: &str) -> Result<String, Failed> {
    String::from_utf8(bytes).map_err(|_| Failed::Usage(format!("{from}: it is not UTF-8")))
}

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is longer than 64 MiB"));
    }
    Ok(bytes)
}
