//! How connections are made, and how far a call has got.
//!
//! ureq's errors don't tell a refused connection from one that broke later, nor a new connection from a kept-alive
//! one. ureq runs a call on the caller's thread from start to end and hands its connectors nothing of that call, so
//! the connectors note what they see in a thread-local:
//!
//! ```text
//! Idle ──▶ Connecting or Tunnelling ──▶ Securing ──▶ Talking
//!  └─ stays here where a kept-alive connection is used
//! ```

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use ::ureq::Error;
use ::ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, RustlsConnector, Transport};

/// What the current call on this thread has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No new connection was opened: there was no address yet, or a kept-alive connection is used.
    Idle,
    /// A TCP connection is being opened.
    Connecting,
    /// A connection to the egress proxy is being opened, or a tunnel asked for.
    Tunnelling,
    /// A TLS session is being agreed on.
    Securing,
    /// A new connection is ready.
    Talking,
}

thread_local! {
    static REACHED: Cell<Reached> = const { Cell::new(Reached { stage: Stage::Idle, heard: false }) };
}

/// How far the current call has got.
#[derive(Clone, Copy)]
pub(super) struct Reached {
    stage: Stage,
    /// Whether the peer has sent anything in this call.
    heard: bool,
}

impl Reached {
    /// A call begins.
    pub(super) fn nothing() {
        REACHED.set(Self { stage: Stage::Idle, heard: false });
    }

    pub(super) fn stage() -> Stage {
        REACHED.get().stage
    }

    /// Whether a call that failed with an I/O error did so on a kept-alive connection, before anything was heard.
    pub(super) fn was_a_dead_idle_connection() -> bool {
        let reached = REACHED.get();
        reached.stage == Stage::Idle && !reached.heard
    }

    fn enter(stage: Stage) {
        REACHED.set(Self { stage, ..REACHED.get() });
    }

    fn heard() {
        REACHED.set(Self { heard: true, ..REACHED.get() });
    }
}

/// Notes that this stage begins, and passes the connection on.
#[derive(Debug)]
pub(super) struct Mark(pub(super) Stage);

impl<In: Transport> Connector<In> for Mark {
    type Out = In;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<In>, Error> {
        Reached::enter(self.0);
        Ok(chained)
    }
}

/// TLS with one configuration for all agents and calls.
///
/// Every call carries settings of its own (its timeout), and for such a call ureq would build the TLS configuration
/// anew: load the platform's roots, and forget the sessions to resume. The TLS settings are the same in all of them,
/// so the call is presented as one without.
pub(super) struct SharedTls(pub(super) Arc<RustlsConnector>);

impl<In: Transport> Connector<In> for SharedTls {
    type Out = <RustlsConnector as Connector<In>>::Out;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let details = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            resolver: details.resolver,
            config: details.config,
            request_level: false,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        self.0.connect(&details, chained)
    }
}

impl fmt::Debug for SharedTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedTls")
    }
}

/// Ends the chain: the connection is ready, and is listened to for the first sign of a response.
#[derive(Debug)]
pub(super) struct Watch;

impl<In: Transport> Connector<In> for Watch {
    type Out = Watched<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<Watched<In>>, Error> {
        Reached::enter(Stage::Talking);
        Ok(chained.map(Watched))
    }
}

/// A connection that notes when its peer is heard.
#[derive(Debug)]
pub(super) struct Watched<T>(T);

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let progress = self.0.await_input(timeout)?;
        if progress {
            Reached::heard();
        }
        Ok(progress)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
