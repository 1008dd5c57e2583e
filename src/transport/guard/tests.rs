use super::*;

fn strict() -> Guard {
    Guard::default()
}

fn allows(address: &str) -> bool {
    strict().check_ip(address.parse().unwrap()).is_ok()
}

/// Every range with its first and last address, and the neighbours on both sides where they are public.
#[test]
fn ipv4_ranges_are_denied_from_the_first_to_the_last_address() {
    let ranges: [(&str, &str, &str, &[&str]); 16] = [
        ("0.0.0.0", "0.255.255.255", "0.0.0.0/8", &["1.0.0.0"]),
        ("10.0.0.0", "10.255.255.255", "10.0.0.0/8", &["9.255.255.255", "11.0.0.0"]),
        ("100.64.0.0", "100.127.255.255", "100.64.0.0/10", &["100.63.255.255", "100.128.0.0"]),
        ("127.0.0.0", "127.255.255.255", "127.0.0.0/8", &["126.255.255.255", "128.0.0.0"]),
        ("168.63.129.16", "168.63.129.16", "168.63.129.16/32", &["168.63.129.15", "168.63.129.17"]),
        ("169.254.0.0", "169.254.255.255", "169.254.0.0/16", &["169.253.255.255", "169.255.0.0"]),
        ("172.16.0.0", "172.31.255.255", "172.16.0.0/12", &["172.15.255.255", "172.32.0.0"]),
        ("192.0.0.0", "192.0.0.255", "192.0.0.0/24", &["191.255.255.255", "192.0.1.0"]),
        ("192.0.2.0", "192.0.2.255", "192.0.2.0/24", &["192.0.1.255", "192.0.3.0"]),
        ("192.88.99.0", "192.88.99.255", "192.88.99.0/24", &["192.88.98.255", "192.88.100.0"]),
        ("192.168.0.0", "192.168.255.255", "192.168.0.0/16", &["192.167.255.255", "192.169.0.0"]),
        ("198.18.0.0", "198.19.255.255", "198.18.0.0/15", &["198.17.255.255", "198.20.0.0"]),
        ("198.51.100.0", "198.51.100.255", "198.51.100.0/24", &["198.51.99.255", "198.51.101.0"]),
        ("203.0.113.0", "203.0.113.255", "203.0.113.0/24", &["203.0.112.255", "203.0.114.0"]),
        ("224.0.0.0", "239.255.255.255", "224.0.0.0/4", &["223.255.255.255"]),
        ("240.0.0.0", "255.255.255.255", "240.0.0.0/4", &[]),
    ];
    for (first, last, range, neighbours) in ranges {
        for address in [first, last] {
            let blocked = strict().check_ip(address.parse().unwrap()).unwrap_err();
            assert!(blocked.reason().starts_with(range), "{address}: {blocked}");
            assert!(!allows(&format!("::ffff:{address}")), "{address} as mapped IPv6");
        }
        for neighbour in neighbours {
            assert!(allows(neighbour), "{neighbour}");
            assert!(allows(&format!("::ffff:{neighbour}")), "{neighbour} as mapped IPv6");
        }
    }
    assert!(allows("93.184.216.34"));
}

#[test]
fn ipv6_is_global_unicast_less_what_is_special() {
    let denied = [
        "::",
        "::1",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "100::1",
        "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001::",
        "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "2002::",
        "2002:7f00:1::",
        "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff::",
        "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
        "4000::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];
    for address in denied {
        assert!(!allows(address), "{address}");
    }
    let allowed = [
        "2000::",
        "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:200::",
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db9::",
        "2003::",
        "2606:2800:220:1:248:1893:25c8:1946",
        "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff:1000::",
    ];
    for address in allowed {
        assert!(allows(address), "{address}");
    }
}

#[test]
fn the_reason_names_the_range_in_words() {
    let reason = |address: &str| strict().check_ip(address.parse().unwrap()).unwrap_err().to_string();
    assert_eq!(reason("10.1.2.3"), "10.0.0.0/8 is private");
    assert_eq!(reason("::ffff:127.0.0.1"), "127.0.0.0/8 is loopback");
    assert_eq!(reason("2001:db8::1"), "2001:db8::/32 is for documentation");
    assert_eq!(reason("fe80::1"), "the IPv6 address is outside 2000::/3, so not public");
}

#[test]
fn odd_spellings_are_seen_as_what_they_are() {
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.0.1.",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "１２７.0.0.1",
        "127%2e0.0.1",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "169.254.169.254",
    ] {
        assert!(strict().parse(&format!("https://{host}/hook")).is_err(), "{host}");
    }
    assert!(strict().parse("https://localhost.example.com/").is_ok());
}

#[test]
fn urls_that_are_refused() {
    let long = format!("https://example.com/{}", "a".repeat(URL_BYTES));
    let grows = format!("https://example.com/{}", "ß".repeat(1000));
    for url in [
        "",
        "example.com",
        "/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://example.com/",
        "https://user@example.com/",
        "https://:password@example.com/",
        "https://example.com/#part",
        "https://example.com/#",
        "https://example.com/a\nb",
        "https://example.com/a\0b",
        "https://example.com:22/",
        "https://example.com:0/",
        "https://",
        &long,
        &grows,
    ] {
        assert!(strict().parse(url).is_err(), "{url}");
    }
}

