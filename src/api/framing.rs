//! Follows the bytes that come in from head to head, for the one thing that hyper does not tell: whether a request's
//! length is said in more than one way.
//!
//! hyper takes `Transfer-Encoding` where both are given, drops the other, and closes afterwards. That is allowed (RFC
//! 9112, section 6.1) and safe here; but something in front of us may have believed the other one, and then the request
//! is not what it let through. So such a request is refused. What is looked at are heads as hyper reads them. Behind a
//! chunked body there is none: its request is the last one of the connection.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of the first request, counted from 1, whose length is said twice; 0 while there is none.
#[derive(Clone, Default)]
pub(super) struct Ambiguity(Arc<AtomicU64>);

impl Ambiguity {
    pub(super) fn is_in(&self, request: u64) -> bool {
        self.0.load(Ordering::Relaxed) == request
    }
}

/// Where in the stream of requests the next byte belongs.
pub(super) struct Framing {
    place: Place,
    /// Heads so far.
    heads: u64,
    /// The longest head; a longer one is refused by hyper.
    head_bytes: usize,
    found: Ambiguity,
}

enum Place {
    /// In a head, of which this has come.
    Head(Vec<u8>),
    /// In a body with so many bytes to come.
    Body(u64),
    /// Behind the last request.
    Lost,
}

/// How a head says that its body is framed.
#[derive(Debug, PartialEq, Eq)]
enum Length {
    Said(u64),
    Chunked,
    SaidTwice,
    Unreadable,
}

impl Framing {
    pub(super) fn new(head_bytes: usize, found: Ambiguity) -> Self {
        Self { place: Place::Head(Vec::new()), heads: 0, head_bytes, found }
    }

    /// Takes what has come in.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.place {
                Place::Lost => return,
                Place::Body(left) => {
                    let passed = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= passed as u64;
                    bytes = &bytes[passed..];
                    if *left == 0 {
                        self.place = Place::Head(Vec::new());
                    }
                }
                Place::Head(begun) => {
                    let begun = std::mem::take(begun);
                    bytes = self.through_head(begun, bytes);
                }
            }
        }
    }

    /// Goes on in a head that has begun with `begun`. Gives the bytes behind it.
    fn through_head<'a>(&mut self, mut begun: Vec<u8>, bytes: &'a [u8]) -> &'a [u8] {
        let before = begun.len();
        // A head almost always comes in one piece, and is not copied then.
        let head = if before == 0 {
            Cow::Borrowed(bytes)
        } else {
            begun.extend_from_slice(bytes);
            Cow::Owned(begun)
        };
        if let Some(end) = head_end(&head, before) {
            self.place = self.behind(&head[..end]);
            return &bytes[end - before..];
        }
        self.place = if head.len() > self.head_bytes { Place::Lost } else { Place::Head(head.into_owned()) };
        &[]
    }

    /// Where it goes on behind a head.
    fn behind(&mut self, head: &[u8]) -> Place {
        self.heads += 1;
        match length(head) {
            Length::Said(0) => Place::Head(Vec::new()),
            Length::Said(bytes) => Place::Body(bytes),
            Length::SaidTwice => {
                self.found.0.store(self.heads, Ordering::Relaxed);
                Place::Lost
            }
            Length::Chunked | Length::Unreadable => Place::Lost,
        }
    }
}

/// Where the head ends with which `bytes` begin, its empty line included; `from` is how many of them were known before.
/// Empty lines before it belong to it, and a line may end without a carriage return: so does hyper's parser have it.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let start = bytes.iter().position(|b| !b"\r\n".contains(b))?;
    let from = from.saturating_sub(2).max(start);
    let ends = bytes[from..].iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| from + at + 1);
    let mut ends = ends.filter_map(|at| match bytes[at..] {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    });
    ends.next()
}

fn length(head: &[u8]) -> Length {
    let (mut lengths, mut encodings, mut said) = (0, 0, Some(0));
    for line in head.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
            said = std::str::from_utf8(&value[1..]).ok().and_then(|value| value.trim().parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            encodings += 1;
        }
    }
    match (lengths, encodings, said) {
        (0, 0, _) => Length::Said(0),
        (1, 0, Some(bytes)) => Length::Said(bytes),
        (1, 0, None) => Length::Unreadable,
        (0, _, _) => Length::Chunked,
        _ => Length::SaidTwice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the ambiguous request, however the bytes are cut.
    fn ambiguous(bytes: &str) -> u64 {
        let found = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let found = Ambiguity::default();
            let mut framing = Framing::new(1024, found.clone());
            pieces.for_each(|piece| framing.follow(piece));
            found.0.load(Ordering::Relaxed)
        };
        let whole = found(&mut std::iter::once(bytes.as_bytes()));
        for size in [1, 2, 3, 7] {
            assert_eq!(found(&mut bytes.as_bytes().chunks(size)), whole, "in pieces of {size}: {bytes}");
        }
        whole
    }

    #[test]
    fn a_length_that_is_said_twice_is_found() {
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "transfer-encoding: chunked\r\nHost: a\r\nCONTENT-LENGTH:3",
            "Content-Length: 3\r\nContent-Length: 3",
            "Content-Length: 3\r\nContent-Length: 4",
            "Content-Length: 3\nTransfer-Encoding: chunked",
        ] {
            assert_eq!(ambiguous(&format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n")), 1, "{fields}");
            let behind = format!(
                "\r\nPOST /: HTTP/1.1\r\nContent-Length: 22\r\n\r\ncontent-length: 5\r\n\r\nx\
                                  GET / HTTP/1.1\n\nPUT / HTTP/1.1\r\n{fields}\r\n\r\n"
            );
            assert_eq!(ambiguous(&behind), 3, "{fields}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for bytes in [
            "GET / HTTP/1.1\r\nX: Content-Length: 3\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nf\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\nA: b\r\n\r\n",
        ] {
            assert_eq!(ambiguous(bytes), 0, "{bytes}");
        }
        assert_eq!(ambiguous(&format!("GET /{} HTTP/1.1\r\n", "x".repeat(2000))), 0, "hyper refuses what is too long");
    }
}
