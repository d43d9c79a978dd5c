//! Traces, as a collector of OpenTelemetry gets them from the real binary.

use cpi_hub::conditions::Condition;
use serde_json::json;

use crate::auth::{SECRET, token};
use crate::support::collector::{Collector, SILENCE, Span};
use crate::support::events::Events;
use crate::support::health::{mended, planted};
use crate::support::{Answer, Client, GOOD, Hub, eventually, upgrade};

mod settings;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const V1: Option<&str> = Some("cpi-hub.v1");

/// A `traceparent` of which the sender keeps the trace, or does not.
fn traceparent(trace: &str, sampled: bool) -> String {
    format!("00-{trace}-{CALLER}-0{}", u8::from(sampled))
}

fn hub(collector: &Collector, args: &[&str]) -> Hub {
    let url = collector.url();
    Hub::start(&[&["--telemetry-endpoint", &url], args].concat())
}

/// Posts a chat, or whatever it is, to a space.
fn post(hub: &Hub, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    hub.request("POST", path, headers, body.as_bytes())
}

fn chat(hub: &Hub, parent: &str) -> Answer {
    post(hub, "/v1/ws/spaces/1/chat", &[("traceparent", parent)], GOOD)
}

#[track_caller]
fn check(span: &Span, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(span.says(key), *value, "{key} of {span:?}");
    }
    assert!(span.times.0 > 0 && span.times.0 <= span.times.1, "{span:?}");
    assert_eq!((span.trace.len(), span.id.len()), (32, 16), "{span:?}");
}

/// A position behind which a message was said that is stored.
fn missed(hub: &Hub) -> String {
    let mut member = hub.join_v1(1, 1, "");
    let position = member.next_of("welcome")["data"]["position"].as_str().expect("one").to_owned();
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200);
    position
}

fn back(hub: &Hub, position: &str, parent: &str) -> Client {
    let path = format!("/v1/ws/spaces/1?user_id=2&after={position}");
    hub.socket_with(&path, V1, &[("traceparent", parent), ("X-Request-Id", "r-7")])
}

