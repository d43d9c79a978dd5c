//! TLS for clients: the certificate that new connections are shown, and the handshake with it.
//!
//! Owns which certificate is the current one. Connections keep the one that they have begun with.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::server::TlsStream;

mod bounded;
mod identity;

pub(crate) use bounded::Bounded;
pub(crate) use identity::{BadIdentity, Files, Identity};

use crate::limits::SEALED_BYTES_MAX;

/// What handshakes are made with now. Cheap to clone; all clones follow the same changes.
#[derive(Clone, Debug)]
pub(crate) struct Tls(watch::Receiver<Identity>);

/// Puts another certificate in the place of the current one. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ReplaceIdentity(Arc<watch::Sender<Identity>>);

impl Tls {
    /// Shows this certificate until it is replaced.
    pub(crate) fn new(identity: Identity) -> (Tls, ReplaceIdentity) {
        let (replace, current) = watch::channel(identity);
        (Tls(current), ReplaceIdentity(Arc::new(replace)))
    }

    /// Makes a handshake with the current certificate. What waits for the peer, then and later, is
    /// bounded.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<Bounded>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.0.borrow().config));
        let bound = |tls: &mut ServerConnection| tls.set_buffer_limit(Some(SEALED_BYTES_MAX));
        let mut stream = acceptor.accept_with(Bounded::new(stream), bound).await?;
        stream.get_mut().0.lift();
        Ok(stream)
    }
}

impl ReplaceIdentity {
    /// The current certificate.
    pub(crate) fn current(&self) -> Identity {
        self.0.borrow().clone()
    }

    /// New connections are shown this one.
    pub(crate) fn replace(&self, identity: Identity) {
        self.0.send_replace(identity);
    }
}
