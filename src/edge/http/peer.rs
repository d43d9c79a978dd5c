//! Where a request came from, and what that counts as for limits.

use std::net::IpAddr;

use crate::hub::address_number;
use crate::shard::event::AddressKey;

/// The address of a connection's other end; where that is a proxy, of those for whom it speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Peer {
    /// An IPv4 address in IPv6 clothes is the IPv4 address.
    pub address: IpAddr,
    is_exempt: bool,
    /// It is somebody behind a proxy, with the proxy's address for want of their own.
    is_unbelieved: bool,
}

impl Peer {
    /// A peer like any other.
    pub(crate) fn counted(address: IpAddr) -> Peer {
        Peer { address: address.to_canonical(), is_exempt: false, is_unbelieved: false }
    }

    /// A peer whose limits do not hold on loopback, behind which may stand everybody.
    pub(crate) fn exempt_on_loopback(address: IpAddr) -> Peer {
        let address = address.to_canonical();
        Peer { address, is_exempt: address.is_loopback(), is_unbelieved: false }
    }

    /// Somebody of whom this peer, a proxy, can't say who they are: they share its address, and
    /// are not believed for that.
    pub(super) fn unbelieved(self) -> Peer {
        Peer { is_unbelieved: true, ..self }
    }

    /// Whether it is somebody of whom a proxy could not say who they are.
    pub(super) fn is_unbelieved(self) -> bool {
        self.is_unbelieved
    }

    /// What the address counts as; `None`: it is exempt.
    pub(crate) fn key(self) -> AddressKey {
        (!self.is_exempt).then(|| self.number())
    }

    /// What the address counts as in shares of a pool, where nobody is exempt.
    pub(crate) fn number(self) -> u64 {
        address_number(self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> AddressKey {
        Peer::exempt_on_loopback(text.parse().expect("an address")).key()
    }

    #[test]
    fn an_ipv6_subscriber_counts_once_and_loopback_only_where_it_is_not_exempt() {
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        let counted = |text: &str| Peer::counted(text.parse().expect("an address"));
        for exempt in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(key(exempt), None, "{exempt}");
            assert_eq!(counted(exempt).key(), Some(counted(exempt).number()), "{exempt}");
        }
        let number = |text: &str| counted(text).number();
        assert_eq!(number("127.0.0.1"), number("::ffff:127.0.0.1"), "in shares it counts");
        assert_ne!(number("127.0.0.1"), number("127.0.0.2"));
        assert_eq!(number("2001:db8::1"), number("2001:db8::2"));
    }
}
