//! What is wrong with the settings of traces: one line, exit 78, and nothing of a key in it; and
//! which names are known.

use crate::support::collector::Collector;
use crate::support::{GOOD, Hub, run_hub};

/// What the hub says when it is not run with these.
fn refused(args: &[&str], env: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().to_str().expect("a text path");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir];
    let output = run_hub(&[&serve, args].concat(), env);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(78), "{args:?}: {text}");
    assert!(!text.contains("canary"), "{text}");
    let line = text.strip_suffix('\n').and_then(|line| line.strip_prefix("cpi-hub: "));
    line.filter(|line| !line.contains('\n')).expect("one line").to_owned()
}

#[test]
fn a_mistake_in_the_settings_of_traces_is_named_and_shows_no_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let none = dir.path().join("none.pem");
    let none = none.to_str().expect("a text path");
    let address = "an address such as http://127.0.0.1:4318 was expected, without user or query";
    let header = "header 2 is not NAME=VALUE, with a header's name and its value, escaped as in a \
                  URL";
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    for (args, env, expected) in [
        (&["--telemetry-endpoint", "127.0.0.1:4318"][..], &[][..], {
            format!("--telemetry-endpoint: {address}")
        }),
        (
            &[],
            &[("HUB_TELEMETRY_ENDPOINT", "http://canary:canary@127.0.0.1:4318")],
            format!("HUB_TELEMETRY_ENDPOINT: {address}"),
        ),
        (
            &[],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://127.0.0.1:4317")],
            format!("OTEL_EXPORTER_OTLP_ENDPOINT: {address}"),
        ),
        (
            &[],
            &[endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,canary")],
            format!("OTEL_EXPORTER_OTLP_HEADERS: {header}"),
        ),
        (
            &["--telemetry-sample-ratio", "1.5"],
            &[],
            "--telemetry-sample-ratio: `1.5` is not a number from 0 to 1".into(),
        ),
        (
            &["--telemetry-service-name", ""],
            &[],
            "--telemetry-service-name: `` is not a name".into(),
        ),
        (
            &["--telemetry-endpoint", "https://127.0.0.1:4318", "--telemetry-ca", none],
            &[],
            format!("telemetry_ca: {none}: No such file or directory (os error 2)"),
        ),
    ] {
        assert_eq!(refused(args, env), expected);
    }
}

#[test]
fn the_names_that_others_use_count_where_the_hubs_own_say_nothing() {
    let (collector, other) = (Collector::start(), Collector::start());
    let (url, wrong) = (collector.url(), other.url());
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_SERVICE_NAME", "theirs"),
        // These are not the hub's to read.
        ("OTEL_TRACES_SAMPLER_ARG", "x"),
        ("OTEL_PYTHON_LOG_LEVEL", "x"),
    ];
    let hub = Hub::start_with_env(&[], &env);
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200);
    let span = collector.span("post", |_| true);
    assert_eq!(span.resource["service.name"], "theirs");
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*wrong),
        ("HUB_TELEMETRY_ENDPOINT", &*url),
        ("OTEL_SERVICE_NAME", "theirs"),
    ];
    let hub = Hub::start_with_env(&["--telemetry-service-name", "ours"], &env);
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200);
    collector.span("post", |it| it.resource["service.name"] == "ours");
    assert!(other.sent().is_empty());
}
