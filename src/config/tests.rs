//! The configuration as operators meet it: what wins, what is refused and in which words.

use super::*;
use crate::limits::Rate;

const MACHINE: Machine = Machine {
    cores: 4,
    descriptors_max: None,
    memory_max: None,
    inherited: Inherited { main: None, plain: None },
};

/// What was given, in the order of its weight.
#[derive(Default)]
struct Input<'a> {
    flags: &'a [(&'static str, &'a str)],
    variables: &'a [(&'a str, &'a str)],
    file: &'a str,
}

fn load_on(machine: Machine, input: Input<'_>) -> Result<Config, String> {
    let mut sources = Sources::default();
    for (name, text) in input.flags {
        sources.add_flag(name, (*text).into());
    }
    let variables = input.variables.iter().map(|(name, value)| (name.into(), value.into()));
    let loaded = sources
        .add_environment(variables)
        .and_then(|_| sources.add_toml(input.file, "hub.toml"))
        .and_then(|()| Config::load(&sources, machine));
    loaded.map_err(|error| error.to_string())
}

fn load(input: Input<'_>) -> Result<Config, String> {
    load_on(MACHINE, input)
}

fn flags(flags: &[(&'static str, &str)]) -> Result<Config, String> {
    load(Input { flags, ..Input::default() })
}

fn variables(variables: &[(&str, &str)]) -> Result<Config, String> {
    load(Input { variables, ..Input::default() })
}

fn file(file: &str) -> Result<Config, String> {
    load(Input { file, ..Input::default() })
}

#[test]
fn nothing_given_is_a_sound_configuration() {
    let config = load(Input::default()).expect("the defaults are sound");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!((config.shards, config.pinned, config.insecure), (3, true, false));
    assert_eq!(config.accept, Accept::Journaled);
    assert_eq!(config.data_dir, PathBuf::from("data"));
    assert_eq!(config.origins.text(), "http://localhost:3000");
    assert_eq!((config.log.as_str(), config.log_format), ("info", LogFormat::Auto));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.warnings, [""; 0]);
    let small = load_on(Machine { cores: 1, ..MACHINE }, Input::default());
    assert_eq!(small.map(|config| config.shards), Ok(1));
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let config = load(Input {
        flags: &[("write_wait", "1s")],
        variables: &[("HUB_WRITE_WAIT", "2s"), ("HUB_PONG_WAIT", "2m")],
        file: "write_wait = \"3s\"\npong_wait = \"3m\"\nping_period = 50\nshards = 2",
    });
    let config = config.expect("sound");
    let limits = &config.limits;
    assert_eq!((limits.write_wait, limits.pong_wait), (1_000, 120_000));
    assert_eq!((limits.ping_period, config.shards), (50_000, 2));
}

#[test]
fn no_secret_of_a_configuration_is_shown_in_any_form() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("a text path").to_owned()
    };
    let signed = rcgen::generate_simple_self_signed(["hub".into()]).expect("a certificate");
    let (certificate, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
    let secret = "canary-secret-of-the-hub-thirty-two-bytes";
    let digest = "5e".repeat(32);
    let (certificate, key_file) = (file("certificate", &certificate), file("key", &key));
    let keys = file("keys", &format!("billing say {digest}\n"));
    let given = [
        ("HUB_JWT_SECRET", secret),
        ("DATABASE_URL", "postgresql://hub:canary-password@db/hub"),
        ("HUB_TLS_CERTIFICATE", &certificate),
        ("HUB_TLS_KEY", &key_file),
        ("HUB_API_KEYS_FILE", &keys),
    ];
    let mut sources = Sources::default();
    let all = given.iter().map(|(name, value)| (name.into(), value.into()));
    sources.add_environment(all).expect("sound");
    let config = Config::load(&sources, MACHINE).expect("sound");
    let place = DataLocation::load(&sources).expect("sound");
    let by_file = variables(&[("HUB_JWT_SECRET_FILE", &file("secret", secret))]).expect("sound");
    let shown = format!("{sources:?}{config:?}{config:#?}{config}{place:?}{by_file:?}{by_file}");
    // The text of a key is in lines; those of its middle are nothing else's.
    let of_key = key.lines().nth(1).expect("a line");
    for hidden in ["canary", "contents", &digest, of_key] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
    for (name, value) in given {
        let torn = format!("{value}?canary=x@y");
        let error = variables(&[(name, &torn), ("HUB_JWT_SECRET_FILE", secret)]);
        let error = error.expect_err("they contradict each other, or there is no such file");
        assert!(!error.contains("canary-"), "{error}");
    }
}

