//! A connection whose peer is to send a request's head: nobody has asked for anything yet, so it
//! costs its socket, a timer and the bytes that came, and no buffer and no HTTP state.
//!
//! Owns the bytes of a head that is still coming. Never answers: what is whole, too long or no
//! head at all is hyper's.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use httparse::{Error, Header, Request, Status};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::short_way::FIELDS_FEW;
use super::stream::Stream;
use super::strict::Heads;
use crate::hub::{Begun, Places};
use crate::limits::Limits;

/// Bytes that are read at once; most heads are shorter.
pub(super) const READ_BYTES: usize = 4 << 10;
/// Bytes of a head that each connection may hold without asking.
const HEAD_BYTES_FREE: usize = 256;
/// Bytes within which a head is looked at whenever more comes, since what is no HTTP shows there;
/// after them, only where a line ends.
const FIRST_BYTES: usize = 32;

/// A connection between requests.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The connection's socket.
    pub stream: Stream,
    /// Where in its requests the connection is.
    pub heads: Heads,
    /// What came and was not read as a request yet; it has passed `heads`.
    pub came: Vec<u8>,
    /// How many of its last bytes nobody has looked at yet.
    pub unseen: usize,
    /// A request was answered on it before.
    pub served: bool,
    /// When the wait for its peer began.
    pub since: Begun,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waited {
    /// There is something to be read as a request.
    Head,
    /// The peer has gone.
    Gone,
    /// The head was not there in time.
    Late,
    /// Another connection needs the place.
    Displaced,
    /// The edge stops.
    Stopped,
}

impl Waiting {
    /// A connection that has just been accepted, and what had come by then.
    pub(super) fn new(stream: Stream, heads: Heads, came: Vec<u8>, since: Begun) -> Waiting {
        Waiting { stream, heads, unseen: came.len(), came, served: false, since }
    }

    /// Waits for a whole head. A connection that was served before may be idle for longer, but a
    /// head that has begun has its own time. At `idle_ends`, who was served before is ended, and
    /// who was not may still ask.
    pub(super) async fn head(
        &mut self,
        limits: &Limits,
        places: &Places,
        idle_ends: &CancellationToken,
    ) -> Waited {
        if !self.came.is_empty() && self.is_whole(self.unseen, limits) {
            return Waited::Head;
        }
        let mut new = std::mem::take(&mut self.unseen);
        let wait = Duration::from_millis(limits.handshake_wait);
        let mut is_idle = self.served && self.came.is_empty();
        let idle = Duration::from_millis(limits.keep_alive_wait);
        let mut late = std::pin::pin!(tokio::time::sleep(if is_idle { idle } else { wait }));
        let mut wanted = std::pin::pin!(places.wanted(self.since));
        let mut held = None;
        loop {
            if new > 0 {
                tokio::select! {
                    () = self.hold(&mut held, places) => {}
                    () = &mut wanted => return Waited::Displaced,
                    () = &mut late => return Waited::Late,
                }
            }
            tokio::select! {
                biased;
                read = poll_fn(|context| self.poll_read(context, limits)) => match read {
                    Ok(0) => return Waited::Gone,
                    Ok(bytes) if self.is_whole(bytes, limits) => return Waited::Head,
                    Ok(bytes) => {
                        new = bytes;
                        if std::mem::take(&mut is_idle) {
                            late.set(tokio::time::sleep(wait));
                        }
                    }
                    Err(_) => return Waited::Gone,
                },
                () = &mut wanted => return Waited::Displaced,
                () = &mut late => return Waited::Late,
                () = idle_ends.cancelled(), if self.served => return Waited::Stopped,
            }
        }
    }

    /// Reads what is there, up to the bound of a head.
    fn poll_read(&mut self, context: &mut Context<'_>, limits: &Limits) -> Poll<io::Result<usize>> {
        let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
        let room = limits.head_bytes_max.saturating_sub(self.came.len()).clamp(1, READ_BYTES);
        let mut buffer = ReadBuf::uninit(&mut buffer[..room]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        let came = buffer.filled_mut();
        self.heads.pass(came);
        self.came.extend_from_slice(came);
        Poll::Ready(Ok(came.len()))
    }

    /// Whether hyper has something to say of what came: it is a whole head, or can't become one.
    /// `new` is how many of the bytes came just now.
    fn is_whole(&self, new: usize, limits: &Limits) -> bool {
        let (came, before) = (&self.came, self.came.len() - new);
        if came.len() >= limits.head_bytes_max {
            return true;
        }
        if before > FIRST_BYTES && !came[before..].contains(&b'\n') {
            return false;
        }
        let mut few = [const { MaybeUninit::uninit() }; FIELDS_FEW];
        let few = &mut few[..limits.headers_max.min(FIELDS_FEW)];
        let is_whole = match parse(came, few) {
            Err(Error::TooManyHeaders) if limits.headers_max > FIELDS_FEW => {
                parse(came, &mut vec![MaybeUninit::uninit(); limits.headers_max])
            }
            parsed => parsed,
        };
        is_whole.unwrap_or(true)
    }

    /// Takes room for the bytes that came, where they are more than every connection may hold.
    async fn hold(&self, held: &mut Option<OwnedSemaphorePermit>, places: &Places) {
        let has = HEAD_BYTES_FREE + held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let takes = self.came.capacity();
        if takes > has {
            let more = places.hold(takes - has).await;
            match held {
                Some(held) => held.merge(more),
                None => *held = Some(more),
            }
        }
    }
}

/// Whether a head is whole. An error: it can't become one.
fn parse<'a>(came: &'a [u8], headers: &mut [MaybeUninit<Header<'a>>]) -> Result<bool, Error> {
    let status = Request::new(&mut []).parse_with_uninit_headers(came, headers);
    status.map(|status: Status<usize>| status.is_complete())
}
