//! For whom a proxy says that it speaks: the lists of `X-Forwarded-For` and of `Forwarded` (RFC
//! 7239), read from their ends, since each proxy adds to what it was sent. Pure.
//!
//! What stands at the end is the last proxy's own. What stands before it may be anybody's, and
//! nothing in it can change how the end is read: not a quote that is never closed either.

use std::net::{IpAddr, SocketAddr};

/// How proxies say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ProxyHeader {
    /// `X-Forwarded-For`: addresses.
    XForwardedFor,
    /// `Forwarded`: `for=` an address, and more.
    Forwarded,
}

impl ProxyHeader {
    /// Reads a name of one.
    pub(crate) fn parse(name: &str) -> Option<ProxyHeader> {
        [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded]
            .into_iter()
            .find(|it| it.name() == name)
    }

    /// Its name, in lower case.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ProxyHeader::XForwardedFor => "x-forwarded-for",
            ProxyHeader::Forwarded => "forwarded",
        }
    }

    /// The addresses of a line, the last one first. `None`: one that is hidden, or is none.
    pub(super) fn addresses(self, line: &str) -> impl Iterator<Item = Option<IpAddr>> {
        // An empty element is none (RFC 9110 5.6.1).
        let elements = FromEnd::new(line, b',').map(str::trim_ascii).filter(|it| !it.is_empty());
        elements.map(move |element| match self {
            ProxyHeader::XForwardedFor => node(element),
            ProxyHeader::Forwarded => for_of(element),
        })
    }
}

/// The address of an element of `Forwarded`.
fn for_of(element: &str) -> Option<IpAddr> {
    let pairs = FromEnd::new(element, b';').map(str::trim_ascii);
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    let mut nodes = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for"));
    let (Some((_, value)), None) = (nodes.next(), nodes.next()) else { return None };
    match value.strip_prefix('"') {
        // No address has a letter that has to be escaped.
        Some(quoted) => node(quoted.strip_suffix('"')?),
        None => node(value),
    }
}

/// An address, with or without a port.
fn node(text: &str) -> Option<IpAddr> {
    let address = match text.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(text) => IpAddr::V6(text.parse().ok()?),
            None => text.parse::<SocketAddr>().ok()?.ip(),
        },
    };
    Some(address.to_canonical())
}

/// The parts of a text between separators outside of quotes, the last one first.
struct FromEnd<'a> {
    rest: Option<&'a str>,
    separator: u8,
}

impl<'a> FromEnd<'a> {
    fn new(text: &'a str, separator: u8) -> FromEnd<'a> {
        FromEnd { rest: Some(text), separator }
    }
}

impl<'a> Iterator for FromEnd<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let bytes = rest.as_bytes();
        let mut is_quoted = false;
        for (at, byte) in bytes.iter().enumerate().rev() {
            if *byte == b'"' {
                let slashes = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                // In a quoted text a quote with a backslash before it does not begin that text.
                is_quoted = !is_quoted || slashes % 2 == 1;
            } else if *byte == self.separator && !is_quoted {
                self.rest = Some(&rest[..at]);
                return Some(&rest[at + 1..]);
            }
        }
        self.rest = None;
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn read(header: ProxyHeader, line: &str) -> Vec<String> {
        let shown = |it: Option<IpAddr>| it.map_or("-".into(), |address| address.to_string());
        header.addresses(line).map(shown).collect()
    }

    #[test]
    fn addresses_are_read_from_the_end_in_each_form_that_proxies_write() {
        for (line, expected) in [
            ("192.0.2.1", &["192.0.2.1"][..]),
            ("203.0.113.7, 192.0.2.1", &["192.0.2.1", "203.0.113.7"]),
            (" 203.0.113.7 ,,192.0.2.1:443,", &["192.0.2.1", "203.0.113.7"]),
            (
                "2001:db8::1,[2001:db8::2],[2001:db8::3]:80",
                &["2001:db8::3", "2001:db8::2", "2001:db8::1"],
            ),
            ("::ffff:192.0.2.1", &["192.0.2.1"]),
            ("unknown, 192.0.2.1", &["192.0.2.1", "-"]),
            ("192.0.2.1, 0300.0.2.1", &["-", "192.0.2.1"]),
            ("192.0.2.1:x, 192.0.2.1:99999, 192.0.2, [192.0.2.1]", &["-", "-", "-", "-"]),
            ("", &[]),
            (" , ", &[]),
        ] {
            assert_eq!(read(ProxyHeader::XForwardedFor, line), expected, "{line}");
        }
    }

    #[test]
    fn elements_are_read_as_the_standard_writes_them() {
        for (line, expected) in [
            ("for=192.0.2.43", &["192.0.2.43"][..]),
            (r#"For="[2001:db8:cafe::17]:4711""#, &["2001:db8:cafe::17"]),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", &["192.0.2.60"]),
            ("for=192.0.2.43, for=198.51.100.17;by=203.0.113.60", &["198.51.100.17", "192.0.2.43"]),
            (r#"proto=https;host="a,b;for=1.1.1.1";for="192.0.2.1:80""#, &["192.0.2.1"]),
            (r#"host="a\"b, for=1.1.1.1";for=192.0.2.1"#, &["192.0.2.1"]),
            (r#"host="\\";for=192.0.2.1"#, &["192.0.2.1"]),
            ("for=unknown, for=_hidden, proto=https", &["-", "-", "-"]),
            ("for=192.0.2.1;for=192.0.2.2", &["-"]),
            ("192.0.2.1", &["-"]),
            // What a client sends before the proxy's own is read for itself.
            (r#"for=", for=192.0.2.1"#, &["192.0.2.1", "-"]),
            (r#"for=1.1.1.1;host="\", for=192.0.2.1"#, &["192.0.2.1", "1.1.1.1"]),
        ] {
            let found = read(ProxyHeader::Forwarded, line);
            assert_eq!(found[..expected.len().min(found.len())], *expected, "{line}");
        }
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|bytes| Ipv4Addr::from(bytes).into()),
            any::<[u8; 16]>().prop_map(|bytes| Ipv6Addr::from(bytes).to_canonical()),
        ]
    }

    proptest! {
        #[test]
        fn whatever_stands_before_it_the_last_address_is_the_proxys_own(
            before in "[ -~\\t]{0,40}", address in address(), is_forwarded: bool,
        ) {
            let headers = [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded];
            let header = headers[usize::from(is_forwarded)];
            let own = match (is_forwarded, address) {
                (false, _) => address.to_string(),
                (true, IpAddr::V4(_)) => format!("for={address}"),
                (true, IpAddr::V6(_)) => format!("for=\"[{address}]:7\""),
            };
            let line = format!("{before}, {own}");
            let all: Vec<_> = header.addresses(&line).collect();
            prop_assert_eq!(all[0], Some(address), "{}", line);
        }
    }
}