#[test]
fn port_sets_the_port_unless_an_address_was_given_as_strongly() {
    let listen = |input| load(input).map(|config| config.listen.to_string());
    let variables = &[("PORT", "9000")][..];
    let port = Input { variables, ..Input::default() };
    assert_eq!(listen(port), Ok("127.0.0.1:9000".into()));
    let port = Input { variables, file: "listen = \"127.0.0.2:1\"", ..Input::default() };
    assert_eq!(listen(port), Ok("127.0.0.2:9000".into()));
    let port = Input { variables, flags: &[("listen", "[::1]:1")], ..Input::default() };
    assert_eq!(listen(port), Ok("[::1]:1".into()));
    let both = [("PORT", "9000"), ("HUB_LISTEN", "localhost:2")];
    let port = Input { variables: &both, ..Input::default() };
    assert_eq!(listen(port), Ok("127.0.0.1:2".into()));
}

#[test]
fn an_error_names_what_was_given_where_and_what_was_expected() {
    for (result, expected) in [
        (
            flags(&[("write_wait", "ten")]),
            "--write-wait: `ten` is not a time such as 250ms, 10s or 5m",
        ),
        (
            variables(&[("HUB_WRITE_WAIT", "1ms")]),
            "HUB_WRITE_WAIT: 1ms is out of range: 100ms to 1h",
        ),
        (
            file("message_rate = \"fast\""),
            "hub.toml: message_rate: `fast` is not a rate such as 50/100 (per second/burst) or off",
        ),
        (flags(&[("ping_period", "60s")]), "--ping-period: must be below pong_wait"),
        (flags(&[("pong_wait", "54s")]), "ping_period: must be below pong_wait"),
        (
            flags(&[("listen", "8080")]),
            "--listen: `8080` is not an address and port such as 127.0.0.1:8080",
        ),
        (variables(&[("PORT", "x")]), "PORT: `x` is not a port such as 8080"),
        (flags(&[("shards", "0")]), "--shards: `0` is not a number of threads from 1 to 1024"),
        (variables(&[("HUB_INSECURE", "si")]), "HUB_INSECURE: `si` is not true or false"),
        (
            variables(&[("HUB_ORIGINS", "*")]),
            "HUB_ORIGINS: `*` is not an origin such as https://hub.example or http://localhost:3000",
        ),
        (flags(&[("log", "=")]), "--log: `=` is not a filter such as info or cpi_hub=debug"),
        (flags(&[("log_format", "xml")]), "--log-format: `xml` is not auto, text or json"),
        (flags(&[("accept", "now")]), "--accept: `now` is not journaled or stored"),
        (
            variables(&[("HUB_LISTEM", "x")]),
            "HUB_LISTEM: there is no such setting; did you mean HUB_LISTEN?",
        ),
        (
            variables(&[("HUB_PORT", "80")]),
            "HUB_PORT: there is no such setting; did you mean PORT?",
        ),
        (
            variables(&[("HUB_JWT_SECRETS", "x")]),
            "HUB_JWT_SECRETS: there is no such setting; `cpi-hub --help` lists all",
        ),
        (
            file("pong_wiat = 1"),
            "hub.toml: pong_wiat: there is no such key; did you mean pong_wait?",
        ),
        (file("[listen]\nport = 1"), "hub.toml: listen: a plain value was expected, not table"),
    ] {
        let error = result.map(|_| ()).expect_err(expected);
        assert_eq!(error, expected);
        assert!(!error.contains('\n'));
    }
    let broken = file("shards = 1\nwrite_wait = = 2").expect_err("no TOML");
    assert!(broken.starts_with("hub.toml: line 2: "), "{broken}");
    assert!(!broken.contains('\n'), "{broken}");
}

