//! A server on a free port over a log in memory, a transport that does what it is told, and a client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hookledger::api::{self, ApiOptions};
use hookledger::domain::id::{JobId, Seq};
use hookledger::domain::job::{Job, JobSpec};
use hookledger::domain::outcome::{Outcome, Response};
use hookledger::log::{Commit, EventLog, LogError, LogReader, chain::Head, memory::MemoryLog};
use hookledger::runtime::{Error, Handle, Options, Reply, Runtime};
use hookledger::transport::{Request, Transport};
use serde_json::{Value, json};

use crate::description::Description;
use tokio::sync::oneshot;

/// The bound on everything that has to happen. Reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The secret of every webhook here. No answer may contain it.
pub const SECRET: &str = "whsec_dGhpcy1tdXN0LW5ldmVyLWNvbWUtYmFjaw==";

/// Where webhooks go here.
pub const HOOK: &str = "https://receiver.example/hook";

/// Answers every attempt with `status`, when `gate` lets it, and repeats the webhook's own headers.
pub struct Scripted {
    pub status: AtomicU16,
    gate: RwLock<()>,
    began: Mutex<Sender<String>>,
    /// The body of every attempt, when it begins.
    pub attempts: Mutex<Receiver<String>>,
    /// Every request, whole.
    pub requests: Mutex<Vec<Request>>,
}

impl Scripted {
    fn new() -> Self {
        let (began, attempts) = mpsc::channel();
        let (began, attempts) = (Mutex::new(began), Mutex::new(attempts));
        Self { status: 500.into(), gate: RwLock::default(), began, attempts, requests: Mutex::default() }
    }

    /// Waits for the beginning of an attempt, and gives its body.
    pub fn next(&self) -> String {
        self.attempts.lock().unwrap().recv_timeout(PATIENCE).expect("an attempt begins")
    }

    /// Runs `during` while no attempt ends.
    pub fn holding<T>(&self, during: impl FnOnce() -> T) -> T {
        let _held = self.gate.write().unwrap();
        during()
    }
}

impl Transport for Scripted {
    fn send(&self, request: &Request) -> Outcome {
        self.requests.lock().unwrap().push(request.clone());
        self.began.lock().unwrap().send(String::from_utf8(request.body.to_vec()).unwrap()).unwrap();
        let _open = self.gate.read().unwrap();
        let status = self.status.load(Ordering::SeqCst);
        let repeated: Vec<_> = request.custom.iter().map(|(name, value)| format!(", {name}: {value}")).collect();
        let excerpt = format!("an excerpt{}", repeated.concat());
        Outcome { duration_ms: 7, result: Ok(Response { status, excerpt, retry_after: None }) }
    }
}

/// A log whose commits wait for a gate, and fail when told to.
pub struct Gated {
    log: MemoryLog,
    pub faults: Arc<Faults>,
}

#[derive(Default)]
pub struct Faults {
    pub gate: RwLock<()>,
    pub fail: AtomicBool,
    /// Commits that have come to the gate.
    pub begun: AtomicUsize,
}

impl EventLog for Gated {
    fn commit(&mut self, commit: &Commit<'_>) -> Result<Seq, LogError> {
        self.faults.begun.fetch_add(1, Ordering::SeqCst);
        let _open = self.faults.gate.read().unwrap();
        if self.faults.fail.load(Ordering::SeqCst) {
            return Err(LogError::Indeterminate { why: "disk-detail-17".into() });
        }
        self.log.commit(commit)
    }

    fn head(&self) -> Head {
        self.log.head()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.log.reader()
    }
}

/// A running server.
pub struct Api {
    pub address: SocketAddr,
    pub transport: Arc<Scripted>,
    /// The same store, to be damaged.
    pub log: MemoryLog,
    pub faults: Arc<Faults>,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
    agent: ureq::Agent,
    description: OnceLock<Description>,
}

impl Api {
    pub fn start() -> Self {
        Self::start_with(ApiOptions::default())
    }

    pub fn start_with(api_options: ApiOptions) -> Self {
        Self::start_on(&MemoryLog::new(), api_options)
    }

    /// Starts it on a store that may have been in use before.
    pub fn start_on(store: &MemoryLog, api_options: ApiOptions) -> Self {
        let mut options = Options::default();
        options.engine.policy.max_attempts = 1;
        options.engine.pacing.failures = None;
        Self::start_as(store, api_options, &options)
    }

    /// Starts it with other options.
    pub fn run(api_options: ApiOptions, options: &Options) -> Self {
        Self::start_as(&MemoryLog::new(), api_options, options)
    }

    /// Starts it on a store, with other options.
    pub fn start_as(store: &MemoryLog, api_options: ApiOptions, options: &Options) -> Self {
        let transport = Arc::new(Scripted::new());
        let (memory, log) = (store.reopen(), store.reopen());
        let faults = Arc::new(Faults::default());
        let gated = Gated { log: memory, faults: Arc::clone(&faults) };
        let runtime = Runtime::start(Box::new(gated), Arc::clone(&transport) as Arc<dyn Transport>, options).unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let (told, address) = mpsc::channel();
        let server = thread::spawn(move || serve(handle, api_options, stopped, &told));
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let agent = config.timeout_global(Some(PATIENCE)).build().new_agent();
        let address = address.recv_timeout(PATIENCE).unwrap();
        Self {
            address,
            transport,
            log,
            faults,
            runtime: Some(runtime),
            stop: Some(stop),
            server: Some(server),
            agent,
            description: OnceLock::new(),
        }
    }

    pub fn handle(&self) -> &Handle {
        self.runtime.as_ref().unwrap().handle()
    }

