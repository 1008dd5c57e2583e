//! The listening socket: who is let in, and an end that waits for what is under way and for nothing else.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::seats::{Admission, Seats};
use super::{ApiOptions, App, connection, router};
use crate::runtime::Handle;

/// How long to wait after an error of accepting: it is a lack of file descriptors or memory, and passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API on `listener` until `stop` is done. Then no connection is accepted any more, requests in flight are
/// answered within [`ApiOptions::grace`], and idle connections are closed at once.
///
/// # Errors
/// When `listener` is no socket that listens. What happens to single connections ends only those.
pub async fn serve(
    listener: TcpListener,
    handle: Handle,
    options: ApiOptions,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let seats = Seats::new(options.connections, options.connections_per_peer.unwrap_or(options.connections));
    let (stopping, stopped) = watch::channel(false);
    let app = Arc::new(App::new(handle, options, stopped));
    let router = router(Arc::clone(&app));
    let mut connections = JoinSet::new();
    // Somebody at the door, whom there is no seat for yet.
    let mut next: Option<(TcpStream, IpAddr)> = None;
    let mut stop = pin!(stop);
    loop {
        if let Some((stream, peer)) = next.take() {
            match seats.admit(peer) {
                Admission::Seated(seat) => {
                    connections.spawn(connection::serve(stream, seat, Arc::clone(&app), router.clone()));
                }
                Admission::Full => next = Some((stream, peer)),
                Admission::TooManyOfOnePeer => app.refusals.note("too_many_connections", None, Some(peer)),
            }
        }
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            () = seats.moved(), if next.is_some() => {}
            accepted = listener.accept(), if next.is_none() => match accepted {
                Ok((stream, peer)) => next = Some((stream, peer.ip())),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop((listener, next));
    stopping.send_replace(true);
    match seats.under_way() {
        0 => {}
        connections => tracing::info!(connections, "waiting for requests under way"),
    }
    let ended = timeout(app.options.grace, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        tracing::warn!(connections = connections.len(), "requests were cut off at shutdown");
        connections.shutdown().await;
    }
    app.refusals.tell_all();
    Ok(())
}
