//! A member in its space: what it is answered, what is refused, what is read of it. Owns nothing:
//! it borrows both. What returns a [`Close`] says why the member is to be closed.

use bytes::BytesMut;

use super::commits::AnswerTo;
use super::event::{Echo, MemberKey};
use super::member::Member;
use super::space::Space;
use super::turn::Turn;
use crate::limits::{ECHO_OWED_BYTES_MAX, FLOOD_READ_BYTES_MAX, UNVISITED_TIMES_MAX};
use crate::metrics::Metric;
use crate::wire::Encoding;
use crate::wire::close::Close;
use crate::wire::frame_writer;
use crate::wire::reject::Reject;
use crate::wire::server_message::{self, Ack, Refusal};

/// A member in its space.
pub(super) struct Seated<'a> {
    pub key: MemberKey,
    pub member: &'a mut Member,
    pub space: &'a mut Space,
}

impl Seated<'_> {
    /// Gives the member an answer, behind all that its space has said until now, as far as that may
    /// be sent. Returns why the member is to be closed, if it is owed too many private frames.
    pub(super) fn answer(
        &mut self,
        turn: &mut Turn,
        write: impl FnOnce(&mut BytesMut),
    ) -> Option<Close> {
        let at = self.space.secured(self.member.who.encoding);
        self.member.answer(&mut turn.counts, at, write);
        self.answered(turn)
    }

    /// Answers a ping of the member's: behind all that its space has said until now, but at once
    /// where it is sent nothing of that yet.
    fn answer_ping(&mut self, turn: &mut Turn, payload: &[u8]) -> Option<Close> {
        let Seated { member, space, .. } = self;
        if member.is_held_back() {
            member.queue.push(&mut turn.counts, |out| frame_writer::pong(out, payload));
        } else {
            let pong = |out: &mut BytesMut| frame_writer::pong(out, payload);
            member.queue.answer(&mut turn.counts, space.secured(member.who.encoding), pong);
        }
        self.answered(turn)
    }

    /// The member is due. Only a blocked one is too slow, never one that is merely unvisited.
    fn answered(&mut self, turn: &mut Turn) -> Option<Close> {
        self.member.make_due(self.key, &mut turn.due);
        let (owed, max) = (self.member.queue.private_bytes(), turn.limits.private_bytes_max);
        if owed <= max {
            None
        } else if self.member.is_blocked() {
            Some(Close::TooSlow)
        } else {
            (owed > UNVISITED_TIMES_MAX * max).then_some(Close::TooFast)
        }
    }

    fn tell_refusal(&mut self, turn: &mut Turn, refusal: &Refusal<'_>) -> Option<Close> {
        let (at, dialect) = (turn.at(), self.member.who.dialect);
        let whose = self.member.whose(self.space.key());
        self.answer(turn, |out| server_message::error(out, dialect, refusal, whose, &at))
    }

    /// Tells the member how far its message has come.
    pub(super) fn ack(&mut self, turn: &mut Turn, ack: &Ack<'_>) -> Option<Close> {
        let at = turn.at();
        self.answer(turn, |out| server_message::ack(out, ack, &at))
    }

    /// Gives the member an answer that waited for the store, which holds what an ack is about, or
    /// never will.
    pub(super) fn give(
        &mut self,
        turn: &mut Turn,
        answer: &AnswerTo,
        stored: Result<(), Reject>,
    ) -> Option<Close> {
        match (answer, stored) {
            (AnswerTo::Ack { nonce, id, duplicate, levels, .. }, Ok(())) => {
                let (nonce, id, duplicate) = (&**nonce, *id, *duplicate);
                let ack = |level| Ack { nonce, id, level, duplicate };
                levels.each().iter().find_map(|level| self.ack(turn, &ack(*level)))
            }
            (AnswerTo::Ack { nonce, id, .. }, Err(reject)) => {
                turn.counts.reject(reject);
                self.tell_refusal(turn, &Refusal { reject, nonce: Some(nonce), id: Some(*id) })
            }
            (AnswerTo::Pong { .. }, _) => {
                let (whose, at) = (self.member.whose(self.space.key()), turn.at());
                self.answer(turn, |out| server_message::pong(out, whose, &at))
            }
            (AnswerTo::Refusal { refused, .. }, _) => {
                let (reject, nonce) = (refused.reject, refused.nonce.as_deref());
                self.tell_refusal(turn, &Refusal { reject, nonce, id: None })
            }
        }
    }

    /// Counts a refusal, and says whether it was one too many.
    pub(super) fn judge(&mut self, turn: &Turn, reject: Reject) -> Option<Close> {
        self.member.judge(turn.now.mono, &turn.limits, reject)
    }

    /// Refuses a message of the member's, which is counted: too many end the connection.
    pub(super) fn refuse(&mut self, turn: &mut Turn, refusal: &Refusal<'_>) -> Option<Close> {
        self.judge(turn, refusal.reject).or_else(|| self.tell_refusal(turn, refusal))
    }

    /// Counts what is over its rate and gets no answer: control frames, and what is said where
    /// nobody listens. A flood of it ends as any other.
    fn tolerate(&mut self, turn: &mut Turn, reject: Reject) -> Option<Close> {
        turn.counts.reject(reject);
        self.member.judge(turn.now.mono, &turn.limits, reject)
    }

    /// A message where nobody listens: proof of life, counted within its rate.
    pub(super) fn unheard(&mut self, turn: &mut Turn, bytes: usize) -> Option<Close> {
        self.member.heard(turn.now.mono);
        turn.counts.add(Metric::MessagesReceived, 1);
        turn.counts.add(Metric::ReceivedBytes, bytes as u64);
        let reject = self.member.take_rate(turn.now.mono, &turn.limits).err()?;
        self.tolerate(turn, reject)
    }

    /// A message of one whose messages are sent back. Nothing else bounds what it is owed but that
    /// it is not read while it is blocked.
    pub(super) fn echo(&mut self, turn: &mut Turn, message: Echo<'_>) -> Option<Close> {
        self.member.heard(turn.now.mono);
        turn.counts.add(Metric::MessagesReceived, 1);
        turn.counts.add(Metric::ReceivedBytes, message.payload.len() as u64);
        let Echo { is_binary, payload } = message;
        let (encoding, deflater) = (self.member.who.encoding, &mut turn.deflater);
        let write = |out: &mut BytesMut| match encoding {
            Encoding::Deflated => deflater.echo(out, is_binary, payload),
            Encoding::Frames | Encoding::Events => frame_writer::echo(out, is_binary, payload),
        };
        self.member.queue.answer(&mut turn.counts, self.space.end(encoding), write);
        self.member.make_due(self.key, &mut turn.due);
        (self.member.queue.private_bytes() > ECHO_OWED_BYTES_MAX).then_some(Close::TooFast)
    }

    /// A ping (with its payload) or a pong: proof of life, answered within its rate.
    pub(super) fn ping(&mut self, turn: &mut Turn, payload: Option<&[u8]>) -> Option<Close> {
        self.member.heard(turn.now.mono);
        match (self.member.take_control(turn.now.mono, &turn.limits), payload) {
            (Ok(()), Some(payload)) => self.answer_ping(turn, payload),
            (Ok(()), None) => None,
            (Err(reject), _) => self.tolerate(turn, reject),
        }
    }

    /// Bytes of the member's socket that may be read now, `max` at most.
    pub(super) fn readable(&mut self, turn: &mut Turn, max: usize) -> usize {
        if self.space.is_paused() || self.member.is_held() {
            return 0;
        }
        if !self.member.hold_if_it_floods(turn.now.mono) {
            return max;
        }
        turn.due.hold(self.key);
        max.min(FLOOD_READ_BYTES_MAX)
    }
}
