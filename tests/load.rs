//! The main job under load, through HTTP, with the load generator and the receiver on the same machine: 20,000 jobs
//! registered, then reported, then delivered; then a modest load, for latency. Prints figures and asserts none of them,
//! only that every webhook arrived.
//!
//! `cargo test --release --test load -- --ignored --nocapture`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod processes;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver as Channel};
use std::thread;
use std::time::Duration;

use hookledger::clock::{Stopwatch, pause};
use processes::{PATIENCE, Server};

const JOBS: usize = 20_000;
const CONNECTIONS: usize = 64;

/// The modest load: reports a second, and for how long.
const RATE: usize = 200;
const SECONDS: usize = 10;

#[test]
#[ignore = "a measurement, to be run by name in a release build"]
fn twenty_thousand_jobs() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let watch = Stopwatch::start();
    let (hook, arrivals) = receiver(watch);
    let ids: Vec<String> = (0..JOBS).map(|n| format!("load-{n}")).collect();
    let took = in_parallel(server.address, &ids, |id| register(id, &hook));
    println!("registered: {:.0} jobs/s", rate(JOBS, took));

    let before = (cpu_seconds(server.pid()), watch.elapsed());
    let took = in_parallel(server.address, &ids, report);
    let arrived = await_arrivals(&arrivals, JOBS);
    let last = arrived.values().max().copied().unwrap().saturating_sub(before.1);
    let cpu = cpu_seconds(server.pid()) - before.0;
    println!("reported: {:.0} jobs/s; reported and delivered: {:.0} jobs/s", rate(JOBS, took), rate(JOBS, last));
    println!("CPU of the server: {:.3} s per 1,000 reported and delivered", cpu * 1000.0 / JOBS as f64);

    modest(server.address, &hook, &arrivals, watch);
    println!("peak memory: {:.0} MB", peak_megabytes(server.pid()));
    let kilobytes = disk_bytes(directory.path()) as f64 / 1024.0;
    println!("disk: {:.1} KB a job", kilobytes / (JOBS + RATE * SECONDS) as f64);
    assert!(server.terminate().success());
}

/// Reports at fixed times, whether or not the ones before have ended; latency counts from the intended time.
fn modest(address: SocketAddr, hook: &str, arrivals: &Channel<(String, Duration)>, watch: Stopwatch) {
    let ids: Vec<String> = (0..RATE * SECONDS).map(|n| format!("modest-{n}")).collect();
    in_parallel(address, &ids, |id| register(id, hook));
    let start = watch.elapsed() + Duration::from_millis(100);
    let intended = |n: usize| start + Duration::from_secs(1) * u32::try_from(n).unwrap() / u32::try_from(RATE).unwrap();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut connection = Connection::open(address);
                while let Some((n, id)) = Some(next.fetch_add(1, Ordering::SeqCst)).and_then(|n| Some((n, ids.get(n)?)))
                {
                    pause(intended(n).saturating_sub(watch.elapsed()));
                    connection.exchange(&report(id));
                }
            });
        }
    });
    let arrived = await_arrivals(arrivals, ids.len());
    let mut latencies: Vec<Duration> =
        ids.iter().enumerate().map(|(n, id)| arrived[id].saturating_sub(intended(n))).collect();
    latencies.sort_unstable();
    let percentile = |p: usize| latencies[(latencies.len() - 1) * p / 100].as_secs_f64() * 1000.0;
    println!("report to delivery at {RATE}/s: p50 {:.2} ms, p99 {:.2} ms", percentile(50), percentile(99));
}

fn register(id: &str, hook: &str) -> String {
    let body = format!(r#"{{"id": "{id}", "webhook": {{"url": "{hook}", "secret": "load-load-load-load-load"}}}}"#);
    request("POST", "/v1/batches", &body)
}

fn report(id: &String) -> String {
    request("PATCH", &format!("/v1/batches/{id}"), r#"{"status": "completed", "request_counts": {"completed": 7}}"#)
}

fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends a request for each of `ids` over a fixed number of connections. Every answer has to be a 200.
fn in_parallel(address: SocketAddr, ids: &[String], make: impl Fn(&String) -> String + Sync) -> Duration {
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

/// A kept-alive connection: as little of a client as will do, so that it is the server that is measured.
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

/// A receiver that answers 200 at once, and says when which job's webhook arrived.
fn receiver(watch: Stopwatch) -> (String, Channel<(String, Duration)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, arrivals) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                while let Some((_, body)) = read_message(&mut stream) {
                    let at = watch.elapsed();
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    if stream.get_mut().write_all(answer).is_err() || sender.send((job(&body), at)).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, arrivals)
}

/// The job's id, without reading the rest of the body.
fn job(body: &[u8]) -> String {
    let body = std::str::from_utf8(body).unwrap();
    let (_, rest) = body.split_once("\"id\": \"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

fn await_arrivals(arrivals: &Channel<(String, Duration)>, jobs: usize) -> HashMap<String, Duration> {
    let mut arrived = HashMap::new();
    while arrived.len() < jobs {
        let (id, at) =
            arrivals.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{} of {jobs} arrived", arrived.len()));
        arrived.entry(id).or_insert(at);
    }
    arrived
}

fn rate(jobs: usize, took: Duration) -> f64 {
    jobs as f64 / took.as_secs_f64()
}

/// CPU time of a process, user and system (proc(5), `stat`, in ticks of 10 ms).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    [11, 12].map(|field| fields[field].parse::<f64>().unwrap()).iter().sum::<f64>() / 100.0
}

fn peak_megabytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn disk_bytes(path: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    let size = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => disk_bytes(&entry.path()),
        metadata => metadata.len(),
    };
    entries.map(size).sum()
}
