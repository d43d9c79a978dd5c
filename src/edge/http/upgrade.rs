//! A handshake that is decided on, on its way through HTTP: accepted, refused, or accepted in vain.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::problem::Refusal;
use crate::hub::{Link, Place};
use crate::wire::Encoding;
use crate::wire::close::Close;
use crate::wire::reject::Reject;

/// Takes a connection whose handshake is accepted, what had been read behind the request, and
/// its place. Whoever takes them answers the handshake.
pub(crate) type Take = Box<dyn FnOnce(Link, Bytes, Place) -> Result<(), Untaken> + Send + Sync>;

/// A connection for which there was no room as a member after all.
pub(crate) struct Untaken {
    pub link: Link,
    /// Kept until the socket is closed.
    pub _place: Option<Place>,
    /// The answer to its handshake.
    pub opening: BytesMut,
    /// How it is told anything behind that.
    pub encoding: Encoding,
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

/// A stream that is granted: whose socket goes somewhere once the head of its answer is known.
/// Travels as an extension of a 200 response, which has all the headers that the door gives it.
pub(crate) struct Streaming(pub Box<dyn FnOnce(BytesMut) -> Upgrade + Send + Sync>);

impl fmt::Debug for Streaming {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Streaming").finish_non_exhaustive()
    }
}

/// Takes what a peer shows for its token: where its socket goes, or why it goes nowhere.
pub(crate) type Judge = Box<dyn FnOnce(&str) -> Result<Take, Reject> + Send + Sync>;

/// An accepted handshake whose peer has shown nothing yet. Travels as an extension of a 101
/// response.
pub(crate) struct Unproven {
    /// The answer to the handshake.
    pub opening: BytesMut,
    /// Its messages may come compressed.
    pub may_deflate: bool,
    /// Judges what the first message shows.
    pub judge: Judge,
}

impl fmt::Debug for Unproven {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Unproven").finish_non_exhaustive()
    }
}

/// A handshake that was refused on the short way; travels as an extension of its request, and is
/// not judged again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused(pub Refusal);
