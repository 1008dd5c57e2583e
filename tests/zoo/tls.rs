//! Receivers with certificates that are not what they should be.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread;

use hookledger::transport::Transport;
use hookledger::transport::guard::{Guard, Ports};
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

/// Serves with this certificate, and answers 204 to whoever gets that far.
fn serve(shown: &Shown) -> u16 {
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
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream.unwrap());
            read_request(&mut tls);
            let _ = tls.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    port
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
        let error = error(&transport, serve(&shown));
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
    let port = serve(&signed(&params("receiver.example"), &authority));
    let given = || authority.pem().parse().unwrap();
    assert_eq!(error(&transport(Roots::Only(given())), port), None);
    assert_eq!(error(&transport(Roots::PlatformAnd(given())), port), None);
    let refused = error(&transport(Roots::Platform), port).unwrap();
    assert!(refused.starts_with("tls: "), "{refused}");
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
