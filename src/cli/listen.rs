//! `hookledger listen`: a receiver for trying things.
//!
//! It verifies, prints, and misbehaves where it is told to. It is no server for strangers: `tiny_http` believes whatever
//! length a request claims, so it stays on loopback unless told otherwise.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tiny_http::{Method, Request, Response, Server};

use super::Failed;
use super::input::{self, SchemeName, Secrets};
use crate::clock::{self, Clock, SystemClock};
use crate::domain::outcome::clip;
use crate::domain::time::Timestamp;
use crate::verify::Verifier;

/// Requests that are answered at once: with `--delay` each takes a thread for so long.
const THREADS: usize = 16;

/// The longest body; a server's own payloads are far below.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Deliveries whose attempts are counted. With more, the counting begins anew, and `--fail` with it.
const MAX_COUNTED: usize = 100_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "With a secret, what does not verify is answered with 401.\n\n\
    Environment:\n  HOOKLEDGER_WEBHOOK_SECRET  The secret, unless --secret-file is given; without one nothing is verified")]
pub(super) struct Args {
    /// The port to listen on, on 127.0.0.1; 0 for a free one
    #[arg(long, default_value_t = 9000, value_name = "PORT")]
    port: u16,
    /// The address to listen on instead
    #[arg(long, conflicts_with = "port", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    secrets: Secrets,
    /// Which signature to verify; the other one is never looked at
    #[arg(long, value_enum, default_value = "standard")]
    scheme: SchemeName,
    /// Fail the first N attempts of each delivery, with 500 or --status
    #[arg(long, default_value_t = 0, value_name = "N")]
    fail: u32,
    /// Answer this instead of 200; with --fail, this instead of 500
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(200..=599))]
    status: Option<u16>,
    /// Wait so long before each answer: 2s, 500ms
    #[arg(long, value_name = "TIME", value_parser = parse_delay, default_value = "0s")]
    delay: Duration,
    /// Print a JSON object for each delivery
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failed> {
    let secrets = args.secrets.given()?;
    let address = args.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, args.port).into());
    let server = Server::http(address).map_err(|error| Failed::Run(format!("can't listen on {address}: {error}")))?;
    let listener = Listener {
        verifier: if secrets.is_empty() { None } else { Some(input::verifier(&secrets, args.scheme)?) },
        attempts: Mutex::default(),
        answers: Answers { failures: args.fail, status: args.status },
        delay: args.delay,
        json: args.json,
    };
    announce(&server, address, listener.verifier.is_some());
    serve(&Arc::new(server), &Arc::new(listener));
    Err(Failed::Run("the server has ended".into()))
}

/// To stderr: what is received is alone on stdout.
fn announce(server: &Server, asked: SocketAddr, verifies: bool) {
    let how = if verifies { "verifying signatures" } else { "verifying nothing: there is no secret" };
    anstream::eprintln!("listening on http://{}/, {how}", server.server_addr());
    if !asked.ip().is_loopback() {
        anstream::eprintln!("hookledger: other machines can reach this; it is for trying things, not for strangers");
    }
}

fn serve(server: &Arc<Server>, listener: &Arc<Listener>) {
    let threads: Vec<_> = (0..THREADS)
        .filter_map(|number| {
            let (server, listener) = (Arc::clone(server), Arc::clone(listener));
            let builder = thread::Builder::new().name(format!("listen-{number}"));
            builder.spawn(move || server.incoming_requests().for_each(|request| listener.take(request))).ok()
        })
        .collect();
    for thread in threads {
        // Its panic was printed when it happened; the others go on.
        let _ = thread.join();
    }
}

struct Listener {
    /// Without a secret, none.
    verifier: Option<Verifier>,
    /// How often each delivery has come.
    attempts: Mutex<HashMap<String, u32>>,
    answers: Answers,
    delay: Duration,
    json: bool,
}

/// What is answered to what verifies.
struct Answers {
    failures: u32,
    status: Option<u16>,
}

impl Answers {
    /// To the `attempt`th time that a delivery comes.
    fn to(&self, attempt: u32) -> u16 {
        match (self.failures, self.status) {
            (0, status) => status.unwrap_or(200),
            (failures, status) if attempt <= failures => status.unwrap_or(500),
            _ => 200,
        }
    }
}