#[test]
fn an_open_address_needs_a_word_or_a_secret() {
    for open in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"] {
        let error = flags(&[("listen", open)]).map(|_| ()).expect_err(open);
        assert!(error.starts_with("--listen: ") && error.contains("--insecure"), "{error}");
        let config = flags(&[("listen", open), ("insecure", "true")]).expect(open);
        assert!(config.open_at().is_some());
        let secret = "x".repeat(32);
        let variables = [("HUB_JWT_SECRET", &*secret), ("HUB_LISTEN", open)];
        assert_eq!(self::variables(&variables).map(|it| it.open_at()), Ok(None), "{open}");
    }
    assert!(flags(&[("listen", "127.1.2.3:0")]).is_ok());
}

#[test]
fn variables_that_only_look_like_ours_are_left_alone() {
    let config = variables(&[
        ("HUB_SERVICE_HOST", "10.0.0.1"),
        ("HUB_PORT", "tcp://10.0.0.1:80"),
        ("HUB_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("HUB_TEST_DATABASE_URL", "x"),
        ("HUB_SLOW_TESTS", "1"),
        ("HUBCAP", "x"),
        ("RUST_LOG", "debug"),
    ])
    .expect("sound");
    assert_eq!(config.log, "debug");
    let log = variables(&[("RUST_LOG", "debug"), ("HUB_LOG", "warn")]).map(|config| config.log);
    assert_eq!(log, Ok("warn".into()));
}

#[test]
fn a_database_is_taken_from_anywhere_and_its_password_shown_nowhere() {
    const URL: &str = "postgresql://ana:s3cret@db/hub";
    for config in [
        variables(&[("DATABASE_URL", URL)]),
        variables(&[("DATABASE_URL", "postgresql://other"), ("HUB_DATABASE_URL", URL)]),
        file(&format!("database_url = \"{URL}\"")),
    ] {
        let config = config.expect("sound");
        let shown = config.database_url.as_ref().map(ToString::to_string);
        assert_eq!(shown.as_deref(), Some("ana@db:5432/hub"));
        let printed = format!("{config}{config:?}");
        assert!(printed.contains("# database_url = \"ana@db:5432/hub\""), "{printed}");
        assert!(!printed.contains("s3cret"), "{printed}");
        assert!(file(&config.to_string()).expect("it reads its own output").database_url.is_none());
    }
    let open = flags(&[("database_url", URL)]).expect_err("everybody reads it there");
    assert!(open.starts_with("--database-url: ") && !open.contains("s3cret"), "{open}");
    assert!(flags(&[("database_url", "postgresql://ana@db/hub")]).is_ok());
    assert!(variables(&[("DATABASE_URL", "")]).expect("as if unset").database_url.is_none());
    for url in ["postgresql://ana:s3cret@db/hub?sslmode=verify-full", "mysql://ana:s3cret@db"] {
        let error = variables(&[("DATABASE_URL", url)]).expect_err(url);
        assert!(error.starts_with("DATABASE_URL: ") && !error.contains("s3cret"), "{error}");
    }
    for line in [
        r#"database_url = "postgresql://ana:s3cret"x@db/hub""#,
        r#"database_url = postgresql://ana:s3cret@db/hub"#,
        r#"database_url = ["postgresql://ana:s3cret@db/hub", 5]"#,
        r#"database_url = "postgresql://ana:s3cret\w@db/hub""#,
        r#"database_url = "postgresql://ana:x@s3cret@db/hub""#,
    ] {
        let error = file(line).expect_err(line).to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn connections_fit_the_descriptors_allowed() {
    for (allowed, expected) in
        [(1_024, 680), (128, 21), (20_000, 18_720), (4_096, 3_408), (1_048_576, 1_000_000)]
    {
        let machine = Machine { descriptors_max: Some(allowed), ..MACHINE };
        let config = load_on(machine, Input::default()).expect("sound");
        assert_eq!(config.limits.connections_max, expected, "{allowed}");
        assert_eq!(config.warnings.len(), usize::from(expected < 1_000_000));
    }
    for allowed in [0, 2, 64, 101] {
        let machine = Machine { descriptors_max: Some(allowed), ..MACHINE };
        let error = load_on(machine, Input::default()).map(|_| ()).expect_err("too few");
        let expected = format!("{allowed} open files are allowed (ulimit -n): 3 shards ");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn connections_and_what_is_counted_in_bytes_fit_the_memory_allowed() {
    let on = |memory: u64, input| {
        let machine = Machine { memory_max: Some(memory), ..MACHINE };
        load_on(machine, input).expect("sound")
    };
    let config = on(512 << 20, Input::default());
    let limits = &config.limits;
    assert_eq!((limits.logs_bytes_max, limits.heads_bytes_max), (128 << 20, 32 << 20));
    assert_eq!((limits.bodies_bytes_max, limits.answers_bytes_max), (64 << 20, 64 << 20));
    assert_eq!((limits.page_images_bytes_max, limits.connections_max), (8 << 20, 15_360));
    assert_eq!(
        config.warnings,
        ["connections_max is 15360, not 1000000: a quarter of 512 MiB of memory holds no more"]
    );
    let few = Input { flags: &[("connections_max", "1000")], ..Input::default() };
    assert_eq!(on(512 << 20, few).warnings, [""; 0]);
    let large = on(64 << 30, Input::default());
    assert_eq!((large.limits, large.warnings), (Limits::default(), vec![]));
    let small = on(128 << 20, Input::default()).limits;
    assert_eq!((small.bodies_bytes_max, small.answers_bytes_max), (16 << 20, 16 << 20));
    assert_eq!(small.page_images_bytes_max, 4 << 20);
    let tiny = on(1 << 20, Input::default()).limits;
    let body = tiny.chat_body_bytes_max + tiny.body_bytes_max;
    assert_eq!((tiny.bodies_bytes_max, tiny.answers_bytes_max), (body, 128 << 10));
    assert_eq!((tiny.connections_max, tiny.heads_bytes_max), (16, 64 << 10));
}

#[test]
fn the_printed_configuration_is_a_file_that_says_the_same() {
    let config = load(Input {
        flags: &[("message_rate", "10/20"), ("data_dir", "a \"b\" \\c")],
        variables: &[("HUB_UTC_OFFSET", "+05:30"), ("PORT", "9000")],
        file: "insecure = true\npinned = false\naccept = \"stored\"\n\
               origins = [\"https://a.b\", \"https://c\"]\nwrite_wait = 11",
    });
    let config = config.expect("sound");
    let printed = config.to_string();
    for line in [
        "message_rate = \"10/20\"                           # command line",
        "utc_offset = \"+05:30\"                            # HUB_UTC_OFFSET",
        "listen = \"127.0.0.1:9000\"                        # PORT",
        "write_wait = \"11s\"                               # hub.toml",
        "insecure = true                                  # hub.toml",
        "pong_wait = \"1m\"                                 # default",
    ] {
        assert!(printed.lines().any(|it| it == line), "{line} is not in:\n{printed}");
    }
    let again = file(&printed).expect("it reads its own output");
    assert_eq!(again.limits, config.limits);
    assert_eq!(again.limits.message_rate, Rate::new(10, 20));
    assert_eq!((again.listen, again.data_dir), (config.listen, config.data_dir));
    assert_eq!((again.insecure, again.pinned, again.origins), (true, false, config.origins));
    assert_eq!(again.accept, Accept::Stored);
}

#[test]
fn a_collector_of_traces_is_read_and_its_headers_are_never_shown() {
    assert!(load(Input::default()).expect("sound").telemetry.is_none());
    assert!(flags(&[("telemetry_endpoint", "")]).expect("none").telemetry.is_none());
    let config = load(Input {
        flags: &[("telemetry_endpoint", "https://otlp.example/x")],
        variables: &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other.example"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=canary"),
            ("OTEL_SERVICE_NAME", "theirs"),
        ],
        file: "telemetry_sample_ratio = 0.25",
    });
    if cfg!(not(feature = "otlp")) {
        let error = config.map(|_| ()).expect_err("nothing is sent");
        let built = "this hub was built without traces: build it with the feature otlp";
        assert_eq!(error, format!("--telemetry-endpoint: {built}"));
        return;
    }
    let config = config.expect("sound");
    let plan = config.telemetry.as_ref().expect("a collector");
    assert_eq!((plan.ratio, &*plan.service), (0.25, "theirs"));
    let shown = format!("{config}");
    assert!(shown.contains("telemetry_endpoint = \"https://otlp.example/x\""), "{shown}");
    assert!(shown.contains("telemetry_service_name = \"theirs\""), "{shown}");
    assert!(!format!("{shown} {config:?}").contains("canary"), "{config:?}");
}
