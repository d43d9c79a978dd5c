//! A member that is being closed: what it is still sent, at frame boundaries, and the close frame.

use bytes::BytesMut;

use super::Member;
use crate::shard::event::MemberKey;
use crate::shard::turn::Turn;
use crate::wire::close::Close;
use crate::wire::event_stream;
use crate::wire::frame_writer;
use crate::wire::server_message;
use crate::wire::{Dialect, Encoding};

impl Member {
    /// Whether closing it may send it what it is owed. When the journal is broken that may be of
    /// the turn that failed, and is in no journal.
    pub(crate) fn is_owed_its_rest(close: Close) -> bool {
        close != Close::Internal
    }

    /// What it is still sent before its socket ends: private frames and the rest of its log, in
    /// the order in which frames can be told apart, `closing`, the close frame.
    ///
    /// `rest` writes what the log has for it, and says up to where that is; `None`: it stands
    /// inside a frame whose end can't be reached, so nothing can be said any more.
    pub(crate) fn last_frames(
        &self,
        turn: &mut Turn,
        close: Close,
        rest: impl FnOnce(&mut BytesMut) -> Option<u64>,
    ) -> Option<BytesMut> {
        let mut last = BytesMut::new();
        if Member::is_owed_its_rest(close) {
            self.queue.write_owed(&mut last, !self.is_behind_by_choice(), rest)?;
        } else if self.queue.is_cut() {
            return None;
        } else {
            last.extend_from_slice(self.queue.opening());
        }
        self.last_words(turn, close, &mut last);
        Some(last)
    }

    /// Says that and why a connection is closed.
    fn last_words(&self, turn: &mut Turn, close: Close, queue: &mut BytesMut) {
        let jitter = turn.jitter();
        if self.who.encoding == Encoding::Events {
            // There is nothing that says goodbye but the end of the stream.
            return event_stream::closing(queue, close, jitter, &turn.at());
        }
        let retry = close.retry_after_ms(jitter);
        if self.who.dialect == Dialect::V1
            && close.is_ours()
            && let Some(code) = close.code()
        {
            let at = turn.at();
            server_message::closing(queue, code, close.reason(), retry, &at);
        }
        frame_writer::close(queue, close.code(), close.reason());
    }

    /// It is out of its space; these are the last bytes that it is sent. Without any it is to be
    /// ended.
    pub(crate) fn close(
        &mut self,
        key: MemberKey,
        turn: &mut Turn,
        close: Close,
        last: Option<BytesMut>,
    ) {
        self.rare = None;
        self.stand_closing(close, turn.now.mono);
        let is_sendable = last.is_some();
        self.queue.replace(&mut turn.counts, last);
        if is_sendable {
            self.make_due(key, &mut turn.due);
        }
    }

    /// Whether its last frames go without an answer: the peer began, and nothing more is to come.
    pub(crate) fn is_answering(&self) -> bool {
        matches!(self.closing(), Some(Close::Peer(_)))
    }
}
