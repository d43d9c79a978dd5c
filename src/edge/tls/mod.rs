//! TLS for clients: the certificate that new connections are shown, and how many handshakes may be
//! under way.
//!
//! Owns which certificate is the current one. Connections keep the one that they have begun with.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::{Accept, TlsAcceptor};

mod identity;

pub(crate) use identity::{BadIdentity, Files, Identity};

use crate::limits::{SEALED_BYTES_MAX, TLS_ADDRESS_HANDSHAKES_MAX, TLS_HANDSHAKES_MAX};
use crate::shares::Pool;

/// What handshakes are made with now. Cheap to clone; all clones follow the same changes.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    current: watch::Receiver<Identity>,
    handshakes: Pool,
}

/// Puts another certificate in the place of the current one. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ReplaceIdentity(Arc<watch::Sender<Identity>>);

impl Tls {
    /// Shows this certificate until it is replaced.
    pub(crate) fn new(identity: Identity) -> (Tls, ReplaceIdentity) {
        let (replace, current) = watch::channel(identity);
        let handshakes = Pool::new(TLS_HANDSHAKES_MAX, TLS_ADDRESS_HANDSHAKES_MAX);
        (Tls { current, handshakes }, ReplaceIdentity(Arc::new(replace)))
    }

    /// Makes a handshake with the current certificate.
    pub(crate) fn accept(&self, stream: TcpStream) -> Accept<TcpStream> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.borrow().config));
        acceptor.accept_with(stream, |tls| tls.set_buffer_limit(Some(SEALED_BYTES_MAX)))
    }

    /// The handshakes that are under way.
    pub(crate) fn handshakes(&self) -> &Pool {
        &self.handshakes
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
