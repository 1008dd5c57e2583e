//! `hookledger serve`: the server.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{DataDir, Failed};
use crate::api::{self, ApiOptions};
use crate::log::sled::SledLog;
use crate::runtime::{Options, Runtime};
use crate::signature::Secret;
use crate::transport::guard::Guard;
use crate::transport::ureq::{UreqSettings, UreqTransport};

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
    let mut options = Options::default();
    options.engine.policy.allow_http = args.dev;
    options.engine.global_secret = global_secret;
    let runtime = Runtime::start(Box::new(log), transport, &options)?;
    let served = serve(args, &runtime);
    runtime.shutdown();
    served
}

fn serve(args: &Args, runtime: &Runtime) -> Result<(), Failed> {
    let server = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    server.block_on(async {
        let cant = |error| Failed::Run(format!("can't listen on {}: {error}", args.listen));
        let listener = tokio::net::TcpListener::bind(args.listen).await.map_err(cant)?;
        let address = listener.local_addr()?;
        tracing::info!(%address, data_dir = %args.data.data_dir.display(), dev = args.dev, "serving");
        let stop = stop_signal()?;
        api::serve(listener, runtime.handle().clone(), ApiOptions::default(), stop).await?;
        Ok(())
    })
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

/// Ends with SIGTERM or SIGINT. The handlers are in place when this returns.
fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let signal = tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" };
        tracing::info!(signal, "stopping");
    })
}
