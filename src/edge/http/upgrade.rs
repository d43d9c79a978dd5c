//! A handshake that is decided on, on its way through HTTP: accepted, refused, or accepted in vain.

use std::fmt;
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};

use super::problem::Refusal;
use crate::hub::Place;
use crate::wire::close::Close;

/// Takes a socket whose handshake is accepted, what had been read behind the request, and the
/// connection's place. Whoever takes them answers the handshake.
pub(crate) type Take =
    Box<dyn FnOnce(TcpStream, Bytes, Place) -> Result<(), Untaken> + Send + Sync>;

/// A connection for which there was no room as a member after all.
pub(crate) struct Untaken {
    pub stream: TcpStream,
    /// Kept until the socket is closed.
    pub _place: Option<Place>,
    /// The answer to its handshake.
    pub opening: BytesMut,
    /// What it is to be told behind that.
    pub close: Close,
}

/// An accepted handshake: where its socket goes. Travels as an extension of a 101 response.
pub(crate) struct Upgrade(pub Take);

impl fmt::Debug for Upgrade {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Upgrade").finish_non_exhaustive()
    }
}

/// A handshake that was refused on the short way; travels as an extension of its request, and is
/// not judged again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused(pub Refusal);
