//! One connection: its requests one after the other, and its end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{HttpService, Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::entry::Peer;
use super::framing::{Ambiguity, Framing};
use super::problem::Problem;
use super::seats::Seat;
use super::upload::{Unread, Upload};
use super::wire::Wire;
use super::{Shared, entry, farewell};
use crate::clock::{Clock, SystemClock};

/// The largest head of a request, in bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// What is read ahead on one connection, at most, in bytes: a head and the beginning of a body.
const READ_AHEAD: usize = 64 * 1024;

/// How long a connection without a request may take to send what is left of its last answer, at shutdown.
const FLUSH: Duration = Duration::from_millis(250);

/// How many times as long an answer may take to be written at shutdown, that its peer has not read yet.
const FLUSHES: u32 = 4;

/// One connection, to its end. `seat` is left then.
pub(super) async fn serve(stream: TcpStream, seat: Seat, app: Shared, router: Router) {
    // An answer is one write; without this it could wait for the peer's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let seat = Arc::new(seat);
    tokio::select! {
        // Somebody else needs the seat, and nothing is under way here: there is nobody to wait for.
        () = seat.told_to_leave() => {}
        () = converse(stream, &seat, app, router) => {}
    }
}

async fn converse(stream: TcpStream, seat: &Arc<Seat>, app: Shared, router: Router) {
    let (ambiguity, unread) = (Ambiguity::default(), Unread::default());
    let framing = Framing::new(HEAD_BYTES, ambiguity.clone());
    let wire = Wire::new(stream, Arc::clone(seat), framing, app.options.write_deadline);
    let service = service(Arc::clone(seat), router, ambiguity, unread.clone());
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(app.options.head_deadline);
    builder.max_header_size(HEAD_BYTES).max_buf_size(READ_AHEAD);
    let mut serving = builder.serve_connection(TokioIo::new(wire), service);
    let mut stopped = app.stopping.clone();
    let ended = tokio::select! {
        ended = poll_fn(|context| serving.poll_without_shutdown(context)) => Some(ended),
        _ = stopped.wait_for(|stopped| *stopped) => None,
    };
    let ended = match ended {
        Some(ended) => Some(ended),
        None => {
            Pin::new(&mut serving).graceful_shutdown();
            finish(poll_fn(|context| serving.poll_without_shutdown(context)), seat).await
        }
    };
    let http1::Parts { io, read_buf, .. } = serving.into_parts();
    let (stream, refusal) = io.into_inner().into_parts();
    // Empty lines before a head are allowed, and say nothing.
    let heard = read_buf.iter().position(|b| !b"\r\n".contains(b)).map_or(&[][..], |start| &read_buf[start..]);
    let (words, unread) = match ended {
        // What came behind the last request is not read any more either.
        Some(Ok(())) => (None, unread.get() || !heard.is_empty()),
        // Peers go away in the middle, or send what is not HTTP.
        Some(Err(error)) => {
            tracing::debug!(%error, "a connection ended");
            (farewell::last_words(&error, refusal, heard), unread.get())
        }
        None => (None, false),
    };
    farewell::part(stream, words, unread, SystemClock.now()).await;
}

/// Waits for the end of a connection that was told to end, while it has a request. One that has only begun to send a head
/// has none, and would be waited for in vain; one whose peer does not read its answer is not waited for as long.
async fn finish<T>(mut serving: impl Future<Output = T> + Unpin, seat: &Seat) -> Option<T> {
    let mut flushes = 0;
    loop {
        if let Ok(ended) = timeout(FLUSH, &mut serving).await {
            return Some(ended);
        }
        flushes += u32::from(!seat.owes_an_answer());
        if seat.is_waiting() || flushes == FLUSHES {
            return None;
        }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Download>, Infallible>> + Send>>;

/// What hyper calls with every request.
fn service(
    seat: Arc<Seat>,
    router: Router,
    ambiguity: Ambiguity,
    unread: Unread,
) -> impl HttpService<Incoming, ResBody = Download, Error = Infallible, Future = Answering> + Unpin + Send {
    let handlers = TowerToHyperService::new(router);
    let requests = AtomicU64::new(0);
    service_fn(move |request: Request<Incoming>| -> Answering {
        let mut request = request.map(|body| Upload::new(body, unread.clone()));
        request.extensions_mut().insert(Peer(seat.peer()));
        if !seat.ask() {
            // The connection is being closed in this very moment. What was not begun is better not begun any more.
            return Box::pin(std::future::pending());
        }
        // Where its chunks end is not followed, so the head behind them is not looked at: there must not be one.
        let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
        let number = requests.fetch_add(1, Ordering::Relaxed) + 1;
        let answering = if ambiguity.is_in(number) { Err(said_twice(&request)) } else { Ok(handlers.call(request)) };
        let (seat, unread) = (Arc::clone(&seat), unread.clone());
        Box::pin(async move {
            let mut answer = match answering {
                Ok(answering) => {
                    let Ok(answer) = answering.await;
                    answer
                }
                Err(refusal) => refusal,
            };
            if chunked || unread.get() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer.map(|body| Download { body, seat }))
        })
    })
}

/// The answer to a request whose body's length is said in two ways. Where the next one begins is anybody's guess.
fn said_twice(request: &Request<Upload>) -> Response {
    let message = "A request has one Content-Length, or a Transfer-Encoding, and not both.";
    let mut refusal = entry::refuse(Problem::malformed("malformed_request", message), request.headers());
    refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    refusal
}

/// An answer's body, whose end is the answer's.
struct Download {
    body: Body,
    seat: Arc<Seat>,
}

impl hyper::body::Body for Download {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// hyper lets go of a body when it has taken all of it.
impl Drop for Download {
    fn drop(&mut self) {
        self.seat.answer();
    }
}
