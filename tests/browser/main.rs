//! The dashboard in a real browser, before a real server and a real receiver: what a person sees there, and can do.
//!
//! Needs `chromium` and `chromedriver`; without them this says so and passes, unless `HOOKLEDGER_REQUIRE_BROWSER` is set.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod driver;
#[path = "../processes/mod.rs"]
mod processes;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use driver::Browser;
use processes::{Server, client, closed_port, command};
use serde_json::{Value, json};

/// What must come out as text wherever it is shown.
const HOSTILE: &str = "<script>window.hacked = 1</script><img src=x onerror=\"window.hacked = 2\">\u{202e}&amp;";

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const LEFT: &str = "\u{e012}";

/// A receiver that answers with what it is told to.
struct Receiver {
    server: Arc<tiny_http::Server>,
    status: Arc<AtomicU16>,
    url: String,
}

impl Receiver {
    fn start(status: u16) -> Self {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let status = Arc::new(AtomicU16::new(status));
        let url = format!("http://{}/hook", server.server_addr());
        let (taken, answer) = (Arc::clone(&server), Arc::clone(&status));
        thread::spawn(move || {
            for request in taken.incoming_requests() {
                let status = answer.load(Ordering::SeqCst);
                let _ = request.respond(tiny_http::Response::from_string(HOSTILE).with_status_code(status));
            }
        });
        Self { server, status, url }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

fn send(server: &Server, method: &str, path: &str, body: &Value) -> Value {
    let request = ureq::http::Request::builder().method(method).uri(server.url(path));
    let mut answer = if body.is_null() {
        client().run(request.body(()).unwrap()).unwrap()
    } else {
        let request = request.header("content-type", "application/json").body(body.to_string()).unwrap();
        client().run(request).unwrap()
    };
    let (status, body) = (answer.status(), answer.body_mut().read_json().unwrap());
    assert!(status.is_success(), "{method} {path}: {status} {body}");
    body
}

fn get(server: &Server, path: &str) -> Value {
    send(server, "GET", path, &Value::Null)
}

/// Registers a job that is done, with a webhook that is tried `attempts` times, a second apart.
fn complete(server: &Server, id: &str, url: &str, attempts: u32) {
    let webhook = json!({"url": url, "max_retries": attempts, "retry_schedule": [1]});
    send(server, "POST", "/v1/batches", &json!({"id": id, "webhook": webhook, "status": "completed"}));
}

/// Nothing was asked of anybody else, and no script of a stranger's has run.
fn expect_only(browser: &Browser, server: &Server) {
    let (origin, requests) = (server.url("/"), browser.requests());
    assert!(requests.len() > 10, "{requests:?}");
    // Chromium's own first page is not of ours.
    for url in requests.iter().filter(|url| !url.starts_with("data:") && !url.starts_with("chrome:")) {
        assert!(url.starts_with(&origin), "{url} was asked for");
    }
    assert_eq!(
        browser.look("[typeof window.hacked, document.querySelectorAll('main :is(script, img, iframe)').length]"),
        json!(["undefined", 0])
    );
}

/// The main path: an attempt fails, the next one, too; the dead letter is found, and retried with the keyboard alone; the
/// slider goes back to when it was dead.
#[test]
fn a_delivery_fails_dies_is_retried_and_is_looked_back_at() {
    if !driver::is_here() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (server, receiver, browser) = (Server::start(directory.path()), Receiver::start(500), Browser::start());
    browser.open(&server.url("/"));
    browser.until_text("There is no job yet");
    browser.until_text(&format!("curl {}", server.url("/v1/batches")));

    // Live: what happens is there without a reload.
    let metadata = json!({"<b>name</b>": HOSTILE});
    let webhook = json!({"url": receiver.url, "max_retries": 2, "retry_schedule": [1], "secret": "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ="});
    send(&server, "POST", "/v1/batches", &json!({"id": "report-1", "metadata": metadata, "webhook": webhook}));
    browser.until_text("Jobs by status");
    browser.press(&["g", "j"]);
    browser.click(&browser.find_by_text("main a", "report-1"));
    browser.until_text("Nothing was to be told yet. The webhook hears of: completed, failed, cancelled, expired.");
    browser.until_text(HOSTILE);
    let errors = json!([{"code": "quota", "message": HOSTILE}]);
    send(&server, "PATCH", "/v1/batches/report-1", &json!({"status": "failed", "errors": errors}));

    let next = "document.querySelector('.delivery .facts [data-key=Next]').innerText";
    browser.until(&format!("{next}.includes('nothing by itself: all 2 attempts have failed')"));
    let count = browser.until("document.querySelector('nav .count')?.innerText");
    assert_eq!(count, "1", "one dead letter waits for somebody");
    let history = get(&server, "/v1/batches/report-1/history");
    let events = history["data"].as_array().unwrap();
    browser.until(&format!("document.querySelectorAll('.timeline li').length === {}", events.len()));
    let titles = browser.look("[...document.querySelectorAll('.timeline strong')].map((title) => title.innerText)");
    let expected = [
        "Job registered",
        "Webhook has options",
        "Job became failed",
        "Webhook “failed” to be delivered",
        "Attempt 1 begun",
        "Attempt 1 failed",
        "Attempt 2 begun",
        "Attempt 2 failed",
        "Given up: dead letter 1",
    ];
    assert_eq!(titles, json!(expected));

    // The second attempt, opened: what is certain of the request, and what came back.
    browser.click(&browser.find_by_text(".attempts summary", "Attempt 2"));
    let delivery = get(&server, "/v1/webhooks/deliveries?batch_id=report-1")["data"][0].clone();
    let headers = browser.until("document.querySelector('details[open] .headers')?.innerText");
    for line in [
        format!("POST: {}", receiver.url),
        format!("webhook-id: {}", delivery["id"].as_str().unwrap()),
        "x-webhook-attempt: 2".into(),
        "webhook-signature: made for this attempt; its value is not kept".into(),
    ] {
        assert!(headers.as_str().unwrap().contains(&line), "{line} is not in {headers}");
    }
    assert_eq!(browser.look("document.querySelector('details[open] .excerpt').textContent"), HOSTILE);

    // The dead letter, retried with the keyboard alone: Tab to its button, Enter.
    receiver.answer(200);
    browser.press(&["g", "d"]);
    browser.until(
        "document.querySelector('main h1')?.innerText === 'Dead letters' && document.querySelector('main tbody tr')",
    );
    let is_there = "document.activeElement?.ariaLabel === 'Retry dead letter 1'";
    let mut tabs = 0;
    while browser.look(is_there) != true {
        browser.press(&[TAB]);
        tabs += 1;
        assert!(tabs < 40, "the button can't be reached");
        let outline = browser.look("getComputedStyle(document.activeElement).outlineStyle");
        assert_eq!(
            outline,
            "solid",
            "one sees where the focus is: {}",
            browser.look("document.activeElement.outerHTML")
        );
    }
    browser.press(&[ENTER]);
    browser.until_text("Dead letter 1 was delivered.");
    browser.until_text("No dead letter is unresolved.");
    browser.until("!document.querySelector('nav .count')");

    look_back(&server, &browser);
    let console = browser.console();
    assert!(console.is_empty(), "{console:?}");
    expect_only(&browser, &server);
}

/// From how the job is now back to when its delivery was dead, and further, as the server says that it was.
fn look_back(server: &Server, browser: &Browser) {
    browser.open(&server.url("/#/jobs/report-1"));
    let status = "document.querySelector('.delivery h3 .badge')?.innerText";
    browser.until(&format!("{status} === 'delivered'"));
    browser.until_text("As it is now.");
    let history = get(server, "/v1/batches/report-1/history");
    let events = history["data"].as_array().unwrap();
    let dead = events.iter().position(|event| event["type"] == "delivery_exhausted").unwrap();
    browser.look("document.querySelector('#position').focus()");
    for _ in dead..events.len() - 1 {
        browser.press(&[LEFT]);
    }
    let seq = &events[dead]["seq"];
    browser.until(&format!("{status} === 'dead' && location.hash === '#/jobs/report-1?at={seq}'"));
    browser.until_text("Given up: dead letter 1 (no attempt is left)");
    assert_eq!(
        browser.look("document.querySelector('.timeline [aria-current=step] strong').innerText"),
        "Given up: dead letter 1"
    );
    let marked = browser.look("[...document.querySelectorAll('.facts .changed')].map((fact) => fact.innerText)");
    assert!(marked.to_string().contains("Webhook's status") && marked.to_string().contains("was pending"), "{marked}");
    let then = get(server, &format!("/v1/batches/report-1?at={seq}"));
    assert_eq!(then["webhook_status"], "failed");

    // Why the second attempt came when it did.
    let failed = events.iter().find(|event| event["type"] == "attempt_failed").unwrap();
    browser.open(&server.url(&format!("/#/jobs/report-1?at={}", failed["seq"])));
    let next = "document.querySelector('.delivery .facts [data-key=Next]').innerText";
    browser.until(&format!(
        "/attempt 2 of 2, due [0-9:.]+; 1.\\d s after attempt 1 failed: the webhook.s own schedule says 1.0 s/.test({next})"
    ));

    // Every position by its address, and what the page makes of the events beside what the server makes of them.
    for event in events {
        browser.open(&server.url(&format!("/#/jobs/report-1?at={}", event["seq"])));
        browser.until(&format!(
            "document.querySelector('.slider .here').innerText.includes('position {} of')",
            event["seq"]
        ));
    }
    browser.click(&browser.find_by_text("button", "Now"));
    browser.until(&format!("{status} === 'delivered' && location.hash === '#/jobs/report-1'"));
    let script = "import('/dashboard/events.js').then(({ deliveriesAfter }) => fetch('v1/batches/report-1/history')
        .then((answer) => answer.json()).then(({ data }) => { document.body.dataset.made = JSON.stringify(deliveriesAfter(data)); })), true";
    browser.look(script);
    let made = browser.until("document.body.dataset.made");
    let made: Value = serde_json::from_str(made.as_str().unwrap()).unwrap();
    let mut listed = get(server, "/v1/webhooks/deliveries?batch_id=report-1")["data"].clone();
    listed.as_array_mut().unwrap().reverse();
    hold(&made, &listed);
}

/// Whatever the server says of a delivery, the page makes of the events as well, but what it waits for.
fn hold(made: &Value, listed: &Value) {
    match (made, listed) {
        (Value::Array(made), Value::Array(listed)) => {
            assert_eq!(made.len(), listed.len());
            made.iter().zip(listed).for_each(|(made, listed)| hold(made, listed));
        }
        (made, Value::Object(fields)) => {
            for (name, value) in fields.iter().filter(|(name, _)| !matches!(name.as_str(), "waiting" | "batch_id")) {
                hold(&made[name], value);
            }
        }
        _ => assert_eq!(made, listed),
    }
}

/// A server with keys: none, a wrong one, the right one; kept for the tab, forgotten when told so.
#[test]
fn the_key_is_asked_for_and_kept_for_the_tab_alone() {
    if !driver::is_here() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &[("HOOKLEDGER_API_KEYS", "the-right-key-of-this-server")]);
    let browser = Browser::start();
    let asks = "document.querySelector('dialog[open]')?.innerText.includes('This server wants an API key')";
    browser.open(&server.url("/#/jobs"));
    browser.until(asks);
    browser.press(&[ESCAPE, ESCAPE, ESCAPE]);
    browser.until(asks);
    assert_eq!(browser.look("document.querySelectorAll('dialog').length"), 1, "it is asked for once");
    browser.type_into(&browser.find("document.querySelector('dialog input')"), &format!("a-wrong-key{ENTER}"));
    browser.until_text("The server does not take this key.");
    browser.type_into(
        &browser.find("document.querySelector('dialog input')"),
        &format!("the-right-key-of-this-server{ENTER}"),
    );
    browser.until_text("No job was registered yet.");
    browser.until("!document.querySelector('dialog')");
    let kept = browser.look("[Object.values(sessionStorage), Object.keys(localStorage), document.cookie]");
    assert_eq!(kept, json!([["the-right-key-of-this-server"], [], ""]));
    // Only headers have it: no address does.
    assert!(browser.requests().iter().all(|url| !url.contains("the-right-key")));
    browser.open(&server.url("/"));
    browser.until_text("Authorization: Bearer $KEY");

