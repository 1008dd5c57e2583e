//! `hookledger serve`: the server.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::setup::{MORE_HELP, Setup};
use super::{Failed, descriptors, logs};
use crate::api::{self, ApiOptions};
use crate::clock::Stopwatch;
use crate::config;
use crate::log::sled::SledLog;
use crate::runtime::{Options, Runtime};
use crate::transport::ureq::UreqTransport;

/// Threads for what blocks, which is reading the store: more would only wait for the same disk and the same cores, with
/// a stack and an arena of memory each. What finds no thread waits, and there is at most one such read for each connection.
const READERS: usize = 4;

/// Connections that the operating system takes before they are accepted, where it allows as many. Beyond them a client
/// tries again only after a second, and the default of 128 come within a few milliseconds when many clients start at once.
const BACKLOG: u32 = 4096;

#[derive(Debug, clap::Args)]
#[command(after_help = MORE_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    settings: config::Options,
}

pub(super) fn run(args: Args) -> Result<(), Failed> {
    let mut setup = Setup::load(args.settings)?;
    logs::start(&setup.config.logs);
    for warning in &setup.warnings {
        tracing::warn!(%warning, "the configuration is allowed, and probably not what is meant");
    }
    fit(&mut setup.api, &mut setup.runtime);
    let log = SledLog::open(&setup.config.data_dir)?;
    let transport = Arc::new(UreqTransport::new(setup.transport.clone()));
    let tasks = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(READERS).build()?;
    let runtime = Runtime::start(Box::new(log), transport, &setup.runtime)?;
    let told = OnceLock::new();
    let served = tasks.block_on(serve(&setup, &runtime, &told));
    // One grace for all: what requests have used of it is not there for attempts.
    let used = told.get().map_or(Duration::ZERO, Stopwatch::elapsed);
    runtime.shutdown_within(setup.api.grace.saturating_sub(used));
    // A read that is still under way ends with the process.
    tasks.shutdown_background();
    if served.is_ok() {
        tracing::info!("stopped");
    }
    served
}

async fn serve(Setup { config, api, .. }: &Setup, runtime: &Runtime, told: &OnceLock<Stopwatch>) -> Result<(), Failed> {
    let cant = |error| Failed::Run(format!("can't listen on {}: {error}", config.listen));
    let listener = listen(config.listen).map_err(cant)?;
    let (address, data_dir) = (listener.local_addr()?, config.data_dir.display());
    let mut signals = Signals::new()?;
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, %address, %data_dir, api_keys = api.keys.len(), dev = config.dev, "serving");
    if config.dev {
        tracing::warn!("development mode: deliveries may go over http, and to addresses of one's own network");
    }
    let stop = async {
        let signal = signals.next().await;
        tracing::info!(signal, "stopping");
        let _ = told.set(Stopwatch::start());
        runtime.start_no_attempts();
        tokio::spawn(end_at_once(signals));
    };
    api::serve(listener, runtime.handle().clone(), api.clone(), stop).await?;
    Ok(())
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that is started again may have its address again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Bounds what is served at once by the file descriptors that there are.
fn fit(api_options: &mut ApiOptions, options: &mut Options) {
    let Some(limit) = descriptors::raise() else { return };
    let (connections, workers) = descriptors::share(limit, api_options.connections, options.workers);
    if (connections, workers) != (api_options.connections, options.workers) {
        tracing::warn!(
            limit,
            connections,
            workers,
            "few file descriptors: there are fewer connections and attempts at once"
        );
    }
    (api_options.connections, options.workers) = (connections, workers);
}

/// What asks for the end. The handlers are in place when this was made.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one, and gives its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! { _ = self.term.recv() => "SIGTERM", _ = self.int.recv() => "SIGINT" }
    }
}

/// Whoever asks twice does not want to wait. The log is as safe as in a crash: nothing acknowledged is lost.
async fn end_at_once(mut signals: Signals) {
    let signal = signals.next().await;
    anstream::eprintln!(
        "hookledger: {signal} again: ended at once; attempts in flight are made again at the next start"
    );
    std::process::exit(1);
}
