use super::*;

const TOKEN: &str = "must-never-be-shown-anywhere";

fn load(flags: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let command = <Options as clap::Args>::augment_args(clap::Command::new("x"));
    let flags = command.try_get_matches_from([&["x"], flags].concat()).unwrap();
    let flags = <Options as clap::FromArgMatches>::from_arg_matches(&flags).unwrap();
    Config::load(flags, environment.iter().map(|(name, value)| (name.into(), value.into())))
}

fn file(text: &str, mode: u32) -> (tempfile::TempDir, String) {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hookledger.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

fn of_file(text: &str) -> Result<Config, ConfigError> {
    let (_directory, path) = file(text, 0o600);
    load(&[], &[("HOOKLEDGER_CONFIG", &path)])
}

#[track_caller]
fn fault(loaded: Result<Config, ConfigError>) -> String {
    let said = loaded.unwrap_err().to_string();
    assert!(!said.contains(TOKEN), "{said}");
    said
}

fn source(config: &Config, name: &str) -> Source {
    config.lines.iter().find(|line| line.name == name).unwrap().source
}

#[test]
fn every_setting_has_its_line_and_its_default_in_the_help() {
    let config = load(&[], &[]).unwrap();
    let named: Vec<_> = config.lines.iter().map(|line| line.name).collect();
    let files = ["config", "api_keys_file", "webhook_secret_file", "webhook_secret_previous_file", "api_key_file"];
    let expected: Vec<_> = options::names().iter().filter(|name| !files.contains(name)).copied().collect();
    assert_eq!(named, expected);
    let command = <Options as clap::Args>::augment_args(clap::Command::new("x"));
    let without_flag = ["api_keys", "webhook_secret", "webhook_secret_previous", "server", "api_key"];
    for line in config.lines.iter().filter(|line| !without_flag.contains(&line.name)) {
        let flag = command.get_arguments().find(|argument| argument.get_id() == line.name).unwrap();
        let default = line.value.as_str().map_or_else(|| line.value.to_string(), ToOwned::to_owned);
        let default = if default.is_empty() { "none".to_owned() } else { default };
        let help = flag.get_help().unwrap().to_string();
        assert!(help.ends_with(&format!("[default: {default}]")), "{help} {default}");
        assert_eq!(line.source, Source::Default);
    }
}

#[test]
fn flags_go_over_the_environment_and_that_over_the_file() {
    let (_directory, path) = file("workers = 1\nqueue = 1\nconnections = 1\nca_only = true", 0o644);
    let environment = [("HOOKLEDGER_WORKERS", "2"), ("HOOKLEDGER_QUEUE", "2"), ("PATH", "/bin")];
    let config = load(&["--config", &path, "--workers", "3", "--ca-only=false"], &environment).unwrap();
    assert_eq!((config.workers, config.queue, config.connections, config.ca_only), (3, 2, 1, false));
    let sources = ["workers", "queue", "connections", "ca_only", "timeout"].map(|name| source(&config, name));
    assert_eq!(sources, [Source::Flag, Source::Environment, Source::File, Source::Flag, Source::Default]);
    assert_eq!(config.origin("connections"), format!("connections in {path}"));
    assert!(config.warnings.is_empty(), "no secret, no warning: {:?}", config.warnings);
    assert!(load(&["--ca-only"], &[]).unwrap().ca_only);
}

#[test]
fn development_mode_is_a_flag_and_nothing_else() {
    assert!(load(&["--dev"], &[]).unwrap().dev && !load(&[], &[]).unwrap().dev);
    let said = fault(load(&[], &[("HOOKLEDGER_DEV", "false")]));
    assert_eq!(
        said,
        "HOOKLEDGER_DEV: development mode is only for the command line (--dev), so that it is never left on"
    );
    let said = fault(of_file("workers = 1\ndev = true"));
    assert!(said.starts_with("'dev' in /") && said.contains(", line 2: development mode is only for"), "{said}");
}

#[test]
fn unknown_names_are_refused_with_the_one_that_was_meant() {
    let said = fault(of_file(&format!("# a comment\nworkers = 3\n\nwebhook_secert = '{TOKEN}'\n")));
    assert!(said.starts_with("the setting 'webhook_secert' in /"), "{said}");
    assert!(said.ends_with(", line 4 is not known; did you mean webhook_secret?"), "{said}");
    assert!(fault(of_file("zzz = 1")).ends_with("is not known; `hookledger config` prints every setting"));
    assert!(fault(of_file("config = 'other.toml'")).contains("'config'"), "a file names no other");
    assert!(fault(of_file("[section]\nworkers = 1")).contains("'section'"));
    let said = fault(load(&[], &[("HOOKLEDGER_WEBHOOK_SECERT", TOKEN)]));
    let meant =
        "the environment variable HOOKLEDGER_WEBHOOK_SECERT is not known; did you mean HOOKLEDGER_WEBHOOK_SECRET?";
    assert_eq!(said, meant);
    for variable in ["HOOKLEDGER_", "HOOKLEDGER_workers", "HOOKLEDGER_LISTEN_PORT", "HOOKLEDGER_LOG"] {
        fault(load(&[], &[(variable, "1")]));
    }
}

#[test]
fn what_kubernetes_sets_for_a_service_of_our_name_is_let_be() {
    let of_a_service = [
        ("HOOKLEDGER_SERVICE_HOST", "10.0.0.11"),
        ("HOOKLEDGER_SERVICE_PORT", "4080"),
        ("HOOKLEDGER_SERVICE_PORT_HTTP", "4080"),
        ("HOOKLEDGER_SERVICE_PORT_HTTP_METRICS", "9090"),
        ("HOOKLEDGER_PORT", "tcp://10.0.0.11:4080"),
        ("HOOKLEDGER_PORT_4080_TCP", "tcp://10.0.0.11:4080"),
        ("HOOKLEDGER_PORT_4080_TCP_ADDR", "10.0.0.11"),
        ("HOOKLEDGER_PORT_4080_TCP_PORT", "4080"),
        ("HOOKLEDGER_PORT_4080_TCP_PROTO", "tcp"),
        ("HOOKLEDGER_PORT_53_UDP", "udp://[fd00::11]:53"),
        ("HOOKLEDGER_API_SERVICE_PORT", "80"),
        ("HOOKLEDGER_API_SERVICE_HOST", "10.0.0.12"),
        ("HOOKLEDGER_API_PORT", "tcp://10.0.0.12:80"),
        ("HOOKLEDGER_API_PORT_80_TCP_PROTO", "tcp"),
    ];
    let config = load(&[], &of_a_service).unwrap();
    assert!(config.lines.iter().all(|line| line.source == Source::Default));

    for (variable, value) in [
        ("HOOKLEDGER_PORT", "443"),
        ("HOOKLEDGER_PORT", "443,8443"),
        ("HOOKLEDGER_PORT", "any"),
        ("HOOKLEDGER_PORT", "http://10.0.0.11:443"),
        ("HOOKLEDGER_PORT", "tcp://receiver.example"),
        ("HOOKLEDGER_PORTS_", "443"),
        ("HOOKLEDGER_PORTSS", "443"),
        ("HOOKLEDGER_PORT_", "443"),
        ("HOOKLEDGER_PORT_S", "443"),
    ] {
        let said = fault(load(&[], &[(variable, value)]));
        let meant = format!("the environment variable {variable} is not known; did you mean HOOKLEDGER_PORTS?");
        assert_eq!(said, meant, "{value}");
    }
    for (variable, value) in [
        ("HOOKLEDGER_SERVICE_HOST", "hookledger"),
        ("HOOKLEDGER_SERVICE_PORT", "any"),
        ("HOOKLEDGER_SERVICE_NAME", "a"),
        ("HOOKLEDGER_API_PORT", "80"),
        ("HOOKLEDGER_PORT_X_TCP", "tcp://10.0.0.11:80"),
        ("HOOKLEDGER_PORT_80_TCP_PORT", "81"),
        ("HOOKLEDGER_PORT_80_TCP_PROTO", "udp"),
        ("HOOKLEDGER_PORT_80_TCP_HOST", "10.0.0.11"),
        ("HOOKLEDGER_PROXY_PORT_", "3128"),
    ] {
        fault(load(&[], &[(variable, value)]));
    }
}

#[test]
fn a_value_that_is_not_allowed_names_its_source_and_what_is() {
    assert_eq!(
        fault(load(&[], &[("HOOKLEDGER_TIMEOUT", "2s")])),
        "HOOKLEDGER_TIMEOUT: '2s' is not a duration such as 10s or 2m, 5s to 5m"
    );
    assert_eq!(fault(load(&["--max-retries", "11"], &[])), "--max-retries: '11' is not a whole number, 1 to 10");
    let said = fault(of_file("workers = 4096"));
    assert!(said.starts_with("workers in /") && said.ends_with(": '4096' is not a whole number, 1 to 2048"), "{said}");
    assert_eq!(
        fault(load(&["--backoff-base", "2s"], &[("HOOKLEDGER_BACKOFF_CAP", "1s")])),
        "--backoff-base: '2s' is not at most backoff_cap, which is 1s"
    );
    assert!(load(&["--listen", "localhost:80"], &[]).is_err() && load(&[], &[("HOOKLEDGER_LISTEN", "")]).is_err());
}

#[test]
fn a_file_that_is_no_toml_names_the_line_and_shows_nothing_of_it() {
    for (text, line) in [
        (format!("workers = 1\nwebhook_secret = {TOKEN}"), 2),
        (format!("webhook_secret = '{TOKEN}"), 1),
        (format!("webhook_secret = ['{TOKEN}']"), 1),
        (format!("\napi_keys = ['{TOKEN}', 1]"), 2),
        (format!("api_keys = ['{TOKEN}', '']"), 1),
        (format!("webhook_secret = '{TOKEN}'\nwebhook_secret = '{TOKEN}'"), 2),
        ("workers = 1.5".into(), 1),
        ("workers = 1\nworkers = [1]".into(), 2),
        ("workers = { a = 1 }".into(), 1),
    ] {
        let said = fault(of_file(&text));
        assert!(said.contains(&format!("hookledger.toml, line {line}: ")), "{text}: {said}");
    }
    assert!(
        fault(load(&["--config", "/nowhere/x.toml"], &[])).starts_with("--config: '/nowhere/x.toml' can't be read: ")
    );
    let (_directory, path) = file(&"#".repeat(300_000), 0o600);
    assert!(fault(load(&["--config", &path], &[])).ends_with("it is longer than 256 KiB"));
}

#[test]
fn a_secret_that_is_no_text_is_not_shown() {
    for value in [
        "4711081512345",
        "-4711081512345",
        "4711081512345.5",
        "4711081512345471108151234547110815123454711081512345",
        "0x4711081512345",
        "4711081512345abc",
        "[4711081512345]",
        "{ a = 4711081512345 }",
        "4711-08-15T12:34:50",
        "4711081512345 # 4711081512345",
        "'x' 4711081512345",
        "true",
    ] {
        for name in ["webhook_secret", "api_keys"] {
            let said = fault(of_file(&format!("workers = 1\n{name} = {value}")));
            assert!(said.contains("hookledger.toml, line 2: "), "{name} = {value}: {said}");
            let (_, said) = said.split_once("line 2: ").unwrap();
            assert!(!["4711", "true", "12:34"].iter().any(|part| said.contains(part)), "{name} = {value}: {said}");
        }
    }
    let said = fault(of_file("webhook_secret = 1"));
    assert!(said.ends_with("hookledger.toml, line 1: this setting takes a text, in quotes"), "{said}");
}

#[test]
fn keys_and_secret_are_of_one_source() {
    let texts = |config: &Config| config.api_keys.iter().map(|key| key.expose().to_owned()).collect::<Vec<_>>();
    let config = of_file("api_keys = ['first', 'second']\nwebhook_secret = 'a secret'").unwrap();
    assert_eq!(
        (texts(&config), config.webhook_secret.as_ref().unwrap().expose()),
        (vec!["first".into(), "second".into()], "a secret")
    );
    let shown = |name: &str| config.lines.iter().find(|line| line.name == name).unwrap().value.to_string();
    assert_eq!(
        (shown("api_keys"), shown("webhook_secret")),
        (r#"["********", "********"]"#.into(), r#""********""#.into())
    );

    let (_directory, path) = file("first\n second ,third\r\n", 0o600);
    let config = load(&[], &[("HOOKLEDGER_API_KEYS_FILE", &path), ("HOOKLEDGER_WEBHOOK_SECRET_FILE", &path)]).unwrap();
    assert_eq!(texts(&config), ["first", "second", "third"]);
    assert_eq!(config.webhook_secret.unwrap().expose(), "first\n second ,third", "only the last line's end is cut");
    let twice = fault(load(&[], &[("HOOKLEDGER_API_KEYS_FILE", &path), ("HOOKLEDGER_API_KEYS", TOKEN)]));
    assert_eq!(twice, "HOOKLEDGER_API_KEYS: it is given twice: HOOKLEDGER_API_KEYS_FILE is there, too");
    let config = load(&["--api-keys-file", &path], &[("HOOKLEDGER_API_KEYS", "other")]).unwrap();
    assert_eq!((texts(&config).len(), config.origin("api_keys")), (3, "--api-keys-file"));

    let (_directory, empty) = file("\n", 0o600);
    for path in [&*empty, "/nowhere", ""] {
        let said = fault(load(&[], &[("HOOKLEDGER_API_KEYS_FILE", path)]));
        assert!(said.starts_with("HOOKLEDGER_API_KEYS_FILE: "), "{said}");
    }
    let masked = fault(load(&[], &[("HOOKLEDGER_WEBHOOK_SECRET", MASK)]));
    assert!(masked.contains("is what a secret is shown as"), "{masked}");
}

#[test]
fn a_previous_secret_comes_after_another() {
    let config = of_file("webhook_secret = 'new'\nwebhook_secret_previous = 'old'").unwrap();
    assert_eq!(config.webhook_secret_previous.as_ref().unwrap().expose(), "old");
    let shown = config.lines.iter().find(|line| line.name == "webhook_secret_previous").unwrap();
    assert_eq!(shown.value.to_string(), r#""********""#);
    let (_directory, path) = file("old\n", 0o600);
    let both = [("HOOKLEDGER_WEBHOOK_SECRET", "new"), ("HOOKLEDGER_WEBHOOK_SECRET_PREVIOUS_FILE", &path)];
    assert_eq!(load(&[], &both).unwrap().webhook_secret_previous.unwrap().expose(), "old");
    let said = fault(load(&[], &[("HOOKLEDGER_WEBHOOK_SECRET_PREVIOUS", TOKEN)]));
    assert_eq!(said, "HOOKLEDGER_WEBHOOK_SECRET_PREVIOUS: there is no webhook_secret that took its place");
}

#[test]
fn a_schedule_says_how_many_attempts_there_are() {
    let schedule = ("HOOKLEDGER_RETRY_SCHEDULE", "5s,5m,30m,2h,5h,10h");
    let config = load(&[], &[schedule]).unwrap();
    assert_eq!((config.retry_schedule.len(), config.retry_schedule[1].as_secs(), config.max_retries), (6, 300, 7));
    let line = config.lines.iter().find(|line| line.name == "max_retries").unwrap();
    assert_eq!((line.value.as_integer(), line.source), (Some(7), Source::Default));
    assert_eq!(load(&["--max-retries", "3"], &[schedule]).unwrap().max_retries, 3, "unless it is said");
    assert_eq!(load(&[], &[("HOOKLEDGER_RETRY_SCHEDULE", "")]).unwrap().max_retries, 3);
}

#[test]
fn an_empty_secret_is_none_and_says_so_where_it_hides_another() {
    let (_directory, path) = file("api_keys = ['first']\nwebhook_secret = 'x'", 0o600);
    let empty = [("HOOKLEDGER_API_KEYS", ""), ("HOOKLEDGER_WEBHOOK_SECRET", "")];
    let config = load(&["--config", &path], &empty).unwrap();
    assert!(config.api_keys.is_empty() && config.webhook_secret.is_none());
    assert_eq!(source(&config, "api_keys"), Source::Environment);
    assert_eq!(config.warnings[0], "HOOKLEDGER_API_KEYS is empty, and takes the place of what another source gives");
    assert_eq!(config.warnings.len(), 2);
    assert!(load(&[], &empty).unwrap().warnings.is_empty());
    let config = of_file("api_keys = []\nwebhook_secret = ''").unwrap();
    assert!(config.api_keys.is_empty() && config.webhook_secret.is_none() && config.warnings.is_empty());
}

#[test]
fn secrets_that_everybody_can_read_are_warned_of() {
    let hash = format!("sha256:{}", "0".repeat(64));
    for (text, mode, warned) in [
        ("api_keys = 'x'".to_owned(), 0o644, true),
        ("webhook_secret = 'x'".to_owned(), 0o604, true),
        ("webhook_secret = 'x'".to_owned(), 0o640, false),
        ("webhook_secret = ''\nworkers = 3".to_owned(), 0o644, false),
        (format!("api_keys = ['{hash}']"), 0o644, false),
        (format!("api_keys = ['{hash}', 'x']"), 0o644, true),
    ] {
        let (_directory, path) = file(&text, mode);
        let config = load(&["--config", &path], &[]).unwrap();
        assert_eq!(
            config.warnings.iter().any(|text| text.contains("chmod 600")),
            warned,
            "{text} {:?}",
            config.warnings
        );
    }
    for (setting, text, mode, warned) in [
        ("webhook_secret", "x".to_owned(), 0o644, true),
        ("webhook_secret", "x".to_owned(), 0o640, false),
        ("webhook_secret", "sha256:x".to_owned(), 0o604, true),
        ("api_keys", format!("{hash}\nx\n"), 0o644, true),
        ("api_keys", format!("{hash}\n"), 0o644, false),
    ] {
        let (_directory, path) = file(&text, mode);
        let config = load(&[], &[(&format!("HOOKLEDGER_{}_FILE", setting.to_uppercase()), &path)]).unwrap();
        let warning = format!("{path} holds secrets, and everybody on this machine can read it: chmod 600 {path}");
        assert_eq!(config.warnings.contains(&warning), warned, "{setting} {text} {:?}", config.warnings);
    }
}
