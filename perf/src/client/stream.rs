//! A connection's bytes, plain or within TLS.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// How a server is spoken to that is within TLS. It is made once and kept.
#[derive(Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// A non-blocking socket.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Tls {
    /// Servers of this name whose certificate, or the one that signed it, is in a file (PEM).
    pub fn trusting(name: &str, file: &Path) -> io::Result<&'static Tls> {
        let told = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("{}: {error}", file.display()))
        };
        let mut roots = RootCertStore::empty();
        let found = rustls::pki_types::CertificateDer::pem_file_iter(file);
        for certificate in found.map_err(|error| told(&error))? {
            let certificate = certificate.map_err(|error| told(&error))?;
            roots.add(certificate).map_err(|error| told(&error))?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).map_err(|error| told(&error))?;
        let tls = Tls { config: Arc::new(config), name };
        #[expect(clippy::disallowed_methods, reason = "one for the whole process")]
        Ok(Box::leak(Box::new(tls)))
    }

    /// What a connection begins with.
    pub fn begin(&self) -> io::Result<Box<ClientConnection>> {
        let begun = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        begun.map(Box::new).map_err(io::Error::other)
    }
}

impl Stream {
    /// A socket with what has begun on it.
    pub fn new(tcp: TcpStream, tls: Option<Box<ClientConnection>>) -> Stream {
        Stream { tcp, tls }
    }

    /// The socket, to be waited for.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    /// The socket alone.
    pub fn into_socket(self) -> TcpStream {
        self.tcp
    }

    /// Whether it is not within TLS.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Whether TLS still has bytes for the socket.
    pub fn has_more(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.tcp.read(buffer),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.tcp).read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.tcp.write(bytes),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.tcp).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.tcp.flush(),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.tcp).flush(),
        }
    }
}
