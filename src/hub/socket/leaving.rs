//! Sockets of a shard that has panicked: their members are told, where that can be, and the sockets
//! stay for as long as it takes to read that.

use std::io::{ErrorKind, Read as _};

use bytes::BytesMut;

use super::{Socket, SocketTable};
use crate::shard::event::{MemberKey, Sent, Sockets as _};
use crate::wire::Encoding;
use crate::wire::close::Close;
use crate::wire::server_message::TimeText;
use crate::wire::time::MonoMs;

/// Sockets that nobody is served over any more, with their places.
#[derive(Default, Debug)]
pub(in crate::hub) struct Leaving {
    sockets: Vec<Socket>,
    until: MonoMs,
}

impl Leaving {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Looks who has gone, and throws away what came; all go when their time is over.
    pub(in crate::hub) fn look(&mut self, now: MonoMs, buffer: &mut [u8]) {
        if self.until <= now {
            self.sockets.clear();
            return;
        }
        self.sockets.retain_mut(|socket| match socket.stream.read(buffer) {
            Ok(bytes) => bytes > 0,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        });
    }
}

impl SocketTable {
    /// Closes all sockets after a panic. Whoever `can_be_told` is told; the others are cut, since a
    /// frame may have been sent up to its middle: what stood behind that would be read as its end.
    /// So is the one that was in hand last, whose books may not say what it was sent.
    pub(in crate::hub) fn close_all(
        mut self,
        can_be_told: impl Fn(MemberKey) -> Option<Encoding>,
        at: &TimeText,
        until: MonoMs,
    ) -> Leaving {
        let mut goodbye = BytesMut::new();
        let in_hand = self.in_hand.take();
        let mut told = Vec::new();
        for slot in 0..self.slots.len() {
            let Some(socket) = &self.slots[slot] else { continue };
            let member = MemberKey { slot: slot as u32, generation: socket.generation };
            let Some(encoding) = can_be_told(member).filter(|_| in_hand != Some(member)) else {
                continue;
            };
            goodbye.clear();
            // Neighbours are told to come back at other times.
            let jitter = member.slot.wrapping_mul(2_654_435_761);
            encoding.goodbye(&mut goodbye, Close::Restart, jitter, at);
            if matches!(self.send(member, &goodbye), Sent::Bytes(sent) if sent == goodbye.len()) {
                self.finish(member);
                told.extend(self.slots[slot].take());
            }
        }
        Leaving { sockets: told, until }
    }
}