    /// Ends it all in good order, and starts it anew on the same store.
    pub fn restart(mut self) -> Self {
        let store = self.log.reopen();
        self.end_engine();
        drop(self);
        Self::start_on(&store, ApiOptions::default())
    }

    /// Ends the engine, not the server.
    pub fn end_engine(&mut self) {
        self.runtime.take().unwrap().shutdown();
    }

    /// Tells the server to stop.
    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the server's end.
    pub fn join(&mut self) {
        self.server.take().unwrap().join().unwrap();
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], b"")
    }

    /// A `POST` without a body.
    pub fn post_nothing(&self, path: &str) -> Answer {
        self.send("POST", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// A `POST` under an idempotency key; an empty body is none.
    pub fn post_once(&self, key: &str, path: &str, body: &str) -> Answer {
        let headers = [("Idempotency-Key", key), ("Content-Type", "application/json")];
        self.send("POST", path, &headers[..if body.is_empty() { 1 } else { 2 }], body.as_bytes())
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let uri = format!("http://{}{path}", self.address);
        let mut request = ureq::http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = if body.is_empty() && matches!(method, "GET" | "DELETE") {
            self.agent.run(request.body(()).unwrap())
        } else {
            self.agent.run(request.body(body.to_vec()).unwrap())
        };
        let (head, mut body) = response.unwrap().into_parts();
        let described = (method.to_owned(), path.to_owned());
        let header = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        let headers = head.headers.iter().map(header).collect();
        let answer = Answer::new(head.status.as_u16(), headers, body.read_to_string().unwrap());
        self.description().check(&described.0, &described.1, &answer);
        answer
    }

    /// The server's own description of its answers.
    pub fn description(&self) -> &Description {
        self.description.get_or_init(|| Description::new(hookledger::api::description()))
    }

    /// Sends bytes as they are, and reads the answer until the server closes.
    pub fn send_raw(&self, bytes: &[u8]) -> Answer {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(bytes).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Answer::new(status, lines.map(header).collect(), body.to_owned())
    }

    /// Runs `during` while the engine is held in a commit and its queue is full. Gives what became of what filled it.
    pub fn overloaded(&self, during: impl FnOnce()) -> Vec<Result<Job, Error>> {
        let held = self.faults.gate.write().unwrap();
        let begun = self.faults.begun.load(Ordering::SeqCst);
        let register =
            |n: usize| self.handle().register(JobId::new(&format!("o{n}")).unwrap(), JobSpec::default(), None);
        let mut replies = vec![register(0)];
        // Until it is held there, it takes from the queue.
        while self.faults.begun.load(Ordering::SeqCst) == begun {
            thread::yield_now();
        }
        replies.extend((1..6000).map(register));
        during();
        drop(held);
        replies.into_iter().map(Reply::wait).collect()
    }

    /// Registers a batch with a webhook that has a secret.
    pub fn batch_with_webhook(&self, id: &str) -> Answer {
        let answer = self.post("/v1/batches", &json!({"id": id, "webhook": {"url": HOOK, "secret": SECRET}}));
        answer.expect(200)
    }

    /// Makes a dead letter of a new batch, and gives the body that was sent.
    pub fn dead_letter(&self, id: &str) -> String {
        self.batch_with_webhook(id);
        self.transport.status.store(500, Ordering::SeqCst);
        self.patch(&format!("/v1/batches/{id}"), &json!({"status": "completed"})).expect(200);
        let body = self.transport.next();
        self.until(&format!("/v1/batches/{id}"), |batch| batch["webhook_status"] == "failed");
        body
    }

    /// Asks until `holds`.
    pub fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let watch = hookledger::clock::Stopwatch::start();
        while watch.elapsed() < PATIENCE {
            let answer = self.get(path).expect(200);
            if holds(&answer.body) {
                return answer.body;
            }
            thread::yield_now();
        }
        panic!("{path} never came to that");
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            let ended = server.join();
            assert!(ended.is_ok() || thread::panicking());
        }
    }
}

fn serve(handle: Handle, options: ApiOptions, stopped: oneshot::Receiver<()>, told: &Sender<SocketAddr>) {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    tokio.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        told.send(listener.local_addr().unwrap()).unwrap();
        let stop = async { drop(stopped.await) };
        api::serve(listener, handle, options, stop).await.unwrap();
    });
}

/// Writers that are at work: one less when each of these goes, also by a panic, so that nobody waits for it in vain.
pub struct AtWork<'a>(pub &'a AtomicUsize);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An answer. Whatever it is, it has a request id and no secret.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    fn new(status: u16, headers: Vec<(String, String)>, body: String) -> Self {
        assert!(!body.contains(SECRET) && !body.contains("must-never"), "{body}");
        let (text, body) = (body.clone(), serde_json::from_str(&body).unwrap_or(Value::String(body)));
        let answer = Self { status, headers, body, text };
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
        assert!(answer.body.is_string() || answer.header("content-type") == Some("application/json"), "{answer:?}");
        answer
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Asserts the one shape of errors, whole. Gives the message.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str, param: impl Into<Value>) -> &str {
        let kind = match status {
            429 => "overloaded_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let message = self.body["detail"].as_str().unwrap_or_else(|| panic!("no detail: {self:?}"));
        let error = json!({"message": message, "type": kind, "param": param.into(), "code": code});
        assert_eq!((self.status, &self.body), (status, &json!({"detail": message, "error": error})));
        assert_eq!(self.header("retry-after").is_some(), matches!(status, 429 | 503), "{self:?}");
        message
    }
}
