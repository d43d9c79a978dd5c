//! The begin of a connection within TLS: its handshake, bounded in time and number; then HTTP.
//!
//! Nothing is kept of TLS for a peer that has sent nothing. Who speaks plain HTTP is told so in
//! plain HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::connection::{Arrived, Shared};
use super::peer::Peer;
use super::stream::Stream;
use crate::edge::tls::Tls;
use crate::hub::Place;
use crate::limits::TLS_HANDSHAKE_WAIT;
use crate::metrics::Metric;
use crate::shares::Part;

/// How soon a handshake is tried again that has to wait for others.
const TURN_WAIT: Duration = Duration::from_millis(20);
/// What a peer reads that has not heard of TLS here.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 53\r\n\
    Connection: close\r\n\r\n\
    This port speaks TLS: say https:// or wss:// instead\n";

/// How a begin has ended.
enum Begun {
    Ready(Stream),
    /// The peer speaks plain HTTP.
    Plain(TcpStream),
    Failed(io::Error),
}

impl Shared {
    /// Serves a connection within TLS, from its first byte.
    pub(super) async fn serve_tls(
        self: Arc<Self>,
        stream: TcpStream,
        (place, peer): (Place, Peer),
        tls: Tls,
    ) {
        let begun = tokio::select! {
            begun = Box::pin(self.begin(stream, peer, &tls)) => begun,
            () = self.places.wanted(place.taken) => return self.count_displaced(),
        };
        match begun {
            Begun::Ready(stream) => {
                let arrived = Box::new(Arrived::nothing(place, peer));
                Box::pin(self.serve(stream, arrived)).await;
            }
            Begun::Plain(mut stream) => {
                self.metrics.edge.add(Metric::TlsFailed, 1);
                if stream.write_all(PLAIN.as_bytes()).await.is_ok() {
                    self.linger(Stream::Plain(stream)).await;
                }
            }
            Begun::Failed(error) => {
                self.metrics.edge.add(Metric::TlsFailed, 1);
                tracing::debug!(%error, "a handshake of TLS failed");
            }
        }
    }

    async fn begin(&self, stream: TcpStream, peer: Peer, tls: &Tls) -> Begun {
        let wait = Duration::from_millis(TLS_HANDSHAKE_WAIT);
        let mut first = [0];
        match tokio::time::timeout(wait, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first[0].is_ascii_alphabetic() => return Begun::Plain(stream),
            Ok(Ok(1)) => {}
            Ok(Ok(_)) => return Begun::Failed(io::ErrorKind::UnexpectedEof.into()),
            Ok(Err(error)) => return Begun::Failed(error),
            Err(_) => return Begun::Failed(io::ErrorKind::TimedOut.into()),
        }
        let Some(_turn) = self.turn(peer, tls).await else {
            return Begun::Failed(io::ErrorKind::QuotaExceeded.into());
        };
        match tokio::time::timeout(wait, tls.accept(stream)).await {
            Ok(Ok(stream)) => Begun::Ready(Stream::Tls(Box::new(stream))),
            Ok(Err(error)) => Begun::Failed(error),
            Err(_) => Begun::Failed(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Waits until the handshake may begin; `None`: others took too long.
    async fn turn(&self, peer: Peer, tls: &Tls) -> Option<Part> {
        let turn = async {
            loop {
                if let Some(turn) = tls.handshakes().take(peer.number(), 1) {
                    return turn;
                }
                tokio::time::sleep(TURN_WAIT).await;
            }
        };
        let wait = Duration::from_millis(self.limits.handshake_wait);
        tokio::time::timeout(wait, turn).await.ok()
    }
}
