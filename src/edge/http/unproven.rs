//! A handshake whose peer has shown nothing yet: it is answered, and the first message is to show a
//! token. Until then the connection is nobody's: it has its place, as any that waits for a request,
//! makes room for others as those do, and no shard has heard of it.
//!
//! Knows no token: what is shown is judged by whoever accepted the handshake.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;

use super::connection::Shared;
use super::stream::Stream;
use super::upgrade::{Unproven, Upgrade};
use super::waiting::READ_BYTES;
use crate::hub::Place;
use crate::limits::{Limits, TOKEN_MESSAGE_BYTES_MAX, UNPROVEN_BYTES_MAX};
use crate::wire::client_message::{ClientMessage, DecodeRules, Decoder};
use crate::wire::close::Close;
use crate::wire::deflate::Inflater;
use crate::wire::frame_reader::{Heard, Incoming, ReadLimits, Reader};
use crate::wire::reject::Reject;
use crate::wire::time::TimeFormat;
use crate::wire::{Dialect, frame_writer, server_message};

/// Why a peer shows no token.
enum Unshown {
    /// It has gone.
    Gone,
    /// It said or did something else.
    Close(Close),
}

impl From<io::Error> for Unshown {
    fn from(_: io::Error) -> Unshown {
        Unshown::Gone
    }
}

/// What a peer has shown, and what came behind it.
type Shown = (Box<str>, Bytes);

impl Shared {
    /// Waits for a token, and passes the socket on; or ends the connection with a word.
    pub(super) async fn prove(
        &self,
        place: Place,
        mut stream: Stream,
        came: Bytes,
        unproven: Unproven,
    ) {
        let Unproven { opening, may_deflate, judge } = unproven;
        let wait = Duration::from_millis(self.limits.handshake_wait);
        let limits = read_limits(&self.limits, may_deflate);
        let proof = Proof { shared: self, stream: &mut stream, limits, held: None };
        let shown = tokio::select! {
            biased;
            shown = tokio::time::timeout(wait, proof.read(&opening, came)) => shown,
            () = self.places.wanted(place.taken) => return self.count_displaced(),
            () = self.stop.cancelled() => Ok(Err(Unshown::Close(Close::Restart))),
        };
        let (close, hint) = match shown {
            Ok(Ok((token, first))) => match judge(&token) {
                Ok(take) => return self.move_on(place, stream, first, Upgrade(take)).await,
                Err(reject) => (close_of(reject), reject.retry_after_ms()),
            },
            Ok(Err(Unshown::Gone)) => return,
            Ok(Err(Unshown::Close(close))) => (close, None),
            Err(_late) => (Close::Unauthorized, None),
        };
        let last = self.last_words(close, hint);
        if matches!(tokio::time::timeout(wait, say(&mut stream, &last)).await, Ok(Ok(()))) {
            self.linger(stream).await;
        }
    }

    fn last_words(&self, close: Close, hint: Option<u32>) -> BytesMut {
        let mut last = BytesMut::new();
        if let Some(code) = close.code().filter(|_| close.is_ours()) {
            let mut times = TimeFormat::new(self.limits.utc_offset);
            let now = self.clock.now();
            // The place of the clock's low digits in a herd is as good as chance.
            let hint = hint.or_else(|| close.retry_after_ms(now.unix.0 as u32));
            let at = times.text(now.unix);
            server_message::closing(&mut last, code, close.reason(), hint, at);
        }
        frame_writer::close(&mut last, close.code(), close.reason());
        last
    }
}

/// How a refusal ends a connection that has been answered already.
fn close_of(reject: Reject) -> Close {
    match reject {
        Reject::Unauthorized => Close::Unauthorized,
        Reject::Forbidden => Close::Forbidden,
        Reject::RateLimited { .. } => Close::TooFast,
        Reject::Draining => Close::Restart,
        Reject::Internal => Close::Internal,
        _ => Close::Overloaded,
    }
}

async fn say(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// The wait for a token.
struct Proof<'a> {
    shared: &'a Shared,
    stream: &'a mut Stream,
    limits: ReadLimits,
    /// Room for a message that is cut, once there is one.
    held: Option<OwnedSemaphorePermit>,
}

impl Proof<'_> {
    /// Answers the handshake, and reads frames up to the first message.
    async fn read(mut self, opening: &[u8], came: Bytes) -> Result<Shown, Unshown> {
        say(self.stream, opening).await?;
        let (mut reader, mut came) = (Reader::default(), Vec::from(came));
        let mut left = UNPROVEN_BYTES_MAX;
        loop {
            let mut input = &mut came[..];
            let mut pongs = BytesMut::new();
            while let Some(next) = reader.next(&mut input, self.limits, &mut Inflater::default()) {
                match next.map_err(Unshown::Close)? {
                    Incoming::Message(json) => {
                        let token = token_of(json, &self.shared.limits);
                        let token = token.ok_or(Unshown::Close(Close::Unauthorized))?;
                        return Ok((token, Bytes::copy_from_slice(input)));
                    }
                    Incoming::Ping(payload) => frame_writer::pong(&mut pongs, payload),
                    Incoming::Pong | Incoming::Binary(_) | Incoming::Unheard(_) => {}
                    Incoming::Close(code) => return Err(Unshown::Close(Close::Peer(code))),
                }
            }
            if !pongs.is_empty() {
                say(self.stream, &pongs).await?;
            }
            self.hold(reader.held_bytes()).await;
            came.resize(READ_BYTES.min(left), 0);
            let bytes = self.stream.read(&mut came).await?;
            if bytes == 0 {
                // The end, or all that may come before a token.
                let is_over = left == 0;
                return Err(if is_over { too_much() } else { Unshown::Gone });
            }
            came.truncate(bytes);
            left -= bytes;
        }
    }

    /// Takes room for a message that is cut, where it is more than any connection may hold.
    async fn hold(&mut self, bytes: usize) {
        if bytes > 0 && self.held.is_none() {
            self.held = Some(self.shared.places.hold(self.limits.deflated_bytes_max()).await);
        }
    }
}

fn too_much() -> Unshown {
    Unshown::Close(Close::MessageTooBig)
}

fn read_limits(limits: &Limits, may_deflate: bool) -> ReadLimits {
    ReadLimits {
        message_bytes_max: TOKEN_MESSAGE_BYTES_MAX,
        fragments_max: limits.fragments_max,
        heard: Heard::Read,
        may_deflate,
    }
}

/// The token that a message shows, if it shows one.
fn token_of(json: &mut [u8], limits: &Limits) -> Option<Box<str>> {
    let rules = DecodeRules { dialect: Dialect::V1, depth_max: limits.json_depth_max };
    match Decoder::default().decode(json, rules) {
        Ok(ClientMessage::Auth(token)) => Some(token.0.into()),
        _ => None,
    }
}
