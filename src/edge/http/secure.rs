//! The begin of a connection within TLS: its handshake, bounded in time; then HTTP.
//!
//! Nothing is kept of TLS for a peer that has sent nothing. Whoever speaks plain HTTP is told so in
//! plain HTTP. How many handshakes are under way, in all and of one address, is bounded as all
//! connections are: each has its place, and makes room where others need it.

use std::fmt::Display;
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

/// What a peer reads that has not heard of TLS here.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 53\r\n\
    Connection: close\r\n\r\n\
    This port speaks TLS: say https:// or wss:// instead\n";

/// What a peer has begun with.
enum Begun {
    /// TLS, whose handshake is done.
    Tls(Stream),
    /// Plain HTTP.
    Plain(TcpStream),
}

impl Shared {
    /// Serves a connection within TLS, from its first byte.
    pub(super) async fn serve_tls(
        self: Arc<Self>,
        stream: TcpStream,
        (place, peer): (Place, Peer),
        tls: Tls,
    ) {
        let wait = Duration::from_millis(TLS_HANDSHAKE_WAIT);
        let begun = tokio::select! {
            begun = tokio::time::timeout(wait, Box::pin(begin(stream, &tls))) => begun,
            () = self.places.wanted(place.taken) => return self.count_displaced(),
        };
        match begun {
            Ok(Ok(Begun::Tls(stream))) => {
                let arrived = Box::new(Arrived::nothing(place, peer));
                Box::pin(self.serve(stream, arrived)).await;
            }
            Ok(Ok(Begun::Plain(mut stream))) => {
                self.count_failed("plain HTTP");
                if stream.write_all(PLAIN.as_bytes()).await.is_ok() {
                    self.linger(Stream::Plain(stream)).await;
                }
            }
            Ok(Err(error)) => self.count_failed(error),
            Err(late) => self.count_failed(late),
        }
    }

    fn count_failed(&self, why: impl Display) {
        self.metrics.edge.add(Metric::TlsFailed, 1);
        tracing::debug!(%why, "a handshake of TLS failed");
    }
}

async fn begin(stream: TcpStream, tls: &Tls) -> io::Result<Begun> {
    let mut first = [0];
    // A method begins with a letter, and a handshake does not.
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic() {
        return Ok(Begun::Plain(stream));
    }
    let stream = tls.accept(stream).await?;
    Ok(Begun::Tls(Stream::Tls(Box::new(stream))))
}
