//! Nobody holds up others: floods of every kind against the real server, and beside each of them somebody who wants
//! nothing but an answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod processes;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use processes::{PATIENCE, Server, client};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

/// How many connections a flood has: with its second wave more than the server takes at once.
const CROWD: usize = 2000;

/// What the server may have of memory meanwhile, in KiB: up to 64 MB are the store's cache, the rest is for connections.
const MEMORY: u64 = 256 * 1024;

/// The flood's own file descriptors.
fn allow_many_sockets() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the server accepts");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends bytes to a server that may have closed the connection already.
fn send(socket: &mut TcpStream, bytes: &str) {
    if let Err(error) = socket.write_all(bytes.as_bytes()) {
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    }
}

/// Every request of a client that behaves is answered as if there were nobody else.
fn is_served(server: &Server, name: &str) {
    let kept_alive = client();
    for n in 0..20 {
        let agent = if n % 2 == 0 { client() } else { kept_alive.clone() };
        let body = json!({"id": format!("{name}-{n}")});
        let created = agent.post(server.url("/v1/batches")).send_json(body).expect("a write is answered");
        assert_eq!(created.status(), 200);
        let mut list = agent.get(server.url("/v1/batches?limit=1")).call().expect("a read is answered");
        let list: Value = list.body_mut().read_json().unwrap();
        assert_eq!(list["data"][0]["id"], format!("{name}-{n}"));
    }
    let memory = server.memory().unwrap_or_default();
    println!("{name}: served, with {memory} KiB");
    assert!(memory < MEMORY, "{name}: {memory} KiB");
}

fn ends_well(server: Server) {
    is_served(&server, "afterwards");
    assert!(server.terminate().success());
}

#[test]
fn beside_connections_that_ask_nothing_and_half_requests() {
    allow_many_sockets();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let idle: Vec<_> = (0..CROWD).map(|_| connect(server.address)).collect();
    is_served(&server, "idle");
    let half: Vec<_> = (0..CROWD)
        .map(|n| {
            let mut socket = connect(server.address);
            let head = "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nX-Field: ";
            send(&mut socket, &[head, &"x".repeat(n * 8)].concat());
            socket
        })
        .collect();
    is_served(&server, "half");
    drop((idle, half));
    ends_well(server);
}

#[test]
fn beside_slow_bodies_and_clients_that_do_not_read() {
    allow_many_sockets();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let slow: Vec<_> = (0..CROWD / 2)
        .map(|_| {
            let mut socket = connect(server.address);
            let head = "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
            send(&mut socket, &format!("{head}Content-Length: 1048576\r\n\r\n{{"));
            socket
        })
        .collect();
    is_served(&server, "slow");
    let greedy: Vec<_> = (0..8).map(|_| pipeline_without_reading(&server)).collect();
    is_served(&server, "greedy");
    drop((slow, greedy));
    ends_well(server);
}

/// Asks until nothing more can be sent, because the server does not go on reading while its answers are not read.
fn pipeline_without_reading(server: &Server) -> TcpStream {
    let mut socket = connect(server.address);
    socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let requests = "GET /v1/batches HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    let end = std::iter::repeat_with(|| socket.write(requests.as_bytes())).find_map(Result::err).unwrap();
    assert!(matches!(end.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{end}");
    socket
}

#[test]
fn beside_heads_and_bodies_that_are_far_too_large() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let large = "x".repeat(1024 * 1024);
    let head = format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX-Large: {large}\r\n\r\n");
    let post = "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let body = format!("{post}Content-Length: 4194304\r\n\r\n{}", large.repeat(4));
    thread::scope(|scope| {
        for (request, code) in [(&head, "\"head_too_large\""), (&body, "\"body_too_large\"")].repeat(16) {
            let address = server.address;
            scope.spawn(move || {
                let mut socket = connect(address);
                // All of it goes out, and the answer comes in: neither side is reset.
                socket.write_all(request.as_bytes()).unwrap();
                let mut answer = String::new();
                socket.read_to_string(&mut answer).unwrap();
                assert!(answer.contains(code), "{answer}");
            });
        }
        is_served(&server, "large");
    });
    ends_well(server);
}

#[test]
fn with_few_file_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with_descriptors(directory.path(), 256);
    for wave in ["first", "second"] {
        let flood: Vec<_> = (0..600)
            .filter_map(|_| {
                // The system's queue may be full, too.
                let mut socket = TcpStream::connect_timeout(&server.address, Duration::from_secs(1)).ok()?;
                send(&mut socket, "GET /health HTTP/1.1\r\n");
                Some(socket)
            })
            .collect();
        is_served(&server, wave);
        drop(flood);
    }
    let lines = server.logged();
    assert!(!lines.iter().any(|line| line.contains("could not be accepted")), "{lines:?}");
    ends_well(server);
}
