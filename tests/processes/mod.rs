//! Real processes for tests: the server's binary, and a receiver on loopback.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver as Channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hookledger::clock::{Clock, SystemClock};
use hookledger::verify::Verifier;
use serde_json::Value;

pub mod traffic;

/// The bound on everything that has to happen: generous, for a machine under load. Reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_hookledger");

/// The binary, with nothing of ours in its environment: it refuses variables that it does not know, and those that speak to
/// the tests are among them.
pub fn command() -> Command {
    without_settings(Command::new(BINARY))
}

fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"HOOKLEDGER_")) {
        command.env_remove(name);
    }
    command
}

/// A running `hookledger serve --dev`.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// What it has logged up to the line that says where it serves.
    pub first_lines: Vec<String>,
    stderr: Channel<String>,
}

impl Server {
    /// Starts it on a free port, and waits until it serves.
    pub fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &[])
    }

    /// Starts it with more environment.
    pub fn start_with(data_dir: &Path, environment: &[(&str, &str)]) -> Self {
        let mut serve = command();
        serve.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
        Self::run(serve.envs(environment.iter().copied()))
    }

    /// Starts it with so many file descriptors and no more.
    pub fn start_with_descriptors(data_dir: &Path, descriptors: u32) -> Self {
        let mut shell = without_settings(Command::new("sh"));
        shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""), BINARY]);
        Self::run(shell.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir))
    }

    /// Runs a command that serves, and waits until it does.
    pub fn run(serve: &mut Command) -> Self {
        let mut child = serve.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let (sender, stderr) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut first_lines = Vec::new();
        let address = loop {
            first_lines.push(stderr.recv_timeout(PATIENCE).expect("the server says that it serves"));
            let line = first_lines.last().expect("a line");
            // As text or as JSON.
            if let Some((_, rest)) = line.split_once("address=").or_else(|| line.split_once("\"address\":\"")) {
                break rest.split([' ', '"']).next().and_then(|address| address.parse().ok()).expect("an address");
            }
        };
        Self { child, address, first_lines, stderr }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// SIGTERM, and what it exits with.
    pub fn terminate(self) -> ExitStatus {
        self.signal("TERM");
        self.exit()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let arguments = [format!("-{name}"), self.child.id().to_string()];
        assert!(Command::new("kill").args(arguments).status().expect("kill runs").success());
    }

    /// Waits for its end, and gives what it exits with.
    pub fn exit(mut self) -> ExitStatus {
        self.child.wait().expect("it has ended")
    }

    /// Waits for a line of its log.
    pub fn await_line(&self, part: &str) -> String {
        let mut lines = std::iter::from_fn(|| self.stderr.recv_timeout(PATIENCE).ok());
        lines.find(|line| line.contains(part)).unwrap_or_else(|| panic!("it says {part}"))
    }

    /// Waits for a line of its log, and gives it with those before it.
    pub fn lines_until(&self, part: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains(part)) {
            lines.push(self.stderr.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it says {part}")));
        }
        lines
    }

    /// SIGTERM, and what it logs from now on to its end.
    pub fn last_lines(mut self) -> Vec<String> {
        self.signal("TERM");
        assert!(self.child.wait().expect("it has ended").success());
        self.stderr.iter().collect()
    }

    /// Its memory, in KiB: `VmRSS` of Linux; `None` elsewhere.
    pub fn memory(&self) -> Option<u64> {
        self.status("VmRSS:")
    }

    /// Its threads: `Threads` of Linux; `None` elsewhere.
    pub fn threads(&self) -> Option<u64> {
        self.status("Threads:")
    }

    fn status(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// What it has logged since this was last asked.
    pub fn logged(&self) -> Vec<String> {
        self.stderr.try_iter().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP client that takes every status as an answer.
pub fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    config.max_idle_connections_per_host(64).max_idle_connections(64).timeout_global(Some(PATIENCE)).build().new_agent()
}

/// A request that a receiver got.
#[derive(Clone, Debug)]
pub struct Got {
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    pub verified: Result<(), String>,
}

impl Got {
    /// The job that it tells of.
    pub fn job(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).expect("JSON");
        body["id"].as_str().expect("an id").to_owned()
    }
}

/// A receiver on loopback that verifies, answers 200, and passes on what it got.
pub struct Receiver {
    server: Arc<tiny_http::Server>,
    threads: Vec<JoinHandle<()>>,
    pub url: String,
    pub got: Channel<Got>,
}

impl Receiver {
    pub fn start(secret: &str) -> Self {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").expect("a port"));
        let (sender, got) = mpsc::channel();
        let verifier = Arc::new(Mutex::new(Verifier::new(secret).expect("a secret")));
        let serve = |_| {
            let (server, sender, verifier) = (Arc::clone(&server), sender.clone(), Arc::clone(&verifier));
            thread::spawn(move || server.incoming_requests().for_each(|request| answer(request, &verifier, &sender)))
        };
        let threads = (0..4).map(serve).collect();
        let url = format!("http://{}/hook", server.server_addr());
        Self { server, threads, url, got }
    }
}

fn answer(mut request: tiny_http::Request, checks: &Mutex<Verifier>, sender: &mpsc::Sender<Got>) {
    let headers: HashMap<String, String> = request
        .headers()
        .iter()
        .map(|header| (header.field.to_string().to_ascii_lowercase(), header.value.to_string()))
        .collect();
    let mut body = Vec::new();
    if request.as_reader().read_to_end(&mut body).is_err() {
        return;
    }
    let outcome = checks.lock().unwrap().verify(&headers, &body, SystemClock.now().as_seconds());
    let verified = outcome.map(drop).map_err(|error| error.to_string());
    let _ = sender.send(Got { headers, body, verified });
    let _ = request.respond(tiny_http::Response::from_string("ok"));
}

impl Drop for Receiver {
    fn drop(&mut self) {
        for _ in 0..self.threads.len() {
            self.server.unblock();
        }
    }
}

/// A port that nothing listens on.
pub fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}
