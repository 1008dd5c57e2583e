//! Load: as little of a client and of a receiver as will do, so that it is the server that is measured.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use hookledger::clock::{Stopwatch, pause};

use super::PATIENCE;

/// Connections over which jobs are registered, or all reported at once.
const CONNECTIONS: usize = 64;

/// Connections over which reports are made at their times: more than can be waited for at once.
const REPORTERS: usize = 16;

/// The request that registers a job.
pub fn register(id: &str, hook: &str) -> String {
    let body = format!(r#"{{"id": "{id}", "webhook": {{"url": "{hook}", "secret": "load-load-load-load-load"}}}}"#);
    request("POST", "/v1/batches", &body)
}

/// The request that reports its end.
pub fn report(id: &str) -> String {
    request("PATCH", &format!("/v1/batches/{id}"), r#"{"status": "completed", "request_counts": {"completed": 7}}"#)
}

fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends a request for each of `ids` over a fixed number of connections. Every answer has to be a 200.
pub fn in_parallel(address: SocketAddr, ids: &[String], make: impl Fn(&str) -> String + Sync) -> Duration {
    let watch = Stopwatch::start();
    thread::scope(|scope| {
        for chunk in ids.chunks(ids.len().div_ceil(CONNECTIONS)) {
            let make = &make;
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                for id in chunk {
                    connection.exchange(&make(id));
                }
            });
        }
    });
    watch.elapsed()
}

/// Reports the end of each job at its time, whether or not the reports before have been answered.
pub fn report_at(address: SocketAddr, jobs: &[(Duration, String)], watch: Stopwatch) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..REPORTERS {
            scope.spawn(|| {
                let mut connection = Connection::open(address);
                while let Some((at, id)) = jobs.get(next.fetch_add(1, Ordering::SeqCst)) {
                    pause(at.saturating_sub(watch.elapsed()));
                    connection.exchange(&report(id));
                }
            });
        }
    });
}

/// A kept-alive connection.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    fn exchange(&mut self, request: &str) {
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (head, body) = read_message(&mut self.0).expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}{}", String::from_utf8_lossy(&body));
    }
}

/// The head and the body of the next message; `None` at the end of the connection.
fn read_message(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let from = head.len();
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = head[from..].trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// A receiver that answers 200 at once, or hangs: then it reads what it gets and says nothing.
pub struct Target {
    pub url: String,
    arrivals: Receiver<(String, Duration)>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    hangs: AtomicBool,
    /// Requests without an answer, now and at most.
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl Target {
    pub fn start(watch: Stopwatch) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), watch, false)
    }

    pub fn hanging(watch: Stopwatch) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), watch, true)
    }

    pub fn on(listener: TcpListener, watch: Stopwatch, hangs: bool) -> Self {
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, arrivals) = unbounded();
        let state = Arc::new(State { hangs: hangs.into(), ..State::default() });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (sender, state) = (sender.clone(), Arc::clone(&shared));
                thread::spawn(move || state.serve(BufReader::new(stream), &sender, watch));
            }
        });
        Self { url, arrivals, state }
    }

    /// From here on it answers; what hangs already still does.
    pub fn come_to_life(&self) {
        self.state.hangs.store(false, Ordering::SeqCst);
    }

    /// Requests without an answer: now, and the most that there were.
    pub fn open(&self) -> (usize, usize) {
        (self.state.open.load(Ordering::SeqCst), self.state.most_open.load(Ordering::SeqCst))
    }

    /// Waits until so many jobs' webhooks were answered. Gives when each first arrived.
    pub fn await_arrivals(&self, jobs: usize) -> HashMap<String, Duration> {
        let mut arrived = HashMap::new();
        while arrived.len() < jobs {
            let next = self.arrivals.recv_timeout(PATIENCE);
            let (id, at) = next.unwrap_or_else(|_| panic!("{} of {jobs} arrived", arrived.len()));
            arrived.entry(id).or_insert(at);
        }
        arrived
    }

    /// Whether anything was answered that nobody has waited for.
    pub fn has_more(&self) -> bool {
        self.arrivals.try_recv().is_ok()
    }
}

impl State {
    fn serve(&self, mut stream: BufReader<TcpStream>, sender: &Sender<(String, Duration)>, watch: Stopwatch) {
        while let Some((_, body)) = read_message(&mut stream) {
            let at = watch.elapsed();
            if self.hangs.load(Ordering::SeqCst) {
                let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
                self.most_open.fetch_max(open, Ordering::SeqCst);
                // Until the sender has had enough.
                let _ = stream.read_to_end(&mut Vec::new());
                self.open.fetch_sub(1, Ordering::SeqCst);
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            if stream.get_mut().write_all(answer).is_err() || sender.send((job(&body), at)).is_err() {
                return;
            }
        }
    }
}

/// The job's id, without reading the rest of the body.
fn job(body: &[u8]) -> String {
    let body = std::str::from_utf8(body).unwrap();
    let (_, rest) = body.split_once("\"id\": \"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// The latency that `percent` of them do not exceed, in milliseconds.
pub fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1000.0
}
