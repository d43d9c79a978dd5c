//! Which pages may talk to the hub, and under which names: the allowed origins and hosts (WIRE A5).
//!
//! Pure. A request of a foreign origin, or under a name that is not the hub's, is refused before
//! its route, method or handshake is looked at. There are no cookies, so a request without
//! `Origin` is let through.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::head::{Fields, text};
use super::names::{Host, HostName, Origin};

/// The origins that may use the hub from a browser. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origins(Arc<[Origin]>);

/// An origin that can't be listed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{given}` is not {expected}")]
pub struct BadName {
    /// What was given.
    pub given: String,
    /// What it should look like.
    pub expected: &'static str,
}

const ORIGIN: &str = "an origin such as https://hub.example or http://localhost:3000";
const PAGES_ORIGIN: &str = "a page's origin: that begins with http or https";
const ASCII: &str = "how browsers write it: letters beyond ASCII come as xn--...";
const HOST: &str = "a host's name such as hub.example, or `any` by itself; without a port";

impl Origins {
    /// Reads a comma-separated list; `none` or nothing is an empty one.
    pub fn parse(list: &str) -> Result<Origins, BadName> {
        items(list).map(listed_origin).collect::<Result<_, _>>().map(Origins)
    }

    /// The list, as [`parse`](Origins::parse) reads it.
    pub fn text(&self) -> String {
        listed(self.iter())
    }

    /// The origins one by one.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }

    /// Whether a listed origin is served under this name: the pages of a proxy in front.
    fn have_name(&self, name: &HostName) -> bool {
        self.0.iter().any(|origin| origin.name() == Some(name))
    }
}

/// The names under which the hub is reached, beside those that it always answers to; none is known
/// where it answers to any. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hosts(Option<Arc<[HostName]>>);

impl Hosts {
    /// Reads a comma-separated list, or `any`; `none` or nothing is an empty one.
    pub fn parse(list: &str) -> Result<Hosts, BadName> {
        if list.trim() == "any" {
            return Ok(Hosts(None));
        }
        let bad = |given: &str| BadName { given: given.into(), expected: HOST };
        let name = |given| HostName::parse(given).filter(|_| given != "any").ok_or(bad(given));
        items(list).map(name).collect::<Result<_, _>>().map(|names| Hosts(Some(names)))
    }

    /// The list, as [`parse`](Hosts::parse) reads it.
    pub fn text(&self) -> String {
        match &self.0 {
            Some(names) => listed(names.iter().map(ToString::to_string)),
            None => "any".into(),
        }
    }

    fn list(&self, name: &HostName) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    let list = if list.trim() == "none" { "" } else { list };
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let text = items.collect::<Vec<_>>().join(",");
    if text.is_empty() { "none".into() } else { text }
}

fn listed_origin(given: &str) -> Result<Origin, BadName> {
    let read =
        Origin::parse(given.strip_suffix('/').filter(|it| !it.ends_with('/')).unwrap_or(given));
    read.ok_or_else(|| {
        let scheme = given.split("://").next().unwrap_or_default().to_ascii_lowercase();
        let expected = match &*scheme {
            _ if !given.is_ascii() => ASCII,
            "ws" | "wss" => PAGES_ORIGIN,
            _ => ORIGIN,
        };
        BadName { given: given.into(), expected }
    })
}

/// What the request's origin and host mean for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum OriginVerdict {
    /// No browser, or a page of the hub's own: nothing to add.
    Plain,
    /// A listed origin: the answer allows it.
    Listed(HeaderValue),
    /// A page of another origin: 403, empty. `None`: what it says is none, as `null`.
    Foreign(Option<Origin>),
    /// The hub does not go by this name: 403, empty.
    Unknown(HostName),
    /// No host, several, or what can be none: 400.
    NoHost,
}

/// What a request says of where it comes from and where it was sent.
pub(super) struct Sent<'a, F: ?Sized> {
    pub(super) version: Version,
    pub(super) headers: &'a F,
    /// The target's, if it is in absolute form.
    pub(super) authority: Option<&'a str>,
}

/// Who may use the hub, and what it is called.
#[derive(Clone, Debug)]
pub(super) struct Guests {
    pub(super) origins: Origins,
    pub(super) hosts: Hosts,
    /// The listener is on a loopback address: there is no other that it could be reached by.
    pub(super) is_loopback: bool,
}

impl Guests {
    /// Judges a request by its `Origin` and its `Host`.
    pub(super) fn judge<F: Fields + ?Sized>(&self, sent: Sent<'_, F>) -> OriginVerdict {
        let Ok(host) = one_host(&sent) else { return OriginVerdict::NoHost };
        if let Some(host) = &host
            && !self.know(&host.name)
        {
            return OriginVerdict::Unknown(host.name.clone());
        }
        let mut given = sent.headers.all(header::ORIGIN.as_str());
        let (first, second) = (given.next(), given.next());
        let Some(value) = first else { return OriginVerdict::Plain };
        let read = text(value).filter(|_| second.is_none()).and_then(Origin::parse);
        let Some(origin) = read else { return OriginVerdict::Foreign(None) };
        if host.is_some_and(|host| origin.is_of(&host)) {
            return OriginVerdict::Plain;
        }
        match HeaderValue::from_bytes(value) {
            Ok(value) if self.origins.0.contains(&origin) => OriginVerdict::Listed(value),
            _ => OriginVerdict::Foreign(Some(origin)),
        }
    }

