//! A receiver on loopback that does exactly what its script says, byte by byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver as Channel};
use std::thread;
use std::time::Duration;

use hookledger::clock;
use socket2::SockRef;

use super::BODY;

/// One thing that a receiver does on a connection. When its script is over it closes.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads the request to its end.
    Read,
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes one at a time, each after a pause, and begins again when they end.
    Drip(Vec<u8>),
    /// Sends these bytes again and again, as fast as they are taken.
    Flood(Vec<u8>),
    /// Keeps the connection open and says nothing more, until the other side has gone.
    Hold,
    /// Ends the connection with a reset.
    Reset,
}

/// The pause between two bytes of a drip: short beside every time-out here, so that each byte is in time.
const DRIP: Duration = Duration::from_millis(20);

/// A running receiver.
pub struct Receiver {
    pub port: u16,
    /// One message for each connection.
    pub connections: Channel<()>,
    /// How many bytes it could send.
    pub sent: Arc<AtomicUsize>,
}

impl Receiver {
    pub fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (told, connections) = mpsc::channel();
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = told.send(());
                play(&script, stream.unwrap(), &counter);
            }
        });
        Self { port, connections, sent }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }
}

fn play(script: &[Step], mut stream: TcpStream, sent: &AtomicUsize) {
    stream.set_nodelay(true).unwrap();
    let write = |stream: &mut TcpStream, bytes: &[u8]| {
        let written = stream.write(bytes).unwrap_or(0);
        sent.fetch_add(written, Ordering::SeqCst);
        written == bytes.len()
    };
    for step in script {
        match step {
            Step::Read => drop(read_request(&mut stream)),
            Step::Send(bytes) => drop(stream.write_all(bytes)),
            Step::Drip(bytes) => {
                for byte in bytes.chunks(1).cycle() {
                    if !write(&mut stream, byte) {
                        break;
                    }
                    clock::pause(DRIP);
                }
            }
            Step::Flood(bytes) => while write(&mut stream, bytes) {},
            Step::Hold => drop(stream.read_to_end(&mut Vec::new())),
            Step::Reset => SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
        }
    }
}

/// Reads one request to the end of its body, and says whether there was one.
pub fn read_request(stream: &mut impl Read) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    stream.read_exact(&mut [0; BODY.len()]).is_ok()
}
