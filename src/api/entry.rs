//! What every request passes on its way in, and every answer on its way out.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::{Keys, Shared, dashboard};
use crate::clock::Stopwatch;
use crate::domain::outcome::clip;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a request that is taken over from the client, in characters.
const REQUEST_ID_CHARS: usize = 128;

/// The longest path that is logged, in characters.
const PATH_CHARS: usize = 200;

/// Header fields of a request, at most.
const MAX_FIELDS: usize = 64;

/// Who has sent a request.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Names the request, and gives every failure the one shape: a panic's, too.
pub(super) async fn frame(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let method = known_method(request.method());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    // Without the query, which may hold what is nobody's business.
    let (path, watch) = (request.uri().path().to_owned(), Stopwatch::start());
    let response = caught(next.run(request)).await;
    let request_id = id.to_str().unwrap_or_default();
    if let Some(problem) = response.extensions().get::<Problem>().filter(|problem| problem.is_at_the_door()) {
        app.refusals.note(problem.code, Some(request_id), peer);
    }
    let (status, duration_ms) = (response.status().as_u16(), watch.elapsed_millis());
    if is_by_hand(method, &path) {
        tracing::info!(request_id, method, path = clip(&path, PATH_CHARS), status, duration_ms, "asked for by hand");
    } else {
        tracing::debug!(
            request_id,
            method,
            path = clip(&path, PATH_CHARS),
            status,
            duration_ms,
            "a request was answered"
        );
    }
    let response = framed(response, id);
    app.handle.meter().answered(method, response.status().as_str());
    response
}

/// Whether a person asks for such a thing, and not a job's worker: it is worth a line.
fn is_by_hand(method: &str, path: &str) -> bool {
    match method {
        "POST" => path.starts_with("/v1/webhooks/") || path.ends_with("/cancel"),
        "DELETE" => true,
        _ => false,
    }
}

/// The whole answer to a request that comes no further than this.
pub(super) fn refuse(problem: Problem, headers: &HeaderMap) -> Response {
    framed(problem.into_response(), request_id(headers))
}

fn framed(mut response: Response, id: HeaderValue) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.render(&mut response, id.to_str().unwrap_or_default());
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The method for the metrics: what a client makes up is not a label.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// The client's own id for the request, where it is one that is safe to repeat; else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let safe = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:".contains(b);
    let given = headers.get(REQUEST_ID).filter(|id| (1..=REQUEST_ID_CHARS).contains(&id.len()));
    if let Some(id) = given.filter(|id| id.as_bytes().iter().all(safe)) {
        return id.clone();
    }
    // An id is there to find a log line by: without randomness it is a bad one, and the request is answered all the same.
    let random = getrandom::u64().unwrap_or_default();
    HeaderValue::try_from(format!("req_{random:016x}")).unwrap_or(HeaderValue::from_static("req_0"))
}

/// A handler's panic is its request's failure alone, and the connection lives on.
async fn caught(handler: impl Future<Output = Response>) -> Response {
    let mut handler = pin!(handler);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Problem::internal("a handler panicked").into_response()))
    })
    .await
}

/// Lets in whoever may ask: with API keys, whoever presents one of them. Without any that is everybody who can reach the
/// loopback address, but no web page that had its own name resolve to it. Whether the server lives, anybody may ask. With
/// keys the dashboard's own files are open, too: it is where a person gives one.
pub(super) async fn guard(State(app): State<Shared>, request: Request, next: Next) -> Response {
    if matches!(request.uri().path(), "/health" | "/ready") {
        return next.run(request).await;
    }
    if let Err(problem) = check_form(request.headers()) {
        return problem.into_response();
    }
    let keys = &app.options.keys;
    if keys.is_empty() {
        return match check_host(&request).and_then(|()| check_site(&request)) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        };
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) && dashboard::has(request.uri().path()) {
        return next.run(request).await;
    }
    match presented(request.headers(), keys) {
        Presented::Key => next.run(request).await,
        Presented::Nothing => {
            let message = "An API key is required: send it as 'Authorization: Bearer KEY'.";
            unauthorized("Bearer", Problem::new(StatusCode::UNAUTHORIZED, "missing_api_key", message))
        }
        Presented::Wrong => {
            tokio::time::sleep(app.options.wrong_key_delay).await;
            let message = "This API key is not one of the server's.";
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message);
            unauthorized("Bearer error=\"invalid_token\"", problem)
        }
        Presented::Several => {
            let message = "A request has one Authorization header.";
            Problem::malformed("malformed_authorization", message).into_response()
        }
    }
}

