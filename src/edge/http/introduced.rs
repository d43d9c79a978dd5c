//! A connection of a proxy that says first whose it is, by the PROXY protocol: from there on it is
//! theirs. What is not said, or not in time, is not guessed, since the proxy's own address is that
//! of everybody behind it.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::connection::{Arrived, Shared};
use super::peer::Peer;
use super::proxy_protocol::{NoHeader, Said, read};
use super::stream::Stream;
use crate::hub::Place;
use crate::metrics::Metric;

impl Shared {
    /// Serves a proxy's connection, once it is known whose it is.
    pub(super) async fn serve_introduced(
        self: Arc<Self>,
        stream: TcpStream,
        (mut place, proxy): (Place, Peer),
    ) {
        let Some(peer) = self.introduced(&stream, (&place, proxy)).await else { return };
        if !place.count_under(self.proxies.connections_of(peer)) {
            return tracing::debug!(peer = %peer.address, "an address has too many connections");
        }
        if let Some(tls) = self.tls.clone() {
            return self.serve_tls(stream, (place, peer), tls).await;
        }
        self.serve(Stream::Plain(stream), Box::new(Arrived::nothing(place, peer))).await;
    }

    /// The peer that a proxy's connection is of. `None`: the connection is to be closed.
    async fn introduced(&self, stream: &TcpStream, (place, proxy): (&Place, Peer)) -> Option<Peer> {
        let wait = Duration::from_millis(self.limits.handshake_wait);
        let said = tokio::select! {
            said = tokio::time::timeout(wait, read(stream)) => said.ok()?,
            () = self.places.wanted(place.taken) => {
                self.count_displaced();
                return None;
            }
        };
        match said {
            Ok(Said::For(address)) => Some(self.proxies.peer(address)),
            Ok(Said::Own) => Some(proxy),
            Ok(Said::Unknown) => Some(proxy.unbelieved()),
            Err(NoHeader::Gone) => None,
            Err(NoHeader::Wrong) => {
                self.tell_unintroduced(proxy);
                None
            }
        }
    }

    /// Counts a connection that did not begin as the PROXY protocol has it, and tells of it: where
    /// the proxy was not told to use it, nobody gets in.
    fn tell_unintroduced(&self, proxy: Peer) {
        self.metrics.edge.add(Metric::Unintroduced, 1);
        let proxy = proxy.address.to_string();
        if let Some(left_out) = self.told.is_due(self.clock.now().mono, &proxy) {
            let what_to_do = "have it send one, or set proxy_protocol = off";
            tracing::warn!(proxy, left_out, "closed: no PROXY header comes first; {what_to_do}");
        }
    }
}