    // One that is not taken any more.
    browser.look("sessionStorage.setItem('hookledger-key', 'the-former-key-of-this-server')");
    browser.press(&["g", "d"]);
    browser.until_text("The server does not take this key.");
    browser.type_into(
        &browser.find("document.querySelector('dialog input')"),
        &format!("the-right-key-of-this-server{ENTER}"),
    );
    browser.until_text("No dead letter is unresolved.");

    browser.new_tab();
    browser.open(&server.url("/"));
    browser.until(asks);
    browser.type_into(
        &browser.find("document.querySelector('dialog input')"),
        &format!("the-right-key-of-this-server{ENTER}"),
    );
    browser.click(&browser.find("document.querySelector('#forget:not([hidden])')"));
    browser.find("document.querySelector('dialog[open] input')");
    assert_eq!(browser.look("Object.values(sessionStorage)"), json!([]));
}

/// Many at once, only after their number was said; and one deleted, only after it was asked.
#[test]
fn dead_letters_are_retried_and_deleted_after_their_number_was_said() {
    if !driver::is_here() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (server, receiver, browser) = (Server::start(directory.path()), Receiver::start(410), Browser::start());
    for n in 0..5 {
        complete(&server, &format!("many-{n}"), &receiver.url, 1);
    }
    browser.open(&server.url("/#/dead-letters"));
    browser.until("document.querySelectorAll('main tbody tr').length === 5");
    browser.click(&browser.find("document.querySelector('[aria-label=\"Delete dead letter 5\"]')"));
    browser.until_text("Delete dead letter 5?");
    browser.press(&[ESCAPE]);
    browser.until("!document.querySelector('dialog')");
    assert_eq!(get(&server, "/v1/webhooks/dead-letter")["total"], 5, "nothing was deleted");
    browser.click(&browser.find("document.querySelector('[aria-label=\"Delete dead letter 5\"]')"));
    browser.click(&browser.find_by_text("dialog button", "Delete"));
    browser.until_text("Dead letter 5 deleted.");
    browser.until("document.querySelectorAll('main tbody tr').length === 4");

    receiver.answer(200);
    let job = get(&server, "/v1/webhooks/dead-letter/2")["batch_id"].as_str().unwrap().to_owned();
    let filter = browser.find("document.querySelector('main [name=batch_id]')");
    browser.type_into(&filter, &format!("{job}{ENTER}"));
    browser.until_text("1 dead letter matches.");
    browser.until("document.querySelectorAll('main tbody tr').length === 1");
    browser.open(&server.url("/#/dead-letters"));
    browser.click(&browser.find_by_text("main button", "Retry all that match"));
    browser.until_text("Retry 4 dead letters?");
    browser.click(&browser.find_by_text("dialog button", "Retry 4"));
    browser.until_text("4 dead letters on their way again.");
    browser.until_text("No dead letter is unresolved.");

    browser.open(&server.url("/#/dead-letters?state=resolved"));
    browser.click(&browser.find_by_text("main button", "Delete all that match"));
    browser.until_text("Delete 4 dead letters?");
    browser.click(&browser.find_by_text("dialog button", "Delete 4"));
    browser.until_text("4 dead letters deleted.");
    assert_eq!(get(&server, "/v1/webhooks/dead-letter")["total"], 0);
    assert!(browser.console().is_empty());
}

