//! A webhook receiver in Rust, with `hookledger::verify`.
//!
//! `WEBHOOK_SECRET=whsec_... cargo run --example receiver [PORT]`
//!
//! A program of its own takes `hookledger` with `default-features = false, features = ["verify"]`, and the HTTP server
//! that it has anyway. `tiny_http` is for trusted networks.

use std::collections::HashSet;
use std::error::Error;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use hookledger::verify::Verifier;
use tiny_http::{Request, Response, Server};

/// The longest body that is read.
const MAX_BODY: u64 = 1 << 20;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let port: u16 = std::env::args().nth(1).as_deref().unwrap_or("9000").parse()?;
    let verifier = Verifier::new(std::env::var("WEBHOOK_SECRET")?)?;
    // Deliveries come at least once. In a real program these are in the database, written with what the delivery causes.
    let mut seen = HashSet::new();

    let server = Server::http(("127.0.0.1", port))?;
    println!("listening on http://{}/", server.server_addr());
    for mut request in server.incoming_requests() {
        let mut body = Vec::new();
        request.as_reader().take(MAX_BODY).read_to_end(&mut body)?;
        let (status, line) = receive(&verifier, &mut seen, &request, &body);
        println!("{line}");
        request.respond(Response::empty(status))?;
    }
    Ok(())
}

/// What to answer, and the line to print.
fn receive(verifier: &Verifier, seen: &mut HashSet<String>, request: &Request, body: &[u8]) -> (u16, String) {
    let headers = || request.headers().iter().map(|h| (h.field.as_str().as_str(), h.value.as_str()));
    // The bytes as they came, before anything parses them.
    let delivery = match verifier.verify(headers(), body, now()) {
        Ok(genuine) => genuine.id,
        Err(error) => return (401, format!("401 refused: {error}")),
    };
    let Ok(job) = serde_json::from_slice::<serde_json::Value>(body) else {
        return (400, "400 no JSON".into());
    };
    let header =
        |wanted: &str| headers().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map_or("", |(_, value)| value);
    let (event, attempt) = (header("X-Webhook-Event"), header("X-Webhook-Attempt"));
    let note = if seen.insert(delivery.clone()) { "verified" } else { "seen before" };
    (200, format!("200 {event} {} attempt {attempt} {delivery} {note}", job["id"].as_str().unwrap_or_default()))
}

/// Unix seconds.
#[allow(clippy::disallowed_methods, reason = "a program of its own has no clock of ours")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
