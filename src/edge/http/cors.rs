//! Which pages may talk to the hub: the allowed origins, and the names that a loopback listener
//! answers to (WIRE A5).
//!
//! Pure. A request of a foreign origin is refused before its route, method or handshake is
//! looked at. There are no cookies, so a request without `Origin` is let through.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The origins that may use the hub from a browser; exact, in lower case. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origins(Arc<[String]>);

/// An origin that can't be listed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{given}` is not an origin such as https://hub.example or http://localhost:3000")]
pub struct BadOrigin {
    /// What was given.
    pub given: String,
}

impl Origins {
    /// Reads a comma-separated list; `none` or nothing is an empty one.
    pub fn parse(list: &str) -> Result<Origins, BadOrigin> {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        if list.trim() == "none" {
            return Ok(Origins(Arc::new([])));
        }
        Ok(Origins(names.map(normal_origin).collect::<Result<_, _>>()?))
    }

    /// The list, as [`parse`](Origins::parse) reads it.
    pub fn text(&self) -> String {
        if self.0.is_empty() { "none".into() } else { self.0.join(",") }
    }

    /// The origins one by one.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn lists(&self, origin: &[u8]) -> bool {
        self.iter().any(|listed| listed.as_bytes() == origin)
    }

    /// Whether a listed origin is served under this `Host`: the pages of a proxy in front.
    fn lists_host(&self, host: &str) -> bool {
        let same = |listed: &str| {
            listed.split_once("://").is_some_and(|(_, name)| name.eq_ignore_ascii_case(host))
        };
        self.iter().any(same)
    }
}

/// An origin in lower case, without its scheme's own port, as browsers write it.
fn normal_origin(given: &str) -> Result<String, BadOrigin> {
    let bad = || BadOrigin { given: given.into() };
    let lower = given.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://").ok_or_else(bad)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return Err(bad()),
    };
    let host_bytes = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if rest.is_empty() || !rest.bytes().all(host_bytes) || !has_good_port(rest) {
        return Err(bad());
    }
    Ok(format!("{scheme}://{}", rest.strip_suffix(own_port).unwrap_or(rest)))
}

fn has_good_port(host: &str) -> bool {
    let (name, port) = split_port(host);
    !name.is_empty() && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// `[::1]:80` and `name:80` into name and port.
fn split_port(host: &str) -> (&str, Option<&str>) {
    let bracket = host.rfind(']').map_or(0, |at| at + 1);
    match host[bracket..].find(':') {
        Some(at) => (&host[..bracket + at], Some(&host[bracket + at + 1..])),
        None => (host, None),
    }
}

/// What the request's origin means for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum OriginVerdict {
    /// No browser, or a page of the hub's own: nothing to add.
    Plain,
    /// A listed origin: the answer allows it.
    Listed(HeaderValue),
    /// Foreign: 403, empty.
    Foreign,
}

/// Judges a request by its `Origin` and its `Host`.
pub(super) fn judge(
    origins: &Origins,
    loopback: bool,
    headers: &HeaderMap,
    authority: Option<&str>,
) -> OriginVerdict {
    let Some(host) = one_host(headers, authority) else { return OriginVerdict::Foreign };
    // DNS rebinding: a page whose name points at 127.0.0.1 is of one origin with what it finds
    // there, but can't hide that name.
    let known = |host: &str| is_loopback_name(host) || origins.lists_host(host);
    if loopback && host.is_some_and(|host| !known(host)) {
        return OriginVerdict::Foreign;
    }
    let mut given = headers.get_all(header::ORIGIN).iter();
    match (given.next(), given.next()) {
        (None, _) => OriginVerdict::Plain,
        (Some(origin), None) if is_own(origin, host) => OriginVerdict::Plain,
        (Some(origin), None) if origins.lists(origin.as_bytes()) => {
            OriginVerdict::Listed(origin.clone())
        }
        _ => OriginVerdict::Foreign,
    }
}

/// The one host that a request names, if it names any; `None`: several, or no text.
fn one_host<'a>(headers: &'a HeaderMap, authority: Option<&'a str>) -> Option<Option<&'a str>> {
    let mut given = headers.get_all(header::HOST).iter();
    match (given.next(), given.next()) {
        (_, Some(_)) => None,
        // A target in absolute form overrides the header (RFC 9112 3.2.2).
        _ if authority.is_some() => Some(authority),
        (Some(host), None) => host.to_str().ok().map(Some),
        (None, None) => Some(None),
    }
}

/// Whether a page of this very host asks. Both schemes: TLS may end in a proxy before the hub.
fn is_own(origin: &HeaderValue, host: Option<&str>) -> bool {
    let (Ok(origin), Some(host)) = (origin.to_str(), host) else { return false };
    let name = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    name.is_some_and(|name| name == host.to_ascii_lowercase())
}

