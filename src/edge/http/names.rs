//! The names by which the hub and the pages that use it are known: hosts and origins, as all
//! comparisons have them. Pure.
//!
//! A name is compared only once it is normal: in lower case, without a final dot, an IPv6 address
//! in its one shortest form, the scheme's own port like none. Names with letters beyond ASCII come
//! in the form `xn--...`, since browsers send no other.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The most characters of a name in DNS.
const NAME_CHARS: usize = 253;

/// A host's name or address, normal; an IPv6 address in brackets.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct HostName(Box<str>);

impl HostName {
    /// Reads a name without a port. `None`: it is none.
    pub(crate) fn parse(text: &str) -> Option<HostName> {
        if let Some(address) = text.strip_prefix('[') {
            let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
            return Some(HostName(format!("[{address}]").into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !label.is_empty() && label.bytes().all(known)
        };
        let is_name = name.len() <= NAME_CHARS && name.split('.').all(is_label);
        is_name.then(|| HostName(name.into()))
    }

    /// The address that it is, unless it is a name.
    fn address(&self) -> Option<IpAddr> {
        let text = self.0.trim_start_matches('[').trim_end_matches(']');
        text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
    }

    /// Whether it is an address: nobody can have a name of theirs lead to the hub by it.
    pub(super) fn is_address(&self) -> bool {
        self.address().is_some()
    }

    /// Whether it stands for the very machine.
    pub(super) fn is_loopback(&self) -> bool {
        match self.address() {
            Some(address) => address.is_loopback(),
            None => &*self.0 == "localhost" || self.0.ends_with(".localhost"),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What a request says of where it has come: a name, and a port unless it is the scheme's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Host {
    pub(super) name: HostName,
    port: Option<u16>,
}

impl Host {
    /// Reads a `Host`, or a target's authority.
    pub(super) fn parse(text: &str) -> Option<Host> {
        let bracket = text.rfind(']').map_or(0, |at| at + 1);
        let Some(colon) = text[bracket..].find(':') else {
            return Some(Host { name: HostName::parse(text)?, port: None });
        };
        let (name, port) = (&text[..bracket + colon], &text[bracket + colon + 1..]);
        Some(Host { name: HostName::parse(name)?, port: parse_port(port)? })
    }
}

/// A port may be empty: then it is the scheme's own. `None`: it is none.
fn parse_port(text: &str) -> Option<Option<u16>> {
    match text {
        "" => Some(None),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok().map(Some),
        _ => None,
    }
}

/// Where a page comes from, as browsers say it, and apps that are made of pages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// A page of the web; a port that is not the scheme's own.
    Web {
        /// Its scheme is `https`.
        is_https: bool,
        /// The host that serves the page.
        name: HostName,
        /// Always known.
        port: u16,
    },
    /// Anything else, such as `capacitor://localhost`: what stands behind the scheme is its own
    /// business, and compared as it is.
    App(Box<str>),
}

impl Origin {
    /// Reads an origin. `None`: it is none, as `null`.
    pub(super) fn parse(text: &str) -> Option<Origin> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let is_https = match &*scheme {
            "http" => false,
            "https" => true,
            _ => return Origin::parse_app(&scheme, rest),
        };
        let Host { name, port } = Host::parse(rest)?;
        Some(Origin::Web { is_https, name, port: port.unwrap_or(own_port(is_https)) })
    }

    fn parse_app(scheme: &str, rest: &str) -> Option<Origin> {
        let is_scheme = scheme.starts_with(|letter: char| letter.is_ascii_lowercase())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
        let is_rest = rest.len() <= NAME_CHARS && rest.bytes().all(known);
        // Sockets are reached by these; no page comes from there.
        let is_socket = matches!(scheme, "ws" | "wss");
        let is_origin = is_scheme && is_rest && !is_socket && scheme.len() <= NAME_CHARS;
        is_origin.then(|| Origin::App(format!("{scheme}://{rest}").into()))
    }

    /// Under which name a page of the web is served.
    pub(super) fn name(&self) -> Option<&HostName> {
        match self {
            Origin::Web { name, .. } => Some(name),
            Origin::App(_) => None,
        }
    }

    /// Whether the page is the host's own. Both schemes: TLS may end in a proxy before the hub.
    pub(super) fn is_of(&self, host: &Host) -> bool {
        match self {
            Origin::Web { is_https, name, port } => {
                *name == host.name && *port == host.port.unwrap_or(own_port(*is_https))
            }
            Origin::App(_) => false,
        }
    }
}

fn own_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

impl fmt::Display for Origin {
    /// As browsers write it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Web { is_https, name, port } => {
                let scheme = if *is_https { "https" } else { "http" };
                write!(out, "{scheme}://{name}")?;
                if *port == own_port(*is_https) { Ok(()) } else { write!(out, ":{port}") }
            }
            Origin::App(text) => out.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(text: &str) -> Option<String> {
        HostName::parse(text).map(|name| name.to_string())
    }

    #[test]
    fn a_name_has_one_form() {
        for (given, normal) in [
            ("App.Example", "app.example"),
            ("app.example.", "app.example"),
            ("hub_upstream", "hub_upstream"),
            ("XN--MAANA-PTA.example", "xn--maana-pta.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("[::1]", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("[2001:DB8:0::0:1]", "[2001:db8::1]"),
        ] {
            assert_eq!(host(given).as_deref(), Some(normal), "{given}");
        }
        let long = "a".repeat(254);
        for none in
            ["", ".", "a..b", ".a", "a b", "a/b", "a@b", "a%62", "mañana", "::1", "[::1", "[x]"]
        {
            assert_eq!(host(none), None, "{none}");
        }
        assert_eq!(host(&long), None);
    }

    #[test]
    fn a_host_has_a_port_or_its_schemes_own() {
        let is_of = |origin: &str, host: &str| {
            let origin = Origin::parse(origin).expect(origin);
            Host::parse(host).map(|host| origin.is_of(&host))
        };
        for (origin, host, expected) in [
            ("https://app.example", "app.example", Some(true)),
            ("https://app.example", "App.Example.:443", Some(true)),
            ("http://app.example", "app.example:80", Some(true)),
            ("http://app.example", "app.example:", Some(true)),
            ("https://app.example:443", "app.example", Some(true)),
            ("http://app.example:8080", "app.example:8080", Some(true)),
            ("http://[::1]:8080", "[0::1]:8080", Some(true)),
            ("https://app.example", "app.example:80", Some(false)),
            ("https://app.example", "sub.app.example", Some(false)),
            ("capacitor://localhost", "localhost", Some(false)),
            ("http://app.example", "app.example:x", None),
            ("http://app.example", "app.example:+80", None),
            ("http://app.example", "app.example:65536", None),
            ("http://app.example", "user@app.example", None),
            ("http://app.example", ":80", None),
            ("http://app.example", "a:1:2", None),
        ] {
            assert_eq!(is_of(origin, host), expected, "{origin} {host}");
        }
    }

    #[test]
    fn an_origin_has_one_form_and_may_be_an_apps() {
        let origin = |text: &str| Origin::parse(text).map(|origin| origin.to_string());
        for (given, normal) in [
            ("HTTP://A.b:80", "http://a.b"),
            ("https://a.b.:443", "https://a.b"),
            ("http://[0:0::1]:3000", "http://[::1]:3000"),
            ("Capacitor://localhost", "capacitor://localhost"),
            ("tauri://localhost", "tauri://localhost"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
            ("file://", "file://"),
        ] {
            assert_eq!(origin(given).as_deref(), Some(normal), "{given}");
        }
        for none in [
            "",
            "null",
            "*",
            "a.b",
            "http://",
            "http://a/",
            "http://a:99999",
            "ws://a",
            "wss://a",
            "://a",
            "1x://a",
            "x y://a",
            "app://a/b",
            "app://a,b",
            "app://a\nb",
        ] {
            assert_eq!(origin(none), None, "{none}");
        }
    }

    #[test]
    fn the_machine_itself_has_many_names() {
        let is = |text: &str| {
            let name = HostName::parse(text).expect(text);
            (name.is_loopback(), name.is_address())
        };
        for own in ["127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
            assert_eq!(is(own), (true, true), "{own}");
        }
        for own in ["localhost", "LocalHost.", "hub.localhost"] {
            assert_eq!(is(own), (true, false), "{own}");
        }
        assert_eq!(is("localhost.evil.example"), (false, false));
        assert_eq!((is("10.0.0.1"), is("[2001:db8::1]")), ((false, true), (false, true)));
    }

    proptest! {
        #[test]
        fn what_is_normal_stays_as_it_is(text in "[a-zA-Z0-9:./\\[\\]_é -]{0,40}") {
            if let Some(origin) = Origin::parse(&text) {
                let normal = origin.to_string();
                prop_assert_eq!(Origin::parse(&normal), Some(origin));
            }
            if let Some(host) = Host::parse(&text) {
                let known = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte);
                prop_assert!(host.name.to_string().bytes().all(known));
            }
        }
    }
}
