//! From the configuration to what the server is made of.

use std::net::SocketAddr;
use std::str::FromStr;

use super::Failed;
use crate::api::{ApiOptions, Destinations, Keys};
use crate::config::{self, Config};
use crate::runtime::Options;
use crate::schedule::{Pacing, Rate};
use crate::signature::Secret;
use crate::transport::guard::{Guard, Network};
use crate::transport::roots::{Certificates, Roots};
use crate::transport::ureq::UreqSettings;

/// What `--help` says beside the flags.
pub(super) const MORE_HELP: &str = "Every setting is also a variable of the environment and a key of the file: \
    --body-limit is HOOKLEDGER_BODY_LIMIT and body_limit. Flags go over the environment, that over the file.\n\n\
    Environment or file alone, since others can read a command line:\n  \
    HOOKLEDGER_API_KEYS                 What clients must present, divided by commas [default: none]\n  \
    HOOKLEDGER_WEBHOOK_SECRET           Signs for webhooks that have no secret of their own [default: none]\n  \
    HOOKLEDGER_WEBHOOK_SECRET_PREVIOUS  The one before it, which signs as well [default: none]\n\n\
    Commands that ask a server read HOOKLEDGER_SERVER, HOOKLEDGER_API_KEY and HOOKLEDGER_API_KEY_FILE.";

/// A shorter key of a webhook secret might be guessed, in bytes (Standard Webhooks, "Signature scheme").
const GOOD_SECRET_BYTES: usize = 24;

/// Everything that `serve` is configured with.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) api: ApiOptions,
    pub(super) runtime: Options,
    pub(super) transport: UreqSettings,
    /// What is allowed, and probably not meant.
    pub(super) warnings: Vec<String>,
}

impl Setup {
    /// Reads and checks it all. Every failure is the configuration's.
    pub(super) fn load(flags: config::Options) -> Result<Self, Failed> {
        let config = Config::load(flags, std::env::vars_os()).map_err(|error| Failed::Usage(error.to_string()))?;
        Self::of(config).map_err(Failed::Usage)
    }

    fn of(config: Config) -> Result<Self, String> {
        let mut warnings = config.warnings.clone();
        let wrong = |name: &str, why: &dyn std::error::Error| format!("{}: {why}", config.origin(name));
        let keys = Keys::new(config.api_keys.iter().map(config::Hidden::expose));
        let keys = keys.map_err(|error| wrong("api_keys", &error))?;
        if keys.short() > 0 {
            let origin = config.origin("api_keys");
            warnings.push(format!("{origin}: {} of the keys can be guessed: use 24 characters or more", keys.short()));
        }
        if keys.is_empty() && config.api_key.is_some() {
            let origin = config.origin("api_key");
            warnings.push(format!("{origin} is what clients present; this server asks for no key: that is api_keys"));
        }
        let mut secrets = Vec::new();
        for (name, secret) in
            [("webhook_secret", &config.webhook_secret), ("webhook_secret_previous", &config.webhook_secret_previous)]
        {
            let Some(secret) = secret else { continue };
            let secret = Secret::new(secret.expose()).map_err(|error| wrong(name, &error))?;
            if secret.signing_key().len() < GOOD_SECRET_BYTES {
                let origin = config.origin(name);
                warnings.push(format!("{origin}: the secret can be guessed: use {GOOD_SECRET_BYTES} bytes or more"));
            }
            secrets.push(secret);
        }
        check_exposure(config.listen, config.origin("listen"), &keys)?;
        let transport = transport(&config)?;
        Ok(Self {
            api: ApiOptions { destinations: destinations(&transport.guard), ..api(&config, keys) },
            runtime: runtime(&config, secrets),
            transport,
            config,
            warnings,
        })
    }
}

fn api(config: &Config, keys: Keys) -> ApiOptions {
    ApiOptions {
        keys,
        body_bytes: config.body_limit,
        body_deadline: config.body_deadline,
        head_deadline: config.head_deadline,
        write_deadline: config.write_deadline,
        connections: config.connections,
        connections_per_peer: (config.connections_per_peer > 0).then_some(config.connections_per_peer),
        grace: config.shutdown_grace,
        ..ApiOptions::default()
    }
}

