//! Receivers with certificates that are not what they should be.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver as Channel};
use std::thread;

use hookledger::transport::Transport;
use hookledger::transport::guard::{Guard, Ports};
use hookledger::transport::proxy::EgressProxy;
use hookledger::transport::roots::Roots;
use hookledger::transport::ureq::{UreqSettings, UreqTransport};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::receiver::{Receiver, Step, read_request};
use super::{LONG, SHORT, request};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What a receiver shows for itself.
struct Shown {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

fn signed(params: &CertificateParams, authority: &Authority) -> Shown {
    let key = KeyPair::generate().unwrap();
    Shown { certificate: params.signed_by(&key, authority).unwrap().der().clone(), key }
}

fn params(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

/// Serves with this certificate, and answers 204 to whoever gets that far. Gives the port, and tells of each connection.
fn serve(shown: &Shown) -> (u16, Channel<()>) {
    let key = PrivateKeyDer::try_from(shown.key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![shown.certificate.clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, connections) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = told.send(());
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream.unwrap());
            while read_request(&mut tls) {
                let _ = tls.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            }
        }
    });
    (port, connections)
}

/// A proxy that opens every tunnel, whatever the name, to the port that was asked for on loopback.
fn proxy() -> EgressProxy {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut inner = stream.unwrap();
            let mut line = String::new();
            let mut head = BufReader::new(inner.try_clone().unwrap());
            head.read_line(&mut line).unwrap();
            let port = line.split([':', ' ']).nth(2).unwrap().parse().unwrap();
            while head.read_line(&mut line).unwrap() > 2 {}
            let mut outer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            inner.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let (mut back, mut forth) = (outer.try_clone().unwrap(), inner.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut back, &mut forth));
            thread::spawn(move || io::copy(&mut inner, &mut outer));
        }
    });
    proxy.parse().unwrap()
}

/// Every name is on loopback.
fn transport(roots: Roots) -> UreqTransport {
    let guard = Guard { allow_networks: vec!["127.0.0.0/8".parse().unwrap()], ports: Ports::any(), ..Guard::default() };
    let settings = UreqSettings { guard, roots, ..UreqSettings::default() };
    UreqTransport::with_look_up(settings, |_| Ok(vec![Ipv4Addr::LOCALHOST.into()]))
}

fn error(transport: &UreqTransport, port: u16) -> Option<String> {
    transport.send(&request(&format!("https://receiver.example:{port}/hook?key=hidden"), LONG)).error()
}

#[test]
fn certificates_are_verified() {
    let authority = authority("ours");
    let good = signed(&params("receiver.example"), &authority);
    let mut expired = params("receiver.example");
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    let mut early = params("receiver.example");
    early.not_before = date_time_ymd(2999, 1, 1);
    early.not_after = date_time_ymd(2999, 12, 31);
    let key = KeyPair::generate().unwrap();
    let own = params("receiver.example").self_signed(&key).unwrap();
    let pem: String = authority.pem();
    let given = Roots::Only(pem.parse().unwrap());
    let transport = transport(given);
    for (what, shown, expected) in [
        ("good", good, None),
        ("expired", signed(&expired, &authority), Some("tls: invalid peer certificate: certificate expired")),
        ("not valid yet", signed(&early, &authority), Some("tls: invalid peer certificate: certificate not valid yet")),
        (
            "another name's",
            signed(&params("another.example"), &authority),
            Some("tls: invalid peer certificate: certificate not valid for name"),
        ),
        (
            "another authority's",
            signed(&params("receiver.example"), &self::authority("theirs")),
            Some("tls: invalid peer certificate: UnknownIssuer"),
        ),
        (
            "self-signed",
            Shown { certificate: own.der().clone(), key },
            Some("tls: invalid peer certificate: UnknownIssuer"),
        ),
    ] {
        let error = error(&transport, serve(&shown).0);
        match (&error, expected) {
            (None, None) => {}
            (Some(error), Some(expected)) if error.starts_with(expected) && !error.contains("hidden") => {}
            _ => panic!("{what}: expected {expected:?}, recorded {error:?}"),
        }
    }
}

#[test]
fn an_authority_of_ones_own_is_trusted_where_it_was_given() {
    let authority = authority("ours");
    let (port, _) = serve(&signed(&params("receiver.example"), &authority));
    let given = || authority.pem().parse().unwrap();
    assert_eq!(error(&transport(Roots::Only(given())), port), None);
    assert_eq!(error(&transport(Roots::PlatformAnd(given())), port), None);
    let refused = error(&transport(Roots::Platform), port).unwrap();
    assert!(refused.starts_with("tls: "), "{refused}");
}

#[test]
fn a_tls_connection_is_used_again() {
    let authority = authority("ours");
    let (port, connections) = serve(&signed(&params("receiver.example"), &authority));
    let transport = transport(Roots::PlatformAnd(authority.pem().parse().unwrap()));
    for _ in 0..3 {
        assert_eq!(error(&transport, port), None);
    }
    assert_eq!(connections.try_iter().count(), 1);
}

/// The receiver is verified through a tunnel as it is without one; the proxy sees nothing of what is inside.
#[test]
fn a_proxy_changes_nothing_about_certificates() {
    let authority = authority("ours");
    let roots = Roots::Only(authority.pem().parse().unwrap());
    let guard = Guard { ports: Ports::any(), ..Guard::default() };
    let settings = UreqSettings { guard, roots, proxy: Some(proxy()) };
    let transport = UreqTransport::with_look_up(settings, |_| panic!("looked up"));
    let (good, _) = serve(&signed(&params("receiver.example"), &authority));
    let (wrong, _) = serve(&signed(&params("another.example"), &authority));
    assert_eq!(error(&transport, good), None);
    let refused = error(&transport, wrong).unwrap();
    assert!(refused.starts_with("tls: invalid peer certificate: certificate not valid for name"), "{refused}");
}

#[test]
fn what_is_no_tls_is_a_tls_failure() {
    let plain = Receiver::start(vec![Step::Send(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Step::Hold]);
    let silent = Receiver::start(vec![Step::Hold]);
    let reset = Receiver::start(vec![Step::Reset]);
    let transport = transport(Roots::default());
    let error = |receiver: &Receiver, timeout| {
        transport.send(&request(&format!("https://receiver.example:{}/", receiver.port), timeout)).error().unwrap()
    };
    assert_eq!(error(&plain, LONG), "tls: received corrupt message of type InvalidContentType");
    assert_eq!(error(&silent, SHORT), "timeout: the time was up before there was a TLS session");
    // It may come before the connection counts as open, or while the first message is written.
    let recorded = error(&reset, LONG);
    assert!(
        ["connect: the connection was reset", "tls: the connection was reset", "tls: the connection was broken off"]
            .contains(&recorded.as_str()),
        "{recorded}"
    );
}
