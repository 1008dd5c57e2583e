//! A receiver on loopback that verifies what comes, and misbehaves where it is told to.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tiny_http::{Request, Response, Server};

use super::Stage;
use crate::clock::{Clock, SystemClock};
use crate::signature::{InvalidSecret, Secret};
use crate::verify::Verifier;

/// A request that came in.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) job: String,
    pub(super) id: String,
    pub(super) timestamp: i64,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
    /// Why it did not verify, if it did not.
    pub(super) refused: Option<String>,
    pub(super) answered: u16,
}

#[derive(Default)]
struct Book {
    seen: Vec<Seen>,
    /// How many more requests about a job are to fail.
    failing: HashMap<String, u32>,
}

pub(super) struct Receiver {
    server: Arc<Server>,
    thread: Option<JoinHandle<()>>,
    book: Arc<Mutex<Book>>,
    url: String,
}

impl Receiver {
    pub(super) fn start(secret: &Secret, stage: Stage) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let server = Arc::new(Server::http("127.0.0.1:0")?);
        let url = format!("http://{}/hook", server.server_addr());
        let book = Arc::new(Mutex::new(Book::default()));
        let verifier = verifier(secret)?;
        let (at, notes) = (Arc::clone(&server), Arc::clone(&book));
        let thread = std::thread::Builder::new().name("receiver".into()).spawn(move || {
            for request in at.incoming_requests() {
                answer(request, &verifier, &notes, stage);
            }
        })?;
        Ok(Self { server, thread: Some(thread), book, url })
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// Has the next `times` requests about `job` fail.
    pub(super) fn fail(&self, job: &str, times: u32) {
        self.book.lock().failing.insert(job.to_owned(), times);
    }

    /// What has come in, in order.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.book.lock().seen.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            // Its panic was printed when it happened; the checks have missed what it should have seen.
            let _ = thread.join();
        }
    }
}

fn verifier(secret: &Secret) -> Result<Verifier, InvalidSecret> {
    Verifier::new(secret.expose())
}

fn answer(mut request: Request, verifier: &Verifier, book: &Mutex<Book>, stage: Stage) {
    let mut body = Vec::new();
    if request.as_reader().read_to_end(&mut body).is_err() {
        return;
    }
    let headers: Vec<(String, String)> =
        request.headers().iter().map(|header| (header.field.to_string(), header.value.to_string())).collect();
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let refused = verifier
        .verify(headers.iter().map(|(name, value)| (name, value)), &body, SystemClock.now().as_seconds())
        .err()
        .map(|error| error.to_string());
    let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let job = parsed["id"].as_str().unwrap_or_default().to_owned();
    let answered = status(&mut book.lock(), &job, refused.is_some());
    // When nobody reads any more, the demonstration ends at its next line.
    let _ = stage.aside(&format!(
        "receiver: {} about {job}, attempt {}: {}, answers {answered}",
        header("X-Webhook-Event"),
        header("X-Webhook-Attempt"),
        refused.as_deref().unwrap_or("signature and time verified"),
    ));
    book.lock().seen.push(Seen {
        job,
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp").parse().unwrap_or_default(),
        signature: header("webhook-signature"),
        body,
        refused,
        answered,
    });
    // A sender that is gone already has its outcome.
    let _ = request.respond(Response::empty(answered));
}

fn status(book: &mut Book, job: &str, refused: bool) -> u16 {
    if refused {
        return 401;
    }
    match book.failing.get_mut(job).filter(|left| **left > 0) {
        Some(left) => {
            *left -= 1;
            503
        }
        None => 200,
    }
}
