//! Names that resolve to what they should not, and names that change their minds.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hookledger::transport::Transport;
use hookledger::transport::guard::{Guard, Ports};
use hookledger::transport::ureq::{UreqSettings, UreqTransport};

use super::receiver::{Receiver, Step};
use super::{LONG, SHORT, request};

/// Strict but for `http`, every port, and one address of loopback.
fn guard() -> Guard {
    Guard {
        allow_http: true,
        allow_networks: vec!["127.0.0.1/32".parse().unwrap()],
        ports: Ports::any(),
        ..Guard::default()
    }
}

fn transport(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> UreqTransport {
    UreqTransport::with_look_up(UreqSettings { guard: guard(), ..UreqSettings::default() }, look_up)
}

fn taker() -> Receiver {
    Receiver::start(vec![Step::Read, Step::Send(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_vec())])
}

/// A look-up that gives these answers in turn, and counts. An answer is addresses with spaces between.
fn in_turn(answers: &'static [&'static str]) -> (UreqTransport, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let transport = transport(move |_| {
        let turn = counter.fetch_add(1, Ordering::SeqCst) % answers.len();
        Ok(answers[turn].split(' ').map(|address| address.parse().unwrap()).collect())
    });
    (transport, asked)
}

#[test]
fn a_name_with_a_private_address_is_blocked() {
    let receiver = taker();
    for (answers, text) in [
        (&["10.1.2.3"], "blocked: 10.0.0.0/8 is private"),
        (&["169.254.169.254"], "blocked: 169.254.0.0/16 is link-local"),
        (&["127.0.0.2"], "blocked: 127.0.0.0/8 is loopback"),
        (&["0.0.0.0"], "blocked: 0.0.0.0/8 is this network"),
        (&["::ffff:10.1.2.3"], "blocked: 10.0.0.0/8 is private"),
        (&["fd00::1"], "blocked: the IPv6 address is outside 2000::/3, so not public"),
        // Where the first would be allowed.
        (&["127.0.0.1 10.1.2.3"], "blocked: 10.0.0.0/8 is private"),
    ] {
        let (transport, _) = in_turn(answers);
        let outcome = transport.send(&request(&format!("http://receiver.example:{}/", receiver.port), LONG));
        assert_eq!(outcome.error().as_deref(), Some(text));
        assert_eq!(outcome.status_code(), None);
    }
    assert!(receiver.connections.try_recv().is_err(), "nothing was sent");
}

/// The answer that was checked is the one that is dialled: nobody is asked a second time in between.
#[test]
fn a_name_that_turns_private_after_the_check_gains_nothing() {
    let receiver = taker();
    let (transport, asked) = in_turn(&["127.0.0.1", "10.1.2.3"]);
    for _ in 0..3 {
        let outcome = transport.send(&request(&format!("http://receiver.example:{}/", receiver.port), LONG));
        assert_eq!((outcome.status_code(), outcome.error()), (Some(204), None));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(receiver.connections.try_iter().count(), 3);
}

#[test]
fn a_name_that_turns_public_after_it_was_refused_stays_refused_for_now() {
    let receiver = taker();
    let (transport, asked) = in_turn(&["10.1.2.3", "127.0.0.1"]);
    for _ in 0..3 {
        let outcome = transport.send(&request(&format!("http://receiver.example:{}/", receiver.port), LONG));
        assert_eq!(outcome.error().as_deref(), Some("blocked: 10.0.0.0/8 is private"));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(receiver.connections.try_recv().is_err());
}

#[test]
fn a_name_without_an_answer_is_a_failure_to_resolve() {
    let refused = transport(|_| Err(io::Error::other("no such name")));
    let empty = transport(|_| Ok(vec![]));
    let send = |transport: &UreqTransport| transport.send(&request("https://receiver.example/", LONG)).error();
    assert_eq!(send(&refused).as_deref(), Some("resolve: no such name"));
    assert_eq!(send(&empty).as_deref(), Some("resolve: the name has no address"));
    let never = transport(|_| {
        std::thread::park();
        Ok(vec![])
    });
    let outcome = never.send(&request("https://receiver.example/", SHORT));
    assert_eq!(outcome.error().as_deref(), Some("timeout: the time was up before there was an address"));
}
