//! Where a request came from, and what that counts as for limits.

use std::net::{IpAddr, SocketAddr};

use crate::hub::{address_key, address_number};
use crate::shard::event::AddressKey;

/// The address of a connection's other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Peer(pub IpAddr);

impl Peer {
    /// An IPv4 address in IPv6 clothes is the IPv4 address.
    pub(crate) fn of(address: SocketAddr) -> Peer {
        Peer(address.ip().to_canonical())
    }

    /// What the address counts as; loopback is exempt.
    pub(crate) fn key(self) -> AddressKey {
        address_key(self.0)
    }

    /// What the address counts as in shares of a pool; loopback has its share too.
    pub(crate) fn number(self) -> u64 {
        address_number(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> AddressKey {
        Peer::of(text.parse().expect("an address")).key()
    }

    #[test]
    fn an_ipv6_subscriber_counts_once_and_loopback_never() {
        assert_eq!(key("[2001:db8::1]:1"), key("[2001:db8::ffff:2]:2"));
        assert_ne!(key("[2001:db8::1]:1"), key("[2001:db8:0:1::1]:1"));
        assert_eq!(key("[::ffff:192.0.2.1]:1"), key("192.0.2.1:9"));
        assert_ne!(key("192.0.2.1:1"), key("192.0.2.2:1"));
        for exempt in ["127.0.0.1:1", "127.3.2.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(key(exempt), None, "{exempt}");
        }
        let number = |text: &str| Peer::of(text.parse().expect("an address")).number();
        assert_eq!(number("127.0.0.1:1"), number("[::ffff:127.0.0.1]:2"), "in shares it counts");
        assert_ne!(number("127.0.0.1:1"), number("127.0.0.2:1"));
        assert_eq!(number("[2001:db8::1]:1"), number("[2001:db8::2]:1"));
    }
}
