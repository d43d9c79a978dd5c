//! What a collector is sent: the messages of OTLP for traces, as far as the hub uses them. Pure.
//!
//! Written by hand, since the package that has them brings a whole SDK, with second copies of
//! packages that are here already. `tests/hub/telemetry` reads with it what a hub sends.

use prost::{Enumeration, Message, Oneof};

use super::Kind;
use super::spans::{Note, Told, Value};

/// Whether a parent is known to be another process's, and that it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
/// The trace is kept: what is not kept is not sent.
const SAMPLED: u32 = 0x01;

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// What of a request the collector has not taken.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub rejected_spans: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

/// Who sends.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(enumeration = "SpanKind", tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
enum SpanKind {
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(enumeration = "StatusCode", tag = "3")]
    code: i32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
enum StatusCode {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(int64, tag = "3")]
    Number(i64),
}

impl Resource {
    /// A hub of this name, and this run of it.
    pub(super) fn of_hub(service: &str, version: &str, instance: String) -> Resource {
        let said = [
            ("service.name", service.to_owned()),
            ("service.version", version.to_owned()),
            ("service.instance.id", instance),
        ];
        Resource { attributes: said.map(|(key, text)| pair(key, Any::Text(text))).into() }
    }
}

/// The bytes of a request for these spans.
pub(super) fn encode(resource: &Resource, version: &str, spans: &[Told]) -> Vec<u8> {
    let scope = Scope { name: "cpi-hub".into(), version: version.into() };
    let spans = spans.iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource.clone()), scope_spans }];
    Request { resource_spans }.encode_to_vec()
}

fn span(told: &Told) -> Span {
    let parent_span_id = match told.parent {
        0 => Vec::new(),
        parent => parent.to_be_bytes().into(),
    };
    let kind = match told.kind {
        Kind::Handshake | Kind::Post => SpanKind::Server,
        Kind::Batch => SpanKind::Client,
        Kind::Resume => SpanKind::Internal,
    };
    let is_remote = if told.is_remote { IS_REMOTE } else { 0 };
    let nanos = |micros: i64| u64::try_from(micros).unwrap_or(0).saturating_mul(1_000);
    Span {
        trace_id: told.trace.to_be_bytes().into(),
        span_id: told.id.to_be_bytes().into(),
        parent_span_id,
        name: told.kind.name().into(),
        kind: kind.into(),
        start_time_unix_nano: nanos(told.begun.0),
        end_time_unix_nano: nanos(told.ended.0),
        attributes: told.notes.iter().map(attribute).collect(),
        status: told.is_error.then(|| Status { code: StatusCode::Error.into() }),
        flags: SAMPLED | HAS_IS_REMOTE | is_remote,
    }
}

fn attribute((key, value): &Note) -> KeyValue {
    let any = match value {
        Value::Text(text) => Any::Text(text.clone().into_owned()),
        Value::Number(number) => Any::Number(*number),
        Value::Flag(flag) => Any::Flag(*flag),
    };
    pair(key, any)
}

fn pair(key: &str, any: Any) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(any) }) }
}