fn unauthorized(challenge: &'static str, problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

fn check_form(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.len() > MAX_FIELDS {
        let message = format!("A request has at most {MAX_FIELDS} header fields.");
        return Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_many_headers", message));
    }
    if headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err(Problem::malformed("malformed_host", "A request has one Host header."));
    }
    Ok(())
}

/// What a request presents to be let in.
enum Presented {
    /// One of the keys.
    Key,
    /// No key, or a key in a form or scheme that is not ours: RFC 6750, section 3.1, names no error then.
    Nothing,
    /// A key that is not one of ours.
    Wrong,
    /// More than one thing: which of them counts would be a guess.
    Several,
}

/// Reads `Authorization: Bearer KEY`; the scheme's case does not matter (RFC 9110, section 11.1).
fn presented(headers: &HeaderMap, keys: &Keys) -> Presented {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (given, second) = (given.next(), given.next());
    if second.is_some() {
        return Presented::Several;
    }
    match given.and_then(|given| bearer(given.as_bytes())) {
        None => Presented::Nothing,
        Some(key) if keys.admit(key) => Presented::Key,
        Some(_) => Presented::Wrong,
    }
}

/// What stands behind the scheme `Bearer`, if that is the scheme, and anything does.
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let space = authorization.iter().position(|b| *b == b' ')?;
    let (scheme, key) = authorization.split_at(space);
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && !key.is_empty()).then_some(key)
}

fn check_host(request: &Request) -> Result<(), Problem> {
    let loopback = request.headers().get(header::HOST).is_some_and(|host| is_loopback(host.as_bytes()));
    // A request may also name the whole URL, and that outranks the header (RFC 9112, section 3.2.2).
    let target = request.uri().authority().is_none_or(|target| is_loopback(target.as_str().as_bytes()));
    if loopback && target {
        return Ok(());
    }
    let message = "Without API keys the server answers only to loopback names: use localhost, 127.0.0.1 or [::1].";
    Err(Problem::new(StatusCode::FORBIDDEN, "host_not_allowed", message))
}

/// A page of another site can send requests here that change something, although it can't read the answers: browsers ask
/// first only about requests that no form could send. They say where a page is from (Fetch Metadata; RFC 6454, section 7).
fn check_site(request: &Request) -> Result<(), Problem> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    let headers = request.headers();
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_ours =
        |origin: &HeaderValue| origin.as_bytes().strip_prefix(b"http://").is_some_and(|origin| origin == host);
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if headers.get(header::ORIGIN).is_none_or(is_ours) && matches!(site, None | Some(b"same-origin" | b"none")) {
        return Ok(());
    }
    let message = "Without API keys the server takes no changes from other sites' pages.";
    Err(Problem::new(StatusCode::FORBIDDEN, "cross_site_request", message))
}

/// Whether a `Host` names this machine: `localhost`, 127.0.0.0/8 or `[::1]`, with or without a port.
fn is_loopback(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if name.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()) => ("localhost", port),
            _ => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let port_is_one = port.is_empty() || port.strip_prefix(':').is_some_and(digits);
    port_is_one && (name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_are_told_from_others() {
        for host in ["localhost", "LocalHost:4080", "127.0.0.1", "127.9.8.7:1", "[::1]", "[::1]:4080", "localhost:"] {
            assert!(is_loopback(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":80",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "10.0.0.1",
            "[::2]",
            "::1",
            "[::1",
            "[::1]x",
            "localhost:x",
            "0.0.0.0",
            "localhost@example.com",
            "0x7f.1",
            "\u{e4}",
        ] {
            assert!(!is_loopback(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn a_key_stands_behind_its_scheme() {
        for (given, key) in [("Bearer k", "k"), ("bEARER k", "k"), ("Bearer   k", "k"), ("Bearer a b", "a b")] {
            assert_eq!(bearer(given.as_bytes()), Some(key.as_bytes()), "{given}");
        }
        for given in ["", "k", "Bearer", "Bearer ", "Bearer\tk", " Bearer k", "Basic k", "Bearer: k", "Bearerk"] {
            assert_eq!(bearer(given.as_bytes()), None, "{given}");
        }
    }

    #[test]
    fn a_request_id_is_taken_over_when_it_is_safe() {
        let id = |given: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(given));
            request_id(&headers)
        };
        assert_eq!(id("trace-1.2:3_4"), "trace-1.2:3_4");
        for unsafe_one in ["", "a b", "<script>", "\"quoted\""] {
            assert!(id(unsafe_one).to_str().unwrap().starts_with("req_"), "{unsafe_one}");
        }
    }
}
