//! TLS of one member's connection: seals what the sweep sends, and opens what the peer sends.
//!
//! Owns rustls' state, which comes from the edge with the socket, and in it what is sealed and not
//! taken by the kernel yet: about one record, since nothing more is sealed before that is gone. A
//! member's whole list is one record and one send, where it is no longer than a record. Never
//! waits, and has no buffer of its own.

use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpStream as StdStream};

use mio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;

use super::Read;
use crate::limits::{HIDDEN_BYTES_MAX, HIDDEN_BYTES_PER_BYTE};
use crate::shard::event::Sent;

/// A connection's socket on its way between the edge and a shard, and its TLS, if it has any.
#[derive(Debug)]
pub(crate) struct Link {
    /// The socket, non-blocking.
    pub stream: StdStream,
    /// What seals and opens what goes over it.
    pub session: Option<Box<Session>>,
}

impl From<StdStream> for Link {
    fn from(stream: StdStream) -> Link {
        Link { stream, session: None }
    }
}

/// TLS once its handshake is done.
#[derive(Debug)]
pub(crate) struct Session {
    tls: ServerConnection,
    /// Bytes that came and held nothing for the hub, beyond what comes with all that does.
    hidden_bytes: usize,
    /// Nothing more is sealed: the socket is to be shut once it has taken what is.
    is_last: bool,
}

/// What became of what is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flushed {
    /// The kernel has all of it.
    All,
    /// The socket is full.
    Some,
    /// The socket is broken.
    Broken,
}

impl Session {
    /// Goes on where the handshake, and HTTP after it, have left off.
    /// It seals [`SEALED_BYTES_MAX`](crate::limits::SEALED_BYTES_MAX) at most.
    pub(crate) fn new(tls: ServerConnection) -> Session {
        Session { tls, hidden_bytes: 0, is_last: false }
    }

    /// Seals bytes, and the end behind them, for somebody else to send.
    pub(crate) fn seal_last(mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.tls.set_buffer_limit(None);
        self.tls.writer().write_all(bytes)?;
        self.tls.send_close_notify();
        let mut sealed = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut sealed)?;
        }
        Ok(sealed)
    }

    /// Sends what is sealed.
    pub(super) fn flush(&mut self, stream: &mut TcpStream) -> Flushed {
        while self.tls.wants_write() {
            match self.tls.write_tls(stream) {
                Ok(0) => return Flushed::Broken,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Flushed::Some,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Flushed::Broken,
            }
        }
        if std::mem::take(&mut self.is_last) {
            // If the peer is gone already, the next read shows it.
            _ = stream.shutdown(Shutdown::Write);
        }
        Flushed::All
    }

    /// Seals and sends what it takes at once of pieces that follow each other. What the kernel does
    /// not take of that waits here, and counts as sent, as what waits in the kernel does.
    pub(super) fn send(&mut self, stream: &mut TcpStream, pieces: &[IoSlice<'_>]) -> Sent {
        match self.flush(stream) {
            Flushed::All => {}
            Flushed::Some => return Sent::Blocked,
            Flushed::Broken => return Sent::Broken,
        }
        match self.tls.writer().write_vectored(pieces) {
            Ok(0) | Err(_) => Sent::Broken,
            Ok(bytes) => match self.flush(stream) {
                Flushed::Broken => Sent::Broken,
                Flushed::All | Flushed::Some => Sent::Bytes(bytes),
            },
        }
    }

    /// Has the peer see the end, once it has read what was sent.
    pub(super) fn finish(&mut self, stream: &mut TcpStream) {
        self.tls.send_close_notify();
        self.is_last = true;
        self.flush(stream);
    }

    /// Reads what is there. At most one call of the system: what has to come first may be long, and
    /// others wait.
    pub(super) fn read(
        &mut self,
        stream: &mut TcpStream,
        is_over: bool,
        buffer: &mut [u8],
    ) -> Read {
        let mut came = None;
        loop {
            match self.tls.reader().read(buffer) {
                Ok(0) => return Read::Ended,
                Ok(bytes) => {
                    let covered = bytes.saturating_mul(HIDDEN_BYTES_PER_BYTE);
                    self.hidden_bytes = self.hidden_bytes.saturating_sub(covered);
                    let is_all = came.is_some_and(|came: Came| came.is_all);
                    let is_drained = is_all && !is_over && bytes < buffer.len();
                    return if is_drained { Read::Drained(bytes) } else { Read::Bytes(bytes) };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The socket has ended without the end of TLS: the peer is gone all the same.
                Err(_) => return Read::Ended,
            }
            match came {
                Some(Came { is_all: true, .. }) if !is_over => return Read::WouldBlock,
                Some(Came { bytes, .. }) => return Read::Hidden(bytes),
                None => {}
            }
            match self.take(stream) {
                Ok(taken) => came = Some(taken),
                Err(read) => return read,
            }
        }
    }

    /// Takes what has come, and opens it.
    fn take(&mut self, stream: &mut TcpStream) -> Result<Came, Read> {
        let mut socket = Noting { stream, is_all: false };
        let bytes = match self.tls.read_tls(&mut socket) {
            Ok(0) => return Err(Read::Ended),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(Read::WouldBlock),
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(_) => return Err(Read::Ended),
        };
        let is_all = socket.is_all;
        let opened = self.tls.process_new_packets();
        // TLS has answers of its own: an alert, a new key.
        self.flush(stream);
        self.hidden_bytes += bytes;
        if opened.is_err() || self.hidden_bytes > HIDDEN_BYTES_MAX {
            return Err(Read::Ended);
        }
        Ok(Came { bytes, is_all })
    }
}

/// What one call has brought.
#[derive(Clone, Copy, Debug)]
struct Came {
    bytes: usize,
    /// There was no more.
    is_all: bool,
}

/// Notes whether a socket had less than was asked for.
struct Noting<'a> {
    stream: &'a mut TcpStream,
    is_all: bool,
}

impl io::Read for Noting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.stream.read(buffer)?;
        self.is_all = bytes < buffer.len();
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
