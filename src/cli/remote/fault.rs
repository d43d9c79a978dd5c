//! Why a hub could not be reached, or what it said no to; and whether that may pass by itself.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use serde_json::Value;
use tungstenite::Error;
use tungstenite::http::{HeaderValue, Response};

use super::DEFAULT_URL;
use crate::cli::{CliExit, EXIT_CONFIG};

/// Why there is no connection, or no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum RemoteFault {
    #[error("--url: `{0}` is not a hub's address such as {DEFAULT_URL} or wss://hub.example")]
    Url(String),
    #[error("{place}: {problem}")]
    Token { place: String, problem: String },
    #[error("--ca: {}: {problem}", file.display())]
    Ca { file: PathBuf, problem: String },
    #[error("{address}: {error}; is the hub running?")]
    Connect { address: String, error: io::Error },
    #[error("{address}: TLS: {error}")]
    Tls { address: String, error: io::Error },
    #[error("{0}")]
    Refused(Refused),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// An answer that says no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) struct Refused {
    pub(in crate::cli) status: u16,
    /// What the hub says to people.
    pub(in crate::cli) message: String,
    /// What docs/CODES.md lists; empty where the answer is not the hub's.
    pub(in crate::cli) code: String,
    pub(in crate::cli) retry_after: Option<Duration>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Refused { status, message, code, .. } = self;
        write!(out, "the hub refused: {message} ({status}")?;
        if code.is_empty() { write!(out, ")") } else { write!(out, " {code})") }
    }
}

impl Refused {
    /// Whether the same request may be answered otherwise later.
    pub(in crate::cli) fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502 | 503 | 504)
    }
}

impl RemoteFault {
    /// Whether it may go better later, with nobody mending anything on this side.
    pub(in crate::cli) fn is_passing(&self) -> bool {
        match self {
            RemoteFault::Refused(refused) => refused.is_passing(),
            RemoteFault::Connect { .. } | RemoteFault::Broken(_) | RemoteFault::Late(_) => true,
            _ => false,
        }
    }

    /// How long the hub asks to wait.
    pub(in crate::cli) fn retry_after(&self) -> Option<Duration> {
        match self {
            RemoteFault::Refused(refused) => refused.retry_after,
            _ => None,
        }
    }
}

impl From<RemoteFault> for CliExit {
    fn from(fault: RemoteFault) -> CliExit {
        let code = match fault {
            RemoteFault::Url(_) | RemoteFault::Token { .. } | RemoteFault::Ca { .. } => EXIT_CONFIG,
            _ => 1,
        };
        CliExit { code, ..CliExit::failed(fault.to_string()) }
    }
}

impl From<Error> for RemoteFault {
    fn from(error: Error) -> RemoteFault {
        match error {
            Error::Http(answer) => RemoteFault::Refused(refused_upgrade(&answer)),
            error => RemoteFault::Broken(error.to_string()),
        }
    }
}

fn refused_upgrade(answer: &Response<Option<Vec<u8>>>) -> Refused {
    let body = answer.body().as_deref().unwrap_or_default();
    refused(answer.status(), answer.headers().get(RETRY_AFTER), body)
}

/// What an answer that says no says.
pub(super) fn refused(
    status: StatusCode,
    retry_after: Option<&HeaderValue>,
    body: &[u8],
) -> Refused {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| json[name].as_str().map(str::to_owned);
    let seconds = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    Refused {
        status: status.as_u16(),
        message: text("message").unwrap_or_else(|| {
            status.canonical_reason().unwrap_or("it says nothing").to_ascii_lowercase()
        }),
        code: text("code").unwrap_or_default(),
        retry_after: seconds.map(Duration::from_secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_a_person_has_to_mend() {
        let status = |status| {
            let status = StatusCode::from_u16(status).expect("a status");
            refused(status, Some(&HeaderValue::from_static("7")), b"x")
        };
        assert!(status(503).is_passing() && status(429).is_passing());
        assert!(!status(403).is_passing() && !status(422).is_passing());
        let shown = status(503);
        assert_eq!(shown.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(shown.to_string(), "the hub refused: service unavailable (503)");
        let body = br#"{"status_code":429,"message":"espera","code":"rate_limited"}"#;
        let shown = refused(StatusCode::TOO_MANY_REQUESTS, None, body).to_string();
        assert_eq!(shown, "the hub refused: espera (429 rate_limited)");
    }
}