#[test]
fn a_post_is_traced_under_its_senders_span_with_what_became_of_it() {
    let collector = Collector::start();
    let hub = hub(&collector, &["--telemetry-service-name", "hub of a test"]);
    let parent = traceparent(TRACE, true);
    let headers = [("traceparent", &*parent), ("X-Request-Id", "r-1"), ("Idempotency-Key", "k")];
    assert_eq!(post(&hub, "/v1/ws/spaces/7/broadcast", &headers, GOOD).status, 200);
    let first = collector.span("post", |it| it.says("cpi_hub.request_id") == "r-1");
    assert_eq!((&*first.trace, &*first.parent, first.kind), (TRACE, CALLER, 2));
    // The trace is kept, and its parent another process's.
    assert_eq!((first.flags, first.status), (0x301, 0));
    check(
        &first,
        &[
            ("http.request.method", "POST"),
            ("http.route", "/v1/ws/spaces/{space_id}/broadcast"),
            ("http.response.status_code", "200"),
            ("cpi_hub.space_id", "7"),
            ("cpi_hub.outcome", "stored"),
            ("cpi_hub.level", "durable"),
            ("cpi_hub.duplicate", "false"),
        ],
    );
    let about = |key: &str| first.resource.get(key).cloned().unwrap_or_default();
    assert_eq!(about("service.name"), "hub of a test");
    assert_eq!(about("service.version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(about("service.instance.id").len(), 32);
    let again = [&headers[1..], &[("Prefer", "respond-async")]].concat();
    assert_eq!(post(&hub, "/v1/ws/spaces/7/broadcast", &again, GOOD).status, 202);
    let second = collector.span("post", |it| it.says("cpi_hub.duplicate") == "true");
    check(&second, &[("cpi_hub.outcome", "accepted"), ("cpi_hub.level", "accepted")]);
    assert!(second.parent.is_empty() && second.trace != first.trace, "{second:?}");
    let refused = post(&hub, "/v1/ws/spaces/7/chat", &headers[..1], "{}");
    assert_eq!(refused.status, 400);
    let refused = collector.span("post", |it| it.says("cpi_hub.outcome") == "refused");
    let code = [("http.response.status_code", "400"), ("cpi_hub.code", "invalid_parameter")];
    check(&refused, &code);
    assert_eq!(refused.status, 0, "who asks badly is no error of the hub's");
    let pushed = r#"{"data":{"a":1}}"#;
    assert_eq!(hub.post("/v1/users/7/notifications", pushed).status, 200);
    let push = collector.span("post", |it| it.says("cpi_hub.outcome") == "pushed");
    let route = ("http.route", "/v1/users/{user_id}/notifications");
    check(&push, &[route, ("cpi_hub.delivered", "0")]);
}

#[test]
fn a_handshake_is_traced_until_its_member_is_in_and_its_resume_under_it() {
    let collector = Collector::start();
    let mut hub = hub(&collector, &[]);
    let position = missed(&hub);
    let parent = traceparent(TRACE, true);
    let mut member = back(&hub, &position, &parent);
    assert_eq!(member.next_of("resumed")["data"]["count"], 1);
    let handshake = collector.span("handshake", |it| it.trace == TRACE);
    assert_eq!((&*handshake.parent, handshake.kind, handshake.flags), (CALLER, 2, 0x301));
    let seated = [
        ("http.request.method", "GET"),
        ("http.route", "/v1/ws/spaces/{space_id}"),
        ("http.response.status_code", "101"),
        ("cpi_hub.space_id", "1"),
        ("cpi_hub.request_id", "r-7"),
        ("cpi_hub.dialect", "v1"),
        ("cpi_hub.encoding", "frames"),
        ("cpi_hub.resumes", "true"),
        ("cpi_hub.outcome", "seated"),
    ];
    check(&handshake, &seated);
    let resume = collector.span("resume", |it| it.trace == TRACE);
    assert_eq!((&resume.parent, resume.kind, resume.flags), (&handshake.id, 1, 0x101));
    let complete = [
        ("cpi_hub.resume.source", "memory"),
        ("cpi_hub.resume.messages", "1"),
        ("cpi_hub.resume.complete", "true"),
        ("cpi_hub.outcome", "resumed"),
    ];
    check(&resume, &complete);
    // Nothing is in memory after a restart.
    hub.kill();
    hub.restart();
    let other = TRACE.replace('4', "5");
    let mut member = back(&hub, &position, &traceparent(&other, true));
    assert_eq!(member.next_of("resumed")["data"]["count"], 1);
    let resume = collector.span("resume", |it| it.trace == other);
    check(&resume, &[("cpi_hub.resume.source", "store"), complete[1], complete[2]]);
    // More headers than are read the short way, and the front end's dialect.
    let lines: String = (0..40).map(|number| format!("X-{number}: x\r\n")).collect();
    let third = TRACE.replace('4', "6");
    let lines = format!("{lines}traceparent: {}\r\n", traceparent(&third, true));
    let mut stream = hub.connect();
    let request = upgrade("/v1/ws/spaces/1?user_id=3", &lines);
    std::io::Write::write_all(&mut stream, request.as_bytes()).expect("it reads");
    let handshake = collector.span("handshake", |it| it.trace == third);
    check(&handshake, &[("cpi_hub.dialect", "seed"), ("cpi_hub.resumes", "false"), seated[8]]);
    assert_eq!(collector.spans("resume").iter().filter(|it| it.trace == third).count(), 0);
}

#[test]
fn streams_of_events_and_refused_handshakes_are_traced_too() {
    let collector = Collector::start();
    let hub = hub(&collector, &[]);
    let events = Events::open(hub.connect(), "/v1/spaces/9/events", "").map_err(|it| it.0);
    assert!(events.is_ok());
    let stream = collector.span("handshake", |it| it.says("cpi_hub.encoding") == "events");
    let ok = ("http.response.status_code", "200");
    check(&stream, &[ok, ("cpi_hub.space_id", "9"), ("cpi_hub.outcome", "seated")]);
    for (path, lines, status, code) in [
        ("/v1/ws/spaces/x?user_id=7", "", "400", "invalid_parameter"),
        ("/v1/ws/user-connection?user_id=7", "Origin: http://evil.example\r\n", "403", ""),
    ] {
        let mut stream = hub.connect();
        let request = upgrade(path, lines);
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("it reads");
        let refused =
            collector.span("handshake", |it| it.says("http.response.status_code") == status);
        check(&refused, &[("cpi_hub.outcome", "refused"), ("cpi_hub.code", code)]);
        assert!(refused.parent.is_empty() && refused.says("cpi_hub.space_id").is_empty());
    }
}

#[test]
fn each_batch_is_traced_with_what_it_took_and_no_message_has_a_span() {
    let collector = Collector::start();
    let hub = Hub::unlimited_with(&["--telemetry-endpoint", &collector.url()]);
    let mut member = hub.join_v1(1, 1, "");
    for number in 0..50 {
        let data = format!(r#""content":"hola","nonce":"n{number}","ack":"durable""#);
        member.send(&format!(r#"{{"type":"chat","data":{{{data}}}}}"#));
    }
    for _ in 0..50 {
        while member.next_of("ack")["data"]["level"] != "durable" {}
    }
    let rows = |collector: &Collector| -> u64 {
        let size = |it: &Span| it.says("db.operation.batch.size").parse::<u64>().expect("a number");
        collector.spans("batch").iter().map(size).sum()
    };
    eventually("all rows are in batches", || (rows(&collector) == 50).then_some(()));
    for batch in collector.spans("batch") {
        let expected = [
            ("db.system.name", "sqlite"),
            ("cpi_hub.batch.journals", "1"),
            ("cpi_hub.batch.retries", "0"),
            ("cpi_hub.outcome", "stored"),
        ];
        check(&batch, &expected);
        assert_eq!((batch.kind, &*batch.parent, batch.flags), (3, "", 0x101));
    }
    assert_eq!(collector.spans("handshake").len(), 1);
    assert!(collector.spans("post").is_empty() && collector.spans("resume").is_empty());
}

#[test]
fn a_try_that_fails_is_traced_as_an_error_and_the_next_ones_count_it() {
    let collector = Collector::start();
    let hub = hub(&collector, &[]);
    let lock = hub.lock_store();
    let later = [("Prefer", "respond-async")];
    assert_eq!(post(&hub, "/v1/ws/spaces/1/chat", &later, GOOD).status, 202);
    let failed = collector.span("batch", |it| it.says("cpi_hub.outcome") == "failed");
    check(&failed, &[("error.type", "retry"), ("db.operation.batch.size", "1")]);
    assert_eq!(failed.status, 2);
    drop(lock);
    let stored = collector.span("batch", |it| it.says("cpi_hub.outcome") == "stored");
    assert_ne!(stored.says("cpi_hub.batch.retries"), "0", "{stored:?}");
}

#[test]
fn a_malformed_parent_is_ignored_and_one_that_is_not_kept_is_obeyed() {
    let collector = Collector::start();
    let hub = hub(&collector, &[]);
    let malformed = ["x".to_owned(), traceparent(TRACE, true).to_uppercase()];
    for parent in &malformed {
        assert_eq!(chat(&hub, parent).status, 200);
    }
    let unkept = TRACE.replace('4', "5");
    assert_eq!(chat(&hub, &traceparent(&unkept, false)).status, 200);
    let last = TRACE.replace('4', "6");
    assert_eq!(chat(&hub, &traceparent(&last, true)).status, 200);
    // Spans are sent in the order in which they end.
    collector.span("post", |it| it.trace == last);
    let spans = collector.spans("post");
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert!(spans.iter().all(|it| it.trace != unkept && it.trace != TRACE), "{spans:?}");
    assert!(spans[..2].iter().all(|it| it.parent.is_empty()), "{spans:?}");
}

#[test]
fn with_a_ratio_of_0_senders_alone_decide() {
    let collector = Collector::start();
    let hub = hub(&collector, &["--telemetry-sample-ratio", "0"]);
    (0..20).for_each(|_| assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200));
    assert_eq!(chat(&hub, &traceparent(TRACE, true)).status, 200);
    collector.span("post", |it| it.trace == TRACE);
    assert_eq!((collector.spans("post").len(), collector.spans("batch").len()), (1, 0));
}

#[test]
fn a_line_of_the_log_about_a_traced_request_has_its_trace() {
    let collector = Collector::start();
    let hub = hub(&collector, &["--log-format", "json"]);
    let parent = traceparent(TRACE, true);
    let headers = [("Origin", "http://evil.example"), ("traceparent", &*parent)];
    assert_eq!(post(&hub, "/v1/ws/spaces/1/chat", &headers, GOOD).status, 403);
    eventually("it is told", || {
        hub.log().contains(&format!("\"trace\":\"{TRACE}\"")).then_some(())
    });
}

#[test]
fn nothing_that_is_secret_or_said_is_in_a_span() {
    let collector = Collector::start();
    let (url, shown) = (collector.url(), token(json!({"email": "canary@example.com"})));
    let env = [("HUB_JWT_SECRET", SECRET), ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=canary%2Dkey")];
    let args = ["--telemetry-endpoint", &url, "--log", "trace"];
    let hub = Hub::start_with_env(&args, &env);
    let path = "/v1/ws/spaces/1?user_id=7&username=canary-name";
    let mut by_query = hub.socket(&format!("{path}&token={shown}"), V1);
    by_query.next_of("join");
    by_query.chat("canary-text");
    by_query.next_of("chat");
    let mut by_message = hub.socket(path, V1);
    by_message.send(&json!({"type": "auth", "data": {"token": shown}}).to_string());
    by_message.next_of("welcome");
    let mut wrong = hub.socket(path, V1);
    wrong.send(&json!({"type": "auth", "data": {"token": "canary.canary.canary"}}).to_string());
    wrong.until_closed();
    let body = r#"{"username":"canary-name","message":"canary-text","image":"canary-image"}"#;
    let authorization = format!("Bearer {shown}");
    let headers = [
        ("Authorization", &*authorization),
        ("Idempotency-Key", "canary-nonce"),
        ("X-Request-Id", "canary letters"),
        ("traceparent", "canary"),
    ];
    assert_eq!(post(&hub, "/v1/ws/spaces/1/chat", &headers, body).status, 200);
    assert_eq!(post(&hub, "/v1/ws/spaces/1/chat?token=canary", &[], body).status, 401);
    collector.span("post", |it| it.says("http.response.status_code") == "401");
    collector.span("post", |it| it.says("cpi_hub.outcome") == "stored");
    let of = |code: &str| collector.span("handshake", |it| it.says("cpi_hub.code") == code);
    check(&of("unauthorized"), &[("cpi_hub.outcome", "refused")]);
    eventually("both are in", || {
        let seated = |it: &Span| it.says("cpi_hub.outcome") == "seated";
        (collector.spans("handshake").into_iter().filter(seated).count() == 2).then_some(())
    });
    let sent = collector.sent();
    assert!(sent.iter().all(|it| it.head.contains("api-key: canary-key")), "{sent:?}");
    for sent in sent {
        let body = String::from_utf8_lossy(&sent.body);
        assert!(!body.contains("canary") && !body.contains(&shown), "{body}");
        let head = sent.head.replace("api-key: canary-key", "");
        assert!(!head.contains("canary"), "{head}");
    }
    assert!(!hub.log().contains("canary"), "{}", hub.log());
}

#[test]
fn a_collector_that_is_away_hurts_nobody_and_is_told() {
    let address = Collector::nowhere();
    let hub = Hub::start(&["--telemetry-endpoint", &format!("http://{address}")]);
    assert_eq!(chat(&hub, &traceparent(TRACE, true)).status, 200);
    let detail = planted(&hub, Condition::TracesUnsent);
    assert!(detail.starts_with(&format!("{address}: ")), "{detail}");
    let mut member = hub.join(1, 1, "Ana");
    member.chat("hola");
    assert_eq!(member.next_of("chat")["data"]["content"], "hola");
    assert_eq!(hub.get("/readyz").status, 200);
    let collector = Collector::start_at(address);
    mended(&hub, Condition::TracesUnsent);
    // What has waited is not lost.
    collector.span("post", |it| it.trace == TRACE);
    assert_eq!(hub.metric("hub_spans_lost_total"), 0.0);
    eventually("they are counted", || {
        let all = ["handshake", "post", "batch"].map(|name| collector.spans(name).len());
        (hub.metric("hub_spans_sent_total") == all.iter().sum::<usize>() as f64).then_some(())
    });
}

#[test]
fn what_a_collector_refuses_is_lost_and_counted_or_sent_again_where_it_says_so() {
    let collector = Collector::start();
    let hub = hub(&collector, &[]);
    collector.answer(400);
    assert_eq!(chat(&hub, &traceparent(TRACE, true)).status, 200);
    eventually("they are lost", || (hub.metric("hub_spans_lost_total") > 0.0).then_some(()));
    assert!(planted(&hub, Condition::TracesUnsent).ends_with(": it answered 400"));
    // A batch ends as its post does, and may be sent behind it.
    eventually("both are lost", || (hub.metric("hub_spans_lost_total") == 2.0).then_some(()));
    collector.answer(503);
    let other = TRACE.replace('4', "5");
    assert_eq!(chat(&hub, &traceparent(&other, true)).status, 200);
    eventually("it is told", || {
        let told = hub.conditions();
        let told = told.iter().find(|it| it["name"] == "traces_unsent")?;
        told["detail"].as_str()?.ends_with(": it answered 503").then_some(())
    });
    collector.answer(200);
    collector.span("post", |it| it.trace == other);
    mended(&hub, Condition::TracesUnsent);
    assert!(collector.spans("post").iter().all(|it| it.trace != TRACE));
    assert_eq!(hub.metric("hub_spans_lost_total"), 2.0);
    collector.reject(1);
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200);
    eventually("one is lost", || (hub.metric("hub_spans_lost_total") > 2.0).then_some(()));
}

#[test]
fn an_end_sends_what_is_left_and_does_not_wait_for_a_collector_that_is_silent() {
    let collector = Collector::start();
    let mut first = hub(&collector, &[]);
    assert_eq!(chat(&first, &traceparent(TRACE, true)).status, 200);
    assert_eq!(first.stop("TERM").code(), Some(0));
    assert_eq!(collector.spans("post").iter().filter(|it| it.trace == TRACE).count(), 1);
    assert_eq!(collector.spans("batch").len(), 1);
    collector.answer(SILENCE);
    let mut second = hub(&collector, &["--stop-wait", "20s", "--drain-window", "0s"]);
    assert_eq!(chat(&second, &traceparent(TRACE, true)).status, 200);
    assert_eq!(second.stop("TERM").code(), Some(0));
    let log = second.log();
    assert!(log.contains("spans are lost: the collector did not take them in time"), "{log}");
}
