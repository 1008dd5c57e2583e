//! ureq's errors as failures: the stage, and a short text without URL, header or address.

use std::io;

use ::ureq::{Error, Timeout};

use super::connector::Stage;
use crate::domain::outcome::{Failure, FailureKind};
use crate::transport::guard::Blocked;
use crate::transport::resolver::ResolveError;

/// The guard refused.
pub(super) fn blocked(blocked: &Blocked) -> Failure {
    failure(FailureKind::Blocked, blocked.reason())
}

/// This program is ending.
pub(super) fn interrupted() -> Failure {
    failure(FailureKind::Internal, "interrupted: the sender is shutting down")
}

/// What an error of a call that had got to `stage` means.
pub(super) fn of(error: &Error, stage: Stage) -> Failure {
    match error {
        Error::Timeout(timeout) => timed_out(*timeout, stage),
        Error::Io(error) => io(error, stage),
        Error::Other(other) => unresolved(other.downcast_ref()),
        Error::HostNotFound => failure(FailureKind::Resolve, "the name has no address"),
        Error::ConnectionFailed => failure(FailureKind::Connect, "no connection"),
        Error::ConnectProxyFailed(reason) => failure(FailureKind::Connect, reason),
        Error::Rustls(error) => failure(FailureKind::Tls, error.to_string()),
        Error::Tls(detail) => failure(FailureKind::Tls, *detail),
        Error::Pem(_) | Error::TlsRequired => failure(FailureKind::Tls, error.to_string()),
        Error::Protocol(error) => failure(FailureKind::Protocol, error.to_string()),
        Error::LargeResponseHeader(_, limit) => {
            failure(FailureKind::Protocol, format!("the response head is longer than {limit} bytes"))
        }
        // Not the error's own text: it contains the URL.
        Error::BadUri(_) => failure(FailureKind::Internal, "the URL can't be sent"),
        Error::Http(_) => failure(FailureKind::Internal, "the URL or a header can't be sent"),
        _ => failure(FailureKind::Internal, "unexpected error of the HTTP client"),
    }
}

/// A stage that has a deadline of its own is named; everything else is the whole attempt's.
fn timed_out(timeout: Timeout, stage: Stage) -> Failure {
    match (timeout, stage) {
        (Timeout::Resolve, _) => failure(FailureKind::Resolve, "no answer to the name's look-up within 5 s"),
        (Timeout::Connect, Stage::Tunnelling) => {
            failure(FailureKind::Connect, "no tunnel by the egress proxy within 5 s")
        }
        (Timeout::Connect, Stage::Securing) => failure(FailureKind::Tls, "no TLS session within 5 s"),
        (Timeout::Connect, _) => failure(FailureKind::Connect, "no connection within 5 s"),
        (_, Stage::Connecting) => failure(FailureKind::Timeout, "the time was up before there was a connection"),
        (_, Stage::Tunnelling) => {
            failure(FailureKind::Timeout, "the time was up before there was a tunnel by the egress proxy")
        }
        (_, Stage::Securing) => failure(FailureKind::Timeout, "the time was up before there was a TLS session"),
        (_, Stage::Idle | Stage::Talking) => failure(FailureKind::Timeout, "the time was up before a response"),
    }
}

fn io(error: &io::Error, stage: Stage) -> Failure {
    let kind = match stage {
        Stage::Connecting | Stage::Tunnelling => FailureKind::Connect,
        Stage::Securing => FailureKind::Tls,
        Stage::Idle | Stage::Talking => FailureKind::Protocol,
    };
    let detail: String = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "the connection was reset".into(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => "the connection was broken off".into(),
        io::ErrorKind::UnexpectedEof => "the connection ended before a response".into(),
        _ => error.to_string(),
    };
    match stage {
        Stage::Tunnelling => failure(kind, format!("the egress proxy: {detail}")),
        _ => failure(kind, detail),
    }
}

fn unresolved(error: Option<&ResolveError>) -> Failure {
    match error {
        Some(ResolveError::Blocked(reason)) => blocked(reason),
        Some(ResolveError::TimedOut) => failure(FailureKind::Timeout, "the time was up before there was an address"),
        Some(ResolveError::Failed(detail)) => failure(FailureKind::Resolve, detail),
        // A sign of our own limits, and none of the destination.
        Some(ResolveError::NoThread(detail)) => failure(FailureKind::Internal, detail),
        None => failure(FailureKind::Internal, "unexpected error of the HTTP client"),
    }
}

fn failure(kind: FailureKind, detail: impl Into<String>) -> Failure {
    Failure { kind, detail: detail.into() }
}