/// Every text whose colour and ground are nearer to each other than WCAG 2.2 wants them (1.4.3, AA), with their contrast.
const TOO_PALE: &str = "(() => {
    const colour = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const given = colour(getComputedStyle(at).backgroundColor);
            if (given.length === 3 || given[3] === 1) return given;
        }
        return [255, 255, 255];
    };
    const contrast = (element) => {
        const style = getComputedStyle(element);
        const both = [colour(element.closest('svg') ? style.fill : style.color), ground(element)].map(light);
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    };
    const isText = (node) => node.nodeType === 3 && node.data.trim();
    return [...document.querySelectorAll('body *')]
        .filter((element) => [...element.childNodes].some(isText) && element.checkVisibility() && !element.closest(':disabled, noscript'))
        .map((element) => [element.textContent.slice(0, 40), Math.round(contrast(element) * 100) / 100])
        .filter(([, contrast]) => contrast < 4.5);
})()";

/// Each page, filled with the longest there is, on a phone in both schemes of colours; and what can be found there.
#[test]
fn every_page_fits_a_phone_and_is_found() {
    if !driver::is_here() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (server, receiver, browser) = (Server::start(directory.path()), Receiver::start(500), Browser::start());
    let long = "long-id-".repeat(8);
    let url = format!("{}/{}", receiver.url, "path".repeat(300));
    let webhook = json!({"url": url, "max_retries": 1});
    let metadata = json!({"k".repeat(64): "v".repeat(512)});
    send(&server, "POST", "/v1/batches", &json!({"id": long, "metadata": metadata, "webhook": webhook}));
    let errors = json!([{"code": "c".repeat(60), "message": "m".repeat(900)}]);
    send(&server, "PATCH", &format!("/v1/batches/{long}"), &json!({"status": "failed", "errors": errors}));
    for n in 0..14 {
        complete(&server, &format!("short-{n}"), &format!("http://127.0.0.1:{}/", closed_port()), 1);
    }
    browser.open(&server.url("/#/dead-letters"));
    browser.until("document.querySelectorAll('main tbody tr').length === 15");
    let letters = get(&server, &format!("/v1/webhooks/dead-letter?batch_id={long}"));
    let letter = letters["data"][0]["id"].as_u64().unwrap();
    let pages = [
        ("/#/".to_owned(), "Newest dead letters".to_owned()),
        ("/#/jobs".into(), long.clone()),
        (format!("/#/jobs/{long}"), "Timeline".into()),
        ("/#/dead-letters".into(), "15 dead letters match.".into()),
        (format!("/#/dead-letters/{letter}"), "Payload".into()),
        ("/#/destinations".into(), "last hour".into()),
        ("/#/log".into(), "Attempt 1 failed".into()),
    ];
    for scheme in ["light", "dark"] {
        browser.emulate(360, 740, scheme);
        for (path, text) in &pages {
            browser.open(&server.url(path));
            browser.until_text(text);
            browser.look("document.querySelectorAll('details').forEach((details) => { details.open = true; })");
            let widths = browser.look("[document.documentElement.scrollWidth, innerWidth]");
            assert_eq!(widths, json!([360, 360]), "{path} is wider than the phone");
            assert_eq!(browser.look(TOO_PALE), json!([]), "{path} can't be read in the {scheme}");
            let headings = browser.look("document.querySelectorAll('h1').length");
            assert_eq!(headings, 1, "{path} has one heading");
        }
    }
    browser.emulate(1280, 900, "light");
    browser.open(&server.url("/#/jobs"));
    browser.until("document.querySelectorAll('main tbody tr').length === 15");
    browser.press(&["/"]);
    browser.type_into(&browser.find("document.activeElement?.name === 'prefix' && document.activeElement"), "short-1");
    browser
        .until("document.querySelectorAll('main tbody tr').length === 5 && location.hash === '#/jobs?prefix=short-1'");
    let delivery =
        get(&server, &format!("/v1/webhooks/deliveries?batch_id={long}"))["data"][0]["id"].as_str().unwrap().to_owned();
    browser.open(&server.url(&format!("/#/jobs?prefix={delivery}")));
    browser.until_text(&format!("The delivery {delivery} belongs to job {long}."));
    browser.open(&server.url("/#/jobs/none"));
    browser.until_text("Not there");
    browser.press(&["?"]);
    browser.until("document.querySelector('dialog[open]')?.innerText.includes('Retry the dead letter that is shown')");
    expect_only(&browser, &server);
}

