//! The configuration, as an operator meets it: the real binary, its sources, what it prints, and whom it lets in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod processes;

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use processes::{Server, client, command};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::http::Response;

const KEY: &str = "must-never-be-shown-0123456789";
const SECOND_KEY: &str = "must-never-be-shown-either-0123456789";
const SECRET: &str = "whsec_bXVzdC1uZXZlci1iZS1zaG93bi1vZi1jb3Vyc2U=";

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let output = command().args(arguments).envs(environment.iter().copied()).output().unwrap();
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        assert!(!text.contains("must-never") && !text.contains(SECRET), "{text}");
    }
    output
}

/// What `hookledger config` prints.
fn printed(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = run(&[&["config"], arguments].concat(), environment);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs into a configuration error with every command that reads the configuration, and gives the message.
#[track_caller]
fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let said = |command: &str| {
        let output = run(&[&[command], arguments].concat(), environment);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{command}: {said}");
        assert!(said.starts_with("hookledger: ") && said.lines().count() == 1, "{said}");
        said
    };
    let (config, serve) = (said("config"), said("serve"));
    assert_eq!(config, serve);
    config
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hookledger.toml");
    fs::write(&path, text).unwrap();
    (directory, path)
}

/// The line of a setting, its spaces made one.
fn line(printed: &str, name: &str) -> String {
    let found = printed.lines().find(|line| line.split(' ').next() == Some(name)).expect("every setting has its line");
    found.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn flags_go_over_the_environment_over_the_file_over_the_defaults() {
    let (_directory, path) = file("listen = '127.0.0.1:1'\ntimeout = '41s'\nworkers = 11\n");
    let path = path.to_str().unwrap();
    let environment = [("HOOKLEDGER_TIMEOUT", "42s"), ("HOOKLEDGER_WORKERS", "12"), ("HOOKLEDGER_CONFIG", path)];
    let shown = printed(&["--workers", "13"], &environment);
    assert_eq!(line(&shown, "workers"), "workers = 13 # flag");
    assert_eq!(line(&shown, "timeout"), "timeout = \"42s\" # environment");
    assert_eq!(line(&shown, "listen"), "listen = \"127.0.0.1:1\" # file");
    assert_eq!(line(&shown, "queue"), "queue = 4096 # default");
    let shown =
        printed(&["--config", path, "--json"], &[("HOOKLEDGER_CONFIG", "/nowhere"), ("HOOKLEDGER_ALLOW_HTTP", "1")]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["workers"], json!({"value": 11, "source": "file", "origin": format!("workers in {path}")}));
    assert_eq!(shown["allow_http"], json!({"value": true, "source": "environment", "origin": "HOOKLEDGER_ALLOW_HTTP"}));
    assert_eq!(shown["queue"], json!({"value": 4096, "source": "default", "origin": null}));
}

#[test]
fn errors_name_the_source_and_end_with_2() {
    let (_directory, path) = file("# ours\nbody_limt = 3\n");
    let path = path.to_str().unwrap();
    let said = refused(&["--config", path], &[]);
    assert_eq!(
        said,
        format!("hookledger: the setting 'body_limt' in {path}, line 2 is not known; did you mean body_limit?\n")
    );
    let said = refused(&[], &[("HOOKLEDGER_WEBHOOK_SECRETS", SECRET)]);
    assert!(
        said.contains("HOOKLEDGER_WEBHOOK_SECRETS is not known; did you mean HOOKLEDGER_WEBHOOK_SECRET?"),
        "{said}"
    );
    assert!(
        refused(&["--timeout", "1s"], &[]).contains("--timeout: '1s' is not a duration such as 10s or 2m, 5s to 5m")
    );
    assert!(refused(&[], &[("HOOKLEDGER_QUEUE", "no")]).contains("HOOKLEDGER_QUEUE: 'no' is not a whole number"));
    assert!(refused(&[], &[("HOOKLEDGER_API_KEYS", "must never")]).contains("HOOKLEDGER_API_KEYS: key 1 has other"));
    assert!(refused(&["--config", "/nowhere"], &[]).contains("--config: '/nowhere' can't be read"));
    let (_directory, unquoted) = file(&format!("webhook_secret = {SECRET}\n"));
    assert!(refused(&["--config", unquoted.to_str().unwrap()], &[]).contains("hookledger.toml, line 1: "));
    // An unknown flag is the argument parser's to refuse; there is none for a secret.
    for flag in ["--body-limt=3", "--api-keys=x", "--webhook-secret=x"] {
        assert_eq!(run(&["serve", flag], &[]).status.code(), Some(2), "{flag}");
    }
    let output = run(&["replay"], &[("HOOKLEDGER_DATADIR", "x")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean HOOKLEDGER_DATA_DIR?"));
}

#[test]
fn what_is_printed_reads_as_the_same_configuration() {
    let keys = format!("{KEY},{SECOND_KEY}");
    let given = [
        ("HOOKLEDGER_API_KEYS", &*keys),
        ("HOOKLEDGER_WEBHOOK_SECRET", SECRET),
        ("HOOKLEDGER_WEBHOOK_SECRET_PREVIOUS", SECRET),
        ("HOOKLEDGER_RETRY_SCHEDULE", "5s, 1m30s,2h"),
        ("HOOKLEDGER_DATA_DIR", "/tmp/a \"quoted\" \\ place"),
        ("HOOKLEDGER_BODY_LIMIT", "2000"),
        ("HOOKLEDGER_BACKOFF_BASE", "1500ms"),
    ];
    let bare = printed(&[], &[]);
    assert!(bare.contains("api_keys = []") && bare.contains("webhook_secret = \"\""), "{bare}");
    for (arguments, environment) in [(&[][..], &[][..]), (&["--dev", "--listen", "0.0.0.0:80"], &given)] {
        let shown = printed(arguments, environment);
        let values: toml::Table = toml::from_str(&shown).unwrap();
        assert_eq!(values["api_keys"].as_array().unwrap().len(), if environment.is_empty() { 0 } else { 2 });
        let masked = "[\"********\", \"********\"]";
        let filled = shown.replace(masked, &format!("['{KEY}', '{SECOND_KEY}']"));
        let filled = filled.replace("\"********\"", &format!("'{SECRET}'"));
        let (_directory, path) = file(&filled);
        let again = printed(&["--config", path.to_str().unwrap()], &[]);
        let again: toml::Table = toml::from_str(&again).unwrap();
        assert_eq!(again, values);
    }
    let (_directory, path) = file(&printed(&[], &given));
    let said = refused(&["--config", path.to_str().unwrap()], &[]);
    assert!(said.contains("******** is what a secret is shown as"), "{said}");
}

#[test]
fn the_page_lists_every_setting_with_its_default() {
    let page = fs::read_to_string("docs/configuration.md").unwrap();
    let shown: Value = serde_json::from_str(&printed(&["--json"], &[])).unwrap();
    let mut rows = page.lines().filter(|line| line.starts_with("| `")).map(|row| row.split('|').map(str::trim));
    for (name, setting) in shown.as_object().unwrap() {
        let variable = format!("`HOOKLEDGER_{}`", name.to_uppercase());
        let (key, flag) = (format!("`{name}`"), format!("`--{}`", name.replace('_', "-")));
        let secret = ["api_keys", "webhook_secret", "webhook_secret_previous", "api_key"].contains(&&**name);
        let default = match &setting["value"] {
            _ if secret => "none".to_owned(),
            Value::String(text) if text.is_empty() => "none".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let flag = if secret { "—".to_owned() } else { flag };
        let row = rows.clone().find(|row| row.clone().nth(1) == Some(&key)).expect(name);
        assert_eq!(row.skip(1).take(4).collect::<Vec<_>>(), [&*key, &*flag, &*variable, &*default], "{name}");
    }
    assert!(rows.all(|mut row| row.nth(1).is_some_and(|key| {
        let name = key.trim_matches('`');
        name == "config" || shown.get(name).or(shown.get(name.trim_end_matches("_file"))).is_some()
    })));
}

/// A server on every address, with keys.
fn serve_openly(directory: &TempDir, environment: &[(&str, &str)]) -> Server {
    let mut serve = command();
    serve.args(["serve", "--listen", "0.0.0.0:0", "--data-dir"]).arg(directory.path());
    Server::run(serve.envs(environment.iter().copied()))
}

fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response<ureq::Body> {
    let url = format!("http://127.0.0.1:{}{path}", server.address.port());
    let request = headers.iter().fold(client().get(url), |request, (name, value)| request.header(*name, *value));
    request.call().unwrap()
}

#[test]
fn beyond_loopback_a_key_is_required() {
    let said = refused(&["--listen", "0.0.0.0:0"], &[]);
    assert!(said.contains("--listen: 0.0.0.0:0 can be reached from other machines"), "{said}");
    assert!(said.contains("set HOOKLEDGER_API_KEYS"), "{said}");

    let directory = tempfile::tempdir().unwrap();
    let keys = format!("{KEY},{SECOND_KEY}");
    let server = serve_openly(&directory, &[("HOOKLEDGER_API_KEYS", &keys)]);
    for key in [KEY, SECOND_KEY] {
        let right = ("Authorization", &*format!("Bearer {key}"));
        assert_eq!(get(&server, "/v1/batches", &[right, ("Host", "hooks.example")]).status(), 200);
    }
    let missing = get(&server, "/v1/batches", &[("Host", "hooks.example")]);
    assert_eq!((missing.status().as_u16(), &missing.headers()["www-authenticate"]), (401, &"Bearer".parse().unwrap()));
    let wrong = get(&server, "/v1/batches", &[("Authorization", "Bearer nonsense")]);
    let challenge = "Bearer error=\"invalid_token\"";
    assert_eq!((wrong.status().as_u16(), &wrong.headers()["www-authenticate"]), (401, &challenge.parse().unwrap()));
    for path in ["/health", "/ready"] {
        assert_eq!(get(&server, path, &[("Host", "hooks.example")]).status(), 200);
    }
    let logged = server.logged().join("\n");
    assert!(!logged.contains("must-never"), "{logged}");
    assert!(server.terminate().success());
}

#[test]
fn a_key_can_be_in_a_file_and_as_its_hash() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    // The hash of "third".
    let hash = "sha256:b1e99324505bd32da0e1f85dcf5e19a09db0481e8a15f62c41eb320304a8e927";
    fs::write(&keys, format!("{hash}\n{KEY}\n")).unwrap();
    let server = serve_openly(&directory, &[("HOOKLEDGER_API_KEYS_FILE", keys.to_str().unwrap())]);
    for (key, status) in [("third", 200), (KEY, 200), (hash, 401)] {
        assert_eq!(
            get(&server, "/v1/batches", &[("Authorization", &format!("Bearer {key}"))]).status(),
            status,
            "{key}"
        );
    }
}

#[test]
fn what_is_probably_not_meant_is_said_and_allowed() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, path) = file(&format!("api_keys = ['must-never', '{KEY}']"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let output = run(&["config", "--config", path.to_str().unwrap()], &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && said.contains("chmod 600") && said.contains("1 of the keys can be guessed"),
        "{said}"
    );
}

/// What the guard would refuse at every attempt is refused when it is registered.
#[test]
fn a_webhook_that_could_never_be_delivered_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut serve = command();
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--allow-network", "10.0.0.0/8", "--data-dir"])
        .arg(directory.path());
    let server = Server::run(&mut serve);
    let register = |url: &str| {
        let body = serde_json::json!({"webhook": {"url": url}});
        let mut answer = client().post(server.url("/v1/batches")).send_json(body).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json::<Value>().unwrap())
    };
    for (url, why) in [
        ("https://127.0.0.1/", "loopback"),
        ("https://192.168.1.1/hook", "private"),
        ("https://[::ffff:127.0.0.1]/", "loopback"),
        ("https://2130706433/", "loopback"),
        ("https://localhost/", "loopback"),
        ("https://a.example:9000/", "port 9000"),
        ("http://a.example/", "https"),
    ] {
        let (status, body) = register(url);
        let (code, said) = (&body["error"]["code"], body["detail"].as_str().unwrap());
        assert_eq!((status, code.as_str(), &body["error"]["param"]), (422, Some("invalid_url"), &"webhook.url".into()));
        assert!(said.contains(why), "{url}: {said}");
    }
    assert_eq!(register("https://10.1.2.3/").0, 200);
    assert_eq!(register("https://a.example/hook?x=1").0, 200);
}
