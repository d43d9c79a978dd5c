//! Traces: spans of handshakes, posts, batches and resumes, for a collector of OpenTelemetry. Never
//! one of a message that goes over a socket.
//!
//! Owns the queue of spans that have ended, the one bound of what waits for the collector. What is
//! traced is begun by the edge and the store alone; a shard's thread only ends what it was handed.
//! Holds no text of a client's but a request's id, which is of plain letters: no token, name or
//! message can be in a span. Without the feature `otlp` none of it is built, and without an
//! endpoint no span is begun.
//!
//! Reading order: [`spans`], `context`, `export`, `collector`.

use std::path::PathBuf;

#[cfg(feature = "otlp")]
mod collector;
#[cfg(feature = "otlp")]
mod context;
mod endpoint;
#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod proto;
#[cfg(feature = "otlp")]
mod spans;

#[cfg(not(feature = "otlp"))]
#[path = "none.rs"]
mod spans;

pub(crate) use endpoint::{Endpoint, Headers};
#[cfg(feature = "otlp")]
pub(crate) use export::Exporter;
#[cfg(not(feature = "otlp"))]
pub(crate) use spans::Exporter;
pub use spans::Traces;
pub(crate) use spans::{Seed, Span};

/// Whether this hub can send traces at all.
pub(crate) const IS_BUILT: bool = cfg!(feature = "otlp");

/// What is sent where.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "nothing is sent without otlp"))]
pub(crate) struct Plan {
    /// Where the collector is.
    pub endpoint: Endpoint,
    /// What it is shown with each request.
    pub headers: Headers,
    /// A file of the authorities that its certificate may be of; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The part of traces that is sent, of those that nobody else has decided on; 0 to 1.
    pub ratio: f64,
    /// What the hub is called there.
    pub service: String,
}

/// What a span is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// From a whole request until its sender is in its space, or is refused.
    Handshake,
    /// From the request to the answer of a broadcast, a chat or a push.
    Post,
    /// One commit of a sink, or a try at one.
    Batch,
    /// From the join of a member that comes back until it is on its way with all that it missed.
    Resume,
}

#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "nothing is named without otlp"))]
impl Kind {
    /// What the span is called.
    fn name(self) -> &'static str {
        match self {
            Kind::Handshake => "handshake",
            Kind::Post => "post",
            Kind::Batch => "batch",
            Kind::Resume => "resume",
        }
    }
}
