//! Which proxies are believed, and what they say: the addresses for whom they speak count in place
//! of their own. What anybody else says of that is not read. Pure.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::forwarded::ProxyHeader;
use super::head::{Fields, text};
use super::peer::Peer;
use crate::limits::TRUSTED_PROXIES_MAX;
use crate::shard::event::AddressKey;

/// The proxies that are believed. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxies(Arc<Believed>);

#[derive(PartialEq, Eq, Debug)]
struct Believed {
    networks: Vec<Network>,
    /// Where they say it in each request.
    header: ProxyHeader,
    /// Whether they say it at the begin of each connection too, by the PROXY protocol.
    introduce: bool,
}

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Network {
    first: IpAddr,
    bits: u32,
}

/// What is no list of proxies.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{given}` is not {expected}")]
pub(crate) struct BadProxy {
    given: String,
    expected: String,
}

const PROXY: &str = "an address such as 127.0.0.1, or a network such as 10.0.0.0/8";

impl Proxies {
    /// Reads a comma-separated list of addresses and networks; `none` or nothing is an empty one.
    pub(crate) fn parse(
        list: &str,
        header: ProxyHeader,
        introduce: bool,
    ) -> Result<Proxies, BadProxy> {
        let list = if list.trim() == "none" { "" } else { list };
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        let networks: Vec<Network> = items.map(Network::parse).collect::<Result<_, _>>()?;
        if networks.len() > TRUSTED_PROXIES_MAX {
            let (given, expected) = (networks.len().to_string(), TRUSTED_PROXIES_MAX);
            return Err(BadProxy { given, expected: format!("at most {expected} of them") });
        }
        Ok(Proxies(Arc::new(Believed { networks, header, introduce })))
    }

    /// The list, as [`parse`](Proxies::parse) reads it.
    pub(crate) fn text(&self) -> String {
        let text = self.0.networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        if text.is_empty() { "none".into() } else { text }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.networks.is_empty()
    }

    fn has(&self, address: IpAddr) -> bool {
        self.0.networks.iter().any(|network| network.has(address))
    }

    /// Who is at an address. Where a proxy is believed, those behind it have addresses of their
    /// own, and whoever comes from loopback is one like any other.
    pub(crate) fn peer(&self, address: IpAddr) -> Peer {
        match self.is_empty() {
            true => Peer::exempt_on_loopback(address),
            false => Peer::counted(address),
        }
    }

    /// What the connections of a peer count as; a proxy's are those of others.
    pub(super) fn connections_of(&self, peer: Peer) -> AddressKey {
        peer.key().filter(|_| peer.is_unbelieved() || !self.has(peer.address))
    }

    /// Whether a connection of this peer begins with the PROXY protocol.
    pub(super) fn introduce(&self, peer: Peer) -> bool {
        self.0.introduce && self.has(peer.address)
    }

    /// Who has sent a request that came from this peer: the last in the list whom no proxy of ours
    /// stands for. Where the list ends before, or says what is no address, it is the proxy that
    /// said so.
    pub(crate) fn sender<F: Fields + ?Sized>(&self, peer: Peer, headers: &F) -> Peer {
        if peer.is_unbelieved() || !self.has(peer.address) {
            return peer;
        }
        let mut sender = peer.address;
        let lines: Vec<&[u8]> = headers.all(self.0.header.name()).collect();
        for line in lines.into_iter().rev() {
            let Some(line) = text(line) else { return self.peer(sender) };
            for address in self.0.header.addresses(line) {
                let Some(address) = address else { return self.peer(sender) };
                sender = address;
                if !self.has(address) {
                    return self.peer(sender);
                }
            }
        }
        self.peer(sender)
    }
}