impl Listener {
    fn take(&self, mut request: Request) {
        if *request.method() != Method::Post {
            let _ = request.respond(Response::empty(405));
            return;
        }
        let mut body = Vec::new();
        if request.as_reader().take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut body).is_err() {
            return;
        }
        if body.len() > MAX_BODY_BYTES {
            let _ = request.respond(Response::empty(413));
            return;
        }
        let delivery = self.judge(&request, &body);
        self.print(&delivery, &body);
        if !self.delay.is_zero() {
            clock::pause(self.delay);
        }
        // A sender that is gone already has its outcome.
        let _ = request.respond(Response::empty(delivery.answered));
    }

    fn judge(&self, request: &Request, body: &[u8]) -> Delivery {
        let headers = || request.headers().iter().map(|h| (h.field.as_str().as_str(), h.value.as_str()));
        let header = |wanted: &str| {
            headers().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned())
        };
        let received = SystemClock.now();
        let judge = |verifier: &Verifier| verifier.verify(headers(), body, received.as_seconds()).err();
        let refused = self.verifier.as_ref().and_then(judge).map(|error| error.to_string());
        let id = header("webhook-id").unwrap_or_default();
        let answered = if refused.is_some() { 401 } else { self.answers.to(self.count(&id)) };
        Delivery {
            received,
            id,
            event: header("X-Webhook-Event").unwrap_or_default(),
            attempt: header("X-Webhook-Attempt").unwrap_or_default(),
            verified: self.verifier.as_ref().map(|_| refused.is_none()),
            refused,
            answered,
        }
    }

    /// Which time this is that the delivery comes.
    fn count(&self, id: &str) -> u32 {
        let mut attempts = self.attempts.lock();
        if attempts.len() >= MAX_COUNTED && !attempts.contains_key(id) {
            attempts.clear();
        }
        let count = attempts.entry(id.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn print(&self, delivery: &Delivery, body: &[u8]) {
        let body: Value = serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into());
        let line = if self.json { delivery.json(&body).to_string() } else { delivery.line(&body) };
        if writeln!(std::io::stdout().lock(), "{line}").is_err() {
            // Nobody reads any more: `hookledger listen | head`.
            std::process::exit(0);
        }
    }
}

/// A request, judged.
struct Delivery {
    received: Timestamp,
    id: String,
    event: String,
    attempt: String,
    /// `None`: there is no secret to verify with.
    verified: Option<bool>,
    /// Why it was refused, if it was.
    refused: Option<String>,
    answered: u16,
}

impl Delivery {
    /// Whoever sends chooses all of this, so it is escaped and clipped.
    fn line(&self, body: &Value) -> String {
        let at = self.received.to_string();
        let time = at.split_once('T').map_or(at.as_str(), |(_, time)| time.trim_end_matches('Z'));
        let about = body["id"].as_str().or_else(|| body["data"]["id"].as_str()).unwrap_or("?");
        let [event, about, attempt, id] = [&self.event, about, &self.attempt, &self.id]
            .map(|text| if text.is_empty() { "?".into() } else { clip(text, 80) });
        let judged = match (&self.refused, self.verified) {
            (Some(error), _) => format!("REFUSED: {error}"),
            (None, Some(_)) => "verified".into(),
            (None, None) => "not verified".into(),
        };
        format!("{time}  {}  {event} {about}, attempt {attempt}, {id}: {judged}", self.answered)
    }

    fn json(&self, body: &Value) -> Value {
        json!({
            "received_at": self.received.to_string(), "webhook_id": self.id, "event": self.event,
            "attempt": self.attempt.parse::<u32>().ok(), "verified": self.verified, "error": self.refused,
            "answered": self.answered, "body": body,
        })
    }
}

fn parse_delay(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| "a time is written like 2s or 500ms".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "a delay is not negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempts_fail_and_all_do_with_a_status_alone() {
        let answers = |failures, status| (1..=3).map(|n| Answers { failures, status }.to(n)).collect::<Vec<_>>();
        assert_eq!(answers(0, None), [200, 200, 200]);
        assert_eq!(answers(2, None), [500, 500, 200]);
        assert_eq!(answers(2, Some(503)), [503, 503, 200]);
        assert_eq!(answers(0, Some(410)), [410, 410, 410]);
    }

    #[test]
    fn a_delay_is_a_number_with_a_unit() {
        assert_eq!(parse_delay("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_delay("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "2", "-2s", "soon"] {
            assert!(parse_delay(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_sender_says_is_escaped() {
        let delivery = Delivery {
            received: Timestamp::from_millis(1_769_851_800_250),
            id: "msg_1\u{1b}[2J".into(),
            event: "completed".into(),
            attempt: "1".into(),
            verified: Some(false),
            refused: Some("no signature matches".into()),
            answered: 401,
        };
        assert_eq!(
            delivery.line(&json!({"id": "a\nb"})),
            "09:30:00.250  401  completed a\\nb, attempt 1, msg_1\\u{1b}[2J: REFUSED: no signature matches"
        );
        assert!(delivery.line(&json!({"data": {"id": "thin"}})).contains("completed thin,"));
        assert!(delivery.line(&json!("text")).contains("completed ?,"));
    }
}