fn is_loopback_name(host: &str) -> bool {
    let (name, _) = split_port(host);
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

/// The headers of a preflight's answer, in WIRE A5's order.
pub(super) fn preflight_headers(origin: HeaderValue) -> HeaderMap {
    const ALLOWED: &str = "Origin,Content-Type,Accept,Authorization,Idempotency-Key,Prefer";
    const METHODS: &str = "GET,POST,PUT,DELETE,OPTIONS";
    let fixed = HeaderValue::from_static;
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, fixed("true"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, fixed(ALLOWED));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, fixed(METHODS));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    for name in ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"] {
        headers.append(header::VARY, fixed(name));
    }
    headers
}

/// The headers of any other answer to a listed origin.
pub(super) fn answer_headers(origin: HeaderValue) -> [(HeaderName, HeaderValue); 3] {
    let fixed = HeaderValue::from_static;
    [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
        (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, fixed("true")),
        (header::VARY, fixed("Origin")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"))
        });
        pairs.collect()
    }

    fn check(loopback: bool, pairs: &[(&'static str, &str)]) -> OriginVerdict {
        let origins = Origins::parse("http://localhost:3000,https://App.Example:443/");
        judge(&origins.expect("good origins"), loopback, &headers(pairs), None)
    }

    #[test]
    fn a_listed_origin_is_allowed_and_a_foreign_one_is_not() {
        let listed = |origin| OriginVerdict::Listed(HeaderValue::from_static(origin));
        for (origin, expected) in [
            ("http://localhost:3000", listed("http://localhost:3000")),
            ("https://app.example", listed("https://app.example")),
            ("http://hub.example:8080", OriginVerdict::Plain),
            ("https://hub.example:8080", OriginVerdict::Plain),
            ("null", OriginVerdict::Foreign),
            ("https://evil.example", OriginVerdict::Foreign),
            ("https://app.example.evil", OriginVerdict::Foreign),
            ("https://sub.app.example", OriginVerdict::Foreign),
            ("https://app.example:444", OriginVerdict::Foreign),
            ("http://app.example", OriginVerdict::Foreign),
            ("https://APP.example", OriginVerdict::Foreign),
            ("http://hub.example", OriginVerdict::Foreign),
            ("ftp://hub.example:8080", OriginVerdict::Foreign),
            ("", OriginVerdict::Foreign),
        ] {
            let got = check(false, &[("host", "Hub.Example:8080"), ("origin", origin)]);
            assert_eq!(got, expected, "{origin}");
        }
        assert_eq!(check(false, &[("host", "anything")]), OriginVerdict::Plain);
        let listed_twice = [("origin", "http://localhost:3000"); 2];
        assert_eq!(check(false, &listed_twice), OriginVerdict::Foreign);
    }

    #[test]
    fn a_loopback_listener_answers_to_loopback_names_only() {
        for (host, expected) in [
            ("localhost:8080", OriginVerdict::Plain),
            ("LOCALHOST", OriginVerdict::Plain),
            ("hub.localhost:8080", OriginVerdict::Plain),
            ("127.0.0.1:8080", OriginVerdict::Plain),
            ("127.9.9.9", OriginVerdict::Plain),
            ("[::1]:8080", OriginVerdict::Plain),
            ("app.example", OriginVerdict::Plain),
            ("evil.example:8080", OriginVerdict::Foreign),
            ("localhost.evil.example", OriginVerdict::Foreign),
            ("10.0.0.1:8080", OriginVerdict::Foreign),
            ("[2001:db8::1]:8080", OriginVerdict::Foreign),
            ("", OriginVerdict::Foreign),
        ] {
            assert_eq!(check(true, &[("host", host)]), expected, "{host}");
        }
        let rebound = [("host", "evil.example:8080"), ("origin", "http://evil.example:8080")];
        assert_eq!(check(true, &rebound), OriginVerdict::Foreign);
        assert_eq!(check(true, &[("host", "localhost"), ("host", "evil")]), OriginVerdict::Foreign);
        assert_eq!(check(true, &[]), OriginVerdict::Plain, "no browser leaves Host out");
    }

    #[test]
    fn the_target_in_absolute_form_is_the_host() {
        let origins = Origins::parse("none").expect("an empty list");
        let both = headers(&[("host", "localhost")]);
        assert_eq!(judge(&origins, true, &both, Some("evil.example")), OriginVerdict::Foreign);
    }

    #[test]
    fn a_list_is_read_as_it_is_written() {
        let origins = Origins::parse("HTTP://A.b:80/, https://c").expect("good origins");
        assert_eq!(origins.text(), "http://a.b,https://c");
        assert_eq!(Origins::parse(&origins.text()), Ok(origins));
        assert_eq!(Origins::parse("none").map(|none| none.text()), Ok("none".into()));
        for bad in ["*", "a.b", "http://", "http://a/b", "ws://a", "http://a:99999", "http://a b"] {
            assert!(Origins::parse(bad).is_err(), "{bad}");
        }
    }
}
