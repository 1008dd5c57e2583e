//! `hookledger serve`: the server.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{DataDir, Failed, descriptors};
use crate::api::{self, ApiOptions};
use crate::clock::Stopwatch;
use crate::log::sled::SledLog;
use crate::runtime::{Options, Runtime};
use crate::signature::Secret;
use crate::transport::guard::Guard;
use crate::transport::ureq::{UreqSettings, UreqTransport};

/// Threads for what blocks, which is reading the store: more would only wait for the same disk and the same cores, with
/// a stack each. What finds no thread waits, and there is at most one such read for each connection.
const READERS: usize = 16;

/// Connections that the operating system takes before they are accepted, where it allows as many. Beyond them a client
/// tries again only after a second, and the default of 128 come within a few milliseconds when many clients start at once.
const BACKLOG: u32 = 4096;

#[derive(Debug, clap::Args)]
#[command(after_help = "Environment, beside the above:\n  \
    HOOKLEDGER_WEBHOOK_SECRET  Signs for webhooks that have no secret of their own\n  \
    HOOKLEDGER_LOG             What is logged: error, warn, info (default), debug, trace")]
pub(super) struct Args {
    #[command(flatten)]
    data: DataDir,
    /// The address to listen on; without API keys a loopback address
    #[arg(long, env = "HOOKLEDGER_LISTEN", default_value = "127.0.0.1:4080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// For development: allow http and private destinations
    #[arg(long)]
    dev: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failed> {
    check_exposure(args.listen)?;
    let global_secret = global_secret()?;
    let log = SledLog::open(&args.data.data_dir)?;
    let guard = if args.dev { Guard::dev() } else { Guard { own_address: Some(args.listen), ..Guard::default() } };
    let transport = Arc::new(UreqTransport::new(UreqSettings { guard, ..UreqSettings::default() }));
    let (mut api_options, mut options) = (ApiOptions::default(), Options::default());
    options.engine.policy.allow_http = args.dev;
    options.engine.global_secret = global_secret;
    fit(&mut api_options, &mut options);
    let grace = api_options.grace;
    let tasks = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(READERS).build()?;
    let runtime = Runtime::start(Box::new(log), transport, &options)?;
    let told = OnceLock::new();
    let served = tasks.block_on(serve(args, &runtime, api_options, &told));
    // One grace for all: what requests have used of it is not there for attempts.
    let used = told.get().map_or(Duration::ZERO, Stopwatch::elapsed);
    runtime.shutdown_within(grace.saturating_sub(used));
    // A read that is still under way ends with the process.
    tasks.shutdown_background();
    if served.is_ok() {
        tracing::info!("stopped");
    }
    served
}

async fn serve(args: &Args, runtime: &Runtime, options: ApiOptions, told: &OnceLock<Stopwatch>) -> Result<(), Failed> {
    let cant = |error| Failed::Run(format!("can't listen on {}: {error}", args.listen));
    let listener = listen(args.listen).map_err(cant)?;
    let address = listener.local_addr()?;
    let mut signals = Signals::new()?;
    tracing::info!(%address, data_dir = %args.data.data_dir.display(), dev = args.dev, "serving");
    let stop = async {
        let signal = signals.next().await;
        tracing::info!(signal, "stopping");
        let _ = told.set(Stopwatch::start());
        runtime.start_no_attempts();
        tokio::spawn(end_at_once(signals));
    };
    api::serve(listener, runtime.handle().clone(), options, stop).await?;
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

/// Without a key anybody who reaches the port may do anything.
fn check_exposure(listen: SocketAddr) -> Result<(), Failed> {
    if std::env::var("HOOKLEDGER_API_KEYS").is_ok_and(|keys| !keys.is_empty()) {
        return Err(Failed::Usage(
            "HOOKLEDGER_API_KEYS is set, but this version can't check keys yet; unset it".into(),
        ));
    }
    if listen.ip().is_loopback() {
        return Ok(());
    }
    Err(Failed::Usage(format!(
        "{listen} can be reached from other machines, and no API key is configured; listen on 127.0.0.1"
    )))
}

fn global_secret() -> Result<Option<Secret>, Failed> {
    match std::env::var("HOOKLEDGER_WEBHOOK_SECRET") {
        Ok(secret) if !secret.is_empty() => {
            Secret::new(secret).map(Some).map_err(|error| Failed::Usage(format!("HOOKLEDGER_WEBHOOK_SECRET: {error}")))
        }
        Err(std::env::VarError::NotUnicode(_)) => Err(Failed::Usage("HOOKLEDGER_WEBHOOK_SECRET is not UTF-8".into())),
        _ => Ok(None),
    }
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