fn runtime(config: &Config, global_secrets: Vec<Secret>) -> Options {
    let mut options =
        Options { workers: config.workers, queue: config.queue, grace: config.shutdown_grace, ..Options::default() };
    options.engine.global_secrets = global_secrets;
    options.engine.pacing = Pacing {
        slots: config.per_destination,
        failures: (config.pause_after > 0).then_some(config.pause_after),
        longest_pause: config.longest_pause,
        rate: (config.rate_limit > 0).then_some(Rate { per_second: config.rate_limit }),
    };
    options.engine.progress_interval = config.progress_interval;
    options.engine.retention = config.retention;
    let policy = &mut options.engine.policy;
    policy.allow_http = config.dev || config.allow_http;
    policy.max_attempts = config.max_retries;
    policy.timeout = config.timeout;
    policy.backoff.base = config.backoff_base;
    policy.backoff.cap = config.backoff_cap;
    policy.retry_schedule.clone_from(&config.retry_schedule);
    options
}

/// What the guard will refuse at every attempt is refused at once.
fn destinations(guard: &Guard) -> Destinations {
    let guard = guard.clone();
    Destinations::new(move |url| guard.parse(url).map(drop).map_err(|blocked| blocked.to_string()))
}

/// Where deliveries may go, and how.
fn transport(config: &Config) -> Result<UreqSettings, String> {
    let own_address = Some(config.listen);
    let guard = Guard {
        allow_http: config.allow_http,
        allow_networks: networks(config, "allow_network", &config.allow_network)?,
        deny_networks: networks(config, "deny_network", &config.deny_network)?,
        ports: read(config, "ports", &config.ports)?,
        own_address,
        ..Guard::default()
    };
    let guard = if config.dev { Guard { deny_networks: guard.deny_networks, ..Guard::dev() } } else { guard };
    let roots = roots(config)?;
    let proxy = if config.proxy.is_empty() { None } else { Some(read(config, "proxy", &config.proxy)?) };
    Ok(UreqSettings { guard, roots, proxy })
}

/// Who may vouch for a certificate.
pub(super) fn roots(config: &Config) -> Result<Roots, String> {
    Ok(match (&*config.ca_file, config.ca_only) {
        ("", false) => Roots::Platform,
        ("", true) => return Err(format!("{}: there is no ca_file to trust alone", config.origin("ca_only"))),
        (path, only) => {
            let pem = std::fs::read_to_string(path)
                .map_err(|error| format!("{}: '{path}' can't be read: {error}", config.origin("ca_file")))?;
            let given: Certificates = read(config, "ca_file", &pem)?;
            if only { Roots::Only(given) } else { Roots::PlatformAnd(given) }
        }
    })
}

fn networks(config: &Config, name: &str, list: &str) -> Result<Vec<Network>, String> {
    let given = list.split(',').map(str::trim).filter(|network| !network.is_empty());
    given.map(|network| read(config, name, network)).collect()
}

fn read<T: FromStr<Err: std::fmt::Display>>(config: &Config, name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{}: {error}", config.origin(name)))
}

