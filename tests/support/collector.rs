//! A collector of traces: takes OTLP over HTTP as a real one does, and keeps what it was sent. It
//! reads that with OpenTelemetry's own package, which the hub does not use.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{PATIENCE, eventually};

/// The answer of a collector that gives none.
pub const SILENCE: u16 = 0;

/// A span, as the collector has it.
#[derive(Clone, PartialEq, Debug)]
pub struct Span {
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Its parent's id, or "".
    pub parent: String,
    pub kind: i32,
    /// Begin and end, in nanoseconds.
    pub times: (u64, u64),
    pub flags: u32,
    /// 2: it is an error.
    pub status: i32,
    /// What is said of it, as text.
    pub says: BTreeMap<String, String>,
    /// What is said of who sent it.
    pub resource: BTreeMap<String, String>,
}

impl Span {
    /// What is said of it under this key, or "".
    pub fn says(&self, key: &str) -> &str {
        self.says.get(key).map_or("", String::as_str)
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its head, as it came.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Seen {
    sent: Vec<Sent>,
    spans: Vec<Span>,
}

/// A collector of the test's own. Its thread ends with the test's process.
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    answer: Arc<AtomicU16>,
    rejected: Arc<AtomicU16>,
}

impl Collector {
    /// Starts one on a free port.
    pub fn start() -> Collector {
        Collector::start_at("127.0.0.1:0".parse().expect("an address"))
    }

    /// Starts one there.
    pub fn start_at(address: SocketAddr) -> Collector {
        Collector::start_as(address, None)
    }

    /// Starts one on a free port that is spoken to within TLS, by a certificate and its key (PEM).
    pub fn start_tls(certificate: &str, key: &str) -> Collector {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes());
        let chain = vec![certificate.expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate of this key");
        Collector::start_as("127.0.0.1:0".parse().expect("an address"), Some(Arc::new(config)))
    }

    fn start_as(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Collector {
        let listener = TcpListener::bind(address).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (seen, answer) = (Arc::default(), Arc::new(AtomicU16::new(200)));
        let rejected = Arc::new(AtomicU16::new(0));
        let collector = Collector { address, seen, answer, rejected };
        let (seen, answer) = (Arc::clone(&collector.seen), Arc::clone(&collector.answer));
        let rejected = Arc::clone(&collector.rejected);
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming().flatten() {
                stream.set_read_timeout(Some(PATIENCE)).expect("an option");
                // One at a time is enough: so does the hub.
                let answers = (&*answer, &*rejected);
                match &tls {
                    None => silent.extend(serve(stream, &seen, answers)),
                    Some(config) => {
                        let server = ServerConnection::new(Arc::clone(config)).expect("TLS");
                        serve(StreamOwned::new(server, stream), &seen, answers);
                    }
                }
            }
        });
        collector
    }

    /// An address where nobody listens yet.
    pub fn nowhere() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    }

    /// What the hub is to be told.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers with this status from now on, or [`SILENCE`].
    pub fn answer(&self, status: u16) {
        self.answer.store(status, SeqCst);
    }

    /// Says from now on that this number of spans of each request is refused.
    pub fn reject(&self, spans: u16) {
        self.rejected.store(spans, SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic")
    }

    /// All requests that have come.
    pub fn sent(&self) -> Vec<Sent> {
        self.lock().sent.clone()
    }

    /// All spans of a name that have come.
    pub fn spans(&self, name: &str) -> Vec<Span> {
        self.lock().spans.iter().filter(|it| it.name == name).cloned().collect()
    }

    /// Waits for a span of a name of which this holds.
    pub fn span(&self, name: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        eventually(&format!("a span {name}"), || self.spans(name).into_iter().find(&is_it))
    }
}

/// Takes one request. The stream, where it is to stay open without an answer.
fn serve<S: Read + Write>(
    mut stream: S,
    seen: &Mutex<Seen>,
    (answer, rejected): (&AtomicU16, &AtomicU16),
) -> Option<S> {
    let sent = read(&mut stream)?;
    let status = answer.load(SeqCst);
    if status == SILENCE {
        return Some(stream);
    }
    let partial = ExportTracePartialSuccess {
        rejected_spans: rejected.load(SeqCst).into(),
        error_message: String::new(),
    };
    let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    // Kept before it is answered, so that whoever sees the answer's effect finds it.
    let mut seen = seen.lock().expect("no panic");
    if status == 200 {
        seen.spans.extend(spans(&sent.body));
    }
    seen.sent.push(sent);
    drop(seen);
    _ = stream.write_all(&[head.as_bytes(), &body].concat());
    None
}

fn read(stream: &mut impl Read) -> Option<Sent> {
    let (mut came, mut chunk) = (Vec::new(), [0; 16_384]);
    loop {
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        came.extend_from_slice(&chunk[..read]);
        let Some(end) = came.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(came[..end].to_vec()).expect("a head of text");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let length: usize = length.expect("a body has a length");
        if came.len() >= end + 4 + length {
            return Some(Sent { head, body: came[end + 4..].to_vec() });
        }
    }
}

fn spans(body: &[u8]) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    let mut found = Vec::new();
    for resource in request.resource_spans {
        let said = said(resource.resource.map(|it| it.attributes).unwrap_or_default());
        for span in resource.scope_spans.into_iter().flat_map(|it| it.spans) {
            found.push(Span {
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                kind: span.kind,
                times: (span.start_time_unix_nano, span.end_time_unix_nano),
                flags: span.flags,
                status: span.status.map_or(0, |it| it.code),
                says: self::said(span.attributes),
                resource: said.clone(),
                name: span.name,
            });
        }
    }
    found
}

fn said(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |pair: KeyValue| {
        let value = match pair.value.and_then(|it| it.value) {
            Some(Any::StringValue(text)) => text,
            Some(Any::IntValue(number)) => number.to_string(),
            Some(Any::BoolValue(flag)) => flag.to_string(),
            other => panic!("{}: {other:?}", pair.key),
        };
        (pair.key, value)
    };
    attributes.into_iter().map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