fn serve(directory: &Path, port: u16) -> Server {
    let mut serve = command();
    serve.args(["serve", "--dev", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"]).arg(directory);
    Server::run(&mut serve)
}

/// The server goes and comes back; and a tab that nobody sees asks nothing until it is seen.
#[test]
fn the_page_says_when_the_server_is_gone_and_goes_on_when_it_is_back() {
    if !driver::is_here() {
        return;
    }
    let (directory, port) = (tempfile::tempdir().unwrap(), closed_port());
    let (server, browser) = (serve(directory.path(), port), Browser::start());
    send(&server, "POST", "/v1/batches", &json!({"id": "before"}));
    browser.open(&server.url("/#/jobs"));
    browser.until_text("before");
    browser.until("document.querySelector('#connection').innerText === 'live'");
    server.kill();
    browser.until_text("The server can't be reached. What is shown may be old. Trying again in");
    assert_eq!(browser.look("document.querySelectorAll('main tbody tr').length"), 1, "what was known is shown still");
    let server = serve(directory.path(), port);
    browser.until_text("Connected again.");
    browser.until("!document.querySelector('#banner').innerText");
    send(&server, "POST", "/v1/batches", &json!({"id": "after"}));
    browser.until("document.querySelectorAll('main tbody tr').length === 2");

    browser.look("Object.defineProperty(document, 'hidden', { value: true, configurable: true }), document.dispatchEvent(new Event('visibilitychange'))");
    browser.until("document.querySelector('#connection').innerText === 'paused'");
    browser.requests();
    send(&server, "POST", "/v1/batches", &json!({"id": "meanwhile"}));
    assert_eq!(browser.requests(), Vec::<String>::new());
    browser.look("delete document.hidden, document.dispatchEvent(new Event('visibilitychange'))");
    browser.until("document.querySelectorAll('main tbody tr').length === 3");
    browser.until("document.querySelector('#connection').innerText === 'live'");
}

/// The log as it is written, held, and from a position on; and a destination that is paused.
#[test]
fn the_log_is_followed_and_a_paused_destination_is_seen() {
    if !driver::is_here() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (server, receiver, browser) = (Server::start(directory.path()), Receiver::start(503), Browser::start());
    browser.open(&server.url("/#/log"));
    browser.until_text("Nothing was recorded yet.");
    complete(&server, "first", &receiver.url, 9);
    browser.until_text("Attempt 1 failed");
    browser.open(&server.url("/#/destinations"));
    let host = receiver.url.trim_start_matches("http://").trim_end_matches("/hook");
    browser.until(&format!("document.querySelector('main tbody')?.innerText.includes({})", json!(host)));
    browser.until(
        "/paused\\s+until .* after \\d+ failures? in a row/.test(document.querySelector('main tbody').innerText)",
    );
    complete(&server, "second", &receiver.url, 9);
    browser.open(&server.url("/#/jobs/second"));
    browser.until("/when its destination is tried again: \\d/.test(document.querySelector('.delivery')?.innerText)");

    // One that waits for its time, which is far.
    let other = Receiver::start(500);
    let webhook = json!({"url": other.url, "max_retries": 2, "retry_schedule": [7200]});
    send(&server, "POST", "/v1/batches", &json!({"id": "patient", "webhook": webhook, "status": "completed"}));
    browser.open(&server.url("/#/jobs/patient"));
    let next = "document.querySelector('.delivery .facts [data-key=Next]').innerText";
    let said = "attempt 2 of 2, due .*; 2 h after attempt 1 failed: the webhook.s own schedule says 2 h, and up to a tenth more";
    browser.until(&format!("/{said}/.test({next})"));

    browser.open(&server.url("/#/log"));
    browser.click(&browser.find_by_text("main button", "Hold"));
    browser.until_text("Held: newer events are not shown.");
    let newest = browser.look("document.querySelector('main tbody tr td').innerText");
    send(&server, "POST", "/v1/batches", &json!({"id": "third"}));
    browser.open(&server.url("/#/log?after=0"));
    browser.until_text("Newest, live");
    assert_eq!(
        browser.look("[...document.querySelectorAll('main tbody tr')].at(-1).innerText.includes('Job registered')"),
        true
    );
    assert!(newest.as_str().is_some_and(|newest| !newest.is_empty()));
    browser.click(&browser.find_by_text("main a", "Newest, live"));
    browser.until_text("third");
    assert!(browser.console().is_empty());
    expect_only(&browser, &server);
}
