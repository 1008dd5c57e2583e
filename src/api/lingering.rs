//! A connection's end, in a way that the other side gets the last answer.
//!
//! Closing a socket while the peer is still sending resets the connection, and a client that was told `413` in the middle
//! of its upload would only see the reset. So after a refusal the sending side is closed first, and what still comes is
//! thrown away for a moment (RFC 9112, section 9.6).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::upload::Unread;

/// How long the peer may take to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// What is thrown away at most, in bytes: a body of several times what is allowed.
const THROWN_AWAY: usize = 8 * 1024 * 1024;

/// What is thrown away in one go, in bytes, before other connections have their turn.
const TURN: usize = 256 * 1024;

/// A socket that ends gently.
pub(super) struct Lingering {
    stream: TcpStream,
    /// Whether the peer may still be sending a body that nobody reads.
    unread: Unread,
    /// What may still be thrown away, in bytes.
    left: usize,
    /// Set once the sending side was closed.
    end: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    pub(super) fn new(stream: TcpStream, unread: Unread) -> Self {
        Self { stream, unread, left: THROWN_AWAY, end: None }
    }

    /// Reads until the peer has closed its side, or has had its time.
    fn poll_throw_away(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 8 * 1024];
        let turn = self.left.saturating_sub(TURN);
        while self.left > turn {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.left = self.left.saturating_sub(buffer.filled().len()),
                _ => return Poll::Ready(()),
            }
        }
        if self.left == 0 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        if !self.unread.get() {
            return Poll::Ready(Ok(()));
        }
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        if end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.poll_throw_away(context).map(Ok)
    }
}
