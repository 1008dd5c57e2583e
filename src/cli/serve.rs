//! `hookledger serve`: the server.

use std::sync::Arc;

use super::Failed;
use super::setup::{MORE_HELP, Setup};
use crate::api;
use crate::config;
use crate::log::sled::SledLog;
use crate::runtime::Runtime;
use crate::transport::ureq::{UreqSettings, UreqTransport};

#[derive(Debug, clap::Args)]
#[command(after_help = MORE_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    settings: config::Options,
}

pub(super) fn run(args: Args) -> Result<(), Failed> {
    let setup = Setup::load(args.settings)?;
    for warning in &setup.warnings {
        tracing::warn!("{warning}");
    }
    let log = SledLog::open(&setup.config.data_dir)?;
    let transport = Arc::new(UreqTransport::new(UreqSettings { guard: setup.guard.clone() }));
    let runtime = Runtime::start(Box::new(log), transport, &setup.runtime)?;
    let served = serve(&setup, &runtime);
    runtime.shutdown();
    served
}

fn serve(Setup { config, api, .. }: &Setup, runtime: &Runtime) -> Result<(), Failed> {
    let server = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    server.block_on(async {
        let cant = |error| Failed::Run(format!("can't listen on {}: {error}", config.listen));
        let listener = tokio::net::TcpListener::bind(config.listen).await.map_err(cant)?;
        let (address, data_dir) = (listener.local_addr()?, config.data_dir.display());
        tracing::info!(%address, %data_dir, dev = config.dev, api_keys = api.keys.len(), "serving");
        let stop = stop_signal()?;
        api::serve(listener, runtime.handle().clone(), api.clone(), stop).await?;
        Ok(())
    })
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