impl Network {
    fn parse(given: &str) -> Result<Network, BadProxy> {
        let bad = |expected: String| BadProxy { given: given.into(), expected };
        let (address, bits) =
            given.split_once('/').map_or((given, None), |(it, bits)| (it, Some(bits)));
        let first: IpAddr = address.parse().map_err(|_| bad(PROXY.into()))?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most));
        let network = Network { first, bits: bits.ok_or_else(|| bad(PROXY.into()))? };
        let own = network.begin(first);
        if own != first {
            return Err(bad(format!("the begin of a network: that is {own}/{}", network.bits)));
        }
        Ok(network)
    }

    /// An address with nothing but zeros behind the bits of the network.
    fn begin(self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(it) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                IpAddr::V4((u32::from(it) & mask).into())
            }
            IpAddr::V6(it) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                IpAddr::V6((u128::from(it) & mask).into())
            }
        }
    }

    fn has(self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && self.begin(address) == self.first
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.bits) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(out, "{}", self.first),
            (first, bits) => write!(out, "{first}/{bits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn proxies(list: &str, header: ProxyHeader) -> Proxies {
        Proxies::parse(list, header, false).expect("a good list")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn sender(proxies: &Proxies, from: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            headers.append(HeaderName::from_static(name), value);
        }
        proxies.sender(proxies.peer(address(from)), &headers).address.to_string()
    }

    #[test]
    fn the_last_who_is_no_proxy_of_ours_has_sent_it() {
        const LIST: &str = "x-forwarded-for";
        let proxies = proxies("127.0.0.1, 10.0.0.0/8, 2001:db8::/32", ProxyHeader::XForwardedFor);
        for (from, lines, expected) in [
            ("127.0.0.1", &[][..], "127.0.0.1"),
            ("127.0.0.1", &[(LIST, "192.0.2.1")], "192.0.2.1"),
            ("::ffff:127.0.0.1", &[(LIST, "192.0.2.1")], "192.0.2.1"),
            ("127.0.0.1", &[(LIST, "6.6.6.6, 192.0.2.1, 10.1.2.3")], "192.0.2.1"),
            ("127.0.0.1", &[(LIST, "6.6.6.6"), (LIST, "192.0.2.1,10.1.2.3")], "192.0.2.1"),
            ("127.0.0.1", &[(LIST, "192.0.2.1"), (LIST, "10.1.2.3")], "192.0.2.1"),
            ("127.0.0.1", &[(LIST, "10.1.2.4, 10.1.2.3")], "10.1.2.4"),
            ("127.0.0.1", &[(LIST, "6.6.6.6, junk, 10.1.2.3")], "10.1.2.3"),
            ("127.0.0.1", &[(LIST, "6.6.6.6, \u{e9}")], "127.0.0.1"),
            ("2001:db8::9", &[(LIST, "2001:db9::1")], "2001:db9::1"),
            ("127.0.0.1", &[("forwarded", "for=6.6.6.6"), ("x-real-ip", "6.6.6.6")], "127.0.0.1"),
            // From anybody else nothing of it is read.
            ("127.0.0.2", &[(LIST, "6.6.6.6")], "127.0.0.2"),
            ("192.0.2.9", &[(LIST, "6.6.6.6, 10.0.0.1")], "192.0.2.9"),
        ] {
            assert_eq!(sender(&proxies, from, lines), expected, "{from} {lines:?}");
        }
        let standard = self::proxies("127.0.0.1", ProxyHeader::Forwarded);
        let both = [("x-forwarded-for", "6.6.6.6"), ("forwarded", r#"for="[2001:db8::1]:5""#)];
        assert_eq!(sender(&standard, "127.0.0.1", &both), "2001:db8::1");
    }

    #[test]
    fn loopback_is_exempt_only_where_no_proxy_is_believed() {
        let (none, one) = ("none", "10.0.0.1");
        let key = |list, of| proxies(list, ProxyHeader::XForwardedFor).peer(address(of)).key();
        assert_eq!(key(none, "127.0.0.1"), None);
        assert!(key(none, "192.0.2.1").is_some() && key(one, "127.0.0.1").is_some());
        let proxies = proxies(one, ProxyHeader::XForwardedFor);
        let connections = |of| proxies.connections_of(proxies.peer(address(of)));
        assert_eq!(connections("10.0.0.1"), None, "they are those of others");
        assert!(connections("10.0.0.2").is_some());
    }

    #[test]
    fn a_list_is_read_as_it_is_written() {
        let header = ProxyHeader::XForwardedFor;
        for (given, text) in [
            ("none", "none"),
            ("", "none"),
            (
                " 10.0.0.0/8 ,::1,192.0.2.1/32, 0.0.0.0/0,::/0",
                "10.0.0.0/8,::1,192.0.2.1,0.0.0.0/0,::/0",
            ),
        ] {
            let proxies = proxies(given, header);
            assert_eq!(proxies.text(), text);
            assert_eq!(Proxies::parse(text, header, false), Ok(proxies));
        }
        for bad in [
            "x",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "10.0.0",
            "any",
            "10.0.0.1:80",
        ] {
            let error = Proxies::parse(bad, header, false).expect_err(bad).to_string();
            assert_eq!(error, format!("`{bad}` is not {PROXY}"));
        }
        let error = Proxies::parse("10.1.2.3/8", header, false).expect_err("host bits").to_string();
        assert_eq!(error, "`10.1.2.3/8` is not the begin of a network: that is 10.0.0.0/8");
    }

    proptest! {
        #[test]
        fn a_network_has_what_begins_as_it_does(
            one: u128, noise: u128, bits in 0u32..=128, same in 0u32..128,
        ) {
            let v6 = |number: u128| IpAddr::V6(number.into());
            let network = Network { first: v6(0), bits };
            let network = Network { first: network.begin(v6(one)), bits };
            prop_assert!(network.has(v6(one)));
            // Another address that begins with `same` of its bits, and no more.
            let bit = 1u128 << (127 - same);
            let other = one ^ bit ^ (noise & (bit - 1));
            prop_assert_eq!(network.has(v6(other)), same >= bits);
            prop_assert!(!network.has(std::net::Ipv4Addr::LOCALHOST.into()));
        }

        #[test]
        fn nobody_is_believed_who_is_not_listed(
            lines in prop::collection::vec("[ -~]{0,30}", 0..4),
        ) {
            let proxies = proxies("10.0.0.0/8", ProxyHeader::XForwardedFor);
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append("x-forwarded-for", HeaderValue::from_str(line).expect("a value"));
            }
            let peer = proxies.peer(address("192.0.2.1"));
            prop_assert_eq!(proxies.sender(peer, &headers), peer);
            // And of one who is, each line is read without harm.
            proxies.sender(proxies.peer(address("10.0.0.1")), &headers);
        }
    }
}
