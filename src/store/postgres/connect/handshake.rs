//! TLS handshakes, as tokio-postgres wants them done, and the streams that come of them.
//!
//! Decides nothing: what is verified stands in the configuration that `tls.rs` makes. Says in
//! words for the operator why a server was refused.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::client::TlsStream as RustlsStream;
use tokio_rustls::rustls::pki_types::{IpAddr, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error};
use tokio_rustls::{Connect, TlsConnector};

use super::binding;

/// A handshake that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsFault {
    /// The connection broke, or was not spoken as TLS.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// The server is not who it should be, or wants what we don't have.
    #[error("{0}")]
    Refused(String),
}

impl TlsFault {
    fn of(error: io::Error, host: &str) -> TlsFault {
        let told = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match told {
            Some(Error::InvalidCertificate(why)) => TlsFault::Refused(refusal(why, host)),
            Some(told) => TlsFault::Refused(told.to_string()),
            None => TlsFault::Broken(error),
        }
    }
}

fn refusal(why: &CertificateError, host: &str) -> String {
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the server's certificate is not trusted: sslrootcert holds nobody who signed it".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the server's certificate is not for `{host}` (its subjectAltName counts)")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet".into()
        }
        other => format!("the server's certificate is not trusted: {other}"),
    }
}

/// Makes connections over TLS.
#[derive(Clone)]
pub(super) struct MakeTls {
    config: Arc<ClientConfig>,
    /// Whether the certificate has to name the host.
    strict: bool,
}

impl MakeTls {
    /// With a configuration, which knows what to verify.
    pub(super) fn new(config: Arc<ClientConfig>, strict: bool) -> MakeTls {
        MakeTls { config, strict }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for MakeTls {
    type Stream = Stream<S>;
    type TlsConnect = Connector;
    type Error = TlsFault;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connector, TlsFault> {
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(_) if self.strict && !host.is_empty() => {
                return Err(TlsFault::Refused(format!("`{host}` is no name of a certificate")));
            }
            // Nobody looks at it, and no server is told an address.
            Err(_) => ServerName::IpAddress(IpAddr::V4([0; 4].into())),
        };
        let connector = TlsConnector::from(self.config.clone());
        Ok(Connector { connector, name, host: host.into() })
    }
}

/// Does one handshake.
pub(super) struct Connector {
    connector: TlsConnector,
    name: ServerName<'static>,
    host: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Connector {
    type Stream = Stream<S>;
    type Error = TlsFault;
    type Future = Handshake<S>;

    fn connect(self, stream: S) -> Handshake<S> {
        Handshake { connect: self.connector.connect(self.name, stream), host: self.host }
    }
}

/// A handshake under way.
pub(super) struct Handshake<S> {
    connect: Connect<S>,
    host: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Handshake<S> {
    type Output = Result<Stream<S>, TlsFault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let done = Pin::new(&mut self.connect).poll(context);
        done.map(|done| done.map(Stream::new).map_err(|error| TlsFault::of(error, &self.host)))
    }
}

/// A connection over TLS.
pub(super) struct Stream<S> {
    inner: RustlsStream<S>,
    binding: Option<Vec<u8>>,
}

impl<S> Stream<S> {
    fn new(inner: RustlsStream<S>) -> Stream<S> {
        let (_, session) = inner.get_ref();
        let shown = session.peer_certificates().and_then(|shown| shown.first());
        let binding = shown.and_then(|certificate| binding::end_point(certificate));
        Stream { inner, binding }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.binding {
            Some(hash) => ChannelBinding::tls_server_end_point(hash.clone()),
            None => ChannelBinding::none(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