#[test]
fn urls_that_are_allowed() {
    for url in [
        "https://example.com",
        "https://example.com/hook?key=value",
        "https://example.com:8443/",
        "https://example.com:8080/",
        "https://example.com:80/",
        "https://93.184.216.34/",
        "https://müller.example/",
    ] {
        assert!(strict().parse(url).is_ok(), "{url}");
    }
    let with_http = Guard { allow_http: true, ..strict() };
    assert!(with_http.parse("http://example.com/").is_ok());
    assert!(with_http.parse("http://127.0.0.1/").is_err());
}

#[test]
fn dev_allows_every_address_and_port_but_no_malformed_url() {
    for url in ["http://127.0.0.1:4081/", "https://10.0.0.1:1/", "http://localhost:65535/", "http://[::1]:9/"] {
        assert!(Guard::dev().parse(url).is_ok(), "{url}");
    }
    for url in ["http://127.0.0.1:0/", "http://user@127.0.0.1/", "ftp://127.0.0.1/", "http://127.0.0.1/#a"] {
        assert!(Guard::dev().parse(url).is_err(), "{url}");
    }
}

#[test]
fn the_servers_own_address_is_no_destination() {
    let guard = Guard { own_address: Some("93.184.216.34:443".parse().unwrap()), ..strict() };
    assert!(guard.check_address("93.184.216.34:443".parse().unwrap()).is_err());
    assert!(guard.check_address("[::ffff:93.184.216.34]:443".parse().unwrap()).is_err());
    assert!(guard.check_address("93.184.216.34:8443".parse().unwrap()).is_ok());
    assert!(guard.check_address("10.0.0.1:443".parse().unwrap()).is_err());
    assert!(guard.parse("https://93.184.216.34/").is_err(), "the URL alone shows it too, which is what a proxy needs");
}

fn networks(texts: &[&str]) -> Vec<Network> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn deny_wins_over_allow_and_allow_over_the_ranges() {
    let guard = Guard {
        allow_networks: networks(&["10.0.0.0/8", "fd00::/8"]),
        deny_networks: networks(&["10.1.0.0/16", "93.184.0.0/16", "2606:2800::/32"]),
        ..strict()
    };
    let check = |address: &str| guard.check_ip(address.parse().unwrap()).map_err(|blocked| blocked.to_string());
    for address in ["10.0.0.1", "10.2.0.1", "::ffff:10.2.0.1", "fd00::1", "8.8.8.8", "2001:4860::1"] {
        assert_eq!(check(address), Ok(()), "{address}");
    }
    for address in ["10.1.0.1", "::ffff:10.1.255.255"] {
        assert_eq!(check(address), Err("10.1.0.0/16 is denied by the configuration".into()), "{address}");
    }
    assert_eq!(check("93.184.216.34"), Err("93.184.0.0/16 is denied by the configuration".into()));
    assert_eq!(check("2606:2800::1"), Err("2606:2800::/32 is denied by the configuration".into()));
    assert_eq!(check("192.168.0.1"), Err("192.168.0.0/16 is private".into()));
    let dev = Guard { deny_networks: networks(&["169.254.0.0/16"]), ..Guard::dev() };
    assert!(dev.check_ip([169, 254, 169, 254].into()).is_err(), "also where everything else is allowed");
    assert!(dev.check_ip([10, 0, 0, 1].into()).is_ok());
}

#[test]
fn an_allowed_network_opens_neither_http_nor_other_ports() {
    let guard = Guard { allow_networks: networks(&["127.0.0.0/8"]), ..strict() };
    assert!(guard.parse("https://127.0.0.1/").is_ok());
    assert!(guard.parse("https://localhost/").is_ok(), "its addresses are checked when they are dialled");
    for url in ["http://127.0.0.1/", "https://127.0.0.1:4081/", "https://[::1]/", "https://10.0.0.1/"] {
        assert!(guard.parse(url).is_err(), "{url}");
    }
}

#[test]
fn ports_can_be_chosen() {
    let guard = Guard { ports: "443,9000-9001".parse().unwrap(), ..strict() };
    assert!(guard.parse("https://example.com:9001/").is_ok());
    assert!(guard.parse("https://example.com/").is_ok());
    let blocked = guard.parse("https://example.com:8443/").unwrap_err();
    assert_eq!(blocked.to_string(), "port 8443 is not one of 443, 9000-9001");
    assert!(Guard { ports: Ports::any(), ..strict() }.parse("https://example.com:22/").is_ok());
}

#[test]
fn http_and_private_addresses_are_allowed_apart() {
    let http = Guard { allow_http: true, ..strict() };
    assert!(http.parse("http://example.com/").is_ok() && http.parse("http://10.0.0.1/").is_err());
    let private = Guard { allow_private: true, ..strict() };
    assert!(private.parse("https://10.0.0.1:1234/").is_ok() && private.parse("http://10.0.0.1/").is_err());
}

#[test]
fn a_server_on_every_address_is_not_reached_by_any() {
    let guard = Guard {
        own_address: Some("0.0.0.0:443".parse().unwrap()),
        allow_networks: networks(&["127.0.0.0/8", "::1/128"]),
        ..strict()
    };
    for address in ["127.0.0.1:443", "127.1.2.3:443", "[::1]:443"] {
        let blocked = guard.check_address(address.parse().unwrap()).unwrap_err();
        assert_eq!(blocked.to_string(), "the destination is this server itself", "{address}");
        assert!(guard.parse(&format!("https://{address}/")).is_err(), "{address}");
    }
    assert!(guard.check_address("127.0.0.1:8443".parse().unwrap()).is_ok());
}
