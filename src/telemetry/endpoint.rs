//! Where the collector of traces is, and what it is shown: both as operators write them. Pure.
//!
//! Read by the configuration of any hub, so that one which can't send traces can say so.

use std::fmt;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Uri};

use crate::wire::percent::decode;

/// What stands behind an endpoint's own path.
const TRACES: &str = "/v1/traces";

/// A collector's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Endpoint {
    /// Whether it is spoken to within TLS.
    pub(super) is_tls: bool,
    /// Name or address, without an IPv6 address's brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// As `Host` has it.
    pub(super) authority: String,
    /// Where traces are posted.
    pub(super) path: String,
}

impl Endpoint {
    /// `http://host:port` or `https://…`, with a path or without. A password has no place in it.
    pub(crate) fn parse(text: &str) -> Option<Endpoint> {
        let uri: Uri = text.parse().ok()?;
        let is_tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority()?.as_str().to_owned();
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        // The parser leaves out a port that is no number.
        let behind_host = authority.rsplit_once(']').map_or(&*authority, |(_, behind)| behind);
        let port = match uri.port() {
            Some(port) => port.as_u16(),
            None if behind_host.contains(':') => return None,
            None if is_tls => 443,
            None => 80,
        };
        let is_sound = !host.is_empty() && port > 0 && !authority.contains('@');
        let path = format!("{}{TRACES}", uri.path().trim_end_matches('/'));
        (is_sound && uri.query().is_none()).then_some(Endpoint {
            is_tls,
            host,
            port,
            authority,
            path,
        })
    }
}

/// Headers that a collector is sent with each request, such as its key. Not shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Headers(HeaderMap);

impl fmt::Debug for Headers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Headers({})", self.0.len())
    }
}

/// Headers that can't be sent: which of them is wrong, by its place. Its text may be a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("header {0} is not NAME=VALUE, with a header's name and its value, escaped as in a URL")]
pub(crate) struct BadHeaders(usize);

impl Headers {
    /// `name=value,name=value`, values as in a URL: the form of `OTEL_EXPORTER_OTLP_HEADERS`.
    pub(crate) fn parse(text: &str) -> Result<Headers, BadHeaders> {
        let mut headers = HeaderMap::new();
        for (place, pair) in text.split(',').enumerate() {
            if pair.trim().is_empty() {
                continue;
            }
            let bad = BadHeaders(place + 1);
            let (name, value) = pair.split_once('=').ok_or(bad)?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| bad)?;
            let value = decode(value.trim(), false).ok_or(bad)?;
            let mut value = HeaderValue::from_str(&value).map_err(|_| bad)?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(Headers(headers))
    }

    /// All of them.
    #[cfg(feature = "otlp")]
    pub(super) fn all(&self) -> &HeaderMap {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_collectors_address_with_the_path_of_traces() {
        for (text, is_tls, host, port, path) in [
            ("http://localhost:4318", false, "localhost", 4318, "/v1/traces"),
            ("http://localhost:4318/", false, "localhost", 4318, "/v1/traces"),
            ("https://otlp.example/otlp/", true, "otlp.example", 443, "/otlp/v1/traces"),
            ("http://[::1]:80", false, "::1", 80, "/v1/traces"),
        ] {
            let read = Endpoint::parse(text).expect(text);
            let expected = (is_tls, host, port, path);
            assert_eq!((read.is_tls, &*read.host, read.port, &*read.path), expected, "{text}");
        }
        for bad in [
            "",
            "localhost:4318",
            "collector",
            "/v1/traces",
            "grpc://localhost:4317",
            "http://",
            "http://localhost:",
            "http://localhost:x",
            "http://localhost:99999",
            "http://user:secret@localhost:4318",
            "http://localhost:4318?x=y",
            "http://local host",
        ] {
            assert_eq!(Endpoint::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn headers_are_read_and_never_shown() {
        let headers = Headers::parse("Api-Key=canary%3D1, x-tenant=a,,").expect("they are sound");
        assert_eq!(headers.0["api-key"], "canary=1");
        assert_eq!(headers.0["x-tenant"], "a");
        assert_eq!(format!("{headers:?}"), "Headers(2)");
        assert_eq!(Headers::parse(""), Ok(Headers::default()));
        for (bad, place) in [("canary", 1), ("a=b,c d=e", 2), ("a=%zz", 1), ("a=%0A", 1)] {
            assert_eq!(Headers::parse(bad), Err(BadHeaders(place)), "{bad}");
        }
        assert!(!BadHeaders(1).to_string().contains("canary"));
    }
}
