//! The stream between hyper and the socket: what hyper has no hook for.
//!
//! - What hyper itself has to say about a head that it can't read (400, 414, 431) has no body and no request id. It is
//!   taken from hyper here and kept from the peer; the connection says it in the one shape of errors afterwards.
//! - A peer that doesn't read what it has asked for is given up.
//! - The seat is told when an answer has gone out; see [`seats`](super::seats).
//! - What comes in is followed; see [`framing`](super::framing).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::framing::Framing;
use super::seats::Seat;

/// A socket, as hyper sees it.
pub(super) struct Wire {
    stream: TcpStream,
    seat: Arc<Seat>,
    framing: Framing,
    /// How long a write may go without progress. The kernel takes kilobytes at once or nothing, so that a peer that reads
    /// a byte now and then makes none.
    deadline: Duration,
    /// Running while a write waits for the peer.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What hyper wanted to say by itself.
    refusal: Option<StatusCode>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, seat: Arc<Seat>, framing: Framing, deadline: Duration) -> Self {
        Self { stream, seat, framing, deadline, stalled: None, refusal: None }
    }

    /// The socket, and the status with which hyper refused what came, if it did.
    pub(super) fn into_parts(self) -> (TcpStream, Option<StatusCode>) {
        (self.stream, self.refusal)
    }

    /// Gives up when the peer has taken nothing for too long.
    fn poll_progress(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let deadline = self.deadline;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(deadline)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Whether these bytes are hyper's own; then they go no further.
    fn withholds(&mut self, bytes: &[u8]) -> bool {
        let refusal = own_refusal(bytes);
        self.refusal = self.refusal.or(refusal);
        refusal.is_some()
    }
}

/// The status of a refusal that is hyper's own.
///
/// hyper writes one only when nothing else is to be written: the head of the next request is read after the last answer
/// was flushed. So it comes alone, in one write, and as it is always taken whole no part of one can be left over. Answers
/// of ours all carry a request id. The rest of one of ours, after a part was written, can't be mistaken for a refusal
/// either: it would have to begin with a status line, and no JSON has a line break of this kind in it.
fn own_refusal(bytes: &[u8]) -> Option<StatusCode> {
    let head = bytes.strip_suffix(b"\r\n\r\n")?;
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
    let status = StatusCode::from_bytes(status.get(..3)?).ok().filter(StatusCode::is_client_error)?;
    let mut fields = std::str::from_utf8(head).ok()?.split("\r\n").skip(1);
    let is_empty = fields.clone().any(|field| field.eq_ignore_ascii_case("content-length: 0"));
    let id = "x-request-id:";
    let is_ours =
        fields.any(|field| field.is_empty() || field.get(..id.len()).is_some_and(|name| name.eq_ignore_ascii_case(id)));
    (is_empty && !is_ours).then_some(status)
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.framing.follow(&buffer.filled()[before..]);
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.withholds(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.poll_progress(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices
            && self.withholds(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.poll_progress(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all it had.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.seat.flushed();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Not called: the connection is ended by [`farewell`](super::farewell), not by hyper.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hyper_says_by_itself_is_withheld() {
        let own = |head: &str| own_refusal(head.as_bytes()).map(|status| status.as_u16());
        let date = "date: Tue, 24 Nov 2026 15:08:48 GMT";
        let close = "connection: close\r\ncontent-length: 0";
        assert_eq!(own(&format!("HTTP/1.1 400 Bad Request\r\n{close}\r\n{date}\r\n\r\n")), Some(400));
        assert_eq!(own(&format!("HTTP/1.0 431 Too Large\r\n{close}\r\n{date}\r\n\r\n")), Some(431));
        for other in [
            format!("HTTP/1.1 400 Bad Request\r\n{close}\r\nX-Request-Id: a\r\n{date}\r\n\r\n"),
            format!("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 10\r\n{date}\r\n\r\n"),
            format!("HTTP/1.1 400 Bad Request\r\n{close}\r\n\r\nHTTP/1.1 400 Bad Request\r\n{close}\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\n{close}\r\n\r\n"),
            format!("HTTP/1.1 400 Bad Request\r\n{close}\r\n"),
            "HTTP/1.1 100 Continue\r\n\r\n".into(),
            "HTTP/1.1 4\r\n\r\n".into(),
            "\r\n\r\n".into(),
            String::new(),
        ] {
            assert_eq!(own(&other), None, "{other}");
        }
    }
}
