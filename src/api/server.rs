//! The sockets: connections, each with bounds on what a peer may send and how long it may take, and an end that waits
//! for what is under way and for nothing else.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::lingering::Lingering;
use super::upload::{Unread, Upload};
use super::{ApiOptions, App, router};
use crate::runtime::Handle;

/// The largest head of a request, in bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// What is read ahead on one connection, at most, in bytes: a head and the beginning of a body.
const READ_AHEAD: usize = 64 * 1024;

/// How long a connection without a request may take to send what is left of its last answer, at shutdown.
const FLUSH: Duration = Duration::from_millis(250);

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
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let router = router(Arc::new(App { handle, options: options.clone() }));
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < options.connections => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), options.head_deadline, stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let ended = timeout(options.grace, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        tracing::warn!(%address, open = connections.len(), "requests were cut off at shutdown");
        connections.shutdown().await;
    }
    Ok(())
}

/// One connection, to its end.
async fn connection(stream: TcpStream, router: Router, head_deadline: Duration, mut stopped: watch::Receiver<bool>) {
    // An answer is one write; without this it could wait for the peer's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let (busy, unread) = (AtomicBool::new(false), Unread::default());
    let handlers = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| {
        busy.store(true, Ordering::Relaxed);
        let answer = handlers.call(request.map(|body| Upload::new(body, unread.clone())));
        let (busy, unread) = (&busy, &unread);
        async move {
            let Ok(mut answer) = answer.await;
            if unread.get() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            busy.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_deadline);
    builder.max_header_size(HEAD_BYTES).max_buf_size(READ_AHEAD);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(Lingering::new(stream, unread.clone())), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        _ = stopped.wait_for(|stopped| *stopped) => None,
    };
    match ended {
        Some(Ok(())) => {}
        // Peers go away in the middle, or send what is not HTTP.
        Some(Err(error)) => tracing::debug!(%error, "a connection ended"),
        None => {
            serving.as_mut().graceful_shutdown();
            finish(serving, &busy).await;
        }
    }
}

/// Waits for the end of a connection that was told to end, while it has a request. One that has only begun to send a head
/// has none, and would be waited for in vain.
async fn finish(mut serving: Pin<&mut impl Future>, busy: &AtomicBool) {
    loop {
        if timeout(FLUSH, serving.as_mut()).await.is_ok() || !busy.load(Ordering::Relaxed) {
            return;
        }
    }
}