    /// Whether the hub goes by this name. Any page is of one origin with what it finds under its
    /// own name, which may have come to lead to the hub (DNS rebinding): but it can't hide that
    /// name, and an address is no name.
    fn know(&self, name: &HostName) -> bool {
        name.is_loopback()
            || (name.is_address() && !self.is_loopback)
            || self.hosts.list(name)
            || self.origins.have_name(name)
    }
}

/// A request without a host that one can go by.
struct NoHost;

/// The one host that a request names; only one of HTTP/1.0 may leave it out (RFC 9112 3.2).
fn one_host<F: Fields + ?Sized>(sent: &Sent<'_, F>) -> Result<Option<Host>, NoHost> {
    let mut given = sent.headers.all(header::HOST.as_str());
    let header = match (given.next(), given.next()) {
        (Some(host), None) => text(host).ok_or(NoHost)?,
        (None, None) if sent.version < Version::HTTP_11 => match sent.authority {
            Some(authority) => authority,
            None => return Ok(None),
        },
        _ => return Err(NoHost),
    };
    // A target in absolute form overrides the header (RFC 9112 3.2.2).
    Host::parse(sent.authority.unwrap_or(header)).map(Some).ok_or(NoHost)
}

/// The headers of a preflight's answer, in WIRE A5's order.
pub(super) fn preflight_headers(origin: HeaderValue) -> HeaderMap {
    const ALLOWED: &str =
        "Origin,Content-Type,Accept,Authorization,Idempotency-Key,Prefer,Last-Event-ID";
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

/// The headers of any other answer to a listed origin. A page may read what the hub says beside
/// the body.
pub(super) fn answer_headers(origin: HeaderValue) -> [(HeaderName, HeaderValue); 3] {
    const EXPOSED: &str = "Retry-After,Idempotency-Replayed,Preference-Applied,X-Request-Id";
    let fixed = HeaderValue::from_static;
    [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
        (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, fixed("true")),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, fixed(EXPOSED)),
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

    fn guests(is_loopback: bool, hosts: &str) -> Guests {
        let origins = "http://localhost:3000,https://App.Example:443/,capacitor://localhost";
        let origins = Origins::parse(origins).expect("good origins");
        Guests { origins, hosts: Hosts::parse(hosts).expect("good names"), is_loopback }
    }

    fn judge(guests: &Guests, version: Version, headers: &HeaderMap) -> OriginVerdict {
        guests.judge(Sent { version, headers, authority: None })
    }

    fn check(is_loopback: bool, pairs: &[(&'static str, &str)]) -> OriginVerdict {
        judge(&guests(is_loopback, "none"), Version::HTTP_11, &headers(pairs))
    }

    fn foreign(origin: &str) -> OriginVerdict {
        OriginVerdict::Foreign(Origin::parse(origin))
    }

    fn unknown(host: &str) -> OriginVerdict {
        OriginVerdict::Unknown(HostName::parse(host).expect(host))
    }

    #[test]
    fn a_listed_origin_is_allowed_and_a_foreign_one_is_not() {
        let listed = |origin| OriginVerdict::Listed(HeaderValue::from_static(origin));
        for (origin, expected) in [
            ("http://localhost:3000", listed("http://localhost:3000")),
            ("https://app.example", listed("https://app.example")),
            ("https://APP.example.:443", listed("https://APP.example.:443")),
            ("capacitor://localhost", listed("capacitor://localhost")),
            ("http://app.example:8080", OriginVerdict::Plain),
            ("https://app.example:8080", OriginVerdict::Plain),
            ("null", OriginVerdict::Foreign(None)),
            ("https://app.example/", OriginVerdict::Foreign(None)),
            ("", OriginVerdict::Foreign(None)),
            ("https://evil.example", foreign("https://evil.example")),
            ("https://app.example.evil", foreign("https://app.example.evil")),
            ("https://sub.app.example", foreign("https://sub.app.example")),
            ("https://app.example:444", foreign("https://app.example:444")),
            ("http://app.example", foreign("http://app.example")),
            ("ionic://localhost", foreign("ionic://localhost")),
            ("ftp://app.example:8080", foreign("ftp://app.example:8080")),
        ] {
            let got = check(false, &[("host", "App.Example:8080"), ("origin", origin)]);
            assert_eq!(got, expected, "{origin}");
        }
        assert_eq!(check(false, &[("host", "192.0.2.1")]), OriginVerdict::Plain);
        let host = ("host", "localhost");
        let twice =
            [host, ("origin", "http://localhost:3000"), ("origin", "http://localhost:3000")];
        assert_eq!(check(false, &twice), OriginVerdict::Foreign(None));
    }

    #[test]
    fn the_hub_answers_to_its_own_names_only() {
        let plain = OriginVerdict::Plain;
        for (host, on_loopback, elsewhere) in [
            ("localhost:8080", plain.clone(), plain.clone()),
            ("LOCALHOST.", plain.clone(), plain.clone()),
            ("hub.localhost:8080", plain.clone(), plain.clone()),
            ("127.0.0.1:8080", plain.clone(), plain.clone()),
            ("127.9.9.9", plain.clone(), plain.clone()),
            ("[0::1]:8080", plain.clone(), plain.clone()),
            ("app.example", plain.clone(), plain.clone()),
            ("app.example:443", plain.clone(), plain.clone()),
            ("App.Example.:80", plain.clone(), plain.clone()),
            ("10.0.0.1:8080", unknown("10.0.0.1"), plain.clone()),
            ("[2001:db8::1]:8080", unknown("[2001:db8::1]"), plain.clone()),
            ("evil.example:8080", unknown("evil.example"), unknown("evil.example")),
            ("hub_upstream", unknown("hub_upstream"), unknown("hub_upstream")),
            ("localhost.evil.example", unknown("localhost.evil.example"), {
                unknown("localhost.evil.example")
            }),
            ("", OriginVerdict::NoHost, OriginVerdict::NoHost),
            ("a b", OriginVerdict::NoHost, OriginVerdict::NoHost),
            ("user@localhost", OriginVerdict::NoHost, OriginVerdict::NoHost),
        ] {
            assert_eq!(check(true, &[("host", host)]), on_loopback, "{host}");
            assert_eq!(check(false, &[("host", host)]), elsewhere, "{host}");
        }
        let rebound = [("host", "evil.example:8080"), ("origin", "http://evil.example:8080")];
        assert_eq!(check(true, &rebound), unknown("evil.example"));
        assert_eq!(check(false, &rebound), unknown("evil.example"));
        let named = headers(&[("host", "Hub_Upstream:8080")]);
        for (hosts, expected) in [
            ("hub_upstream", plain.clone()),
            ("other, hub_upstream.", plain.clone()),
            ("any", plain),
            ("other", unknown("hub_upstream")),
        ] {
            let guests = guests(false, hosts);
            assert_eq!(judge(&guests, Version::HTTP_11, &named), expected, "{hosts}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let guests = guests(true, "none");
        let twice = headers(&[("host", "localhost"), ("host", "localhost")]);
        assert_eq!(judge(&guests, Version::HTTP_11, &twice), OriginVerdict::NoHost);
        let none = HeaderMap::new();
        assert_eq!(judge(&guests, Version::HTTP_11, &none), OriginVerdict::NoHost);
        assert_eq!(judge(&guests, Version::HTTP_10, &none), OriginVerdict::Plain);
        let absolute = |headers, version| {
            guests.judge(Sent { version, headers, authority: Some("evil.example") })
        };
        let both = headers(&[("host", "localhost")]);
        assert_eq!(absolute(&both, Version::HTTP_11), unknown("evil.example"));
        assert_eq!(absolute(&none, Version::HTTP_10), unknown("evil.example"));
        assert_eq!(absolute(&none, Version::HTTP_11), OriginVerdict::NoHost);
    }

    #[test]
    fn a_list_is_read_as_it_is_written() {
        let origins = Origins::parse("HTTP://A.b:80/, https://c,tauri://localhost,file://");
        let origins = origins.expect("good origins");
        assert_eq!(origins.text(), "http://a.b,https://c,tauri://localhost,file://");
        assert_eq!(Origins::parse(&origins.text()), Ok(origins));
        assert_eq!(Origins::parse("none").map(|none| none.text()), Ok("none".into()));
        for bad in ["*", "a.b", "http://", "http://a/b", "http://a:99999", "http://a b", "null"] {
            let error = Origins::parse(bad).expect_err(bad);
            assert_eq!(error.expected, ORIGIN, "{bad}");
        }
        assert_eq!(Origins::parse("wss://a").expect_err("no page").expected, PAGES_ORIGIN);
        assert_eq!(Origins::parse("https://ñ.example").expect_err("no page").expected, ASCII);
        let hosts = Hosts::parse("Hub, hub.example.,[0::1]").expect("good names");
        assert_eq!(hosts.text(), "hub,hub.example,[::1]");
        assert_eq!(Hosts::parse(&hosts.text()), Ok(hosts));
        for text in ["none", "any"] {
            assert_eq!(Hosts::parse(text).map(|hosts| hosts.text()), Ok(text.into()));
        }
        for bad in ["hub:80", "http://hub", "*", "hub,any", "a b"] {
            assert_eq!(Hosts::parse(bad).expect_err(bad).expected, HOST, "{bad}");
        }
    }
}