/// Without a key anybody who reaches the port may do anything.
fn check_exposure(listen: SocketAddr, origin: &str, keys: &Keys) -> Result<(), String> {
    if listen.ip().is_loopback() || !keys.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{origin}: {listen} can be reached from other machines, and no API key is configured; set HOOKLEDGER_API_KEYS \
         (a good one: openssl rand -hex 32), or listen on 127.0.0.1"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(environment: &[(&str, &str)]) -> Result<Setup, String> {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        Setup::of(Config::load(config::Options::default(), environment).unwrap())
    }

    /// The configuration is a leaf, so it can't ask the others for their defaults.
    #[test]
    fn the_defaults_are_those_of_the_library() {
        let setup = of(&[]).unwrap();
        let api = ApiOptions { destinations: Destinations::default(), ..setup.api.clone() };
        assert_eq!(format!("{api:?}"), format!("{:?}", ApiOptions::default()));
        assert_eq!(format!("{:?}", setup.runtime), format!("{:?}", Options::default()));
        let own = Guard { own_address: Some(setup.config.listen), ..Guard::default() };
        let own = UreqSettings { guard: own, ..UreqSettings::default() };
        assert_eq!(format!("{:?}", setup.transport), format!("{own:?}"));
        assert!(setup.warnings.is_empty() && setup.api.keys.is_empty());
    }

    #[test]
    fn every_setting_arrives_where_it_belongs() {
        let setup = of(&[
            ("HOOKLEDGER_ALLOW_HTTP", "true"),
            ("HOOKLEDGER_API_KEYS", "one-key-of-24-characters,another-key-of-24-characters"),
            ("HOOKLEDGER_WEBHOOK_SECRET", "a-secret-of-24-characters"),
            ("HOOKLEDGER_WEBHOOK_SECRET_PREVIOUS", "its-elder-of-24-characters"),
            ("HOOKLEDGER_RETRY_SCHEDULE", "57s,58m"),
            ("HOOKLEDGER_MAX_RETRIES", "4"),
            ("HOOKLEDGER_TIMEOUT", "41s"),
            ("HOOKLEDGER_BACKOFF_BASE", "42ms"),
            ("HOOKLEDGER_BACKOFF_CAP", "43s"),
            ("HOOKLEDGER_WORKERS", "44"),
            ("HOOKLEDGER_PER_DESTINATION", "45"),
            ("HOOKLEDGER_BODY_LIMIT", "4600"),
            ("HOOKLEDGER_BODY_DEADLINE", "47s"),
            ("HOOKLEDGER_HEAD_DEADLINE", "48s"),
            ("HOOKLEDGER_CONNECTIONS", "49"),
            ("HOOKLEDGER_CONNECTIONS_PER_PEER", "52"),
            ("HOOKLEDGER_WRITE_DEADLINE", "53s"),
            ("HOOKLEDGER_RATE_LIMIT", "54"),
            ("HOOKLEDGER_PAUSE_AFTER", "55"),
            ("HOOKLEDGER_LONGEST_PAUSE", "56s"),
            ("HOOKLEDGER_PROGRESS_INTERVAL", "57s"),
            ("HOOKLEDGER_QUEUE", "50"),
            ("HOOKLEDGER_SHUTDOWN_GRACE", "51s"),
        ])
        .unwrap();
        let (api, runtime) = (&setup.api, &setup.runtime);
        let (engine, policy) = (&runtime.engine, &runtime.engine.policy);
        let secs = std::time::Duration::from_secs;
        assert!(setup.warnings.is_empty() && policy.allow_http && setup.transport.guard.allow_http);
        assert!(api.keys.admit(b"one-key-of-24-characters") && api.keys.admit(b"another-key-of-24-characters"));
        let secrets: Vec<_> = engine.global_secrets.iter().map(Secret::expose).collect();
        assert_eq!(secrets, ["a-secret-of-24-characters", "its-elder-of-24-characters"]);
        assert_eq!(policy.retry_schedule, [secs(57), secs(58 * 60)]);
        assert_eq!((policy.max_attempts, policy.timeout), (4, secs(41)));
        assert_eq!((policy.backoff.base, policy.backoff.cap), (secs(42) / 1000, secs(43)));
        assert_eq!((runtime.workers, api.body_bytes), (44, 4600));
        let pacing =
            Pacing { slots: 45, failures: Some(55), longest_pause: secs(56), rate: Some(Rate { per_second: 54 }) };
        assert_eq!((engine.pacing, engine.progress_interval), (pacing, secs(57)));
        assert_eq!((api.connections_per_peer, api.write_deadline), (Some(52), secs(53)));
        assert_eq!((api.body_deadline, api.head_deadline, api.connections), (secs(47), secs(48), 49));
        assert_eq!((runtime.queue, api.grace, runtime.grace), (50, secs(51), secs(51)));
    }

    #[test]
    fn where_deliveries_may_go_is_read_and_what_is_wrong_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, "no certificate").unwrap();
        let setup = of(&[
            ("HOOKLEDGER_ALLOW_HTTP", "true"),
            ("HOOKLEDGER_ALLOW_NETWORK", "10.1.0.0/16, fd00::/8"),
            ("HOOKLEDGER_DENY_NETWORK", "10.1.2.0/24"),
            ("HOOKLEDGER_PORTS", "443,9000-9001"),
            ("HOOKLEDGER_PROXY", "http://proxy.example:3128"),
        ])
        .unwrap();
        let UreqSettings { guard, proxy, .. } = &setup.transport;
        assert!(guard.allow_http && setup.runtime.engine.policy.allow_http && proxy.is_some());
        let may = |address: &str| guard.check_address(address.parse().unwrap()).is_ok();
        assert!(may("10.1.1.1:443") && may("[fd00::1]:443") && !may("10.1.2.1:443") && !may("10.2.0.1:443"));
        for (name, value) in [
            ("ALLOW_NETWORK", "10.0.0.0/33"),
            ("DENY_NETWORK", "example.com"),
            ("PORTS", "0-99999"),
            ("PROXY", "socks5://a"),
            ("CA_FILE", "/nowhere/ca.pem"),
            ("CA_FILE", file.to_str().unwrap()),
            ("CA_ONLY", "true"),
        ] {
            let name = format!("HOOKLEDGER_{name}");
            let refused = of(&[(&name, value)]).unwrap_err();
            assert!(refused.starts_with(&format!("{name}: ")), "{refused}");
        }
    }

    #[test]
    fn an_address_that_others_reach_needs_a_key() {
        for listen in ["0.0.0.0:4080", "[::]:4080", "192.0.2.1:80"] {
            let refused = of(&[("HOOKLEDGER_LISTEN", listen)]).unwrap_err();
            assert!(
                refused.starts_with("HOOKLEDGER_LISTEN: ") && refused.contains("set HOOKLEDGER_API_KEYS"),
                "{refused}"
            );
            assert!(of(&[("HOOKLEDGER_LISTEN", listen), ("HOOKLEDGER_API_KEYS", "a-key")]).is_ok());
            assert!(of(&[("HOOKLEDGER_LISTEN", listen), ("HOOKLEDGER_API_KEYS", "")]).is_err());
        }
        assert!(
            of(&[("HOOKLEDGER_LISTEN", "127.1.2.3:80")]).is_ok() && of(&[("HOOKLEDGER_LISTEN", "[::1]:80")]).is_ok()
        );
    }

    #[test]
    fn secrets_that_are_wrong_or_weak_are_spoken_of_and_not_shown() {
        let setup = of(&[("HOOKLEDGER_API_KEYS", "weak-1,weak-2"), ("HOOKLEDGER_WEBHOOK_SECRET", "weak-3")]).unwrap();
        let [keys, secret] = &setup.warnings[..] else { panic!("{:?}", setup.warnings) };
        assert!(keys.starts_with("HOOKLEDGER_API_KEYS: 2 of the keys can be guessed"), "{keys}");
        assert!(secret.starts_with("HOOKLEDGER_WEBHOOK_SECRET: the secret can be guessed"), "{secret}");
        assert!(!format!("{setup:?}").contains("weak-"), "{setup:?}");
        let [client] = &of(&[("HOOKLEDGER_API_KEY", "weak-4")]).unwrap().warnings[..] else { panic!("one warning") };
        assert!(
            client.starts_with("HOOKLEDGER_API_KEY is what clients present; this server asks for no key"),
            "{client}"
        );
        for keys in [",", "good,", " ", "must never", "sha256:must-never"] {
            let refused = of(&[("HOOKLEDGER_API_KEYS", keys)]).unwrap_err();
            assert!(refused.starts_with("HOOKLEDGER_API_KEYS: key ") && !refused.contains("must"), "{refused}");
        }
        let refused = of(&[("HOOKLEDGER_WEBHOOK_SECRET", "whsec_must-never")]).unwrap_err();
        assert!(refused.starts_with("HOOKLEDGER_WEBHOOK_SECRET: the secret begins with whsec_"), "{refused}");
        assert!(!refused.contains("must"), "{refused}");
    }
}
